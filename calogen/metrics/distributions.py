"""Statistics of a reference and a generated sample of one observable, each with its error and floor.

  ks                          largest difference of the cumulative distributions: 0 for equal samples, 1 for disjoint
  wasserstein                 area between them (W1), in the reference's standard deviations
  chi2_per_ndf                two-sample chi2 in bins that are joined until each can expect five showers; about 1
  separation_power            triangular discrimination; underflow and overflow are two more bins
  challenge_separation_power  the same without those: what lies outside is dropped before normalising
  mean_ratio, rms_ratio       of the means and of the standard deviations, generated / reference

Each is one function of pairs of counts, of the samples themselves and of any number of pairs that were resampled from
them. NaN (undefined) values are left out; with fewer than two showers in a sample the result is NaN. Errors are larger
than the scatter of new samples by up to sqrt(3) where the two agree. The floor is Geant4 against Geant4.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from calogen.errors import DataFormatError
from calogen.metrics.histograms import Histogram, joined_edges

Resampling = Literal["showers", "cells"]
Chi2Error = Literal["ndf", "resampling"]

OBSERVABLE_METRICS = ("ks", "chi2_per_ndf", "separation_power", "wasserstein", "mean_ratio", "rms_ratio")
FEATURE_METRICS = ("ks", "wasserstein", "chi2_per_ndf", "separation_power", "challenge_separation_power")
"""`METRICS` of a paper's observables, and those of the challenge's features, in the order of the tables."""

ROUNDS, _FLOOR_ROUNDS = 100, 200
_QUANTILES, _STEPS = 96, 32  # cells in which samples are resampled: of equal content, and of equal width
_AT_ONCE = 2**22  # numbers in the resampled pairs that are counted at a time


@dataclass(frozen=True)
class Value:
    """A number and its standard uncertainty."""

    value: float
    error: float


@dataclass(frozen=True)
class Floor:
    """What a metric gives for two independent Geant4 samples: what no model should beat.

    Args:
        mean: expected value.
        error: standard deviation from one pair of samples to the next.
        limit: 95 % of the pairs lie no further than this from the metric's ideal value (one-sided: above it).
    """

    mean: float
    error: float
    limit: float


UNKNOWN, _NO_FLOOR = Value(np.nan, np.nan), Floor(np.nan, np.nan, np.nan)


@dataclass(frozen=True)
class Bins:
    """What is measured of an observable, and in which bins.

    Args:
        edges: of its histogram, `[b + 1]`.
        metrics: names of the `METRICS`.
        join: whether `separation_power` has the bins of chi2/NDF, which are joined, or all of them.
        axis: of `challenge_separation_power`, `[d + 1]`; None: the same as the histogram's.
        coarse: number of bins of the axis that the reference reaches over where they are too few; None elsewhere.
    """

    edges: np.ndarray
    metrics: tuple[str, ...] = OBSERVABLE_METRICS
    join: bool = True
    axis: np.ndarray | None = None
    coarse: int | None = None

    def joined(self, reference: np.ndarray, num_generated: int) -> np.ndarray:
        """Where joined bins begin, chosen by the reference's counts `[b + 2]` and the size of the other sample."""
        chosen = joined_edges(Histogram(self.edges, reference), num_generated)
        return np.append(0, np.searchsorted(self.edges, chosen) + 1)


