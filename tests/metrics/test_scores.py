import math

import numpy as np
import pytest
from reference import challenge as slow
from scipy.stats import norm

from calogen.metrics import distributions as metrics
from calogen.metrics import scores
from calogen.metrics.distributions import challenge_separation_power
from calogen.metrics.histograms import Histogram, joined_edges
from calogen.metrics.scores import (
    METRICS,
    Spectrum,
    compare_spectra,
    compare_values,
    dealt_spectra,
    dealt_values,
)

EDGES = np.linspace(-2.0, 2.0, 21)


def samples(seed):
    """Pairs of all kinds: shifted, wider, of unequal size, with ties, with most of one outside the edges."""
    rng = np.random.default_rng(seed)
    return {
        "shifted": (rng.normal(0, 1, 400), rng.normal(0.3, 1, 300)),
        "wider": (rng.normal(0, 0.5, 200), rng.normal(0, 1, 500)),
        "ties": (rng.integers(-3, 3, 300) / 2, rng.integers(-3, 4, 200) / 2),
        "edges": (np.append(EDGES, EDGES), np.append(EDGES[5:], EDGES[-3:])),
        "outside": (rng.normal(0, 1, 100), rng.normal(2.5, 1, 100)),
        "few": (rng.normal(0, 1, 2), rng.normal(0, 1, 3)),
    }


@pytest.mark.parametrize("kind", samples(0))
def test_values_are_those_of_the_metrics(kind):
    reference, generated = samples(1)[kind]
    found = compare_values(reference, generated, EDGES)
    first, second = (Histogram.fill(item, EDGES) for item in (reference, generated))
    joined = joined_edges(first, len(generated))
    bins = np.searchsorted(joined, np.append(-np.inf, EDGES), side="right")  # where each fine bin goes
    coarse = [Histogram(joined, np.bincount(bins, item.counts).astype(int)) for item in (first, second)]
    expected = {
        "ks": metrics.ks_distance(reference, generated).value,
        "wasserstein": metrics.wasserstein(reference, generated).value,
        "chi2_per_ndf": metrics.chi2_per_ndf(*coarse).value,
        "separation_power": metrics.separation_power(first, second).value,
        "challenge_separation_power": challenge_separation_power(first, second).value,
    }
    assert tuple(found) == METRICS
    for name, value in expected.items():
        assert found[name].value == pytest.approx(value, rel=1e-10, nan_ok=True), name


def test_values_agree_with_the_slow_twins():
    for reference, generated in samples(2).values():
        found = compare_values(reference, generated, EDGES)
        area = slow.area_between(reference, generated) / np.std(reference)
        assert found["wasserstein"].value == pytest.approx(area, rel=1e-10)
        power = slow.separation_power(reference, generated, EDGES)
        assert found["challenge_separation_power"].value == pytest.approx(power, rel=1e-10)
        distance = max(abs(np.mean(reference <= x) - np.mean(generated <= x)) for x in (*reference, *generated))
        assert found["ks"].value == pytest.approx(distance, rel=1e-10)
        assert scores.ks_statistic(reference, generated) == pytest.approx(distance, rel=1e-10)


def test_equal_samples_and_disjoint_ones():
    values = np.random.default_rng(0).normal(0, 0.3, 500)
    assert [item.value for item in compare_values(values, values, EDGES).values()] == [0] * 5
    far = compare_values(values, values[:300] + 3.0, np.linspace(-2, 5, 50))
    assert far["ks"].value == 1
    assert far["separation_power"].value == pytest.approx(1)
    assert far["challenge_separation_power"].value == pytest.approx(1)
    assert far["chi2_per_ndf"].value > 20


def test_shifted_gaussians_have_the_closed_forms():
    """KS 2 Phi(s/2) - 1, Wasserstein s. Six comparisons within 5 standard errors: false alarm once in 300,000 seeds."""
    rng = np.random.default_rng(7)
    for shift in (0.2, 1.0, 2.5):
        found = compare_values(rng.normal(0, 2, 40_000), rng.normal(2 * shift, 2, 30_000), EDGES)
        for name, expected in (("ks", 2 * norm.cdf(shift / 2) - 1), ("wasserstein", shift)):
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

    values = [{name: item.value for name, item in compare_values(*pair(), EDGES).items()} for _ in range(300)]
    errors = [compare_values(*pair(), EDGES, seed) for seed in range(20)]
    for name in METRICS:
        spread = np.std([item[name] for item in values])
        error = np.mean([item[name].error for item in errors])
        assert 0.75 < error / spread < 1.33, (name, error, spread)


