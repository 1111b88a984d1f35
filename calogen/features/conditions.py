"""Encodings: the conditions of showers as columns of a network's condition."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from calogen.errors import ConfigError
from calogen.showers.conditions import Conditions
from calogen.units import kinetic_energy


@dataclass(frozen=True)
class Encoding:
    """A map from the conditions of a shower to `dim` columns of a network's condition.

    Attributes:
        dim: number of columns.
    """

    dim = 1

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the conditions that are encoded, besides the incident energy."""
        return ()

    def fit(self, conditions: Conditions) -> Self:
        """Gives the encoding with its constants taken from the conditions of training showers."""
        return self

    def forward(self, conditions: Conditions) -> np.ndarray:
        """Gives `[n, dim]`, float64."""
        raise NotImplementedError


@dataclass(frozen=True)
class LogEnergy(Encoding):
    """Logarithm of the incident energy: 0 at the lowest, 1 at the highest energy in training.

    Args:
        lowest, highest: the range of energies, MeV; 0: `fit` takes it from the training showers.
        mass: mass of the particle, MeV. Above 0, incident energies, lowest and highest are momenta; the logarithm is
            that of their kinetic energies.

    Source: with mass: arXiv:2309.06515, equation (1).
    """

    lowest: float = 0.0
    highest: float = 0.0
    mass: float = 0.0

    def fit(self, conditions: Conditions) -> Self:
        """Takes the range from the training showers; a single energy gets a range of a factor e."""
        if self.highest > 0:
            return self
        lowest, highest = float(conditions.incident_energies.min()), float(conditions.incident_energies.max())
        return replace(self, lowest=lowest, highest=highest if highest > lowest else lowest * float(np.e))

    def forward(self, conditions: Conditions) -> np.ndarray:
        """Gives `[n, 1]`; energies outside the fitted range lie outside 0..1."""
        _require_fitted(self, self.highest)
        lowest, highest = self._limits
        return ((self._log(conditions.incident_energies) - lowest) / (highest - lowest))[:, None]

    @cached_property
    def _limits(self) -> tuple[float, float]:
        return float(self._log(self.lowest)), float(self._log(self.highest))

    def _log(self, energies: np.ndarray | float) -> np.ndarray:
        return np.log(kinetic_energy(np.asarray(energies, np.float64), self.mass))


@dataclass(frozen=True)
class LinearEnergy(Encoding):
    """Incident energy divided by the highest one of the training showers.

    Args:
        highest: the highest energy, MeV; 0: `fit` takes it from the training showers.
    """

    highest: float = 0.0

    def fit(self, conditions: Conditions) -> Self:
        """Takes the highest energy of the training showers."""
        if self.highest > 0:
            return self
        return replace(self, highest=float(conditions.incident_energies.max()))

    def forward(self, conditions: Conditions) -> np.ndarray:
        """Gives `[n, 1]`."""
        _require_fitted(self, self.highest)
        return conditions.incident_energies[:, None] / self.highest


@dataclass(frozen=True)
class Constant(Encoding):
    """One value for every shower, for an input of a network that carries no information."""

    value: float = 0.0

    def forward(self, conditions: Conditions) -> np.ndarray:
        """Gives `[n, 1]`."""
        return np.full((len(conditions), 1), self.value)


@dataclass(frozen=True)
class Column(Encoding):
    """One of the conditions besides the incident energy, minus an offset, divided by a scale.

    Args:
        condition: name of the condition, e.g. `impact_eta`.
    """

    condition: str
    offset: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.offset) and np.isfinite(self.scale) and self.scale):
            raise ConfigError(f"Column needs a finite offset and scale. Received: {self.offset}, {self.scale}")

    @property
    def needs(self) -> tuple[str, ...]:
        """Name of the condition."""
        return (self.condition,)

    def forward(self, conditions: Conditions) -> np.ndarray:
        """Gives `[n, 1]`.

        Raises:
            DataFormatError: the condition is missing.
        """
        values = conditions.only(self.needs).others[self.condition].astype(np.float64)
        return (values[:, None] - self.offset) / self.scale


