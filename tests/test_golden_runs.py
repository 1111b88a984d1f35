"""Runs and checkpoints of an earlier calogen: users have such folders, and they stay of use."""

import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calogen.generation.generate import generate
from calogen.generation.load import load_network, load_run, model_module
from calogen.showers.sample import Showers
from calogen.training.fit import fit as train
from calogen.training.run import TrainedRun

RUNS = Path(__file__).parent / "golden" / "trained"
NAMES = ("atlas_vae", "fastcalogan", "caloshowergan", "caloshowergan_bfloat16")
ROUNDING = {"rtol": 1e-4, "atol": 1e-6}
"""Another processor, or another number of threads, divides sums otherwise."""


def arrays(name: str) -> dict[str, np.ndarray]:
    with np.load(RUNS / name / "showers.npz", allow_pickle=False) as file:
        return dict(file)


def identity(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive, archive.open("about.npy") as file:
        about = json.loads(np.lib.format.read_array(file, allow_pickle=False).tobytes())
    return json.loads(about["identity"])


def fit(name: str, directory: Path) -> TrainedRun:
    run, known = load_run(RUNS / name), arrays(name)
    showers = Showers(run.geometry, known["incident_energies"], known["energies"])
    module, bfloat16 = model_module(run.model), name.endswith("bfloat16")
    return train(module, run.config, run.geometry, showers, directory, bfloat16=bfloat16)


@pytest.mark.parametrize("name", NAMES)
def test_an_old_run_generates_the_same_showers(name: str) -> None:
    known = arrays(name)
    generated = generate(load_run(RUNS / name), known["asked"], seed=3)
    np.testing.assert_allclose(generated.energies, known["generated"], **ROUNDING)


@pytest.mark.parametrize("name", NAMES)
def test_a_finished_old_training_is_not_trained_again(name: str, tmp_path: Path) -> None:
    """Its identity is the same to the byte: another one would be refused."""
    shutil.copytree(RUNS / name, tmp_path / name)
    checkpoint = tmp_path / name / "checkpoint.npz"
    before = checkpoint.read_bytes()
    run = fit(name, tmp_path / name)
    assert checkpoint.read_bytes() == before
    assert run.history == load_run(RUNS / name).history, "with the very durations"


@pytest.mark.parametrize("name", NAMES)
def test_an_interrupted_old_training_goes_on(name: str, tmp_path: Path) -> None:
    expected = load_run(RUNS / name)
    shutil.copy(RUNS / name / "half.npz", tmp_path / "checkpoint.npz")
    run = fit(name, tmp_path)
    assert len(run.history) == len(expected.history)
    assert run.history[0]["seconds"] != expected.history[0]["seconds"], "the first half is of the interrupted training"
    networks = list(model_module(run.model).build(run.config, run.geometry))
    ours, theirs = (
        np.concatenate([w.ravel() for name in networks for w in item.networks[name].get_weights()])
        for item in (run, expected)
    )
    with np.load(RUNS / name / "half.npz", allow_pickle=False) as file:
        half = np.concatenate([file[key].ravel() for key in sorted(file.files) if key.startswith("weights/")])
    way = np.linalg.norm(theirs - half)
    assert np.linalg.norm(ours - theirs) < 0.005 * way, "rounding, which Adam enlarges where a gradient is almost 0"
    assert way > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_an_identity_says_bfloat16_where_it_was_a_choice(name: str) -> None:
    about = identity(RUNS / name / "half.npz")
    keys = {"model", "config", "showers", "geometry"} | ({"bfloat16"} if name != "atlas_vae" else set())
    assert set(about) == keys
    assert about.get("bfloat16", False) == name.endswith("bfloat16")


@pytest.mark.parametrize("name", NAMES)
def test_old_snapshots_can_be_chosen(name: str) -> None:
    run, known = load_run(RUNS / name), arrays(name)
    path = next((RUNS / name / "snapshots").glob("*2.keras"))
    generating = next(key for key, network in run.networks.items() if network is run.generator)
    earlier = replace(run, networks={**run.networks, generating: load_network(path)})
    showers = generate(earlier, known["asked"], seed=3)
    assert showers.energies.shape == known["generated"].shape
    assert not np.array_equal(showers.energies, known["generated"])
