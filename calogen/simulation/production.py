"""Production of many showers by many processes into one file, which can be resumed.

The work is divided into chunks of one energy; each finished chunk is a small file beside the output, so that a killed
production goes on where it stopped. Impact point and seed of a shower are functions of (seed, energy, number) alone:
the result depends neither on the number of workers nor on interruptions, and a file can be extended by further numbers.
"""

import hashlib
import importlib.metadata
import re
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any  # the values of JSON tables and of keyword arguments

import numpy as np

from calogen import provenance
from calogen.cluster import worker_pool
from calogen.errors import CalogenError, ConfigError, DataFormatError
from calogen.files import atomic_path, remove_folder, require_space, require_writable_file
from calogen.hdf5 import damage_named, open_file
from calogen.hdf5_writing import datasets_of
from calogen.locks import directory_lock, require_same
from calogen.parallel import num_workers
from calogen.process import tell
from calogen.progress import duration, progress
from calogen.showers.sample import write_file
from calogen.showers.sparse import Columns, SparseShowers, from_datasets, join_columns, to_datasets
from calogen.simulation.cell_run import CellRun
from calogen.simulation.geant4 import Geant4Run
from calogen.simulation.manager import RANGE_CUT
from calogen.simulation.physics import PHYSICS_LISTS, require_geant4
from calogen.simulation.reductions import Reduction
from calogen.simulation.request import CHUNK_ENERGY, Chunk, Request, energy_seed
from calogen.units import MASSES, kinetic_energy

_CHUNK_SECONDS = 30.0  # about how long a chunk of `CHUNK_ENERGY` takes: 0.02 CPU seconds per GeV
_LEAST_SHARE = 0.04  # share of the bytes left by compression: 256 MeV pions with 12 mantissa bits keep 5 %
_JOINED = 100  # chunks that are in memory together when they are joined
_WORKER_BYTES = 400_000_000  # Geant4 with its tables of the largest physics list


def produce(request: Request) -> None:
    """Simulate the missing chunks, then write the output file and remove the chunks.

    Raises:
        ConfigError: Geant4 is missing, or the folder of chunks or the file to extend belongs to another production.
        TemporaryError: another process works on this production, or a worker died.
        CalogenError: the output cannot be written.
    """
    require_geant4(request.physics)
    if request.cluster:  # whose workers may have another working directory
        request = replace(request, output=request.output.absolute())
    require_writable_file(request.output, _least_size(request))
    require_space(request.parts, _least_size(request))  # beside a link, perhaps on another disk than its target
    with directory_lock(request.parts):
        require_same(request.parts, _identity(request), "chunks of another production")
        present = _read_present(request)
        chunks = list(request.chunks(_numbers(request, present) if present else {}))
        missing = [chunk for chunk in chunks if not chunk.path.exists()]
        _simulate(request, missing)
        write_output(request, chunks, present)
        remove_folder(request.parts)  # with the lock: a process that waits for it begins with an empty folder


def _least_size(request: Request) -> float:
    """The least size of the output in bytes."""
    num_showers = sum(count for _, count in request.counts)
    return _LEAST_SHARE * num_showers * request.reduction.size * np.dtype(np.float32).itemsize


def write_output(request: Request, chunks: list[Chunk], present: Columns | None = None) -> None:
    """Join finished chunks, and the rows of the file to extend, into the output file.

    Rows are sorted by energy, then by number: the rows of a shorter production come first at each energy. Uniform
    energies are sorted by number alone.
    """
    number = sum(chunk.stop - chunk.start for chunk in chunks)
    about = _attributes(request)
    if request.extend is not None and present:
        earlier = len(present["incident_energies"])
        with open_file(request.extend) as file:
            before = file.attrs.get("made_by", f"{earlier} showers by {file.attrs.get('commit')}")
        about["made_by"] = f"{before}; {number} by {about['commit']}"
        number += earlier
    datasets = map(to_datasets, _tables(request, chunks, present))
    write_file(request.output, datasets, number, about, request.mantissa_bits)


def _tables(request: Request, chunks: list[Chunk], present: Columns | None) -> Iterator[Columns]:
    """The rows of the output in their order, as many at a time as a hundred chunks have."""
    names = _columns(request)
    labels = np.asarray(present["incident_energies"]) if present else np.empty(0)
    if request.uniform:  # one group, of the mean energy
        labels = np.full(len(labels), request.counts[0][0])
    for energy in sorted({*labels.tolist(), *(chunk.energy for chunk in chunks)}):
        rows = np.flatnonzero(labels == energy)
        if present and len(rows):
            yield {name: present[name][rows] for name in names}
        own = sorted((chunk for chunk in chunks if chunk.energy == energy), key=lambda chunk: chunk.start)
        for start in range(0, len(own), _JOINED):
            parts = [_read_chunk(chunk) for chunk in own[start : start + _JOINED]]
            yield {name: join_columns([part[source] for part in parts]) for name, source in names.items()}