def test_errors_are_those_of_resampling_the_showers():
    """The cells stand for the showers: within 20 % of drawing the showers themselves, 100 rounds each.

    The ratio of two spreads of 100 rounds has a spread of 10 %: means of 20 differ by 20 % once in 1e8 seeds.
    """
    rng = np.random.default_rng(4)
    reference, generated = 10 ** rng.normal(0, 1, 400), 10 ** rng.normal(0.2, 1, 300)
    cells = [compare_values(reference, generated, EDGES, seed) for seed in range(20)]
    for name, function in (("ks", metrics.ks_distance), ("wasserstein", metrics.wasserstein)):
        expected = np.mean([function(reference, generated, seed).error for seed in range(20)])
        assert np.mean([item[name].error for item in cells]) == pytest.approx(expected, rel=0.2), name


def test_values_far_from_zero_have_the_same_errors():
    """The standard deviation loses nothing to a large mean."""
    reference, generated = samples(3)["shifted"]
    found, far = (
        compare_values(reference, generated, EDGES),
        compare_values(reference + 1e9, generated + 1e9, EDGES + 1e9),
    )
    for name in ("ks", "wasserstein"):
        assert far[name].value == pytest.approx(found[name].value, rel=1e-5)
        assert far[name].error == pytest.approx(found[name].error, rel=0.05)


def test_seeds_repeat():
    pair = samples(5)["shifted"]
    assert compare_values(*pair, EDGES, 3) == compare_values(*pair, EDGES, 3)
    assert compare_values(*pair, EDGES, 3) != compare_values(*pair, EDGES, 4)


def test_samples_that_tell_nothing():
    one, many, same = np.ones(1), np.arange(5.0), np.full(9, 0.5)
    for pair in ((one, many), (many, one), (np.empty(0), many)):
        assert all(
            math.isnan(value.value) and math.isnan(value.error) for value in compare_values(*pair, EDGES).values()
        )
    found = compare_values(same, same, EDGES)
    assert [found[name].value for name in ("ks", "wasserstein", "separation_power")] == [0, 0, 0]
    assert math.isnan(found["chi2_per_ndf"].value)
    assert compare_values(same, same + 1, EDGES)["wasserstein"].value == np.inf


def make_spectrum(showers, groups=256):
    """`showers` `[n, v]`, counted in the cells of energies from 1 to 1000 MeV."""
    edges, cells = scores.spectrum_cells(1.0, 1000.0)
    counts = np.zeros((groups, len(cells) + 1), int)
    np.add.at(counts, (np.arange(len(showers))[:, None] % groups, np.searchsorted(cells, showers, side="right")), 1)
    return Spectrum(edges, cells, counts)


def draw_showers(rng, number, scale=1.0):
    """Voxels of a shower share a factor: they are not independent."""
    factor = rng.lognormal(0, 0.5, (number, 1)) * 20 * scale
    return np.clip(factor * rng.exponential(1, (number, 30)) * (rng.random((number, 30)) < 0.7), 0, 1000)


def test_cells_hold_the_edges():
    edges, cells = scores.spectrum_cells(1.0, 1000.0)
    assert len(edges) == 50
    assert cells[0] == 0
    assert (np.diff(cells) > 0).all()
    assert len(cells) == 1 + 49 * 8 + 1
    assert np.isin(edges[:-1], cells).all()
    assert cells[-1] == np.nextafter(1000.0, np.inf)


def test_spectrum_has_the_histogram_of_all_voxels():
    showers = draw_showers(np.random.default_rng(1), 80)
    showers[0, :3] = 1.0, 1000.0, np.nextafter(1.0, 0)
    showers[1] *= 1e3
    spectrum = make_spectrum(showers)
    np.testing.assert_array_equal(spectrum.histogram.counts, Histogram.fill(showers.ravel(), spectrum.edges).counts)