@dataclass(frozen=True)
class Pairs:
    """Pairs of samples, counted in ordered cells.

    Args:
        counts: `[k, 2, c]`, of the reference and of the generated sample.
        lows: `[c]`, where the cells begin: at -inf, or each at the only value that it holds.
        bins: of the binned statistics; the cells hold their edges.
        joined: where joined bins begin.
    """

    counts: np.ndarray
    lows: np.ndarray
    bins: Bins
    joined: np.ndarray

    @cached_property
    def heights(self) -> np.ndarray:
        """Distance of the cumulative distributions between neighbouring cells, `[k, c - 1]`."""
        shares = self._below[..., 1:-1] / self._below[..., -1:]
        return np.abs(shares[:, 0] - shares[:, 1])

    @cached_property
    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Means and standard deviations, `[k, 2]` each; nothing is lost to large means."""
        places = self.lows
        if np.isinf(places[0]):
            places = np.concatenate([places[1:2], (places[1:-1] + places[2:]) / 2, places[-1:]])
        shares = self.counts / self._below[..., -1:]
        centres = shares[0] @ places
        moved = places - centres[:, None]
        means, squares = (np.einsum("ksc,sc->ks", shares, item) for item in (moved, moved**2))
        return centres + means, np.sqrt(np.maximum(squares - means**2, 0))

    def between(self, boundaries: np.ndarray) -> np.ndarray:
        """Counts below, between and above boundaries `[d]` of cells, `[k, 2, d + 1]`."""
        stops = np.searchsorted(self.lows, boundaries)
        return np.diff(self._below[..., [0, *stops, len(self.lows)]])

    def binned(self, metric: str) -> np.ndarray:
        """Counts in the bins of a statistic, `[k, 2, b]`."""
        bins = self.bins
        if metric == "challenge_separation_power" and bins.axis is not None:
            return self.between(half_open(bins.axis))
        counts = self.between(half_open(bins.edges))
        join = metric == "chi2_per_ndf" or (bins.join and metric == "separation_power")
        return np.add.reduceat(counts, self.joined, axis=-1) if join else counts

    @cached_property
    def _below(self) -> np.ndarray:
        """Counts below each cell and of all, `[k, 2, c + 1]`."""
        return np.cumsum(np.pad(self.counts, ((0, 0), (0, 0), (1, 0))), axis=-1)


def ks_distance(pairs: Pairs) -> np.ndarray:
    """Largest difference of the cumulative distributions, `[k]`."""
    return pairs.heights.max(axis=-1, initial=0)


def wasserstein(pairs: Pairs) -> np.ndarray:
    """Area between the cumulative distributions in the reference's standard deviations, `[k]`.

    A shift of the whole reference by s of its standard deviations gives s. In cells of several values the distributions
    are straight lines.
    """
    heights, places = pairs.heights, pairs.lows
    if np.isinf(places[0]):
        heights, places = (heights[:, :-1] + heights[:, 1:]) / 2, places[1:]
    area = heights @ np.diff(places)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(area == 0, 0.0, area / pairs.moments[1][:, 0])


def mean_ratio(pairs: Pairs) -> np.ndarray:
    """Mean of the generated sample / the reference's, `[k]`."""
    return _quotient(*pairs.moments[0].T)


def rms_ratio(pairs: Pairs) -> np.ndarray:
    """Standard deviation of the generated sample / the reference's ("RMS" of a histogram), `[k]`."""
    sizes = pairs.counts.sum(axis=-1)
    return _quotient(*(pairs.moments[1] * np.sqrt(sizes / (sizes - 1))).T)


def separation_power(counts: np.ndarray, outside: bool = True, eps: float = 0.0) -> np.ndarray:
    """Triangular discrimination 1/2 sum (p - q)^2 / (p + q) of pairs of histograms, `[..., 2, b]` -> `[...]`.

    0 for equal histograms, 1 for disjoint ones. For two samples of one distribution it is expected at
    (b - 1)/4 (1/n + 1/m), b the number of filled bins. NaN if one of the two is empty.

    Args:
        counts: underflow, the bins, overflow.
        outside: whether underflow and overflow are bins like others, or dropped before either is normalised: showers
            that all miss the axis do not show then.
        eps: what the challenge's script adds to p + q.

    Source: the CaloChallenge (arXiv:2410.21611), whose evaluate_plotting_helper.py drops what is outside.
    """
    counts = counts if outside else counts[..., 1:-1]
    with np.errstate(invalid="ignore"):
        p, q = np.moveaxis(counts / counts.sum(axis=-1, keepdims=True), -2, 0)
    sums = p + q + eps
    return 0.5 * np.divide((p - q) ** 2, sums, out=np.zeros_like(sums), where=sums != 0).sum(axis=-1)


