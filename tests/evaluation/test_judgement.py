import json
import math
from dataclasses import replace

import numpy as np
import pytest
from conftest import make_showers

from calogen.errors import ConfigError, DataFormatError
from calogen.evaluation.assessment import scored_rows
from calogen.evaluation.judgement import OWN_BINNING, default_min_energy, judge_samples
from calogen.evaluation.streaming import sample_of
from calogen.metrics.distributions import FEATURE_METRICS, Bins
from calogen.metrics.histograms import Histogram, num_bins_filled, reference_edges
from calogen.metrics.resampling import measure
from calogen.observables.challenge import BINNINGS, compute_features, layer_correlation
from calogen.observables.shapes import ALL_SHAPES, compute_shapes, list_shapes
from calogen.showers.voxels import VoxelGeometry, VoxelLayer

EDGES = (0.0, 20.0, 50.0, 90.0)
SAME = VoxelGeometry("same", tuple(VoxelLayer(number, EDGES, 4) for number in (0, 1, 2)))
"""Three layers of one shape, which can be swapped."""


def showers_of(number, seed, geometry=SAME):
    showers = make_showers(geometry, number, seed)
    return replace(showers, energies=showers.energies.astype(np.float64))


def judged(reference, *others, **options):
    first = sample_of(reference)
    return judge_samples(first, *(sample_of(item, reference=first) for item in others), **options)


def compare_values(reference, generated, edges, seed=0, axis=None):
    bins = Bins(edges, FEATURE_METRICS, False, axis)
    return measure(reference, generated, bins, resampling="cells", seed=seed)


def worst(judgement, metric="ks"):
    """feature -> its value, all energies together."""
    return {item.feature.name: item.numbers_of()[metric].value for item in judgement.scored if not item.incident_energy}


def test_equal_samples_differ_nowhere():
    showers = showers_of(300, 1)
    found = judged(showers, showers, showers)
    assert len(found.scored) == 2 + 3 * 8 + 1 + len(np.unique(showers.incident_energies)) + len(list_shapes(SAME))
    for item in found.scored:
        for metric in FEATURE_METRICS:
            assert item.numbers_of()[metric].value == 0 or math.isnan(item.numbers_of()[metric].value), (
                item.feature,
                metric,
            )
            assert item.second_reference[metric] == item.numbers_of()[metric] or math.isnan(
                item.numbers_of()[metric].value
            )
    np.testing.assert_array_equal(found.correlations["reference"], found.correlations["generated"])


def test_swapped_layers_show_in_their_rows_only():
    showers = showers_of(500, 2)
    swapped = showers.energies.copy()
    swapped[:, SAME.slices[1]], swapped[:, SAME.slices[2]] = (showers.energies[:, SAME.slices[i]] for i in (2, 1))
    found = judged(showers, replace(showers, energies=swapped))
    rows = worst(found)
    for name in ("total_energy", "response", "voxel_energy", "layer_energy_0", "width_eta_0", "sparsity_0"):
        assert rows[name] < 1e-2, name  # sums in another order move a shower across another at most
    assert rows["layer_energy_1"] > 0.05
    assert rows["layer_energy_1"] == pytest.approx(rows["layer_energy_2"], abs=1e-12)
    first, second = (found.correlations[name] for name in ("reference", "generated"))
    np.testing.assert_allclose(second, first[np.ix_([0, 2, 1], [0, 2, 1])], atol=1e-10)
    np.testing.assert_array_equal(first, layer_correlation(compute_features(showers)))


def test_shifted_response_shows_in_the_energies_only():
    """All voxels 10 % up: centres and widths stay, but for voxels that rise above the threshold."""
    showers = showers_of(500, 3)
    found = worst(judged(showers, replace(showers, energies=showers.energies * 1.1)))
    assert found["response"] > 0.4
    assert max(value for name, value in found.items() if name.startswith(("centroid", "width"))) < 0.02


