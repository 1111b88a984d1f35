"""The CaloChallenge's features of showers, their bins, and the inputs of its classifiers.

Voxels with less energy than `min_energy` count as empty. The centre and the width in a layer without energy are 0 here,
because the challenge adds 1e-16 MeV to every energy by which it divides; in `calogen.observables.voxels` they are NaN
(undefined). Both definitions are needed: this one gives the challenge's numbers, the other one does not confuse an
empty layer with a centred shower.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np

from calogen.errors import ConfigError, GeometryError
from calogen.metrics.features import Feature, Features
from calogen.metrics.histograms import energy_axis
from calogen.showers.geometry import require_kind
from calogen.showers.sample import Showers
from calogen.showers.voxels import VoxelGeometry, VoxelLayer

_EPS = 1e-16  # MeV, added to every energy by which is divided
_LOG_EPS = 1e-8  # MeV, added to every energy before its logarithm is taken
_NARROW = 1e-4  # where <x^2> - <x>^2 is below this share of <x^2>, it has lost digits that matter to 1e-10
_BLOCK_VALUES = 2**16  # of a block: it fits into the processor's cache, and the BLAS starts no threads for so few
_SHAPES = ("centroid_eta", "centroid_phi", "width_eta", "width_phi")
_RADIAL = ("centroid_r", "width_r")

ClassifierInput = Literal["low", "low-normed", "high"]


def list_features(geometry: VoxelGeometry) -> tuple[Feature, ...]:
    """The features of showers in a geometry; those in eta and phi need several alpha bins."""
    rest = (
        Feature(quantity, layer.id)
        for quantity in ("layer_energy", *_SHAPES, *_RADIAL, "sparsity")
        for layer in geometry.layers
        if layer.num_alpha > 1 or quantity not in _SHAPES
    )
    return (Feature("total_energy"), Feature("response"), *rest)


def compute_features(showers: Showers, min_energy: float = 1.0) -> Features:
    """All features of all showers; voxels below `min_energy`, MeV, count as empty.

    One matrix product per layer gives its energy and its first and second moments. Where <x^2> - <x>^2 would lose
    digits, because one voxel holds nearly all the energy, the squared deviations are summed instead.

    Raises:
        GeometryError: the showers have no voxels, or their alpha bins do not begin at -pi.

    Source: HighLevelFeatures.py of the CaloChallenge (arXiv:2410.21611).
    """
    geometry = _geometry(showers)
    features = list_features(geometry)
    values = np.empty((len(showers), len(features)))
    for rows, energies, filled in blocks(showers.energies, min_energy):
        columns = _by_feature(geometry, energies, filled)
        columns[Feature("response")] = columns[Feature("total_energy")] / showers.incident_energies[rows]
        for number, feature in enumerate(features):
            values[rows, number] = columns[feature]
    return Features(features, values, np.asarray(showers.incident_energies, np.float64))


def layer_correlation(features: Features) -> np.ndarray:
    """Pearson correlation of the layers' energies, `[l, l]`; NaN for constant energies.

    Source: arXiv:2410.21611, in whose files the rows are in reverse order.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.atleast_2d(np.corrcoef(features.of("layer_energy"), rowvar=False))


