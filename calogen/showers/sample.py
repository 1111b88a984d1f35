"""Showers: the arrays that flow between all stages, and the HDF5 files that hold them.

A file holds `incident_energies` [n, 1] in MeV and either `showers` [n, v] (voxels, the CaloChallenge's format) or
`cells` [n, c]; showers of regular grids are in the group `hits` (`sparse`), or in the public layout of `grid_files`.
Further datasets of length n (impact position, angle and so on) are conditions.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from calogen.errors import CalogenError, DataFormatError
from calogen.hdf5 import damage_named, open_file
from calogen.hdf5_writing import write_hdf5
from calogen.showers.conditions import Conditions, Rows
from calogen.showers.geometry import Geometry
from calogen.showers.grid import RegularGrid
from calogen.showers.grid_files import GRID_SHAPE
from calogen.showers.labels import has_energy, snap
from calogen.showers.layouts import find_conditions, find_showers
from calogen.showers.sparse import ENERGIES, RAGGED, STEPS, SparseShowers

SLIGHTLY_NEGATIVE = 1e-3
"""Largest sum of a shower's negative energies, as a share of its incident energy, that `--tolerant` sets to 0."""
MIN_MEDIAN_LABEL = 100.0
"""Smallest incident energy of the median shower of a file that can be in MeV."""
_MAX_RESPONSE = 100.0  # for the median shower of a file in MeV; the smallest response is its inverse
_MIN_VISIBLE = 0.1  # the smallest response of showers whose energies are not calibrated, in that of others
_FLOAT32_BITS = 23  # explicit bits of the mantissa


@dataclass(frozen=True)
class Showers:
    """Showers of one geometry.

    Args:
        geometry: the geometry, which gives the columns of `energies` their meaning.
        incident_energies: `[n]`, MeV: the file's labels.
        energies: `[n, v]`, MeV: cell or voxel energies.
        conditions: further arrays with one entry per shower (e.g. `impact_eta`, `impact_phi`), by name.
        attributes: the file's attributes, which tell how the showers were made.

    Raises:
        DataFormatError: the shapes do not fit, energies are NaN, infinite or negative, or there is no shower.
        GeometryError: `energies` does not fit the geometry.
    """

    geometry: Geometry
    incident_energies: np.ndarray
    energies: np.ndarray
    conditions: Mapping[str, np.ndarray] = field(default_factory=dict)
    attributes: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "conditions", MappingProxyType(dict(self.conditions)))
        object.__setattr__(self, "attributes", MappingProxyType(dict(self.attributes)))
        _check(self)

    def __len__(self) -> int:
        return len(self.incident_energies)

    def __reduce__(self) -> tuple[object, ...]:
        """Makes showers picklable for worker processes, which a mapping proxy is not."""
        rest = dict(self.conditions), dict(self.attributes)
        return type(self), (self.geometry, self.incident_energies, self.energies, *rest)

    def __getitem__(self, index: Rows) -> "Showers":
        """The showers that a slice, a boolean mask or an index array selects."""
        return replace(
            self,
            incident_energies=self.incident_energies[index],
            energies=self.energies[index],
            conditions={name: values[index] for name, values in self.conditions.items()},
        )

    def at(self, incident_energy: float) -> "Showers":
        """The showers with this incident energy, MeV, or else those within 1e-5 of it.

        Raises:
            DataFormatError: there are no such showers.
        """
        rows = has_energy(self.incident_energies, incident_energy)
        if not rows.any():
            known = ", ".join(f"{energy:g}" for energy in np.unique(self.incident_energies)[:30])
            raise DataFormatError(f"no shower has incident energy {incident_energy:g} MeV. Present: {known}")
        return self[rows]

    @property
    def given(self) -> Conditions:
        """Incident energies and conditions, from which a model generates such showers."""
        return Conditions(self.incident_energies, self.conditions)

    def blocks(self, num_rows: int = 4096) -> Iterator[tuple[slice, "Showers"]]:
        """Gives all showers in their order, in blocks of some rows."""
        for first in range(0, len(self), num_rows):
            yield slice(first, first + num_rows), self[first : first + num_rows]

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
        energies = {"incident_energies": self.incident_energies}
        if isinstance(self.geometry, RegularGrid):
            return energies | SparseShowers.of(self.energies).datasets | dict(self.conditions)
        return energies | {self.geometry.dataset: self.energies} | dict(self.conditions)

    @property
    def stored_attributes(self) -> dict[str, object]:
        """The attributes of a file, among them what reading its datasets needs."""
        if isinstance(self.geometry, RegularGrid):
            return {**self.attributes, GRID_SHAPE: self.geometry.shape}
        return dict(self.attributes)

    @classmethod
    def read(cls, path: str | Path, geometry: Geometry, rows: slice | None = None, tolerant: bool = False) -> "Showers":
        """Reads and checks a file, or some rows of it.

        Labels of a whole file that lie within 1e-5 of one another become one energy (`labels.snap`).

        Args:
            rows: the rows to read; None: all.
            tolerant: whether to set slightly negative energies to 0 (`clip_negative`); their number is in the attribute
                `clipped`, a `Negative`.

        Raises:
            DataFormatError: the file is missing, truncated or of another format; it lacks a dataset or showers; its
                energies are NaN or negative, or not in MeV.
            GeometryError: the number of cells or voxels is not the geometry's.
        """
        with open_file(path) as file, damage_named(path), ExitStack() as opened:
            labels, stored = find_showers(file, path, geometry, opened)
            chosen = rows or slice(None)
            incident_energies, energies = labels[chosen].reshape(-1), stored[chosen]
            conditions = find_conditions(file, len(stored), opened)
            extra = {name: item[chosen] for name, item in conditions.items()}
            attributes = dict(file.attrs)
        if rows is None:
            incident_energies = snap(incident_energies)
        if tolerant:
            energies, clipped = clip_negative(energies, incident_energies)
            attributes |= {"clipped": clipped} if clipped else {}
        try:
            showers = cls(geometry, incident_energies, energies, extra, attributes)
            require_mev(showers.incident_energies, showers.response, visible=isinstance(geometry, RegularGrid))
            return showers
        except CalogenError as error:
            raise type(error)(f"{path}: {error}") from error

    def write(self, path: str | Path, mantissa_bits: int | None = None) -> None:
        """Writes the showers whole or not at all, with gzip and shuffle.

        Args:
            mantissa_bits: number of explicit bits of the float32 mantissa that are kept (12: relative 1.2e-4), to save
                space; None: all.
        """
        write_file(path, [self.datasets], len(self), self.stored_attributes, mantissa_bits)


