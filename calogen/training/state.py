"""Exact resume: the whole state of a training in one file, which is replaced atomically.

Orders of showers and noise are functions of (seed, epoch) and (seed, step), so that weights, optimizers and history are
the whole state, with the sums of a round that a signal has stopped: a killed training goes on from its last checkpoint
to the weights that it would have had. These are bit-identical on a CPU of the same kind, with the same versions and the
same number of threads, among which TensorFlow divides sums; another number rounds differently. By default there are as
many threads as the job has cores (`parallel.num_cores`); the checkpoint holds their number.
"""

import errno
import json
import math
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any  # the values of JSON tables

import numpy as np

from calogen.backend import keras
from calogen.errors import CalogenError, DataFormatError
from calogen.files import TEMPORARY, atomic_path, read_error
from calogen.parallel import tensorflow_threads
from calogen.process import tell
from calogen.provenance import device
from calogen.training.trainer import Trainer

Arrays = list[np.ndarray]


class Variables:
    """The variables of all trainers in the checkpoint's order, each of them once."""

    def __init__(self, trainers: Sequence[Trainer]) -> None:
        self.variables_of_networks = _distinct(item for one in trainers for item in one.variables_of_networks)
        self.variables_of_optimizers = _distinct(item for one in trainers for item in one.variables_of_optimizers)


@dataclass
class TrainingState:
    """The state of a training after an epoch, or after a round of iterations.

    Args:
        identity: text that identifies model and showers; a training resumes only from a state with its own identity.
        weights: values of the networks' variables, in their order.
        optimizer: values of the optimizers' variables, in their order.
        history: one table of numbers per finished epoch, or per checkpoint of a training that counts iterations.
        best_epoch: index of the epoch with the smallest monitored loss; -1 before the first.
        best_weights: the weights after that epoch.
        threads: successive numbers of TensorFlow's threads in the training.
        begun: how far the next epoch or round of iterations has come (`train.Round`); empty: it has not begun.
    """

    identity: str = ""
    weights: Arrays = field(default_factory=list)
    optimizer: Arrays = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = -1
    best_weights: Arrays = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    begun: dict[str, Any] = field(default_factory=dict)

    @property
    def epoch(self) -> int:
        """Number of finished epochs, and the index of the next one."""
        return len(self.history)

    @property
    def reached(self) -> int:
        """Number of finished iterations; 0: the training counts epochs."""
        return int(self.history[-1].get("iteration", 0)) if self.history else 0

    def capture(self, variables: Variables) -> None:
        """Copies the values of all variables into the state."""
        self.weights = values_of(variables.variables_of_networks)
        self.optimizer = values_of(variables.variables_of_optimizers)

    def restore(self, variables: Variables) -> None:
        """Sets all variables to the values in the state.

        Raises:
            DataFormatError: the values have other shapes than the variables.
        """
        if self.best_weights:
            _require_shapes(variables.variables_of_networks, self.best_weights)
        _require_shapes(variables.variables_of_networks, self.weights)
        _require_shapes(variables.variables_of_optimizers, self.optimizer)
        assign(variables.variables_of_networks, self.weights)
        assign(variables.variables_of_optimizers, self.optimizer)

    def record_threads(self) -> None:
        """Adds the present number of threads, if it has changed, and says so on a CPU."""
        threads = tensorflow_threads()
        if self.threads[-1:] == [threads]:
            return
        if self.threads and device() == "CPU":
            tell(
                f"this training goes on with {threads} threads, after {self.threads[-1]}: sums round differently, "
                f"so its weights will not be bit-identical (CALOGEN_CORES={self.threads[-1]} keeps the number)"
            )
        self.threads.append(threads)

    def record(self, logs: dict[str, float], monitor: str, variables: Variables) -> None:
        """Adds a finished epoch; keeps its weights if its loss is the smallest so far."""
        self.history.append(logs)
        if self.best_epoch < 0 or logs[monitor] < self.history[self.best_epoch][monitor]:
            self.best_epoch, self.best_weights = self.epoch - 1, values_of(variables.variables_of_networks)


