"""Metrics of one observable, which compare a generated sample with the reference.

  ks                          largest difference of the cumulative distributions: 0 for equal samples, 1 for disjoint
  wasserstein                 area between these (W1), in standard deviations of the reference
  chi2_per_ndf                two-sample chi2 in bins that are joined until five showers are expected in each; about 1
  separation_power            triangular discrimination; underflow and overflow are two more bins
  challenge_separation_power  separation power without underflow and overflow, dropped before normalising
  mean_ratio, rms_ratio       ratios of means and of standard deviations, generated / reference

Each metric has an error and a floor. It is a function of many pairs of samples at once: the pair that is compared, and
pairs that are resampled from it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TypeVar

import numpy as np

from calogen.metrics.histograms import Histogram, joined_edges

OBSERVABLE_METRICS = ("ks", "chi2_per_ndf", "separation_power", "wasserstein", "mean_ratio", "rms_ratio")
FEATURE_METRICS = ("ks", "wasserstein", "chi2_per_ndf", "separation_power", "challenge_separation_power")
"""Names of the metrics of a paper's observables, and of the challenge's features, in the order of the tables."""
_Number = TypeVar("_Number", float, np.ndarray)
_NEGLIGIBLE, _TINY = 1e-6, 1e-5  # errors relative to the value, and absolute ones, that have a form of their own


def rounded(value: float, error: float = math.nan, digits: int = 4) -> str:
    """A number as figures and texts show it: with the first two digits of its error.

    An error that is 0, unknown or negligible is not shown; the number then has its first digits.

    Example:
        >>> rounded(29.47, 21.3), rounded(1000.0, 1.4e-13), rounded(15678.9, 634.0), rounded(0.5, 0.0999)
        ('29 ± 21', '1,000', '15,680 ± 630', '0.50 ± 0.10')
        >>> rounded(123456.7), rounded(1.23456e-7, 2.1e-8)
        ('123,457', '1.23e-7 ± 0.21e-7')
    """
    if not (math.isfinite(value) and math.isfinite(error)) or error <= _NEGLIGIBLE * abs(value):
        text = f"{value:,.{digits}g}"
        return f"{value:,.0f}" if "e+" in text else text
    error = float(f"{error:.1e}")
    power = math.floor(math.log10(max(abs(value), error))) if error < _TINY and abs(value) < 1 else 0
    exponent = f"e{power}" if power else ""
    value, error = value / 10.0**power, error / 10.0**power
    decimals = 1 - math.floor(math.log10(error) + 1e-9)
    value, error = (round(number, decimals) + 0.0 for number in (value, error))
    value_text, error_text = (f"{number:,.{max(decimals, 0)}f}{exponent}" for number in (value, error))
    return f"{value_text} ± {error_text}"


@dataclass(frozen=True)
class Value:
    """A number and its standard uncertainty.

    In sums and products of values the errors count as independent, and plain numbers as exact. As text a value is
    `rounded`; with a format it is the number alone.

    Example:
        >>> print(Value(3.0, 0.3) - Value(1.0, 0.4), 100 / Value(4.0, 0.4), 1e6 * Value(1.0, 0.0))
        2.00 ± 0.50 25.0 ± 2.5 1,000,000
        >>> abs(-Value(1.5, 0.1)) / 2, f"{Value(1.46, 0.1):.1f}"
        (Value(value=0.75, error=0.05), '1.5')
    """

    value: float
    error: float

    __array_ufunc__ = None  # arithmetic with NumPy's numbers is done by this class, too

    @classmethod
    def share(cls, share: float, number: int) -> "Value":
        """A share of a number of entries; its error is at least that of a share of one entry."""
        share, number = float(share), max(number, 1)
        return cls(share, float(np.sqrt(max(share * (1 - share), 1 / number) / number)))

    @classmethod
    def mean(cls, values: Sequence["Value"]) -> "Value":
        """Mean of values with independent errors."""
        return sum(values, cls(0.0, 0.0)) / len(values)

    @classmethod
    def mean_of_dependent(cls, values: Sequence["Value"]) -> "Value":
        """Mean of values whose errors go together, as those of the same showers."""
        return cls.repeated(values)[0]

    @classmethod
    def repeated(cls, values: Sequence["Value"]) -> tuple["Value", float | None]:
        """Mean of values with common errors, and their standard deviation (None for one value)."""
        numbers, errors = zip(*((item.value, item.error) for item in values), strict=True)
        spread = float(np.std(numbers, ddof=1)) if len(values) > 1 else None
        return cls(float(np.mean(numbers)), float(np.mean(errors))), spread

    def significance(self) -> float:
        """How many standard errors the value lies above 0; 0 for a value that is not defined."""
        return self.value / max(self.error, 1e-9) if np.isfinite([self.value, self.error]).all() else 0.0

    def __add__(self, other: "Value | float") -> "Value":
        if isinstance(other, Value):
            return Value(self.value + other.value, float(np.hypot(self.error, other.error)))
        return Value(self.value + other, self.error)

    def __mul__(self, other: "Value | float") -> "Value":
        if isinstance(other, Value):
            error = float(np.hypot(self.error * other.value, self.value * other.error))
            return Value(self.value * other.value, error)
        return Value(self.value * other, self.error * abs(other))

    def __truediv__(self, other: "Value | float") -> "Value":
        value, error = (other.value, other.error) if isinstance(other, Value) else (other, 0.0)
        if not value:
            return Value(np.nan, np.nan)
        ratio = self.value / value
        return Value(
            ratio, float(np.hypot(self.error, ratio * error)) / abs(value) if error else self.error / abs(value)
        )

    __radd__, __rmul__ = __add__, __mul__

    def __sub__(self, other: "Value | float") -> "Value":
        return self + -other

    def __rsub__(self, other: float) -> "Value":
        return -self + other

    def __rtruediv__(self, other: float) -> "Value":
        return Value(other, 0.0) / self

    def __neg__(self) -> "Value":
        return Value(-self.value, self.error)

    def __abs__(self) -> "Value":
        return Value(abs(self.value), self.error)

    def __format__(self, spec: str) -> str:
        if spec:
            return format(self.value, spec)
        return rounded(self.value, self.error)

    def __str__(self) -> str:
        return format(self)


@dataclass(frozen=True)
class Floor:
    """Values of a metric for pairs of independent Geant4 samples, which no model should beat.

    Args:
        mean, error: mean and standard deviation over the pairs.
        limit: the 95 % quantile of `Metric.excess` over the pairs.
    """

    mean: float
    error: float
    limit: float


@dataclass(frozen=True)
class Bins:
    """Bins of an observable, and the metrics that are computed in them.

    Args:
        edges: edges of the histogram, `[b + 1]`.
        metrics: names of the `METRICS` to compute.
        join: whether `separation_power` has the joined bins of chi2/NDF instead of all bins.
        axis: edges for `challenge_separation_power`, `[d + 1]`; None: those of the histogram.
        coarse: number of bins of the axis over which the reference reaches, if these are too few; else None.
    """

    edges: np.ndarray
    metrics: tuple[str, ...] = OBSERVABLE_METRICS
    join: bool = True
    axis: np.ndarray | None = None
    coarse: int | None = None

    def boundaries(self, reference: Histogram, num_generated: int) -> dict[str, np.ndarray]:
        """Lower edges `[d]` of each metric's bins, for a reference and a generated sample's size."""
        edges, joined = half_open(self.edges), np.isin(self.edges, joined_edges(reference, num_generated))
        return {
            "chi2_per_ndf": edges[joined],
            "separation_power": edges[joined] if self.join else edges,
            "challenge_separation_power": edges if self.axis is None else half_open(self.axis),
        }


@dataclass(frozen=True)
class Pairs:
    """Pairs of samples, counted in cells: intervals of values, or single values.

    Args:
        counts: counts of reference and generated sample of each pair, `[k, 2, c]`.
        lows: lower ends of the cells, `[c]`, the first one -inf; for cells of a single value, the value.
        boundaries: `Bins.boundaries` by metric; no cell contains one.
        observed: whether the first pair is the one to compare, and the following ones are resampled from it.
    """

    counts: np.ndarray
    lows: np.ndarray
    boundaries: Mapping[str, np.ndarray]
    observed: bool = True

    @cached_property
    def heights(self) -> np.ndarray:
        """Distance of the cumulative distributions after each cell but the last, `[k, c - 1]`."""
        heights, other = (self._below[:, side, 1:-1] / self._below[:, side, -1:] for side in (0, 1))
        heights -= other
        return np.abs(heights, out=heights)

    @cached_property
    def moments(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Means and standard deviations of both samples, `[k]` each, exact also of large means."""
        moments, places = [], self.lows
        if np.isinf(places[0]):
            places = np.concatenate([places[1:2], (places[1:-1] + places[2:]) / 2, places[-1:]])
        for side in (0, 1):
            shares = self.counts[:, side] / self._below[:, side, -1:]
            centre = shares[0] @ places
            moved = places - centre
            means = shares @ moved
            moments.append((centre + means, np.sqrt(np.maximum(shares @ (moved * moved) - means**2, 0))))
        return moments

    def between(self, boundaries: np.ndarray) -> np.ndarray:
        """Counts below, between and above boundaries `[d]`, `[k, 2, d + 1]`."""
        stops = np.searchsorted(self.lows, boundaries)
        return np.diff(self._below.take([0, *stops, len(self.lows)], axis=-1))

    @cached_property
    def _below(self) -> np.ndarray:
        """Number of showers below each cell, and number of all, `[k, 2, c + 1]`."""
        below = np.zeros((*self.counts.shape[:2], len(self.lows) + 1), self.counts.dtype)
        np.cumsum(self.counts, axis=-1, out=below[..., 1:])
        return below


