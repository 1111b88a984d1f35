"""Conditions of showers: incident energies, and further numbers of each shower."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Self

import numpy as np

from calogen.errors import DataFormatError

Rows = slice | np.ndarray | np.bool
"""A choice of showers: a slice, a boolean mask (for mypy, a comparison may give `np.bool`) or an index array."""


@dataclass(frozen=True)
class Conditions:
    """The conditions under which a model generates showers.

    Args:
        incident_energies: `[n]`, MeV, above 0.
        others: further arrays with one entry for each shower, by name: impact position, alignment, angle.

    Raises:
        DataFormatError: the incident energies are no vector of numbers above 0, or an array has another length.
    """

    incident_energies: np.ndarray
    others: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        energies = np.asarray(self.incident_energies, np.float64)
        if energies.ndim != 1 or not len(energies) or not (energies > 0).all():
            raise DataFormatError(
                "incident_energies must be a vector of energies above 0 MeV. "
                f"Received: shape {list(energies.shape)}, {energies.ravel()[:3]} ..."
            )
        lengths = {name: len(values) for name, values in self.others.items() if len(values) != len(energies)}
        if lengths:
            raise DataFormatError(f"conditions must have {len(energies)} entries, one per shower. Received: {lengths}")
        object.__setattr__(self, "incident_energies", energies)
        object.__setattr__(self, "others", MappingProxyType(dict(self.others)))

    @classmethod
    def of(cls, source: "Conditions | np.ndarray | Sequence[float]") -> "Conditions":
        """Gives conditions as they are, or conditions of these incident energies, MeV."""
        return source if isinstance(source, Conditions) else cls(np.asarray(source))

    def __len__(self) -> int:
        return len(self.incident_energies)

    def __getitem__(self, rows: Rows) -> Self:
        """Conditions of some showers, chosen by a slice, a boolean mask or an index array."""
        others = {name: values[rows] for name, values in self.others.items()}
        return type(self)(self.incident_energies[rows], others)

    def __reduce__(self) -> tuple[object, ...]:
        """Makes conditions picklable for worker processes, which a mapping proxy is not."""
        return type(self), (self.incident_energies, dict(self.others))

    def only(self, names: Sequence[str]) -> Self:
        """Gives the incident energies and the conditions with these names.

        Raises:
            DataFormatError: a condition is missing.
        """
        missing = [name for name in names if name not in self.others]
        if missing:
            raise DataFormatError(
                f"the model needs {', '.join(missing)} of each shower, besides its incident energy: datasets of these "
                f"names in a file of showers (calogen generate --like FILE). Received: {sorted(self.others) or 'none'}"
            )
        return type(self)(self.incident_energies, {name: self.others[name] for name in names})