def chi2_per_ndf(counts: np.ndarray, ndf: int | None = None) -> np.ndarray:
    """Two-sample chi2 / NDF of pairs of histograms, `[k, 2, b]` -> `[k]`; about 1 for one distribution.

    chi2 = sum (sqrt(m/n) r_i - sqrt(n/m) g_i)^2 / (r_i + g_i) for counts r (sum n) and g (sum m) over the filled bins.

    Args:
        counts: underflow, the bins, overflow; with small samples bins from `joined_edges`.
        ndf: of all pairs; None: each has its filled bins - 1. NaN if it is 0.

    Source: N. Gagunashvili, arXiv:physics/0605123, eq. 2 (unweighted histograms).
    """
    first, second, sums = counts[:, 0], counts[:, 1], counts.sum(axis=1)
    numbers = num_degrees(counts) if ndf is None else np.full(len(counts), ndf)
    size, other = np.moveaxis(counts.sum(axis=-1, keepdims=True).astype(np.float64), 1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = (np.sqrt(other / size) * first - np.sqrt(size / other) * second) ** 2 / np.maximum(sums, 1)
    return _quotient(numbers, terms.sum(axis=-1))


def num_degrees(counts: np.ndarray) -> np.ndarray:
    """Filled bins - 1 of pairs of histograms, `[k, 2, b]` -> `[k]`."""
    return np.count_nonzero(counts.sum(axis=1), axis=-1) - 1


@dataclass(frozen=True)
class Metric:
    """A statistic as comparisons use it.

    Args:
        title: what tables call it.
        function: of `Pairs`, or of their counts in bins.
        ideal: value for two samples of one distribution without statistical fluctuations.
        two_sided: a value below the ideal is as bad as one above.
        binned: whether it is a function of counts in bins.
    """

    title: str
    function: Callable[..., np.ndarray]
    ideal: float = 0.0
    two_sided: bool = False
    binned: bool = False

    def excess(self, value: float | np.ndarray) -> Any:
        """How much worse than ideal a value is."""
        return np.abs(value - self.ideal) if self.two_sided else value - self.ideal


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "ks": Metric("KS", ks_distance),
        "chi2_per_ndf": Metric("chi2/NDF", chi2_per_ndf, 1.0, binned=True),
        "separation_power": Metric("separation power", separation_power, binned=True),
        "wasserstein": Metric("Wasserstein", wasserstein),
        "mean_ratio": Metric("mean ratio", mean_ratio, 1.0, two_sided=True),
        "rms_ratio": Metric("RMS ratio", rms_ratio, 1.0, two_sided=True),
        "challenge_separation_power": Metric(
            "separation power inside the axis", partial(separation_power, outside=False, eps=1e-16), binned=True
        ),
    }
)
"""All statistics, by the name that results files use."""


