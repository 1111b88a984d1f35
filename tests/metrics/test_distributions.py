import math

import numpy as np
import pytest
from conftest import counts_of
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import challenge as slow_challenge
from reference import metrics as slow
from scipy import stats

from calogen.metrics.distributions import (
    FEATURE_METRICS,
    METRICS,
    OBSERVABLE_METRICS,
    Bins,
    Value,
    chi2_per_ndf,
    mean,
    separation_power,
    standard_deviation,
)
from calogen.metrics.histograms import Histogram, reference_edges
from calogen.metrics.resampling import bootstrap_floors, dealt_floor, ks_statistic, measure

EDGES = np.linspace(-4, 4, 18)


def normal(n, seed, mean=0.0, width=1.0):
    return np.random.default_rng(seed).normal(mean, width, n)


def histograms(*samples):
    return [Histogram.fill(sample, EDGES) for sample in samples]


def of(name, reference, generated, seed=0, edges=EDGES):
    """One metric of two samples, with its error."""
    return measure(reference, generated, Bins(edges, (name,)), seed=seed)[name]


def test_identical_samples():
    values = normal(200, 0, mean=2.0)
    assert of("ks", values, values).value == of("wasserstein", values, values).value == 0
    assert of("mean_ratio", values, values).value == of("rms_ratio", values, values).value == 1
    assert separation_power(counts_of(*histograms(values, values))) == 0
    assert of("chi2_per_ndf", values, values).value == pytest.approx(0)


def test_disjoint_samples():
    low, high = normal(200, 0, -3, 0.1), normal(100, 1, 3, 0.1)
    assert of("ks", low, high).value == 1
    assert separation_power(counts_of(*histograms(low, high))) == 1
    assert separation_power(counts_of(*histograms(low, high + 100))) == 1, "overflow counts"


def test_entries_outside_the_range_count():
    """Half of the generated sample in the overflow: (1 - 1/2)^2 / (3/2) / 2 + (1/2) / 2 = 1/3."""
    reference, generated = np.full(100, 0.1), np.append(np.full(50, 0.1), np.full(50, 99.0))
    assert separation_power(counts_of(*histograms(reference, generated))) == pytest.approx(1 / 3)


@pytest.mark.parametrize("shift", [0.3, 1.0])
def test_gaussian_shift(shift):
    """KS = 2 Phi(s/2) - 1, W1 = s; 5,000 showers, 4 standard deviations."""
    reference, generated = normal(5000, 0), normal(5000, 1, shift)
    assert of("ks", reference, generated).value == pytest.approx(2 * stats.norm.cdf(shift / 2) - 1, abs=0.04)
    assert of("wasserstein", reference, generated).value == pytest.approx(shift, abs=0.09)
    exact = of("wasserstein", reference, reference + shift * reference.std())
    assert exact.value == pytest.approx(shift)


@given(st.lists(st.integers(-5, 5), min_size=2, max_size=30), st.lists(st.integers(-5, 5), min_size=2, max_size=30))
@settings(max_examples=40, deadline=None)
def test_agrees_with_the_slow_twins(first, second):
    reference, generated = np.array(first, float), np.array(second, float)
    assert of("ks", reference, generated).value == pytest.approx(slow.ks_distance(first, second))
    pair = histograms(reference, generated)
    twin = slow.separation_power(*(h.counts.tolist() for h in pair))
    assert separation_power(counts_of(*pair)) == pytest.approx(twin, rel=1e-12)


def test_agrees_with_scipy():
    reference, generated = normal(60, 0), normal(300, 1, 0.2, 1.3)
    assert of("ks", reference, generated).value == pytest.approx(stats.ks_2samp(reference, generated).statistic)
    distance = stats.wasserstein_distance(reference, generated) / reference.std()
    assert of("wasserstein", reference, generated).value == pytest.approx(distance)


def test_chi2_is_pearsons_homogeneity_test():
    counts = np.array([[0, 12, 30, 41, 17, 0], [0, 40, 61, 90, 59, 0]])
    pair = [Histogram(np.arange(5.0), row) for row in counts]
    chi2, _, ndf, _ = stats.chi2_contingency(counts[:, 1:-1], correction=False)
    assert ndf == 3
    assert chi2_per_ndf(counts_of(*pair)[None])[0] == pytest.approx(chi2 / ndf)
    reference, generated = (np.repeat(np.arange(4) + 0.5, row[1:-1]) for row in counts)
    found = of("chi2_per_ndf", reference, generated, edges=np.arange(5.0))
    assert found.value == pytest.approx(chi2 / ndf)
    assert found.error == pytest.approx(np.sqrt(2 / 3))