@dataclass(frozen=True)
class Negative:
    """Numbers of negative energies in a sample.

    Args:
        voxels: number of negative energies.
        showers: number of showers with negative energies.
        share: largest sum of a shower's negative energies, as a share of its incident energy.
    """

    voxels: int = 0
    showers: int = 0
    share: float = 0.0

    def __bool__(self) -> bool:
        return self.voxels > 0

    def __add__(self, other: "Negative") -> "Negative":
        return Negative(self.voxels + other.voxels, self.showers + other.showers, max(self.share, other.share))

    def __str__(self) -> str:
        return (
            f"{self.voxels:,} negative energies in {self.showers:,} showers, together up to {100 * self.share:.2g} % "
            "of a shower's incident energy"
        )


def count_negative(energies: np.ndarray, incident_energies: np.ndarray) -> Negative:
    """Counts the negative energies of showers, `[n, v]`, with incident energies `[n]`, MeV."""
    lowest = np.fmin(energies, 0)
    if not lowest.any():
        return Negative()
    with np.errstate(all="ignore"):
        shares = -lowest.sum(axis=1, dtype=np.float64) / incident_energies
    return Negative(int((lowest < 0).sum()), int((lowest < 0).any(axis=1).sum()), float(shares.max()))


def clip_negative(energies: np.ndarray, incident_energies: np.ndarray) -> tuple[np.ndarray, Negative]:
    """Sets slightly negative energies to 0, and counts them.

    Energies are slightly negative if their sum is in no shower more than `SLIGHTLY_NEGATIVE` of the incident energy,
    which is less than any calorimeter's resolution. Otherwise none is changed, and `Showers` refuses them.

    Args:
        energies: `[n, v]`, MeV.
        incident_energies: `[n]`, MeV.
    """
    negative = count_negative(energies, incident_energies)
    if not negative or not negative.share <= SLIGHTLY_NEGATIVE:
        return energies, Negative()
    return np.maximum(energies, 0), negative


def write_file(
    path: str | Path,
    tables: Iterable[Mapping[str, np.ndarray]],
    num_showers: int,
    attributes: Mapping[str, object],
    mantissa_bits: int | None = None,
) -> None:
    """Writes a shower file whole or not at all, with gzip and shuffle; see `Showers.write`.

    `incident_energies` becomes `[n, 1]`, energies (`cells`, `showers`) float32; a file may hold both kinds of energies.

    Args:
        tables: datasets of some showers at a time, by name, `incident_energies` first.
        num_showers: number of showers of all tables together.
    """
    plain = _plain(attributes)
    if mantissa_bits is not None:
        relative = 2.0 ** -(mantissa_bits + 1)
        plain["precision"] = f"energies rounded to {mantissa_bits} mantissa bits: relative {relative:.2g}"
    blocks = (_columns(datasets, attributes, mantissa_bits) for datasets in tables)
    write_hdf5(path, blocks, num_showers, plain, chunk_rows=num_showers, ragged=RAGGED)


