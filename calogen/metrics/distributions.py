"""Distances between a reference and a generated sample, each with its error and floor.

All take samples of one observable, reference first; NaN (undefined) are left out. With too few showers (fewer than two
in a sample) the result is NaN. Bootstrap errors come from resampling both samples; the seed makes them repeatable. The
floor is Geant4 against Geant4.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from calogen.errors import DataFormatError
from calogen.metrics.histograms import Histogram, triangular_discrimination

_CHALLENGE_ROUNDS = 100

_ROUNDS = 100
_FLOOR_ROUNDS = 200


@dataclass(frozen=True)
class Value:
    """A number and its standard uncertainty.

    In sums and products the errors are independent; other numbers have none. As text it has three digits, and one of
    its error, without an exponent; a format is of the number alone.

    Example:
        >>> print(Value(3.0, 0.3) - Value(1.0, 0.4), 100 / Value(4.0, 0.4), 1e6 * Value(1.0, 0.0))
        2 ± 0.5 25 ± 2 1000000
        >>> abs(-Value(1.5, 0.1)) / 2, f"{Value(1.46, 0.1):.1f}"
        (Value(value=0.75, error=0.05), '1.5')
    """

    value: float
    error: float

    __array_ufunc__ = None  # NumPy's numbers leave the arithmetic to this class, too

    @classmethod
    def share(cls, share: float, number: int) -> "Value":
        """Share of so many; its error is not below that of one of them."""
        share, number = float(share), max(number, 1)
        return cls(share, float(np.sqrt(max(share * (1 - share), 1 / number) / number)))

    @classmethod
    def mean(cls, values: Sequence["Value"]) -> "Value":
        """Mean of values with independent errors."""
        return sum(values, cls(0.0, 0.0)) / len(values)

    @classmethod
    def repeated(cls, values: Sequence["Value"]) -> tuple["Value", float | None]:
        """Mean of values that share their errors, and their standard deviation (None of one)."""
        numbers, errors = zip(*((item.value, item.error) for item in values), strict=True)
        spread = float(np.std(numbers, ddof=1)) if len(values) > 1 else None
        return cls(float(np.mean(numbers)), float(np.mean(errors))), spread

    def significance(self) -> float:
        """Standard errors above 0; 0 if nothing is known."""
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
        value, error = (f"{float(f'{x:.{digits}g}'):.12g}" for x, digits in ((self.value, 3), (self.error, 1)))
        return f"{value} ± {error}" if self.error else value

    def __str__(self) -> str:
        return format(self)


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


def ks_distance(reference: np.ndarray, generated: np.ndarray, seed: int = 0) -> Value:
    """Largest difference of cumulative distributions: 0 for equal samples, 1 for disjoint."""
    return _with_bootstrap(_ks, reference, generated, seed)


def wasserstein(reference: np.ndarray, generated: np.ndarray, seed: int = 0) -> Value:
    """Area between the cumulative distributions (W1), in the reference's standard deviations.

    A shift of the whole reference by s of its standard deviations gives s.
    """
    return _with_bootstrap(_wasserstein, reference, generated, seed)


def mean_ratio(reference: np.ndarray, generated: np.ndarray) -> Value:
    """Mean of the generated sample / the reference's, with the propagated errors of both."""
    return _ratio(_mean(reference), _mean(generated))


def rms_ratio(reference: np.ndarray, generated: np.ndarray) -> Value:
    """Standard deviation of the generated sample / the reference's ("RMS" of a histogram).

    The error is propagated from var(s) = (m4 - s^4) / (4 n s^2), m4 the fourth central moment: no normality assumed.
    """
    return _ratio(standard_deviation(reference), standard_deviation(generated))


def standard_deviation(values: np.ndarray) -> Value:
    """Standard deviation of a sample with its error (see `rms_ratio`)."""
    values = _defined(values)
    if len(values) < 2:
        return Value(np.nan, np.nan)
    spread = float(values.std(ddof=1))
    fourth = float(np.mean((values - values.mean()) ** 4))
    variance = max(fourth - spread**4, 0.0) / (4 * len(values) * spread**2) if spread > 0 else 0.0
    return Value(spread, float(np.sqrt(variance)))


def separation_power(reference: Histogram, generated: Histogram, seed: int = 0) -> Value:
    """Triangular discrimination 1/2 sum (p - q)^2 / (p + q), underflow and overflow included.

    0 for equal histograms, 1 for disjoint ones. The error is the spread under multinomial resampling of both. For two
    samples of one distribution it is expected at (b - 1)/4 (1/n + 1/m), b the number of filled bins.

    Source: the CaloChallenge's separation power (arXiv:2410.21611).
    """
    counts = _counts(reference, generated)
    value = _triangular(counts)
    if not np.isfinite(value):
        return Value(np.nan, np.nan)
    rng = np.random.default_rng(seed)
    drawn = np.stack([rng.multinomial(row.sum(), row / row.sum(), size=_ROUNDS) for row in counts], axis=1)
    return Value(value, float(np.std([_triangular(pair) for pair in drawn])))