@pytest.mark.parametrize("n", [30, 250])
def test_chi2_is_calibrated(n):
    """Mean of 300 comparisons of equal distributions: 1 within 5 standard errors; 5 % +- 4 % above the 95 % point."""
    values, above = [], 0
    for k in range(300):
        reference, generated = normal(n, 2 * k), normal(1000, 2 * k + 1)
        values.append(of("chi2_per_ndf", reference, generated, edges=reference_edges(reference)))
        ndf = 2 / values[-1].error ** 2
        above += values[-1].value * ndf > stats.chi2.ppf(0.95, ndf)
    ratios = [item.value for item in values]
    assert np.mean(ratios) == pytest.approx(1, abs=5 * np.std(ratios) / 17)
    assert above / 300 == pytest.approx(0.05, abs=0.04)


def test_one_bin_gives_nan():
    assert np.isnan(of("chi2_per_ndf", np.full(9, 0.1), np.full(9, 0.1)).value)
    assert np.isnan(chi2_per_ndf(counts_of(*histograms(np.full(9, 0.1), np.full(9, 0.1)))[None])[0])


def test_errors_of_the_ratios():
    """Pulls of 500 ratios of equal exponential distributions have width 1 within 15 %; the kurtosis is large."""
    rng = np.random.default_rng(3)
    for name in ("mean_ratio", "rms_ratio"):
        pulls = []
        for _ in range(500):
            ratio = of(name, rng.exponential(1, 250), rng.exponential(1, 1000))
            pulls.append((ratio.value - 1) / ratio.error)
        assert np.std(pulls) == pytest.approx(1, abs=0.15)


def test_the_mean_of_one_value_has_no_error():
    assert mean(np.array([2.0, np.nan])) == Value(2.0, pytest.approx(np.nan, nan_ok=True))
    assert np.isnan(mean(np.array([np.nan])).value)
    assert mean(np.array([1.0, 3.0])) == Value(2.0, pytest.approx(1.0))


def test_error_of_the_standard_deviation():
    """s / sqrt(2 n) for a normal distribution."""
    assert standard_deviation(normal(10_000, 0)).error == pytest.approx(1 / np.sqrt(20_000), rel=0.1)


def test_bootstrap_errors_fall_with_the_size_and_are_repeatable():
    small = of("ks", normal(50, 0), normal(50, 1, 1.0), seed=4)
    large = of("ks", normal(5000, 0), normal(5000, 1, 1.0), seed=4)
    assert 5 < small.error / large.error < 20
    assert small == of("ks", normal(50, 0), normal(50, 1, 1.0), seed=4)


def test_undefined_showers_are_left_out():
    values = np.append(normal(100, 0), [np.nan] * 20)
    assert of("mean_ratio", values, values).value == of("ks", values, values).value + 1 == 1
    for name in METRICS:
        assert np.isnan(of(name, np.full(5, np.nan), values).value), name
        assert np.isnan(bootstrap_floors(np.full(5, np.nan), 100, Bins(EDGES, (name,)))[name].mean), name


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

    samples = [(draw(rng, n), draw(rng, m)) for _ in range(120)]
    bins = [Bins(reference_edges(first)) for first, _ in samples]
    pairs = [measure(*pair, binning) for pair, binning in zip(samples, bins, strict=True)]
    floors = [bootstrap_floors(first, m, binning) for (first, _), binning in zip(samples[:8], bins, strict=False)]
    for name in OBSERVABLE_METRICS:
        values = np.array([found[name].value for found in pairs])
        assert np.mean([found[name].mean for found in floors]) == pytest.approx(np.mean(values), rel=0.15), name
        limit = np.quantile(METRICS[name].excess(values), 0.95)
        assert np.mean([found[name].limit for found in floors]) == pytest.approx(limit, rel=0.4), name


def test_floors_closed_forms():
    """KS: sqrt(pi/2) ln 2 sqrt(1/n + 1/m); separation power: (b - 1)/4 (1/n + 1/m); within 10 %."""
    values = np.random.default_rng(0).random(1000)
    edges, size = np.linspace(0, 1, 11), 1 / 1000 + 1 / 4000
    expected = np.sqrt(np.pi / 2) * np.log(2) * np.sqrt(size)
    found = bootstrap_floors(values, 4000, Bins(edges))
    assert found["ks"].mean == pytest.approx(expected, rel=0.1)
    assert found["separation_power"].mean == pytest.approx(9 / 4 * size, rel=0.1)


