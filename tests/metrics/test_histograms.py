import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from calogen.errors import DataFormatError
from calogen.metrics import histograms
from calogen.metrics.histograms import Histogram, joined_edges, logarithmic_edges, num_bins_filled, reference_edges

VALUES = arrays(np.float64, st.integers(1, 60), elements=st.floats(-1e6, 1e6) | st.just(np.nan))


@given(VALUES, VALUES)
@example(np.array([5e-324, 0.0]), np.array([np.nan]))
@settings(max_examples=50, deadline=None)
def test_no_shower_is_lost(reference, generated):
    edges = reference_edges(reference)
    histogram = Histogram.fill(generated, edges)
    assert histogram.entries + histogram.undefined == len(generated)
    assert np.all(np.diff(edges) > 0)
    if histogram.entries:
        assert histogram.fractions.sum() == pytest.approx(1)


def test_outside_goes_to_the_first_and_last_bin():
    histogram = Histogram.fill(np.array([-5.0, 0.5, 1.5, 2.0, 7.0, 8.0, np.nan]), np.array([0.0, 1.0, 2.0]))
    assert histogram.counts.tolist() == [1, 1, 2, 2]
    np.testing.assert_allclose(histogram.fractions, [2 / 6, 4 / 6])
    np.testing.assert_allclose(histogram.errors, np.sqrt([2, 4]) / 6)
    assert histogram.undefined == 1


def test_range_comes_from_the_reference():
    """Two bins of margin around the central 98 %, more bins for more showers, and nothing negative for energies."""
    rng = np.random.default_rng(0)
    for n, bins in ((30, 11), (250, 17), (5000, 39)):
        values = rng.normal(100, 1, n)
        edges = reference_edges(values)
        assert len(edges) - 1 == bins
        assert edges[2] == pytest.approx(np.quantile(values, 0.01))
        assert edges[-3] == pytest.approx(np.quantile(values, 0.99))
    assert reference_edges(np.append(np.zeros(200), rng.exponential(1, 50)))[0] == 0


@pytest.mark.parametrize("edges_of", [reference_edges, logarithmic_edges])
@pytest.mark.parametrize("number", [2, 30, 250, 5000])
def test_the_least_number_of_bins_holds_for_every_form_and_size(edges_of, number):
    rng = np.random.default_rng(1)
    for values in (
        rng.normal(100, 1, number),
        rng.lognormal(0, 3, number),
        np.append(np.zeros(number), rng.exponential(1, number)),
        np.append(1e6, 1e-3 * rng.random(number)),
        rng.integers(1, 9, number) / 8 + [0.0, 0.1][number % 2],
    ):
        if values.min() < values.max():
            assert num_bins_filled(values, edges_of(values, min_bins=20)) >= 20


def test_bins_that_are_filled():
    edges = np.arange(11.0)
    assert num_bins_filled(np.array([2.5, 3.5, 4.5]), edges) == 3
    assert num_bins_filled(np.array([3.5, 3.6]), edges) == 1
    assert num_bins_filled(np.array([-4.0, 20.0]), edges) == 10
    assert num_bins_filled(np.array([-4.0, -3.0]), edges) == num_bins_filled(np.array([40.0]), edges) == 0


@pytest.mark.parametrize("edges_of", [reference_edges, logarithmic_edges])
def test_the_tail_says_how_far_the_edges_reach(edges_of):
    """Two bins of margin around the quantiles, in the logarithm too; the values are left as they were."""
    values = np.random.default_rng(0).lognormal(0, 1, 5000)
    before = values.copy()
    for tail in (0.01, 1e-4):
        assert edges_of(values, tail)[-3] == pytest.approx(np.quantile(values, 1 - tail), rel=0.02)
    assert edges_of(values, 1e-4)[-1] > edges_of(values)[-1]
    np.testing.assert_array_equal(values, before)


def test_single_precision_gives_the_same_edges():
    values = np.random.default_rng(0).lognormal(5, 4, 5000).astype(np.float32)
    values[:1000] = 0
    values[1000] = np.nan
    for edges_of in (reference_edges, logarithmic_edges):
        np.testing.assert_allclose(edges_of(values), edges_of(values.astype(np.float64)), rtol=1e-4)


@given(VALUES, st.integers(1, 9))
@settings(max_examples=30, deadline=None)
def test_counting_in_blocks_changes_nothing(values, size):
    whole = Histogram.fill(values, np.array([-10.0, 0.0, 10.0]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(histograms, "_BLOCK", size)
        blocks = Histogram.fill(values, np.array([-10.0, 0.0, 10.0]))
    assert whole.counts.tolist() == blocks.counts.tolist()
    assert whole.undefined == blocks.undefined == np.isnan(values).sum()


@pytest.mark.parametrize("values", [np.zeros(9), np.full(9, 3.0), np.array([np.nan]), np.array([])])
def test_range_of_a_constant(values):
    assert np.all(np.diff(reference_edges(values)) > 0)


def test_refuses_counts_that_do_not_fit():
    with pytest.raises(DataFormatError, match="Received: 3 edges, 2 counts"):
        Histogram(np.array([0.0, 1.0, 2.0]), np.array([1, 2]))


@given(st.lists(st.integers(0, 12), min_size=3, max_size=30), st.integers(1, 1000))
@settings(max_examples=100, deadline=None)
def test_joined_bins_hold_enough(counts, num_generated):
    histogram = Histogram(np.arange(len(counts) - 1.0), np.array(counts))
    edges = joined_edges(histogram, num_generated)
    values = np.repeat(np.arange(len(counts)) - 0.5, counts)
    joined = Histogram.fill(values, edges)
    assert set(edges) <= set(histogram.edges)
    needed = 5 * max(1, sum(counts) / num_generated)
    assert len(edges) == 2 or joined.counts.min() >= needed


def test_a_profile_has_the_means_of_its_bins():
    places, values = np.array([-1.0, 0.1, 0.4, 0.9, 1.0, 1.5, 2.0, 9.0]), np.array([7, 1.0, 3, np.nan, 5, np.nan, 7, 7])
    found = histograms.profile(places, values, np.array([0.0, 0.5, 0.95, 2.0]))
    np.testing.assert_array_equal(found.mean, [2.0, np.nan, 5.0])
    np.testing.assert_allclose(found.error, [1.0, np.nan, np.nan])
    assert found.edges.tolist() == [0.0, 0.5, 0.95, 2.0]
