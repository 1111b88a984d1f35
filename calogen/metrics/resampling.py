"""Errors of metrics and their floors: all that is drawn at random.

Errors are larger than the scatter of new samples by up to sqrt(3) where the two samples agree.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np

from calogen.metrics.distributions import (
    FEATURE_METRICS,
    METRICS,
    Bins,
    Floor,
    Pairs,
    Value,
    challenge_separation_power,
    defined,
    half_open,
    ks_distance,
    mean,
    standard_deviation,
)
from calogen.metrics.histograms import Histogram, energy_axis

Resampling = Literal["showers", "cells"]

_ROUNDS, _FLOOR_ROUNDS = 100, 200
_QUANTILES, _STEPS = 96, 32  # cells in which samples are resampled: of equal content, and of equal width
_CELLS_PER_BIN = 8  # of the voxel spectrum
_AT_ONCE = 2**21  # numbers in the resampled pairs that are counted at a time


def measure(
    reference: np.ndarray, generated: np.ndarray, bins: Bins, resampling: Resampling = "showers", seed: int = 0
) -> dict[str, Value]:
    """Metrics of two samples, `[n]` and `[m]`, with errors.

    Values are exact; errors are over a hundred rounds, those of ratios propagated. NaN (undefined) values are left out;
    NaN with fewer than two others in a sample.

    Args:
        resampling: `showers` draws showers or, for what sees bins only, their counts; the error of chi2/NDF is
            sqrt(2 / NDF), the scatter for two samples of one distribution. `cells` draws counts in about 200 cells that
            hold the bins' edges, so that a hundred rounds take less than the sorting; for chi2/NDF, too.
        seed: of the resampling.
    """
    if not bins.metrics:
        return {}
    samples = defined(reference), defined(generated)
    if min(map(len, samples)) < 2:
        return dict.fromkeys(bins.metrics, Value(np.nan, np.nan))
    exact, numbers = _counted(samples, bins, len(samples[1]))
    values = {name: float(METRICS[name].statistic(exact)[0]) for name in bins.metrics}
    moments = {"mean_ratio": mean, "rms_ratio": standard_deviation}
    errors = {name: (of(samples[1]) / of(samples[0])).error for name, of in moments.items() if name in values}
    if resampling == "showers":
        filled = np.count_nonzero(exact.between(exact.boundaries["chi2_per_ndf"]).sum(axis=(0, 1)))
        errors["chi2_per_ndf"] = float(np.sqrt(2 / max(int(filled) - 1, 1)))
    rest = [name for name in values if name not in errors]
    if resampling == "cells":
        found = _measured(rest, [_redrawn(exact, _resampling_cells(exact, bins), seed)])
    else:
        placed = [name for name in rest if name not in exact.boundaries]
        found = _measured(placed, _bootstrap(exact, numbers, len(samples[1]), _ROUNDS, seed)) if placed else {}
        for name in exact.boundaries.keys() & rest:
            found |= _measured([name], [_redrawn(exact, exact.boundaries[name], seed)])
    errors |= {name: item.error for name, item in found.items()}
    return {name: Value(value, errors[name] if np.isfinite(value) else np.nan) for name, value in values.items()}


def bootstrap_floors(reference: np.ndarray, num_generated: int, bins: Bins, seed: int = 0) -> dict[str, Floor]:
    """Floors of metrics: two independent Geant4 samples of the sizes that are compared.

    Both, n and m showers, are drawn with replacement from the n of the reference, 200 times. Checked against pairs that
    are really independent: right within 10 % for n = 250; for n = 30 up to 15 % too low (few distinct values).

    Source: ours.
    """
    if not bins.metrics:
        return {}
    values = defined(reference)
    if min(len(values), num_generated) < 2:
        return dict.fromkeys(bins.metrics, Floor(np.nan, np.nan, np.nan))
    exact, numbers = _counted((values, values), bins, num_generated)
    floors = {}
    for name, items in _over(bins.metrics, _bootstrap(exact, numbers, num_generated, _FLOOR_ROUNDS, seed)).items():
        drawn = items[1:]
        found = drawn[np.isfinite(drawn)] if np.isfinite(drawn).any() else drawn[:1]
        limit = np.quantile(METRICS[name].excess(found), 0.95)
        floors[name] = Floor(float(found.mean()), float(found.std()), float(limit))
    return floors


def dealt_floor(reference: np.ndarray, generated: np.ndarray, bins: Bins, seed: int = 0) -> Value:
    """`challenge_separation_power` of two samples of these sizes and one distribution.

    The showers of both are shuffled and dealt out again, as in a permutation test. That holds for any sizes and bins:
    scaled halves of the reference are too small where bins hold few showers. Mean and spread of a hundred deals; NaN
    where a sample may get no shower inside the axis.

    Source: ours.
    """
    edges = bins.edges if bins.axis is None else bins.axis
    first, second = (Histogram.fill(sample, edges).counts for sample in (reference, generated))
    drawn = np.random.default_rng(seed).multivariate_hypergeometric(first + second, int(first.sum()), _ROUNDS)
    return _dealt(drawn, first + second)


@dataclass(frozen=True)
class Spectrum:
    """Voxels of all showers, counted by energy.

    Args:
        edges: `[b + 1]`, MeV: the challenge's bins.
        cells: `[c]`, MeV: 0, the edges, and finer ones in between.
        counts: `[g, c + 1]`: voxels below, between and above `cells`, in groups of showers: voxels of one shower are
            not independent, showers are.
    """

    edges: np.ndarray
    cells: np.ndarray
    counts: np.ndarray

    @property
    def histogram(self) -> Histogram:
        """All showers' voxels in `edges`; the empty ones are underflow."""
        return Histogram(self.edges, self.binned(self.counts.sum(axis=0)))

    def binned(self, counts: np.ndarray) -> np.ndarray:
        """Counts in `edges`, `[..., b + 2]`, from those in cells, `[..., c + 1]`."""
        return np.add.reduceat(counts, [0, *(np.searchsorted(self.cells, half_open(self.edges)) + 1)], axis=-1)

    @property
    def groups(self) -> np.ndarray:
        """Counts of the groups that have showers, `[h, c + 1]`; float64 multiplies faster."""
        return self.counts[self.counts.any(axis=1)].astype(np.float64)


