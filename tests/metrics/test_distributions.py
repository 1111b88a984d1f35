import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import metrics as slow
from scipy import stats

from calogen.errors import DataFormatError
from calogen.metrics.distributions import (
    METRICS,
    Value,
    chi2_per_ndf,
    floor,
    ks_distance,
    mean_ratio,
    rms_ratio,
    separation_power,
    standard_deviation,
    wasserstein,
)
from calogen.metrics.histograms import Histogram, joined_edges, reference_edges

EDGES = np.linspace(-4, 4, 18)


def normal(n, seed, mean=0.0, width=1.0):
    return np.random.default_rng(seed).normal(mean, width, n)


def histograms(*samples):
    return [Histogram.fill(sample, EDGES) for sample in samples]


def test_identical_samples():
    values = normal(200, 0, mean=2.0)
    assert ks_distance(values, values).value == wasserstein(values, values).value == 0
    assert mean_ratio(values, values).value == rms_ratio(values, values).value == 1
    assert separation_power(*histograms(values, values)).value == 0
    assert chi2_per_ndf(*histograms(values, values)).value == pytest.approx(0)


def test_disjoint_samples():
    low, high = normal(200, 0, -3, 0.1), normal(100, 1, 3, 0.1)
    assert ks_distance(low, high).value == 1
    assert separation_power(*histograms(low, high)).value == 1
    assert separation_power(*histograms(low, high + 100)).value == 1, "overflow counts"


def test_entries_outside_the_range_count():
    """Half of the generated sample in the overflow: (1 - 1/2)^2 / (3/2) / 2 + (1/2) / 2 = 1/3."""
    reference, generated = np.full(100, 0.1), np.append(np.full(50, 0.1), np.full(50, 99.0))
    assert separation_power(*histograms(reference, generated)).value == pytest.approx(1 / 3)


@pytest.mark.parametrize("shift", [0.3, 1.0])
def test_gaussian_shift(shift):
    """KS = 2 Phi(s/2) - 1, W1 = s; 5,000 showers, 4 standard deviations."""
    reference, generated = normal(5000, 0), normal(5000, 1, shift)
    assert ks_distance(reference, generated).value == pytest.approx(2 * stats.norm.cdf(shift / 2) - 1, abs=0.04)
    assert wasserstein(reference, generated).value == pytest.approx(shift, abs=0.09)
    exact = wasserstein(reference, reference + shift * reference.std())
    assert exact.value == pytest.approx(shift)


@given(st.lists(st.integers(-5, 5), min_size=2, max_size=30), st.lists(st.integers(-5, 5), min_size=2, max_size=30))
@settings(max_examples=40, deadline=None)
def test_agrees_with_the_slow_twins(first, second):
    reference, generated = np.array(first, float), np.array(second, float)
    assert ks_distance(reference, generated).value == pytest.approx(slow.ks_distance(first, second))
    pair = histograms(reference, generated)
    twin = slow.separation_power(*(h.counts.tolist() for h in pair))
    assert separation_power(*pair).value == pytest.approx(twin, rel=1e-12)


def test_agrees_with_scipy():
    reference, generated = normal(60, 0), normal(300, 1, 0.2, 1.3)
    assert ks_distance(reference, generated).value == pytest.approx(stats.ks_2samp(reference, generated).statistic)
    distance = stats.wasserstein_distance(reference, generated) / reference.std()
    assert wasserstein(reference, generated).value == pytest.approx(distance)


def test_chi2_is_pearsons_homogeneity_test():
    counts = np.array([[0, 12, 30, 41, 17, 0], [0, 40, 61, 90, 59, 0]])
    pair = [Histogram(np.arange(5.0), row) for row in counts]
    chi2, _, ndf, _ = stats.chi2_contingency(counts[:, 1:-1], correction=False)
    assert ndf == 3
    assert chi2_per_ndf(*pair).value == pytest.approx(chi2 / ndf)
    assert chi2_per_ndf(*pair).error == pytest.approx(np.sqrt(2 / 3))


@pytest.mark.parametrize("n", [30, 250])
def test_chi2_is_calibrated(n):
    """Mean of 300 comparisons of equal distributions: 1 within 5 standard errors; 5 % +- 4 % above the 95 % point."""
    values, above = [], 0
    for k in range(300):
        reference, generated = normal(n, 2 * k), normal(1000, 2 * k + 1)
        edges = joined_edges(Histogram.fill(reference, reference_edges(reference)), 1000)
        values.append(chi2_per_ndf(*(Histogram.fill(sample, edges) for sample in (reference, generated))))
        ndf = 2 / values[-1].error ** 2
        above += values[-1].value * ndf > stats.chi2.ppf(0.95, ndf)
    ratios = [item.value for item in values]
    assert np.mean(ratios) == pytest.approx(1, abs=5 * np.std(ratios) / 17)
    assert above / 300 == pytest.approx(0.05, abs=0.04)


def test_one_bin_gives_nan():
    assert np.isnan(chi2_per_ndf(*histograms(np.full(9, 0.1), np.full(9, 0.1))).value)


def test_errors_of_the_ratios():
    """Pulls of 500 ratios of equal exponential distributions have width 1 within 15 %; the kurtosis is large."""
    rng = np.random.default_rng(3)
    for metric in (mean_ratio, rms_ratio):
        pulls = []
        for _ in range(500):
            ratio = metric(rng.exponential(1, 250), rng.exponential(1, 1000))
            pulls.append((ratio.value - 1) / ratio.error)
        assert np.std(pulls) == pytest.approx(1, abs=0.15)


def test_error_of_the_standard_deviation():
    """s / sqrt(2 n) for a normal distribution."""
    assert standard_deviation(normal(10_000, 0)).error == pytest.approx(1 / np.sqrt(20_000), rel=0.1)


