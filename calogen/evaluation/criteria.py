"""The CaloChallenge's metrics by name: what is good in each, and how tables show it.

Source: arXiv:2410.21611 and its tables of results; what counts as best is ours where it says so.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from calogen.errors import DataFormatError
from calogen.metrics.distributions import Value
from calogen.showers.voxels import PHOTONS_DATASET1, PIONS_DATASET1, VoxelGeometry

_GEOMETRIES = {"photon": PHOTONS_DATASET1, "pion": PIONS_DATASET1}
PARTICLE_GEOMETRIES: Mapping[str, VoxelGeometry] = MappingProxyType(_GEOMETRIES)
"""The challenge's dataset 1, by particle."""

SEPARATION_POWER = "separation_power_"
CLASSIFIERS, DISTANCES = ("auc_low", "auc_high"), ("fpd", "kpd")
NEIGHBOURHOODS = ("precision", "recall", "density", "coverage")
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
    """What is good in one metric, and how tables show it.

    Args:
        title: what tables call it, with unit.
        better: `lower` or `higher` values are better, or those `nearer` to the ideal.
        ideal: value of a perfect model; None: Geant4's own value where `nearer` is better, else there is none.
        scale: tables show value * scale.
        note: what a reader of the ranking has to know.
    """

    title: str
    better: Literal["lower", "higher", "nearer"] = "lower"
    ideal: float | None = None
    scale: float = 1.0
    note: str = ""

    def badness(self, value: float, floor: Value | None) -> float:
        """What puts values in order: the less, the better.

        Raises:
            DataFormatError: Geant4's value is the ideal, and there is none.
        """
        if self.better != "nearer":
            return value if self.better == "lower" else -value
        if self.ideal is not None:
            return abs(value - self.ideal)
        if floor is None:
            raise DataFormatError(f"{self.title}: nearest to Geant4's own value is best. Received: no value of Geant4")
        return abs(value - floor.value)

    def excess(self, value: float, floor: Value | None) -> float:
        """How much worse than Geant4 against itself a value is.

        It puts values of different numbers of showers in order.

        Args:
            value: a model's.
            floor: Geant4's with as many showers; None: there is none, as for times.
        """
        return self.badness(value, floor) - (0.0 if floor is None else self.badness(floor.value, floor))

    def text(self, value: Value) -> str:
        """The value as tables show it, the error (if known and not 0) with two digits."""
        shown, error = value.value * self.scale, value.error * self.scale
        if math.isfinite(error) and error > 0:
            decimals = max(0, 1 - math.floor(math.log10(error)))
            return f"{shown:,.{decimals}f} ± {error:,.{decimals}f}"
        return f"{shown:.4g}" if abs(shown) < 1e4 else f"{shown:,.0f}"


_POSTERIOR = "log posterior: of one classifier of all submissions, so that it changes with who takes part"
_MANIFOLD = "precision, recall, density, coverage: nearest to Geant4's own counts as best (ours); none has an error"
_TIME = "times: of the challenge's own machines; compare orders of magnitude"
_BINS = "separation powers: the challenge's bins are not public and its numbers have no errors; compare in kind"

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
    """All metrics of `photon` or `pion`, in the order of the tables.

    Separation powers are `separation_power_<feature>` for the challenge's features: `response`, `voxel_energy` (of all
    voxels), `layer_energy_<layer>`, `centroid_eta_<layer>`, `width_r_<layer>`, `sparsity_<layer>` ... Without a layer,
    as in `separation_power_layer_energy`, it is the mean over the layers; `separation_power_mean` is that of the ten
    quantities.

    Raises:
        DataFormatError: another particle.
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
    """The numbers with those means of separation powers that are not there and can be formed.

    Returns:
        Also the means over all layers, and that of the ten quantities. A mean's error is the mean of the errors: an
        upper limit, which it reaches where the numbers fluctuate together; NaN where one is.
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
    """Refuse names that are not among `criteria`.

    Raises:
        DataFormatError: there are some.
    """
    if unknown := sorted(set(names) - set(known)):
        expected = ", ".join([*_CRITERIA, f"{SEPARATION_POWER}<feature>"])
        raise DataFormatError(f"metrics are {expected} (see `criteria`). Received: {', '.join(unknown)}")


def layers_of(particle: str) -> dict[str, tuple[int, ...]]:
    """Ids of the layers that have a separation power, by quantity.

    Raises:
        DataFormatError: another particle.
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
