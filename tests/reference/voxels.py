"""Slow twins of calogen.observables.voxels: one shower at a time, voxel by voxel, from the CaloChallenge's definitions.

Sums are exact (`Fraction`), because <x^2> - <x>^2 loses narrow showers in double precision; without the 1e-16 MeV that
the challenge adds to denominators.
"""

import math
from fractions import Fraction


def voxels(geometry, layer_id):
    """(index, middle radius, middle angle) of every voxel of a layer."""
    for index in range(geometry.size):
        position, alpha, r = geometry.unravel(index)
        layer = geometry.layers[position]
        if layer.id == layer_id:
            radius = (layer.r_edges[r] + layer.r_edges[r + 1]) / 2
            yield index, radius, -math.pi + 2 * math.pi * (alpha + 0.5) / layer.num_alpha


def moments(geometry, energies, layer_id, place):
    """Mean and width of place(radius, angle); NaN without energy."""
    total = first = second = Fraction(0)
    for index, radius, angle in voxels(geometry, layer_id):
        energy, x = Fraction(float(energies[index])), Fraction(place(radius, angle))
        total, first, second = total + energy, first + energy * x, second + energy * x * x
    if total == 0:
        return math.nan, math.nan
    mean = first / total
    return float(mean), math.sqrt(second / total - mean**2)


PLACES = {
    "eta": lambda radius, angle: radius * math.cos(angle),
    "phi": lambda radius, angle: radius * math.sin(angle),
}


def voxel_centroid(geometry, energies, layer_id, axis):
    return moments(geometry, energies, layer_id, PLACES[axis])[0]


def voxel_width(geometry, energies, layer_id, axis):
    return moments(geometry, energies, layer_id, PLACES[axis])[1]


def radial_centroid(geometry, energies, layer_id):
    return moments(geometry, energies, layer_id, lambda radius, angle: radius)[0]


def radial_width(geometry, energies, layer_id):
    return moments(geometry, energies, layer_id, lambda radius, angle: radius)[1]


def sparsity(geometry, energies, layer_id):
    cells = [float(energies[index]) for index, _, _ in voxels(geometry, layer_id)]
    return 1 - sum(energy > 0 for energy in cells) / len(cells)
