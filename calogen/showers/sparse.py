"""Sparse showers: of each only the cells with energy, as files of large grids hold it.

A file's group `hits` has three datasets: `counts` `[n]`, the number of cells with energy of each shower; and, shower by
shower, `steps` `[h]` and `energies` `[h]` (MeV). A step is a cell's index less that of the shower's previous cell with
energy; the first one is the index itself. Small steps compress better than indices.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from calogen.errors import DataFormatError

HITS = "hits"
"""Name of the group of a file's sparse showers."""
COUNTS, STEPS, ENERGIES = (f"{HITS}/{name}" for name in ("counts", "steps", "energies"))
"""Names of its datasets."""
RAGGED = (STEPS, ENERGIES)
"""Names of the datasets whose lengths are not the number of showers."""


@dataclass(frozen=True)
class SparseShowers:
    """The cells with energy of some showers, shower by shower.

    Args:
        counts: `[n]`, number of cells with energy of each shower.
        cells: `[h]`, indices of these cells, increasing within a shower.
        energies: `[h]`, MeV.

    Raises:
        DataFormatError: the counts do not add up to the number of cells and energies.
    """

    counts: np.ndarray
    cells: np.ndarray
    energies: np.ndarray

    def __post_init__(self) -> None:
        lengths = int(self.counts.sum()), len(self.cells), len(self.energies)
        if len(set(lengths)) > 1 or self.counts.min(initial=0) < 0:
            raise DataFormatError(
                f"counts of cells with energy must add up to the {lengths[1]} cells and energies. "
                f"Received: counts for {lengths[0]} cells, and {lengths[2]} energies"
            )

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, rows: np.ndarray | slice) -> "SparseShowers":
        """The showers that an index array or a slice selects."""
        chosen = np.arange(len(self))[rows]
        starts = np.cumsum(self.counts) - self.counts
        counts = self.counts[chosen]
        places = np.repeat(starts[chosen] - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
        return SparseShowers(counts, self.cells[places], self.energies[places])

    @classmethod
    def of(cls, energies: np.ndarray) -> "SparseShowers":
        """The cells with energy of dense showers `[n, v]`."""
        rows, cells = np.nonzero(energies)
        return cls(np.bincount(rows, minlength=len(energies)), cells, energies[rows, cells])

    @classmethod
    def join(cls, parts: "Sequence[SparseShowers]") -> "SparseShowers":
        """The showers of all parts, one after the other."""
        columns = ([part.counts for part in parts], [part.cells for part in parts], [part.energies for part in parts])
        return cls(*map(np.concatenate, columns))

    def dense(self, size: int) -> np.ndarray:
        """All cells' energies, `[n, size]` float32, MeV.

        Raises:
            DataFormatError: a cell lies outside.
        """
        if len(self.cells) and not 0 <= self.cells.min() <= self.cells.max() < size:
            raise DataFormatError(f"cells must be 0 to {size - 1}. Received: {self.cells.min()} to {self.cells.max()}")
        energies = np.zeros((len(self), size), np.float32)
        energies[np.repeat(np.arange(len(self)), self.counts), self.cells] = self.energies
        return energies

    @property
    def datasets(self) -> dict[str, np.ndarray]:
        """The datasets of a file's group `hits`."""
        steps = np.diff(self.cells.astype(np.int64), prepend=0)
        firsts = (np.cumsum(self.counts) - self.counts)[self.counts > 0]
        steps[firsts] = self.cells[firsts]
        width = np.uint16 if steps.max(initial=0) < 2**16 else np.uint32
        return {
            COUNTS: self.counts.astype(np.int32),
            STEPS: steps.astype(width),
            ENERGIES: self.energies.astype(np.float32),
        }

    @classmethod
    def read(cls, datasets: Mapping[str, np.ndarray]) -> "SparseShowers":
        """The inverse of `datasets`; a `DataFormatError` if they do not fit one another."""
        counts, steps = datasets[COUNTS].astype(np.int64), datasets[STEPS].astype(np.int64)
        ends = np.cumsum(counts)
        if counts.min(initial=0) < 0 or len(steps) != (ends[-1] if len(ends) else 0):
            raise DataFormatError(
                f"{COUNTS} must add up to the length of {STEPS}. Received: {counts.sum()} and {len(steps)}"
            )
        further = np.ones(len(steps), bool)
        further[(ends - counts)[counts > 0]] = False
        if steps[further].min(initial=1) < 1:
            raise DataFormatError(f"{STEPS} must be 1 or more but for a shower's first. Received: 0, a cell twice")
        sums = np.concatenate([[0], np.cumsum(steps)])
        return cls(counts, sums[1:] - np.repeat(sums[ends - counts], counts), datasets[ENERGIES])


Columns = Mapping[str, "np.ndarray | SparseShowers"]
"""Columns of a table of showers, by name."""


def join_columns(parts: "Sequence[np.ndarray | SparseShowers]") -> "np.ndarray | SparseShowers":
    """The rows of a column, from its parts."""
    sparse = [part for part in parts if isinstance(part, SparseShowers)]
    return SparseShowers.join(sparse) if sparse else np.concatenate([np.asarray(part) for part in parts])


def to_datasets(columns: Columns) -> dict[str, np.ndarray]:
    """Columns as datasets, of which sparse showers have three."""
    datasets: dict[str, np.ndarray] = {}
    for name, column in columns.items():
        datasets |= column.datasets if isinstance(column, SparseShowers) else {name: column}
    return datasets


def from_datasets(datasets: Mapping[str, np.ndarray]) -> "dict[str, np.ndarray | SparseShowers]":
    """The inverse of `to_datasets`."""
    columns: dict[str, np.ndarray | SparseShowers] = {
        name: values for name, values in datasets.items() if not name.startswith(f"{HITS}/")
    }
    return columns | ({HITS: SparseShowers.read(datasets)} if COUNTS in datasets else {})
