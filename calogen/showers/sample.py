"""Showers: the arrays that flow between all stages, and the HDF5 files that hold them.

A file holds `incident_energies` [n, 1] in MeV and one of `showers` [n, v] (voxels, the CaloChallenge's format) or
`cells` [n, c]; further datasets of length n (impact position, angle ...) are extra conditions.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from calogen.errors import CalogenError, DataFormatError
from calogen.hdf5 import damage_named, open_file
from calogen.hdf5_writing import write_hdf5
from calogen.showers.conditions import Conditions
from calogen.showers.geometry import Geometry
from calogen.showers.labels import has_energy, snap
from calogen.showers.layouts import find_conditions, find_showers

SLIGHTLY_NEGATIVE = 1e-3
"""Of a shower's incident energy: negative voxels that hold no more together are set to 0 by `--tolerant`."""
_MAX_RESPONSE = 100.0  # of the median shower of a file; its inverse is the least
_MIN_MEDIAN_LABEL = 100.0  # MeV
_FLOAT32_BITS = 23  # explicit bits of the mantissa


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
        """The showers of one incident energy, MeV: this very label, else within 1e-5.

        Raises:
            DataFormatError: there is none.
        """
        found = has_energy(self.incident_energies, incident_energy)
        if not found.any():
            known = ", ".join(f"{energy:g}" for energy in np.unique(self.incident_energies)[:30])
            raise DataFormatError(f"no shower has incident energy {incident_energy:g} MeV. Present: {known}")
        return self[found]

    @property
    def given(self) -> Conditions:
        """What was given of them before they were made: what a model generates such showers from."""
        return Conditions(self.incident_energies, self.conditions)

    def blocks(self, num_rows: int = 4096) -> Iterator[tuple[slice, "Showers"]]:
        """Gives all showers in their order, so many rows at a time."""
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
        energies = {"incident_energies": self.incident_energies, self.geometry.dataset: self.energies}
        return energies | dict(self.conditions)

    @classmethod
    def read(cls, path: str | Path, geometry: Geometry, rows: slice | None = None, tolerant: bool = False) -> "Showers":
        """Read a file, or some rows of it, and check it.

        Labels of a whole file that lie within 1e-5 of one another become one energy (`labels.snap`).

        Args:
            path, geometry: the file.
            rows: which; None: all.
            tolerant: whether to set slightly negative energies to 0 (`clip_negative`); the attribute `clipped`, a
                `Negative`, says how many those were.

        Raises:
            DataFormatError: missing, truncated or foreign file; missing dataset; NaN or negative energies; energies
                that are not in MeV; no showers.
            GeometryError: another number of cells or voxels than the geometry has.
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


@dataclass(frozen=True)
class Negative:
    """Negative energies among those of showers.

    Args:
        voxels, showers: how many, and in how many showers.
        share: the largest sum of a shower's, as a part of its incident energy.
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
    """How many energies `[n, v]` are negative, and their share of the incident `[n]`.

    Both in MeV.
    """
    lowest = np.fmin(energies, 0)
    if not lowest.any():
        return Negative()
    with np.errstate(all="ignore"):
        shares = -lowest.sum(axis=1, dtype=np.float64) / incident_energies
    return Negative(int((lowest < 0).sum()), int((lowest < 0).any(axis=1).sum()), float(shares.max()))


def clip_negative(energies: np.ndarray, incident_energies: np.ndarray) -> tuple[np.ndarray, Negative]:
    """Energies of which slightly negative ones are 0, and how many those were.

    Slightly: those of each shower hold together at most `SLIGHTLY_NEGATIVE` of its incident energy, less than any
    calorimeter's resolution. Else all of them stay as they are, and `Showers` refuses them.

    Args:
        energies: `[n, v]`, MeV.
        incident_energies: `[n]`, MeV.
    """
    found = count_negative(energies, incident_energies)
    if not found or not found.share <= SLIGHTLY_NEGATIVE:
        return energies, Negative()
    return np.maximum(energies, 0), found


def write_file(
    path: str | Path,
    datasets: Mapping[str, np.ndarray],
    attributes: Mapping[str, Any],
    mantissa_bits: int | None = None,
) -> None:
    """Write a shower file whole or not at all, with gzip and shuffle; see `Showers.write`.

    `incident_energies` becomes `[n, 1]`, energies (`cells`, `showers`) float32; a file may hold both kinds of energies.
    """
    attributes = _plain(attributes)
    if mantissa_bits is not None:
        relative = 2.0 ** -(mantissa_bits + 1)
        attributes["precision"] = f"energies rounded to {mantissa_bits} mantissa bits: relative {relative:.2g}"
    write_hdf5(path, [_columns(datasets, mantissa_bits)], len(datasets["incident_energies"]), attributes)


def write_blocks(path: str | Path, blocks: Iterable[Showers], num_showers: int, chunk_rows: int | None = None) -> None:
    """Write showers block by block, fast, with two of them in memory.

    Args:
        path: the file to write or replace.
        blocks: showers of one geometry, with the same conditions and attributes.
        num_showers: of all blocks together.
        chunk_rows: as for `write_hdf5`.

    Raises:
        CalogenError: the file cannot be written: no permission, a directory, disk full, or soon to be full.
    """
    attributes: dict[str, Any] = {}

    def tables() -> Iterator[dict[str, np.ndarray]]:
        for block in blocks:
            attributes.update(_plain(block.attributes))
            yield _columns(block.datasets)

    write_hdf5(path, tables(), num_showers, attributes, level=4, chunk_rows=chunk_rows)


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


def _plain(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes as a file holds them."""
    return {name: str(value) if isinstance(value, Negative) else value for name, value in attributes.items()}


def _columns(datasets: Mapping[str, np.ndarray], mantissa_bits: int | None = None) -> dict[str, np.ndarray]:
    """Datasets as a file holds them."""
    found = dict(datasets) | {"incident_energies": datasets["incident_energies"].reshape(-1, 1)}
    for name in {"cells", "showers"} & set(found):
        values = np.asarray(found[name], np.float32)
        found[name] = values if mantissa_bits is None else round_mantissa(values, mantissa_bits)
    return found


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
        found = count_negative(energies, incident)
        slight = found.share <= SLIGHTLY_NEGATIVE
        remedy = "sets them to 0" if slight else f"sets no more than {100 * SLIGHTLY_NEGATIVE:g} % to 0"
        raise DataFormatError(
            f"energies must not be negative. Received: {found}, the lowest {energies.min():g} MeV; --tolerant {remedy}"
        )
