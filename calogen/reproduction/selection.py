"""Choosing epochs, iterations and settings by a physics figure of merit.

Variational autoencoders: one distance on validation, never test showers. GANs, as their papers have it: the chi2 of
total energies of every saved iteration (`scan_iterations`), whose smallest is chosen (`select_iteration`).
"""

import hashlib
import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from calogen.backend import keras, tf
from calogen.errors import ConfigError, DataFormatError, TemporaryError
from calogen.evaluation.iterations import ALL, SHAPES, IterationScan, chi2_by_momentum
from calogen.files import listed, read_json, sha256, write_json
from calogen.generation.generate import generate_like
from calogen.generation.load import load_network, load_run
from calogen.metrics.chi2 import RULES, Chi2
from calogen.metrics.distributions import Bins, Value
from calogen.metrics.resampling import measure
from calogen.observables.observable import Observable
from calogen.observables.shape_quantities import shape_quantities
from calogen.parallel import num_workers
from calogen.process import prepare_worker
from calogen.progress import progress
from calogen.showers.sample import Showers
from calogen.training.run import TrainedRun, save_run

_SHOWERS_PER_WORKER = 2_000_000  # what takes longer than starting another process
_WORKER_BYTES = 600_000_000  # TensorFlow, the networks, the showers of an iteration
_RECORD_SECONDS = 5.0
_KS = Bins(np.array([0.0, 1.0]), ("ks",))  # which sees no bins


def physics_distance(reference: Showers, generated: Showers, observables: Sequence[Observable]) -> Value:
    """Mean KS distance over energies and observables: 0 for equal samples, 1 for disjoint.

    An observable that fewer than two reference showers have is left out; one that only the generated showers lack
    counts as disjoint. NaN if nothing is left.

    Args:
        reference, generated: showers of the same incident energies.
        observables: what to compare.
    """
    found = []
    for energy in np.unique(reference.incident_energies):
        samples = reference.at(energy), generated.at(energy)
        for item in observables:
            expected, received = (item.values(showers) for showers in samples)
            if np.isfinite(expected).sum() < 2:
                continue
            defined = np.isfinite(received).sum() > 1
            found.append(measure(expected, received, _KS)["ks"] if defined else Value(1.0, 0.0))
    if not found:
        return Value(np.nan, np.nan)
    errors = np.array([value.error for value in found])
    return Value(float(np.mean([value.value for value in found])), float(np.sqrt((errors**2).sum()) / len(found)))


def validation_distance(
    run: TrainedRun, validation: Showers, observables: Sequence[Observable], seed: int = 0, copies: int = 5
) -> Value:
    """`physics_distance` of a trained run: `copies` generated showers per validation shower."""
    generated = generate_like(run, validation, seed, copies=copies)
    return physics_distance(validation, generated, observables)


def epoch_distances(
    run: TrainedRun, snapshots: Path, validation: Showers, observables: Sequence[Observable], seed: int = 0
) -> dict[int, Value]:
    """`validation_distance` of the decoder after each epoch saved as `epoch-<number>.keras`."""
    found = {}
    for path in listed(snapshots, "epoch-*.keras"):
        networks = {**run.networks, "decoder": _load_snapshot(path, run.networks["decoder"])}
        epoch = int(path.stem.removeprefix("epoch-"))
        found[epoch] = validation_distance(replace(run, networks=networks), validation, observables, seed)
    return found


@dataclass(frozen=True, kw_only=True)
class Judge:
    """What judges the iterations of a training.

    Args:
        reference: Geant4's showers; as many are generated, of the same incident energies.
        parts: rows of the reference, `[n]` bool, by name: each gets a table of its own.
        rule: name of one of `RULES`.
        shapes: whether to judge by layer energies, centres and widths as well: a table `SHAPES`.
        seed: of the generated showers, the same for every iteration.
    """

    reference: Showers
    parts: Mapping[str, np.ndarray] = field(default_factory=dict)
    rule: str = "caloshowergan"
    shapes: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ConfigError(f"rule must be one of {', '.join(RULES)}. Received: {self.rule!r}")
        if self.shapes and self.rule != "caloshowergan":
            raise ConfigError(f"shapes need the rule caloshowergan. Received: {self.rule!r}, of energies only")

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the tables, apart from the training."""
        digest = hashlib.sha256()
        parts = (self.parts[name] for name in sorted(self.parts))
        for array in (self.reference.incident_energies, self.reference.energies, *parts):
            digest.update(np.ascontiguousarray(array).tobytes())
        about = {"rule": self.rule, "shapes": self.shapes, "seed": self.seed, "parts": sorted(self.parts)}
        return about | {"showers": digest.hexdigest()[:16]}


def scan_iterations(directory: Path, judge: Judge, workers: int | None = None) -> dict[str, IterationScan]:
    """chi2 of every saved iteration of a trained run.

    What was measured before is read from `selection.json` beside the snapshots; it is written as it grows.

    Args:
        directory: of the run, with `snapshots/iteration-<number>.keras`.
        judge: what judges.
        workers: processes; by default one, or where it takes long as many as this job's cores and memory hold.

    Returns:
        tables with all showers as reference (`ALL`) and with each part of them; with `SHAPES`, the sum of the total
        energy, layer energies, centres and widths, the wish of arXiv:2309.06515, section 6.

    Raises:
        DataFormatError: there are no snapshots, or no trained run.
    """
    snapshots = listed(directory, "snapshots/iteration-*.keras")
    paths = {int(path.stem.removeprefix("iteration-")): path for path in snapshots}
    if not paths:
        raise DataFormatError(
            f"{directory} must hold snapshots/iteration-<number>.keras. Received: none: train it first"
        )
    record = directory / "selection.json"
    identity = judge.identity | {"training": sha256(directory / "history.json")[:16]}
    names = (ALL, *judge.parts, *((SHAPES,) if judge.shapes else ()))
    tables = _read_record(record, identity, names)
    missing = [iteration for iteration in sorted(paths) if str(iteration) not in tables]
    if workers is None:
        worth = 1 + len(missing) * len(judge.reference) // _SHOWERS_PER_WORKER
        workers = num_workers(min(worth, len(missing)), _WORKER_BYTES)
    last = monotonic()
    with (
        progress("judging saved iterations", len(missing)) as bar,
        _measured(directory, judge, {iteration: paths[iteration] for iteration in missing}, workers) as results,
    ):
        for count, (iteration, table) in enumerate(results, 1):
            tables[str(iteration)] = table
            bar.advance()
            if monotonic() > last + _RECORD_SECONDS or count == len(missing):
                last = monotonic()
                write_json(record, {"identity": identity, "iterations": tables})
    return {name: _scan(sorted(paths), tables, name) for name in names}


def _read_record(path: Path, identity: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Tables of iterations that were judged before, of the same training by the same judge.

    Raises:
        DataFormatError: the file holds something else.
    """
    if not path.exists():
        return {}
    try:
        known = read_json(path)
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