def test_an_infinite_distance_has_no_error() -> None:
    """W1 in standard deviations of a constant reference; of one that is nearly constant only some draws are."""
    constant = np.ones(10)
    infinite = of("wasserstein", constant, np.full(10, 2.0))
    assert infinite.value == np.inf
    assert np.isnan(infinite.error)
    nearly = of("wasserstein", np.append(constant[1:], 3.0), np.full(10, 2.0))
    assert nearly.value == pytest.approx(1 / 0.6)  # the distance is 1, the standard deviation 2 x 0.3
    assert np.isnan(nearly.error)
    assert of("wasserstein", constant, constant).error == 0


AXIS = np.linspace(-2.0, 2.0, 21)


def samples(seed):
    """Pairs of all kinds: shifted, wider, of unequal size, with ties, with most of one outside the edges."""
    rng = np.random.default_rng(seed)
    return {
        "shifted": (rng.normal(0, 1, 400), rng.normal(0.3, 1, 300)),
        "wider": (rng.normal(0, 0.5, 200), rng.normal(0, 1, 500)),
        "ties": (rng.integers(-3, 3, 300) / 2, rng.integers(-3, 4, 200) / 2),
        "edges": (np.append(AXIS, AXIS), np.append(AXIS[5:], AXIS[-3:])),
        "outside": (rng.normal(0, 1, 100), rng.normal(2.5, 1, 100)),
        "few": (rng.normal(0, 1, 2), rng.normal(0, 1, 3)),
    }


def compare_values(reference, generated, edges, seed=0, axis=None):
    """As features are measured."""
    bins = Bins(edges, FEATURE_METRICS, False, axis)
    return measure(reference, generated, bins, resampling="cells", seed=seed)


@pytest.mark.parametrize("join", [True, False])
@pytest.mark.parametrize("kind", samples(0))
def test_values_agree_with_the_slow_twins(kind, join):
    """Of a paper's observables, separation power has the joined bins of chi2/NDF; of features it has all bins."""
    for seed in (1, 2):
        reference, generated = samples(seed)[kind]
        found = measure(reference, generated, Bins(AXIS, FEATURE_METRICS, join), resampling="cells")
        counts = [slow.counts(sample, AXIS) for sample in (reference, generated)]
        expected = {
            "ks": slow.ks_distance(reference, generated),
            "wasserstein": slow_challenge.area_between(reference, generated) / np.std(reference),
            "chi2_per_ndf": slow.chi2_per_ndf(*slow.joined(*counts)),
            "separation_power": slow.separation_power(*(slow.joined(*counts) if join else counts)),
            "challenge_separation_power": slow_challenge.separation_power(reference, generated, AXIS),
        }
        assert tuple(found) == FEATURE_METRICS
        for name, value in expected.items():
            assert found[name].value == pytest.approx(value, rel=1e-10, nan_ok=True), name
            if join:
                drawn = of(name, reference, generated, edges=AXIS)  # showers are resampled, not cells
                assert drawn.value == pytest.approx(value, rel=1e-10, nan_ok=True), name
        assert ks_statistic(reference, generated) == pytest.approx(expected["ks"], rel=1e-10)


def test_equal_samples_and_disjoint_ones():
    values = np.random.default_rng(0).normal(0, 0.3, 500)
    assert [item.value for item in compare_values(values, values, AXIS).values()] == [0] * 5
    far = compare_values(values, values[:300] + 3.0, np.linspace(-2, 5, 50))
    assert far["ks"].value == 1
    assert far["separation_power"].value == pytest.approx(1)
    assert far["challenge_separation_power"].value == pytest.approx(1)
    assert far["chi2_per_ndf"].value > 20


def test_shifted_gaussians_have_the_closed_forms():
    """KS 2 Phi(s/2) - 1, Wasserstein s. Six comparisons within 5 standard errors: false alarm once in 300,000 seeds."""
    rng = np.random.default_rng(7)
    for shift in (0.2, 1.0, 2.5):
        found = compare_values(rng.normal(0, 2, 40_000), rng.normal(2 * shift, 2, 30_000), AXIS)
        for name, expected in (("ks", 2 * stats.norm.cdf(shift / 2) - 1), ("wasserstein", shift)):
            assert abs(found[name].value - expected) < 5 * found[name].error, name
            assert found[name].error < 0.03