def ks_distance(pairs: Pairs) -> np.ndarray:
    """Largest difference of the cumulative distributions, `[k]`."""
    return pairs.heights.max(axis=-1, initial=0)


def wasserstein(pairs: Pairs) -> np.ndarray:
    """Area between the cumulative distributions, in the reference's deviations, `[k]`.

    Within a cell that is an interval of values, the distributions count as straight lines.
    """
    heights, places = pairs.heights, pairs.lows
    if np.isinf(places[0]):
        heights, places = (heights[:, :-1] + heights[:, 1:]) / 2, places[1:]
    area = heights @ np.diff(places)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(area == 0, 0.0, area / pairs.moments[0][1])


def mean_ratio(pairs: Pairs) -> np.ndarray:
    """Mean of the generated sample / the reference's, `[k]`."""
    return _ratio(pairs, 0)


def rms_ratio(pairs: Pairs) -> np.ndarray:
    """Standard deviation ("RMS") of the generated sample / the reference's, `[k]`."""
    first, second = pairs.counts[0].sum(axis=-1)
    unbiased = np.sqrt((second * (first - 1)) / ((second - 1) * first))
    return unbiased * _ratio(pairs, 1)


def separation_power(counts: np.ndarray, eps: float = 0.0) -> np.ndarray:
    """Triangular discrimination of pairs of histograms, `[..., 2, b]` -> `[...]`.

    1/2 sum (p - q)^2 / (p + q + eps): 0 for equal histograms, 1 for disjoint ones, (b - 1)/4 (1/n + 1/m) for two
    samples of one distribution in b filled bins, NaN if one is empty.
    """
    with np.errstate(invalid="ignore"):
        p, q = np.moveaxis(counts / counts.sum(axis=-1, keepdims=True), -2, 0)
    sums = p + q + eps
    return 0.5 * np.divide((p - q) ** 2, sums, out=np.zeros_like(sums), where=sums != 0).sum(axis=-1)