def select_iteration(directory: Path, scan: IterationScan, *, save: bool = True) -> TrainedRun:
    """The run with the generator of the best iteration.

    Args:
        directory: of the run.
        scan: its iterations.
        save: whether to write it as `selected` in the directory.

    Raises:
        DataFormatError: no trained run, or no snapshot of that iteration.
    """
    run, iteration = load_run(directory), int(scan.iterations[scan.best])
    network = _load_snapshot(directory / "snapshots" / f"iteration-{iteration:07d}.keras", run.generator)
    chosen = replace(run, networks={_generator_name(run): network}, history=run.history)
    if save:
        save_run(directory / "selected", chosen)
        about = {"iteration": iteration, "chi2_per_ndf": float(scan.total[scan.best])}
        write_json(directory / "selected" / "selection.json", about)
    return chosen


Table = dict[str, list[list[float]]]  # part -> momenta, chi2, ndf


@contextmanager
def _measured(
    directory: Path, judge: Judge, paths: Mapping[int, Path], workers: int
) -> Iterator[Iterator[tuple[int, Table]]]:
    """Gives (iteration, table) as they come, from this process or several."""
    run = load_run(directory) if paths else None  # also where workers load it: a damaged one is told here
    if workers < 2 or len(paths) < 2:
        yield ((iteration, _measure(run, path, judge)) for iteration, path in paths.items() if run)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(paths)), context, _start_worker, (directory, judge)) as pool:
        try:
            tasks = {pool.submit(_measure_in_worker, path): iteration for iteration, path in paths.items()}
            yield ((tasks[task], task.result()) for task in as_completed(tasks))
        except BrokenProcessPool as error:
            raise TemporaryError("a worker died (out of memory, or killed): run the same command again") from error
        except BaseException:
            for worker in multiprocessing.active_children():
                worker.terminate()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


_worker: list[tuple[TrainedRun, Judge]] = []  # of this process


def _start_worker(directory: Path, judge: Judge) -> None:
    prepare_worker()
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # processes would fight for the memory of one GPU
    # and for the cores
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    threadpool_limits(1, user_api="blas")
    _worker.append((load_run(directory), judge))


def _measure_in_worker(path: Path) -> Table:
    run, judge = _worker[0]
    return _measure(run, path, judge)


def _measure(run: TrainedRun, path: Path, judge: Judge) -> Table:
    reference = judge.reference
    chosen = replace(run, networks={_generator_name(run): _load_snapshot(path, run.generator)})
    generated = generate_like(chosen, reference, judge.seed, once=True)
    rule, table = RULES[judge.rule], {}
    for name, rows in {ALL: np.ones(len(reference), bool), **judge.parts}.items():
        table[name] = _columns(chi2_by_momentum(reference[rows], generated[rows], rule, rounds=0))
    if judge.shapes:
        quantities = shape_quantities(reference.geometry)
        table[SHAPES] = _columns(chi2_by_momentum(reference, generated, rule, quantities, rounds=0))
    return table


def _load_snapshot(path: Path, own: keras.Model) -> keras.Model:
    """Gives a saved network of a run whose network is `own` in the end.

    Raises:
        DataFormatError: missing, damaged, or with other inputs or outputs.
    """
    network = load_network(path)
    expected, found = (
        [(t.name, tuple(t.shape)) for t in net.inputs] + [tuple(net.output_shape)] for net in (own, network)
    )
    if expected != found:
        raise DataFormatError(
            f"{path} must have the inputs and outputs of its run's network, {expected}. Received: {found} "
            "(was it copied from another run?)"
        )
    return network


def _columns(found: Mapping[float, Chi2]) -> list[list[float]]:
    parts = found.values()
    return [list(found), [part.value for part in parts], [part.ndf for part in parts]]


def _scan(iterations: list[int], tables: Mapping[str, Table], name: str) -> IterationScan:
    rows = [tables[str(iteration)][name] for iteration in iterations]
    chi2, ndf = (np.array([row[position] for row in rows], np.float64) for position in (1, 2))
    return IterationScan(np.array(iterations), np.array(rows[0][0]), chi2, ndf)


def _generator_name(run: TrainedRun) -> str:
    return next(name for name, network in run.networks.items() if network is run.generator)
