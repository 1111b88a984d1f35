import shutil
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import TINY_VOXELS, make_grid, make_showers
from stopping import stopped_by
from toy_conversions import largest_difference
from toy_gan import CONFIG as TOY_GAN

from calogen import files
from calogen.errors import CalogenError, DataFormatError, DivergedError
from calogen.generation.generate import generate
from calogen.generation.load import load_network, load_run
from calogen.lwtnn.convert import convert
from calogen.models import atlas_vae, caloshowergan, fastcalogan
from calogen.models.atlas_vae import AtlasVaeConfig
from calogen.models.caloshowergan import CaloShowerGanConfig
from calogen.models.fastcalogan import FastCaloGanConfig
from calogen.parallel import tensorflow_threads
from calogen.showers.files import ShowerFile
from calogen.showers.sample import Showers
from calogen.training import wgan_gp
from calogen.training.fit import fit as train
from calogen.training.fit import select_training, validation_split
from calogen.training.run import TrainedRun
from calogen.training.state import TrainingState, read_identity, write_state

CONFIG = AtlasVaeConfig(encoder_units=(8,), decoder_units=(8,), latent_dim=2, epochs=3, batch_size=50, seed=5)
SHOWERS = make_showers(make_grid((2, 1), (3, 2), (2, 2)), 200)


def fit(directory: Path, showers: Showers = SHOWERS, config: AtlasVaeConfig = CONFIG) -> TrainedRun:
    return train(atlas_vae, config, showers.geometry, showers, directory, snapshots={2})


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


def test_a_stopped_vae_goes_on_to_the_same_weights(
    trained: tuple[Path, TrainedRun], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stopped_by(monkeypatch, signal.SIGTERM, 2):
        fit(tmp_path)
    again = fit(tmp_path)
    assert weights(again) == weights(trained[1])
    assert without_seconds(again) == without_seconds(trained[1])


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


WGAN = replace(TOY_GAN, highest_momentum=2.0**14, spectral_normalization="reparametrised", iterations=63)
VOXELS = make_showers(TINY_VOXELS, 300)
EMPTY = np.arange(0, 300, 30)
VOXELS.energies[EMPTY] = 0.0
MOMENTA = 2.0 ** np.arange(10, 15)


def fit_gan(
    directory: Path, showers: Showers = VOXELS, config: CaloShowerGanConfig = WGAN, *, bfloat16: bool = False
) -> TrainedRun:
    return train(caloshowergan, config, showers.geometry, showers, directory, bfloat16=bfloat16)


@pytest.fixture(scope="module")
def gan(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainedRun]:
    directory = tmp_path_factory.mktemp("gan")
    return directory, fit_gan(directory)


SHORT = replace(WGAN, iterations=4)


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    """A training with four checkpoints."""
    return fit_gan(tmp_path_factory.mktemp("short"), config=SHORT)


def without_seconds(run: TrainedRun) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if "seconds" not in name} for row in run.history]


def test_showers_outside_the_range_or_without_energy_do_not_train(gan: tuple[Path, TrainedRun]) -> None:
    training, num_empty = select_training(VOXELS, WGAN)
    inside = (VOXELS.incident_energies >= 1024) & (VOXELS.incident_energies <= 16384)
    kept = [row for row in range(300) if inside[row] and row not in EMPTY]
    np.testing.assert_array_equal(training.energies, VOXELS.energies[kept])
    assert {1024.0, 16384.0} <= set(training.incident_energies.tolist()), "the limits are within"
    assert num_empty == sum(inside[row] for row in EMPTY) > 0
    about = files.read_json(gan[0] / "provenance.json")
    assert (about["showers"], about["showers_without_energy"]) == (len(kept), num_empty)
    assert about["training_seconds"] > 0
    assert about["threads"] == [tensorflow_threads()]


