import keras
import numpy as np
import pytest

from calogen.errors import ConfigError
from calogen.models.caloshowergan import CaloShowerGanConfig
from calogen.training.rates import adams, falling, piecewise, sinking


def used(rate: object, steps: int) -> list[float]:
    """Rates of an optimizer's steps, read from what they change."""
    variable, optimizer = keras.Variable(np.zeros(1)), keras.optimizers.SGD(rate)
    values = [0.0]
    for _ in range(steps):
        optimizer.apply([keras.ops.ones(1)], [variable])
        values.append(float(variable.numpy()[0]))
    return (-np.diff(values)).tolist()


def test_a_rate_holds_until_the_next_one_starts() -> None:
    assert used(piecewise((1.0, 0.1, 0.01), (2, 3)), 5) == pytest.approx([1, 1, 0.1, 0.01, 0.01], rel=1e-5)
    assert used(piecewise((1.0, 0.1), (1,), steps=3), 5) == pytest.approx([1, 1, 1, 0.1, 0.1], rel=1e-5)
    assert piecewise((0.5,), ()) == 0.5


def test_a_rate_falls_after_every_epoch() -> None:
    assert used(falling(1.0, 0.5, 2), 6) == pytest.approx([1, 1, 0.5, 0.5, 0.25, 0.25], rel=1e-5)


@pytest.mark.parametrize(
    "arguments", [((1.0, 0.1), ()), ((), ()), ((1.0, 0.0), (3,)), ((1.0, 0.5, 0.2), (3, 3)), ((1.0, 0.5), (0,))]
)
def test_rates_and_starts_must_fit(arguments: tuple[tuple[float, ...], tuple[int, ...]]) -> None:
    with pytest.raises(ConfigError, match="rising starts"):
        piecewise(*arguments)


@pytest.mark.parametrize("arguments", [(0.0, 0.5, 1), (1.0, 1.5, 1), (1.0, 0.5, 0)])
def test_a_falling_rate_needs_sense(arguments: tuple[float, float, int]) -> None:
    with pytest.raises(ConfigError, match="a rate must"):
        falling(*arguments)


def test_a_rate_sinks_along_a_cosine_and_stays_at_its_last_share() -> None:
    expected = [0.1 + 0.9 * (1 + np.cos(np.pi * step / 4)) / 2 for step in range(4)] + [0.1, 0.1]
    assert used(sinking(1.0, 0.1, 4), 6) == pytest.approx(expected, rel=1e-4)
    assert sinking(0.5, 1.0, 4) == 0.5


def test_both_optimizers_of_a_wgan_sink_in_the_same_iterations() -> None:
    config = CaloShowerGanConfig(last_rate=0.5, average=0.9, iterations=10, critic_steps=3, learning_rate=1e-2)
    of_generator, of_critic = adams(config, config.beta_1, config.beta_2)
    assert (of_generator.use_ema, of_generator.ema_momentum, of_critic.use_ema) == (True, 0.9, False)
    for optimizer, steps in ((of_generator, 10), (of_critic, 30)):
        optimizer.iterations.assign(steps)
        assert float(optimizer.learning_rate) == pytest.approx(5e-3)


@pytest.mark.parametrize("values", [{"average": 1.0}, {"average": -0.1}, {"last_rate": 0.0}, {"last_rate": 1.5}])
def test_averages_and_last_rates_need_sense(values: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"average|last"):
        CaloShowerGanConfig(**values)  # type: ignore[arg-type]
