"""Slow twins of calogen.observables.grid: one shower at a time, cell by cell, written from the definitions."""

import math


def hits(grid, energies):
    """(layer's position, x in mm, z in mm, depth in mm, energy) of every hit of one shower."""
    found = []
    for index, energy in enumerate(energies):
        if energy >= grid.hit_threshold:
            position, x, z = grid.unravel(index)
            layer = grid.layers[position]
            middle_x, middle_z = (layer.num_x - 1) / 2, (layer.num_z - 1) / 2
            size = layer.cell_size
            found.append((position, (x - middle_x) * size, (z - middle_z) * size, layer.depth, float(energy)))
    return found


def visible_energy(grid, energies):
    return sum(energy for *_, energy in hits(grid, energies))


def num_hits(grid, energies):
    return len(hits(grid, energies))


def moments(grid, energies, axis):
    """Mean and variance of the position along an axis."""
    place = {"x": 1, "z": 2, "depth": 3}[axis]
    found = hits(grid, energies)
    total = sum(hit[4] for hit in found)
    if not total:
        return math.nan, math.nan
    mean = sum(hit[4] * hit[place] for hit in found) / total
    return mean, sum(hit[4] * (hit[place] - mean) ** 2 for hit in found) / total


def third(grid, energies, number):
    found = hits(grid, energies)
    total = sum(hit[4] for hit in found)
    low, high = (round(len(grid.layers) * part / 3) for part in (number, number + 1))
    return sum(hit[4] for hit in found if low <= hit[0] < high) / total if total else math.nan


def layer_energies(grid, energies):
    sums = [0.0] * len(grid.layers)
    for position, *_, energy in hits(grid, energies):
        sums[position] += energy
    return sums


def ring_energies(grid, energies, num_rings):
    sums = [0.0] * num_rings
    for _, x, z, _, energy in hits(grid, energies):
        sums[int(math.hypot(x, z) / grid.layers[0].cell_size)] += energy
    return sums


def axis_angle(grid, energies):
    """Angle between the layers and the axis along which the hits spread most, by power iteration."""
    found = hits(grid, energies)
    if len(found) < 2:
        return math.nan
    total = sum(hit[4] for hit in found)
    means = [sum(hit[4] * hit[axis] for hit in found) / total for axis in (1, 2, 3)]
    matrix = [
        [sum(hit[4] * (hit[i + 1] - means[i]) * (hit[j + 1] - means[j]) for hit in found) / total for j in range(3)]
        for i in range(3)
    ]
    axis = [0.5, 0.3, 0.8]
    for _ in range(2000):
        axis = [sum(matrix[i][j] * axis[j] for j in range(3)) for i in range(3)]
        length = math.sqrt(sum(value * value for value in axis))
        axis = [value / length for value in axis]
    return math.asin(min(abs(axis[2]), 1.0))
