import errno
import io
import json
import os
import random
import runpy
import signal
import subprocess
import sys
import time
import zipfile
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from damage import damage_bytes

from calogen.errors import CalogenError, DataFormatError
from calogen.parallel import tensorflow_threads
from calogen.training.state import TrainingState, read_state, write_state

WORKER = Path(__file__).with_name("resume_worker.py")


class Variable:
    """What a state puts its arrays into."""

    def __init__(self, value: np.ndarray) -> None:
        self.value, self.shape = value, value.shape

    def assign(self, value: np.ndarray) -> None:
        self.value = value


def model_of(state: TrainingState) -> SimpleNamespace:
    """What a state is put into: variables of its shapes."""
    return SimpleNamespace(
        variables_of_networks=[Variable(array) for array in state.weights],
        variables_of_optimizers=[Variable(array) for array in state.optimizer],
    )


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
    losses = [[{k: v for k, v in epoch.items() if "seconds" not in k} for epoch in s.history] for s in (first, second)]
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
    remedy = ": choose another folder (--output of calogen train, --runs of an experiment), or delete this one"
    assert str(received.value).endswith(remedy)


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


def _with_method(data: bytes, method: int) -> bytes:
    """The same archive that names another compression method, in both of a member's headers."""
    changed = bytearray(data)
    for signature, place in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        start = data.find(signature)
        changed[start + place : start + place + 2] = method.to_bytes(2, "little")
    return bytes(changed)


@pytest.mark.parametrize("method", [1, 8, 12, 14, 99])
def test_an_unknown_or_wrong_compression_is_damage(state: TrainingState, tmp_path: Path, method: int) -> None:
    path = tmp_path / "state.npz"
    write_state(path, state)
    path.write_bytes(_with_method(path.read_bytes(), method))
    with pytest.raises(DataFormatError, match=r"state.npz is damaged \(.*\): delete it to train from the start"):
        read_state(path, "me")


@pytest.mark.parametrize(("number", "code"), [(errno.EIO, 75), (errno.ESTALE, 75), (errno.EACCES, 2)])
def test_what_cannot_be_read_is_no_damage(
    state: TrainingState, tmp_path: Path, number: int, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk's trouble must not have days of training deleted."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    write_state(tmp_path / "state.npz", state)
    monkeypatch.setattr(zipfile, "ZipFile", fail)
    with pytest.raises(CalogenError, match=f"cannot read .*state.npz: {os.strerror(number)}$") as raised:
        read_state(tmp_path / "state.npz", "me")
    assert raised.value.exit_code == code


def test_a_header_that_asks_for_gigabytes_is_damage(state: TrainingState, tmp_path: Path) -> None:
    """With a right checksum, as a damaged writer leaves it: NumPy would ask for the memory first."""
    path = tmp_path / "state.npz"
    write_state(path, state)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (5_000_000_000,)})
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (members | {"weights/0000.npy": header.getvalue() + bytes(80)}).items():
            archive.writestr(name, content)
    with pytest.raises(DataFormatError, match=r"damaged \(ValueError: weights/0000.npy must hold \[5000000000\]"):
        read_state(path, "me")


@pytest.mark.parametrize("packed", [False, True])
def test_damaged_bytes_are_read_as_they_were_or_refused(state: TrainingState, tmp_path: Path, packed: bool) -> None:
    """Three hundred faults; none changes a number unseen."""
    path, chance, refused = tmp_path / "state.npz", random.Random(7), 0
    write_state(path, state)
    if packed:
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
    whole = path.read_bytes()
    for _ in range(300):
        path.write_bytes(damage_bytes(whole, chance))
        refused += 1
        with suppress(DataFormatError):
            again = read_state(path, "me")
            again.restore(model_of(state))  # a damaged list of members may lack the last one
            assert_equal(again, state)
            refused -= 1
    assert refused > 100


ABOUT = {"identity": "me", "history": [{"loss": 2.0}], "best_epoch": 0}