def measure(
    reference: np.ndarray,
    generated: np.ndarray,
    bins: Bins,
    *,
    resampling: Resampling = "showers",
    chi2_error: Chi2Error = "ndf",
    seed: int = 0,
) -> dict[str, Value]:
    """Metrics of two samples.

    The values are exact. Errors are spreads over a hundred rounds; those of the ratios are propagated.

    Args:
        reference, generated: `[n]`, `[m]`; quickest if they are in order.
        bins: what is measured, and in which bins.
        resampling: `showers` draws showers, and where a statistic sees counts in bins only, those. `cells` draws counts
            in about 200 cells, which hold the edges of the bins: a hundred rounds take less than the sorting.
        chi2_error: of chi2/NDF: sqrt(2 / NDF), the scatter for two samples of one distribution, or by resampling.
        seed: of the resampling.
    """
    metrics = bins.metrics
    if not metrics:
        return {}
    samples = _defined(reference), _defined(generated)
    sizes = len(samples[0]), len(samples[1])
    if min(sizes) < 2:
        return dict.fromkeys(metrics, UNKNOWN)
    exact, numbers = _counted(samples, bins, sizes[1])
    values = {name: float(_statistic(name, exact)[0]) for name in metrics}
    errors = {name: ratio(*map(part, samples)).error for name, part in _PARTS.items() if name in metrics}
    if "chi2_per_ndf" in metrics and chi2_error == "ndf":
        errors["chi2_per_ndf"] = float(np.sqrt(_quotient(num_degrees(exact.binned("chi2_per_ndf")), np.full(1, 2)))[0])
    drawn = [name for name in metrics if name not in errors]
    if resampling == "cells":
        cells = _resampling_cells(exact)
        counts = _with_resampled(exact.between(cells), seed)
        pairs = replace(exact, counts=counts, lows=np.append(-np.inf, cells))
        found = {name: resampled(name, pairs)[1:] for name in drawn}
    else:
        placed = [name for name in drawn if not METRICS[name].binned]
        found = _over(placed, _bootstrap(exact, numbers, sizes, ROUNDS, seed)) if placed else {}
        for name in (name for name in drawn if METRICS[name].binned):
            found[name] = _of_counts(name, _with_resampled(exact.binned(name), seed))[1:]
    errors |= {name: spread(items) for name, items in found.items()}
    return {name: Value(value, errors[name] if np.isfinite(value) else np.nan) for name, value in values.items()}


def bootstrap_floors(reference: np.ndarray, num_generated: int, bins: Bins, seed: int = 0) -> dict[str, Floor]:
    """Floors of metrics: two independent Geant4 samples of the sizes that are compared.

    Both samples, n showers for the reference and m for the generated one, are drawn with replacement from the n
    reference showers, 200 times; so they have one distribution, and the sizes need no scaling. Checked against pairs
    that are really independent: right within 10 % for n = 250; for n = 30 up to 15 % too low (few distinct values).

    Args:
        reference: `[n]`, the Geant4 sample.
        num_generated: m, size of the sample that is compared with it.
        bins: the same as in the comparison.
        seed: of the draws.

    Source: ours.
    """
    if not bins.metrics:
        return {}
    values = _defined(reference)
    sizes = len(values), num_generated
    if min(sizes) < 2:
        return dict.fromkeys(bins.metrics, _NO_FLOOR)
    exact, numbers = _counted((values, values), bins, num_generated)
    found = _over(bins.metrics, _bootstrap(exact, numbers, sizes, _FLOOR_ROUNDS, seed))
    return {name: _floor(METRICS[name], items[np.isfinite(items)]) for name, items in found.items()}


def dealt_floor(reference: np.ndarray, generated: np.ndarray, bins: Bins, seed: int = 0) -> Value:
    """`challenge_separation_power` of two samples of these sizes and one distribution.

    The showers of both are shuffled and dealt out again, as in a permutation test. That holds for any sizes and bins:
    scaled halves of the reference are too small where bins hold few showers.

    Args:
        reference, generated: `[n]`, `[m]`.
        bins: with the challenge's.
        seed: of the shuffling.

    Returns:
        Mean and spread of a hundred deals; NaN where a sample may get no shower inside the axis.

    Source: ours.
    """
    edges = bins.edges if bins.axis is None else bins.axis
    first, counts = paired(*(Histogram.fill(sample, edges) for sample in (reference, generated)))
    counts, size = first + counts, int(first.sum())
    return dealt(np.random.default_rng(seed).multivariate_hypergeometric(counts, size, ROUNDS), counts)


