import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from conftest import TINY_VOXELS, counts_of, make_showers
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import challenge as slow
from toy_showers import scattered_showers

from calogen.errors import ConfigError, DataFormatError, GeometryError
from calogen.metrics.distributions import Bins, challenge_separation_power, separation_power
from calogen.metrics.features import Feature, Features
from calogen.metrics.histograms import Histogram, energy_axis
from calogen.metrics.resampling import measure, spectrum_cells
from calogen.observables import challenge, voxels
from calogen.observables.challenge import BINNINGS
from calogen.showers.sample import Showers
from calogen.showers.voxels import PHOTONS_DATASET1, PIONS_DATASET1, VoxelGeometry, VoxelLayer
from calogen.showers.windows import ATLAS_VAE_WINDOW

KINDS = ("low", "low-normed", "high")


def showers_with_everything(geometry, seed=3):
    """14 showers: an empty one, one with empty layers, single voxels, all but one small, energies at the threshold."""
    showers = make_showers(geometry, 14, seed)
    energies = showers.energies.astype(np.float64)
    energies[0] = 0
    energies[1, geometry.slices[-1]] = 0
    energies[2:5] *= np.random.default_rng(1).random((3, geometry.size)) < 0.02
    energies[5] = 0
    energies[5, :: geometry.size // 3] = 7.0
    energies[6] = 1.0
    energies[7] = np.nextafter(1.0, 0)
    energies[8] = 1.0 + (np.arange(geometry.size) == geometry.size - 1) * 1e9
    return replace(showers, energies=energies)


def of_twin(showers, min_energy):
    """name -> `[n]`."""
    rows = [
        slow.features(showers.geometry, row, incident, min_energy)
        for row, incident in zip(showers.energies, showers.incident_energies, strict=True)
    ]
    return {name: [row[name] for row in rows] for name in rows[0]}


def compare(showers, min_energy):
    found, expected = challenge.compute_features(showers, min_energy), of_twin(showers, min_energy)
    assert set(found.names) == set(expected)
    assert found.values.shape == (len(showers), len(expected))
    assert found.values.dtype == np.float64
    for name in found.names:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-10, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("geometry", [PHOTONS_DATASET1, PIONS_DATASET1, TINY_VOXELS], ids=lambda item: item.name)
def test_features_agree_with_the_slow_twin(geometry):
    compare(showers_with_everything(geometry), 1.0)


@pytest.mark.parametrize("min_energy", [0.0, 0.5e-3 / 0.033, 300.0])
def test_features_agree_with_the_slow_twin_at_other_thresholds(min_energy):
    compare(showers_with_everything(TINY_VOXELS), min_energy)


@given(st.integers(0, 2**32), st.sampled_from([1e-18, 1e-12, 1e-3, 1.0, 1e6]))
@settings(max_examples=40, deadline=None)
def test_features_of_any_size_agree_with_the_slow_twin(seed, scale):
    """Where 1e-16 MeV is much or little, and where one voxel outweighs the others by up to ten orders of magnitude."""
    compare(scattered_showers(TINY_VOXELS, 6, seed, scale, decades=10), 0.0)


def test_files_of_single_precision_give_the_same_features():
    """The energies are summed in double precision; the threshold is not rounded to single precision."""
    single = make_showers(PHOTONS_DATASET1, 50)
    double = replace(single, energies=single.energies.astype(np.float64))
    found, expected = (challenge.compute_features(showers).values for showers in (single, double))
    np.testing.assert_array_equal(found, expected)
    for energy, empty in ((0.1, 0), (0.7, 1)):  # 0.100000001 and 0.699999988 in single precision
        one = replace(single[:1], energies=np.full((1, 368), energy, np.float32))
        assert challenge.compute_features(one, energy)["sparsity_1"] == empty


def test_layers_of_many_voxels():
    """More than a small integer counts."""
    geometry = VoxelGeometry("large", (VoxelLayer(1, tuple(range(71)), 1000), VoxelLayer(2, (0, 5, 9), 1)))
    energies = np.ones((3, geometry.size))
    energies[1, 1000:] = 0
    found = challenge.compute_features(Showers(geometry, np.full(3, 1e5), energies))
    np.testing.assert_allclose(found["sparsity_1"], [0, 1 - 1000 / 70_000, 0], atol=1e-15)
    np.testing.assert_allclose(found["layer_energy_1"], [70_000, 1000, 70_000])


def test_features_where_energy_is_agree_with_those_that_know_undefined():
    showers = make_showers(PIONS_DATASET1, 40)
    found = challenge.compute_features(showers, 0.0)
    defined = found["layer_energy_14"] > 0
    assert 0 < defined.sum() < 40
    for layer in PIONS_DATASET1.layers:
        here = found[f"layer_energy_{layer.id}"] > 0
        expected = {"centroid_r": voxels.radial_centroid(showers, layer.id)}
        expected |= {"width_r": voxels.radial_width(showers, layer.id)}
        for axis in ("eta", "phi") if layer.num_alpha > 1 else ():
            expected[f"centroid_{axis}"] = voxels.voxel_centroid(showers, layer.id, axis)
            expected[f"width_{axis}"] = voxels.voxel_width(showers, layer.id, axis)
        for quantity, values in expected.items():
            ours = found[f"{quantity}_{layer.id}"]
            np.testing.assert_allclose(ours[here], values[here], rtol=1e-10, atol=1e-5)
            assert (ours[~here] == 0).all()
            assert np.isnan(values[~here]).all()


def test_features_do_not_depend_on_the_blocks(monkeypatch):
    showers = make_showers(PHOTONS_DATASET1, 60)
    whole = challenge.compute_features(showers).values
    monkeypatch.setattr(challenge, "_BLOCK_VALUES", 7 * 368)
    np.testing.assert_allclose(challenge.compute_features(showers).values, whole, rtol=1e-12, atol=1e-12)
    monkeypatch.setattr(challenge, "_BLOCK_VALUES", 1)
    np.testing.assert_allclose(challenge.compute_features(showers).values, whole, rtol=1e-12, atol=1e-12)


def test_features_by_name():
    features = challenge.compute_features(make_showers(PHOTONS_DATASET1, 5))
    assert len(features.names) == 2 + 3 * 5 + 4 * 2 + 5
    assert len(challenge.list_features(PIONS_DATASET1)) == 2 + 7 + 4 * 4 + 3 * 7
    assert features.names[:4] == ("total_energy", "response", "layer_energy_0", "layer_energy_1")
    np.testing.assert_array_equal(
        features.of("width_phi"), np.stack([features[f"width_phi_{i}"] for i in (1, 2)], axis=1)
    )
    np.testing.assert_allclose(features.of("layer_energy").sum(axis=1), features["total_energy"])
    np.testing.assert_allclose(features["response"] * features.incident_energies, features["total_energy"])
    with pytest.raises(DataFormatError, match="the features are total_energy, .* Received: width_eta_0"):
        features["width_eta_0"]


# Data sets, quantities, layers, and there the first edge, the last edge and the number of edges, written out from the
# challenge's evaluate_plotting_helper.py; in data sets 2 and 3, layers 12 to 14 are like the others.
AXES = [
    ("1-photons 1-pions 2 3", "response", (None,), (0.5, 1.5, 101)),
    ("1-photons 1-pions", "layer_energy", (0, 12), (1.0, 54321.0, 40)),
    ("1-pions", "layer_energy", (14,), (1.0, 54321.0, 40)),
    ("2 3", "layer_energy", (13,), (0.5e-3 / 0.033, 54321.0, 40)),
    ("1-photons 1-pions", "centroid_eta centroid_phi", (1, 2), (-100, 100, 101)),
    ("1-pions", "centroid_eta centroid_phi", (12, 13), (-500, 500, 101)),
    ("2 3", "centroid_eta centroid_phi", (0, 12, 13, 44), (-30, 30, 101)),
    ("1-photons 1-pions", "width_eta width_phi", (1, 2), (0, 100, 101)),
    ("1-pions", "width_eta width_phi", (12, 13), (0, 400, 101)),
    ("2 3", "width_eta width_phi", (0, 12, 13, 44), (0, 30, 101)),
    ("1-photons 1-pions", "centroid_r width_r", (0, 3), (0, 500, 101)),
    ("1-photons 1-pions", "centroid_r width_r", (12,), (0, 1500, 101)),
    ("1-pions", "centroid_r width_r", (13, 14), (0, 1500, 101)),
    ("2 3", "centroid_r", (0, 9, 14, 44), (0, 42, 101)),
    ("2 3", "width_r", (0, 9, 14, 44), (0, 20, 101)),
    ("1-photons 1-pions 2 3", "sparsity", (12,), (0, 1, 21)),
    ("1-pions 2 3", "sparsity", (13, 14), (0, 1, 21)),
]
EXPECTED_BINS = {
    (name, quantity, layer, 0): expected
    for names, quantities, layers, expected in AXES
    for name, quantity, layer in product(names.split(), quantities.split(), layers)
} | {
    ("1-photons", "response", None, 2**11): (0.4, 1.4, 21),
    ("1-photons", "response", None, 2**12): (0.9, 1.1, 21),
    ("1-photons", "response", None, 2**22): (0.9, 1.1, 21),
    ("1-pions", "response", None, 2**8): (0.4, 1.4, 21),
    ("1-pions", "response", None, 2**22): (0.4, 1.4, 21),
}


@pytest.mark.parametrize(("name", "quantity", "layer", "energy"), EXPECTED_BINS)
def test_bins_are_the_challenges(name, quantity, layer, energy):
    edges = BINNINGS[name].edges(Feature(quantity, layer), 54321.0, BINNINGS[name].min_energy, energy)
    assert (edges[0], edges[-1], len(edges)) == pytest.approx(EXPECTED_BINS[name, quantity, layer, energy])
    steps = np.diff(np.log(edges) if quantity == "layer_energy" else edges)
    np.testing.assert_allclose(steps, steps[0], rtol=1e-9)


def test_every_quantity_of_every_data_set_has_its_bins_in_the_table():
    known = {feature.quantity for feature in challenge.list_features(PIONS_DATASET1)} - {"total_energy"}  # ours
    assert {(name, quantity) for name, quantity, *_ in EXPECTED_BINS} == {*product(BINNINGS, known)}


def test_the_spectrum_of_voxels_has_the_challenges_bins():
    for name, first in {"1-photons": 1.0, "1-pions": 1.0, "2": 0.5e-3 / 0.033, "3": 0.5e-3 / 0.033}.items():
        edges, _ = spectrum_cells(BINNINGS[name].min_energy, 700.0)
        assert (edges[0], edges[-1], len(edges)) == (first, 700.0, 50)


def test_bins_of_energies_reach_from_the_threshold_to_the_references_maximum():
    edges = BINNINGS["1-photons"].edges(Feature("layer_energy", 1), 54321.0, 1.0)
    assert len(edges) == 40
    assert edges[[0, -1]].tolist() == [1.0, 54321.0]
    np.testing.assert_allclose(edges, np.logspace(0, np.log10(54321.0), 40), rtol=1e-14)
    spectrum = energy_axis(BINNINGS["2"].min_energy, 700.0, 50)
    np.testing.assert_allclose(spectrum, np.logspace(np.log10(0.0151515151515), np.log10(700), 50), rtol=1e-10)
    for nothing in (0.0, 1.0):
        assert energy_axis(1.0, nothing, 40)[-1] == 10.0
    with pytest.raises(ConfigError, match="above 0"):
        energy_axis(0.0, 10.0, 40)
    with pytest.raises(ConfigError, match="Received: depth"):
        BINNINGS["2"].edges(Feature("depth"), 1.0, 1.0)


def inside(pair):
    return challenge_separation_power(counts_of(*pair))


def histograms(first, second, edges):
    return Histogram.fill(np.array(first, float), edges), Histogram.fill(np.array(second, float), edges)


def test_separation_power_of_equal_and_of_disjoint_histograms():
    edges = np.arange(4.0)
    assert inside(histograms([0, 0, 1], [0, 0, 1], edges)) == 0
    assert inside(histograms([0, 0, 1], [2, 2, 2], edges)) == pytest.approx(1)


def test_separation_power_agrees_with_the_slow_twin():
    rng = np.random.default_rng(5)
    edges = np.linspace(0.4, 1.4, 21)
    for shift in (0.0, 0.1, 0.6):
        first, second = rng.normal(0.9, 0.2, 300), rng.normal(0.9 + shift, 0.3, 200)
        found = measure(first, second, Bins(edges, ("challenge_separation_power",)))["challenge_separation_power"]
        assert (
            inside(histograms(first, second, edges))
            == found.value
            == pytest.approx(slow.separation_power(first, second, edges), rel=1e-10)
        )
        assert found.error > 0


def test_separation_power_drops_what_lies_outside_and_ours_does_not():
    """Half of the generated showers miss the axis: 1/2 sum (p - q)^2 / (p + q) = 1/2 (1/4 / 3/2 + 1/2) = 1/3."""
    pair = histograms([0.5] * 8, [0.5] * 4 + [9.0] * 4, np.array([0.0, 1.0, 2.0]))
    assert inside(pair) == 0
    assert separation_power(counts_of(*pair)) == pytest.approx(1 / 3)
    outside = histograms([0.5] * 8, [9.0] * 8, np.array([0.0, 1.0, 2.0]))
    assert math.isnan(inside(outside))


@pytest.mark.parametrize("small_voxels", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("geometry", [PHOTONS_DATASET1, TINY_VOXELS], ids=lambda item: item.name)
def test_classifier_inputs_agree_with_the_slow_twin(kind, geometry, small_voxels):
    showers = showers_with_everything(geometry)
    found = challenge.classifier_inputs(showers, kind, 1.0, small_voxels)
    for row, energies, incident in zip(found, showers.energies, showers.incident_energies, strict=True):
        expected = slow.classifier_input(geometry, energies, incident, 1.0, kind, small_voxels)
        np.testing.assert_allclose(row, expected, rtol=1e-10, atol=1e-12)


def test_normed_voxels_have_no_threshold_and_their_layers_have():
    """TINY_VOXELS: 2 and 8 voxels. Of 10 and 0.5 MeV, the layer's energy is 10; of 8 voxels of 0.25 MeV it is 0."""
    energies = np.array([[10.0, 0.5, *[0.25] * 8], [3.0, 1.0, 4.0, 0.5, *[0.0] * 5, 12.0]])
    showers = Showers(TINY_VOXELS, np.array([1e3, 1e4]), energies)
    empty, nothing = 0.25 / 1e-16, -8.0  # the challenge's 1e-16 MeV divides, 1e-8 MeV is in the logarithm
    expected = [
        [3.0, 1.0, 0.05, *[empty] * 8, 1.0, nothing],
        [4.0, 0.75, 0.25, 0.25, 0.03125, *[0.0] * 5, 0.75, math.log10(4), math.log10(16)],
    ]
    found = challenge.classifier_inputs(showers, "low-normed", 1.0)
    np.testing.assert_allclose(found, expected, rtol=1e-8)
    cut = challenge.classifier_inputs(showers, "low-normed", 1.0, small_voxels=False)
    expected[0][2:11] = [0.0] * 9
    expected[1][4] = 0.0
    np.testing.assert_allclose(cut, expected, rtol=1e-8)
    for small_voxels in (True, False):  # the other inputs have the threshold either way
        low = challenge.classifier_inputs(showers, "low", 1.0, small_voxels)
        np.testing.assert_allclose(low[0], [3.0, 0.01, *[0.0] * 9])


@pytest.mark.parametrize(("kind", "photons", "pions"), [("low", 369, 534), ("low-normed", 374, 541), ("high", 30, 46)])
def test_classifier_inputs_have_the_published_sizes(kind, photons, pions):
    for geometry, size in ((PHOTONS_DATASET1, photons), (PIONS_DATASET1, pions)):
        found = challenge.classifier_inputs(make_showers(geometry, 9), kind)
        assert found.shape == (9, size)
        assert found.dtype == np.float64
        assert np.isfinite(found).all()


def test_high_level_inputs_need_the_features_only():
    showers = showers_with_everything(PIONS_DATASET1)
    features = challenge.compute_features(showers, 2.0)
    found = challenge.high_level_inputs(features)
    np.testing.assert_array_equal(found, challenge.classifier_inputs(showers, "high", 2.0))
    np.testing.assert_array_equal(found[:, 0], np.log10(features.incident_energies))
    np.testing.assert_allclose(10 ** found[:, 1:8] - 1e-8, features.of("layer_energy"), rtol=1e-9, atol=1e-8)


def test_classifier_inputs_of_an_unknown_kind():
    with pytest.raises(ConfigError, match="low, low-normed, high. Received: middle"):
        challenge.classifier_inputs(make_showers(TINY_VOXELS, 2), "middle")


def test_correlation_of_layer_energies():
    features = challenge.compute_features(make_showers(PHOTONS_DATASET1, 60))
    found, energies = challenge.layer_correlation(features), features.of("layer_energy").T.tolist()
    expected = [[slow.correlation(first, second) for second in energies] for first in energies]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    columns = np.arange(5.0)[:, None] * [1, -2, 0]
    names = tuple(Feature("layer_energy", number) for number in range(3))
    found = challenge.layer_correlation(Features(names, columns, np.ones(5)))
    np.testing.assert_allclose(found[:2, :2], [[1, -1], [-1, 1]])
    assert np.isnan(found[2]).all()
    assert challenge.layer_correlation(Features(names[:1], columns[:, :1], np.ones(5))).shape == (1, 1)


def test_refuses_what_is_not_the_challenges():
    cells = Showers(ATLAS_VAE_WINDOW, np.array([1e3]), np.ones((1, ATLAS_VAE_WINDOW.size)))
    folded = replace(TINY_VOXELS, attributes=(("symmetriseAlpha", "true"),))
    for function in (challenge.compute_features, lambda item: challenge.classifier_inputs(item, "low")):
        with pytest.raises(GeometryError, match="need voxels"):
            function(cells)
        with pytest.raises(GeometryError, match="from 0 to pi"):
            function(replace(make_showers(TINY_VOXELS, 2), geometry=folded))