@pytest.mark.parametrize(
    "change",
    [
        [],
        {"identity": 5},
        {"history": {}},
        {"history": [1]},
        {"history": [{"loss": "low"}]},
        {"history": [{"loss": None}]},
        {"history": [{"iteration": float("nan")}]},
        {"history": [{"iteration": float("inf")}]},
        {"threads": None},
        {"threads": "abc"},
        {"threads": {}},
        {"threads": [0]},
        {"best_epoch": 3},
        {"best_epoch": -2},
        {"best_epoch": 0.5},
        {"best_epoch": -1},
    ],
)
def test_texts_of_something_else_are_refused(tmp_path: Path, change: Any) -> None:
    about = ABOUT | change if isinstance(change, dict) else change
    text = np.frombuffer(json.dumps(about).encode(), np.uint8)
    np.savez(tmp_path / "state.npz", about=text, **{"weights/0000": np.ones(2), "best/0000": np.ones(2)})
    with pytest.raises(DataFormatError, match="is damaged"):
        read_state(tmp_path / "state.npz", "me")


@pytest.mark.parametrize("arrays", [{"weights/0000": np.array(["a"])}, {"other/0000": np.ones(2)}, {"best/0000": None}])
def test_arrays_of_something_else_are_refused(tmp_path: Path, arrays: dict[str, Any]) -> None:
    text = np.frombuffer(json.dumps(ABOUT).encode(), np.uint8)
    np.savez(tmp_path / "state.npz", about=text, **{"best/0000": np.ones(2), **arrays})
    with pytest.raises(DataFormatError, match="is damaged"):
        read_state(tmp_path / "state.npz", "me")


@pytest.mark.parametrize("group", ["weights", "optimizer", "best_weights"])
@pytest.mark.parametrize("kind", ["fewer", "other"])
def test_arrays_of_another_model_are_refused_before_training(state: TrainingState, group: str, kind: str) -> None:
    model = model_of(state)
    state.restore(model)
    arrays = getattr(state, group)
    setattr(state, group, arrays[:-1] if kind == "fewer" else [*arrays[:-1], np.ones(9)])
    for variable in model.variables_of_networks:
        variable.value = np.zeros(0)
    with pytest.raises(DataFormatError, match="arrays of the model's shapes.* delete the run's checkpoint to train"):
        state.restore(model)
    assert not any(variable.value.size for variable in model.variables_of_networks), "nothing was changed"


@pytest.mark.parametrize("kills", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_killed_trainings_end_with_the_same_bits(tmp_path: Path, kills: int) -> None:
    """In the condition that is promised: a process with as many threads on the same processor."""
    epochs, moments = 60, random.Random(kills)
    runpy.run_path(str(WORKER))["main"](tmp_path / "whole", epochs)
    for kill in range(kills):
        worker = train(tmp_path / "killed", epochs)
        wait_for_epochs(tmp_path / "killed" / "checkpoint.npz", 1 + kill * epochs // (kills + 1), worker)
        time.sleep(moments.uniform(0.0, 0.05))
        worker.send_signal(signal.SIGKILL)
        assert worker.wait() == -signal.SIGKILL
        assert read_state(tmp_path / "killed" / "checkpoint.npz", "worker").epoch < epochs
    assert train(tmp_path / "killed", epochs).wait() == 0
    whole, killed = (read_state(tmp_path / name / "checkpoint.npz", "worker") for name in ("whole", "killed"))
    assert whole.epoch == killed.epoch == epochs
    assert whole.threads == [tensorflow_threads()]
    assert_equal(killed, whole)


def train(directory: Path, epochs: int) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, str(WORKER), str(directory), str(epochs)])


def wait_for_epochs(path: Path, epochs: int, worker: subprocess.Popen) -> None:
    while worker.poll() is None and (not path.exists() or read_state(path, "worker").epoch < epochs):
        time.sleep(0.002)
