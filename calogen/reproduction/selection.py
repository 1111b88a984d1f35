"""Choice of the epoch or iteration of a training by a figure of merit in physics.

`scan` computes figures of merit (`evaluation.merits`) for every saved epoch or iteration of a training, and `select`
takes the one whose figure of merit is smallest.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from calogen.backend import tf
from calogen.config import Config
from calogen.errors import DataFormatError
from calogen.evaluation.compare import ALL_ENERGIES
from calogen.evaluation.iterations import ALL, WITH_SHAPES, IterationScan
from calogen.evaluation.merits import Merit, MeritByEnergy, mean_ks_distance
from calogen.files import read_json, read_json_table, sha256, write_json, write_table
from calogen.generation.generate import generate_like
from calogen.generation.load import list_snapshots, load_run, load_snapshot, module_of
from calogen.metrics.distributions import Value
from calogen.observables.observable import Observable
from calogen.parallel import num_workers, process_pool
from calogen.progress import progress
from calogen.showers.sample import Showers
from calogen.training.fit import untrained
from calogen.training.run import TrainedRun, save_run

_SHOWERS_PER_WORKER = 2_000_000  # to generate and judge so many takes longer than to start another process
_WORKER_BYTES = 600_000_000  # memory for TensorFlow, the networks, the showers of an iteration
_SOON = 50  # iterations before which a network is as good as untrained
_RECORD_SECONDS = 5.0  # between two writings of `selection.json`


def validation_distance(
    run: TrainedRun, validation: Showers, observables: Sequence[Observable], seed: int = 0, copies: int = 5
) -> Value:
    """`mean_ks_distance` of validation showers and `copies` times as many generated ones."""
    generated = generate_like(run, validation, seed, copies=copies)
    return mean_ks_distance(validation, generated, observables)


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Figures of merit, and the showers by which they judge epochs or iterations.

    Args:
        reference: Geant4's showers; every epoch or iteration generates as many, at the same conditions.
        merits: figures of merit by name; each gives a table of that name. The first one also gives a table for each of
            the `parts`.
        parts: rows of the reference, `[n]` bool, by the name of the part.
        seed: seed of the generated showers, equal for all epochs or iterations.
    """

    reference: Showers
    merits: Mapping[str, Merit]
    parts: Mapping[str, np.ndarray] = field(default_factory=dict)
    seed: int = 0

    @property
    def identity(self) -> dict[str, object]:
        """What decides the tables besides the training; tables of another identity are not read."""
        digest = hashlib.sha256()
        named = (group[name] for group in (self.parts, self.reference.conditions) for name in sorted(group))
        for array in (self.reference.incident_energies, self.reference.energies, *named):
            digest.update(np.ascontiguousarray(array).tobytes())
        merits = {name: repr(merit) for name, merit in self.merits.items()}
        showers = digest.hexdigest()[:16]
        return {"merits": merits, "seed": self.seed, "parts": sorted(self.parts), "showers": showers}

    @property
    def tables(self) -> dict[str, tuple[Merit, np.ndarray]]:
        """Figure of merit, and rows of the reference that it judges by, of every table."""
        every = np.ones(len(self.reference), bool)
        (name, first), *further = self.merits.items()
        of_first = {name: (first, every)} | {part: (first, rows) for part, rows in self.parts.items()}
        return of_first | {key: (merit, every) for key, merit in further}


