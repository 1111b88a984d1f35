"""What is kept of a block of showers, and what a worker does with blocks of a file."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from calogen.evaluation.copies import hash_showers
from calogen.observables.challenge import compute_features
from calogen.observables.shapes import compute_shapes
from calogen.showers.files import Excerpt
from calogen.showers.sample import Negative, Showers

GROUPS = 256
"""Number of groups of showers, which are resampled for the errors of the voxel spectrum."""
_SLOT_BITS = 52 - 9  # lower bits of a float64, which do not matter for its slot


@dataclass(frozen=True)
class Filled:
    """The filled voxels of a block of showers.

    Args:
        first_row: number of the block's first shower.
        numbers: of filled voxels in each shower, `[k]`.
        energies: of all these voxels, one shower after the other, MeV.
    """

    first_row: int
    numbers: np.ndarray
    energies: np.ndarray


class SpectrumCells:
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


@dataclass(frozen=True)
class BlockSummary:
    """What is kept of a block of showers.

    Args:
        features, shapes: `[n, f]` and `[n, s]` (`list_features`, `list_shapes`); shapes None: not computed.
        responses: visible over incident energy, `[n]`.
        hashes: `[n]` (`hash_showers`).
    """

    features: np.ndarray
    shapes: np.ndarray | None
    responses: np.ndarray
    hashes: np.ndarray


@dataclass(frozen=True)
class FileBlocks:
    """Blocks of a file for a worker.

    Args:
        starts: number of each block's first shower.
        excerpts: the blocks.
        min_energy: voxels below it count as empty, MeV.
        shapes: whether to compute shapes.
        summaries: whether to compute anything but counts of voxels.
        boundaries: of the cells of the voxel spectrum; None: they are not known, and no voxels are counted.
    """

    starts: tuple[int, ...]
    excerpts: tuple[Excerpt, ...]
    min_energy: float
    shapes: bool
    summaries: bool
    boundaries: np.ndarray | None


@dataclass(frozen=True)
class FileSummary:
    """What a worker has made of a `FileBlocks`.

    Args:
        summaries: of each block, or none.
        clipped: what was set to 0 in each block.
        maximum: largest energy of a filled voxel, MeV.
        counts: of voxels, as `count_voxels` gives them, in all blocks together; 0: not counted.
    """

    summaries: Sequence[BlockSummary]
    clipped: Sequence[Negative]
    maximum: float
    counts: np.ndarray | int


def summarise(showers: Showers, min_energy: float, shapes: bool) -> BlockSummary:
    """What is kept of a block of showers."""
    return BlockSummary(
        compute_features(showers, min_energy).values,
        compute_shapes(showers, min_energy).values if shapes else None,
        showers.response,
        hash_showers(showers.energies, min_energy),
    )


def filled_voxels(first_row: int, showers: Showers, min_energy: float) -> Filled:
    """The filled voxels of a block that begins with this row."""
    chosen = showers.energies >= np.float64(min_energy)
    return Filled(first_row, np.count_nonzero(chosen, axis=1), showers.energies[chosen])


def count_voxels(filled: Filled, cells: SpectrumCells, num_voxels: int) -> np.ndarray:
    """Numbers of voxels by group of showers and by cell, `[g, c + 1]`; see `Spectrum`."""
    groups = (filled.first_row + np.arange(len(filled.numbers))) % GROUPS
    places = cells.find(filled.energies)
    places += np.repeat(groups * cells.size, filled.numbers)
    counts = np.bincount(places, minlength=GROUPS * cells.size).reshape(GROUPS, cells.size)
    np.add.at(counts[:, 1], groups, num_voxels - filled.numbers)
    return counts


def no_counts(cells: SpectrumCells) -> np.ndarray:
    """Counts of no voxels, to which those of blocks can be added."""
    return np.zeros((GROUPS, cells.size), np.int64)


def describe_blocks(task: FileBlocks) -> FileSummary:
    """Reads and describes blocks of a file."""
    cells = None if task.boundaries is None else SpectrumCells(task.boundaries)
    summaries: list[BlockSummary] = []
    clipped: list[Negative] = []
    maximum, counts = 0.0, no_counts(cells) if cells else 0
    for start, excerpt in zip(task.starts, task.excerpts, strict=True):
        showers, negative = excerpt.read()
        clipped.append(negative)
        if task.summaries:
            summaries.append(summarise(showers, task.min_energy, task.shapes))
        largest = float(showers.energies.max(initial=0))
        maximum = max(maximum, largest if largest >= task.min_energy else 0.0)
        if cells:
            counts += count_voxels(filled_voxels(start, showers, task.min_energy), cells, showers.geometry.size)
    return FileSummary(summaries, clipped, maximum, counts)
