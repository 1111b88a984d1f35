"""Slow twin of calogen.observables.shapes: one shower, one voxel at a time, summed exactly (`Fraction`)."""

import math
from fractions import Fraction

from reference.voxels import voxels


def _share(part, whole):
    return float(part / whole) if whole else math.nan


def _moments(pairs):
    """Mean and standard deviation of (energy, place)."""
    total = sum(energy for energy, _ in pairs)
    if not total:
        return math.nan, math.nan
    mean = sum(energy * place for energy, place in pairs) / total
    return float(mean), math.sqrt(sum(energy * (place - mean) ** 2 for energy, place in pairs) / total)


def _containment_radius(rings, edges):
    """Where a line through the summed energies at the edges reaches 90 %."""
    needed, inside = Fraction(9, 10) * sum(rings), Fraction(0)
    for energy, low, high in zip(rings, edges, edges[1:], strict=False):
        if energy and inside + energy >= needed:
            return float(Fraction(low) + (needed - inside) / energy * (Fraction(high) - Fraction(low)))
        inside += energy
    return math.nan


def shapes(geometry, energies, min_energy, depths=None):
    """name -> value of all shapes of one shower, those that `list_shapes` leaves out included."""
    kept = [Fraction(float(energy)) if energy >= min_energy else Fraction(0) for energy in energies]
    total, lateral, found, sums = sum(kept), Fraction(0), {}, []
    for layer in geometry.layers:
        here = list(voxels(geometry, layer.id))
        sums.append(sum(kept[index] for index, _, _ in here))
        lateral += sum(kept[index] * Fraction(radius) ** 2 for index, radius, _ in here)
        rings = [Fraction(0)] * layer.num_r
        for index, _, _ in here:
            rings[geometry.unravel(index)[2]] += kept[index]
        found[f"energy_fraction_{layer.id}"] = _share(sums[-1], total)
        found[f"inner_fraction_{layer.id}"] = _share(rings[0], sums[-1])
        found[f"containment_radius_{layer.id}"] = _containment_radius(rings, layer.r_edges)
    places = [Fraction(place) for place in depths or range(len(sums))]
    found["longitudinal_centre"], found["longitudinal_width"] = _moments(list(zip(sums, places, strict=True)))
    found["lateral_moment"] = _share(lateral, total)
    found["num_hits"] = sum(energy > 0 for energy in kept)
    found["maximum_fraction"] = _share(max(kept), total)
    third = len(sums) // 3
    for number, name in enumerate(("first_third", "second_third", "last_third")):
        found[name] = _share(sum(sums[number * third : (number + 1) * third]), total)
    return found
