from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import TINY_VOLUME, make_showers

from calogen.errors import ConfigError
from calogen.generation.generate import generate
from calogen.generation.load import load_run
from calogen.models import getting_high_wgan
from calogen.models.getting_high_wgan import (
    CONFIGS,
    GettingHighWganConfig,
    build,
    build_critic,
    build_generator,
    build_trainer,
)
from calogen.showers.grids import AHCAL_GRID, ILD_GRID
from calogen.training.fit import fit

SMALL = replace(
    CONFIGS["laptop"][0], first_filters=4, generator_filters=(4, 3, 2), batch_size=4, iterations=3, critic_steps=2
)


def test_networks_have_the_weights_of_paper_and_code() -> None:
    """A.2: 3.7M, 250k, 220k; the post processor has those of A.3."""
    counts = {name: network.count_params() for name, network in build(*CONFIGS["post-processor"]).items()}
    assert counts == {
        "generator": 3_655_520,
        "critic": 253_919,
        "constrainer": 224_473,
        "post_processor": 299_136,
    }
    narrow = {name: network.count_params() for name, network in build(*CONFIGS["laptop"]).items()}
    assert narrow == {"generator": 453_848, "critic": 82_463, "constrainer": 224_473}


def test_the_critic_has_91_numbers_behind_its_convolutions() -> None:
    critic = build_critic(CONFIGS["paper"][0], ILD_GRID)
    volumes = [layer.output.shape[1:4] for layer in critic.layers if isinstance(layer, keras.layers.Conv3D)]
    assert volumes == [(21, 16, 16), (16, 8, 8), (13, 4, 4), (10, 3, 3)]
    (joined,) = [layer for layer in critic.layers if isinstance(layer, keras.layers.Concatenate)]
    assert joined.output.shape == (None, 91)
    slopes = [layer.negative_slope for layer in critic.layers if isinstance(layer, keras.layers.LeakyReLU)]
    assert slopes == [0.2] * (3 + 5)
    norms = [layer for layer in critic.layers if isinstance(layer, keras.layers.LayerNormalization)]
    assert [layer.gamma.shape for layer in norms] == [(21, 16, 16), (16, 8, 8), (13, 4, 4)]


def test_the_generator_has_the_energy_beside_the_noise() -> None:
    generator = build_generator(CONFIGS["paper"][0], ILD_GRID)
    (joined,) = [layer for layer in generator.layers if isinstance(layer, keras.layers.Concatenate)]
    assert joined.output.shape == (None, 4, 4, 4, 256)
    assert build_generator(SMALL, AHCAL_GRID).output_shape == (None, 48 * 25 * 25)


def test_rates_fall_as_in_the_paper() -> None:
    config = CONFIGS["paper"][0]
    (trainer,) = build_trainer(config, TINY_VOLUME, build(config, TINY_VOLUME), None)  # type: ignore[arg-type]
    generator, critic, constrainer = trainer.optimizers
    rates = []
    for iteration in (0, 49_999, 50_000, 99_999, 100_000):
        generator.iterations.assign(iteration)
        critic.iterations.assign(5 * iteration)
        rates.append([float(optimizer.learning_rate) for optimizer in (generator, critic)])
    np.testing.assert_allclose(rates, [[1e-4, 1e-5], [1e-4, 1e-5], [1e-5, 1e-6], [1e-5, 1e-6], [1e-6, 1e-6]], rtol=1e-5)
    assert float(constrainer.learning_rate) == pytest.approx(1e-5)


def test_a_post_processor_trains_behind_the_generator_and_is_part_of_the_run(tmp_path: Path) -> None:
    config = replace(SMALL, post_processing=True, post_filters=4, post_iterations=2, post_batch_size=3)
    showers = make_showers(TINY_VOLUME, 30)
    run = fit(getting_high_wgan, config, TINY_VOLUME, showers, tmp_path)
    assert run.generates == ("generator", "post_processor")
    assert [row["stage"] for row in run.history] == [0.0] * 3 + [1.0] * 2
    loaded = load_run(tmp_path)
    energies = np.array([2e4, 5e4])
    np.testing.assert_array_equal(generate(loaded, energies, 1).energies, generate(run, energies, 1).energies)
    alone = replace(run, generates=("generator",))
    assert (generate(alone, energies, 1).energies != generate(run, energies, 1).energies).any()
    assert (tmp_path / "snapshots" / "iteration-0000003-post_processor.keras").exists()


def test_critics_can_be_trained_in_half_precision(tmp_path: Path) -> None:
    run = fit(getting_high_wgan, SMALL, TINY_VOLUME, make_showers(TINY_VOLUME, 30), tmp_path, bfloat16=True)
    assert np.isfinite([value for row in run.history for value in row.values()]).all()


def test_a_run_without_post_processor_generates_with_the_generator(tmp_path: Path) -> None:
    run = fit(getting_high_wgan, SMALL, TINY_VOLUME, make_showers(TINY_VOLUME, 30), tmp_path)
    assert run.generates == load_run(tmp_path).generates == ("generator",)
    assert set(run.networks) == {"generator", "critic", "constrainer"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"latent_distribution": "cauchy"}, "distribution must be one of"),
        ({"generator_filters": ()}, "layers need a filter or unit"),
        ({"constrainer_units": (0,)}, "layers need a filter or unit"),
        ({"critic_depths": (3,)}, "critic_depths: one for each"),
        ({"rate_starts": (3,)}, "rates must be above 0"),
        ({"kernel": (1, 2, 3)}, "n, m, N and alpha"),
        ({"kernel": (1, 2, 3, 0)}, "alpha of a SortedKernel"),
        ({"constrainer_weight": -1.0}, "constrainer_weight must be 0 or more"),
        ({"slope": float("nan")}, "slope must be 0 or more"),
        ({"constrainer_rate": 0.0}, "constrainer_rate must be above 0"),
        ({"beta_1": 1.5}, "beta_1, beta_2 must be 0 or more, below 1"),
        ({"post_filters": 1}, "post_filters must be 2 or more"),
    ],
)
def test_nonsense_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        GettingHighWganConfig(**values)  # type: ignore[arg-type]
