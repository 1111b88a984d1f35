"""Slow twins of calogen.observables.challenge and what judges with it: one shower, one voxel at a time.

The features are summed exactly (`Fraction`), with the challenge's 1e-16 MeV in every denominator: <x^2> - <x>^2 loses
narrow showers in double precision. Everything else is plain arithmetic.
"""

import math
from fractions import Fraction
from itertools import pairwise

from reference.voxels import PLACES, voxels

EPS = Fraction(1e-16)
AXES = {"r": lambda radius, angle: radius, **PLACES}


def features(geometry, energies, incident_energy, min_energy):
    """name -> value of all features of one shower."""
    kept = [float(energy) if energy >= min_energy else 0.0 for energy in energies]
    total = float(sum(map(Fraction, kept)))
    found = {"total_energy": total, "response": total / float(incident_energy)}
    for layer in geometry.layers:
        here = list(voxels(geometry, layer.id))
        sums = sum(Fraction(kept[index]) for index, _, _ in here)
        found[f"layer_energy_{layer.id}"] = float(sums)
        found[f"sparsity_{layer.id}"] = sum(kept[index] == 0 for index, _, _ in here) / len(here)
        for axis in AXES if layer.num_alpha > 1 else ("r",):
            first = second = Fraction(0)
            for index, radius, angle in here:
                place = Fraction(AXES[axis](radius, angle))
                first += place * Fraction(kept[index])
                second += place * place * Fraction(kept[index])
            mean = first / (sums + EPS)
            found[f"centroid_{axis}_{layer.id}"] = float(mean)
            found[f"width_{axis}_{layer.id}"] = math.sqrt(max(second / (sums + EPS) - mean**2, 0))
    return found


def counts(values, edges):
    """Numbers of values in [low, high), the last bin's upper edge included; those outside are left out."""
    found = [0] * (len(edges) - 1)
    for value in values:
        for number, (low, high) in enumerate(pairwise(edges)):
            if low <= value < high or (number == len(found) - 1 and value == high):
                found[number] += 1
    return found


def separation_power(reference, generated, edges):
    """Of the values inside the edges."""
    first, second = counts(reference, edges), counts(generated, edges)
    shares = [(a / sum(first), b / sum(second)) for a, b in zip(first, second, strict=True)]
    return 0.5 * sum((p - q) ** 2 / (p + q + 1e-16) for p, q in shares)


def correlation(first, second):
    """Pearson's, of two lists."""
    a, b = (sum(values) / len(values) for values in (first, second))
    joint = sum((x - a) * (y - b) for x, y in zip(first, second, strict=True))
    return joint / math.sqrt(sum((x - a) ** 2 for x in first) * sum((y - b) ** 2 for y in second))


def classifier_input(geometry, energies, incident_energy, min_energy, kind, small_voxels=True):
    """The list of numbers that a classifier sees of one shower."""
    found = features(geometry, energies, incident_energy, min_energy)
    ids = [layer.id for layer in geometry.layers]
    angular = [layer.id for layer in geometry.layers if layer.num_alpha > 1]
    kept = [float(energy) if energy >= min_energy else 0.0 for energy in energies]
    label = math.log10(incident_energy)
    logarithms = [math.log10(found[f"layer_energy_{number}"] + 1e-8) for number in ids]
    if kind == "low":
        return [label] + [energy / float(incident_energy) for energy in kept]
    if kind == "low-normed":
        sums = [found[f"layer_energy_{geometry.layers[geometry.unravel(i)[0]].id}"] for i in range(len(kept))]
        divided = [float(energy) for energy in energies] if small_voxels else kept
        return [label] + [energy / (here + 1e-16) for energy, here in zip(divided, sums, strict=True)] + logarithms
    shapes = [
        found[f"{quantity}_{axis}_{number}"] / 100
        for quantity, axis in (("centroid", "eta"), ("centroid", "phi"), ("width", "eta"), ("width", "phi"))
        for number in angular
    ]
    sparsities = [found[f"sparsity_{number}"] for number in ids]
    radial = [found[f"{quantity}_r_{number}"] / 100 for quantity in ("centroid", "width") for number in ids]
    return [label, *logarithms, *shapes, math.log10(found["total_energy"] + 1e-8), *sparsities, *radial]


def area_between(reference, generated):
    """Area between two cumulative distributions: sorted values, step by step."""
    pooled = sorted([*reference, *generated])
    area = 0.0
    for low, high in pairwise(pooled):
        shares = [sum(value <= low for value in sample) / len(sample) for sample in (reference, generated)]
        area += abs(shares[0] - shares[1]) * (high - low)
    return area
