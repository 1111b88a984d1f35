"""Tables of features, which are observables of showers: a row for each shower."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from calogen.errors import DataFormatError


@dataclass(frozen=True)
class Feature:
    """A feature: one number per shower.

    Args:
        quantity: e.g. `total_energy`, `response`, `layer_energy`, `centroid_eta`, `width_r`, `sparsity`.
        layer_id: id of the layer; None: the feature is one of the whole shower.
    """

    quantity: str
    layer_id: int | None = None

    @property
    def name(self) -> str:
        """Name of the feature: its quantity and its layer.

        >>> Feature("width_eta", 2).name, Feature("response").name
        ('width_eta_2', 'response')
        """
        return self.quantity if self.layer_id is None else f"{self.quantity}_{self.layer_id}"


@dataclass(frozen=True)
class Features:
    """Observables of some showers, e.g. the CaloChallenge's high-level features.

    Args:
        features: features in the order of the columns.
        values: values of the features, `[n, f]`, float64, in MeV, mm or as pure numbers.
        incident_energies: incident energies of the showers, `[n]`, MeV.
    """

    features: tuple[Feature, ...]
    values: np.ndarray
    incident_energies: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the features."""
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
        """The columns of a quantity for all layers, `[n, k]`."""
        return self.values[:, [feature.quantity == quantity for feature in self.features]]
