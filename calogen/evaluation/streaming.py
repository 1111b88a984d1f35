"""Reads files of showers block by block, so that they need not fit into memory.

A block (8 MiB in float64, or one shower if that is larger) is read, checked and turned into features, which are kept:
30 numbers per shower for data set 1's photons, 362 for data set 3 with its 40,500 voxels, and 20 or 143 shapes. Its
voxels are counted in bins of energy, which end at the reference's largest voxel; so the reference is read first. Its
filled voxels are kept until all are read, if they take up to 256 MiB; otherwise the file is read a second time. So
memory is bounded by the features, by that limit, and by a few blocks and what is computed from them.

If the job has two cores, one thread reads (HDF5 admits one at a time) while the other computes. Workers of a
`common_pool` read the files for themselves, 64 blocks at a time.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from calogen.cluster import common_workers
from calogen.evaluation.blocks import (
    BlockSummary,
    FileBlocks,
    FileSummary,
    Filled,
    SpectrumCells,
    count_voxels,
    describe_blocks,
    filled_voxels,
    no_counts,
    summarise,
)
from calogen.evaluation.copies import hash_showers
from calogen.evaluation.judgement import Judgement, Sample, default_min_energy, judge_samples
from calogen.metrics.features import Feature, Features
from calogen.metrics.resampling import Spectrum, spectrum_cells
from calogen.observables.challenge import list_features
from calogen.observables.shapes import list_shapes
from calogen.parallel import ItemT, ResultT, in_any_order, in_threads, num_workers
from calogen.progress import progress
from calogen.showers.files import EXACT, Files, Reading, ShowerFile
from calogen.showers.geometry import require_kind
from calogen.showers.labels import snap
from calogen.showers.sample import Showers, require_mev
from calogen.showers.voxels import VoxelGeometry

_BLOCK_BYTES = 2**23
_KEEP_BYTES = 2**28
_WORKERS = 2  # threads at most: one reads, the other computes
_TASK_SHOWERS, _TASK_BLOCKS = 65_536, 64  # of a worker's task at most
_TASKS = 1000  # that wait at workers at a time


@dataclass(frozen=True)
class _Blocks:
    """Showers of a file or in memory that are read in blocks of rows."""

    geometry: VoxelGeometry
    incident_energies: np.ndarray
    rows: tuple[slice, ...]
    read: Callable[[slice], Showers]
    name: str
    file: ShowerFile | None = None

    def __len__(self) -> int:
        return len(self.incident_energies)


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
        blocks = _Blocks(geometry, file.incident_energies, file.rows, file.read, file.name, file)
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
    geometry = blocks.geometry
    tables = _Tables(
        _empty(list_features(geometry), blocks),
        _empty(list_shapes(geometry), blocks) if shapes else None,
        np.empty(len(blocks)),
        np.empty(len(blocks), np.uint64),
    )
    pool = common_workers()
    count = _count_here if pool is None or blocks.file is None else partial(_count_elsewhere, pool, blocks.file)
    spectrum = count(blocks, tables, min_energy, None if reference is None else reference.spectrum)
    if blocks.file is None:
        require_mev(blocks.incident_energies, tables.responses)
    else:
        blocks.file.require_mev(tables.responses)
    return Sample(tables.features, spectrum, min_energy, tables.shapes, tables.hashes)


@dataclass(frozen=True)
class _Tables:
    """What is kept of all showers, filled block by block."""

    features: Features
    shapes: Features | None
    responses: np.ndarray
    hashes: np.ndarray

    def put(self, rows: slice, part: BlockSummary) -> None:
        """Fills the rows of a block."""
        self.features.values[rows] = part.features
        if self.shapes is not None:
            self.shapes.values[rows] = part.shapes
        self.responses[rows], self.hashes[rows] = part.responses, part.hashes


def _empty(features: tuple[Feature, ...], blocks: _Blocks) -> Features:
    """A table of features without values yet, with a row for each shower."""
    values = np.empty((len(blocks), len(features)))
    return Features(features, values, np.asarray(blocks.incident_energies, np.float64))


def _count_here(blocks: _Blocks, tables: _Tables, min_energy: float, known: Spectrum | None) -> Spectrum:
    """Fills the tables and counts voxels in threads, in a known spectrum's bins or new ones."""

    def describe(rows: slice) -> Filled:
        showers = blocks.read(rows)
        tables.put(rows, summarise(showers, min_energy, tables.shapes is not None))
        return filled_voxels(rows.start, showers, min_energy)

    def read_again(rows: slice) -> Filled:
        return filled_voxels(rows.start, blocks.read(rows), min_energy)

    reading, counting = f"reading {blocks.name}", f"counting voxels of {blocks.name}"
    kept: list[Filled] = []
    if known is None:
        kept, maximum = _keep(_in_threads(describe, blocks.rows, reading))
        edges, boundaries = spectrum_cells(min_energy, maximum)
    else:
        edges, boundaries = known.edges, known.cells
    cells, size = SpectrumCells(boundaries), blocks.geometry.size
    if kept:
        parts = _in_threads(lambda filled: count_voxels(filled, cells, size), kept, counting)
    else:
        fill, text = (read_again, counting) if known is None else (describe, reading)
        parts = _in_threads(lambda rows: count_voxels(fill(rows), cells, size), blocks.rows, text)
    counts = no_counts(cells)
    for part in parts:
        counts += part
    return Spectrum(edges, boundaries, counts)