def write_state(path: Path, state: TrainingState) -> None:
    """Writes a checkpoint whole or not at all."""
    groups = {"weights": state.weights, "optimizer": state.optimizer, "best": state.best_weights}
    arrays = {f"{name}/{index:04d}": array for name, group in groups.items() for index, array in enumerate(group)}
    about = {name: getattr(state, name) for name in ("identity", "history", "best_epoch", "threads", "begun")}
    text = json.dumps(about)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, about=np.frombuffer(text.encode(), np.uint8), **arrays)  # type: ignore[arg-type]


def read_state(path: Path, identity: str, *, extends: bool = False) -> TrainingState:
    """Reads a checkpoint; without a file it gives the state before the first epoch.

    Args:
        extends: whether the state of the same training with fewer iterations will do.

    Raises:
        DataFormatError: the file is damaged.
        CalogenError: the checkpoint has another identity.
    """
    if not path.exists():
        return TrainingState(identity)
    about, groups = _read(path)
    if about["identity"] != identity and not (extends and _is_longer(identity, about)):
        differences = _differences(identity, about["identity"])
        if differences.startswith("iterations (") and differences.count("(expected") == 1:
            differences += " (only a finished training, of one stage, at one rate and on all showers, is made longer)"
        raise CalogenError(
            f"{path} is another training's, it differs in {differences}: "
            "choose another folder (--output of calogen train, --runs of an experiment), or delete this one"
        )
    return TrainingState(
        identity=identity,
        weights=groups["weights"],
        optimizer=groups["optimizer"],
        history=about["history"],
        best_epoch=about["best_epoch"],
        best_weights=groups["best"],
        threads=about.get("threads", []),
        begun=about.get("begun", {}),
    )


