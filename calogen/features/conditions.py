"""Encodings: the conditions of showers as columns of a network's condition."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self, TypeAlias

import numpy as np

from calogen.errors import ConfigError
from calogen.showers.conditions import Conditions
from calogen.units import kinetic_energy

Quantity: TypeAlias = tuple[str | float, ...]
"""What a column of a network's condition tells, whatever its offset and scale: a kind, and what it depends on.

`("energy",)`: incident energy, MeV; `("log-energy", mass)`: natural logarithm of the kinetic energy in MeV, for the
mass with which it is computed; `("value", condition)`; `("distance", condition, cell_size)`: from the cell's centre;
`("place", condition, cell_size, num, place)`: 1 if the cell has this place in the larger one, else 0; `("one",)`: 1.
"""


@dataclass(frozen=True)
class Term:
    """A column of a network's condition, written as (quantity - offset) / scale."""

    quantity: Quantity
    offset: float = 0.0
    scale: float = 1.0


@dataclass(frozen=True)
class Encoding:
    """A map from the conditions of a shower to `dim` columns of a network's condition.

    Attributes:
        dim: number of columns.
    """

    dim = 1

    @property
    def energy_span(self) -> tuple[float, float] | None:
        """Lowest and highest incident energy of the training, MeV; None: it is not known."""
        return None

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the conditions that are encoded, besides the incident energy."""
        return ()

    def fit(self, conditions: Conditions) -> Self:
        """Gives the encoding with its constants taken from the conditions of training showers."""
        return self

    @property
    def terms(self) -> tuple[Term, ...]:
        """The columns, as they are written for a program that knows other offsets and scales."""
        raise NotImplementedError

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
        lowest, highest = self._fitted_limits
        return ((self._log(conditions.incident_energies) - lowest) / (highest - lowest))[:, None]

    @property
    def energy_span(self) -> tuple[float, float] | None:
        """The range."""
        return (self.lowest, self.highest) if self.highest > 0 else None

    @property
    def terms(self) -> tuple[Term, ...]:
        """The logarithm of the kinetic energy."""
        lowest, highest = self._fitted_limits
        return (Term(("log-energy", self.mass), lowest, highest - lowest),)

    @cached_property
    def _fitted_limits(self) -> tuple[float, float]:
        _require_fitted(self, self.highest)
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

    @property
    def energy_span(self) -> tuple[float, float] | None:
        """From a thousandth of the highest energy on, as it knows nothing of the lowest."""
        return (self.highest / 2**10, self.highest) if self.highest > 0 else None

    @property
    def terms(self) -> tuple[Term, ...]:
        """The incident energy."""
        _require_fitted(self, self.highest)
        return (Term(("energy",), scale=self.highest),)


@dataclass(frozen=True)
class Constant(Encoding):
    """One value for every shower, for an input of a network that carries no information."""

    value: float = 0.0

    def forward(self, conditions: Conditions) -> np.ndarray:
        """Gives `[n, 1]`."""
        return np.full((len(conditions), 1), self.value)

    @property
    def terms(self) -> tuple[Term, ...]:
        """One, less what lacks to the value."""
        return (Term(("one",), offset=1.0 - self.value),)


@dataclass(frozen=True)
class OneCondition(Encoding):
    """An encoding of one of the conditions besides the incident energy.

    Args:
        condition: name of the condition, e.g. `impact_eta`.
    """

    condition: str

    @property
    def needs(self) -> tuple[str, ...]:
        """Name of the condition."""
        return (self.condition,)

    @property
    def span(self) -> tuple[float, float]:
        """Limits between which values of the condition show all that the encoding tells of it."""
        raise NotImplementedError

    def values(self, conditions: Conditions) -> np.ndarray:
        """Gives the condition `[n]`, float64.

        Raises:
            DataFormatError: the condition is missing.
        """
        return conditions.only(self.needs).others[self.condition].astype(np.float64)


@dataclass(frozen=True)
class Column(OneCondition):
    """One of the conditions besides the incident energy, minus an offset, divided by a scale."""

    offset: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.offset) and np.isfinite(self.scale) and self.scale):
            raise ConfigError(f"Column needs a finite offset and scale. Received: {self.offset}, {self.scale}")

    def forward(self, conditions: Conditions) -> np.ndarray:
        """Gives `[n, 1]`.

        Raises:
            DataFormatError: the condition is missing.
        """
        return (self.values(conditions)[:, None] - self.offset) / self.scale

    @property
    def span(self) -> tuple[float, float]:
        """The values whose column is -1 to 1."""
        return self.offset - abs(self.scale), self.offset + abs(self.scale)

    @property
    def terms(self) -> tuple[Term, ...]:
        """The value."""
        return (Term(("value", self.condition), self.offset, self.scale),)


class Standardised(Encoding):
    """An encoding with mean 0 and standard deviation 1 in training."""

    mean: float
    spread: float

    def standardised_as(self, fitted: "Standardised") -> Self:
        """Gives this encoding with the constants of one that was fitted.

        Raises:
            ConfigError: they are not finite, or the spread is not above 0.
        """
        if not (np.isfinite(fitted.mean) and 0 < fitted.spread < np.inf):
            raise ConfigError(f"mean must be finite, spread above 0. Received: {fitted.mean} and {fitted.spread}")
        return self if self.spread > 0 else replace(self, mean=fitted.mean, spread=fitted.spread)  # type: ignore[call-arg]


@dataclass(frozen=True)
class StandardLogEnergy(Standardised):
    """Natural logarithm of the incident energy in MeV, standardised on the training showers.

    Args:
        mean, spread: mean and standard deviation of the logarithm; spread 0: `fit` takes both from training showers.

    Source: arXiv:2210.06204, "Generative Adversarial Networks".
    """

    mean: float = 0.0
    spread: float = 0.0

    def fit(self, conditions: Conditions) -> Self:
        """Takes mean and spread from the training showers; a single energy gets a spread of 1."""
        if self.spread > 0:
            return self
        mean, spread = _moments(np.log(conditions.incident_energies))
        return replace(self, mean=mean, spread=spread)

    def forward(self, conditions: Conditions) -> np.ndarray:
        """Gives `[n, 1]`."""
        _require_fitted(self, self.spread)
        return (np.log(conditions.incident_energies)[:, None] - self.mean) / self.spread

    @property
    def energy_span(self) -> tuple[float, float] | None:
        """The range over which a flat distribution of the logarithm has this mean and spread."""
        half = np.sqrt(3.0) * self.spread
        return (float(np.exp(self.mean - half)), float(np.exp(self.mean + half))) if self.spread > 0 else None

    @property
    def terms(self) -> tuple[Term, ...]:
        """The logarithm of the incident energy."""
        _require_fitted(self, self.spread)
        return (Term(("log-energy", 0.0), self.mean, self.spread),)


@dataclass(frozen=True)
class CellPosition(OneCondition, Standardised):
    """A coordinate of the impact point from its cell's centre, standardised in training.

    Args:
        cell_size: width of a cell along the coordinate, in its unit (eta, or phi in rad); cell 0 begins at 0.
        mean, spread: mean and standard deviation of the distance; spread 0: `fit` takes both from the training showers.

    Source: arXiv:2210.06204, "Generative Adversarial Networks".
    """

    cell_size: float
    mean: float = 0.0
    spread: float = 0.0

    def __post_init__(self) -> None:
        _require_cells(self, self.cell_size)

    def fit(self, conditions: Conditions) -> Self:
        """Takes mean and spread from the training showers; a single position gets 1."""
        if self.spread > 0:
            return self
        mean, spread = _moments(self._offset(conditions))
        return replace(self, mean=mean, spread=spread)

    def forward(self, conditions: Conditions) -> np.ndarray:
        """Gives `[n, 1]`.

        Raises:
            DataFormatError: the coordinate is missing.
        """
        _require_fitted(self, self.spread)
        return (self._offset(conditions)[:, None] - self.mean) / self.spread

    @property
    def span(self) -> tuple[float, float]:
        """One cell."""
        return 0.0, self.cell_size

    @property
    def terms(self) -> tuple[Term, ...]:
        """The distance."""
        _require_fitted(self, self.spread)
        return (Term(("distance", self.condition, self.cell_size), self.mean, self.spread),)

    def _offset(self, conditions: Conditions) -> np.ndarray:
        position = self.values(conditions)
        return position - (np.floor(position / self.cell_size) + 0.5) * self.cell_size


@dataclass(frozen=True)
class CellAlignment(OneCondition):
    """Place of the impact cell in a larger cell, one bit for each place.

    Args:
        cell_size: width of a cell along the coordinate, in its unit (eta, or phi in rad); cell 0 begins at 0.
        num: number of such cells in the larger one.

    Source: arXiv:2210.06204, "Monte Carlo Samples and Preprocessing", Fig. 2.
    """

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

    def forward(self, conditions: Conditions) -> np.ndarray:
        """Gives `[n, num]`, zeros and a one.

        Raises:
            DataFormatError: the coordinate is missing.
        """
        place = np.floor(self.values(conditions) / self.cell_size).astype(np.int64) % self.num
        return (place[:, None] == np.arange(self.num)).astype(np.float64)

    @property
    def span(self) -> tuple[float, float]:
        """The larger cell."""
        return 0.0, self.num * self.cell_size

    @property
    def terms(self) -> tuple[Term, ...]:
        """One place after the other."""
        return tuple(Term(("place", self.condition, self.cell_size, self.num, place)) for place in range(self.num))


def _moments(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation; of equal values 1 instead of what rounding leaves."""
    return float(values.mean()), float(values.std()) if values.min() < values.max() else 1.0


def _require_cells(encoding: Encoding, cell_size: float) -> None:
    if not 0 < cell_size < np.inf:
        raise ConfigError(f"{type(encoding).__name__} needs cells of a size above 0. Received: {cell_size}")


def _require_fitted(encoding: Encoding, constant: float) -> None:
    if constant <= 0:
        raise ConfigError(f"{type(encoding).__name__} must be fitted to training showers before it is used")