def test_each_number_is_that_of_its_feature_bins_and_energy():
    reference, generated = showers_of(400, 4), showers_of(350, 5)
    found = judged(reference, generated, seed=7)
    features = [compute_features(item) for item in (reference, generated)]
    for name, energy in (("width_phi_2", 0.0), ("layer_energy_1", 0.0), ("response", 2.0**11), ("response", 2.0**17)):
        chosen = [item.incident_energies == energy if energy else slice(None) for item in features]
        values = [item[name][rows] for item, rows in zip(features, chosen, strict=True)]
        item = found.find(name, energy)
        axis = BINNINGS["1-photons"].edges(item.feature, values[0].max(), 1.0, energy)
        edges = axis if item.coarse is None else reference_edges(values[0], min_bins=20)
        assert (item.coarse is None) == (name != "response"), "the challenge's 20 bins of it are wider than its range"
        assert item.numbers_of() == compare_values(*values, edges, 7, axis)
        for label, sample in zip(("reference", "generated"), values, strict=True):
            np.testing.assert_array_equal(item.histograms[label].counts, Histogram.fill(sample, edges).counts)
            np.testing.assert_array_equal(item.histograms[label].edges, edges)


def test_the_floor_is_the_second_reference():
    samples = [showers_of(number, seed) for number, seed in ((400, 6), (300, 7), (200, 8))]
    with_floor, other = judged(*samples), judged(samples[0], samples[2])
    for item in other.scored:
        floor = with_floor.find(item.feature.name, item.incident_energy).second_reference
        for metric in FEATURE_METRICS:
            assert floor[metric] == item.numbers_of()[metric] or math.isnan(floor[metric].value)
        assert not item.second_reference
        assert set(item.histograms) == {"reference", "generated"}
    assert with_floor.num_showers == {"reference": 400, "generated": 300, "second_reference": 200}


def test_own_bins_lie_between_quantiles_of_the_reference():
    reference, generated = showers_of(500, 9), showers_of(500, 10)
    found = judged(reference, generated, binning=OWN_BINNING)
    item = found.find("centroid_eta_1")
    low, high = np.quantile(compute_features(reference)["centroid_eta_1"], [0.01, 0.99])
    edges = item.histograms["reference"].edges
    assert low - 5 * np.diff(edges)[0] < edges[0] < low < high < edges[-1] < high + 5 * np.diff(edges)[0]
    energies = found.find("layer_energy_1").histograms["reference"].edges
    assert np.ptp(np.diff(np.log(energies))) < 1e-6
    assert worst(found) == worst(judged(reference, generated))


def test_where_the_challenges_axis_is_too_coarse_the_other_metrics_have_own_bins():
    """All of 5 to 15 mm lies in few bins of 0 to 500 mm: the challenge's number is nearly blind, chi2 had no bins."""
    narrow = VoxelGeometry("narrow", (VoxelLayer(0, tuple(np.linspace(0, 20, 21).tolist()), 1),))
    reference = showers_of(400, 3, narrow)
    moved = np.roll(reference.energies, 1, axis=1)
    moved[:, 0] = 0
    found = judged(reference, replace(reference, energies=moved), binning="1-photons").find("centroid_r_0")
    values = [
        compute_features(replace(reference, energies=item))["centroid_r_0"] for item in (reference.energies, moved)
    ]
    axis = BINNINGS["1-photons"].edges(found.feature, 0.0, 1.0)
    assert found.coarse == num_bins_filled(values[0], axis) < 5
    expected = compare_values(*values, axis)["challenge_separation_power"].value
    assert found.numbers_of()["challenge_separation_power"].value == expected
    assert found.numbers_of()["separation_power"].value > 2 * found.numbers_of()["challenge_separation_power"].value
    assert found.numbers_of()["chi2_per_ndf"].value > 1
    edges = found.histograms["reference"].edges
    np.testing.assert_array_equal(edges, reference_edges(values[0], min_bins=20))
    assert num_bins_filled(values[0], edges) >= 20
    assert judged(reference, reference, binning=OWN_BINNING).find("centroid_r_0").coarse is None


