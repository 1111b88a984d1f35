import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import make_showers
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.challenge import correlation as slow_correlation

from calogen.errors import DataFormatError
from calogen.metrics import correlations
from calogen.metrics.correlations import (
    FIGURE_10,
    INCIDENT_ENERGY,
    Correlations,
    correlate,
    difference,
    joined,
    pair_histograms,
)
from calogen.metrics.features import Feature, Features
from calogen.metrics.histograms import Histogram, logarithmic_edges, reference_edges
from calogen.observables.challenge import compute_features, layer_correlation
from calogen.observables.shapes import compute_shapes
from calogen.showers.voxels import PHOTONS_DATASET1


def features_of(*columns):
    """Features a, b, c ... and incident energies 1, 2, 3 ..."""
    values = np.stack([np.asarray(column, np.float64) for column in columns], axis=1)
    names = tuple(Feature(name) for name in "abcdefgh"[: len(columns)])
    return Features(names, values, np.arange(len(values)) + 1.0)


def gaussians(number, correlation, seed=1):
    """Two with this correlation, and an independent one."""
    first, second, third = np.random.default_rng(seed).normal(size=(3, number))
    return features_of(first, correlation * first + np.sqrt(1 - correlation**2) * second, third)


def slow_pairs(features):
    """Coefficients pair by pair, of the showers that have both."""
    number = len(features.features)
    found = np.full((number, number), np.nan)
    for i, first in enumerate(features.values.T):
        for j, second in enumerate(features.values.T):
            both = np.isfinite(first) & np.isfinite(second)
            if both.any() and np.ptp(first[both]) > 0 and np.ptp(second[both]) > 0:
                found[i, j] = slow_correlation(first[both].tolist(), second[both].tolist())
    return found


def test_correlated_gaussians():
    """The error of the coefficient is (1 - r^2) / sqrt(n); five of them are exceeded once in two million seeds."""
    found = correlate(gaussians(20_000, 0.6))
    expected = np.array([[1, 0.6, 0], [0.6, 1, 0], [0, 0, 1]])
    errors = (1 - expected**2) / np.sqrt(20_000)
    assert (np.abs(found.values - expected) <= 5 * errors + 1e-12).all()
    np.testing.assert_allclose(found.errors, errors, rtol=0.35, atol=1e-9)  # 100 rounds: 7 %
    assert np.diagonal(found.errors).tolist() == [0, 0, 0]


@given(st.integers(0, 2**32), st.integers(1, 400), st.floats(0, 0.7))
@settings(max_examples=30, deadline=None)
def test_coefficients_agree_with_the_slow_twin(seed, number, undefined):
    rng = np.random.default_rng(seed)
    columns = rng.normal(size=(5, number)) * [[1.0], [1e6], [1e-9], [1.0], [3.0]] + [[0], [1e7], [0], [5], [0]]
    columns[3] = columns[0] ** 2 + columns[2] * 1e9
    columns[rng.random((5, number)) < undefined] = np.nan
    features = features_of(*columns)
    np.testing.assert_allclose(correlate(features).values, slow_pairs(features), rtol=1e-8, atol=1e-8)


def test_layers_agree_with_the_challenges():
    features = compute_features(make_showers(PHOTONS_DATASET1, 300))
    names = [name for name in features.names if name.startswith("layer_energy")]
    found = correlate(features, names)
    np.testing.assert_allclose(found.values, layer_correlation(features), rtol=1e-12)
    whole = correlate(features)
    chosen = [whole.names.index(name) for name in names]
    np.testing.assert_allclose(whole.values[np.ix_(chosen, chosen)], found.values, rtol=1e-12)
    np.testing.assert_allclose(whole.values, whole.values.T, atol=1e-12)


def test_constant_and_undefined_columns_have_no_coefficient():
    rng = np.random.default_rng(0)
    half = rng.normal(size=1000)
    half[::2] = np.nan
    other = np.where(np.isnan(half), rng.normal(size=1000), np.nan)
    found = correlate(features_of(rng.normal(size=1000), np.full(1000, 0.1), np.full(1000, np.nan), half, other))
    missing = np.isnan(found.values)
    assert missing[[1, 2]].all()
    assert missing[:, [1, 2]].all()
    assert missing[3, 4], "never defined together"
    assert missing.sum() == 5 * 5 - 9 + 2
    np.testing.assert_array_equal(np.isnan(found.errors), missing)


