"""Showers: the arrays that flow between all stages, and the HDF5 files that hold them.

A file holds `incident_energies` [n, 1] in MeV and one of `showers` [n, v] (voxels, the CaloChallenge's format) or
`cells` [n, c]; further datasets of length n (impact position, angle ...) are extra conditions.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import h5py
import numpy as np

from calogen.errors import CalogenError, DataFormatError, GeometryError
from calogen.geometry import CellGrid, VoxelGeometry
from calogen.hdf5_writing import write_hdf5

Geometry = CellGrid | VoxelGeometry

_MAX_RESPONSE = 100.0  # of the median shower of a file; its inverse is the least
_MIN_MEDIAN_LABEL = 100.0  # MeV
_FLOAT32_BITS = 23  # explicit bits of the mantissa
_ALWAYS_BYTES = 2**28  # that a dataset may unpack to, whatever it takes in the file
_MAX_COMPRESSION = 200  # of larger ones: voxels shrink to a tenth or so, but 10 kB of a harmful file may hold 10 GB
# What h5py raises in damaged files; reading a field that is not there, or numbers that fit nowhere, is among it.
_DAMAGE = (OSError, RuntimeError, LookupError, ValueError, TypeError, ArithmeticError, MemoryError)


@dataclass(frozen=True)
class Showers:
    """Showers of one geometry.

    Args:
        geometry: what the columns of `energies` are.
        incident_energies: `[n]`, MeV: the file's label.
        energies: `[n, v]`, MeV: cell or voxel energies.
        conditions: further arrays with one entry per shower (e.g. `impact_eta`, `impact_phi`), by name.
        attributes: the file's attributes (how the showers were made).

    Raises:
        DataFormatError: shapes that do not fit, NaN, infinite or negative energies, no shower at all.
        GeometryError: `energies` is not of this geometry.
    """

    geometry: Geometry
    incident_energies: np.ndarray
    energies: np.ndarray
    conditions: Mapping[str, np.ndarray] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "conditions", MappingProxyType(dict(self.conditions)))
        object.__setattr__(self, "attributes", MappingProxyType(dict(self.attributes)))
        _check(self)

    def __len__(self) -> int:
        return len(self.incident_energies)

    def __reduce__(self) -> tuple[Any, ...]:
        """Lets worker processes have showers: a mapping proxy cannot be pickled."""
        rest = dict(self.conditions), dict(self.attributes)
        return type(self), (self.geometry, self.incident_energies, self.energies, *rest)

    def __getitem__(self, index: Any) -> "Showers":
        """Selected showers: a slice, a boolean mask or an index array."""
        return replace(
            self,
            incident_energies=self.incident_energies[index],
            energies=self.energies[index],
            conditions={name: values[index] for name, values in self.conditions.items()},
        )

    def at(self, incident_energy: float) -> "Showers":
        """The showers of one incident energy, MeV.

        Raises:
            DataFormatError: there is none.
        """
        found = self.incident_energies == incident_energy
        if not found.any():
            known = ", ".join(f"{energy:g}" for energy in np.unique(self.incident_energies)[:30])
            raise DataFormatError(f"no shower has incident energy {incident_energy:g} MeV. Present: {known}")
        return self[found]

    @property
    def counts(self) -> dict[float, int]:
        """Numbers of showers by incident energy, MeV."""
        energies, counts = np.unique(self.incident_energies, return_counts=True)
        return dict(zip(energies.tolist(), counts.tolist(), strict=True))

    @property
    def response(self) -> np.ndarray:
        """Total deposited energy / incident energy, `[n]`; infinity where it overflows."""
        with np.errstate(over="ignore"):
            return self.energies.sum(axis=1, dtype=np.float64) / self.incident_energies

    @property
    def layer_energies(self) -> np.ndarray:
        """Energy of each layer, `[n, l]`, MeV."""
        return self.geometry.layer_energies(self.energies)

    @property
    def datasets(self) -> dict[str, np.ndarray]:
        """The arrays by their names in a file."""
        energies = {"incident_energies": self.incident_energies, dataset_name(self.geometry): self.energies}
        return energies | dict(self.conditions)

    @classmethod
    def read(cls, path: str | Path, geometry: Geometry, rows: slice | None = None) -> "Showers":
        """Read a file, or some rows of it, and check it.

        Raises:
            DataFormatError: missing, truncated or foreign file; missing dataset; NaN or negative energies; energies
                that are not in MeV; no showers.
            GeometryError: another number of cells or voxels than the geometry has.
        """
        rows = rows or slice(None)
        with open_file(path) as file, damage_named(path):
            name = dataset_name(geometry)
            _require_datasets(file, path, name, geometry)
            incident_energies, energies = file["incident_energies"][rows].reshape(-1), file[name][rows]
            extra = {key: file[key][rows] for key in _conditions(file, len(file[name]))}
            attributes = dict(file.attrs)
        try:
            showers = cls(geometry, incident_energies, energies, extra, attributes)
            require_mev(showers.incident_energies, showers.response)
            return showers
        except CalogenError as error:
            raise type(error)(f"{path}: {error}") from error

    def write(self, path: str | Path, mantissa_bits: int | None = None) -> None:
        """Write the showers whole or not at all, with gzip and shuffle.

        Args:
            path: the file to write or replace.
            mantissa_bits: keep this many explicit bits of the float32 mantissa (12: relative 1.2e-4) to save space.
        """
        write_file(path, self.datasets, self.attributes, mantissa_bits)


class ShowerFile:
    """A shower file of any size, read a block of rows at a time; for `with` blocks.

    Several threads may read at once: HDF5 lets one of them in, the others work on what they have read. Conditions and
    attributes are left out, and whether the energies are in MeV is not checked (`require_mev`: a block may be too small
    to tell).

    Args:
        path: the file.
        geometry: of its showers.
        max_bytes: size of a block in float64. A block is whole chunks of the file where that many fit; where a single
            chunk has more rows, it is unpacked once for each of its blocks.

    Raises:
        DataFormatError: missing, truncated or foreign file; missing dataset; no showers.
        GeometryError: another number of cells or voxels than the geometry has.
    """

    def __init__(self, path: str | Path, geometry: Geometry, max_bytes: int = 2**25) -> None:
        self.path, self.geometry = Path(path), geometry
        name = dataset_name(geometry)
        self._file = open_file(path)
        try:
            with damage_named(path):
                _require_datasets(self._file, path, name, geometry)
                self._energies = self._file[name]
                self.incident_energies = self._file["incident_energies"][:].reshape(-1)
        except BaseException:
            self._file.close()
            raise
        step, chunk = max(1, max_bytes // (8 * geometry.size)), (self._energies.chunks or (1,))[0]
        step -= step % chunk if step > chunk else 0
        self.rows = tuple(slice(start, min(start + step, len(self))) for start in range(0, len(self), step))

    def __enter__(self) -> "ShowerFile":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._energies)

    def read(self, rows: slice) -> Showers:
        """One of the blocks `rows`, checked.

        Raises:
            DataFormatError: damaged file; NaN or negative energies.
        """
        with damage_named(self.path):
            energies = self._energies[rows]
        try:
            return Showers(self.geometry, self.incident_energies[rows], energies)
        except CalogenError as error:
            raise type(error)(f"{self.path}, showers {rows.start} to {rows.stop - 1}: {error}") from error


def write_file(
    path: str | Path,
    datasets: Mapping[str, np.ndarray],
    attributes: Mapping[str, Any],
    mantissa_bits: int | None = None,
) -> None:
    """Write a shower file whole or not at all, with gzip and shuffle; see `Showers.write`.

    `incident_energies` becomes `[n, 1]`, energies (`cells`, `showers`) float32; a file may hold both kinds of energies.
    """
    attributes = dict(attributes)
    if mantissa_bits is not None:
        relative = 2.0 ** -(mantissa_bits + 1)
        attributes["precision"] = f"energies rounded to {mantissa_bits} mantissa bits: relative {relative:.2g}"
    write_hdf5(path, [_columns(datasets, mantissa_bits)], len(datasets["incident_energies"]), attributes)


def write_blocks(path: str | Path, blocks: Iterable[Showers], num_showers: int) -> None:
    """Write showers block by block, fast, with two of them in memory.

    Args:
        path: the file to write or replace.
        blocks: showers of one geometry, with the same conditions and attributes.
        num_showers: of all blocks together.

    Raises:
        CalogenError: the file cannot be written: no permission, a directory, disk full, or soon to be full.
    """
    attributes: dict[str, Any] = {}

    def tables() -> Iterator[dict[str, np.ndarray]]:
        for block in blocks:
            attributes.update(block.attributes)
            yield _columns(block.datasets)

    write_hdf5(path, tables(), num_showers, attributes, level=4)


def dataset_name(geometry: Geometry) -> str:
    """`cells` for a cell grid, `showers` for voxels (the CaloChallenge's name)."""
    return "cells" if isinstance(geometry, CellGrid) else "showers"


def concatenate(parts: list[Showers]) -> Showers:
    """Sets of one geometry after one another, with the conditions that all of them have."""
    names = set.intersection(*(set(part.conditions) for part in parts))
    return Showers(
        parts[0].geometry,
        np.concatenate([part.incident_energies for part in parts]),
        np.concatenate([part.energies for part in parts]),
        {name: np.concatenate([part.conditions[name] for part in parts]) for name in sorted(names)},
        parts[0].attributes,
    )


def round_mantissa(values: np.ndarray, bits: int) -> np.ndarray:
    """float32 rounded to nearest, `bits` explicit mantissa bits (1..23): compresses better."""
    if not 1 <= bits <= _FLOAT32_BITS:
        raise DataFormatError(f"mantissa_bits must be 1..23. Received: {bits}")
    drop = np.uint32(_FLOAT32_BITS - bits)
    rounded = np.ascontiguousarray(values, np.float32).view(np.uint32) + np.uint32(1 << int(drop) >> 1)
    rounded >>= drop
    rounded <<= drop
    return rounded.view(np.float32)


def open_file(path: str | Path) -> h5py.File:
    """Open an HDF5 file for reading.

    Raises:
        DataFormatError: no such file, or not (or not wholly) an HDF5 file.
    """
    path = Path(path)
    if not path.is_file():
        raise DataFormatError(f"no such file: {path}")
    try:
        return h5py.File(path, "r")
    except _DAMAGE as error:
        raise DataFormatError(f"{path} is not a whole HDF5 file ({error}). Copy or download it again.") from error


def require_mev(incident_energies: np.ndarray, responses: np.ndarray) -> None:
    """Refuse energies that cannot be in MeV: no calorimeter has such labels or response.

    Args:
        incident_energies: `[n]`, MeV.
        responses: `[n]`, total deposited energy / incident energy.

    Raises:
        DataFormatError: the median shower's response or label is far from any in MeV.
    """
    response, label = float(np.median(responses)), float(np.median(incident_energies))
    if response == 0 and label >= _MIN_MEDIAN_LABEL:
        return  # most showers are empty, as those of a network that hardly trained: no unit follows
    if not 1 / _MAX_RESPONSE < response < _MAX_RESPONSE or label < _MIN_MEDIAN_LABEL:
        raise DataFormatError(
            f"energies must be in MeV. Received: incident energies around {label:g} with {response:g} times as much "
            "deposited (multiply by 1000 what is in GeV)"
        )


def _columns(datasets: Mapping[str, np.ndarray], mantissa_bits: int | None = None) -> dict[str, np.ndarray]:
    """Datasets as a file holds them."""
    found = dict(datasets) | {"incident_energies": datasets["incident_energies"].reshape(-1, 1)}
    for name in {"cells", "showers"} & set(found):
        values = np.asarray(found[name], np.float32)
        found[name] = values if mantissa_bits is None else round_mantissa(values, mantissa_bits)
    return found


@contextmanager
def damage_named(path: str | Path) -> Iterator[None]:
    """Turns what HDF5 raises in a damaged file into a message with its path."""
    try:
        yield
    except _DAMAGE as error:
        reason = str(error).encode("ascii", "backslashreplace").decode()
        raise DataFormatError(f"{path} is damaged: {reason:.300}. Copy or download it again.") from error


def _conditions(file: h5py.File, num_showers: int) -> list[str]:
    """Names of the datasets of numbers that hold something for each shower."""
    names = [name for name in file if name not in ("incident_energies", "cells", "showers")]
    return [
        name
        for name in names
        if isinstance(name, str)  # else its bytes are no text
        and (item := _own_dataset(file, name)) is not None
        and item.dtype.kind in "fiub"
        and item.shape[:1] == (num_showers,)
        and not _swells(item)
    ]


def _own_dataset(file: h5py.File, name: str) -> h5py.Dataset | None:
    """A dataset whose values lie in this very file, whose hash tells them; else None."""
    if name not in file or isinstance(file.get(name, getlink=True), h5py.ExternalLink):
        return None
    item = file[name]
    own = isinstance(item, h5py.Dataset) and item.shape is not None and not item.is_virtual and not item.external
    return item if own else None


def _swells(item: h5py.Dataset) -> bool:
    """Whether a dataset, or one of its chunks, is larger than its bytes in the file can tell."""
    largest = max(math.prod(item.shape), math.prod(item.chunks or ())) * item.dtype.itemsize
    return largest > max(_ALWAYS_BYTES, _MAX_COMPRESSION * item.id.get_storage_size())


def _require_datasets(file: h5py.File, path: str | Path, name: str, geometry: Geometry) -> None:
    sizes = []
    for needed in ("incident_energies", name):
        item = _own_dataset(file, needed)
        if item is None:
            names = sorted(f"{key!a:.40}" for key in list(file)[:20])
            raise DataFormatError(f"{path} must hold the dataset '{needed}'. Received: [{', '.join(names)}]")
        if item.ndim < 1 or item.dtype.kind not in "fiu":
            raise DataFormatError(
                f"{path}: {needed} must be an array of numbers. Received: shape {item.shape}, {item.dtype!s:.100}"
            )
        if _swells(item):
            raise DataFormatError(
                f"{path}: {needed} must not unpack to more than {_MAX_COMPRESSION} times its size in the file. "
                f"Received: {item.id.get_storage_size()} bytes for shape {item.shape}, chunks {item.chunks}"
            )
        sizes.append(item)
    labels, energies = sizes
    if len(labels) != len(energies):
        raise DataFormatError(
            f"{path}: incident_energies and {name} must have the same length. "
            f"Received: {len(labels)} and {len(energies)}"
        )
    if math.prod(labels.shape) != len(labels):
        raise DataFormatError(
            f"{path}: incident_energies must hold one energy per shower. "
            f"Received: {math.prod(labels.shape)} for {len(labels)} showers"
        )
    if energies.ndim != 2 or energies.shape[1] != geometry.size or not len(energies):
        raise GeometryError(
            f"{path}: showers of geometry {geometry.name} must have shape [n, {geometry.size}], n above 0. "
            f"Received: {list(energies.shape)} (is this another geometry's file?)"
        )


def _check(showers: Showers) -> None:
    incident, energies = showers.incident_energies, showers.energies
    if len(incident) == 0:
        raise DataFormatError("expected at least one shower. Received: none (is the file empty?)")
    showers.geometry.require(energies)
    if incident.ndim != 1 or len(incident) != len(energies):
        raise DataFormatError(f"incident_energies must have shape [{len(energies)}]. Received: {list(incident.shape)}")
    for name, values in (("incident energies", incident), ("energies", energies)):
        if not np.isfinite(values).all():
            raise DataFormatError(f"{name} must be finite. Received: NaN or infinity")
    if incident.min() <= 0 or energies.min() < 0:
        raise DataFormatError(
            f"energies must not be negative, incident energies must be above 0. "
            f"Received: minimum {energies.min():g} and {incident.min():g} MeV (noise is not part of these formats)"
        )
