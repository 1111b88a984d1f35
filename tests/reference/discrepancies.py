"""Slow twins of `training.discrepancies`, pair by pair."""

from collections.abc import Sequence
from math import exp


def kernel(one: Sequence[float], other: Sequence[float], alpha: float) -> float:
    """The Gaussian kernel, written out as in equation (11)."""
    return exp(-alpha * sum(x * x + y * y - 2 * x * y for x, y in zip(one, other, strict=True)))


def mean_discrepancy(one: Sequence[Sequence[float]], other: Sequence[Sequence[float]], alpha: float) -> float:
    """Equation (10) for two lists of points."""

    def mean(first: Sequence[Sequence[float]], second: Sequence[Sequence[float]]) -> float:
        return sum(kernel(x, y, alpha) for x in first for y in second) / len(first) / len(second)

    return mean(one, one) + mean(other, other) - 2 * mean(one, other)


def sorted_kernel(one: Sequence[float], other: Sequence[float], sizes: tuple[int, int, int], alpha: float) -> float:
    """Mean over the places of a window that moves over two showers' sorted energies; `sizes`: n, m, N."""
    window, stride, reach = sizes
    first, second = (sorted(energies, reverse=True) for energies in (one, other))
    window, results = min(window, len(first)), []
    for start in range(0, reach, stride):
        parts = [energies[start : start + window] for energies in (first, second)]
        if len(parts[0]) == window:
            results.append(mean_discrepancy([[value] for value in parts[0]], [[value] for value in parts[1]], alpha))
    return sum(results) / len(results)
