import keras
import numpy as np
import pytest

from calogen.errors import ConfigError
from calogen.training.rates import falling, piecewise


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
