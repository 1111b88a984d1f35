"""Shapes of voxel showers that the CaloChallenge does not have.

Of the shapes in the papers of ATLAS and ILD, these can be computed from voxels around the particle's track:

  energy_fraction      share of a layer in the total energy
  first_third ...      shares of the first, second, last third of the layers (six layers or more, divisible by three)
  longitudinal_centre  energy-weighted mean place of the layers: "centre of gravity", "shower depth"
  longitudinal_width   energy-weighted standard deviation of the layers' places
  lateral_moment       energy-weighted mean r^2, mm^2: "second lateral moment"
  num_hits             voxels above the threshold; for single layers see the challenge's sparsity
  maximum_fraction     share of the voxel with most energy
  inner_fraction       share of the innermost ring in a layer's energy
  containment_radius   radius that holds 90 % of a layer's energy, mm; within a ring the energy counts as flat in r

These cannot: R_eta, R_phi, w_eta2, w_s,tot, which need windows of cells in eta and phi; the second lambda moment and
the angle by PCA, which need positions in three dimensions (voxels have no depth, and no eta and phi in layers with one
alpha bin); the alignment to cells. Centres, widths and sparsities of layers are in `challenge` and `voxels`.

A shape is NaN (undefined) where the shower or the layer has no energy, as in `voxels`.
"""

import numpy as np

from calogen.errors import GeometryError
from calogen.metrics.features import Feature, Features
from calogen.observables.challenge import blocks
from calogen.showers.geometry import require_kind
from calogen.showers.sample import Showers
from calogen.showers.voxels import VoxelGeometry, VoxelLayer

THIRDS = ("first_third", "second_third", "last_third")
LONGITUDINAL = ("longitudinal_centre", "longitudinal_width")
LATERAL = ("lateral_moment", "num_hits", "maximum_fraction")
BY_LAYER = ("energy_fraction", "inner_fraction", "containment_radius")
ALL_SHAPES = frozenset((*THIRDS, *LONGITUDINAL, *LATERAL, *BY_LAYER))
"""Names of all shapes."""

_CONTAINED = 0.9


def list_shapes(geometry: VoxelGeometry) -> tuple[Feature, ...]:
    """The shapes of showers in a geometry.

    Shapes along the flight need several layers; those by rings need layers with several rings.
    """
    rings = [layer.id for layer in geometry.layers if layer.num_r > 1]
    several = list(geometry.layer_ids) if len(geometry.layers) > 1 else []
    whole = (*(LONGITUDINAL if several else ()), *LATERAL, *(THIRDS if _has_thirds(geometry) else ()))
    by_layer = zip(BY_LAYER, (several, rings, rings), strict=True)
    return (*map(Feature, whole), *(Feature(quantity, number) for quantity, numbers in by_layer for number in numbers))


def compute_shapes(showers: Showers, min_energy: float = 1.0, depths: tuple[float, ...] | None = None) -> Features:
    """All shapes of all showers, block by block.

    Args:
        showers: showers of a voxel geometry.
        min_energy: energy below which voxels count as empty, MeV.
        depths: places of the layers' centres along the flight, mm; None: a layer's place is its number, from 0.

    Returns:
        The shapes in float64; NaN where a shape is undefined.

    Raises:
        GeometryError: the showers have no voxels, or `depths` is not one finite number for each layer.

    Source: energy fractions, depth: "Shower Generation" and Fig. 5 of arXiv:2210.06204. Centre of gravity by layer
        number, number of hits, radial profile, thirds: Figs. 6, 7, 9 of arXiv:2005.05334. Second lateral moment: ATLAS,
        EPJC 77 (2017) 490, arXiv:1603.02934, section 4.1. Ours: the particle's track in place of the shower's axis,
        shares of the innermost ring and of the voxel with most energy, 90 % by layer.
    """
    geometry = require_kind(showers.geometry, VoxelGeometry, "these shapes need voxels")
    places = np.arange(len(geometry.layers)) if depths is None else np.array(depths, np.float64)
    if places.shape != (len(geometry.layers),) or not np.isfinite(places).all():
        raise GeometryError(f"depths must be {len(geometry.layers)} finite numbers, mm. Received: {depths}")
    features = list_shapes(geometry)
    values = np.empty((len(showers), len(features)))
    for rows, energies, filled in blocks(showers.energies, min_energy):
        columns = _along_and_across(geometry, energies, places)
        columns[Feature("num_hits")] = np.count_nonzero(filled, axis=1)
        for number, feature in enumerate(features):
            values[rows, number] = columns[feature]
    return Features(features, values, np.asarray(showers.incident_energies, np.float64))


def _along_and_across(geometry: VoxelGeometry, energies: np.ndarray, places: np.ndarray) -> dict[Feature, np.ndarray]:
    """All shapes but the number of hits, `[n]` each, of energies `[n, v]`."""
    parts = [_rings(layer, energies[:, part]) for layer, part in zip(geometry.layers, geometry.slices, strict=True)]
    layers = np.stack([rings.sum(axis=1) for rings in parts], axis=1)
    total = _or_nan(layers.sum(axis=1))
    centre = layers @ places / total
    squares = sum(rings @ _middles(layer) ** 2 for layer, rings in zip(geometry.layers, parts, strict=True))
    columns = {
        Feature("longitudinal_centre"): centre,
        Feature("longitudinal_width"): np.sqrt((layers * (places - centre[:, None]) ** 2).sum(axis=1) / total),
        Feature("lateral_moment"): squares / total,
        Feature("maximum_fraction"): energies.max(axis=1) / total,
    }
    if _has_thirds(geometry):
        thirds = layers.reshape(len(layers), 3, -1).sum(axis=2) / total[:, None]
        columns |= dict(zip(map(Feature, THIRDS), thirds.T, strict=True))
    for layer, rings, energy in zip(geometry.layers, parts, layers.T, strict=True):
        columns[Feature("energy_fraction", layer.id)] = energy / total
        columns[Feature("inner_fraction", layer.id)] = rings[:, 0] / _or_nan(energy)
        columns[Feature("containment_radius", layer.id)] = _containment_radius(rings, np.array(layer.r_edges))
    return columns


def _containment_radius(rings: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Radius with 90 % of the energy, `[n]`, of rings `[n, k]` with edges `[k + 1]`, mm."""
    sums, every = np.cumsum(rings, axis=1), np.arange(len(rings))
    needed = _CONTAINED * _or_nan(sums[:, -1])
    last = np.count_nonzero(sums < needed[:, None], axis=1)
    energy = rings[every, last]
    missing = (sums[every, last] - needed) / energy
    return edges[last + 1] - missing * np.diff(edges)[last]


def _rings(layer: VoxelLayer, energies: np.ndarray) -> np.ndarray:
    """Energies of a layer's voxels `[n, k]` summed over alpha, `[n, num_r]`."""
    return energies.reshape(len(energies), layer.num_alpha, layer.num_r).sum(axis=1)


def _middles(layer: VoxelLayer) -> np.ndarray:
    """Middle radius of each ring, `[num_r]`, mm."""
    edges = np.array(layer.r_edges)
    return (edges[1:] + edges[:-1]) / 2


def _or_nan(energies: np.ndarray) -> np.ndarray:
    """Energies above 0, and NaN instead of other ones: a quotient by these is undefined."""
    return np.where(energies > 0, energies, np.nan)


def _has_thirds(geometry: VoxelGeometry) -> bool:
    return len(geometry.layers) > 3 and len(geometry.layers) % 3 == 0