def test_a_range_without_showers_is_refused_by_name() -> None:
    high = replace(WGAN, lowest_momentum=2.0**20, highest_momentum=2.0**22)
    with pytest.raises(DataFormatError, match="at 1048576..4194304 MeV. Received: showers at 1024, 2048"):
        select_training(VOXELS, high)
    with pytest.raises(DataFormatError, match="training needs showers with energy"):
        select_training(VOXELS[EMPTY], WGAN)


def test_a_gan_keeps_its_generator_on_the_way(gan: tuple[Path, TrainedRun]) -> None:
    directory, run = gan
    reached = range(3, 64, 3)  # an interval of a thirtieth, rounded up
    assert [row["iteration"] for row in run.history] == [*reached]
    names = sorted(path.name for path in (directory / "snapshots").iterdir())
    assert names == [f"iteration-{iteration:07d}.keras" for iteration in reached]
    early, last = (load_network(directory / "snapshots" / names[number]) for number in (3, -1))
    for ours, theirs in zip(last.get_weights(), run.generator.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    showers = generate(replace(run, networks={"generator": early}), MOMENTA, seed=1)
    assert np.isfinite(showers.energies).all()
    assert (showers.energies != generate(run, MOMENTA, seed=1).energies).any()


def test_a_gan_can_be_loaded(gan: tuple[Path, TrainedRun]) -> None:
    directory, run = gan
    loaded = load_run(directory)
    assert (loaded.config, loaded.geometry, loaded.history) == (run.config, run.geometry, run.history)
    assert loaded.transform == run.transform
    assert weights(loaded) == weights(run)
    assert list(loaded.networks) == ["critic", "generator"]
    np.testing.assert_array_equal(generate(directory, MOMENTA).energies, generate(run, MOMENTA).energies)
    assert loaded.momentum_range == (1024.0, 16384.0)


def test_a_finished_gan_is_not_trained_again(gan: tuple[Path, TrainedRun], monkeypatch: pytest.MonkeyPatch) -> None:
    directory, run = gan
    logs, about = sorted((directory / "tensorboard").iterdir()), (directory / "provenance.json").read_bytes()
    monkeypatch.setattr("calogen.training.train.write_state", None)  # no checkpoint is written
    again = fit_gan(directory)
    assert again.history == run.history, "with the very durations"
    assert weights(again) == weights(run)
    assert sorted((directory / "tensorboard").iterdir()) == logs
    assert (directory / "provenance.json").read_bytes() == about


def test_an_interrupted_gan_goes_on_to_the_same_weights(
    short: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stopped_by(monkeypatch, signal.SIGUSR1, 2):
        fit_gan(tmp_path, config=SHORT)
    assert not (tmp_path / "config.json").exists()
    assert len(list((tmp_path / "snapshots").iterdir())) == 2
    again = fit_gan(tmp_path, config=SHORT)
    assert weights(again) == weights(short)
    assert without_seconds(again) == without_seconds(short)


def test_a_finished_gan_goes_on_to_more_iterations(short: TrainedRun, tmp_path: Path) -> None:
    """A longer training of a constant rate on all showers begins as the shorter one."""
    fit_gan(tmp_path, config=replace(SHORT, iterations=3))
    again = fit_gan(tmp_path, config=SHORT)
    assert weights(again) == weights(short)
    assert without_seconds(again) == without_seconds(short)
    assert load_run(tmp_path).config == SHORT
    assert files.read_json(tmp_path / "provenance.json")["training_seconds"] > 0


def test_a_longer_training_has_the_average_of_all_its_iterations(tmp_path: Path) -> None:
    """The finished networks have the averaged weights, the checkpoint the others; rounds have other lengths."""
    longer = replace(SHORT, iterations=70, average=0.9)
    fit_gan(tmp_path / "longer", config=replace(longer, iterations=20))
    again = fit_gan(tmp_path / "longer", config=longer)
    assert weights(again) == weights(fit_gan(tmp_path / "whole", config=longer))
    assert [row["iteration"] for row in again.history] == [*range(1, 21), *range(21, 70, 3), 70]
    assert len(list((tmp_path / "longer" / "snapshots").iterdir())) == len(again.history)


def test_an_interrupted_training_is_not_made_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rounds have other lengths; it is finished first."""
    with stopped_by(monkeypatch, signal.SIGUSR1, 2):
        fit_gan(tmp_path, config=SHORT)
    with pytest.raises(
        CalogenError, match=r"another training.s, it differs in iterations \(expected 6, received 4\) \(only a finished"
    ):
        fit_gan(tmp_path, config=replace(SHORT, iterations=6))


def test_a_curriculum_is_not_made_longer(tmp_path: Path) -> None:
    """Its momenta are added at shares of all iterations."""
    config, _ = fastcalogan.CONFIGS["photon"]
    config = replace(config, generator_units=(4,), critic_units=(4,), batch_size=8, critic_steps=1, iterations=2)
    train(fastcalogan, config, TINY_VOXELS, VOXELS, tmp_path)
    with pytest.raises(CalogenError, match=r"another training.s, it differs in iterations"):
        train(fastcalogan, replace(config, iterations=3), TINY_VOXELS, VOXELS, tmp_path)


@pytest.mark.parametrize(
    "changes", [{"iterations": 2}, {"iterations": 5, "last_rate": 0.5}, {"iterations": 5, "seed": 7}]
)
def test_only_the_same_training_is_made_longer(short: TrainedRun, tmp_path: Path, changes: dict[str, float]) -> None:
    first = replace(SHORT, **{name: value for name, value in changes.items() if name == "last_rate"})
    fit_gan(tmp_path, config=first)
    with pytest.raises(CalogenError, match=r"another training.s, it differs in .*iterations \(expected"):
        fit_gan(tmp_path, config=replace(first, **changes))


@pytest.mark.parametrize(
    ("showers", "config", "bfloat16", "name"),
    [
        (VOXELS[1:250], WGAN, False, "showers"),
        (VOXELS, replace(WGAN, seed=6), False, "seed"),
        (VOXELS, replace(WGAN, gradient_penalty_weight=10.0), False, "gradient_penalty_weight"),
        (VOXELS, WGAN, True, "bfloat16"),
    ],
)
def test_another_gan_in_the_same_directory_is_refused(
    gan: tuple[Path, TrainedRun], showers: Showers, config: CaloShowerGanConfig, bfloat16: bool, name: str
) -> None:
    directory, run = gan
    with pytest.raises(CalogenError, match=rf"another training.s, it differs in {name} \("):
        fit_gan(directory, showers, config, bfloat16=bfloat16)
    assert load_run(directory).config == run.config


def test_showers_that_do_not_train_do_not_count_as_another_training(gan: tuple[Path, TrainedRun]) -> None:
    directory, run = gan
    inside = VOXELS[VOXELS.incident_energies <= 2.0**14]
    assert fit_gan(directory, inside).history == run.history


def test_half_precision_trains_to_finite_networks_in_float32(short: TrainedRun, tmp_path: Path) -> None:
    half = fit_gan(tmp_path, config=SHORT, bfloat16=True)
    assert keras.config.dtype_policy().name == "float32"
    for name, network in half.networks.items():
        other = short.networks[name]
        for ours, theirs in zip(network.variables, other.variables, strict=True):
            assert ours.dtype == "float32"
            assert np.isfinite(ours.numpy()).all()
            np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=0.05)
        assert {layer.compute_dtype for layer in network.layers} == {"float32"}
    assert largest_difference(half.generator, convert(half.generator)) < 1e-5
    assert weights(half) != weights(short)
    assert weights(load_run(tmp_path)) == weights(half)
    assert [row["iteration"] for row in half.history] == [1.0, 2.0, 3.0, 4.0]


def test_stages_of_a_curriculum_train(tmp_path: Path) -> None:
    config = FastCaloGanConfig(
        generator_units=(8,), critic_units=(8,), latent_dim=2, critic_steps=1, batch_size=8, iterations=3
    )
    run = train(fastcalogan, config, TINY_VOXELS, VOXELS, tmp_path)
    assert np.isfinite([[row[name] for name in wgan_gp.TERMS] for row in run.history]).all()
    assert len(run.history) == 3


def test_a_provenance_that_was_lost_is_written_again(
    trained: tuple[Path, TrainedRun], gan: tuple[Path, TrainedRun], tmp_path: Path
) -> None:
    """As after a training that was killed between its last checkpoint and its end."""
    for (directory, run), again, more in ((trained, fit, set()), (gan, fit_gan, {"showers", "showers_without_energy"})):
        copy = tmp_path / directory.name
        shutil.copytree(directory, copy)
        before = files.read_json(copy / "provenance.json")
        (copy / "provenance.json").unlink()
        assert weights(again(copy)) == weights(run)
        after = files.read_json(copy / "provenance.json")
        assert after.keys() == before.keys() >= more
        assert after["training_seconds"] == before["training_seconds"] > 0


@pytest.mark.parametrize("model", ["vae", "gan"])
def test_features_in_a_file_give_the_same_weights(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit: of showers that are read from a file, a few at a time, too."""
    module, config, showers = (atlas_vae, CONFIG, SHOWERS) if model == "vae" else (caloshowergan, SHORT, VOXELS)
    expected = train(module, config, showers.geometry, showers, tmp_path / "memory")
    monkeypatch.setattr("calogen.training.fit.free_memory", lambda: 0)
    monkeypatch.setattr("calogen.features.batches._CHUNK_BYTES", 4 * 50 * 40)  # of few steps
    showers.write(tmp_path / "showers.h5")
    written: list[str] = []
    record = partial(record_files, written)
    monkeypatch.setattr("calogen.training.train.write_state", record)
    with ShowerFile(tmp_path / "showers.h5", showers.geometry, 8 * showers.geometry.size * 64) as file:
        run = train(module, config, showers.geometry, file, tmp_path / "file")
    assert weights(run) == weights(expected)
    assert without_seconds(run) == without_seconds(expected)
    assert set(written) == {f"features-{number}.f32" for number in range(1 + (model == "vae"))}
    assert not list((tmp_path / "file").glob("features*")), "they go with the training"
    identities = [read_identity(tmp_path / name / "checkpoint.npz") for name in ("memory", "file")]
    assert identities[0] == identities[1]


def test_features_are_not_computed_for_a_training_that_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor do those of a training that fails stay on the disk; those of one that is interrupted do."""
    monkeypatch.setattr("calogen.training.fit.free_memory", lambda: 0)
    with stopped_by(monkeypatch, signal.SIGUSR1, 2):
        fit_gan(tmp_path, config=SHORT)
    assert list(tmp_path.glob("features*")), "the next start uses them again"
    before = sorted(tmp_path.glob("features*"))
    with pytest.raises(CalogenError, match="differs in config|differs in learning_rate"):
        fit_gan(tmp_path, config=replace(SHORT, learning_rate=2e-3))
    assert sorted(tmp_path.glob("features*")) == before
    fit_gan(tmp_path, config=SHORT)
    assert not list(tmp_path.glob("features*"))
    wild = tmp_path / "wild"
    monkeypatch.setattr("calogen.training.train._largest_weights", lambda _: {"weight": np.nan})
    with pytest.raises(DivergedError):
        fit_gan(wild, config=SHORT)
    assert wild.is_dir()
    assert not list(wild.glob("features*"))


def record_files(found: list[str], path: Path, state: TrainingState) -> None:
    """Notes which features lie beside the checkpoint, without their hash."""
    found += ["features-" + item.name.rpartition("-")[2] for item in path.parent.glob("features*")]
    write_state(path, state)