def challenge_separation_power(counts: np.ndarray) -> np.ndarray:
    """Separation power without underflow and overflow, which are dropped before normalising.

    Source: the CaloChallenge (arXiv:2410.21611); its evaluate_plotting_helper.py adds 1e-16 to p + q.
    """
    return separation_power(counts[..., 1:-1], eps=1e-16)


def chi2_per_ndf(counts: np.ndarray, observed: bool = False) -> np.ndarray:
    """Two-sample chi2 / NDF of pairs of histograms, `[k, 2, b]` -> `[k]`.

    It is about 1 for two samples of one distribution. chi2 = sum (sqrt(m/n) r_i - sqrt(n/m) g_i)^2 / (r_i + g_i) for
    counts r (sum n) and g (sum m) over the filled bins, NDF = filled bins - 1; NaN if there is only one.

    Args:
        counts: underflow, bins, overflow; the bins should be joined ones (`joined_edges`) if samples are small.
        observed: whether the NDF of the first pair holds for all pairs.

    Source: N. Gagunashvili, arXiv:physics/0605123, eq. 2 (unweighted histograms).
    """
    first, second, sums = counts[:, 0], counts[:, 1], counts.sum(axis=1)
    ndf = np.count_nonzero(sums[:1] if observed else sums, axis=-1) - 1
    size, other = np.moveaxis(counts.sum(axis=-1, keepdims=True).astype(np.float64), 1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = (np.sqrt(other / size) * first - np.sqrt(size / other) * second) ** 2 / np.maximum(sums, 1)
    return np.where(ndf > 0, terms.sum(axis=-1) / np.maximum(ndf, 1), np.nan)


@dataclass(frozen=True)
class Metric:
    """A metric: its title, and its statistic for pairs of samples, `[k]`.

    Args:
        title: what tables call it.
        statistic: function from pairs to the metric.
        ideal: value for samples of one distribution without fluctuations.
        two_sided: whether smaller values than the ideal one are bad, too.
    """

    title: str
    statistic: Callable[[Pairs], np.ndarray]
    ideal: float = 0.0
    two_sided: bool = False

    def excess(self, value: _Number) -> _Number:
        """How much worse than the ideal value a value is."""
        return abs(value - self.ideal) if self.two_sided else value - self.ideal


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "ks": Metric("KS", ks_distance),
        "chi2_per_ndf": Metric(
            "chi2/NDF", lambda pairs: chi2_per_ndf(pairs.between(pairs.boundaries["chi2_per_ndf"]), pairs.observed), 1.0
        ),
        "separation_power": Metric(
            "separation power", lambda pairs: separation_power(pairs.between(pairs.boundaries["separation_power"]))
        ),
        "wasserstein": Metric("Wasserstein", wasserstein),
        "mean_ratio": Metric("mean ratio", mean_ratio, 1.0, two_sided=True),
        "rms_ratio": Metric("RMS ratio", rms_ratio, 1.0, two_sided=True),
        "challenge_separation_power": Metric(
            "separation power inside the axis",
            lambda pairs: challenge_separation_power(pairs.between(pairs.boundaries["challenge_separation_power"])),
        ),
    }
)
"""All metrics, by the names that results files have for them."""