def test_exact_relations():
    line = np.arange(50.0)
    found = correlate(features_of(line, 3 - 2 * line, line % 2), names=("a", "b", INCIDENT_ENERGY))
    np.testing.assert_allclose(found.values, [[1, -1, 1], [-1, 1, -1], [1, -1, 1]], atol=1e-12)
    np.testing.assert_allclose(found.errors, 0, atol=1e-9)


def test_few_showers():
    assert np.isnan(correlate(features_of([1.0], [2.0])).values).all()
    two = correlate(features_of([1.0, 2.0], [2.0, 1.0]))
    np.testing.assert_allclose(two.values, [[1, -1], [-1, 1]])
    assert np.isnan(two.errors).any(), "resampled, the two are often one"


def test_the_blocks_of_columns_do_not_matter(monkeypatch):
    features = compute_features(make_showers(PHOTONS_DATASET1, 300))
    whole = correlate(features)
    monkeypatch.setattr(correlations, "_COLUMNS", 3)
    found = correlate(features)
    np.testing.assert_allclose(found.values, whole.values, atol=1e-12)
    np.testing.assert_allclose(found.errors, whole.errors, atol=1e-12)


def test_identical_samples_do_not_differ():
    one = correlate(gaussians(500, 0.3))
    found = difference(one, one)
    assert (found.values == 0).all()
    assert (found.significances == 0).all()
    assert found.mean_absolute.value == 0


def test_differences_are_significant_where_they_are():
    reference, generated = (correlate(gaussians(5000, value, seed)) for value, seed in ((0.6, 1), (0.4, 2)))
    found = difference(reference, generated)
    assert found.values[0, 1] == pytest.approx(-0.2, abs=0.06)
    errors = np.hypot((1 - 0.36) / np.sqrt(5000), (1 - 0.16) / np.sqrt(5000))
    assert found.errors[0, 1] == pytest.approx(errors, rel=0.35)
    assert found.significances[0, 1] == found.values[0, 1] / found.errors[0, 1]
    assert found.significances[0, 1] < -8
    assert abs(found.significances[0, 2]) < 5
    assert found.mean_absolute.value == pytest.approx(np.abs(found.values).sum() / 6)
    with pytest.raises(DataFormatError, match="the same observables. Received: a, b, the reference a, b, c"):
        difference(reference, correlate(gaussians(100, 0.5), ["a", "b"]))


def test_the_mean_has_the_spread_of_samples_that_are_drawn_anew():
    """Four of the ten coefficients share an observable, and go together: more than the error of independent ones."""

    def sample(seed):
        common, noise = np.random.default_rng(seed).normal(size=(2, 400))
        others = [common + 0.1 * np.random.default_rng(100 * seed + i).normal(size=400) for i in range(4)]
        return features_of(noise, *others)

    found = [difference(correlate(sample(seed)), correlate(sample(500 + seed))) for seed in range(1, 101)]
    told = np.mean([item.mean_absolute.error for item in found])
    # a resampled difference scatters about the found one, which scatters about 0: their absolute values differ a little
    drawn = np.std([item.mean_absolute.value for item in found])
    independent = np.mean([np.sqrt((item.errors[np.triu_indices(5, 1)] ** 2).sum()) / 10 for item in found])
    assert 0.75 * drawn < told < 1.6 * drawn
    assert told > 1.3 * independent


def test_samples_in_one_order_are_resampled_apart():
    """With the same draws for both, their differences would not scatter."""
    first, second = np.random.default_rng(5).normal(size=(2, 300))
    one, other = correlate(features_of(first, second)), correlate(features_of(first, second + 1e-3 * first))
    found = difference(one, other)
    assert found.mean_absolute.error == pytest.approx(found.errors[0, 1], rel=0.5)
    assert found.errors[0, 1] == pytest.approx(np.sqrt(2 / 300), rel=0.3)


