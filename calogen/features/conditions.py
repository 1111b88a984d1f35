"""Encodings: what is known of showers as columns of a network's condition."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from calogen.errors import ConfigError
from calogen.showers.conditions import Conditions
from calogen.units import kinetic_energy


class Encoding:
    """A map from what is given of a shower to `dim` columns of a network's condition.

    Attributes:
        dim: number of columns.
        needs: names of the conditions that it looks at, besides the incident energy.
    """

    dim = 1
    needs: tuple[str, ...] = ()

    def fit(self, given: Conditions) -> Self:
        """Gives the encoding with its constants taken from training showers."""
        return self

    def forward(self, given: Conditions) -> np.ndarray:
        """Gives `[n, dim]`, float64."""
        raise NotImplementedError


@dataclass(frozen=True)
class LogEnergy(Encoding):
    """Logarithm of the incident energy: 0 at the lowest, 1 at the highest energy in training.

    Args:
        lowest, highest: MeV; 0 until fitted. Given ones stay as they are.
        mass: of the particle, MeV: incident energies, lowest and highest are momenta, and their kinetic energies count.

    Source: with mass: arXiv:2309.06515, equation (1).
    """

    lowest: float = 0.0
    highest: float = 0.0
    mass: float = 0.0

    def fit(self, given: Conditions) -> Self:
        """Takes the range from the training showers; a single energy gets a range of a factor e."""
        if self.highest > 0:
            return self
        lowest, highest = float(given.incident_energies.min()), float(given.incident_energies.max())
        return replace(self, lowest=lowest, highest=highest if highest > lowest else lowest * float(np.e))

    def forward(self, given: Conditions) -> np.ndarray:
        """Gives `[n, 1]`; energies outside the fitted range lie outside 0..1."""
        _require_fitted(self, self.highest)
        lowest, highest = self._limits
        return ((self._log(given.incident_energies) - lowest) / (highest - lowest))[:, None]

    @cached_property
    def _limits(self) -> tuple[float, float]:
        return float(self._log(self.lowest)), float(self._log(self.highest))

    def _log(self, energies: np.ndarray | float) -> np.ndarray:
        return np.log(kinetic_energy(np.asarray(energies, np.float64), self.mass))


@dataclass(frozen=True)
class LinearEnergy(Encoding):
    """Incident energy over the highest one of the training showers.

    Args:
        highest: MeV; 0 until fitted. A given one stays as it is.
    """

    highest: float = 0.0

    def fit(self, given: Conditions) -> Self:
        """Takes the highest energy of the training showers."""
        if self.highest > 0:
            return self
        return replace(self, highest=float(given.incident_energies.max()))

    def forward(self, given: Conditions) -> np.ndarray:
        """Gives `[n, 1]`."""
        _require_fitted(self, self.highest)
        return given.incident_energies[:, None] / self.highest


@dataclass(frozen=True)
class Constant(Encoding):
    """The same value for every shower: an input of the network that is not used.

    Args:
        value: what the network gets.
    """

    value: float = 0.0

    def forward(self, given: Conditions) -> np.ndarray:
        """Gives `[n, 1]`."""
        return np.full((len(given), 1), self.value)


@dataclass(frozen=True)
class Column(Encoding):
    """One of the conditions besides the incident energy, moved and scaled.

    Args:
        condition: its name, e.g. `impact_eta`.
        offset: what is taken off.
        scale: what the rest is divided by.
    """

    condition: str
    offset: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.offset) and np.isfinite(self.scale) and self.scale):
            raise ConfigError(f"Column needs a finite offset and scale. Received: {self.offset}, {self.scale}")

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        """The condition's name."""
        return (self.condition,)

    def forward(self, given: Conditions) -> np.ndarray:
        """Gives `[n, 1]`.

        Raises:
            DataFormatError: the condition is not given.
        """
        return (given.only(self.needs).others[self.condition].astype(np.float64)[:, None] - self.offset) / self.scale


def _require_fitted(encoding: Encoding, constant: float) -> None:
    if constant <= 0:
        raise ConfigError(f"{type(encoding).__name__} must be fitted to training showers before it is used")