def mean(values: np.ndarray) -> Value:
    """Mean of a sample and its error, which is NaN for a single value."""
    values = defined(values)
    if not len(values):
        return Value(np.nan, np.nan)
    return Value(float(values.mean()), standard_deviation(values).value / float(np.sqrt(len(values))))


def standard_deviation(values: np.ndarray) -> Value:
    """Standard deviation of a sample and its error.

    The error follows from var(s) = (m4 - s^4) / (4 n s^2) with the fourth central moment m4, for any distribution.
    """
    values = defined(values)
    if len(values) < 2:
        return Value(np.nan, np.nan)
    spread = float(values.std(ddof=1))
    fourth = float(np.mean((values - values.mean()) ** 4))
    variance = max(fourth - spread**4, 0.0) / (4 * len(values) * spread**2) if spread > 0 else 0.0
    return Value(spread, float(np.sqrt(variance)))


def json_number(number: float) -> float | None:
    """A number as JSON has it: None for a number that is not finite."""
    return float(number) if np.isfinite(number) else None


def json_matrix(matrix: np.ndarray) -> list[list[float | None]]:
    """A matrix `[n, m]` as JSON has it, by `json_number`."""
    return [[json_number(number) for number in row] for row in matrix.tolist()]


def half_open(edges: np.ndarray) -> np.ndarray:
    """Edges for bins that exclude their upper edges: the last one moves to the next number."""
    return np.append(edges[:-1], np.nextafter(edges[-1], np.inf))


def defined(values: np.ndarray) -> np.ndarray:
    """The finite ones of some values, in float64."""
    values = np.asarray(values, np.float64)
    return values[np.isfinite(values)]


def _ratio(pairs: Pairs, moment: int) -> np.ndarray:
    expected, received = (moments[moment] for moments in pairs.moments)
    return np.divide(received, expected, out=np.full(len(expected), np.nan), where=expected != 0)
