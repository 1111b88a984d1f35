"""Errors and floors of metrics, from samples that are drawn at random.

The errors exceed the scatter of new samples by up to sqrt(3) where the two samples agree.
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
_QUANTILES, _STEPS = 96, 32  # numbers of cells of equal content and of equal width, in which samples are resampled
_CELLS_PER_BIN = 8  # of the voxel spectrum
_DISJOINT = ("ks", "separation_power", "challenge_separation_power")  # metrics that are 1 for disjoint samples
_EXPECTED = 10  # values, of which chance leaves fewer than two once in 2,000 times
_AT_ONCE = 2**21  # size of the counts that are resampled at a time


def measure(
    reference: np.ndarray, generated: np.ndarray, bins: Bins, resampling: Resampling = "showers", seed: int = 0
) -> dict[str, Value]:
    """Metrics of two samples, `[n]` and `[m]`, with errors.

    Values are exact. Errors are the spread over a hundred resamplings, those of ratios are propagated. Undefined values
    (NaN) are left out; if a sample has fewer than two defined ones, all metrics are NaN. But KS distance and separation
    powers are 1, as for disjoint samples, if that is the generated one, and ten or more values were to be expected.

    Args:
        reference, generated: the samples.
        bins: names of the metrics, and their bins.
        resampling: `showers` draws showers, or counts for metrics that depend on bins alone; the error of chi2/NDF is
            sqrt(2 / NDF), its scatter for two samples of one distribution. `cells` draws counts in about 200 cells
            between the bins' edges for all metrics, which takes less time than sorting the samples.
        seed: seed of the resampling.
    """
    if not bins.metrics:
        return {}
    samples = defined(reference), defined(generated)
    if min(map(len, samples)) < 2:
        expected = len(samples[0]) * len(generated) / max(len(reference), 1)
        disjoint = _DISJOINT if len(samples[1]) < 2 and expected >= _EXPECTED else ()
        return {name: Value(1.0, 0.0) if name in disjoint else Value(np.nan, np.nan) for name in bins.metrics}
    exact, numbers = _counted(samples, bins, len(samples[1]))
    values = {name: float(METRICS[name].statistic(exact)[0]) for name in bins.metrics}
    moments = {"mean_ratio": mean, "rms_ratio": standard_deviation}
    errors = {name: (of(samples[1]) / of(samples[0])).error for name, of in moments.items() if name in values}
    if resampling == "showers":
        filled = np.count_nonzero(exact.between(exact.boundaries["chi2_per_ndf"]).sum(axis=(0, 1)))
        errors["chi2_per_ndf"] = float(np.sqrt(2 / max(int(filled) - 1, 1)))
    rest = [name for name in values if name not in errors]
    if resampling == "cells":
        resampled = _measured(rest, [_redrawn(exact, _resampling_cells(exact, bins), seed)])
    else:
        unbinned = [name for name in rest if name not in exact.boundaries]
        resampled = _measured(unbinned, _bootstrap(exact, numbers, len(samples[1]), _ROUNDS, seed)) if unbinned else {}
        for name in exact.boundaries.keys() & rest:
            resampled |= _measured([name], [_redrawn(exact, exact.boundaries[name], seed)])
    errors |= {name: item.error for name, item in resampled.items()}
    return {name: Value(value, errors[name] if np.isfinite(value) else np.nan) for name, value in values.items()}


def bootstrap_floors(reference: np.ndarray, num_generated: int, bins: Bins, seed: int = 0) -> dict[str, Floor]:
    """Floors of metrics: their values for two Geant4 samples of the sizes that are compared.

    Both samples, of n and m showers, are drawn with replacement from the n showers of the reference, 200 times.
    Compared with really independent samples the floors are right within 10 % for n = 250; for n = 30, with few distinct
    values, they are up to 15 % too low.

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
        known = drawn[np.isfinite(drawn)] if np.isfinite(drawn).any() else drawn[:1]
        limit = np.quantile(METRICS[name].excess(known), 0.95)
        floors[name] = Floor(float(known.mean()), float(known.std()), float(limit))
    return floors