def test_a_few_showers_have_a_mean_without_a_warning():
    for number in (2, 3):
        values = np.random.default_rng(number).normal(size=(2, number))
        found = correlate(features_of(*values)).mean_absolute
        assert 0 < found.value <= 1


def test_significances_of_exact_values():
    names, zero = ("a", "b"), np.zeros((2, 2))
    values = np.array([[0, 0.5], [np.nan, 1.0]])
    item = Correlations(names, values, zero, values[None])
    np.testing.assert_array_equal(item.significances, [[0, np.inf], [np.nan, np.inf]])
    assert (item.mean_absolute.value, item.mean_absolute.error) == (0.5, 0)
    assert np.isnan(replace(item, values=zero * np.nan).mean_absolute.value)
    text = json.loads(json.dumps(item.to_json(), allow_nan=False))
    assert text["values"] == [[0, 0.5], [None, 1]]
    assert text["significances"] == [[0, None], [None, None]]
    assert text["names"] == ["a", "b"]


def test_seeds_make_errors_repeatable():
    features = gaussians(300, 0.2)
    first, second, other = (correlate(features, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.errors, second.errors)
    assert (first.errors != other.errors).any()


def test_features_and_shapes_are_joined():
    showers = make_showers(PHOTONS_DATASET1, 200)
    features, shapes = compute_features(showers), compute_shapes(showers)
    both = joined(features, shapes)
    assert both.names == features.names + shapes.names
    np.testing.assert_array_equal(both["num_hits"], shapes["num_hits"])
    found = pair_histograms({"Geant4": both}, FIGURE_10)
    assert [item.names for item in found] == list(FIGURE_10)
    np.testing.assert_array_equal(found[0].edges[0], reference_edges(shapes["num_hits"]))
    np.testing.assert_array_equal(found[0].edges[1], logarithmic_edges(features["total_energy"]))
    assert found[0].logarithmic == (False, True)
    with pytest.raises(DataFormatError, match="the same showers"):
        joined(features, compute_shapes(showers[:-1]))


def test_pairs_are_counted_in_the_references_bins():
    reference, generated = gaussians(400, 0.5, 1), gaussians(300, -0.5, 2)
    generated.values[:30, 0] = np.nan
    generated.values[20:50, 1] = np.nan
    generated.values[60] = 100.0
    (found,) = pair_histograms({"reference": reference, "generated": generated}, [("a", "b")])
    for axis, name in enumerate("ab"):
        np.testing.assert_array_equal(found.edges[axis], reference_edges(reference[name]))
        counts = Histogram.fill(reference[name], found.edges[axis]).counts
        np.testing.assert_array_equal(found.counts["reference"].sum(axis=1 - axis), counts)
    assert found.undefined == {"reference": 0, "generated": 50}
    assert found.counts["generated"].sum() == 250
    assert found.counts["generated"][-1, -1] == 1
    inside, _, _ = np.histogram2d(reference["a"], reference["b"], found.edges)
    np.testing.assert_array_equal(found.counts["reference"][1:-1, 1:-1], inside)
    np.testing.assert_allclose(found.shares("generated"), found.counts["generated"][1:-1, 1:-1] / 300)
    text = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert text["names"] == ["a", "b"]
    assert np.shape(text["counts"]["generated"]) == tuple(len(edges) + 1 for edges in found.edges)
    assert text["undefined"] == found.undefined


def test_pairs_of_nothing():
    nothing = features_of([np.nan, np.nan], [1.0, 2.0])
    (found,) = pair_histograms({"reference": nothing}, [("a", INCIDENT_ENERGY)])
    assert found.undefined == {"reference": 2}
    assert (found.shares("reference") == 0).all()
    with pytest.raises(DataFormatError, match="needs the reference"):
        pair_histograms({}, [("a", "b")])
    for function in (lambda: pair_histograms({"reference": nothing}), lambda: correlate(nothing, ["num_hits"])):
        with pytest.raises(DataFormatError, match="the features are a, b. Received: num_hits"):
            function()
