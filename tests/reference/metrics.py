"""Slow twins of calogen.metrics.distributions, written from the definitions."""

import math

from reference import challenge


def counts(values, edges):
    """Numbers of values below, in and above the bins; the last edge belongs to the last bin."""
    inside = challenge.counts(values, edges)
    return [sum(value < edges[0] for value in values), *inside, sum(value > edges[-1] for value in values)]


def joined(reference, generated):
    """The counts, where neighbours from the left are one bin as soon as each sample can expect five showers there.

    What is left over belongs to the last one. Where that gives fewer than three bins, there are underflow, one bin and
    overflow.
    """
    needed = 5 * max(1, sum(reference) / sum(generated))
    groups, current = [], []
    for place, _ in enumerate(reference):
        current.append(place)
        if sum(reference[item] for item in current) >= needed:
            groups.append(current)
            current = []
    if groups:
        groups[-1] += current
    if len(groups) < 3:
        groups = [[0], list(range(1, len(reference) - 1)), [len(reference) - 1]]
    return [[sum(side[item] for item in group) for group in groups] for side in (reference, generated)]


def chi2_per_ndf(reference, generated):
    """Bin by bin, of lists of counts; NaN where a single bin is filled."""
    n, m = sum(reference), sum(generated)
    filled = [(r, g) for r, g in zip(reference, generated, strict=True) if r + g]
    terms = [(math.sqrt(m / n) * r - math.sqrt(n / m) * g) ** 2 / (r + g) for r, g in filled]
    return sum(terms) / (len(filled) - 1) if len(filled) > 1 else math.nan


def separation_power(reference, generated):
    """Bin by bin; both arguments are lists of counts with underflow and overflow."""
    total = 0.0
    for r, g in zip(reference, generated, strict=True):
        p, q = r / sum(reference), g / sum(generated)
        if p + q > 0:
            total += (p - q) ** 2 / (p + q)
    return total / 2


def ks_distance(reference, generated):
    """Largest difference of the shares below or at each value."""
    return max(
        abs(sum(r <= x for r in reference) / len(reference) - sum(g <= x for g in generated) / len(generated))
        for x in [*reference, *generated]
    )
