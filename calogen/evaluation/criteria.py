"""The CaloChallenge's metrics by name: which values are good, and how tables show them.

Source: arXiv:2410.21611 and its tables of results; what counts as best is our choice where a note says so.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from calogen.errors import DataFormatError
from calogen.metrics.distributions import Value
from calogen.showers.voxels import PHOTONS_DATASET1, PIONS_DATASET1

PARTICLE_GEOMETRIES = MappingProxyType({"photon": PHOTONS_DATASET1, "pion": PIONS_DATASET1})
"""Geometries of the challenge's data set 1, by particle."""

SEPARATION_POWER = "separation_power_"
CLASSIFIERS, DISTANCES = ("auc_low", "auc_high"), ("fpd", "kpd")
NEIGHBOURHOODS = ("precision", "recall", "density", "coverage")  # metrics of the neighbourhoods of showers
_PER_LAYER = {  # quantity -> (title, whether only layers with bins in alpha have it)
    "layer_energy": ("energy", False),
    "centroid_eta": ("centre in eta", True),
    "centroid_phi": ("centre in phi", True),
    "centroid_r": ("centre in r", False),
    "width_eta": ("width in eta", True),
    "width_phi": ("width in phi", True),
    "width_r": ("width in r", False),
    "sparsity": ("sparsity", False),
}
_WHOLE_SHOWER = {"response": "response", "voxel_energy": "voxel energy"}


@dataclass(frozen=True)
class Criterion:
    """Which values of one metric are good, and how tables show them.

    Args:
        title: what tables call the metric, with its unit.
        better: whether `lower` or `higher` values are better, or those `nearer` to the ideal one.
        ideal: value of a perfect model. None: Geant4's own value if `nearer` is better; otherwise there is none.
        scale: tables show the value times this factor.
        note: what a reader of the ranking has to know.
    """

    title: str
    better: Literal["lower", "higher", "nearer"] = "lower"
    ideal: float | None = None
    scale: float = 1.0
    note: str = ""

    def badness(self, value: float, floor: Value | None) -> float:
        """A number that orders values: the smaller it is, the better is the value.

        Raises:
            DataFormatError: the ideal is Geant4's own value (`floor`), which is not known.
        """
        if self.better != "nearer":
            return value if self.better == "lower" else -value
        if self.ideal is not None:
            return abs(value - self.ideal)
        if floor is None:
            raise DataFormatError(f"{self.title}: nearest to Geant4's own value is best. Received: no value of Geant4")
        return abs(value - floor.value)

    def excess(self, value: float, floor: Value | None) -> float:
        """How much worse a value is than that of Geant4 against itself.

        Values from different numbers of showers cannot be compared; their excesses can.

        Args:
            value: a model's value.
            floor: Geant4's value with as many showers; None: it is not known or does not exist, as for times.
        """
        return self.badness(value, floor) - (0.0 if floor is None else self.badness(floor.value, floor))

    def text(self, value: Value) -> str:
        """The value as tables show it."""
        return str(value * self.scale)


_POSTERIOR = "log posterior: one classifier sees all submissions, so that the values depend on which take part"
_MANIFOLD = "precision, recall, density, coverage: nearest to Geant4 counts as best (our choice); none has an error"
_TIME = "times: measured on the challenge's own machines; compare orders of magnitude only"
_BINS = "separation powers: the challenge's bins are not public, its numbers have no errors; compare them roughly"

_CRITERIA: Mapping[str, Criterion] = MappingProxyType(
    {
        "auc_low": Criterion("AUC, voxels", "nearer", 0.5),
        "auc_high": Criterion("AUC, high-level features", "nearer", 0.5),
        "fpd": Criterion("FPD x 1000", "lower", 0.0, 1000),
        "kpd": Criterion("KPD x 1000", "lower", 0.0, 1000),
        "log_posterior": Criterion("log posterior, multi-class", "higher", note=_POSTERIOR),
        **{name: Criterion(name, "nearer", note=_MANIFOLD) for name in NEIGHBOURHOODS},
        **{f"num_parameters_{part}": Criterion(f"parameters, {part}") for part in ("training", "generation")},
        **{
            f"time_{device}_{size}": Criterion(f"time per shower, {device.upper()}, batch of {size} [ms]", note=_TIME)
            for device in ("cpu", "gpu")
            for size in (1, 100, 10000)
        },
    }
)


