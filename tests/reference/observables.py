"""Slow twins of calogen.observables.cells: one shower at a time, cell by cell, written from the definitions."""

import math

import numpy as np


def cells(grid, energies):
    """(layer id, eta index, phi index, energy) of every cell of one shower."""
    for index, energy in enumerate(energies):
        layer, eta, phi = grid.unravel(index)
        yield grid.layers[layer].id, eta, phi, float(energy)


def lookup(grid, energies, layer_id):
    return {(eta, phi): energy for layer, eta, phi, energy in cells(grid, energies) if layer == layer_id}


def hottest(grid, energies):
    middle = lookup(grid, energies, 2)
    best = max(middle.values())
    return min(key for key, energy in middle.items() if energy == best)


def box(grid, energies, num_eta, num_phi):
    """Energies of a box around the hottest cell, (offset in eta, offset in phi) -> energy."""
    middle = lookup(grid, energies, 2)
    eta, phi = hottest(grid, energies)
    return {
        (i, j): middle.get((eta + i, phi + j), 0.0)
        for i in range(-(num_eta // 2), num_eta // 2 + 1)
        for j in range(-(num_phi // 2), num_phi // 2 + 1)
    }


def quotient(numerator, denominator):
    return numerator / denominator if denominator > 0 else math.nan


def r_eta(grid, energies):
    return quotient(sum(box(grid, energies, 3, 7).values()), sum(box(grid, energies, 7, 7).values()))


def r_phi(grid, energies):
    return quotient(sum(box(grid, energies, 3, 3).values()), sum(box(grid, energies, 3, 7).values()))


def w_eta2(grid, energies):
    size = grid.layers[grid.position(2)].eta_size
    found = box(grid, energies, 3, 5)
    total = sum(found.values())
    if total == 0:
        return math.nan
    first = sum(energy * i * size for (i, _), energy in found.items()) / total
    second = sum(energy * (i * size) ** 2 for (i, _), energy in found.items()) / total
    return math.sqrt(max(second - first**2, 0.0))


def w_s_tot(grid, energies):
    front, middle = grid.layers[grid.position(1)], grid.layers[grid.position(2)]
    eta, _ = hottest(grid, energies)
    away = (eta - (middle.num_eta - 1) / 2) * middle.eta_size
    centre = (front.num_eta - 1) / 2 + round(away / front.eta_size)
    first = math.ceil(centre - 10)
    strips = lookup(grid, energies, 1)
    row = front.num_phi // 2

    def window(phi):
        return [strips.get((i, phi), 0.0) for i in range(first, first + 20)]

    below, above = window(row - 1), window(row + 1)
    second = below if sum(below) >= sum(above) else above
    summed = [a + b for a, b in zip(window(row), second, strict=True)]
    top = summed.index(max(summed))
    spread = quotient(sum(energy * (i - top) ** 2 for i, energy in enumerate(summed)), sum(summed))
    return math.sqrt(spread)


def shower_depth(grid, energies):
    depths = {layer.id: layer.depth for layer in grid.layers}
    weighted = sum(energy * depths[layer] for layer, _, _, energy in cells(grid, energies))
    return quotient(weighted, float(np.sum(energies, dtype=np.float64)))


def second_lambda_moment(grid, energies):
    points = []
    for layer_id, eta, phi, energy in cells(grid, energies):
        if energy <= 0:
            continue
        layer = grid.layers[grid.position(layer_id)]
        across = layer.eta_size * (eta - (layer.num_eta - 1) / 2), layer.phi_size * (phi - (layer.num_phi - 1) / 2)
        points.append((energy, np.array([layer.radius, across[0] * layer.radius, across[1] * layer.radius])))
    if not points:
        return math.nan
    total = sum(energy for energy, _ in points)
    centre = sum(energy * x for energy, x in points) / total
    axis = centre / np.linalg.norm(centre)
    squares = sum(energy**2 for energy, _ in points)
    covariance = sum(energy**2 * np.outer(x - centre, x - centre) for energy, x in points) / squares
    values, vectors = np.linalg.eigh(covariance)
    if len(points) > 2 and min(values) > 1e-6:
        nearest = max(vectors.T, key=lambda vector: abs(vector @ axis))
        if math.degrees(math.acos(min(abs(nearest @ axis), 1.0))) < 20:
            axis = nearest
    return sum(energy * ((x - centre) @ axis) ** 2 for energy, x in points) / total


def profile_around_impact(grid, energies, layer_id, axis, impact_eta, impact_phi):
    """Energy of one shower in bins of a cell's width, by the distance of the cells' centres from the impact point."""
    layer = next(item for item in grid.layers if item.id == layer_id)
    first_eta, first_phi = (
        int(values[0]) for values in layer.first_cell(np.array([impact_eta]), np.array([impact_phi]))
    )
    count, size = (layer.num_eta, layer.eta_size) if axis == "eta" else (layer.num_phi, layer.phi_size)
    found = [0.0] * count
    for (eta, phi), energy in lookup(grid, energies, layer_id).items():
        if axis == "eta":
            distance = (first_eta + eta + 0.5) * size - impact_eta
        else:
            distance = (first_phi + phi + 0.5) * size - impact_phi
        found[min(max(math.floor(distance / size + count / 2), 0), count - 1)] += energy
    return found