@dataclass(frozen=True)
class Binning:
    """How the challenge bins the features of one of its data sets, in MeV and mm.

    Args:
        min_energy: energy below which voxels count as empty.
        reach: largest value on the axes of centres and widths in eta and phi.
        radii: largest values on the axes of the centre and of the width in r.
        tile_layers: ids of layers whose axes reach further.
        fine_response: incident energy from which on the response has narrower bins.
    """

    min_energy: float
    reach: float = 100.0
    radii: tuple[float, float] = (500.0, 500.0)
    tile_layers: tuple[int, ...] = ()
    fine_response: float = np.inf

    def edges(self, feature: Feature, maximum: float, min_energy: float, incident_energy: float = 0.0) -> np.ndarray:
        """Bin edges of a feature, `[b + 1]`.

        Args:
            feature: the feature.
            maximum: the reference's largest value, MeV, where logarithmic axes end.
            min_energy: where logarithmic axes begin, MeV.
            incident_energy: incident energy of all the showers, MeV; 0 if they have several.

        Raises:
            ConfigError: the challenge has no such feature.

        Source: evaluate_plotting_helper.py of the CaloChallenge. Ours: `total_energy` (binned as layers are), the
            response at one energy of data sets 2 and 3, and the bins if no energy is above `min_energy`.
        """
        quantity, tile = feature.quantity, feature.layer_id in self.tile_layers
        if quantity in ("layer_energy", "total_energy"):
            return energy_axis(min_energy, maximum, 40)
        if quantity == "response":
            fine = (0.9, 1.1) if incident_energy >= self.fine_response else (0.4, 1.4)
            return np.linspace(*fine, 21) if incident_energy else np.linspace(0.5, 1.5, 101)
        if quantity == "sparsity":
            return np.linspace(0.0, 1.0, 21)
        if quantity in _RADIAL:
            return np.linspace(0.0, 1500.0 if tile else self.radii[_RADIAL.index(quantity)], 101)
        if quantity in _SHAPES:  # the challenge has no centres and widths in eta of layer 14
            centre, width = (500.0, 400.0) if tile else (self.reach, self.reach)
            return np.linspace(-centre, centre, 101) if quantity in _SHAPES[:2] else np.linspace(0.0, width, 101)
        raise ConfigError(f"the challenge bins total_energy, response, layer_energy ... Received: {quantity}")


BINNINGS: Mapping[str, Binning] = MappingProxyType(
    {
        "1-photons": Binning(1.0, tile_layers=(12, 13, 14), fine_response=2.0**12),
        "1-pions": Binning(1.0, tile_layers=(12, 13, 14)),
        **dict.fromkeys(("2", "3"), Binning(0.5e-3 / 0.033, reach=30.0, radii=(42.0, 20.0))),
    }
)
"""Binnings by the challenge's names of its data sets."""


def classifier_inputs(
    showers: Showers, kind: ClassifierInput, min_energy: float = 1.0, small_voxels: bool = True
) -> np.ndarray:
    """Inputs of the challenge's classifiers, `[n, f]`, float64, without label.

    Args:
        showers: showers of a voxel geometry.
        kind: `low`: log10 of the incident energy, voxels / incident energy. `low-normed`: log10 of the incident energy,
            voxels / energy of their layer, log10 of the layers' energies. `high`: log10 of the incident energy and of
            the layers' energies, centres and widths in eta and phi / 100 mm, log10 of the total energy, sparsities,
            centres and widths in r / 100 mm.
        min_energy: energy below which voxels count as empty, MeV.
        small_voxels: whether the voxels of `low-normed` keep energies below `min_energy`, as in the challenge. It sums
            a layer's energy without them, so that in a layer without larger voxels they are divided by 1e-16 MeV.

    Raises:
        ConfigError: there is no such kind.

    Source: evaluate.py of the CaloChallenge (commit 9b41df72a03a); ours: `small_voxels=False`.
    """
    geometry = _geometry(showers)
    if kind not in get_args(ClassifierInput):
        raise ConfigError(f"kind must be one of {', '.join(get_args(ClassifierInput))}. Received: {kind}")
    if kind == "high":
        return high_level_inputs(compute_features(showers, min_energy))
    layers = len(geometry.layers) if kind == "low-normed" else 0
    inputs = np.empty((len(showers), 1 + geometry.size + layers))
    inputs[:, 0] = np.log10(np.asarray(showers.incident_energies, np.float64))
    for rows, energies, _ in blocks(showers.energies, min_energy):
        if kind == "low":
            inputs[rows, 1:] = energies / showers.incident_energies[rows, None]
        else:
            sums = geometry.layer_energies(energies)
            divided = showers.energies[rows] if small_voxels else energies
            inputs[rows, 1:-layers] = divided / (sums + _EPS)[:, geometry.layer_of]
            inputs[rows, -layers:] = np.log10(sums + _LOG_EPS)
    return inputs


def high_level_inputs(features: Features) -> np.ndarray:
    """The `classifier_inputs` of kind `high`, from the features, `[n, f]`."""
    parts = [np.log10(features.incident_energies)[:, None], np.log10(features.of("layer_energy") + _LOG_EPS)]
    parts += [features.of(quantity) / 100 for quantity in _SHAPES]
    parts += [np.log10(features.of("total_energy") + _LOG_EPS), features.of("sparsity")]
    return np.hstack([*parts, features.of("centroid_r") / 100, features.of("width_r") / 100])


