"""Invertible transforms between showers and network features, in NumPy.

They are fitted on training showers only and kept as JSON. A step turns `[n, v]` energies (or the previous step's
values) into features and back; a `Chain` holds them, and the encodings of the condition.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from calogen.config import plain_from_json
from calogen.errors import ConfigError, DataFormatError
from calogen.features.conditions import Column, Constant, Encoding, LinearEnergy, LogEnergy
from calogen.showers.conditions import Conditions
from calogen.showers.geometry import Geometry
from calogen.showers.sample import Showers
from calogen.units import kinetic_energy


class Step:
    """An invertible transform of one array."""

    def forward(self, values: np.ndarray, incident_energies: np.ndarray) -> np.ndarray:
        """Gives features `[n, f]`, float64, for values `[n, v]` and incident energies `[n]`, MeV."""
        raise NotImplementedError

    def forward_from(self, first: int, values: np.ndarray, incident_energies: np.ndarray) -> np.ndarray:
        """Gives what `forward` has from row `first` on, for these rows alone."""
        return self.forward(values, incident_energies)

    def inverse(self, features: np.ndarray, incident_energies: np.ndarray) -> np.ndarray:
        """Gives values `[n, v]` for features `[n, f]`; energies are never negative."""
        raise NotImplementedError


@dataclass(frozen=True)
class LayerFractions(Step):
    """Energies as cell/layer (v), layer/total (l) and total/incident (1): `[n, v + l + 1]`.

    Empty layers and empty showers give zeros and come back as zeros. Decoded features need not be consistent: as in
    the paper they are multiplied as they are, unless `renormalise` makes the fractions of every layer, and those of
    the layers, sum to one first.

    Args:
        layer_sizes: number of cells of each layer, in the order of the vector.
        response_scale: factor on total / incident energy; 0.5 lets a sigmoid reach responses up to 2.
        renormalise: whether `inverse` makes fractions sum to one.
        mass: of the particle, MeV; with it the last feature is total / kinetic energy of the incident momentum.
        empty_energy: what an empty cell counts before dividing, MeV; above 0 no softmax has to reach exact zeros, and
            empty cells come back with it.

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
    """Energies over one constant: what the paper says does not work, kept to show it.

    Args:
        constant: MeV.

    Source: arXiv:2210.06204, "Data Reparametrisation" (the inputs it replaced); the constant is ours.
    """

    constant: float

    def __post_init__(self) -> None:
        _require_positive(self, self.constant)

    def forward(self, values: np.ndarray, incident_energies: np.ndarray) -> np.ndarray:
        """Gives energies `[n, v]` over the constant, float64."""
        return values.astype(np.float64) / self.constant

    def inverse(self, features: np.ndarray, incident_energies: np.ndarray) -> np.ndarray:
        """Gives energies `[n, v]`, MeV."""
        return np.maximum(features, 0.0) * self.constant


@dataclass(frozen=True)
class KineticFractions(Step):
    """Energies over the particle's kinetic energy.

    Negative features, which a swish can give, come back as zero, the others so that their sum stays: the total is what
    the critic has seen and what chooses the iteration.

    Args:
        mass: of the particle, MeV: the incident energies are momenta; 0: they are energies.

    Source: arXiv:2309.06515, section 3.2; what becomes of negative features is ours.
    """

    mass: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.mass < np.inf:
            raise ConfigError(f"KineticFractions needs a mass of 0 MeV or more. Received: {self.mass}")

    def forward(self, values: np.ndarray, incident_energies: np.ndarray) -> np.ndarray:
        """Gives energies `[n, v]` over kinetic energies, float64."""
        return values.astype(np.float64) / kinetic_energy(incident_energies, self.mass)[:, None]

    def inverse(self, features: np.ndarray, incident_energies: np.ndarray) -> np.ndarray:
        """Gives energies `[n, v]`, MeV."""
        return _positive(features) * kinetic_energy(incident_energies, self.mass)[:, None].astype(features.dtype)


@dataclass(frozen=True)
class Noise(Step):
    """Noise on every energy: uniform, a function of the seed alone.

    Args:
        largest: MeV; noise is between 0 and this.
        seed: of the noise.

    Source: arXiv:2309.06515, section 6: noise of 1 keV to 1 MeV that is subtracted from generated showers; that it is
    uniform, and that its mean is what is subtracted, is ours.
    """

    largest: float
    seed: int = 0

    def __post_init__(self) -> None:
        _require_positive(self, self.largest)

    def forward(self, values: np.ndarray, incident_energies: np.ndarray) -> np.ndarray:
        """Gives energies `[n, v]` with noise, MeV, float64."""
        return self.forward_from(0, values, incident_energies)

    def forward_from(self, first: int, values: np.ndarray, incident_energies: np.ndarray) -> np.ndarray:
        """Gives the same in the rows from `first` on: each row has noise of its own."""
        random = np.random.default_rng(self.seed)
        random.bit_generator.advance(first * values.shape[1])  # type: ignore[attr-defined]
        return values + random.uniform(0, self.largest, values.shape)

    def inverse(self, features: np.ndarray, incident_energies: np.ndarray) -> np.ndarray:
        """Gives energies `[n, v]` without the mean of the noise, MeV; their sum stays."""
        return _positive(features - self.largest / 2).astype(features.dtype)


