"""Observables of voxelised showers: centres and widths by layer, sparsity, energies.

The centre and the width in a layer are NaN for a shower without energy there. The position of a voxel is the middle of
its bins in r and alpha. Positions are measured across the particle's flight, from its extrapolated track, in mm.
"""

from functools import partial

import numpy as np

from calogen.errors import GeometryError
from calogen.observables.cells import AXES, Axis, layer_energy, total_energy
from calogen.observables.observable import Observable
from calogen.showers.geometry import require_kind
from calogen.showers.sample import Showers
from calogen.showers.voxels import VoxelGeometry, VoxelLayer
from calogen.units import GeV

_BLOCK = 4096  # showers that are converted to float64 at a time
_TAIL = 1e-4  # small, so that rare showers can be seen on logarithmic axes


def voxel_centroid(showers: Showers, layer_id: int, axis: Axis) -> np.ndarray:
    """Energy-weighted mean position in a layer with several alpha bins, `[n]`, mm.

    Args:
        showers: showers of a voxel geometry.
        layer_id: id of the layer.
        axis: `eta` (r cos alpha) or `phi` (r sin alpha).

    Raises:
        GeometryError: the showers have no voxels or no such layer, or the layer has a single alpha bin.

    Source: eq. (2) of arXiv:2309.06515; EC_eta and EC_phi of the CaloChallenge.
    """
    return _moments(showers, layer_id, _positions(showers, layer_id, axis))[0]


def voxel_width(showers: Showers, layer_id: int, axis: Axis) -> np.ndarray:
    """Energy-weighted standard deviation of the position in a layer, `[n]`, mm.

    Arguments and errors are those of `voxel_centroid`.

    Source: eq. (3) of arXiv:2309.06515; Width_eta and Width_phi of the CaloChallenge.
    """
    return _moments(showers, layer_id, _positions(showers, layer_id, axis))[1]


def radial_centroid(showers: Showers, layer_id: int) -> np.ndarray:
    """Energy-weighted mean distance from the track in any layer, `[n]`, mm.

    Source: EC_r of the CaloChallenge.
    """
    return _moments(showers, layer_id, _radii(_layer(showers, layer_id)))[0]


def radial_width(showers: Showers, layer_id: int) -> np.ndarray:
    """Energy-weighted standard deviation of the distance from the track, `[n]`, mm.

    Source: Width_r of the CaloChallenge.
    """
    return _moments(showers, layer_id, _radii(_layer(showers, layer_id)))[1]


def sparsity(showers: Showers, layer_id: int) -> np.ndarray:
    """Share of a layer's voxels that are empty, `[n]`; 1 without energy in the layer.

    Source: the CaloChallenge's Sparsity.
    """
    layer = _layer(showers, layer_id)
    return 1 - np.count_nonzero(showers.energies[:, _slice(showers, layer_id)], axis=1) / layer.size


def voxel_energies(showers: Showers) -> np.ndarray:
    """Energies of all voxels of all showers, `[n v]`, MeV (no copy where none is needed).

    Source: Figs. 16, 17 of arXiv:2309.06515.
    """
    _geometry(showers)
    return showers.energies.reshape(-1)


def voxel_observables(geometry: VoxelGeometry) -> tuple[Observable, ...]:
    """Total energy, energies, centres and widths of the layers, energies of the voxels.

    The energies of the voxels have no metrics: they are millions, and not independent within a shower.

    Source: Figs. 5, 6 and 9-17 of arXiv:2309.06515.
    """
    energies = (
        Observable(
            f"layer_{layer.id}_energy",
            partial(layer_energy, layer_id=layer.id),
            f"Energy in layer {layer.id}",
            "GeV",
            GeV,
            log_axis=True,
            tail=_TAIL,
        )
        for layer in geometry.layers
    )
    shapes = (
        Observable(
            f"layer_{layer_id}_{axis}_{quantity}",
            partial(function, layer_id=layer_id, axis=axis),
            rf"{title} in $\{axis}$ in layer {layer_id}",
            "mm",
            tail=tail,
        )
        for quantity, title, function, tail in (
            ("centroid", "Centre", voxel_centroid, 0.01),  # with a smaller tail, bins would be wider than the peak
            ("width", "Width", voxel_width, _TAIL),
        )
        for layer_id in geometry.turned_layers
        for axis in AXES
    )
    voxels = Observable(
        "voxel_energy", voxel_energies, "Voxel energy", "MeV", log_axis=True, tail=_TAIL, metrics=(), counted="voxels"
    )
    return (Observable("total_energy", total_energy, "Total energy", "GeV", GeV), *energies, *shapes, voxels)


def _moments(showers: Showers, layer_id: int, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Energy-weighted mean and standard deviation of voxel positions `[k]`, `[n]` each.

    Squared deviations are summed, because <x^2> - <x>^2 of narrow showers would be lost in rounding.
    """
    part = _slice(showers, layer_id)
    mean, variance = np.empty((2, len(showers)))
    for start in range(0, len(showers), _BLOCK):
        rows = slice(start, start + _BLOCK)
        energies = showers.energies[rows, part].astype(np.float64)
        total = energies.sum(axis=1)
        total[total == 0] = np.nan
        mean[rows] = energies @ positions / total
        variance[rows] = (energies * (positions - mean[rows, None]) ** 2).sum(axis=1) / total
    return mean, np.sqrt(variance)


def _positions(showers: Showers, layer_id: int, axis: Axis) -> np.ndarray:
    """Positions of a layer's voxels along eta or phi, `[k]`, mm; r runs fastest."""
    layer = _layer(showers, layer_id)
    if layer.num_alpha == 1:
        raise GeometryError(
            f"centres and widths in eta or phi need a layer with several alpha bins (radial_centroid and radial_width "
            f"do not). Received: {layer.name} of {showers.geometry.name} with one"
        )
    if ("symmetriseAlpha", "true") in _geometry(showers).attributes:
        raise GeometryError(
            "centres and widths in eta or phi need alpha bins from -pi to pi. "
            f"Received: {showers.geometry.name} with symmetriseAlpha, from 0 to pi"
        )
    alpha = (np.arange(layer.num_alpha) + 0.5) * (2 * np.pi / layer.num_alpha) - np.pi
    direction = {"eta": np.cos, "phi": np.sin}[axis](alpha)
    return np.outer(direction, _radii(layer)[: layer.num_r]).reshape(-1)


def _radii(layer: VoxelLayer) -> np.ndarray:
    """Middle radius of each voxel of a layer, `[k]`, mm."""
    edges = np.array(layer.r_edges)
    return np.tile((edges[1:] + edges[:-1]) / 2, layer.num_alpha)


def _geometry(showers: Showers) -> VoxelGeometry:
    return require_kind(showers.geometry, VoxelGeometry, "this observable needs voxels of a VoxelGeometry")


def _layer(showers: Showers, layer_id: int) -> VoxelLayer:
    geometry = _geometry(showers)
    return geometry.layers[geometry.position(layer_id)]


def _slice(showers: Showers, layer_id: int) -> slice:
    return showers.geometry.slices[showers.geometry.position(layer_id)]