def write_blocks(path: str | Path, blocks: Iterable[Showers], num_showers: int, chunk_rows: int | None = None) -> None:
    """Writes showers block by block with fast compression; at most two blocks are in memory.

    Args:
        blocks: showers of one geometry, with equal names of conditions and equal attributes.
        num_showers: number of showers of all blocks together.
        chunk_rows: as for `write_hdf5`.
    """
    attributes: dict[str, object] = {}

    def tables() -> Iterator[dict[str, np.ndarray]]:
        for block in blocks:
            attributes.update(_plain(block.stored_attributes))
            yield _columns(block.datasets, block.stored_attributes)

    write_hdf5(path, tables(), num_showers, attributes, level=4, chunk_rows=chunk_rows, ragged=RAGGED)


def concatenate(parts: list[Showers]) -> Showers:
    """Joins samples of one geometry into one, with the conditions that all of them have."""
    names = set.intersection(*(set(part.conditions) for part in parts))
    return Showers(
        parts[0].geometry,
        np.concatenate([part.incident_energies for part in parts]),
        np.concatenate([part.energies for part in parts]),
        {name: np.concatenate([part.conditions[name] for part in parts]) for name in sorted(names)},
        parts[0].attributes,
    )


def round_mantissa(values: np.ndarray, bits: int) -> np.ndarray:
    """Rounds float32 numbers to some explicit mantissa bits (1..23), to compress better."""
    if not 1 <= bits <= _FLOAT32_BITS:
        raise DataFormatError(f"mantissa_bits must be 1..23. Received: {bits}")
    drop = np.uint32(_FLOAT32_BITS - bits)
    rounded = np.ascontiguousarray(values, np.float32).view(np.uint32) + np.uint32(1 << int(drop) >> 1)
    rounded >>= drop
    rounded <<= drop
    return rounded.view(np.float32)


def require_mev(incident_energies: np.ndarray, responses: np.ndarray, visible: bool = False) -> None:
    """Refuse, with a `DataFormatError`, energies that cannot be in MeV.

    Args:
        incident_energies: `[n]`, MeV.
        responses: `[n]`, total deposited energy / incident energy.
        visible: whether energies are those left in thin sensors, not calibrated, as those of regular grids: they are
            0.5 to 3 % of the incident energy.
    """
    least = (_MIN_VISIBLE if visible else 1.0) / _MAX_RESPONSE
    response, label = float(np.median(responses)), float(np.median(incident_energies))
    if response == 0 and label >= MIN_MEDIAN_LABEL:
        return  # most showers are empty, as those of a network after little training: they tell no unit
    if not least < response < _MAX_RESPONSE or label < MIN_MEDIAN_LABEL:
        raise DataFormatError(
            f"energies must be in MeV. Received: incident energies around {label:g} with {response:g} times as much "
            "deposited (multiply by 1000 what is in GeV)"
        )


def _plain(attributes: Mapping[str, object]) -> dict[str, object]:
    """Attributes in the types that a file holds."""
    return {name: str(value) if isinstance(value, Negative) else value for name, value in attributes.items()}


def _columns(
    datasets: Mapping[str, np.ndarray], attributes: Mapping[str, object], mantissa_bits: int | None = None
) -> dict[str, np.ndarray]:
    """Datasets in the shapes and types of a file, which are the same for all its blocks."""
    columns = dict(datasets) | {"incident_energies": datasets["incident_energies"].reshape(-1, 1)}
    for name in {"cells", "showers", ENERGIES} & set(columns):
        values = np.asarray(columns[name], np.float32)
        columns[name] = values if mantissa_bits is None else round_mantissa(values, mantissa_bits)
    if STEPS in columns:
        size = int(np.prod(np.asarray(attributes[GRID_SHAPE])))
        columns[STEPS] = columns[STEPS].astype(np.uint16 if size <= 2**16 else np.uint32)
    return columns


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
    if incident.min() <= 0:
        raise DataFormatError(
            f"incident energies must be above 0. Received: {(incident <= 0).sum():,} that are not, the lowest "
            f"{incident.min():g} MeV"
        )
    if energies.min() < 0:
        negative = count_negative(energies, incident)
        slight = negative.share <= SLIGHTLY_NEGATIVE
        remedy = "sets them to 0" if slight else f"sets no more than {100 * SLIGHTLY_NEGATIVE:g} % to 0"
        raise DataFormatError(
            f"energies must not be negative. Received: {negative}, the lowest {energies.min():g} MeV; "
            f"--tolerant {remedy}"
        )
