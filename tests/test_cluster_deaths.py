"""Workers that are killed at random moments: every command that has them gives what it gives without a death."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from conftest import TINY_VOLUME, make_showers
from killing import Find, children_of, employers, holders, kill_workers, run_with_deaths, runs
from test_cluster import COMMAND, assert_equal, generation
from toy_scan import grid_of, task_of

from calogen.cluster import common_pool
from calogen.evaluation import streaming
from calogen.evaluation.grids import read_table
from calogen.evaluation.streaming import read_sample
from calogen.generation.load import load_run
from calogen.metrics.classifier import ClassifierConfig, classify
from calogen.showers.files import Reading
from calogen.showers.voxels import PHOTONS_DATASET1

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
LOCAL = ["--cluster", "local:2"]
TIMES = pytest.mark.parametrize("deaths", [3, pytest.param(20, marks=pytest.mark.slow)])
LONG = pytest.mark.parametrize("deaths", [pytest.param(times, marks=pytest.mark.slow) for times in (3, 20)])


def kill(command: list[str], deaths: int, find: Find, check: Callable[[], object], wait: float = 1.0) -> None:
    """Runs a command again and again, until so many of its workers were killed.

    Args:
        command: the command, whose output is not there.
        deaths: number of workers to kill.
        find: function that gives the workers of a process.
        check: function that compares the output of each run with what is expected, and removes it.
        wait: mean number of seconds between two deaths.
    """
    left = deaths
    for seed in range(3 * deaths):
        code, killed, text = run_with_deaths(command, left, seed, find, wait)
        assert code == 0, text
        check()
        left -= killed
        if not left:
            return
    pytest.fail(f"{left} of {deaths} workers outlived their work")


@TIMES
def test_simulation_survives(deaths: int, tmp_path: Path) -> None:
    options = ["--energies", "256,1024", "--showers", str(50 * deaths), "--output"]
    subprocess.run([*COMMAND, "simulate", *options, str(tmp_path / "b.h5")], check=True, capture_output=True)

    def check() -> None:
        assert_equal(tmp_path / "a.h5", tmp_path / "b.h5")
        (tmp_path / "a.h5").unlink()
        assert [path.name for path in tmp_path.iterdir()] == ["b.h5"]

    kill([*COMMAND, "simulate", *options, str(tmp_path / "a.h5"), *LOCAL], deaths, holders("geant4_pybind"), check)


@TIMES
def test_generation_survives_the_end_of_its_command(deaths: int, tmp_path: Path) -> None:
    alone = generation(tmp_path, 2 * deaths + 4)
    command = [*alone, str(tmp_path / "a.h5"), *LOCAL]
    terminate(command, tmp_path / "a.h5.parts")
    subprocess.run([*alone, str(tmp_path / "b.h5")], check=True, capture_output=True)

    def check() -> None:
        assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
        (tmp_path / "a.h5").unlink()

    kill(command, deaths, holders("libtensorflow_framework"), check, wait=0.3)


def terminate(command: list[str], parts: Path) -> None:
    """Ends a command in order once it has a part of its result; its workers end with it."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not (parts.is_dir() and any(parts.glob("*.h5"))):
            time.sleep(0.01)
        workers = children_of(process.pid)
        process.terminate()
        _, told = process.communicate(timeout=60)
    assert process.returncode == 143, told
    assert told.rstrip().endswith("calogen: terminated")
    assert len(workers) >= 2
    end = time.monotonic() + 20
    while left := [number for number in workers if runs(number)]:
        assert time.monotonic() < end, left
        time.sleep(0.1)
    assert any(parts.glob("*.h5"))


@LONG
def test_evaluation_survives(deaths: int, tmp_path: Path) -> None:
    """Two models; most of the time goes into figures. `test_parts_of_an_evaluation_survive` is the short one."""
    for seed, name in enumerate(("reference", "first", "second")):
        make_showers(PHOTONS_DATASET1, 600, seed).write(tmp_path / f"{name}.h5")
    files = [f"{name}={tmp_path / name}.h5" for name in ("first", "second")]
    samples = ["--reference", str(tmp_path / "reference.h5"), "--generated", *files]
    options = [*samples, "--classifiers", "1", "--max-showers", "50", "--output"]

    def numbers(folder: Path) -> dict[str, Any]:
        found = {path.parent.name: json.loads(path.read_text()) for path in folder.rglob("metrics.json")}
        assert set(found) == {"first", "second"}
        return found

    subprocess.run([*COMMAND, "evaluate", *options, str(tmp_path / "b")], check=True, capture_output=True)
    expected = numbers(tmp_path / "b")

    def check() -> None:
        np.testing.assert_equal(numbers(tmp_path / "a"), expected)
        shutil.rmtree(tmp_path / "a")

    kill([*COMMAND, "evaluate", *options, str(tmp_path / "a"), *LOCAL], deaths, holders("libhdf5"), check, wait=2.0)