def spectrum_cells(min_energy: float, maximum: float) -> tuple[np.ndarray, np.ndarray]:
    """Edges `[b + 1]` and cells `[c]` of the voxel spectrum up to a largest voxel, MeV."""
    edges = energy_axis(min_energy, maximum, 50)
    parts = [np.geomspace(low, high, _CELLS_PER_BIN + 1)[1:-1] for low, high in pairwise(edges)]
    return edges, np.unique(np.concatenate([[0.0], half_open(edges), *parts]))


def measure_spectra(reference: Spectrum, generated: Spectrum, seed: int = 0) -> dict[str, Value]:
    """The `FEATURE_METRICS` of two voxel spectra.

    KS and Wasserstein distance are those of the counts in cells (8 per bin). The errors come from resampling groups of
    showers. Voxels of a shower go together: chi2/NDF is far above 1 even for two samples of one distribution.
    """
    rng, sides = np.random.default_rng(seed), []
    for groups in (reference.groups, generated.groups):
        weights = rng.multinomial(len(groups), np.full(len(groups), 1 / len(groups)), _ROUNDS).astype(np.float64)
        sides.append(np.vstack([groups.sum(axis=0), np.einsum("rg,gc->rc", weights, groups)]))
    bins = Bins(reference.edges, FEATURE_METRICS, join=False)
    boundaries = bins.boundaries(reference.histogram, int(sides[1][0].sum()))
    pairs = Pairs(np.stack(sides, axis=1), np.append(-np.inf, reference.cells), boundaries)
    return _measured(FEATURE_METRICS, [pairs])


def dealt_spectra(reference: Spectrum, generated: Spectrum, sizes: tuple[int, int], seed: int = 0) -> Value:
    """As `dealt_floor`, of two voxel spectra: groups of showers are dealt out.

    Where the samples, of so many showers, have groups of other sizes, the mixed ones are of other sizes than these:
    the value is scaled by the sum of their inverse, with which it falls.
    """
    groups = reference.groups, generated.groups
    pooled, (first, second) = np.concatenate(groups), map(len, groups)
    chosen = np.random.default_rng(seed).permuted(np.tile(np.arange(len(pooled)) < first, (_ROUNDS, 1)), axis=1)
    found = _dealt(reference.binned(chosen.astype(np.float64) @ pooled), reference.binned(pooled.sum(axis=0)))
    mean_group = sum(sizes) / len(pooled)
    factor = (1 / sizes[0] + 1 / sizes[1]) * mean_group / (1 / first + 1 / second)
    return Value(factor * found.value, factor * found.error)


