"""Run directories whose files are not one run's."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest
from conftest import TINY_VOXELS, make_grid, make_showers
from toy_gan import make_gan

from calogen.errors import DataFormatError
from calogen.generation.load import load_run
from calogen.models import atlas_vae
from calogen.training.run import TrainedRun, assemble_run, save_run

GRID = make_grid((2, 1), (3, 2), (2, 2))


def vae(**fields: Any) -> TrainedRun:
    """An untrained VAE of twelve cells."""
    config = atlas_vae.AtlasVaeConfig(encoder_units=(6,), decoder_units=(6,), **fields)
    transform = atlas_vae.build_transform(config, GRID).fit(make_showers(GRID, 20))
    return assemble_run(atlas_vae, config, GRID, atlas_vae.build(config, GRID), transform)


RUNS: dict[str, Callable[[], TrainedRun]] = {
    "vae": vae,
    "vae of other latent space": lambda: vae(latent_dim=3),
    "vae of absolute energies": lambda: vae(inputs="absolute"),
    "vae of linear energy": lambda: vae(condition="linear"),
    "gan": lambda: make_gan(256.0, 4096.0, 1.0),
    "gan of two conditions": lambda: make_gan(256.0, 4096.0, 1.0, condition="log"),
    "gan of pions": lambda: make_gan(256.0, 4096.0, 1.0, particle="pion"),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of each run."""
    folder = tmp_path_factory.mktemp("runs")
    for name, make in RUNS.items():
        save_run(folder / name, make())
    return folder


@pytest.mark.parametrize(
    ("first", "second", "file", "message"),
    [
        ("vae", "gan", "transform.json", "the steps of transform.json must be"),
        ("vae", "vae of absolute energies", "transform.json", "the steps of transform.json must be"),
        ("vae", "vae of linear energy", "transform.json", "the encodings of transform.json must be"),
        ("vae", "vae of linear energy", "config.json", "the encodings of transform.json must be"),
        ("gan", "gan of pions", "transform.json", "the steps of transform.json must be"),
        ("gan", "gan of two conditions", "transform.json", "the encodings of transform.json must be"),
        ("gan", "gan of two conditions", "config.json", "the encodings of transform.json must be"),
        (
            "vae",
            "vae of other latent space",
            "decoder.keras",
            r"input latent of decoder.keras must have shape \(None, ",
        ),
        ("vae", "vae of other latent space", "config.json", r"input latent of decoder.keras must have shape \(None, 3"),
        ("vae", "vae of absolute energies", "decoder.keras", r"decoder.keras must have .* output \(None, 16\)"),
        ("vae", "vae of absolute energies", "encoder.keras", r"input shower of encoder.keras must .*\(None, 16\)"),
        ("gan", "gan of two conditions", "generator.keras", r"input condition of generator.keras must have shape"),
        ("gan", "gan of two conditions", "critic.keras", r"input condition of critic.keras must have shape"),
    ],
)
def test_files_of_two_runs_are_refused(
    saved: Path, tmp_path: Path, first: str, second: str, file: str, message: str
) -> None:
    shutil.copytree(saved / first, tmp_path / "run")
    shutil.copy(saved / second / file, tmp_path / "run" / file)
    with pytest.raises(DataFormatError, match=rf"run must hold the files of one run: .*{message}.*\(were they copied"):
        load_run(tmp_path / "run")


def test_layers_of_other_sizes_are_refused(saved: Path, tmp_path: Path) -> None:
    """Twelve cells still, but in other layers."""
    shutil.copytree(saved / "vae", tmp_path / "run")
    path = tmp_path / "run" / "transform.json"
    transform = json.loads(path.read_text())
    assert transform["steps"][0]["layer_sizes"] == [2, 6, 4]
    transform["steps"][0]["layer_sizes"] = [2, 4, 6]
    path.write_text(json.dumps(transform))
    with pytest.raises(
        DataFormatError, match=r"steps of transform.json must be .*\(2, 6, 4\).* Received: .*\(2, 4, 6\)"
    ):
        load_run(tmp_path / "run")


def test_a_critic_does_not_generate(saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved / "gan", tmp_path / "run")
    shutil.copy(tmp_path / "run" / "critic.keras", tmp_path / "run" / "generator.keras")
    with pytest.raises(DataFormatError, match="one network must have an input named 'latent'. Received: 0"):
        load_run(tmp_path / "run")


def test_a_generator_with_other_inputs_or_outputs_is_refused(saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved / "gan", tmp_path / "run")
    latent = keras.Input((2,), name="latent")
    for inputs, outputs in ((latent, [keras.layers.Dense(10)(latent)]), (latent, [latent, latent])):
        keras.Model(inputs, outputs).save(tmp_path / "run" / "generator.keras")
        with pytest.raises(DataFormatError, match="generator.keras must have the inputs latent and condition and the"):
            load_run(tmp_path / "run")


@pytest.mark.parametrize("name", RUNS)
def test_files_of_one_run_are_read(saved: Path, name: str) -> None:
    assert load_run(saved / name).geometry in (GRID, TINY_VOXELS)


def test_a_network_that_the_model_does_not_have_is_named(saved: Path, tmp_path: Path) -> None:
    """Its input has another size than the transform's, and the model has none of that name to ask."""
    folder = tmp_path / "run"
    shutil.copytree(saved / "gan", folder)
    shutil.copy(saved / "gan of two conditions" / "critic.keras", folder / "net.keras")
    about = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(about | {"networks": [*about["networks"], "net"]}), encoding="utf-8")
    with pytest.raises(DataFormatError, match=r"the input condition of net\.keras must have shape \(None, 1\)"):
        load_run(folder)