@pytest.mark.parametrize("size", [(300, 300), (1000, 500)])
def test_errors_are_the_scatter_of_new_samples(size):
    """Spread over 300 pairs of samples that differ, against the mean of 20 errors.

    Both are known to 5 %, so the ratio is: outside 0.75..1.33 once in 100,000 seeds for each of 10.
    """
    rng = np.random.default_rng(3)

    def pair():
        return rng.exponential(1, size[0]) - 1, 1.4 * rng.exponential(1, size[1]) - 0.7

    values = [{name: item.value for name, item in compare_values(*pair(), AXIS).items()} for _ in range(300)]
    errors = [compare_values(*pair(), AXIS, seed) for seed in range(20)]
    for name in FEATURE_METRICS:
        spread = np.std([item[name] for item in values])
        error = np.mean([item[name].error for item in errors])
        assert 0.75 < error / spread < 1.33, (name, error, spread)


def test_errors_are_those_of_resampling_the_showers():
    """The cells stand for the showers: within 20 % of drawing the showers themselves, 100 rounds each.

    The ratio of two spreads of 100 rounds has a spread of 10 %: means of 20 differ by 20 % once in 1e8 seeds.
    """
    rng = np.random.default_rng(4)
    reference, generated = 10 ** rng.normal(0, 1, 400), 10 ** rng.normal(0.2, 1, 300)
    cells = [compare_values(reference, generated, AXIS, seed) for seed in range(20)]
    for name in ("ks", "wasserstein"):
        expected = np.mean([of(name, reference, generated, seed).error for seed in range(20)])
        assert np.mean([item[name].error for item in cells]) == pytest.approx(expected, rel=0.2), name


def test_values_far_from_zero_have_the_same_errors():
    """The standard deviation loses nothing to a large mean."""
    reference, generated = samples(3)["shifted"]
    found, far = (
        compare_values(reference, generated, AXIS),
        compare_values(reference + 1e9, generated + 1e9, AXIS + 1e9),
    )
    for name in ("ks", "wasserstein"):
        assert far[name].value == pytest.approx(found[name].value, rel=1e-5)
        assert far[name].error == pytest.approx(found[name].error, rel=0.05)


def test_seeds_repeat():
    pair = samples(5)["shifted"]
    assert compare_values(*pair, AXIS, 3) == compare_values(*pair, AXIS, 3)
    assert compare_values(*pair, AXIS, 3) != compare_values(*pair, AXIS, 4)


def test_samples_that_tell_nothing():
    one, many, same = np.ones(1), np.arange(5.0), np.full(9, 0.5)
    for pair in ((one, many), (many, one), (np.empty(0), many)):
        assert all(
            math.isnan(value.value) and math.isnan(value.error) for value in compare_values(*pair, AXIS).values()
        )
    found = compare_values(same, same, AXIS)
    assert [found[name].value for name in ("ks", "wasserstein", "separation_power")] == [0, 0, 0]
    assert math.isnan(found["chi2_per_ndf"].value)
    assert compare_values(same, same + 1, AXIS)["wasserstein"].value == np.inf


@pytest.mark.parametrize("sizes", [(2000, 200), (100, 900), (60, 60)])
def test_samples_of_one_distribution_scatter_about_what_is_dealt(sizes):
    """60 pairs, with ties, sparse tails and values outside the axis: the mean pull is known to 0.13, asked for 0.6."""
    rng = np.random.default_rng(5)
    pulls = []
    for seed in range(60):
        first, second = (np.maximum(rng.normal(0, 1.5, size), -1) for size in sizes)
        dealt = dealt_floor(first, second, Bins(AXIS), seed)
        pulls.append(
            (compare_values(first, second, AXIS)["challenge_separation_power"].value - dealt.value) / dealt.error
        )
    assert abs(np.mean(pulls)) < 0.6
    assert 0.6 < np.std(pulls) < 1.6


def test_nothing_can_be_dealt_out_of_nothing():
    outside = np.full(5, 9.0)
    assert math.isnan(dealt_floor(outside, outside, Bins(AXIS)).value)


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
    assert f"{Value(1.1623, 0.0441)}, {Value(1e6, 0.0)}, {Value(2.345, 1.0):.1f}" == "1.162 ± 0.044, 1,000,000, 2.3"
    assert np.isnan((2 * Value(np.nan, 0.5)).value)
    assert (2 * Value(np.nan, 0.5)).error == 1.0


def test_shares_have_the_error_of_one_shower_at_least():
    assert Value.share(0.2, 100) == Value(0.2, pytest.approx(0.04))
    assert Value.share(0.0, 100) == Value(0.0, pytest.approx(0.01))
    assert Value.share(0.0, 0) == Value(0.0, 1.0)
