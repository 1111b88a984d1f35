"""Showers of regular grids in files: sparse ones, and the ILD photons' public layout.

Both are read like a dataset `[n, v]`, of which a slice of rows is in memory at a time.

The public layout (https://zenodo.org/records/3826103) has a group named after a layer's cells, `30x30`, with `energy`
`[n, 1]` in GeV and `layers` `[n, layer, x, z]` in MeV.
"""

from collections.abc import Mapping
from typing import Protocol

import h5py
import numpy as np

from calogen.errors import DataFormatError
from calogen.hdf5 import dataset_shape
from calogen.showers.grid import RegularGrid
from calogen.showers.sparse import COUNTS, ENERGIES, HITS, STEPS, SparseShowers
from calogen.units import GeV

GRID_SHAPE = "grid_shape"
"""Attribute of a file of sparse showers: numbers of layers and of cells along x and z."""
PUBLIC_ENERGY, PUBLIC_LAYERS = "energy", "layers"
"""Names of the datasets in the group of the public layout."""


class StoredRows(Protocol):
    """An array in a file, of which slices are read: a dataset, or what looks like one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""

    @property
    def ndim(self) -> int:
        """Number of its dimensions."""

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """Shape of its chunks in the file."""

    def __len__(self) -> int:
        """Number of its rows."""

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Some of its rows."""


class SparseRows:
    """Sparse showers of a file as dense rows.

    Args:
        counts: number of cells with energy of each shower, `[n]`.
        steps, energies: the datasets of these cells.
        size: number of cells, `v`.
    """

    chunks = None
    ndim = 2

    def __init__(self, counts: np.ndarray, steps: h5py.Dataset, energies: h5py.Dataset, size: int) -> None:
        self._counts, self._steps, self._energies = counts, steps, energies
        self._ends = np.cumsum(counts)
        self.shape = (len(counts), size)

    def __len__(self) -> int:
        return len(self._counts)

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, step = rows.indices(len(self))
        counts = self._counts[start:stop]
        first = int(self._ends[start - 1]) if start else 0
        hits = slice(first, first + int(counts.sum()))
        datasets = {COUNTS: counts, STEPS: self._steps[hits], ENERGIES: self._energies[hits]}
        try:
            return SparseShowers.read(datasets).dense(self.shape[1])[::step]
        except DataFormatError as error:
            raise ValueError(str(error)) from error  # as h5py does for damaged numbers: `damage_named` adds the file


class PublicRows:
    """A dataset of the public layout as rows, which are multiplied by a factor.

    Args:
        stored: the dataset, `[n, ...]`.
        factor: unit of the numbers, in ours.
    """

    ndim = 2

    def __init__(self, stored: h5py.Dataset, factor: float = 1.0) -> None:
        self._stored, self._factor = stored, factor
        self.shape = (len(stored), int(np.prod(stored.shape[1:], dtype=np.int64)))
        self.chunks = stored.chunks and (stored.chunks[0], self.shape[1])

    def __len__(self) -> int:
        return len(self._stored)

    def __getitem__(self, rows: slice) -> np.ndarray:
        values = self._stored[rows].reshape(-1, self.shape[1])
        return values if self._factor == 1.0 else values.astype(np.float64) * self._factor


def is_sparse(file: h5py.File) -> bool:
    """Whether a file holds sparse showers."""
    return _is_group(file, HITS) and bool(dataset_shape(file, COUNTS))


def public_group(file: h5py.File) -> str:
    """Name of the group of the public layout; empty if there is none."""
    for name in file:
        if isinstance(name, str) and _is_group(file, name) and dataset_shape(file, f"{name}/{PUBLIC_LAYERS}")[1:]:
            return name
    return ""


def _is_group(file: h5py.File, name: str) -> bool:
    """Whether a file itself holds a group.

    Links are not followed: they may lead to another file or in a circle.
    """
    return file.get(name, getclass=True, getlink=True) is h5py.HardLink and isinstance(file[name], h5py.Group)


def grid_shape(file: h5py.File) -> tuple[int, ...]:
    """Numbers of layers and of cells along x and z in a file; () if it holds no grid."""
    if is_sparse(file):
        stored = np.asarray(file.attrs.get(GRID_SHAPE, ()))
        return tuple(stored.tolist()) if stored.dtype.kind in "iu" and stored.shape == (3,) else ()
    group = public_group(file)
    shape = dataset_shape(file, f"{group}/{PUBLIC_LAYERS}")[1:] if group else ()
    return shape if len(shape) == 3 else ()


def public_datasets(
    grid: RegularGrid, incident_energies: np.ndarray, energies: np.ndarray, conditions: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The datasets of the public layout.

    Args:
        incident_energies: `[n]`, MeV.
        energies: `[n, v]`, MeV.
        conditions: further numbers of each shower, which are put into the same group.

    Raises:
        DataFormatError: a condition has the name of the energies.
    """
    taken = sorted({PUBLIC_ENERGY, PUBLIC_LAYERS} & set(conditions))
    if taken:
        raise DataFormatError(f"conditions must have other names than energies. Received: {', '.join(taken)}")
    group = "x".join(map(str, grid.shape[1:]))
    return {
        f"{group}/{PUBLIC_ENERGY}": (incident_energies / GeV).astype(np.float32).reshape(-1, 1),
        f"{group}/{PUBLIC_LAYERS}": grid.images(energies).astype(np.float32),
        **{f"{group}/{name}": values for name, values in conditions.items()},
    }