def test_bootstrap_errors_fall_with_the_size_and_are_repeatable():
    small = ks_distance(normal(50, 0), normal(50, 1, 1.0), seed=4)
    large = ks_distance(normal(5000, 0), normal(5000, 1, 1.0), seed=4)
    assert 5 < small.error / large.error < 20
    assert small == ks_distance(normal(50, 0), normal(50, 1, 1.0), seed=4)


def test_undefined_showers_are_left_out():
    values = np.append(normal(100, 0), [np.nan] * 20)
    assert mean_ratio(values, values).value == ks_distance(values, values).value + 1 == 1
    for metric in METRICS.values():
        assert np.isnan(metric.measure(np.full(5, np.nan), values, EDGES, 0).value), metric.title
        assert np.isnan(floor(metric, np.full(5, np.nan), 100, EDGES).mean), metric.title


SPECTRA = {
    "normal": lambda rng, n: rng.normal(3, 1, n),
    "exponential": lambda rng, n: rng.exponential(1, n),
    "often empty": lambda rng, n: np.where(rng.random(n) < 0.3, 0, rng.exponential(1, n)),
}


@pytest.mark.parametrize(("spectrum", "n", "m"), [("normal", 60, 200), ("often empty", 250, 400)])
def test_floor_is_what_independent_samples_give(spectrum, n, m):
    """Floors from 8 samples against 120 real pairs of the same sizes; the tolerances hold sampling and bias."""
    rng = np.random.default_rng(n)
    draw = SPECTRA[spectrum]

    def edges_of(reference):
        return joined_edges(Histogram.fill(reference, reference_edges(reference)), m)

    for metric in METRICS.values():
        samples = [(draw(rng, n), draw(rng, m)) for _ in range(120)]
        pairs = np.array([metric.statistic(first, second, edges_of(first)) for first, second in samples])
        floors = [floor(metric, first, m, edges_of(first)) for first, _ in samples[:8]]
        assert np.mean([item.mean for item in floors]) == pytest.approx(np.mean(pairs), rel=0.15), metric.title
        limit = np.quantile(metric.excess(pairs), 0.95)
        assert np.mean([item.limit for item in floors]) == pytest.approx(limit, rel=0.4), metric.title


def test_floors_closed_forms():
    """KS: sqrt(pi/2) ln 2 sqrt(1/n + 1/m); separation power: (b - 1)/4 (1/n + 1/m); within 10 %."""
    values = np.random.default_rng(0).random(1000)
    edges, size = np.linspace(0, 1, 11), 1 / 1000 + 1 / 4000
    expected = np.sqrt(np.pi / 2) * np.log(2) * np.sqrt(size)
    assert floor(METRICS["ks"], values, 4000, edges).mean == pytest.approx(expected, rel=0.1)
    assert floor(METRICS["separation_power"], values, 4000, edges).mean == pytest.approx(9 / 4 * size, rel=0.1)


def test_other_edges_are_refused():
    with pytest.raises(DataFormatError, match="same edges"):
        separation_power(Histogram.fill(normal(9, 0), EDGES), Histogram.fill(normal(9, 0), EDGES + 1))


def test_an_infinite_distance_has_no_error() -> None:
    """W1 in standard deviations of a constant reference; of one that is nearly constant only some draws are."""
    constant = np.ones(10)
    infinite = wasserstein(constant, np.full(10, 2.0))
    assert infinite.value == np.inf
    assert np.isnan(infinite.error)
    nearly = wasserstein(np.append(constant[1:], 3.0), np.full(10, 2.0))
    assert nearly.value == pytest.approx(1 / 0.6)  # the distance is 1, the standard deviation 2 x 0.3
    assert np.isnan(nearly.error)
    assert wasserstein(constant, constant).error == 0


numbers = st.floats(0.1, 10.0)


@given(numbers, numbers, st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_arithmetic_of_values_propagates_independent_errors(a: float, b: float, error: float, other: float) -> None:
    """The errors are those of finite differences."""
    first, second, step = Value(a, error), Value(-b, other), 1e-6
    for operation in (
        lambda x, y: x + y,
        lambda x, y: x - y,
        lambda x, y: x * y,
        lambda x, y: x / y,
        lambda x, y: 2 - abs(-x) * 3 + 1 / y,
        lambda x, y: np.float64(2) * x - y / np.float64(4),
    ):
        found = operation(first, second)
        slopes = [(operation(a + step * i, -b + step * j) - operation(a, -b)) / step for i, j in ((1, 0), (0, 1))]
        assert found.value == pytest.approx(operation(a, -b))
        assert found.error == pytest.approx(np.hypot(slopes[0] * error, slopes[1] * other), rel=1e-3, abs=1e-4)


def test_values_without_a_quotient_and_as_text():
    for found in (Value(1.0, 0.1) / Value(0.0, 0.1), 1 / Value(0.0, 0.0), Value(1.0, 0.1) / 0):
        assert np.isnan([found.value, found.error]).all()
    assert f"{Value(1.1623, 0.0441)}, {Value(1e6, 0.0)}, {Value(2.345, 1.0):.1f}" == "1.16 ± 0.04, 1000000, 2.3"
    assert np.isnan((2 * Value(np.nan, 0.5)).value)
    assert (2 * Value(np.nan, 0.5)).error == 1.0


def test_shares_have_the_error_of_one_shower_at_least():
    assert Value.share(0.2, 100) == Value(0.2, pytest.approx(0.04))
    assert Value.share(0.0, 100) == Value(0.0, pytest.approx(0.01))
    assert Value.share(0.0, 0) == Value(0.0, 1.0)