@pytest.mark.parametrize("number", [30, 400])
@pytest.mark.parametrize("binning", [*BINNINGS, OWN_BINNING])
def test_no_feature_is_left_in_under_20_bins(binning, number):
    showers = showers_of(number, 3)
    found = judged(showers, showers, binning=binning)
    values, shapes = compute_features(showers), compute_shapes(showers)
    for item in found.scored:
        if item.feature.quantity != "voxel_energy":
            column = (shapes if item.feature.quantity in ALL_SHAPES else values)[item.feature.name]
            column = column[showers.incident_energies == item.incident_energy] if item.incident_energy else column
            column = column[~np.isnan(column)]
            if np.ptp(np.quantile(column, [0.01, 0.99])):
                assert num_bins_filled(column, item.histograms["reference"].edges) >= 20, item.feature.name
                assert item.numbers_of()["chi2_per_ndf"].value == 0 or len(column) < 40


@pytest.mark.parametrize("binning", ["1-photons", OWN_BINNING])
def test_shapes_are_judged_where_they_are_defined(binning):
    """A quarter of the generated showers has nothing in a layer: that share is told, the others are compared."""
    reference, generated = showers_of(400, 9), showers_of(400, 10)
    energies = generated.energies.copy()
    energies[::4, SAME.slices[1]] = 0
    changed = replace(generated, energies=energies)
    found = judged(reference, changed, binning=binning)
    item = found.find("containment_radius_1")
    values = [compute_shapes(each)["containment_radius_1"] for each in (reference, changed)]
    defined = [column[~np.isnan(column)] for column in values]
    edges = reference_edges(values[0], min_bins=20)
    assert item.numbers_of() == compare_values(*defined, edges, 1)
    np.testing.assert_array_equal(item.histograms["generated"].edges, edges)
    assert item.undefined["generated"] == pytest.approx(1 - len(defined[1]) / 400)
    assert item.undefined["generated"] >= 0.25
    assert item.undefined["reference"] < 0.05
    rows = scored_rows(item)
    assert {(row["quantity"], row["layer"]) for row in rows} == {("containment_radius", 1)}
    assert [row["undefined"] for row in rows] == [item.undefined] * len(FEATURE_METRICS)
    assert found.find("num_hits").undefined == found.find("response").undefined == {"reference": 0, "generated": 0}


def test_shapes_that_are_never_defined():
    """No energy in a layer, in either sample or in both: no number, and far from Geant4's if that has some."""
    showers = showers_of(100, 1)
    energies = showers.energies.copy()
    energies[:, SAME.slices[1]] = 0
    dead = replace(showers, energies=energies)
    for pair in ((showers, dead), (dead, showers), (dead, dead)):
        item = judged(*pair).find("inner_fraction_1")
        worst = {"ks", "separation_power", "challenge_separation_power"} if pair[0] is showers else set()
        numbers = {name: value.value for name, value in item.numbers_of().items()}
        assert {name: value for name, value in numbers.items() if not math.isnan(value)} == dict.fromkeys(worst, 1.0)
        assert [item.undefined[name] == 1 for name in ("reference", "generated")] == [each is dead for each in pair]
        assert {row["value"] for row in scored_rows(item)} == ({None, 1.0} if worst else {None})


def test_samples_have_shapes_or_have_none():
    showers = showers_of(100, 1)
    first = sample_of(showers)
    with pytest.raises(DataFormatError, match="generated must have shapes exactly if the reference does"):
        judge_samples(first, sample_of(showers, reference=first, shapes=False))
    plain = sample_of(showers, shapes=False)
    assert {item.feature.quantity for item in judge_samples(plain, plain).scored}.isdisjoint(ALL_SHAPES)