def read_identity(path: Path) -> dict[str, object]:
    """The identity of a checkpoint, as a table; it is empty if the identity is no JSON table.

    Raises:
        DataFormatError: the file is missing or damaged.
    """
    try:
        identity = json.loads(_read(path)[0]["identity"])
    except ValueError:
        return {}
    return identity if isinstance(identity, dict) else {}


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Arrays of a NumPy archive by name; nothing in it is executed.

    Raises:
        Exception: whatever zipfile's and NumPy's parsers and decoders raise for a damaged file.
    """
    with path.open("rb") as opened:
        with zipfile.ZipFile(opened) as whole:
            if damaged := whole.testzip():  # first, as NumPy would allocate what a damaged header asks for
                raise zipfile.BadZipFile(f"wrong checksum of {damaged}")
            _require_sizes(whole)
        opened.seek(0)
        with np.load(opened, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}


def _require_sizes(archive: zipfile.ZipFile) -> None:
    """Refuse, with a `ValueError`, arrays whose headers do not fit the sizes of their files."""
    headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    for member in archive.infolist():
        with archive.open(member) as content:
            shape, _, dtype = headers[np.lib.format.read_magic(content)](content)
            if content.tell() + math.prod(shape) * dtype.itemsize != member.file_size:
                raise ValueError(f"{member.filename} must hold {list(shape)} of {dtype}")


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Arrays]]:
    """Text and arrays of a checkpoint."""
    try:
        arrays = read_arrays(path)
        about = json.loads(arrays.pop("about").tobytes().decode())
        groups: dict[str, Arrays] = {"weights": [], "optimizer": [], "best": []}
        for name in sorted(arrays):
            groups[name.split("/")[0]].append(arrays[name])
        _require_training(about, groups)
    except MemoryError:
        raise
    except Exception as error:  # zipfile and NumPy raise whatever their files' parsers and decoders do
        if isinstance(error, OSError) and error.errno in (*TEMPORARY, errno.EACCES, errno.EPERM, errno.ENOENT):
            raise read_error(path, error) from error
        reason = f"{type(error).__name__}: {' '.join(str(error).split()):.200}"
        raise DataFormatError(f"{path} is damaged ({reason}): delete it to train from the start") from error
    return about, groups


def _require_training(about: dict[str, Any], groups: dict[str, Arrays]) -> None:
    """Refuse, with a `TypeError`, a text and arrays that no training has written."""
    history = about["history"]
    rows = isinstance(history, list) and all(
        isinstance(row, dict) and all(type(value) in (int, float) for value in row.values()) for row in history
    )
    if not rows or not isinstance(about["identity"], str):
        raise TypeError("identity must be a text, history a list of tables of numbers")
    if not all(math.isfinite(row.get("iteration", 0)) for row in history):
        raise TypeError("iterations must be finite")
    threads = about.get("threads", [])
    if not isinstance(threads, list) or not all(type(number) is int and number > 0 for number in threads):
        raise TypeError("threads must be a list of numbers above 0")
    begun = about.get("begun", {})
    numbers = [item for value in begun.values() for item in (value if isinstance(value, list) else [value])]
    if not isinstance(begun, dict) or not all(type(item) in (int, float) for item in numbers):
        raise TypeError("begun must be a table of numbers")
    best = about["best_epoch"]
    if type(best) is not int or not -1 <= best < len(history) or (best >= 0) != bool(groups["best"]):
        raise TypeError(f"best_epoch must be one of {len(history)} epochs, with its weights")
    if any(array.dtype.kind not in "biuf" for group in groups.values() for array in group):
        raise TypeError("weights must be numbers")


def _is_longer(expected: str, about: Mapping[str, Any]) -> bool:
    """Whether a checkpoint is of a finished training that differs in fewer iterations alone."""
    try:
        tables = [json.loads(text) for text in (expected, about["identity"])]
        more, fewer = (table["config"].pop("iterations") for table in tables)
    except (ValueError, TypeError, AttributeError, KeyError):
        return False
    finished = bool(about["history"]) and about["history"][-1].get("iteration") == fewer
    return finished and tables[0] == tables[1] and fewer < more


def _differences(expected: str, received: str) -> str:
    """Text with the entries in which two identities, JSON tables or not, differ."""
    try:
        tables = [json.loads(text) for text in (expected, received)]
        flat = [{**table, **table.get("config", {})} for table in tables]
    except (ValueError, TypeError, AttributeError):
        return f"its identity. Expected: {expected}. Received: {received}"
    names = [name for name in sorted({*flat[0], *flat[1]} - {"config"}) if flat[0].get(name) != flat[1].get(name)]
    return ", ".join(f"{name} (expected {flat[0].get(name)}, received {flat[1].get(name)})" for name in names)


def shapes_of(variables: Sequence[keras.Variable]) -> list[tuple[int, ...]]:
    """Shapes of variables."""
    return [tuple(variable.shape) for variable in variables]


def values_of(variables: Sequence[keras.Variable]) -> Arrays:
    """Copies of the values of variables."""
    return [np.array(variable.numpy()) for variable in variables]


def assign(variables: Sequence[keras.Variable], values: Arrays) -> None:
    """Sets variables to values.

    Raises:
        DataFormatError: the values have other shapes than the variables.
    """
    _require_shapes(variables, values)
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _require_shapes(variables: Sequence[keras.Variable], values: Arrays) -> None:
    if shapes_of(variables) != [value.shape for value in values]:
        raise DataFormatError(
            f"a checkpoint must hold {len(variables)} arrays of the model's shapes. Received: {len(values)} arrays "
            "(was it written by another version? delete the run's checkpoint to train from the start)"
        )


def _distinct(variables: Iterable[keras.Variable]) -> list[keras.Variable]:
    return list({id(variable): variable for variable in variables}.values())
