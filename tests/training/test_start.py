"""A training that starts from the weights of another one."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY_VOXELS, make_showers
from toy_commands import run, run_both
from toy_gan import CONFIG as TOY_GAN

from calogen.cli.train import train_command
from calogen.errors import CalogenError, ConfigError
from calogen.generation import pretrained
from calogen.generation.load import load_run
from calogen.generation.pretrained import PRETRAINED, names
from calogen.models import caloshowergan
from calogen.models.caloshowergan import CaloShowerGanConfig
from calogen.showers.windows import ATLAS_VAE_WINDOW
from calogen.training.fit import fit
from calogen.training.run import TrainedRun

SHOWERS = make_showers(TINY_VOXELS, 200)
PLAIN = replace(TOY_GAN, spectral_normalization="none", iterations=20, learning_rate=1e-2)
STILL = replace(PLAIN, iterations=1, learning_rate=1e-9)


def trained(directory: Path, config: CaloShowerGanConfig, start: TrainedRun | None = None) -> TrainedRun:
    return fit(caloshowergan, config, TINY_VOXELS, SHOWERS, directory, start=start)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    return trained(tmp_path_factory.mktemp("first"), PLAIN)


def distance(one: TrainedRun, other: TrainedRun, name: str) -> float:
    """Largest difference of the weights that train."""
    pairs = zip(one.networks[name].trainable_variables, other.networks[name].trainable_variables, strict=True)
    return max(float(np.abs(ours.numpy() - theirs.numpy()).max()) for ours, theirs in pairs)


@pytest.mark.parametrize("normalization", ["none", "reparametrised"])
def test_the_weights_that_train_are_taken(first: TrainedRun, tmp_path: Path, normalization: str) -> None:
    """A critic may get spectral normalisation on the way."""
    config = replace(STILL, spectral_normalization=normalization)
    anew, begun = trained(tmp_path / "anew", config), trained(tmp_path / "begun", config, first)
    for name in ("generator", "critic"):
        assert distance(anew, first, name) > 1e-2
        assert distance(begun, first, name) < 1e-6


def test_moving_statistics_come_along(first: TrainedRun, tmp_path: Path) -> None:
    begun = trained(tmp_path, replace(STILL, batch_statistics="moving"), first)
    for ours, theirs in zip(begun.generator.get_weights(), first.generator.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_the_start_is_part_of_the_training(first: TrainedRun, tmp_path: Path) -> None:
    begun = trained(tmp_path, STILL, first)
    told = json.loads((tmp_path / "provenance.json").read_text())["start"]
    assert (told["model"], told["networks"]) == ("caloshowergan", ["critic", "generator"])
    assert (told["config"]["iterations"], told["config"]["learning_rate"]) == (20, 1e-2)
    assert trained(tmp_path, STILL, first).history == begun.history
    with pytest.raises(CalogenError, match=r"another training's, it differs in start \(expected None"):
        trained(tmp_path, STILL)


def test_networks_that_do_not_fit_are_refused(first: TrainedRun, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"the generator to start from must have weights of the shapes \(4, 3\), .*Received: \(4, 8\)"
    ):
        trained(tmp_path, replace(STILL, generator_units=(3, 5)), first)
    with pytest.raises(ConfigError, match="a start needs one of the networks generator, critic. Received: decoder"):
        trained(tmp_path, STILL, replace(first, networks={"decoder": first.generator}))


def test_the_command_starts_from_a_run_or_from_what_ships(tmp_path: Path) -> None:
    make_showers(ATLAS_VAE_WINDOW, 120).write(tmp_path / "a.h5")
    command = ("train", "atlas-vae", "--train-data", str(tmp_path / "a.h5"), "--set", "epochs=1")
    still = ("--set", "learning_rate=1e-9", "--start")
    _, told = run_both(*command, *still, "atlas-vae", "--output", str(tmp_path / "own"))
    assert "first weights: those of atlas-vae (decoder)" in told
    run(*command, *still, str(tmp_path / "own"), "--output", str(tmp_path / "again"))
    own, again, shipped = load_run(tmp_path / "own"), load_run(tmp_path / "again"), load_run(PRETRAINED / "atlas-vae")
    assert distance(own, shipped, "decoder") < 1e-6
    assert max(distance(own, again, name) for name in ("encoder", "decoder")) < 1e-6


def test_a_name_of_several_networks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks that share the momenta, by a made-up name; one folder of them is a start."""
    shared = tmp_path / "pretrained" / "shared"
    for part in ("low", "high"):
        shutil.copytree(PRETRAINED / names()[0], shared / part)
    card = json.loads((PRETRAINED / names()[0] / "card.json").read_text())
    (shared / "card.json").write_text(json.dumps(card | {"name": "shared", "runs": ["low", "high"]}))
    monkeypatch.setattr(pretrained, "PRETRAINED", tmp_path / "pretrained")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="--start must be a run of one training. Received: shared, which has 2"):
        train_command("atlas-vae", start=Path("shared"), output=Path("run"))