def test_many_incident_energies_are_continuous():
    rng = np.random.default_rng(0)
    reference, generated = (
        replace(showers_of(200, seed), incident_energies=10 ** rng.uniform(3, 5, 200)) for seed in (1, 2)
    )
    found = judged(reference, generated, binning="2")
    assert {item.incident_energy for item in found.scored} == {0.0}


def test_json_is_plain_and_complete():
    reference, generated = showers_of(300, 13), showers_of(300, 14)
    dead = generated.energies.copy()
    dead[:, SAME.slices[2]] = 0
    found = judged(reference, replace(generated, energies=dead), showers_of(300, 15))
    rows = json.loads(json.dumps([row for item in found.scored for row in scored_rows(item)], allow_nan=False))
    assert len(rows) == 5 * len(found.scored)
    row = rows[0]
    item = found.find("total_energy")
    assert row["quantity"] == "total_energy"
    assert (row["layer"], row["incident_energy"], row["metric"]) == (None, None, "ks")
    assert (row["value"], row["error"]) == (item.numbers_of()["ks"].value, item.numbers_of()["ks"].error)
    assert (row["floor"], row["floor_error"]) == (item.second_reference["ks"].value, item.second_reference["ks"].error)
    assert "floor" not in scored_rows(judged(reference, reference).scored[0])[0]


def test_statistical_floor_of_independent_samples():
    """Two samples of 400: KS above 1.95 / sqrt(200) has probability 1e-3 for each of 39; one seed of 25 fails."""
    found = worst(judged(showers_of(400, 16), showers_of(400, 17)))
    assert len(found) == 41
    assert max(value for name, value in found.items() if name != "voxel_energy") < 1.95 / np.sqrt(200)


def test_refuses_other_incident_energies():
    reference = showers_of(300, 18)
    first = sample_of(reference)
    part = reference[reference.incident_energies < 2.0**14]
    for other in (part, reference[:1]):
        sample = sample_of(other, reference=first)
        with pytest.raises(DataFormatError, match="generated must have two showers or more, with the reference's"):
            judge_samples(first, sample)
        with pytest.raises(DataFormatError, match="second_reference must have"):
            judge_samples(first, first, sample)
    doubled = replace(reference, incident_energies=reference.incident_energies * 2)
    with pytest.raises(DataFormatError, match="9 incident energies. Received: 32 showers at 1 others, as 524288"):
        judge_samples(first, sample_of(doubled, reference=first))


def test_refuses_other_shares_of_continuous_incident_energies():
    showers = replace(showers_of(300, 18), incident_energies=np.linspace(1e3, 1e5, 300))
    first = sample_of(showers)
    judge_samples(first, sample_of(showers[::2], reference=first))
    for other in (showers[:200], showers[150:], replace(showers, incident_energies=showers.incident_energies * 2)):
        with pytest.raises(DataFormatError, match="in the same shares"):
            judge_samples(first, sample_of(other, reference=first))


def test_refuses_what_does_not_go_together():
    reference, other = showers_of(50, 19), showers_of(50, 19, VoxelGeometry("two", SAME.layers[:2]))
    first = sample_of(reference)
    for sample in (sample_of(other, reference=first), sample_of(reference, 2.0, first)):
        with pytest.raises(DataFormatError, match="geometry and min_energy"):
            judge_samples(first, sample)
    larger = replace(reference, energies=reference.energies * 2)
    with pytest.raises(DataFormatError, match="counted in the reference's cells"):
        judge_samples(first, sample_of(larger))
    with pytest.raises(ConfigError, match="1-photons, 1-pions, 2, 3, reference. Received: 4"):
        judge_samples(first, first, binning="4")
    with pytest.raises(DataFormatError, match="judged features are total_energy, .* Received: depth"):
        judge_samples(first, first).find("depth")


def test_thresholds_of_the_binnings():
    assert default_min_energy("1-pions") == default_min_energy(OWN_BINNING) == 1.0
    assert default_min_energy("3") == pytest.approx(0.0151515, rel=1e-5)