def test_spectra_that_are_equal_and_that_are_not():
    rng = np.random.default_rng(2)
    first, second = draw_showers(rng, 900), draw_showers(rng, 700, scale=2.0)
    same = compare_spectra(make_spectrum(first), make_spectrum(first))
    assert [value.value for value in same.values()] == [0] * 5
    pair = make_spectrum(first), make_spectrum(second)
    found = compare_spectra(*pair)
    assert found["separation_power"].value == pytest.approx(
        metrics.separation_power(*(item.histogram for item in pair)).value, rel=1e-10
    )
    power = slow.separation_power(first.ravel(), second.ravel(), pair[0].edges)
    assert found["challenge_separation_power"].value == pytest.approx(power, rel=1e-10)
    assert found["ks"].value == pytest.approx(metrics.ks_distance(first.ravel(), second.ravel()).value, abs=0.005)
    exact = metrics.METRICS["wasserstein"].statistic(first.ravel(), second.ravel(), EDGES)
    assert found["wasserstein"].value == pytest.approx(exact, rel=0.01)


def test_errors_of_spectra_know_that_voxels_of_a_shower_go_together():
    """Spread over 100 pairs that differ (known to 7 %) against the mean of 8 errors (to 5 %).

    Outside 0.67..1.5 once in 100,000 seeds for each of 5. Independent voxels would give a third of it.
    """
    rng = np.random.default_rng(6)

    def found(seed=0):
        pair = make_spectrum(draw_showers(rng, 300)), make_spectrum(draw_showers(rng, 300, scale=1.5))
        return compare_spectra(*pair, seed)

    values, errors = [found() for _ in range(100)], [found(seed) for seed in range(8)]
    for name in METRICS:
        spread = np.std([item[name].value for item in values])
        assert 0.67 < np.mean([item[name].error for item in errors]) / spread < 1.5, name


@pytest.mark.parametrize("number", [40, 400])
def test_showers_dealt_out_again_have_the_closed_form(number):
    """Two samples of n in k filled bins: E (a - b)^2 = c (2n - c) / (2n - 1) for c showers, so S is (k - 1) / (2n - 1).

    The mean of 100 deals is known to a tenth of their spread: 5 of these are exceeded once in 2,000,000 seeds.
    """
    rng = np.random.default_rng(4)
    reference, generated = (rng.uniform(-2, 2, number) for _ in range(2))
    filled = np.count_nonzero(np.histogram(np.append(reference, generated), EDGES)[0])
    found = dealt_values(reference, generated, EDGES)
    expected = (filled - 1) / (2 * number - 1)
    assert found.value == pytest.approx(expected, abs=found.error / 2)
    # the same with one voxel per shower and one shower per group
    cells = [np.eye(len(EDGES) + 1)[np.digitize(item, EDGES)] for item in (reference, generated)]
    boundaries = np.append(EDGES[:-1], np.nextafter(EDGES[-1], np.inf))
    spectra = [Spectrum(EDGES, boundaries, counts.astype(np.int64)) for counts in cells]
    dealt = dealt_spectra(*spectra, (number, number))
    assert dealt.value == pytest.approx(expected, abs=dealt.error / 2)
    assert dealt.error == pytest.approx(found.error, rel=0.4)


@pytest.mark.parametrize("sizes", [(2000, 200), (100, 900), (60, 60)])
def test_samples_of_one_distribution_scatter_about_what_is_dealt(sizes):
    """60 pairs, with ties, sparse tails and values outside the axis: the mean pull is known to 0.13, asked for 0.6."""
    rng = np.random.default_rng(5)
    pulls = []
    for seed in range(60):
        first, second = (np.maximum(rng.normal(0, 1.5, size), -1) for size in sizes)
        dealt = dealt_values(first, second, EDGES, seed)
        pulls.append(
            (compare_values(first, second, EDGES)["challenge_separation_power"].value - dealt.value) / dealt.error
        )
    assert abs(np.mean(pulls)) < 0.6
    assert 0.6 < np.std(pulls) < 1.6


def test_nothing_can_be_dealt_out_of_nothing():
    outside = np.full(5, 9.0)
    assert math.isnan(dealt_values(outside, outside, EDGES).value)
