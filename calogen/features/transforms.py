"""Invertible transforms between showers and the features of networks, in NumPy.

They are fitted on training showers only and written as JSON. A step turns energies `[n, v]`, or the values of the step
before, into features and back; a `Chain` holds the steps and the encodings of the condition.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TypeVar

import numpy as np

from calogen.config import Dataclass, plain_from_json
from calogen.errors import ConfigError, DataFormatError
from calogen.features.conditions import (
    CellAlignment,
    CellPosition,
    Column,
    Constant,
    Encoding,
    LinearEnergy,
    LogEnergy,
    StandardLogEnergy,
)
from calogen.showers.conditions import Conditions
from calogen.showers.geometry import Geometry
from calogen.showers.sample import Showers
from calogen.units import kinetic_energy


@dataclass(frozen=True)
class Step:
    """An invertible transform of one array."""

    def forward(self, values: np.ndarray, incident_energies: np.ndarray) -> np.ndarray:
        """Gives features `[n, f]`, float64, for values `[n, v]` and incident energies `[n]`, MeV."""
        raise NotImplementedError

    def forward_from(self, first: int, values: np.ndarray, incident_energies: np.ndarray) -> np.ndarray:
        """Gives rows of `forward` from row `first` of a sample on, for their values alone."""
        return self.forward(values, incident_energies)

    def inverse(self, features: np.ndarray, incident_energies: np.ndarray) -> np.ndarray:
        """Gives values `[n, v]` for features `[n, f]`; energies are never negative."""
        raise NotImplementedError


@dataclass(frozen=True)
class LayerFractions(Step):
    """Energies as cell/layer (v), layer/total (l) and total/incident (1): `[n, v + l + 1]`.

    Empty layers and empty showers become zeros, and zeros become empty again. Decoded fractions need not sum to one: as
    in the paper they are multiplied all the same, unless `renormalise` first scales the fractions inside every layer,
    and those of the layers, to a sum of one.

    Args:
        layer_sizes: number of cells of each layer, in the order of the vector.
        response_scale: factor on total / incident energy; 0.5 lets a sigmoid reach responses up to 2.
        renormalise: whether `inverse` scales fractions to a sum of one.
        mass: mass of the particle, MeV; above 0 the last feature is total / kinetic energy of the incident momentum.
        empty_energy: energy that an empty cell counts before the division, MeV; above 0 no softmax has to reach exact
            zeros, and `inverse` gives empty cells this energy.

    Source: arXiv:2210.06204, "Data Reparametrisation"; the scale and the renormalisation are ours. With the kinetic
    energy: arXiv:2309.06515, section 4.2; the energy of empty cells is its public code's.
    """

    layer_sizes: tuple[int, ...]
    response_scale: float = 1.0
    renormalise: bool = False
    mass: float = 0.0
    empty_energy: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "layer_sizes", tuple(self.layer_sizes))
        if not self.layer_sizes or min(self.layer_sizes) < 1 or not 0 < self.response_scale < np.inf:
            raise ConfigError(
                "LayerFractions needs layer sizes of at least 1 and a response_scale above 0. "
                f"Received: {self.layer_sizes}, {self.response_scale}"
            )
        if not (0 <= self.mass < np.inf and 0 <= self.empty_energy < np.inf):
            raise ConfigError(
                "LayerFractions needs mass and empty_energy of 0 MeV or more. "
                f"Received: {self.mass}, {self.empty_energy}"
            )

    def forward(self, values: np.ndarray, incident_energies: np.ndarray) -> np.ndarray:
        """Gives float64 `[n, v + l + 1]` for energies `[n, v]` and incident energies `[n]`, MeV."""
        _require_columns(values, sum(self.layer_sizes), "energies of LayerFractions")
        values = np.where(values > 0, values, self.empty_energy).astype(np.float64)
        layers = self._layer_sums(values)
        totals = layers.sum(axis=1, keepdims=True)
        cells = _ratio(values, self._per_cell(layers))
        response = self.response_scale * totals / kinetic_energy(incident_energies, self.mass)[:, None]
        return np.concatenate([cells, _ratio(layers, totals), response], axis=1)

    def inverse(self, features: np.ndarray, incident_energies: np.ndarray) -> np.ndarray:
        """Gives energies `[n, v]`, MeV, for features `[n, v + l + 1]`."""
        num_cells, num_layers = sum(self.layer_sizes), len(self.layer_sizes)
        _require_columns(features, num_cells + num_layers + 1, "features of LayerFractions")
        features = np.maximum(features, 0.0)
        cells, layers, response = np.split(features, [num_cells, num_cells + num_layers], axis=1)
        if self.renormalise:
            cells = _ratio(cells, self._per_cell(self._layer_sums(cells)))
            layers = _ratio(layers, layers.sum(axis=1, keepdims=True))
        layers = layers * (response * kinetic_energy(incident_energies, self.mass)[:, None] / self.response_scale)
        return cells * self._per_cell(layers.astype(features.dtype))

    def _layer_sums(self, cells: np.ndarray) -> np.ndarray:
        return np.add.reduceat(cells, np.cumsum((0, *self.layer_sizes[:-1])), axis=1)

    def _per_cell(self, layers: np.ndarray) -> np.ndarray:
        return np.repeat(layers, self.layer_sizes, axis=1)


@dataclass(frozen=True)
class AbsoluteEnergies(Step):
    """Energies divided by one constant, which, says the paper, does not work.

    Args:
        constant: the divisor, MeV.

    Source: arXiv:2210.06204, "Data Reparametrisation" (the inputs it replaced); the constant is ours.
    """

    constant: float

    def __post_init__(self) -> None:
        _require_positive(self, self.constant)

    def forward(self, values: np.ndarray, incident_energies: np.ndarray) -> np.ndarray:
        """Gives energies `[n, v]` divided by the constant, float64."""
        return values.astype(np.float64) / self.constant

    def inverse(self, features: np.ndarray, incident_energies: np.ndarray) -> np.ndarray:
        """Gives energies `[n, v]`, MeV."""
        return np.maximum(features, 0.0) * self.constant


@dataclass(frozen=True)
class KineticFractions(Step):
    """Energies divided by the particle's kinetic energy.

    Negative features, which a swish can give, become zero energies; the other features are scaled so that the total
    energy stays the same, because the critic has seen this total and the choice of the iteration depends on it.

    Args:
        mass: mass of the particle, MeV, if the incident energies are momenta; 0: they are energies.

    Source: arXiv:2309.06515, section 3.2; the treatment of negative features is ours.
    """

    mass: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.mass < np.inf:
            raise ConfigError(f"KineticFractions needs a mass of 0 MeV or more. Received: {self.mass}")

    def forward(self, values: np.ndarray, incident_energies: np.ndarray) -> np.ndarray:
        """Gives energies `[n, v]` divided by kinetic energies, float64."""
        return values.astype(np.float64) / kinetic_energy(incident_energies, self.mass)[:, None]

    def inverse(self, features: np.ndarray, incident_energies: np.ndarray) -> np.ndarray:
        """Gives energies `[n, v]`, MeV."""
        return _positive(features) * kinetic_energy(incident_energies, self.mass)[:, None].astype(features.dtype)


@dataclass(frozen=True)
class Logarithm(Step):
    """Decimal logarithm of a factor times the values; small values count as a floor.

    Args:
        floor: the smallest value that counts; `inverse` gives 0 instead of it.
        factor: factor on the values before the logarithm.

    Source: ATL-SOFT-PUB-2018-001, Table 2 (cell over photon energy, and 1e10 times this); the floor is ours.
    """

    floor: float = 1e-10
    factor: float = 1.0

    def __post_init__(self) -> None:
        if not (0 < self.floor < np.inf and 0 < self.factor < np.inf):
            raise ConfigError(f"Logarithm needs floor and factor above 0. Received: {self.floor}, {self.factor}")

    def forward(self, values: np.ndarray, incident_energies: np.ndarray) -> np.ndarray:
        """Gives logarithms `[n, v]`, float64."""
        return np.log10(self.factor * np.maximum(values.astype(np.float64), self.floor))

    def inverse(self, features: np.ndarray, incident_energies: np.ndarray) -> np.ndarray:
        """Gives values `[n, v]`, for features up to 30."""
        smallest = np.log10(self.factor * self.floor).astype(np.float32)  # networks have features in float32
        values = 10.0 ** np.minimum(features.astype(np.float64), 30.0) / self.factor
        return np.where(features.astype(np.float32) <= smallest, 0.0, values).astype(features.dtype)


@dataclass(frozen=True)
class Noise(Step):
    """Uniform noise on every energy, a function of the seed and the row alone.

    Args:
        largest: upper limit of the noise, MeV; the lower limit is 0.

    Source: arXiv:2309.06515, section 6: noise of 1 keV to 1 MeV, which is subtracted from generated showers; that it is
    uniform, and that its mean is subtracted, is ours.
    """

    largest: float
    seed: int = 0

    def __post_init__(self) -> None:
        _require_positive(self, self.largest)

    def forward(self, values: np.ndarray, incident_energies: np.ndarray) -> np.ndarray:
        """Gives energies `[n, v]` with noise, MeV, float64."""
        return self.forward_from(0, values, incident_energies)

    def forward_from(self, first: int, values: np.ndarray, incident_energies: np.ndarray) -> np.ndarray:
        """Gives energies with noise for rows from `first` on: each row has its own noise."""
        random = np.random.default_rng(self.seed)
        random.bit_generator.advance(first * values.shape[1])  # type: ignore[attr-defined]
        return values + random.uniform(0, self.largest, values.shape)

    def inverse(self, features: np.ndarray, incident_energies: np.ndarray) -> np.ndarray:
        """Gives energies `[n, v]` minus the mean of the noise, MeV; their sum stays."""
        return _positive(features - self.largest / 2).astype(features.dtype)


@dataclass(frozen=True)
class Mask(Step):
    """Energies below a threshold become zero in training; generated energies are not changed.

    Source: arXiv:2309.06515, section 6; training only, as in its public code.
    """

    threshold: float

    def __post_init__(self) -> None:
        _require_positive(self, self.threshold)

    def forward(self, values: np.ndarray, incident_energies: np.ndarray) -> np.ndarray:
        """Gives energies `[n, v]`, MeV, with zeros below the threshold."""
        return np.where(values < self.threshold, 0.0, values)

    def inverse(self, features: np.ndarray, incident_energies: np.ndarray) -> np.ndarray:
        """Gives the energies `[n, v]`, MeV, unchanged but for negative ones, which become zero."""
        return np.maximum(features, 0.0)


# A transform's JSON may name no other classes.
_STEPS: tuple[type[Step], ...] = (LayerFractions, KineticFractions, AbsoluteEnergies, Logarithm, Noise, Mask)
_ENCODINGS: tuple[type[Encoding], ...] = (
    LogEnergy,
    LinearEnergy,
    Constant,
    Column,
    StandardLogEnergy,
    CellPosition,
    CellAlignment,
)
_Part = TypeVar("_Part", bound=Dataclass)


@dataclass(frozen=True)
class Chain:
    """The transform between showers and a network: steps, and encodings of the condition.

    Args:
        steps: steps from energies to features; `inverse` applies their inverses in reverse order.
        encodings: encodings whose columns, one after another, are the condition.
    """

    steps: tuple[Step, ...]
    encodings: tuple[Encoding, ...] = ()

    @property
    def condition_dim(self) -> int:
        """Width `c` of the condition."""
        return sum(encoding.dim for encoding in self.encodings)

    def fit(self, showers: Showers | Conditions) -> "Chain":
        """Gives the chain with its constants taken from training showers, or their conditions."""
        conditions = showers.given if isinstance(showers, Showers) else showers
        return Chain(self.steps, tuple(item.fit(conditions) for item in self.encodings))

    def forward(self, showers: Showers, first: int = 0) -> np.ndarray:
        """Gives the features `[n, f]`, float32.

        Args:
            showers: a sample, or some rows of a larger one.
            first: the first of these rows in the sample, of which the noise is a function.
        """
        values = showers.energies
        for step in self.steps:
            values = step.forward_from(first, values, showers.incident_energies)
        return values.astype(np.float32)

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the conditions that the encodings need besides the incident energy."""
        return tuple(dict.fromkeys(name for encoding in self.encodings for name in encoding.needs))

    def num_features(self, geometry: Geometry) -> int:
        """Number `f` of the features of a geometry's showers."""
        empty = Showers(geometry, np.array([1000.0]), np.zeros((1, geometry.size), np.float32))
        return self.forward(empty).shape[1]

    def columns(self, conditions: Conditions | np.ndarray) -> np.ndarray:
        """Gives the condition `[n, c]` in float64; see `condition`."""
        conditions = Conditions.of(conditions)
        columns = [encoding.forward(conditions) for encoding in self.encodings]
        return np.concatenate([*columns, np.empty((len(conditions), 0))], axis=1)

    def condition(self, conditions: Conditions | np.ndarray) -> np.ndarray:
        """Gives the condition `[n, c]`, float32, for conditions or incident energies `[n]`, MeV."""
        return self.columns(conditions).astype(np.float32)

    def energies(self, features: np.ndarray, incident_energies: np.ndarray) -> np.ndarray:
        """Gives energies `[n, v]`, MeV, for features `[n, f]` and incident energies `[n]`, MeV."""
        values = features
        for step in reversed(self.steps):
            values = step.inverse(values, incident_energies)
        return values

    def inverse(self, features: np.ndarray, incident_energies: np.ndarray, geometry: Geometry) -> Showers:
        """Gives the showers, with energies in float32, MeV, for features `[n, f]`."""
        return Showers(geometry, incident_energies, self.energies(features, incident_energies).astype(np.float32))

    def to_json(self) -> dict[str, object]:
        """Tables and lists of JSON, from which `from_json` makes the chain again."""
        return {
            "steps": [{"name": type(step).__name__, **asdict(step)} for step in self.steps],
            "encodings": [{"name": type(encoding).__name__, **asdict(encoding)} for encoding in self.encodings],
        }

    @classmethod
    def from_json(cls, value: object) -> "Chain":
        """Makes the chain that `to_json` described.

        Raises:
            DataFormatError: a step or an encoding is unknown, or its arguments are not those of its class.
        """
        try:
            if not isinstance(value, Mapping):
                raise TypeError(f"{value!r:.100}")
            steps = tuple(_part(item, _STEPS) for item in value["steps"])
            return cls(steps, tuple(_part(item, _ENCODINGS) for item in value["encodings"]))
        except (KeyError, TypeError, ValueError, ConfigError) as error:
            raise DataFormatError(f"a transform needs known steps and encodings. Received: {error!r:.300}") from error


