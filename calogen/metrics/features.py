"""Tables of named observables: one row per shower."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from calogen.errors import DataFormatError


@dataclass(frozen=True)
class Feature:
    """One number per shower.

    Args:
        quantity: `total_energy`, `response`, `layer_energy`, `centroid_` or `width_` and `eta`, `phi`, `r`, `sparsity`.
        layer_id: the layer, or None for the whole shower.
    """

    quantity: str
    layer_id: int | None = None

    @property
    def name(self) -> str:
        """Quantity and layer.

        >>> Feature("width_eta", 2).name, Feature("response").name
        ('width_eta_2', 'response')
        """
        return self.quantity if self.layer_id is None else f"{self.quantity}_{self.layer_id}"


@dataclass(frozen=True)
class Features:
    """Observables of some showers, e.g. the CaloChallenge's high-level features.

    Args:
        features: what the columns are.
        values: `[n, f]`, float64: MeV, mm, pure numbers.
        incident_energies: `[n]`, MeV.
    """

    features: tuple[Feature, ...]
    values: np.ndarray
    incident_energies: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The columns' names."""
        return tuple(feature.name for feature in self.features)

    def __getitem__(self, name: str) -> np.ndarray:
        """One feature by its name, `[n]`.

        Raises:
            DataFormatError: there is no such feature.
        """
        if name not in self.names:
            raise DataFormatError(f"the features are {', '.join(self.names)}. Received: {name}")
        return self.values[:, self.names.index(name)]

    def of(self, quantity: str) -> np.ndarray:
        """All layers' columns of a quantity, `[n, k]`."""
        return self.values[:, [feature.quantity == quantity for feature in self.features]]