def criteria(particle: str) -> Mapping[str, Criterion]:
    """Criteria of all metrics of `photon` or `pion`, by name, in the order of the tables.

    The separation power of a feature is called `separation_power_<feature>`. Features are `response`, `voxel_energy`
    (of all voxels), `layer_energy_<layer>`, `centroid_eta_<layer>`, `width_r_<layer>`, `sparsity_<layer>` ... A name
    without its layer, such as `separation_power_layer_energy`, means the mean over the layers; `separation_power_mean`
    is the mean over the ten quantities.

    Raises:
        DataFormatError: the particle is neither.
    """
    titles = {f"{SEPARATION_POWER}mean": "mean of the ten quantities"}
    layered = layers_of(particle)
    titles |= {f"{SEPARATION_POWER}{name}": title for name, title in _WHOLE_SHOWER.items()}
    titles |= {SEPARATION_POWER + name: f"{_PER_LAYER[name][0]}, mean over the layers" for name in layered}
    for name, layers in layered.items():
        titles |= {_in_layer(name, layer): f"{_PER_LAYER[name][0]}, layer {layer}" for layer in layers}
    separation = {
        name: Criterion(f"separation power x 1000, {title}", "lower", 0.0, 1000, _BINS)
        for name, title in titles.items()
    }
    return MappingProxyType({**_CRITERIA, **separation})


def with_means(particle: str, numbers: Mapping[str, Value]) -> dict[str, Value]:
    """The numbers, completed by means of separation powers.

    A mean over all layers, or over the ten quantities, is added where it is missing and all of its terms are known. Its
    error is the mean of their errors, which is an upper limit (right where the terms fluctuate together), or NaN where
    one of them is.
    """
    found = dict(numbers)
    layered = layers_of(particle)
    parts = {SEPARATION_POWER + name: [_in_layer(name, layer) for layer in layers] for name, layers in layered.items()}
    parts[f"{SEPARATION_POWER}mean"] = [*parts, *(SEPARATION_POWER + name for name in _WHOLE_SHOWER)]
    for mean, names in parts.items():
        values = [found[name] for name in names if name in found]
        if mean not in found and len(values) == len(names):
            value, error = (math.fsum(column) / len(values) for column in zip(*map(_pair, values), strict=True))
            found[mean] = Value(value, error)
    return found


def require_criteria(names: Iterable[str], known: Mapping[str, Criterion]) -> None:
    """Refuse names of metrics that have no criterion.

    Raises:
        DataFormatError: at least one name is unknown.
    """
    if unknown := sorted(set(names) - set(known)):
        expected = ", ".join([*_CRITERIA, f"{SEPARATION_POWER}<feature>"])
        raise DataFormatError(f"metrics must be of {expected} (see `criteria`). Received: {', '.join(unknown)}")


def layers_of(particle: str) -> dict[str, tuple[int, ...]]:
    """Ids of the layers in which a quantity has a separation power, by quantity.

    Raises:
        DataFormatError: the particle is neither `photon` nor `pion`.
    """
    if particle not in PARTICLE_GEOMETRIES:
        raise DataFormatError(f"particle must be one of {', '.join(PARTICLE_GEOMETRIES)}. Received: {particle!r}")
    layers = PARTICLE_GEOMETRIES[particle].layers
    return {
        name: tuple(layer.id for layer in layers if layer.num_alpha > 1 or not alpha_only)
        for name, (_, alpha_only) in _PER_LAYER.items()
    }


def _in_layer(quantity: str, layer: int) -> str:
    return f"{SEPARATION_POWER}{quantity}_{layer}"


def _pair(value: Value) -> tuple[float, float]:
    return value.value, value.error
