"""Production of many showers by many processes into one file, which can be resumed.

The work is divided into chunks of one energy; each finished chunk is a small file beside the output, so that a killed
production goes on where it stopped. Impact point and seed of a shower are functions of (seed, energy, number) alone:
the result depends neither on the number of workers nor on interruptions, and a file can be extended by further numbers.
"""

import hashlib
import importlib.metadata
import re
import shutil
import time
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any  # the values of JSON tables and of keyword arguments

import numpy as np

from calogen import provenance
from calogen.config import require_seed
from calogen.errors import CalogenError, ConfigError, DataFormatError
from calogen.files import atomic_path, read_json, require_writable_file, write_json
from calogen.hdf5 import damage_named, open_file
from calogen.locks import directory_lock
from calogen.parallel import num_workers, process_pool
from calogen.process import prepare_worker, tell
from calogen.progress import duration, progress
from calogen.showers.hits import cell_energies, mean_depths, voxelise
from calogen.showers.sample import write_file
from calogen.showers.voxels import VoxelGeometry
from calogen.simulation.detectors import DETECTORS, Detector, detector
from calogen.simulation.geant4 import PARTICLES, RANGE_CUT, Geant4Run
from calogen.simulation.physics import PHYSICS_LISTS, require_geant4
from calogen.units import MASSES, kinetic_energy

_CHUNK_ENERGY, _CHUNK_SECONDS = 1.5e6, 30.0  # MeV of a chunk, and about how long it takes: 0.02 CPU seconds per GeV
_CHUNK_SHOWERS = 200
_LEAST_SHARE = 0.04  # share of the bytes left by compression: 256 MeV pions with 12 mantissa bits keep 5 %
_WORKER_BYTES = 400_000_000  # Geant4 with its tables of the largest physics list
_MAX_CHUNKS = 10**6  # a year of one processor