def scan(
    directory: Path, judge: Judge, unit: str = "iteration", workers: int | None = None
) -> dict[str, IterationScan]:
    """Computes figures of merit of every saved epoch or iteration of a trained run.

    Figures of merit of an earlier call are read from `selection.json` in the run's directory, to which new ones are
    added from time to time.

    Args:
        directory: directory of the run, with `snapshots/<unit>-<number>.keras`.
        judge: figures of merit and showers.
        unit: `epoch` or `iteration`.
        workers: number of processes; None: one, or for long work as many as the job's cores and memory allow.

    Returns:
        The judge's tables by name. A figure of merit that is no sum over incident energies stands at energy 0.

    Raises:
        DataFormatError: the directory has no snapshots, or no trained run.
    """
    numbers = list_snapshots(directory, unit)
    reached = _reached(directory, unit) if numbers else np.inf
    numbers = [number for number in numbers if number <= reached]  # a longer training may go on here
    if not numbers:
        raise DataFormatError(f"{directory} must hold snapshots/{unit}-<number>.keras. Received: none: train it first")
    record = directory / "selection.json"
    identity = judge.identity | {"training": sha256(directory / "history.json")[:16]}
    tables = _read_record(record, identity, tuple(judge.tables))
    missing = [number for number in numbers if str(number) not in tables]
    if workers is None:
        useful = 1 + len(missing) * len(judge.reference) // _SHOWERS_PER_WORKER
        workers = num_workers(min(useful, len(missing)), _WORKER_BYTES)
    last = monotonic()
    with (
        progress(f"judging saved {unit}s", len(missing)) as bar,
        _measured(directory, judge, unit, missing, workers) as results,
    ):
        for count, (number, columns) in enumerate(results, 1):
            undefined = [name for name, values in columns.items() if not np.isfinite(values).all()]
            if undefined:
                raise DataFormatError(
                    f"the figure of merit {undefined[0]!r} must be a number for every {unit}. Received: NaN or "
                    f"infinity for {unit} {number}: choose by observables that these showers have"
                )
            tables[str(number)] = columns
            bar.advance()
            if monotonic() > last + _RECORD_SECONDS or count == len(missing):
                last = monotonic()
                write_json(record, {"identity": identity, "iterations": tables})
    scans = {name: _scan(numbers, tables, name) for name in judge.tables}
    frames = [found.to_frame().assign(reference=name) for name, found in scans.items()]
    write_table(record.with_suffix(".csv"), pd.concat(frames).rename(columns={"iteration": unit}))
    return scans


def untrained_merits(
    directory: Path, judge: Judge, scan: IterationScan, config: Config, training: Showers, unit: str = "iteration"
) -> dict[str, float]:
    """Figures of merit before the training, where a scan does not show what was learned.

    They are left out as well if its first iteration is so early that the network is as good as untrained. Those of an
    earlier call are read from `untrained.json` in the run's directory.

    Args:
        directory, judge, unit: as for `scan`.
        scan: the saved iterations.
        config: configuration of the training.
        training: showers, of which the training has those that it can use.
    """
    soon = unit == "iteration" and scan.iterations[0] < _SOON
    if soon or scan.late + scan.late_scatter < scan.total[0]:
        return {}
    merits = {name: merit for name, merit in judge.merits.items() if name in (ALL, WITH_SHAPES)}
    history = sha256(directory / "history.json")[:16]
    identity = replace(judge, merits=merits, parts={}).identity | {"training": history}
    record = directory / "untrained.json"
    known = read_json_table(record) if record.exists() else {}
    if known.get("identity") != identity:
        run = untrained(module_of(config), config, training.geometry, training)
        generated = generate_like(run, judge.reference, judge.seed)
        found = {name: merit(judge.reference, generated).value for name, merit in merits.items()}
        known = {"identity": identity, "merits": found}
        write_json(record, known)
    return {name: float(value) for name, value in known["merits"].items()}


def _reached(directory: Path, unit: str) -> float:
    """The last epoch or iteration of a finished training; infinity: its history does not say.

    Raises:
        DataFormatError: its history has something else than numbers.
    """
    history = read_json(directory / "history.json")
    rows = [row for row in history if isinstance(row, dict)] if isinstance(history, list) else []
    numbers = [row.get(unit, np.inf) for row in rows]
    wrong = [number for number in numbers if not isinstance(number, int | float)]
    if wrong:
        raise DataFormatError(f"{directory / 'history.json'} must have numbers as {unit}. Received: {wrong[0]!r:.100}")
    return max(numbers, default=np.inf)