@LONG
def test_scan_survives(deaths: int, tmp_path: Path) -> None:
    """What the worker of a trial leaves is gone on with; the trial counts once."""
    grid_of(tmp_path, preset="laptop")
    task_of(tmp_path, grid_of(tmp_path))
    files = ["--train-data", str(tmp_path / "train.h5"), "--grid", str(tmp_path / "toy.toml"), "--trials", "3"]
    words = [sys.executable, str(EXPERIMENTS / "scan.py"), "atlas-gan", "--preset", "laptop", *files, "--runs"]

    def figures(runs: Path) -> dict[str, float]:
        (path,) = runs.rglob("scan.csv")
        table = pd.read_csv(path)
        complete = table[table.state == "complete"]
        assert complete.point.is_unique
        return dict(zip(complete.point, complete.criterion, strict=True))

    subprocess.run([*words, str(tmp_path / "b"), "--workers", "0"], check=True, capture_output=True)
    expected = figures(tmp_path / "b")
    assert len(expected) == 3

    def check() -> None:
        assert figures(tmp_path / "a") == pytest.approx(expected, rel=1e-4)
        shutil.rmtree(tmp_path / "a")

    command = [*words, str(tmp_path / "a"), "--workers", "2", *LOCAL]
    kill(command, deaths, employers("libtensorflow_framework"), check)


@LONG
def test_experiment_survives(deaths: int, tmp_path: Path) -> None:
    """The worker of a training is killed, which ends the training with it; the next worker goes on."""
    words = [sys.executable, str(EXPERIMENTS / "fastcalogan.py"), "--smoke", "--seed", "1", "--only", "photon"]
    subprocess.run([*words, "--runs", str(tmp_path / "b"), *LOCAL], check=True, capture_output=True)

    def weights(runs: Path) -> list[np.ndarray]:
        (selected,) = runs.rglob("selected")
        return list(load_run(selected).generator.get_weights())

    expected = weights(tmp_path / "b")

    def check() -> None:
        for found, ours in zip(weights(tmp_path / "a"), expected, strict=True):
            np.testing.assert_array_equal(found, ours)
        shutil.rmtree(tmp_path / "a")

    command = [*words, "--runs", str(tmp_path / "a"), *LOCAL]
    kill(command, deaths, employers("libtensorflow_framework"), check)


def judged(folder: Path) -> list[Any]:
    """What parts of an evaluation that workers share give: a reference, another sample, a classifier, a grid."""
    first = read_sample(folder / "first.h5", PHOTONS_DATASET1)
    second = read_sample(folder / "second.h5", PHOTONS_DATASET1, 1.0, first, True, Reading(tolerant=True))
    pair = first.features.values[:200, :5], second.features.values[:200, :5]
    config = ClassifierConfig(hidden_units=(4,), batch_size=20, epochs=2)
    score = classify(*pair, repetitions=3, config=config, trainings=folder / "classifiers.json")
    (folder / "classifiers.json").unlink()
    samples = [
        (
            item.features.values,
            item.shapes and item.shapes.values,
            *vars(item.spectrum).values(),
            item.hashes,
            item.notes,
        )
        for item in (first, second)
    ]
    table = vars(read_table(folder / "grid.h5", TINY_VOLUME))
    examples = table.pop("examples")
    return [*samples, vars(score), {name: item for name, item in table.items() if name != "grid"}, examples.energies]


@pytest.mark.parametrize(("deaths", "wait"), [(3, 1.0), pytest.param(20, 8.0, marks=pytest.mark.slow)])
def test_parts_of_an_evaluation_survive(
    deaths: int, wait: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new worker takes seconds to load TensorFlow; a task that ten of them cannot finish ends the evaluation."""
    monkeypatch.setattr(streaming, "_BLOCK_BYTES", 8 * 368 * 100)
    monkeypatch.setattr(streaming, "_TASK_BLOCKS", 2)
    for seed, name in enumerate(("first", "second")):
        make_showers(PHOTONS_DATASET1, 2000, seed).write(tmp_path / f"{name}.h5")
    with h5py.File(tmp_path / "second.h5", "r+") as file:
        file["showers"][7, :3] = -1e-4
    make_showers(TINY_VOLUME, 5000).write(tmp_path / "grid.h5")
    expected, killed, rounds = judged(tmp_path), [], 0
    with common_pool("local:2"):
        monkeypatch.chdir(tmp_path)  # the workers work in another folder
        done = threading.Event()
        killing = threading.Thread(
            target=lambda: killed.append(kill_workers(os.getpid(), deaths, 1, holders("libhdf5"), wait, done.is_set))
        )
        killing.start()
        try:
            start = time.monotonic()
            while not rounds or (killing.is_alive() and time.monotonic() - start < 100 * deaths):
                np.testing.assert_equal(judged(Path()), expected)
                rounds += 1
        finally:
            done.set()
            killing.join()
    assert killed == [deaths]
    assert "set to 0" in expected[1][-1][0]
    assert {path.name for path in tmp_path.iterdir()} == {"first.h5", "second.h5", "grid.h5"}
