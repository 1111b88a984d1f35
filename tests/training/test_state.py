import json
import random
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from calogen.errors import CalogenError, DataFormatError
from calogen.parallel import tensorflow_threads
from calogen.training.state import TrainingState, read_state, write_state

WORKER = Path(__file__).with_name("resume_worker.py")


@pytest.fixture
def state() -> TrainingState:
    rng = np.random.default_rng(1)
    weights = [rng.normal(size=(3, 2)).astype(np.float32), rng.normal(size=2).astype(np.float32)]
    optimizer = [np.array(7), *(weight * 0.1 for weight in weights)]
    history = [{"loss": 2.0}, {"loss": 1.0}, {"loss": 1.5}]
    return TrainingState("me", weights, optimizer, history, 1, [weight + 1 for weight in weights], [2])


def assert_equal(first: TrainingState, second: TrainingState) -> None:
    for name in ("weights", "optimizer", "best_weights"):
        ours, theirs = getattr(first, name), getattr(second, name)
        assert [array.tobytes() for array in ours] == [array.tobytes() for array in theirs], name
        assert [array.dtype for array in ours] == [array.dtype for array in theirs], name
    assert (first.best_epoch, first.threads) == (second.best_epoch, second.threads)
    losses = [[{k: v for k, v in epoch.items() if k != "seconds"} for epoch in s.history] for s in (first, second)]
    assert losses[0] == losses[1]


def test_a_state_survives_the_file(state: TrainingState, tmp_path: Path) -> None:
    write_state(tmp_path / "state.npz", state)
    again = read_state(tmp_path / "state.npz", "me")
    assert_equal(again, state)
    assert again.epoch == 3
    assert [path.name for path in tmp_path.iterdir()] == ["state.npz"]


def test_without_a_file_a_training_starts(tmp_path: Path) -> None:
    assert read_state(tmp_path / "state.npz", "me") == TrainingState("me")


def test_another_training_is_refused(state: TrainingState, tmp_path: Path) -> None:
    write_state(tmp_path / "state.npz", state)
    with pytest.raises(CalogenError, match="another training") as received:
        read_state(tmp_path / "state.npz", "you")
    assert str(received.value).endswith(": choose another folder (--runs; make: RUNS=<folder>), or delete this one")


@pytest.mark.parametrize("length", [0, 10, 700])
def test_a_damaged_file_is_refused(state: TrainingState, tmp_path: Path, length: int) -> None:
    path = tmp_path / "state.npz"
    write_state(path, state)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DataFormatError, match="damaged"):
        read_state(path, "me")


def test_a_training_that_goes_on_with_other_threads_says_so(
    state: TrainingState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """TensorFlow divides sums among its threads: with another number the weights differ in their last bits."""
    write_state(tmp_path / "state.npz", state)
    for threads, expected in ((2, [2]), (4, [2, 4]), (2, [2, 4, 2])):
        monkeypatch.setattr("calogen.training.state.tensorflow_threads", lambda threads=threads: threads)
        again = read_state(tmp_path / "state.npz", "me")
        again.record_threads()
        assert again.threads == expected
        said = capsys.readouterr().err
        before = expected[-2] if len(expected) > 1 else 0
        assert (f"with {threads} threads, after {before}: " in said) == bool(before)
        assert (f"CALOGEN_CORES={before} keeps the number" in said) == bool(before)
        assert said.count("\n") == bool(before)
        write_state(tmp_path / "state.npz", again)


def test_a_checkpoint_of_an_earlier_version_has_no_threads(state: TrainingState, tmp_path: Path) -> None:
    write_state(tmp_path / "state.npz", state)
    with np.load(tmp_path / "state.npz") as file:
        arrays = dict(file)
    about = json.loads(arrays.pop("about").tobytes())
    del about["threads"]
    text = np.frombuffer(json.dumps(about).encode(), np.uint8)
    np.savez(tmp_path / "state.npz", about=text, **arrays)
    assert read_state(tmp_path / "state.npz", "me").threads == []


@pytest.mark.parametrize("kills", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_killed_trainings_end_with_the_same_bits(tmp_path: Path, kills: int) -> None:
    """In the condition that is promised: a process with as many threads on the same processor."""
    epochs, moments = 60, random.Random(kills)
    runpy.run_path(str(WORKER))["main"](tmp_path / "whole", epochs)
    for kill in range(kills):
        worker = train(tmp_path / "killed", epochs)
        wait_for_epochs(tmp_path / "killed" / "state.npz", 1 + kill * epochs // (kills + 1), worker)
        time.sleep(moments.uniform(0.0, 0.05))
        worker.send_signal(signal.SIGKILL)
        assert worker.wait() == -signal.SIGKILL
        assert read_state(tmp_path / "killed" / "state.npz", "worker").epoch < epochs
    assert train(tmp_path / "killed", epochs).wait() == 0
    whole, killed = (read_state(tmp_path / name / "state.npz", "worker") for name in ("whole", "killed"))
    assert whole.epoch == killed.epoch == epochs
    assert whole.threads == [tensorflow_threads()]
    assert_equal(killed, whole)


def train(directory: Path, epochs: int) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, str(WORKER), str(directory), str(epochs)])


def wait_for_epochs(path: Path, epochs: int, worker: subprocess.Popen) -> None:
    while worker.poll() is None and (not path.exists() or read_state(path, "worker").epoch < epochs):
        time.sleep(0.002)
