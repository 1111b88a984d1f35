"""Reads files of showers block by block, so that they need not fit into memory.

A block (8 MiB in float64, or one shower if that is larger) is read, checked and turned into features, which are kept:
30 numbers per shower for data set 1's photons, 362 for data set 3 with its 40,500 voxels, and 20 or 143 shapes. Its
voxels are counted in bins of energy, which end at the reference's largest voxel; so the reference is read first. Its
filled voxels are kept until all are read, if they take up to 256 MiB; otherwise the file is read a second time. So
memory is bounded by the features, by that limit, and by a few blocks and what is computed from them.

If the job has two cores, one thread reads (HDF5 admits one at a time) while the other computes.
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
_WORKERS = 2  # threads at most: one reads, the other computes
_SLOT_BITS = 52 - 9  # lower bits of a float64, which do not matter for its slot
_GROUPS = 256  # groups of showers, which are resampled for the errors of the voxel spectrum


@dataclass(frozen=True)
class _Blocks:
    """Showers of a file or in memory that are read in blocks of rows."""

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
        first_row: number of the block's first shower.
        numbers: of filled voxels in each shower, `[k]`.
        energies: of all these voxels, one shower after the other, MeV.
    """

    first_row: int
    numbers: np.ndarray
    energies: np.ndarray


class _Cells:
    """Finds the spectrum's cells that energies lie in, ten times as fast as a binary search.

    Positive floats have the same order as their bits. The upper 21 bits name a slot, 0.2 % wide, and a table tells the
    first cell that each slot touches. If boundaries of cells lie inside the slot, comparisons with them find the cell.

    Args:
        boundaries: of the cells, `[c]`, increasing from 0, MeV.
    """

    def __init__(self, boundaries: np.ndarray) -> None:
        self.size = len(boundaries) + 1
        self._ends = np.append(boundaries, np.inf)
        first, last = (boundaries[[1, -1]].view(np.int64) >> _SLOT_BITS).tolist()
        self._first, self._last = first - 1, last + 1
        lows = (np.arange(self._first, self._last + 1) << _SLOT_BITS).view(np.float64)
        self._table = np.searchsorted(boundaries, lows, side="right")
        self._max_boundaries = int(np.diff(self._table, append=len(boundaries)).max())  # in one slot

    def find(self, energies: np.ndarray) -> np.ndarray:
        """Number of boundaries at or below each energy, `[k]`, like `np.searchsorted`."""
        energies = np.ascontiguousarray(energies, np.float64)
        slots = energies.view(np.int64) >> _SLOT_BITS
        np.clip(slots, self._first, self._last, out=slots)
        slots -= self._first
        cells = self._table.take(slots)
        for _ in range(self._max_boundaries):
            cells += energies >= self._ends.take(cells)
        return cells


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
        reference, generated: files in the CaloChallenge's format; several may stand for one.
        geometry: of their voxels.
        second_reference: an independent file of the reference's kind, for the floor beside each number.
        binning: one of the challenge's data sets (`1-photons`, `1-pions`, `2`, `3`), or `reference`: bins between
            quantiles of the reference.
        min_energy: voxels below it count as empty, MeV; None: the binning's (1 MeV for `reference`).
        shapes: whether to judge the shapes (`list_shapes`) as well.

    Raises:
        CalogenError: a file is missing, damaged or foreign; incident energies differ; the binning is not known.
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
        path: a file in the CaloChallenge's format, or several.
        geometry: of its voxels.
        min_energy: voxels below it count as empty, MeV.
        reference: the sample whose bins the voxel spectrum has, and whose incident energies replace those of the file
            that are close to them. None: the file is the reference, and chooses the bins.
        shapes: whether to compute the shapes (`list_shapes`) as well.
        reading: what to change or to leave out.

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
        hashes = _in_threads(
            lambda rows: hash_showers(file.read(rows).energies, min_energy), file.rows, f"reading {file.name}"
        )
        return np.concatenate(list(hashes))


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
    features = _empty(list_features(geometry), blocks)
    shape_table = _empty(list_shapes(geometry), blocks) if shapes else None
    hashes = np.empty(len(blocks), np.uint64)

    def digest(rows: slice) -> _Filled:
        showers = blocks.read(rows)
        features.values[rows] = compute_features(showers, min_energy).values
        if shape_table is not None:
            shape_table.values[rows] = compute_shapes(showers, min_energy).values
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
    return Sample(features, Spectrum(edges, boundaries, counts), min_energy, shape_table, hashes)


def _empty(features: tuple[Feature, ...], blocks: _Blocks) -> Features:
    """A table of features without values yet, with a row for each shower."""
    values = np.empty((len(blocks), len(features)))
    return Features(features, values, np.asarray(blocks.incident_energies, np.float64))


def _keep(parts: Iterable[_Filled]) -> tuple[list[_Filled], float]:
    """All parts, or none if they are too large for memory, and the largest voxel energy."""
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
    """Numbers of voxels by group of showers and by cell, `[g, c + 1]`; see `Spectrum`."""
    groups = (filled.first_row + np.arange(len(filled.numbers))) % _GROUPS
    places = cells.find(filled.energies)
    places += np.repeat(groups * cells.size, filled.numbers)
    counts = np.bincount(places, minlength=_GROUPS * cells.size).reshape(_GROUPS, cells.size)
    np.add.at(counts[:, 1], groups, num_voxels - filled.numbers)
    return counts


def _in_threads(function: Callable[[ItemT], ResultT], items: Sequence[ItemT], description: str) -> Iterator[ResultT]:
    """Results in the items' order; few of them wait in memory at a time."""
    with progress(description, len(items), "blocks") as shown:
        for result in in_threads(function, items, num_workers(_WORKERS)):
            yield result
            shown.advance()
