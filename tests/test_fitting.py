from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import make_grid, make_showers

from calogen.errors import CalogenError
from calogen.fitting import fit_vae, validation_split
from calogen.generation import TrainedRun, generate, load_run
from calogen.models.atlas_vae import AtlasVaeConfig
from calogen.showers import Showers

CONFIG = AtlasVaeConfig(encoder_units=(8,), decoder_units=(8,), latent_dim=2, epochs=3, batch_size=50, seed=5)
SHOWERS = make_showers(make_grid((2, 1), (3, 2), (2, 2)), 200)


def fit(directory: Path, showers: Showers = SHOWERS, config: AtlasVaeConfig = CONFIG) -> TrainedRun:
    return fit_vae("atlas_vae", config, showers.geometry, showers, directory, snapshots={2})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainedRun]:
    directory = tmp_path_factory.mktemp("fitting")
    return directory, fit(directory)


def weights(run: TrainedRun) -> list[bytes]:
    return [array.tobytes() for name in sorted(run.networks) for array in run.networks[name].get_weights()]


def losses(run: TrainedRun) -> list[float]:
    return [row["val_loss"] for row in run.history]


def test_a_fit_is_repeatable(trained: tuple[Path, TrainedRun], tmp_path: Path) -> None:
    _, run = trained
    again = fit(tmp_path)
    assert weights(again) == weights(run)
    assert losses(again) == losses(run)
    assert len(run.history) == 3


def test_what_was_trained_is_not_trained_again(trained: tuple[Path, TrainedRun]) -> None:
    directory, run = trained
    logs = sorted((directory / "tensorboard").iterdir())
    again = fit(directory)
    assert again.history == run.history, "with the very durations"
    assert weights(again) == weights(run)
    assert sorted((directory / "tensorboard").iterdir()) == logs


def test_the_run_can_be_loaded(trained: tuple[Path, TrainedRun]) -> None:
    directory, run = trained
    loaded = load_run(directory)
    assert (loaded.config, loaded.geometry, loaded.history) == (run.config, run.geometry, run.history)
    assert weights(loaded) == weights(run)
    energies = np.array([1024.0, 65536.0])
    np.testing.assert_array_equal(generate(loaded, energies).energies, generate(run, energies).energies)
    assert [path.name for path in (directory / "snapshots").iterdir()] == ["epoch-0002.keras"]


@pytest.mark.parametrize(
    ("showers", "config"),
    [
        (SHOWERS[1:], CONFIG),
        (replace(SHOWERS, incident_energies=SHOWERS.incident_energies[::-1]), CONFIG),
        (SHOWERS, replace(CONFIG, seed=6)),
        (SHOWERS, replace(CONFIG, epochs=4)),
    ],
)
def test_another_training_in_the_same_directory_is_refused(
    trained: tuple[Path, TrainedRun], showers: Showers, config: AtlasVaeConfig
) -> None:
    directory, run = trained
    with pytest.raises(CalogenError, match=r"another training.s, it differs in (config|showers|seed|epochs)"):
        fit(directory, showers, config)
    assert load_run(directory).config == run.config


def test_the_split_is_the_same_for_every_caller_and_leaves_nothing_out() -> None:
    training, validation = validation_split(SHOWERS, CONFIG)
    assert len(validation) == 20
    rows = np.concatenate([training.energies, validation.energies])
    np.testing.assert_array_equal(np.sort(rows, axis=0), np.sort(SHOWERS.energies, axis=0))
    np.testing.assert_array_equal(validation.energies, validation_split(SHOWERS, CONFIG)[1].energies)
    other = validation_split(SHOWERS, replace(CONFIG, seed=6))[1]
    assert not np.array_equal(validation.energies, other.energies)