def chi2_per_ndf(reference: Histogram, generated: Histogram) -> Value:
    """Two-sample chi2 / NDF, underflow and overflow included; about 1 for one distribution.

    chi2 = sum (sqrt(m/n) r_i - sqrt(n/m) g_i)^2 / (r_i + g_i) for counts r (sum n) and g (sum m) over the filled bins,
    NDF = filled bins - 1; NaN if there is only one. With small samples use bins from `joined_edges`.

    Returns:
        The error is sqrt(2 / NDF), the scatter for two samples of one distribution.

    Source: N. Gagunashvili, arXiv:physics/0605123, eq. 2 (unweighted histograms).
    """
    counts = _counts(reference, generated)
    counts = counts[:, counts.any(axis=0)]
    ndf = counts.shape[1] - 1
    if ndf < 1 or not counts.sum(axis=1).all():
        return Value(np.nan, np.nan)
    size, other = counts.sum(axis=1)
    terms = (np.sqrt(other / size) * counts[0] - np.sqrt(size / other) * counts[1]) ** 2 / counts.sum(axis=0)
    return Value(float(terms.sum()) / ndf, float(np.sqrt(2 / ndf)))


@dataclass(frozen=True)
class Metric:
    """A metric as the comparison uses it.

    Args:
        title: what tables call it.
        measure: (reference `[n]`, generated `[m]`, edges, seed) -> value with error.
        statistic: the same without error, for the floor's many pairs.
        ideal: value for two samples of one distribution without statistical fluctuations.
        two_sided: a value below the ideal is as bad as one above.
    """

    title: str
    measure: Callable[[np.ndarray, np.ndarray, np.ndarray, int], Value]
    statistic: Callable[[np.ndarray, np.ndarray, np.ndarray], float]
    ideal: float
    two_sided: bool = False

    def excess(self, value: float | np.ndarray) -> Any:
        """How much worse than ideal a value is."""
        return np.abs(value - self.ideal) if self.two_sided else value - self.ideal


def floor(metric: Metric, reference: np.ndarray, num_generated: int, edges: np.ndarray, seed: int = 0) -> Floor:
    """Floor of a metric: two independent Geant4 samples of the sizes that are compared.

    Both samples, n showers for the reference and m for the generated one, are drawn with replacement from the n
    reference showers, 200 times; so they have one distribution, and the sizes need no scaling. Checked against pairs
    that are really independent: right within 10 % for n = 250; for n = 30 up to 15 % too low (few distinct values).

    Args:
        metric: the metric.
        reference: `[n]`, the Geant4 sample; NaN are left out.
        num_generated: m, size of the sample that is compared with it.
        edges: bin edges, for the metrics that need them: the same as in the comparison, with no sparse bins.
        seed: of the draws.

    Source: ours.
    """
    values = _defined(reference)
    rng = np.random.default_rng(seed)
    sizes = (len(values), num_generated)
    if min(sizes) < 2:
        return Floor(np.nan, np.nan, np.nan)
    first, second = (rng.choice(values, (_FLOOR_ROUNDS, size)) for size in sizes)
    found = _defined(np.array([metric.statistic(*pair, edges) for pair in zip(first, second, strict=True)]))
    if len(found) == 0:
        return Floor(np.nan, np.nan, np.nan)
    return Floor(float(found.mean()), float(found.std()), float(np.quantile(metric.excess(found), 0.95)))


def _histograms(reference: np.ndarray, generated: np.ndarray, edges: np.ndarray) -> tuple[Histogram, Histogram]:
    return Histogram.fill(reference, edges), Histogram.fill(generated, edges)


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "ks": Metric("KS", lambda r, g, e, s: ks_distance(r, g, s), lambda r, g, e: _ks(r, g), 0.0),
        "chi2_per_ndf": Metric(
            "chi2/NDF",
            lambda r, g, e, s: chi2_per_ndf(*_histograms(r, g, e)),
            lambda r, g, e: chi2_per_ndf(*_histograms(r, g, e)).value,
            1.0,
        ),
        "separation_power": Metric(
            "separation power",
            lambda r, g, e, s: separation_power(*_histograms(r, g, e), s),
            lambda r, g, e: _triangular(_counts(*_histograms(r, g, e))),
            0.0,
        ),
        "wasserstein": Metric(
            "Wasserstein", lambda r, g, e, s: wasserstein(r, g, s), lambda r, g, e: _wasserstein(r, g), 0.0
        ),
        "mean_ratio": Metric(
            "mean ratio", lambda r, g, e, s: mean_ratio(r, g), lambda r, g, e: mean_ratio(r, g).value, 1.0, True
        ),
        "rms_ratio": Metric(
            "RMS ratio", lambda r, g, e, s: rms_ratio(r, g), lambda r, g, e: rms_ratio(r, g).value, 1.0, True
        ),
    }
)
"""The metrics of every comparison, by the name that results files use."""