def paired(reference: Histogram, generated: Histogram) -> np.ndarray:
    """Counts of both histograms, `[2, b + 2]`.

    Raises:
        DataFormatError: they have other edges.
    """
    if not np.array_equal(reference.edges, generated.edges):
        raise DataFormatError(
            "the two histograms must have the same edges. "
            f"Received: {len(reference.edges)} edges from {reference.edges[0]:g} to {reference.edges[-1]:g} and "
            f"{len(generated.edges)} from {generated.edges[0]:g} to {generated.edges[-1]:g}"
        )
    return np.stack([reference.counts, generated.counts])


def mean(values: np.ndarray) -> Value:
    """Mean of a sample with its error."""
    values = _defined(values)
    if len(values) < 2:
        return UNKNOWN
    return Value(float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))))


def standard_deviation(values: np.ndarray) -> Value:
    """Standard deviation of a sample with its error.

    The error is propagated from var(s) = (m4 - s^4) / (4 n s^2), m4 the fourth central moment: no normality assumed.
    """
    values = _defined(values)
    if len(values) < 2:
        return UNKNOWN
    spread = float(values.std(ddof=1))
    fourth = float(np.mean((values - values.mean()) ** 4))
    variance = max(fourth - spread**4, 0.0) / (4 * len(values) * spread**2) if spread > 0 else 0.0
    return Value(spread, float(np.sqrt(variance)))


def ratio(denominator: Value, numerator: Value) -> Value:
    """Numerator / denominator; the two errors are taken as independent."""
    if not denominator.value:
        return UNKNOWN
    found = numerator.value / denominator.value
    return Value(found, float(np.hypot(numerator.error, found * denominator.error) / abs(denominator.value)))


def json_number(number: float) -> float | None:
    """A number for JSON; None where it is not defined."""
    return float(number) if np.isfinite(number) else None


def json_matrix(matrix: np.ndarray) -> list[list[float | None]]:
    """The same for every number of a matrix, `[n, m]`."""
    return [[json_number(number) for number in row] for row in matrix.tolist()]


_PARTS = MappingProxyType({"mean_ratio": mean, "rms_ratio": standard_deviation})  # what the ratios are of


def ks_statistic(reference: np.ndarray, generated: np.ndarray) -> float:
    """Largest difference of cumulative distributions, without error."""
    return float(ks_distance(_counted((reference, generated), Bins(np.array([0.0, 1.0])), 1)[0])[0])


def _statistic(name: str, pairs: Pairs) -> np.ndarray:
    return METRICS[name].function(pairs.binned(name) if METRICS[name].binned else pairs)


def resampled(name: str, pairs: Pairs) -> np.ndarray:
    """A statistic of a pair and of those that were resampled from it, `[k]`."""
    return _of_counts(name, pairs.binned(name)) if METRICS[name].binned else METRICS[name].function(pairs)


def _of_counts(name: str, counts: np.ndarray) -> np.ndarray:
    """The same of their counts in bins, `[k, 2, b]`; all have the first one's degrees of freedom."""
    function = METRICS[name].function
    return function(counts, ndf=int(num_degrees(counts)[0])) if name == "chi2_per_ndf" else function(counts)


def _over(metrics: Sequence[str], blocks: Iterable[Pairs]) -> dict[str, np.ndarray]:
    """Statistics of all pairs of some blocks, `[k]`."""
    found = [[_statistic(name, pairs) for name in metrics] for pairs in blocks]
    return {name: np.concatenate(items) for name, items in zip(metrics, zip(*found, strict=True), strict=True)}


def _floor(metric: Metric, found: np.ndarray) -> Floor:
    if len(found) == 0:
        return _NO_FLOOR
    return Floor(float(found.mean()), float(found.std()), float(np.quantile(metric.excess(found), 0.95)))


def spread(values: np.ndarray) -> float:
    return float(np.std(values)) if np.isfinite(values).all() else np.nan