def _count_elsewhere(
    pool: Executor, file: ShowerFile, blocks: _Blocks, tables: _Tables, min_energy: float, known: Spectrum | None
) -> Spectrum:
    """What `_count_here` does, by workers, who read the files themselves."""
    shapes, maximum = tables.shapes is not None, 0.0
    if known is None:
        for done in _by_workers(pool, file, FileBlocks((), (), min_energy, shapes, True, None), tables):
            maximum = max(maximum, done.maximum)
        edges, boundaries = spectrum_cells(min_energy, maximum)
    else:
        edges, boundaries = known.edges, known.cells
    counts = no_counts(SpectrumCells(boundaries))
    for done in _by_workers(pool, file, FileBlocks((), (), min_energy, shapes, known is not None, boundaries), tables):
        counts += done.counts
    return Spectrum(edges, boundaries, counts)


def _by_workers(pool: Executor, file: ShowerFile, like: FileBlocks, tables: _Tables) -> Iterator[FileSummary]:
    """What workers make of all blocks, some of which are a task."""
    groups: list[list[slice]] = [[]]
    for rows in file.rows:
        if sum(item.stop - item.start for item in groups[-1]) >= _TASK_SHOWERS or len(groups[-1]) == _TASK_BLOCKS:
            groups.append([])
        groups[-1].append(rows)
    tasks = (
        replace(like, starts=tuple(rows.start for rows in group), excerpts=tuple(map(file.excerpt, group)))
        for group in groups
    )
    words = f"{'reading' if like.summaries else 'counting voxels of'} {file.name}"
    with progress(words, len(file.rows), "blocks") as shown:
        for number, done in in_any_order(pool, describe_blocks, tasks, _TASKS):
            group = groups[number]
            for rows, part in zip(group, done.summaries, strict=True) if like.summaries else ():
                tables.put(rows, part)
            for rows, clipped in zip(group, done.clipped, strict=True):
                file.count_clipped(rows, clipped)
            yield done
            shown.advance(len(group))


def _keep(parts: Iterable[Filled]) -> tuple[list[Filled], float]:
    """All parts, or none if they are too large for memory, and the largest voxel energy."""
    kept: list[Filled] = []
    size, maximum = 0, 0.0
    for part in parts:
        maximum = max(maximum, float(part.energies.max(initial=0)))
        size += part.energies.nbytes + part.numbers.nbytes
        if size <= _KEEP_BYTES:
            kept.append(part)
        else:
            kept.clear()
    return kept, maximum


def _in_threads(function: Callable[[ItemT], ResultT], items: Sequence[ItemT], description: str) -> Iterator[ResultT]:
    """Results in the items' order; few of them wait in memory at a time."""
    with progress(description, len(items), "blocks") as shown:
        for result in in_threads(function, items, num_workers(_WORKERS)):
            yield result
            shown.advance()