@dataclass(frozen=True, kw_only=True)
class Request:
    """Description of a production.

    Args:
        output: the HDF5 file to write.
        energies: incident energies, MeV (photons: energy; hadrons: momentum, as in the CaloChallenge).
        showers: number of showers at each energy, or one number for all energies.
        detector, particle, physics: names in `detectors.DETECTORS`, `geant4.PARTICLES` and `physics.PHYSICS_LISTS`.
        workers: number of processes; None: as many as this job's cores and memory hold.
        mantissa_bits: number of bits of the energies' mantissa that are kept; None: all 23.
        extend: an earlier output, whose rows are kept; only the further numbers of each energy are simulated.
        depths: whether to write `depths` `[n, l]`, the mean depth of the energy in each layer of the voxels, 0..1.

    Raises:
        ConfigError: a name is unknown, numbers do not fit, or an energy is below 1 MeV.
    """

    output: Path
    energies: tuple[float, ...]
    showers: tuple[int, ...] = (1000,)
    detector: str = "atlas-barrel"
    particle: str = "photon"
    physics: str = "em-datafree"
    seed: int = 1
    workers: int | None = None
    mantissa_bits: int | None = None
    extend: Path | None = None
    depths: bool = False

    def __post_init__(self) -> None:
        for name, known in (("detector", DETECTORS), ("particle", PARTICLES), ("physics", PHYSICS_LISTS)):
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} must be one of {', '.join(known)}. Received: {getattr(self, name)}")
        if len(self.showers) not in (1, len(self.energies)) or min(self.showers, default=0) < 1 or self.workers == 0:
            raise ConfigError(
                f"showers must be one number or one for each of {len(self.energies)} energies, workers at least 1. "
                f"Received: {self.showers} and {self.workers}"
            )
        if len(set(self.energies)) != len(self.energies) or not all(1 <= energy <= 1e8 for energy in self.energies):
            raise ConfigError(f"energies must differ and be in MeV, 1 to 1e8. Received: {self.energies}")
        require_seed(self.seed)
        if self.mantissa_bits not in (None, *range(1, 24)):
            raise ConfigError(f"mantissa_bits must be 1..23. Received: {self.mantissa_bits}")
        num_chunks = sum(-(-count // self._chunk_size(energy)) for energy, count in self.counts)
        if num_chunks > _MAX_CHUNKS:
            raise ConfigError(
                f"a production may have {_MAX_CHUNKS:,} chunks of half a minute. Received: {num_chunks:,} "
                "(fewer showers, or lower energies)"
            )
        if not self.output.name:
            raise ConfigError(f"output must be a file to write. Received: {self.output or '.'}")

    @property
    def parts(self) -> Path:
        """Folder of the finished chunks."""
        return self.output.with_name(self.output.name + ".parts")

    def chunks(self, present: Mapping[float, int] = MappingProxyType({})) -> Iterator["Chunk"]:
        """The chunks, ordered so that all energies grow together.

        Args:
            present: numbers of showers that exist already, by energy, MeV.
        """
        chunks = []
        for energy, count in self.counts:
            size = self._chunk_size(energy)
            for start in range(present.get(energy, 0), count, size):
                chunks.append((start / count, Chunk(self, energy, start, min(start + size, count))))
        return (chunk for _, chunk in sorted(chunks, key=lambda item: (item[0], item[1].energy)))

    @property
    def counts(self) -> list[tuple[float, int]]:
        """Energies, MeV, with their numbers of showers."""
        counts = self.showers * (len(self.energies) if len(self.showers) == 1 else 1)
        return list(zip(self.energies, counts, strict=True))

    @staticmethod
    def _chunk_size(energy: float) -> int:
        return int(np.clip(_CHUNK_ENERGY / energy, 1, _CHUNK_SHOWERS))


@dataclass(frozen=True)
class Chunk:
    """The showers of one energy, MeV, with the numbers `start` to `stop`, which is excluded."""

    request: Request
    energy: float
    start: int
    stop: int

    @property
    def path(self) -> Path:
        """The chunk's file."""
        return self.request.parts / f"{self.energy:.10g}MeV-{self.start:06d}-{self.stop:06d}.npz"


def produce(request: Request) -> None:
    """Simulate the missing chunks, then write the output file and remove the chunks.

    Raises:
        ConfigError: Geant4 is missing, or the folder of chunks or the file to extend belongs to another production.
        TemporaryError: another process works on this production, or a worker died.
        CalogenError: the output cannot be written.
    """
    require_geant4(request.physics)
    require_writable_file(request.output, _least_size(request))
    recorded = request.parts / "request.json"
    with directory_lock(request.parts):
        identity = _identity(request)
        if recorded.exists() and read_json(recorded) != identity:
            raise ConfigError(f"{request.parts} holds chunks of another production: remove it, or name another output")
        write_json(recorded, identity)
        present = _read_present(request)
        chunks = list(request.chunks(Counter(present["incident_energies"].tolist()) if present else {}))
        missing = [chunk for chunk in chunks if not chunk.path.exists()]
        _simulate(request, missing)
        write_output(request, chunks, present)
        shutil.rmtree(request.parts)  # with the lock: a process that waits for it begins with an empty folder


def _least_size(request: Request) -> float:
    """The least size of the output in bytes."""
    chosen = detector(request.detector)
    numbers = chosen.cells.size + voxels_of(chosen, request.particle).size
    num_showers = sum(count for _, count in request.counts)
    return _LEAST_SHARE * num_showers * numbers * np.dtype(np.float32).itemsize


def write_output(request: Request, chunks: list[Chunk], present: Mapping[str, np.ndarray] | None = None) -> None:
    """Join finished chunks, and the rows of the file to extend, into the output file.

    Rows are sorted by energy, then by number: the rows of a shorter production come first at each energy.
    """
    geometry = voxels_of(detector(request.detector), request.particle)
    parts = [_read_chunk(chunk) for chunk in sorted(chunks, key=lambda chunk: chunk.start)]
    tables: list[Mapping[str, np.ndarray]] = [present] if present else []
    names = _columns(request)
    tables += [{name: part[source] for name, source in names.items()} for part in parts]
    columns = {name: np.concatenate([table[name] for table in tables]) for name in names}
    order = np.argsort(columns["incident_energies"], kind="stable")
    datasets = {name: values[order] for name, values in columns.items()}
    about = _attributes(request, geometry)
    if request.extend is not None and present:
        with open_file(request.extend) as file:
            before = file.attrs.get("made_by", f"{len(present['cells'])} showers by {file.attrs.get('commit')}")
        about["made_by"] = f"{before}; {len(order) - len(present['cells'])} by {about['commit']}"
    write_file(request.output, datasets, about, request.mantissa_bits)


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
        }


def _read_present(request: Request) -> dict[str, np.ndarray] | None:
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
        present = {name: file[name][:] for name in _columns(request)}
        present |= {"incident_energies": present["incident_energies"].reshape(-1)}
        _require_numbers(request, present)
    return present


def _require_numbers(request: Request, present: Mapping[str, np.ndarray]) -> None:
    """Refuse, with a `ValueError`, rows that are not the first showers of an energy."""
    counts: Counter[float] = Counter()
    columns = (present["incident_energies"].tolist(), present["impact_eta"].tolist(), present["impact_phi"].tolist())
    for row, (energy, *point) in enumerate(zip(*columns, strict=True)):
        if point != list(_aim(request, energy, counts[energy])[:2]):
            raise ValueError(f"row {row} is not shower {counts[energy]} of {energy:g} MeV: rows are missing or moved")
        counts[energy] += 1
    if any(len(column) != sum(counts.values()) for column in present.values()):
        raise ValueError(f"datasets have {sorted({len(column) for column in present.values()})} rows")


def _columns(request: Request) -> dict[str, str]:
    """Names of the output's datasets, and of the chunks' columns that they consist of."""
    names = ("incident_energies", "cells", "impact_eta", "impact_phi", "cpu_seconds")
    voxels = voxels_of(detector(request.detector), request.particle)
    depths = {"depths": "depths"} if request.depths else {}
    return {name: name for name in names} | {"showers": voxels.name} | depths


def voxels_of(chosen: Detector, particle: str) -> VoxelGeometry:
    """The voxels of a detector for a particle: photons and electrons, or hadrons."""
    hadron = particle.startswith("pion")
    return next(geometry for geometry in chosen.voxels if geometry.name.startswith("pions") == hadron)


def _simulate(request: Request, chunks: list[Chunk]) -> None:
    if not chunks:
        return
    total = sum(round((chunk.stop - chunk.start) * chunk.energy) for chunk in chunks)
    workers = min(request.workers or num_workers(len(chunks), _WORKER_BYTES), len(chunks))
    number = sum(chunk.stop - chunk.start for chunk in chunks)
    tell(
        f"simulating {number:,} {request.particle} showers at {len({chunk.energy for chunk in chunks})} energies "
        f"({request.detector}, {request.physics}) with {workers} processes, about "
        f"{duration(_CHUNK_SECONDS * total / _CHUNK_ENERGY / workers)}; {request.output} is written at the end"
    )
    with (
        progress(f"simulating {request.particle} showers", total, "MeV") as bar,
        process_pool(workers, _start_worker, (request.detector, request.physics)) as pool,
    ):
        futures = {pool.submit(_simulate_chunk, chunk): chunk for chunk in chunks}
        for future in as_completed(futures):
            future.result()
            chunk = futures[future]
            bar.advance(round((chunk.stop - chunk.start) * chunk.energy))
            bar.note(f"{chunk.energy:g} MeV")


_run: Geant4Run | CalogenError | None = None


def _start_worker(detector_name: str, physics: str) -> None:
    global _run  # noqa: PLW0603 (one Geant4 run per process: that is Geant4's rule)
    prepare_worker()
    try:
        _run = Geant4Run(detector(detector_name), physics)
    except CalogenError as error:
        _run = error  # the first chunk raises it, since an exception of the initializer would be lost


def _simulate_chunk(chunk: Chunk) -> None:
    if isinstance(_run, CalogenError):
        raise _run
    if _run is None:
        raise RuntimeError("the worker was not started")
    rows = [_shower(_run, chunk.request, chunk.energy, number) for number in range(chunk.start, chunk.stop)]
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    with atomic_path(chunk.path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **columns)


def _shower(run: Geant4Run, request: Request, energy: float, number: int) -> dict[str, Any]:
    """One row of the output: the hits of one shower, reduced to cells and voxels."""
    eta, phi, geant4_seed = _aim(request, energy, number)
    kinetic = float(kinetic_energy(np.array(energy), MASSES[request.particle]))
    start = time.process_time()
    hits = run.shower(request.particle, kinetic, eta, geant4_seed)
    seconds = time.process_time() - start
    layer_ids = voxels_of(run.detector, request.particle).layer_ids
    return {
        "incident_energies": np.float64(energy),
        "cells": cell_energies(hits, run.detector.cells, eta, phi).astype(np.float32),
        **{
            geometry.name: voxelise(hits, geometry, run.detector.radii).astype(np.float32)
            for geometry in run.detector.voxels
        },
        "impact_eta": eta,
        "impact_phi": phi,
        "cpu_seconds": seconds,
        **({"depths": mean_depths(hits, layer_ids)} if request.depths else {}),
    }


def _aim(request: Request, energy: float, number: int) -> tuple[float, float, int]:
    """Impact point (eta; phi, rad) and Geant4's seed of one shower."""
    sequence = np.random.SeedSequence(request.seed, spawn_key=(round(energy * 1000), number))
    random = np.random.default_rng(sequence)
    eta, phi = random.uniform(*detector(request.detector).eta_range), random.uniform(0, 2 * np.pi)
    return eta, phi, int(random.integers(1, 2**31))  # Geant4 refuses 0


def _read_chunk(chunk: Chunk) -> dict[str, np.ndarray]:
    try:
        with open(chunk.path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            return {name: file[name] for name in file}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise CalogenError(f"{chunk.path} is damaged ({error}): remove it and run the same command again") from error


def _identity(request: Request) -> dict[str, Any]:
    """Everything that decides the showers; chunks of another identity are refused."""
    setup = repr((detector(request.detector), RANGE_CUT))
    return {
        "detector": request.detector,
        "detector_hash": hashlib.sha256(setup.encode()).hexdigest()[:16],
        "particle": request.particle,
        "physics": request.physics,
        "seed": request.seed,
        "geant4_pybind": importlib.metadata.version("geant4-pybind"),
    } | ({"depths": True} if request.depths else {})  # only then chunks have this column


def _attributes(request: Request, geometry: VoxelGeometry) -> dict[str, Any]:
    """Attributes of the output file, which tell how the showers were made."""
    code = provenance.collect(request.seed, {})
    return _identity(request) | {
        "note": f"Geant4 11.4 ({PHYSICS_LISTS[request.physics]}), simplified detector: not ATLAS's own simulation",
        "units": "MeV; impact_phi in rad; cpu_seconds on the machine that made the file",
        "cell_grid": detector(request.detector).cells.name,
        "voxel_geometry": geometry.name,
        "layer_ids": geometry.layer_ids,
        "range_cut": RANGE_CUT,
        "calogen_version": code["versions"]["calogen"],
        "commit": f"{code['commit']}{' with changes' if code['dirty'] else ''}",
    }