def blocks(energies: np.ndarray, min_energy: float) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Gives blocks of showers: rows, energies with small ones set to 0, which are above 0."""
    step = max(1, _BLOCK_VALUES // energies.shape[1])
    for start in range(0, len(energies), step):
        rows = slice(start, start + step)
        block = energies[rows].astype(np.float64)
        filled = block >= min_energy if min_energy > 0 else block > 0
        block *= filled
        yield rows, block, filled


def _by_feature(geometry: VoxelGeometry, energies: np.ndarray, filled: np.ndarray) -> dict[Feature, np.ndarray]:
    """All features but the response, `[n]` each, of a block of showers."""
    starts = [part.start for part in geometry.slices]
    numbers = np.add.reduceat(filled.view(np.uint8), starts, axis=1, dtype=np.uint32)
    columns, total = {}, np.zeros(len(energies))
    for layer, part, matrix, count in zip(
        geometry.layers, geometry.slices, _matrices(geometry), numbers.T, strict=True
    ):
        energy, means, widths = _moments(energies[:, part], matrix)
        total += energy
        columns[Feature("layer_energy", layer.id)] = energy
        columns[Feature("sparsity", layer.id)] = 1 - count / layer.size
        for axis, mean, width in zip(("r", "eta", "phi"), means.T, widths.T, strict=False):
            columns[Feature(f"centroid_{axis}", layer.id)] = mean
            columns[Feature(f"width_{axis}", layer.id)] = width
    return columns | {Feature("total_energy"): total}


def _moments(energies: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Energy `[n]`, mean positions and widths `[n, k]` of a layer.

    With S the energy, e = 1e-16 and m = sum x E / (S + e), the challenge's sum x^2 E / (S + e) - m^2 is exactly
    (sum (x - m)^2 E + m^2 e) / (S + e).
    """
    moments, axes = energies @ matrix, matrix.shape[1] // 2
    divisor = moments[:, :1] + _EPS
    mean, square = moments[:, 1 : axes + 1] / divisor, moments[:, axes + 1 :] / divisor
    variance = square - mean**2
    rows, chosen = np.nonzero(variance < _NARROW * square)
    if len(rows):
        centre = mean[rows, chosen]
        deviations = matrix[:, 1 : axes + 1].T[chosen] - centre[:, None]
        deviations *= deviations
        deviations *= energies[rows]
        variance[rows, chosen] = (deviations.sum(axis=1) + _EPS * centre**2) / divisor[rows, 0]
    return moments[:, 0], mean, np.sqrt(variance)


@cache
def _matrices(geometry: VoxelGeometry) -> tuple[np.ndarray, ...]:
    """Matrix of each layer, `[v, 3]` or `[v, 7]`: 1, positions and squares (r; eta, phi)."""
    places = [_positions(layer) for layer in geometry.layers]
    return tuple(np.vstack([np.ones_like(place[:1]), place, place**2]).T.copy() for place in places)


def _positions(layer: VoxelLayer) -> np.ndarray:
    """Position of each voxel in r, and with several alpha bins in eta and phi, `[a, v]`, mm."""
    edges = np.array(layer.r_edges)
    radii = np.tile((edges[:-1] + edges[1:]) / 2, layer.num_alpha)
    if layer.num_alpha == 1:
        return radii[None]
    alpha_edges = np.linspace(-np.pi, np.pi, layer.num_alpha + 1)
    alpha = np.repeat((alpha_edges[:-1] + alpha_edges[1:]) / 2, layer.num_r)
    return np.stack([radii, radii * np.cos(alpha), radii * np.sin(alpha)])


def _geometry(showers: Showers) -> VoxelGeometry:
    geometry = require_kind(showers.geometry, VoxelGeometry, "the challenge's features need voxels")
    if ("symmetriseAlpha", "true") in geometry.attributes:
        raise GeometryError(
            "the challenge's features need alpha bins from -pi to pi. "
            f"Received: {geometry.name} with symmetriseAlpha, from 0 to pi"
        )
    return geometry