@dataclass(frozen=True)
class StandardLogEnergy(Encoding):
    """Natural logarithm of the incident energy, standardised on the training showers.

    Args:
        mean, spread: of the training showers' logarithms; a spread of 0 until fitted. Given ones stay as they are.
    """

    mean: float = 0.0
    spread: float = 0.0

    def fit(self, given: Conditions) -> Self:
        """Takes mean and spread from the training showers; a single energy gets a spread of 1."""
        mean, spread = _moments(np.log(given.incident_energies))
        return self if self.spread > 0 else replace(self, mean=mean, spread=spread)

    def forward(self, given: Conditions) -> np.ndarray:
        """Gives `[n, 1]`."""
        _require_fitted(self, self.spread)
        return (np.log(given.incident_energies)[:, None] - self.mean) / self.spread


@dataclass(frozen=True)
class CellPosition(Encoding):
    """Impact position along a coordinate within its cell, standardised in training.

    Args:
        condition: the coordinate's name, e.g. `impact_eta`; cell 0 begins at 0.
        cell_size: width of a cell along it.
        mean, spread: of the training showers; a spread of 0 until fitted. Given ones stay as they are.
    """

    condition: str
    cell_size: float
    mean: float = 0.0
    spread: float = 0.0

    def __post_init__(self) -> None:
        _require_cells(self, self.cell_size)

    @property
    def needs(self) -> tuple[str, ...]:
        """The coordinate's name."""
        return (self.condition,)

    def fit(self, given: Conditions) -> Self:
        """Takes mean and spread from the training showers; a single position gets 1."""
        mean, spread = _moments(self._offset(given))
        return self if self.spread > 0 else replace(self, mean=mean, spread=spread)

    def forward(self, given: Conditions) -> np.ndarray:
        """Gives `[n, 1]`.

        Raises:
            DataFormatError: the coordinate is not given.
        """
        _require_fitted(self, self.spread)
        return (self._offset(given)[:, None] - self.mean) / self.spread

    def _offset(self, given: Conditions) -> np.ndarray:
        position = given.only(self.needs).others[self.condition].astype(np.float64)
        return position - (np.floor(position / self.cell_size) + 0.5) * self.cell_size


@dataclass(frozen=True)
class CellAlignment(Encoding):
    """Where the impact cell lies in a larger one, one bit for each place.

    Args:
        condition: the coordinate's name, e.g. `impact_phi`; cell 0 begins at 0.
        cell_size: width of a cell along it.
        num: of such cells in the larger one.
    """

    condition: str
    cell_size: float
    num: int

    def __post_init__(self) -> None:
        _require_cells(self, self.cell_size)
        if self.num < 1:
            raise ConfigError(f"CellAlignment needs at least one cell in the larger one. Received: {self.num}")

    @property
    def dim(self) -> int:  # type: ignore[override]
        """Number of places."""
        return self.num

    @property
    def needs(self) -> tuple[str, ...]:
        """The coordinate's name."""
        return (self.condition,)

    def forward(self, given: Conditions) -> np.ndarray:
        """Gives `[n, num]`, zeros and a one.

        Raises:
            DataFormatError: the coordinate is not given.
        """
        position = given.only(self.needs).others[self.condition].astype(np.float64)
        place = np.floor(position / self.cell_size).astype(np.int64) % self.num
        return (place[:, None] == np.arange(self.num)).astype(np.float64)


def _moments(values: np.ndarray) -> tuple[float, float]:
    return float(values.mean()), float(values.std()) or 1.0


def _require_cells(encoding: Encoding, cell_size: float) -> None:
    if not 0 < cell_size < np.inf:
        raise ConfigError(f"{type(encoding).__name__} needs cells of a size above 0. Received: {cell_size}")


def _require_fitted(encoding: Encoding, constant: float) -> None:
    if constant <= 0:
        raise ConfigError(f"{type(encoding).__name__} must be fitted to training showers before it is used")