def _defined(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float64)
    return values[np.isfinite(values)]


def _with_bootstrap(
    statistic: Callable[[np.ndarray, np.ndarray], float], reference: np.ndarray, generated: np.ndarray, seed: int
) -> Value:
    reference, generated = _defined(reference), _defined(generated)
    if min(len(reference), len(generated)) < 2:
        return Value(np.nan, np.nan)
    rng = np.random.default_rng(seed)
    drawn = zip(*(rng.choice(values, (_ROUNDS, len(values))) for values in (reference, generated)), strict=True)
    found = np.array([statistic(*pair) for pair in drawn])
    return Value(statistic(reference, generated), float(np.std(found)) if np.isfinite(found).all() else np.nan)


def _cumulative(reference: np.ndarray, generated: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All values in order, and the cumulative distributions' difference at and above each."""
    pooled = np.sort(np.concatenate([reference, generated]))
    shares = [np.searchsorted(np.sort(values), pooled, side="right") / len(values) for values in (reference, generated)]
    return pooled, shares[0] - shares[1]


def _ks(reference: np.ndarray, generated: np.ndarray) -> float:
    return float(np.abs(_cumulative(reference, generated)[1]).max())


def _wasserstein(reference: np.ndarray, generated: np.ndarray) -> float:
    pooled, difference = _cumulative(reference, generated)
    area = float(np.sum(np.abs(difference[:-1]) * np.diff(pooled)))
    return area / float(reference.std()) if reference.std() > 0 else (0.0 if area == 0 else np.inf)


def _mean(values: np.ndarray) -> Value:
    values = _defined(values)
    if len(values) < 2:
        return Value(np.nan, np.nan)
    return Value(float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))))


def _ratio(denominator: Value, numerator: Value) -> Value:
    if not denominator.value:
        return Value(np.nan, np.nan)
    ratio = numerator.value / denominator.value
    return Value(ratio, float(np.hypot(numerator.error, ratio * denominator.error) / abs(denominator.value)))


def _triangular(counts: np.ndarray) -> float:
    """Triangular discrimination of the two rows of `counts`, `[2, b]`; NaN if one is empty."""
    sums = counts.sum(axis=1, keepdims=True)
    if not sums.all():
        return float(np.nan)
    p, q = counts / sums
    total = p + q
    return float(0.5 * np.sum((p - q)[total > 0] ** 2 / total[total > 0]))


def _counts(reference: Histogram, generated: Histogram) -> np.ndarray:
    """Counts of both histograms, `[2, b + 2]`, underflow and overflow included."""
    if not np.array_equal(reference.edges, generated.edges):
        raise DataFormatError(
            "the two histograms must have the same edges. "
            f"Received: {len(reference.edges)} edges from {reference.edges[0]:g} to {reference.edges[-1]:g} and "
            f"{len(generated.edges)} from {generated.edges[0]:g} to {generated.edges[-1]:g}"
        )
    return np.stack([reference.counts, generated.counts])


def json_number(number: float) -> float | None:
    """A number for JSON; None where it is not defined."""
    return float(number) if np.isfinite(number) else None


def json_matrix(matrix: np.ndarray) -> list[list[float | None]]:
    """The same for every number of a matrix, `[n, m]`."""
    return [[json_number(number) for number in row] for row in matrix.tolist()]


def challenge_separation_power(reference: Histogram, generated: Histogram, seed: int = 0) -> Value:
    """Separation power of the showers inside the axis, as the challenge computes it.

    What lies outside the edges is dropped before either histogram is normalised: showers that all miss the axis do not
    show. `separation_power` counts them. The error is the spread under multinomial resampling of both.

    Source: evaluate_plotting_helper.py of the CaloChallenge.
    """
    if not np.array_equal(reference.edges, generated.edges):
        raise DataFormatError("the two histograms must have the same edges")
    counts, rng = np.stack([reference.counts, generated.counts]), np.random.default_rng(seed)
    if not counts[:, 1:-1].sum(axis=1).all():
        return Value(np.nan, np.nan)
    drawn = np.stack([rng.multinomial(row.sum(), row / row.sum(), _CHALLENGE_ROUNDS) for row in counts], axis=1)
    value, spread = (triangular_discrimination(item[..., 1:-1]) for item in (counts, drawn))
    return Value(float(value), float(np.std(spread)))