def ks_statistic(reference: np.ndarray, generated: np.ndarray) -> float:
    """Largest difference of cumulative distributions, without error."""
    return float(ks_distance(_counted((reference, generated), Bins(np.array([0.0, 1.0])), 1)[0])[0])


def _measured(metrics: Sequence[str], blocks: Iterable[Pairs]) -> dict[str, Value]:
    """Metrics of the first pair, and their spread over the others (NaN if any is)."""
    found = {}
    for name, (value, *others) in _over(metrics, blocks).items():
        found[name] = Value(float(value), float(np.std(others)) if np.isfinite(others).all() else np.nan)
    return found


def _over(metrics: Sequence[str], blocks: Iterable[Pairs]) -> dict[str, np.ndarray]:
    """Metrics of all pairs of some blocks, `[k]`."""
    found = zip(*([METRICS[name].statistic(pairs) for name in metrics] for pairs in blocks), strict=True)
    return dict(zip(metrics, map(np.concatenate, found), strict=True))


def _counted(samples: tuple[np.ndarray, np.ndarray], bins: Bins, num_generated: int) -> tuple[Pairs, list[np.ndarray]]:
    """A pair of samples in cells of one value each, and the number of each value's cell."""
    places, numbers = np.unique(np.concatenate(samples), return_inverse=True)
    parts = np.split(numbers, [len(samples[0])])
    boundaries = bins.boundaries(Histogram.fill(samples[0], bins.edges), num_generated)
    counts = np.stack([np.bincount(part, minlength=len(places)) for part in parts])[None]
    return Pairs(counts, places, boundaries), parts


def _bootstrap(
    exact: Pairs, numbers: Sequence[np.ndarray], num_generated: int, rounds: int, seed: int
) -> Iterator[Pairs]:
    """The pair itself, then blocks of pairs whose showers are drawn from it.

    The seed's numbers choose all references first, then all generated samples. Instead of keeping the former, a second
    generator passes over them.
    """
    yield exact
    (first, second), num_cells = numbers, len(exact.lows)
    rng, other_rng = np.random.default_rng(seed), np.random.default_rng(seed)
    for _ in range(rounds):
        other_rng.integers(0, len(first), len(first))
    step = max(1, _AT_ONCE // num_cells)
    for start in range(0, rounds, step):
        counts = np.empty((min(step, rounds - start), 2, num_cells), np.int32)
        for pair in counts:
            pair[0] = np.bincount(first[rng.integers(0, len(first), len(first))], minlength=num_cells)
            pair[1] = np.bincount(second[other_rng.integers(0, len(second), num_generated)], minlength=num_cells)
        yield replace(exact, counts=counts, observed=False)


def _redrawn(exact: Pairs, cells: np.ndarray, seed: int) -> Pairs:
    """A pair in cells with boundaries `[c]`, and a hundred resampled from its counts."""
    rng, counts = np.random.default_rng(seed), exact.between(cells)
    drawn = np.stack([rng.multinomial(row.sum(), row / row.sum(), _ROUNDS) for row in counts[0]], axis=1)
    return replace(exact, counts=np.concatenate([counts, drawn]), lows=np.append(-np.inf, cells))


def _resampling_cells(exact: Pairs, bins: Bins) -> np.ndarray:
    """Boundaries of cells, `[c]`: all edges, some values, steps between the outermost."""
    numbers = np.cumsum(exact.counts.sum(axis=(0, 1)))
    places = np.linspace(0, numbers[-1] - 1, _QUANTILES + 1).astype(np.intp)
    chosen = exact.lows[np.searchsorted(numbers, places, side="right")]
    steps = np.linspace(exact.lows[0], exact.lows[-1], _STEPS + 1)
    edges = [half_open(item) for item in (bins.edges, bins.axis) if item is not None]
    return np.unique(np.concatenate([*edges, chosen, steps, np.nextafter(exact.lows[-1:], np.inf)]))


def _dealt(first: np.ndarray, counts: np.ndarray) -> Value:
    """Mean and spread for counts `[k, b + 2]` dealt out of those of both, `[b + 2]`."""
    found = challenge_separation_power(np.stack([first, counts - first], axis=1))
    return Value(float(np.mean(found)), float(np.std(found)))
