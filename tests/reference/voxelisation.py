"""Slow twins of calogen.showers.hits: one hit and one bin at a time, straight from the definitions."""

import math

from calogen.showers.cells import CellGrid
from calogen.showers.hits import Hits
from calogen.showers.voxels import VoxelGeometry


def voxels(hits: Hits, geometry: VoxelGeometry, radii: dict[int, float]) -> list[float]:
    energies = [0.0] * geometry.size
    for layer_id, delta_eta, delta_phi, energy in _rows(hits):
        for index in range(geometry.size):
            position, alpha_bin, r_bin = geometry.unravel(index)
            layer = geometry.layers[position]
            x, y = delta_eta * radii[layer.id], delta_phi * radii[layer.id]
            r, alpha = math.hypot(x, y), math.atan2(y, x)
            low = -math.pi + alpha_bin * 2 * math.pi / layer.num_alpha
            high = -math.pi + (alpha_bin + 1) * 2 * math.pi / layer.num_alpha
            inside_alpha = low <= alpha < high or (alpha_bin == layer.num_alpha - 1 and alpha == math.pi)
            if layer.id == layer_id and inside_alpha and layer.r_edges[r_bin] <= r < layer.r_edges[r_bin + 1]:
                energies[index] += energy
    return energies


def cells(hits: Hits, grid: CellGrid, eta: float, phi: float) -> list[float]:
    energies = [0.0] * grid.size
    for layer_id, delta_eta, delta_phi, energy in _rows(hits):
        for index in range(grid.size):
            position, eta_bin, phi_bin = grid.unravel(index)
            layer = grid.layers[position]
            first_eta, first_phi = (int(first) for first in layer.first_cell(eta, phi))
            low_eta, low_phi = (first_eta + eta_bin) * layer.eta_size, (first_phi + phi_bin) * layer.phi_size
            inside = 0 <= eta + delta_eta - low_eta < layer.eta_size and 0 <= phi + delta_phi - low_phi < layer.phi_size
            if layer.id == layer_id and inside:
                energies[index] += energy
    return energies


def _rows(hits: Hits) -> list[tuple[int, float, float, float]]:
    columns = (hits.layer_ids, hits.delta_eta, hits.delta_phi, hits.energies)
    return list(zip(*(column.tolist() for column in columns), strict=True))