@dataclass(frozen=True)
class Mask(Step):
    """Energies below a threshold become zero in training; generated ones stay as they are.

    Args:
        threshold: MeV.

    Source: arXiv:2309.06515, section 6; training only, as in its public code.
    """

    threshold: float

    def __post_init__(self) -> None:
        _require_positive(self, self.threshold)

    def forward(self, values: np.ndarray, incident_energies: np.ndarray) -> np.ndarray:
        """Gives energies `[n, v]`, MeV, those below the threshold as zero."""
        return np.where(values < self.threshold, 0.0, values)

    def inverse(self, features: np.ndarray, incident_energies: np.ndarray) -> np.ndarray:
        """Gives the energies `[n, v]`, MeV, as they are."""
        return np.maximum(features, 0.0)


# The only names that a transform's JSON may hold.
_STEPS: tuple[type, ...] = (LayerFractions, KineticFractions, AbsoluteEnergies, Noise, Mask)
_ENCODINGS: tuple[type, ...] = (LogEnergy, LinearEnergy, Constant, Column)


@dataclass(frozen=True)
class Chain:
    """All between showers and a network: steps applied in order, the condition's encodings.

    Args:
        steps: from energies to features; `inverse` runs them backwards.
        encodings: their columns, one after another, are the condition.
    """

    steps: tuple[Step, ...]
    encodings: tuple[Encoding, ...] = ()

    @property
    def condition_dim(self) -> int:
        """Width `c` of the condition."""
        return sum(encoding.dim for encoding in self.encodings)

    def fit(self, showers: Showers | Conditions) -> "Chain":
        """Gives the chain with its constants taken from training showers, or their conditions."""
        given = showers.given if isinstance(showers, Showers) else showers
        return Chain(self.steps, tuple(item.fit(given) for item in self.encodings))

    def forward(self, showers: Showers, first: int = 0) -> np.ndarray:
        """Gives the features `[n, f]`, float32.

        Args:
            showers: whole, or some rows of a larger sample.
            first: the first of these rows: noise is a function of the row.
        """
        values = showers.energies
        for step in self.steps:
            values = step.forward_from(first, values, showers.incident_energies)
        return values.astype(np.float32)

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the conditions that the encodings look at, besides the incident energy."""
        return tuple(dict.fromkeys(name for encoding in self.encodings for name in encoding.needs))

    def num_features(self, geometry: Geometry) -> int:
        """Number `f` of the features of a geometry's showers."""
        empty = Showers(geometry, np.array([1000.0]), np.zeros((1, geometry.size), np.float32))
        return self.forward(empty).shape[1]

    def columns(self, given: Conditions | np.ndarray) -> np.ndarray:
        """Gives the condition `[n, c]` in float64; see `condition`."""
        given = Conditions.of(given)
        columns = [encoding.forward(given) for encoding in self.encodings]
        return np.concatenate([*columns, np.empty((len(given), 0))], axis=1)

    def condition(self, given: Conditions | np.ndarray) -> np.ndarray:
        """Gives the condition `[n, c]`, float32, for incident energies, MeV, and others."""
        return self.columns(given).astype(np.float32)

    def energies(self, features: np.ndarray, incident_energies: np.ndarray) -> np.ndarray:
        """Gives energies `[n, v]`, MeV, for features `[n, f]` and incident energies `[n]`, MeV."""
        values = features
        for step in reversed(self.steps):
            values = step.inverse(values, incident_energies)
        return values

    def inverse(self, features: np.ndarray, incident_energies: np.ndarray, geometry: Geometry) -> Showers:
        """Gives the showers, float32 MeV, of features `[n, f]`."""
        return Showers(geometry, incident_energies, self.energies(features, incident_energies).astype(np.float32))

    def to_json(self) -> dict[str, Any]:
        """Plain tables and lists; `from_json` gives the same chain back."""
        return {
            name: [{"name": type(part).__name__, **asdict(part)} for part in parts]  # type: ignore[call-overload]
            for name, parts in (("steps", self.steps), ("encodings", self.encodings))
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Chain":
        """Builds the chain that `to_json` described.

        Raises:
            DataFormatError: an unknown step, or arguments that it does not have.
        """
        try:
            steps, encodings = (
                tuple(_part(item, kinds) for item in value[name])
                for name, kinds in (("steps", _STEPS), ("encodings", _ENCODINGS))
            )
        except (KeyError, TypeError, ValueError, ConfigError) as error:
            raise DataFormatError(f"a transform needs known steps and encodings. Received: {error!r:.300}") from error
        return cls(steps, encodings)


def _part(item: Mapping[str, Any], kinds: tuple[type, ...]) -> Any:
    arguments = dict(item)
    name = arguments.pop("name")
    known = {kind.__name__: kind for kind in kinds}
    if name not in known:
        raise DataFormatError(f"a transform may hold {sorted(known)} here. Received: {name!r:.100}")
    return plain_from_json(known[name], arguments)


def _positive(values: np.ndarray) -> np.ndarray:
    """Gives values above 0, scaled to the sum of all; zeros where that is not above 0."""
    positive = np.maximum(values, 0)
    totals = np.maximum(values.sum(axis=1, keepdims=True), 0)
    return positive * _ratio(totals, positive.sum(axis=1, keepdims=True))


def _ratio(parts: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Gives parts / whole, and 0 where the whole is 0."""
    whole = np.broadcast_to(whole, parts.shape)
    return np.divide(parts, whole, out=np.zeros_like(parts), where=whole > 0)


def _require_columns(values: np.ndarray, columns: int, what: str) -> None:
    if values.ndim != 2 or values.shape[1] != columns:
        raise DataFormatError(f"{what} must have shape [n, {columns}]. Received: {list(values.shape)}")


def _require_positive(step: Step, energy: float) -> None:
    if not 0 < energy < np.inf:
        raise ConfigError(f"{type(step).__name__} needs an energy above 0 MeV. Received: {energy}")