def _part(item: Mapping[str, object], classes: tuple[type[_Part], ...]) -> _Part:
    """A step or an encoding of one of these classes, made from its JSON."""
    arguments = dict(item)
    name = arguments.pop("name")
    known = {known_class.__name__: known_class for known_class in classes}
    if name not in known:
        raise DataFormatError(f"a transform may hold {sorted(known)} here. Received: {name!r:.100}")
    return plain_from_json(known[name], arguments)


def _positive(values: np.ndarray) -> np.ndarray:
    """Gives values without negative ones, scaled to the sum before; zeros if it is negative."""
    positive = np.maximum(values, 0)
    totals = np.maximum(values.sum(axis=1, keepdims=True), 0)
    return positive * _ratio(totals, positive.sum(axis=1, keepdims=True))


def _ratio(parts: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Gives parts / whole; 0 where the whole is not above 0."""
    whole = np.broadcast_to(whole, parts.shape)
    return np.divide(parts, whole, out=np.zeros_like(parts), where=whole > 0)


def _require_columns(values: np.ndarray, columns: int, what: str) -> None:
    if values.ndim != 2 or values.shape[1] != columns:
        raise DataFormatError(f"{what} must have shape [n, {columns}]. Received: {list(values.shape)}")


def _require_positive(step: Step, energy: float) -> None:
    if not 0 < energy < np.inf:
        raise ConfigError(f"{type(step).__name__} needs an energy above 0 MeV. Received: {energy}")