def dealt_floor(reference: np.ndarray, generated: np.ndarray, bins: Bins, seed: int = 0) -> Value:
    """Floor of `challenge_separation_power` for two samples of these sizes.

    All showers are shuffled and dealt out to two samples again, as in a permutation test, a hundred times; the floor is
    the mean, with the spread as its error. That is right for any sizes and bins, whereas the value for two halves of
    the reference, scaled to these sizes, is too small where bins hold few showers. NaN if a sample may get no shower
    inside the axis. A generated sample with fewer than two defined values counts as large as the reference.

    Source: ours.
    """
    edges = bins.edges if bins.axis is None else bins.axis
    first, second = (Histogram.fill(sample, edges).counts for sample in (reference, generated))
    second = second if second.sum() > 1 else first
    drawn = np.random.default_rng(seed).multivariate_hypergeometric(first + second, int(first.sum()), _ROUNDS)
    return _dealt(drawn, first + second)


@dataclass(frozen=True)
class Spectrum:
    """Voxels of all showers, counted by energy in groups of showers.

    Groups can be resampled, because showers are independent; voxels of one shower are not.

    Args:
        edges: edges of the challenge's bins, `[b + 1]`, MeV.
        cells: boundaries of finer cells, `[c]`, MeV: 0, the edges, and energies in between.
        counts: numbers of voxels below, between and above `cells` for each group, `[g, c + 1]`.
    """

    edges: np.ndarray
    cells: np.ndarray
    counts: np.ndarray

    @property
    def histogram(self) -> Histogram:
        """Histogram of the voxels of all showers; empty voxels are underflow."""
        return Histogram(self.edges, self.binned(self.counts.sum(axis=0)))

    def binned(self, counts: np.ndarray) -> np.ndarray:
        """Counts in the bins, `[..., b + 2]`, from counts in the cells, `[..., c + 1]`."""
        return np.add.reduceat(counts, [0, *(np.searchsorted(self.cells, half_open(self.edges)) + 1)], axis=-1)

    @property
    def groups(self) -> np.ndarray:
        """Counts of the groups with showers, `[h, c + 1]`; products are faster in float64."""
        return self.counts[self.counts.any(axis=1)].astype(np.float64)


def spectrum_cells(min_energy: float, maximum: float) -> tuple[np.ndarray, np.ndarray]:
    """Edges `[b + 1]` and cells `[c]` of a spectrum from a smallest to a largest energy, MeV."""
    edges = energy_axis(min_energy, maximum, 50)
    parts = [np.geomspace(low, high, _CELLS_PER_BIN + 1)[1:-1] for low, high in pairwise(edges)]
    return edges, np.unique(np.concatenate([[0.0], half_open(edges), *parts]))


def measure_spectra(reference: Spectrum, generated: Spectrum, seed: int = 0) -> dict[str, Value]:
    """The `FEATURE_METRICS` of two voxel spectra.

    KS and Wasserstein distance are computed from the counts in cells, 8 per bin. Errors come from resampling groups of
    showers. As voxels of a shower are not independent, chi2/NDF is far above 1 even for samples of one distribution.
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
    """Floor of `challenge_separation_power` for two voxel spectra, by groups of showers.

    It is proportional to 1/n + 1/m for samples of n and m showers. Since groups of the two samples may have different
    numbers of showers, samples that were dealt out may have other sizes, and the floor is scaled to `sizes`.
    """
    groups = reference.groups, generated.groups
    pooled, (first, second) = np.concatenate(groups), map(len, groups)
    chosen = np.random.default_rng(seed).permuted(np.tile(np.arange(len(pooled)) < first, (_ROUNDS, 1)), axis=1)
    floor = _dealt(reference.binned(chosen.astype(np.float64) @ pooled), reference.binned(pooled.sum(axis=0)))
    mean_group = sum(sizes) / len(pooled)
    factor = (1 / sizes[0] + 1 / sizes[1]) * mean_group / (1 / first + 1 / second)
    return factor * floor


def ks_statistic(reference: np.ndarray, generated: np.ndarray) -> float:
    """Largest difference of the cumulative distributions of two samples, without error."""
    return float(ks_distance(_counted((reference, generated), Bins(np.array([0.0, 1.0])), 1)[0])[0])


def _measured(metrics: Sequence[str], blocks: Iterable[Pairs]) -> dict[str, Value]:
    """Metrics of the first pair; their spread over the resampled pairs is the error."""
    measured = {}
    for name, (value, *resampled) in _over(metrics, blocks).items():
        measured[name] = Value(float(value), float(np.std(resampled)) if np.isfinite(resampled).all() else np.nan)
    return measured


def _over(metrics: Sequence[str], blocks: Iterable[Pairs]) -> dict[str, np.ndarray]:
    """Metrics of all pairs in some blocks of pairs, `[k]`."""
    columns = zip(*([METRICS[name].statistic(pairs) for name in metrics] for pairs in blocks), strict=True)
    return dict(zip(metrics, map(np.concatenate, columns), strict=True))


def _counted(samples: tuple[np.ndarray, np.ndarray], bins: Bins, num_generated: int) -> tuple[Pairs, list[np.ndarray]]:
    """A pair of samples in cells of a single value, and the position of each shower's cell."""
    places, numbers = np.unique(np.concatenate(samples), return_inverse=True)
    parts = np.split(numbers, [len(samples[0])])
    boundaries = bins.boundaries(Histogram.fill(samples[0], bins.edges), num_generated)
    counts = np.stack([np.bincount(part, minlength=len(places)) for part in parts])[None]
    return Pairs(counts, places, boundaries), parts


