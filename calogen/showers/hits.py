"""Conversion of a shower's hits, its deposits in active material, to cells and voxels."""

from dataclasses import dataclass

import numpy as np

from calogen.errors import DataFormatError
from calogen.showers.cells import CellGrid
from calogen.showers.voxels import VoxelGeometry


@dataclass(frozen=True)
class Hits:
    """Deposits of one shower in active material, in projective coordinates.

    Args:
        layer_ids: `[h]`, the calorimeter layer of each deposit.
        delta_eta, delta_phi: `[h]`, position relative to the extrapolated particle; phi in rad.
        energies: `[h]`, MeV, calibrated.
        depths: `[h]`, depth of each deposit in its layer, 0 (the layer's face) to 1 (its end); None: not known.
    """

    layer_ids: np.ndarray
    delta_eta: np.ndarray
    delta_phi: np.ndarray
    energies: np.ndarray
    depths: np.ndarray | None = None


def cell_energies(hits: Hits, grid: CellGrid, impact_eta: float, impact_phi: float) -> np.ndarray:
    """Energies of the cells around the impact point.

    Args:
        grid: the cells, `[c]` in all; deposits outside are lost.
        impact_eta, impact_phi: direction of the particle; phi in rad.

    Returns:
        `[c]`, MeV.

    Source: ATLAS 2022 (arXiv:2210.06204), "Monte Carlo Samples and Preprocessing", cell windows.
    """
    energies = np.zeros(grid.size)
    for layer, part in zip(grid.layers, grid.slices, strict=True):
        inside = hits.layer_ids == layer.id
        first_eta, first_phi = layer.first_cell(impact_eta, impact_phi)
        eta = np.floor((impact_eta + hits.delta_eta[inside]) / layer.eta_size).astype(np.int64) - first_eta
        phi = np.floor((impact_phi + hits.delta_phi[inside]) / layer.phi_size).astype(np.int64) - first_phi
        within = (eta >= 0) & (eta < layer.num_eta) & (phi >= 0) & (phi < layer.num_phi)
        flat = eta[within] * layer.num_phi + phi[within]
        energies[part] = np.bincount(flat, hits.energies[inside][within], minlength=layer.size)
    return energies


def mean_depths(hits: Hits, layer_ids: tuple[int, ...]) -> np.ndarray:
    """Energy-weighted mean depth of the deposits inside each layer.

    Args:
        layer_ids: ids of the `l` layers.

    Returns:
        `[l]`, 0 at the layer's face to 1 at its end; NaN for a layer without energy.

    Raises:
        DataFormatError: the hits have no depths.

    Source: ours; ATLAS FastCaloSim (ATL-SOFT-PUB-2018-002) places hits by such a weight between the points where the
    particle's straight line enters and leaves the layer.
    """
    if hits.depths is None:
        raise DataFormatError("mean_depths needs hits with depths. Received: hits without")
    means = np.full(len(layer_ids), np.nan)
    for position, layer_id in enumerate(layer_ids):
        inside = hits.layer_ids == layer_id
        energy = hits.energies[inside].sum()
        if energy > 0:
            means[position] = hits.energies[inside] @ hits.depths[inside] / energy
    return means


def voxelise(hits: Hits, geometry: VoxelGeometry, radii: dict[int, float]) -> np.ndarray:
    """Energies of the (layer, alpha, r) voxels around the particle's track.

    Args:
        geometry: the voxels, `[v]` in all; deposits outside are lost.
        radii: radius R_l of each layer, by id, mm, by which angles are multiplied to get lengths across the track.

    Returns:
        `[v]`, MeV.

    Source: r = hypot, alpha = atan2(delta phi, delta eta) of lengths Delta * R_l, as in ATLAS FastCaloSim
    (ATL-SOFT-PUB-2018-002); bins of the CaloChallenge (arXiv:2410.21611, section 3.1).
    """
    energies = np.zeros(geometry.size)
    for layer, part in zip(geometry.layers, geometry.slices, strict=True):
        inside = hits.layer_ids == layer.id
        delta_eta = hits.delta_eta[inside] * radii[layer.id]
        delta_phi = hits.delta_phi[inside] * radii[layer.id]
        r = np.searchsorted(layer.r_edges, np.hypot(delta_eta, delta_phi), side="right") - 1
        turns = (np.arctan2(delta_phi, delta_eta) + np.pi) / (2 * np.pi)
        alpha = np.minimum((turns * layer.num_alpha).astype(np.int64), layer.num_alpha - 1)
        within = (r >= 0) & (r < layer.num_r)
        flat = alpha[within] * layer.num_r + r[within]
        energies[part] = np.bincount(flat, hits.energies[inside][within], minlength=layer.size)
    return energies
