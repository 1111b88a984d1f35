"""Damaged trainings, runs, networks and results are read or refused with a message, never anything else."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
from damaged_runs import (
    IDENTITY,
    SHAPES,
    checkpoint,
    damaged_checkpoint,
    damaged_network,
    damaged_results,
    damaged_run,
    run_files,
)
from fuzzing import Input, outcomes, watched

from calogen.files import read_json
from calogen.generation.generate import generate
from calogen.generation.load import load_network, load_run
from calogen.reports.page import build_html, build_markdown
from calogen.reports.results import build_results_page, read_table
from calogen.training.state import assign, read_identity, read_state


def read_checkpoint(folder: Path) -> None:
    """A training that goes on: from its weights, for an epoch, to its best ones."""
    path = folder / "state.npz"
    read_identity(path)
    state = read_state(path, IDENTITY)
    model = SimpleNamespace(
        variables_of_networks=[keras.Variable(np.zeros(shape, np.float32)) for shape in SHAPES],
        variables_of_optimizers=[keras.Variable(np.zeros(shape, np.float32)) for shape in SHAPES[:2]],
    )
    state.restore(model)
    assert state.epoch >= 0
    assert state.reached >= 0 or state.history
    if state.best_epoch >= 0:
        assign(model.variables_of_networks, state.best_weights)
        assert state.history[state.best_epoch]


def read_run(folder: Path) -> None:
    """A run that generates."""
    run = load_run(folder)
    assert generate(run, np.array([1024.0, 4096.0]), once=True).energies.shape == (2, run.geometry.size)


def read_results(folder: Path) -> None:
    """Results in README's tables and on pages."""
    read_table(folder / "results.json")
    page = build_results_page({"ours": read_json(folder / "results.json")})
    build_markdown(page)
    build_html(page)


INPUTS = {
    "checkpoint": Input(lambda random: {"state.npz": damaged_checkpoint(random)}, read_checkpoint),
    "network": Input(
        lambda random: {"net.keras": damaged_network(random)}, lambda folder: load_network(folder / "net.keras")
    ),
    "generating run": Input(damaged_run, read_run),
    "results": Input(damaged_results, read_results),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, the current one; TensorFlow has started its threads, which take memory."""
    written(tmp_path / "whole", {"state.npz": checkpoint(), **run_files()})
    read_run(tmp_path / "whole")
    (tmp_path / "empty").mkdir()
    return watched(tmp_path / "empty", monkeypatch)


def written(folder: Path, files: Any) -> Path:
    """The folder, with these files."""
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def test_whole_files_are_read(folder: Path) -> None:
    read_checkpoint(folder.parent / "whole")
    load_network(folder.parent / "whole" / "generator.keras")


@pytest.mark.parametrize("kind", INPUTS)
def test_damaged_files_of_runs_are_read_or_refused(kind: str, folder: Path) -> None:
    found = outcomes(kind, INPUTS[kind], range(10), folder)
    assert found["refused"] > 2, found


@pytest.mark.slow
@pytest.mark.parametrize("kind", INPUTS)
def test_many_damaged_files_of_runs_are_read_or_refused(kind: str, folder: Path) -> None:
    found = outcomes(kind, INPUTS[kind], range(1000, 1300), folder)
    print(kind, dict(found))
    assert min(found["read"], found["refused"]) > 6, found