def _bootstrap(
    exact: Pairs, numbers: Sequence[np.ndarray], num_generated: int, rounds: int, seed: int
) -> Iterator[Pairs]:
    """Gives the pair itself, then blocks of pairs with showers drawn from it.

    The first ones of the seed's random numbers choose the references of all rounds, the next ones the generated
    samples. So that the former need not be kept, a second generator skips them.
    """
    yield exact
    (first, second), num_cells = numbers, len(exact.lows)
    rng, skipping_rng = np.random.default_rng(seed), np.random.default_rng(seed)
    for _ in range(rounds):
        skipping_rng.integers(0, len(first), len(first))
    step = max(1, _AT_ONCE // num_cells)
    for start in range(0, rounds, step):
        counts = np.empty((min(step, rounds - start), 2, num_cells), np.int32)
        for pair in counts:
            pair[0] = np.bincount(first[rng.integers(0, len(first), len(first))], minlength=num_cells)
            pair[1] = np.bincount(second[skipping_rng.integers(0, len(second), num_generated)], minlength=num_cells)
        yield replace(exact, counts=counts, observed=False)


def _redrawn(exact: Pairs, cells: np.ndarray, seed: int) -> Pairs:
    """A pair in cells with boundaries `[c]`, and a hundred pairs resampled from its counts."""
    rng, counts = np.random.default_rng(seed), exact.between(cells)
    drawn = np.stack([rng.multinomial(row.sum(), row / row.sum(), _ROUNDS) for row in counts[0]], axis=1)
    return replace(exact, counts=np.concatenate([counts, drawn]), lows=np.append(-np.inf, cells))


def _resampling_cells(exact: Pairs, bins: Bins) -> np.ndarray:
    """Boundaries of cells, `[c]`: edges of bins, quantiles, and equal steps over all values."""
    numbers = np.cumsum(exact.counts.sum(axis=(0, 1)))
    places = np.linspace(0, numbers[-1] - 1, _QUANTILES + 1).astype(np.intp)
    chosen = exact.lows[np.searchsorted(numbers, places, side="right")]
    steps = np.linspace(exact.lows[0], exact.lows[-1], _STEPS + 1)
    edges = [half_open(item) for item in (bins.edges, bins.axis) if item is not None]
    return np.unique(np.concatenate([*edges, chosen, steps, np.nextafter(exact.lows[-1:], np.inf)]))


def _dealt(first: np.ndarray, counts: np.ndarray) -> Value:
    """Mean and spread of the separation power of counts `[k, b + 2]` and of the other ones."""
    powers = challenge_separation_power(np.stack([first, counts - first], axis=1))
    return Value(float(np.mean(powers)), float(np.std(powers)))