def request_of(path: Path) -> dict[str, Any]:
    """Arguments of the `Request` that produced a file, without output, energies and showers.

    Raises:
        DataFormatError: the file is no output of `produce`.
    """
    names = ("detector", "particle", "physics")
    with open_file(path) as file, damage_named(path):
        attributes = dict(file.attrs)
        if any(name not in attributes for name in (*names, "seed")):
            raise DataFormatError(f"{path} must be a file of calogen simulate. Received: {sorted(attributes)}")
        bits = re.search(r"rounded to (\d+) mantissa bits", str(attributes.get("precision", "")))
        return {name: str(attributes[name]) for name in names} | {
            "seed": int(attributes["seed"]),
            "mantissa_bits": int(bits[1]) if bits else None,
            "depths": bool(attributes.get("depths", False)),
            "angles": tuple(map(float, str(attributes["angles"]).split(":"))) if "angles" in attributes else None,
        }


def _read_present(request: Request) -> dict[str, np.ndarray | SparseShowers] | None:
    """The rows of the file to extend; None: there is no such file."""
    path = request.extend
    if path is None:
        return None
    wanted = _identity(request) | {"mantissa_bits": request.mantissa_bits}
    with open_file(path) as file, damage_named(path):
        received = request_of(path) | {name: file.attrs.get(name) for name in _identity(request)}
        if any(received[name] != wanted[name] for name in wanted):
            raise ConfigError(
                f"{path} must come from the same production to be extended: {wanted}. Received: {received}"
            )
        stored = from_datasets({name: item[:] for name, item in datasets_of(file).items()})
        present = {name: stored[name] for name in _columns(request)}
        present |= {"incident_energies": np.asarray(present["incident_energies"]).reshape(-1)}
        _require_numbers(request, present)
    return present


def _require_numbers(request: Request, present: Columns) -> None:
    """Refuse, with a `ValueError`, rows that are not the first showers of an energy."""
    counts: Counter[float] = Counter()
    columns = [np.asarray(present[name]).tolist() for name in ("incident_energies", *request.reduction.aims)]
    for row, (energy, *aim) in enumerate(zip(*columns, strict=True)):
        group = request.counts[0][0] if request.uniform else energy
        expected, place, _ = _draw(request, group, counts[group])
        if [energy, *aim] != [expected, *place.values()]:
            raise ValueError(f"row {row} is not shower {counts[group]} of {group:g} MeV: rows are missing or moved")
        counts[group] += 1
    if any(len(column) != sum(counts.values()) for column in present.values()):
        raise ValueError(f"datasets have {sorted({len(column) for column in present.values()})} rows")


def _numbers(request: Request, present: Columns) -> dict[float, int]:
    """Numbers of the showers that exist already, by the energy of their chunks, MeV."""
    energies = np.asarray(present["incident_energies"])
    return {request.counts[0][0]: len(energies)} if request.uniform else Counter(energies.tolist())


def _columns(request: Request) -> dict[str, str]:
    """Names of the output's columns, and of the chunks' columns that they consist of."""
    names = ("incident_energies", *request.reduction.aims, "cpu_seconds")
    return {name: name for name in names} | request.reduction.columns


def _simulate(request: Request, chunks: list[Chunk]) -> None:
    if not chunks:
        return
    total = sum(round((chunk.stop - chunk.start) * chunk.energy) for chunk in chunks)
    workers = min(request.workers or num_workers(len(chunks), _WORKER_BYTES), len(chunks))
    number, singles = sum(chunk.stop - chunk.start for chunk in chunks), {chunk.energy for chunk in chunks}
    where = f"at {len(singles)} energies" if len(singles) > 1 else f"of {singles.pop():g} MeV"
    if request.uniform:
        where = f"from {' to '.join(f'{energy:g}' for energy in request.energies)} MeV"
    tell(
        f"simulating {number:,} {request.particle} showers {where} "
        f"({request.detector}, {request.physics}) {_by_whom(request, workers, total)}; {request.output} is written at "
        "the end"
    )
    with (
        progress(f"simulating {request.particle} showers", total, "MeV") as bar,
        worker_pool(request.cluster, workers, _start_worker, (request.reduction, request.physics)) as pool,
    ):
        done, futures = 0, {pool.submit(_simulate_chunk, chunk): chunk for chunk in chunks}
        for future in as_completed(futures):
            future.result()
            chunk = futures[future]
            bar.advance(round((chunk.stop - chunk.start) * chunk.energy))
            done += chunk.stop - chunk.start
            bar.note(f"{done:,} of {number:,} showers")


