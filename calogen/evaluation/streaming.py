"""Judges files of showers that need not fit into memory, block by block.

A block (8 MiB in float64, or one shower if that is more) is read, checked and turned into features; only those stay:
30 numbers per shower for data set 1's photons, 362 for data set 3 with its 40,500 voxels, and 20 or 143 shapes. The
voxels are counted by energy. As the bins end at the reference's largest voxel, the reference is read first; its filled
voxels stay until that one is known, as long as they take less than 256 MiB, else the file is read once more. So memory
is bounded by the features, by that limit, and by a few blocks with what is computed from them.

Where the job has two cores, one thread reads (HDF5 lets in one at a time) while the other computes.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from calogen.errors import CalogenError
from calogen.evaluation.copies import hash_showers
from calogen.evaluation.judgement import Judgement, Sample, default_min_energy, judge_samples
from calogen.metrics.features import Feature, Features
from calogen.metrics.resampling import Spectrum, spectrum_cells
from calogen.observables.challenge import compute_features, list_features
from calogen.observables.shapes import compute_shapes, list_shapes
from calogen.parallel import ItemT, ResultT, in_threads, num_workers
from calogen.progress import progress
from calogen.showers.files import EXACT, Files, Reading, ShowerFile
from calogen.showers.geometry import require_kind
from calogen.showers.labels import snap
from calogen.showers.sample import Showers, require_mev
from calogen.showers.voxels import VoxelGeometry

_BLOCK_BYTES = 2**23
_KEEP_BYTES = 2**28
_WORKERS = 2  # at most: one reads, the other computes
_SLOT_BITS = 52 - 9  # of a float64 that do not choose a slot
_GROUPS = 256  # of showers, for the errors of the voxel spectrum


@dataclass(frozen=True)
class _Blocks:
    """Showers of a file or in memory, which come in blocks of rows."""

    geometry: VoxelGeometry
    incident_energies: np.ndarray
    rows: tuple[slice, ...]
    read: Callable[[slice], Showers]
    name: str

    def __len__(self) -> int:
        return len(self.incident_energies)


@dataclass(frozen=True)
class _Filled:
    """The filled voxels of a block of showers.

    Args:
        first_row: where the block begins.
        numbers: of filled voxels, `[k]`.
        energies: all of them, MeV.
    """

    first_row: int
    numbers: np.ndarray
    energies: np.ndarray


class _Cells:
    """Finds the cells of energies, ten times as fast as a binary search.

    Positive floats are ordered as their bits are. The upper 21 of them, that is slots that are 0.2 % wide, choose a row
    of a table: the first cell that the slot touches. Few slots hold a boundary; where one does, a comparison tells.

    Args:
        boundaries: `[c]`, increasing, the first one 0, MeV.
    """

    def __init__(self, boundaries: np.ndarray) -> None:
        self.size = len(boundaries) + 1
        self._ends = np.append(boundaries, np.inf)
        first, last = (boundaries[[1, -1]].view(np.int64) >> _SLOT_BITS).tolist()
        self._first, self._last = first - 1, last + 1
        lows = (np.arange(self._first, self._last + 1) << _SLOT_BITS).view(np.float64)
        self._table = np.searchsorted(boundaries, lows, side="right")
        self._most = int(np.diff(self._table, append=len(boundaries)).max())

    def find(self, energies: np.ndarray) -> np.ndarray:
        """Number of boundaries at or below each energy, `[k]`; as `np.searchsorted` finds."""
        energies = np.ascontiguousarray(energies, np.float64)
        slots = energies.view(np.int64) >> _SLOT_BITS
        np.clip(slots, self._first, self._last, out=slots)
        slots -= self._first
        found = self._table.take(slots)
        for _ in range(self._most):
            found += energies >= self._ends.take(found)
        return found


def judge_files(
    reference: Files,
    generated: Files,
    geometry: VoxelGeometry,
    *,
    second_reference: Files | None = None,
    binning: str = "1-photons",
    min_energy: float | None = None,
    shapes: bool = True,
) -> Judgement:
    """Judge a file of generated showers against a reference file, whatever their size.

    Args:
        reference, generated: files of the CaloChallenge's format; each may be several, which are read as one.
        geometry: of their voxels.
        second_reference: an independent file of the reference's kind, for the floor beside each number.
        binning: one of the challenge's data sets (`1-photons`, `1-pions`, `2`, `3`), or `reference`: bins between
            quantiles of the reference.
        min_energy: voxels below are empty, MeV; None: the binning's (1 MeV for `reference`).
        shapes: whether to judge what `list_shapes` has, too.

    Raises:
        CalogenError: a file that is missing, damaged or foreign; incident energies that differ; no such binning.
    """
    threshold = default_min_energy(binning) if min_energy is None else min_energy
    first = read_sample(reference, geometry, threshold, shapes=shapes)
    second = read_sample(generated, geometry, threshold, first, shapes)
    third = None if second_reference is None else read_sample(second_reference, geometry, threshold, first, shapes)
    return judge_samples(first, second, third, binning)


def read_sample(
    path: Files,
    geometry: VoxelGeometry,
    min_energy: float = 1.0,
    reference: Sample | None = None,
    shapes: bool = True,
    reading: Reading = EXACT,
) -> Sample:
    """Features and voxel spectrum of a file.

    Args:
        path: a file of the CaloChallenge's format, or several.
        geometry: of its voxels.
        min_energy: voxels below are empty, MeV.
        reference: the sample that chose the bins of the voxel spectrum, and whose incident energies those of this one
            are where they are close; None: this one does.
        shapes: whether to compute what `list_shapes` has, too.
        reading: what is changed or left out.

    Raises:
        CalogenError: the file is missing, damaged or foreign, or not in MeV; `min_energy` is not above 0.
    """
    if reference is not None:
        reading = replace(reading, reference=reference.incident_energies)
    with ShowerFile(path, geometry, _BLOCK_BYTES, reading) as file:
        blocks = _Blocks(geometry, file.incident_energies, file.rows, file.read, file.name)
        return replace(_sample(blocks, min_energy, reference, shapes), notes=tuple(file.notes))


def read_hashes(path: Files, geometry: VoxelGeometry, min_energy: float, reading: Reading = EXACT) -> np.ndarray:
    """Hashes of a file's showers, `[n]` (`copies.hash_showers`).

    Raises:
        CalogenError: the file is missing, damaged or foreign.
    """
    with ShowerFile(path, geometry, _BLOCK_BYTES, reading) as file:
        digests = _in_threads(
            lambda rows: hash_showers(file.read(rows).energies, min_energy), file.rows, f"reading {file.name}"
        )
        return np.concatenate(list(digests))


def sample_of(
    showers: Showers, min_energy: float = 1.0, reference: Sample | None = None, shapes: bool = True
) -> Sample:
    """What `read_sample` gives, for showers in memory."""
    geometry = require_kind(showers.geometry, VoxelGeometry, "the challenge's features need voxels")
    if reference is not None:
        labels = snap(showers.incident_energies, reference.incident_energies)
        showers = replace(showers, incident_energies=labels)
    step = max(1, _BLOCK_BYTES // (8 * geometry.size))
    rows = tuple(slice(start, start + step) for start in range(0, len(showers), step))
    blocks = _Blocks(geometry, showers.incident_energies, rows, showers.__getitem__, "showers in memory")
    return _sample(blocks, min_energy, reference, shapes)


def _sample(blocks: _Blocks, min_energy: float, reference: Sample | None, shapes: bool) -> Sample:
    """Features and spectrum of all blocks; see `read_sample`."""
    geometry, responses = blocks.geometry, np.empty(len(blocks))
    found, extra = _empty(list_features(geometry), blocks), _empty(list_shapes(geometry), blocks) if shapes else None
    hashes = np.empty(len(blocks), np.uint64)

    def digest(rows: slice) -> _Filled:
        showers = blocks.read(rows)
        found.values[rows] = compute_features(showers, min_energy).values
        if extra is not None:
            extra.values[rows] = compute_shapes(showers, min_energy).values
        responses[rows] = showers.response
        hashes[rows] = hash_showers(showers.energies, min_energy)
        return _filled(rows.start, showers, min_energy)

    def read_again(rows: slice) -> _Filled:
        return _filled(rows.start, blocks.read(rows), min_energy)

    reading, counting = f"reading {blocks.name}", f"counting voxels of {blocks.name}"
    kept: list[_Filled] = []
    if reference is None:
        kept, maximum = _keep(_in_threads(digest, blocks.rows, reading))
        edges, boundaries = spectrum_cells(min_energy, maximum)
    else:
        edges, boundaries = reference.spectrum.edges, reference.spectrum.cells
    cells = _Cells(boundaries)
    if kept:
        parts = _in_threads(lambda filled: _count(filled, cells, geometry.size), kept, counting)
    else:
        fill, text = (read_again, counting) if reference is None else (digest, reading)
        parts = _in_threads(lambda rows: _count(fill(rows), cells, geometry.size), blocks.rows, text)
    counts = np.zeros((_GROUPS, cells.size), np.int64)
    for part in parts:
        counts += part
    try:
        require_mev(blocks.incident_energies, responses)
    except CalogenError as error:
        raise type(error)(f"{blocks.name}: {error}") from error
    return Sample(found, Spectrum(edges, boundaries, counts), min_energy, extra, hashes)


def _empty(features: tuple[Feature, ...], blocks: _Blocks) -> Features:
    """Room for features of all showers."""
    values = np.empty((len(blocks), len(features)))
    return Features(features, values, np.asarray(blocks.incident_energies, np.float64))


def _keep(parts: Iterable[_Filled]) -> tuple[list[_Filled], float]:
    """All parts, none if they are too large, and the largest energy."""
    kept: list[_Filled] = []
    size, maximum = 0, 0.0
    for part in parts:
        maximum = max(maximum, float(part.energies.max(initial=0)))
        size += part.energies.nbytes + part.numbers.nbytes
        if size <= _KEEP_BYTES:
            kept.append(part)
        else:
            kept.clear()
    return kept, maximum


def _filled(first_row: int, showers: Showers, min_energy: float) -> _Filled:
    chosen = showers.energies >= np.float64(min_energy)
    return _Filled(first_row, np.count_nonzero(chosen, axis=1), showers.energies[chosen])


def _count(filled: _Filled, cells: _Cells, num_voxels: int) -> np.ndarray:
    """Voxels by group of showers and cell, `[g, c + 1]`; see `Spectrum`."""
    groups = (filled.first_row + np.arange(len(filled.numbers))) % _GROUPS
    places = cells.find(filled.energies)
    places += np.repeat(groups * cells.size, filled.numbers)
    counts = np.bincount(places, minlength=_GROUPS * cells.size).reshape(_GROUPS, cells.size)
    np.add.at(counts[:, 1], groups, num_voxels - filled.numbers)
    return counts


def _in_threads(function: Callable[[ItemT], ResultT], items: Sequence[ItemT], description: str) -> Iterator[ResultT]:
    """Results in order, with few of them waiting at a time."""
    with progress(description, len(items), "blocks") as shown:
        for result in in_threads(function, items, num_workers(_WORKERS)):
            yield result
            shown.advance()