def _counted(samples: tuple[np.ndarray, np.ndarray], bins: Bins, num_generated: int) -> tuple[Pairs, list[np.ndarray]]:
    """A pair of samples in cells of one value each, and the number of each value's cell."""
    pooled = np.concatenate(samples)
    order = np.argsort(pooled, kind="stable")  # merges what is in order
    pooled = pooled[order]
    new = np.append(True, pooled[1:] != pooled[:-1])
    numbers = np.empty(len(pooled), np.intp)
    numbers[order] = np.cumsum(new) - 1
    parts, places = np.split(numbers, [len(samples[0])]), pooled[new]
    pairs = Pairs(np.stack([_tally(part[None], len(places)) for part in parts], axis=1), places, bins, np.zeros(1))
    joined = bins.joined(pairs.between(half_open(bins.edges))[0, 0], num_generated)
    return replace(pairs, joined=joined), parts


def _bootstrap(
    exact: Pairs, numbers: Sequence[np.ndarray], sizes: tuple[int, int], rounds: int, seed: int
) -> Iterator[Pairs]:
    """Pairs of such sizes, drawn with replacement from showers in cells of these numbers, in blocks."""
    rng, num_cells = np.random.default_rng(seed), len(exact.lows)
    drawn = [part[rng.integers(0, len(part), (rounds, size))] for part, size in zip(numbers, sizes, strict=True)]
    step = max(1, _AT_ONCE // num_cells)
    for row in range(0, rounds, step):
        yield replace(exact, counts=np.stack([_tally(item[row : row + step], num_cells) for item in drawn], axis=1))


def _tally(numbers: np.ndarray, size: int) -> np.ndarray:
    """How often each number below `size` is in each row, `[k, n]` -> `[k, size]`."""
    rows = np.arange(len(numbers))[:, None] * size
    return np.bincount((numbers + rows).ravel(), minlength=len(numbers) * size).reshape(-1, size)


def _with_resampled(counts: np.ndarray, seed: int) -> np.ndarray:
    """A pair's counts, `[1, 2, b]`, and a hundred that are resampled from them."""
    rng = np.random.default_rng(seed)
    drawn = np.stack([rng.multinomial(row.sum(), row / row.sum(), ROUNDS) for row in counts[0]], axis=1)
    return np.concatenate([counts, drawn])


def _resampling_cells(exact: Pairs) -> np.ndarray:
    """Boundaries of cells, `[c]`: all edges, some values, steps between the outermost."""
    bins, numbers = exact.bins, np.cumsum(exact.counts.sum(axis=(0, 1)))
    places = np.linspace(0, numbers[-1] - 1, _QUANTILES + 1).astype(np.intp)
    chosen = exact.lows[np.searchsorted(numbers, places, side="right")]
    steps = np.linspace(exact.lows[0], exact.lows[-1], _STEPS + 1)
    edges = [half_open(item) for item in (bins.edges, bins.axis) if item is not None]
    return np.unique(np.concatenate([*edges, chosen, steps, np.nextafter(exact.lows[-1:], np.inf)]))


def dealt(first: np.ndarray, counts: np.ndarray) -> Value:
    """Mean and spread for counts `[k, b + 2]` dealt out of those of both, `[b + 2]`."""
    found = METRICS["challenge_separation_power"].function(np.stack([first, counts - first], axis=1))
    return Value(float(np.mean(found)), float(np.std(found)))


def half_open(edges: np.ndarray) -> np.ndarray:
    """Edges of bins that all exclude their upper one: the last edge moves just above."""
    return np.append(edges[:-1], np.nextafter(edges[-1], np.inf))


def _defined(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float64)
    return values[np.isfinite(values)]


def _quotient(denominator: np.ndarray, numerator: np.ndarray) -> np.ndarray:
    """Numerator / denominator, NaN where that is 0."""
    return np.divide(numerator, denominator, out=np.full(len(denominator), np.nan), where=denominator != 0)