def _by_whom(request: Request, workers: int, total: float) -> str:
    """The workers, and how long `total` MeV take them."""
    seconds = _CHUNK_SECONDS * total / CHUNK_ENERGY
    if request.cluster:
        return f"on {request.cluster}, about {duration(seconds)} of processor time"
    return f"with {workers} process{'es' if workers > 1 else ''}, about {duration(seconds / workers)}"


_run: Geant4Run | CellRun | CalogenError | None = None
_started: tuple[str, str] | None = None  # what the run simulates


def _start_worker(chosen: Reduction[Any, Any], physics: str) -> None:
    global _run, _started  # noqa: PLW0603 (one Geant4 run per process: that is Geant4's rule)
    wanted = repr(chosen.detector), physics
    if _started is not None:
        if _started != wanted:
            raise ConfigError(f"this worker has Geant4 with {_started[1]} and another detector: start new workers")
        return
    _started = wanted
    try:
        _run = chosen.start(physics)
    except CalogenError as error:
        _run = error  # the first chunk raises it, since an exception of the initializer would be lost


def _simulate_chunk(chunk: Chunk) -> None:
    if isinstance(_run, CalogenError):
        raise _run
    if _run is None:
        raise RuntimeError("the worker was not started")
    rows = [_shower(_run, chunk.request, chunk.energy, number) for number in range(chunk.start, chunk.stop)]
    columns = {name: _stack([row[name] for row in rows]) for name in rows[0]}
    with atomic_path(chunk.path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **to_datasets(columns))


def _stack(values: list[Any]) -> np.ndarray | SparseShowers:
    """The column of a chunk from the values of its rows."""
    return join_columns(values) if isinstance(values[0], SparseShowers) else np.array(values)


def _shower(run: Geant4Run | CellRun, request: Request, energy: float, number: int) -> dict[str, Any]:
    """One row of a chunk: the deposits of one shower, reduced."""
    incident_energy, aim, geant4_seed = _draw(request, energy, number)
    kinetic = float(kinetic_energy(np.array(incident_energy), MASSES[request.particle]))
    start = time.process_time()
    deposits = request.reduction.shoot(run, request.particle, kinetic, aim, geant4_seed)
    seconds = time.process_time() - start
    return {
        "incident_energies": np.float64(incident_energy),
        **request.reduction.reduce(deposits, aim),
        **aim,
        "cpu_seconds": seconds,
    }


def _draw(request: Request, energy: float, number: int) -> tuple[float, dict[str, float], int]:
    """Incident energy (MeV), aim and Geant4's seed of one shower."""
    key = request.energies if request.uniform else (energy,)
    sequence = np.random.SeedSequence(request.seed, spawn_key=(*map(energy_seed, key), number))
    random = np.random.default_rng(sequence)
    incident_energy = random.uniform(key[0], key[-1]) if request.uniform else energy
    aim = request.reduction.aim(random)
    return incident_energy, aim, int(random.integers(1, 2**31))  # Geant4 refuses 0


def _read_chunk(chunk: Chunk) -> dict[str, np.ndarray | SparseShowers]:
    try:
        with open(chunk.path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            return from_datasets({name: file[name] for name in file})
    except (OSError, ValueError, KeyError, DataFormatError, zipfile.BadZipFile) as error:
        raise CalogenError(f"{chunk.path} is damaged ({error}): remove it and run the same command again") from error


def _identity(request: Request) -> dict[str, Any]:
    """Everything that decides the showers; chunks of another identity are refused."""
    setup = repr((request.reduction.detector, RANGE_CUT))
    changed = {"uniform": request.energies if request.uniform else None, "angles": request.angles}
    return {
        "detector": request.detector,
        "detector_hash": hashlib.sha256(setup.encode()).hexdigest()[:16],
        "particle": request.particle,
        "physics": request.physics,
        "seed": request.seed,
        "geant4_pybind": importlib.metadata.version("geant4-pybind"),
        **({"depths": True} if request.depths else {}),  # only then chunks have this column
        **{name: ":".join(f"{value:g}" for value in values) for name, values in changed.items() if values},
    }


def _attributes(request: Request) -> dict[str, Any]:
    """Attributes of the output file, which tell how the showers were made."""
    code = provenance.collect(request.seed, {})
    return _identity(request) | {
        "note": f"Geant4 11.4 ({PHYSICS_LISTS[request.physics]}), {request.reduction.note}",
        **request.reduction.attributes,
        "range_cut": RANGE_CUT,
        "calogen_version": code["versions"]["calogen"],
        "commit": f"{code['commit']}{' with changes' if code['dirty'] else ''}",
    }