def _read_record(path: Path, identity: dict[str, object], names: Sequence[str]) -> dict[str, "Columns"]:
    """Columns of the epochs or iterations that were judged before under this identity.

    Raises:
        DataFormatError: the file holds something else than such columns.
    """
    if not path.exists():
        return {}
    try:
        known = read_json_table(path)
        if known["identity"] != identity:
            return {}
        for name in names:
            shapes = {np.array(table[name], np.float64).shape for table in known["iterations"].values()}
            if any(len(shape) != 2 or shape[0] != 3 or not shape[1] for shape in shapes) or len(shapes) > 1:
                raise ValueError(f"tables of momenta, chi2 and ndf must have shape [3, n]: {sorted(shapes)}")
        return known["iterations"]
    except (DataFormatError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataFormatError(
            f"{path} must hold what the iterations were judged by: delete it to judge them anew. "
            f"Received: {type(error).__name__}: {error!s:.200}"
        ) from error


def select(directory: Path, table: IterationScan, unit: str = "iteration", *, save: bool = True) -> TrainedRun:
    """The run with its generating networks as they were at the best epoch or iteration.

    Args:
        directory: directory of the run.
        table: a table of `scan`, which says which epoch or iteration is the best.
        unit: `epoch` or `iteration`.
        save: whether to write the run as `selected` in the directory.

    Raises:
        DataFormatError: the directory has no trained run, or no snapshot of that epoch or iteration.
    """
    run, about = load_run(directory), table.choice(unit)
    whole = load_snapshot(run, directory, unit, int(about[unit]))
    chosen = replace(whole, networks={name: whole.networks[name] for name in run.generates})
    if save:
        save_run(directory / "selected", chosen)
        write_json(directory / "selected" / "selection.json", about)
    return chosen


Columns = dict[str, list[list[float]]]
"""Incident energies, chi2 and NDF of one epoch or iteration, by the name of the table."""


@contextmanager
def _measured(
    directory: Path, judge: Judge, unit: str, numbers: Sequence[int], workers: int
) -> Iterator[Iterator[tuple[int, Columns]]]:
    """Gives epochs or iterations with their columns, as one process or several finish them."""
    run = load_run(directory) if numbers else None  # even if only workers need it: here a damaged run is an error
    if workers < 2 or len(numbers) < 2:
        yield ((number, _measure(load_snapshot(run, directory, unit, number), judge)) for number in numbers if run)
        return
    with process_pool(min(workers, len(numbers)), _start_worker, (directory, judge)) as pool:
        tasks = {pool.submit(_measure_in_worker, directory, unit, number): number for number in numbers}
        yield ((tasks[task], task.result()) for task in as_completed(tasks))


_worker: list[tuple[TrainedRun, Judge]] = []  # in a worker: its run and its judge


def _start_worker(directory: Path, judge: Judge) -> None:
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # several workers would fight for the memory of one GPU
    # and, with more than one thread each, for the cores
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    threadpool_limits(1, user_api="blas")
    _worker.append((load_run(directory), judge))


def _measure_in_worker(directory: Path, unit: str, number: int) -> Columns:
    run, judge = _worker[0]
    return _measure(load_snapshot(run, directory, unit, number), judge)


def _measure(run: TrainedRun, judge: Judge) -> Columns:
    reference, generated = judge.reference, generate_like(run, judge.reference, judge.seed, once=True)
    return {name: _columns(merit, reference[rows], generated[rows]) for name, (merit, rows) in judge.tables.items()}


def _columns(merit: Merit, reference: Showers, generated: Showers) -> list[list[float]]:
    """Incident energies, chi2, NDF; any other figure of merit counts as chi2 with NDF 1."""
    if not isinstance(merit, MeritByEnergy):
        return [[ALL_ENERGIES], [merit(reference, generated).value], [1]]
    parts = merit.by_energy(reference, generated)
    return [list(parts), [part.value for part in parts.values()], [part.ndf for part in parts.values()]]


def _scan(iterations: list[int], tables: Mapping[str, Columns], name: str) -> IterationScan:
    rows = [tables[str(iteration)][name] for iteration in iterations]
    chi2, ndf = (np.array([row[position] for row in rows], np.float64) for position in (1, 2))
    return IterationScan(np.array(iterations), np.array(rows[0][0]), chi2, ndf)
