import tracemalloc

import numpy as np
import pytest
from conftest import counts_of
from reference import challenge as slow
from scipy.stats import ks_2samp

from calogen.metrics.distributions import FEATURE_METRICS, Bins, Value, separation_power
from calogen.metrics.histograms import Histogram
from calogen.metrics.resampling import (
    Resampling,
    Spectrum,
    bootstrap_floors,
    dealt_floor,
    dealt_spectra,
    measure,
    measure_spectra,
    spectrum_cells,
)

EDGES = np.linspace(-2.0, 2.0, 21)


def make_spectrum(showers, groups=256):
    """`showers` `[n, v]`, counted in the cells of energies from 1 to 1000 MeV."""
    edges, cells = spectrum_cells(1.0, 1000.0)
    counts = np.zeros((groups, len(cells) + 1), int)
    np.add.at(counts, (np.arange(len(showers))[:, None] % groups, np.searchsorted(cells, showers, side="right")), 1)
    return Spectrum(edges, cells, counts)


def draw_showers(rng, number, scale=1.0):
    """Voxels of a shower share a factor: they are not independent."""
    factor = rng.lognormal(0, 0.5, (number, 1)) * 20 * scale
    return np.clip(factor * rng.exponential(1, (number, 30)) * (rng.random((number, 30)) < 0.7), 0, 1000)


def test_cells_hold_the_edges():
    edges, cells = spectrum_cells(1.0, 1000.0)
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
    same = measure_spectra(make_spectrum(first), make_spectrum(first))
    assert [value.value for value in same.values()] == [0] * 5
    pair = make_spectrum(first), make_spectrum(second)
    found, exact = measure_spectra(*pair), measure(first.ravel(), second.ravel(), Bins(EDGES))
    assert found["separation_power"].value == pytest.approx(
        separation_power(counts_of(*(item.histogram for item in pair))), rel=1e-10
    )
    power = slow.separation_power(first.ravel(), second.ravel(), pair[0].edges)
    assert found["challenge_separation_power"].value == pytest.approx(power, rel=1e-10)
    assert found["ks"].value == pytest.approx(exact["ks"].value, abs=0.005)
    assert found["wasserstein"].value == pytest.approx(exact["wasserstein"].value, rel=0.01)


def test_errors_of_spectra_know_that_voxels_of_a_shower_go_together():
    """Spread over 100 pairs that differ (known to 7 %) against the mean of 8 errors (to 5 %).

    Outside 0.67..1.5 once in 100,000 seeds for each of 5. Independent voxels would give a third of it.
    """
    rng = np.random.default_rng(6)

    def found(seed=0):
        pair = make_spectrum(draw_showers(rng, 300)), make_spectrum(draw_showers(rng, 300, scale=1.5))
        return measure_spectra(*pair, seed)

    values, errors = [found() for _ in range(100)], [found(seed) for seed in range(8)]
    for name in FEATURE_METRICS:
        spread = np.std([item[name].value for item in values])
        assert 0.67 < np.mean([item[name].error for item in errors]) / spread < 1.5, name


def test_resampling_holds_few_draws_at_a_time():
    """Errors and floors of 2 x 50,000 showers: all draws would be 80 and 160 MB, counted and compared several times."""
    rng = np.random.default_rng(3)
    first, second = rng.normal(size=(2, 50_000))
    for function in (measure, lambda *pair: bootstrap_floors(pair[0], len(pair[1]), pair[2])):
        tracemalloc.start()
        function(first, second, Bins(EDGES))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 127e6


def test_bootstrap_draws_all_references_then_all_generated_samples():
    """The floor's rounds by hand: each seed's numbers are those of two whole tables of draws."""
    values = np.random.default_rng(5).normal(size=90)
    found = bootstrap_floors(values, 60, Bins(EDGES, ("ks", "mean_ratio")), seed=7)
    rng = np.random.default_rng(7)
    references, generated = (values[rng.integers(0, 90, (200, size))] for size in (90, 60))
    ratios = generated.mean(axis=1) / references.mean(axis=1)
    assert found["mean_ratio"].mean == pytest.approx(ratios.mean(), rel=1e-10)
    assert found["mean_ratio"].error == pytest.approx(ratios.std(), rel=1e-10)
    distances = [ks_2samp(*pair).statistic for pair in zip(references, generated, strict=True)]
    assert found["ks"].mean == pytest.approx(np.mean(distances), rel=1e-10)


@pytest.mark.parametrize("number", [40, 400])
def test_showers_dealt_out_again_have_the_closed_form(number):
    """Two samples of n in k filled bins: E (a - b)^2 = c (2n - c) / (2n - 1) for c showers, so S is (k - 1) / (2n - 1).

    The mean of 100 deals is known to a tenth of their spread: 5 of these are exceeded once in 2,000,000 seeds.
    """
    rng = np.random.default_rng(4)
    reference, generated = (rng.uniform(-2, 2, number) for _ in range(2))
    filled = np.count_nonzero(np.histogram(np.append(reference, generated), EDGES)[0])
    found = dealt_floor(reference, generated, Bins(EDGES))
    expected = (filled - 1) / (2 * number - 1)
    assert found.value == pytest.approx(expected, abs=found.error / 2)
    # the same with one voxel per shower and one shower per group
    cells = [np.eye(len(EDGES) + 1)[np.digitize(item, EDGES)] for item in (reference, generated)]
    boundaries = np.append(EDGES[:-1], np.nextafter(EDGES[-1], np.inf))
    spectra = [Spectrum(EDGES, boundaries, counts.astype(np.int64)) for counts in cells]
    dealt = dealt_spectra(*spectra, (number, number))
    assert dealt.value == pytest.approx(expected, abs=dealt.error / 2)
    assert dealt.error == pytest.approx(found.error, rel=0.4)


@pytest.mark.parametrize("resampling", ["showers", "cells"])
def test_an_observable_that_generated_showers_never_have_is_as_far_as_can_be(resampling: Resampling) -> None:
    """But not where the reference has it as rarely that chance explains it, nor where the reference lacks it."""
    metrics = ("ks", "separation_power", "challenge_separation_power", "wasserstein")
    bins, values = Bins(np.linspace(0, 1, 5), metrics), np.linspace(0, 1, 40)
    nothing, rare = np.full(40, np.nan), np.append(values[:5], np.full(35, np.nan))
    found = measure(values, nothing, bins, resampling)
    assert [found[name] for name in metrics[:3]] == [Value(1.0, 0.0)] * 3
    assert np.isnan(found["wasserstein"].value)
    for reference, generated in ((rare, nothing), (nothing, values), (values, nothing[:1]), (nothing[:0], nothing)):
        assert np.isnan([item.value for item in measure(reference, generated, bins, resampling).values()]).all()
    floor = dealt_floor(values, nothing, bins)
    assert 0 < floor.value < 1
    assert floor.error > 0
