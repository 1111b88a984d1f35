import json
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from conftest import make_showers

from calogen.errors import DataFormatError
from calogen.evaluation.compare import ALL_ENERGIES, Measurement, compare, compare_showers
from calogen.evaluation.summary import response_curve
from calogen.metrics.distributions import FEATURE_METRICS, OBSERVABLE_METRICS, Bins, Floor, Value
from calogen.observables.cells import average_showers, response, shower_depth
from calogen.observables.observable import Observable, Observed
from calogen.observables.voxels import voxel_observables
from calogen.showers.sample import Showers, concatenate
from calogen.showers.voxels import PHOTONS_DATASET1
from calogen.showers.windows import ATLAS_VAE_WINDOW

PAIR = (Observable("response", response, "response"), Observable("shower_depth", shower_depth, "depth", "m", 1e3))


def toy(n, seed=0, energy=1000.0, scale=1.0):
    rng = np.random.default_rng(seed)
    sizes = [layer.size for layer in ATLAS_VAE_WINDOW.layers]
    shares, scales = np.repeat([0.01, 0.17, 0.8, 0.02], sizes), scale * energy / np.repeat(sizes, sizes)
    return Showers(ATLAS_VAE_WINDOW, np.full(n, energy), rng.gamma(shares, scales, (n, len(shares))))


def compare_at(reference, generated, observables, seed=0):
    return compare_showers(reference, generated, observables, seed, 1000.0)


def rows_of(result):
    return [row for item in result.values() for row in item.measurements]


def test_table_and_histograms():
    result = compare_at(toy(60), {"good": toy(80, 1), "low": toy(70, 2, scale=0.5)}, PAIR)
    assert [item.incident_energy for item in result.values()] == [1000, 1000]
    histograms = result["response"].histograms
    assert set(histograms) == {"reference", "good", "low"}
    assert histograms["reference"].entries == 60
    np.testing.assert_array_equal(histograms["low"].edges, histograms["reference"].edges)
    assert len(rows_of(result)) == 2 * 2 * len(OBSERVABLE_METRICS)
    rows = {(row.observable, row.sample, row.metric): row for row in rows_of(result)}
    assert rows["response", "low", "mean_ratio"].measured.value == pytest.approx(0.5, rel=0.1)
    assert not rows["response", "low", "ks"].within_floor
    assert rows["response", "good", "mean_ratio"].within_floor
    assert rows["response", "good", "ks"].num_generated == 80
    assert rows["shower_depth", "low", "ks"].within_floor, "the depth does not depend on the scale"


def test_numbers_are_those_of_a_sample_that_was_compared():
    item = compare_at(toy(30), {"good": toy(30, 1)}, PAIR[:1])["response"]
    assert item.numbers_of("good")["ks"] == item.measurements[0].measured
    assert item.second_reference == {}
    with pytest.raises(DataFormatError, match="metrics of response exist for samples good. Received: generated"):
        item.numbers_of()


def test_floors_are_by_bootstrap_of_showers_or_there_are_none():
    """Cells, for large samples, have what dealt-out showers give instead."""
    tables = [Observed(toy(40, seed), PAIR) for seed in (0, 1, 2)]
    samples = {"generated": tables[1], "second_reference": tables[2]}
    bins = Bins(np.linspace(0.8, 1.2, 21), FEATURE_METRICS)
    columns = [(PAIR[0], ALL_ENERGIES)]
    (drawn,) = compare(columns, tables[0], samples, lambda *_: bins, "showers")
    assert (set(drawn.floors), drawn.expected) == (set(samples), {})
    assert len(drawn.measurements) == 2 * len(FEATURE_METRICS)
    (dealt,) = compare(columns, tables[0], samples, lambda *_: bins, "cells")
    assert (dealt.floors, set(dealt.expected)) == ({}, set(samples))
    assert dealt.second_reference == dealt.numbers_of("second_reference")
    with pytest.raises(DataFormatError, match="needs floors by bootstrap.* Received: none for"):
        rows_of({"response": dealt})


def test_axes_are_in_their_units():
    item = compare_at(toy(40), {"other": toy(40, 1)}, PAIR)["shower_depth"]
    assert item.feature.axis_label == "depth [m]"
    assert 0.2 < item.histograms["reference"].edges.mean() < 0.4


def test_average_shower():
    average = average_showers({"Geant4": toy(40), "other": toy(40, 1)}, 1000.0)
    assert [layer.layer for layer in average] == ["presampler", "front", "middle", "back"]
    front = average[1]
    assert list(front.profiles) == ["Geant4", "other"]
    assert front.cells["other"].shape == (57, 3)
    assert len(front.profiles["Geant4"]["eta"].mean) == 57


def test_rows_are_json_and_undefined_is_counted():
    empty = toy(30, 1)
    empty = replace(empty, energies=empty.energies * (np.arange(30) < 1)[:, None])
    rows = rows_of(compare_at(toy(30), {"empty": empty}, PAIR[1:]))
    assert {(row.num_generated, row.undefined) for row in rows} == {(1, 29)}
    text = json.dumps([row.to_json() for row in rows], allow_nan=False)
    measured = {row["metric"]: row["measured"]["value"] for row in json.loads(text)}
    assert (measured["mean_ratio"], measured["ks"]) == (None, 1.0)


def test_limits_of_one_and_two_sided_metrics():
    row = Measurement(1.0, "x", "y", "mean_ratio", Value(0.8, 0.1), Floor(1.0, 0.1, 0.15), 9, 9, 0)
    assert not row.within_floor
    assert replace(row, measured=Value(1.1, 0.1)).within_floor
    assert replace(row, metric="chi2_per_ndf").within_floor, "a small chi2 is no fault"


def test_same_seed_same_table():
    first, second = (rows_of(compare_at(toy(40), {"other": toy(40, 1)}, PAIR, seed=5)) for _ in range(2))
    assert first == second


def test_showers_of_one_energy_are_compared():
    several, other = concatenate([toy(30), toy(20, 3, 2000.0)]), concatenate([toy(20, 4, 2000.0), toy(30, 1)])
    found, expected = (compare_at(*pair, PAIR) for pair in ((several, {"b": other}), (toy(30), {"b": toy(30, 1)})))
    assert rows_of(found) == rows_of(expected)
    with pytest.raises(DataFormatError, match="no shower has incident energy 1000 MeV"):
        compare_at(toy(9), {"other": toy(9, energy=2000.0)}, PAIR)


def test_response_curve():
    samples = [toy(200, 1, 1000.0), toy(100, 2, 4000.0), toy(200, 3, 1000.0)]
    curve = response_curve(samples)
    assert curve.energies.tolist() == [1000, 4000]
    merged = concatenate([samples[0], samples[2]]).response
    assert curve.mean[0].value == pytest.approx(merged.mean())
    assert curve.mean[0].error == pytest.approx(merged.std(ddof=1) / 20)
    assert curve.spread[0].value == pytest.approx(merged.std(ddof=1))
    assert curve.resolution[0].value == pytest.approx(merged.std(ddof=1) / merged.mean())


def test_all_energies_together():
    reference, generated = (concatenate([toy(30, seed), toy(50, seed + 1, 4000.0)]) for seed in (0, 2))
    together = compare_showers(reference, {"good": generated}, [replace(PAIR[0], log_axis=True), PAIR[1]])
    item = together["response"]
    assert item.incident_energy == ALL_ENERGIES
    assert item.histograms["reference"].entries == item.histograms["good"].entries == 80
    steps = np.diff(np.log(item.histograms["reference"].edges))
    np.testing.assert_allclose(steps, steps[0])
    assert np.ptp(np.diff(together["shower_depth"].histograms["reference"].edges)) < 1e-9
    json.dumps([row.to_json() for row in item.measurements], allow_nan=False)
    twice = concatenate([generated, generated])
    assert compare_showers(reference, {"twice": twice}, PAIR[:1])["response"].measurements[0].num_generated == 160


def test_an_observable_names_its_metrics():
    named = (replace(PAIR[0], metrics=("mean_ratio", "ks")), replace(PAIR[1], metrics=()))
    result = compare_at(toy(30), {"good": toy(30, 1)}, named)
    assert [(row.observable, row.metric) for row in rows_of(result)] == [
        ("response", "mean_ratio"),
        ("response", "ks"),
    ]
    assert result["shower_depth"].histograms["good"].entries == 30


def test_an_observable_names_its_tail():
    wide = replace(PAIR[0], tail=1e-4)
    narrow, reaching = (compare_at(toy(200), {}, [item])["response"].histograms for item in (PAIR[0], wide))
    assert reaching["reference"].edges[-1] > narrow["reference"].edges[-1]


def test_voxel_energies_need_no_more_memory_than_the_showers():
    """Both samples lie in memory already; edges and histograms of a million voxels cost about one more of them."""
    reference, generated = (make_showers(PHOTONS_DATASET1, 3000, seed) for seed in (0, 1))
    reference, generated = (replace(item, incident_energies=np.full(3000, 1000.0)) for item in (reference, generated))
    item = voxel_observables(PHOTONS_DATASET1)[-1]
    tracemalloc.start()
    together = compare_showers(reference, {"GAN": generated}, [item])["voxel_energy"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert together.histograms["reference"].entries == together.histograms["GAN"].entries == 3000 * 368
    assert together.measurements == ()
    assert peak < 2 * reference.energies.nbytes


def test_other_shares_of_the_energies_are_refused():
    reference = concatenate([toy(30), toy(50, 1, 4000.0)])
    for other in (toy(80), concatenate([toy(40), toy(40, 1, 4000.0)])):
        with pytest.raises(DataFormatError, match="2 incident energies in the same shares"):
            compare_showers(reference, {"other": other}, PAIR)


def test_an_observable_that_a_sample_never_has_is_beyond_its_floor():
    depth = Observable(
        "depth", lambda showers: np.where(showers.energies.any(axis=1), shower_depth(showers), np.nan), ""
    )
    empty = replace(toy(70), energies=np.zeros_like(toy(70).energies))
    rows = {row.metric: row for row in rows_of(compare_at(toy(60), {"empty": empty}, [depth]))}
    for metric in ("ks", "separation_power"):
        assert (rows[metric].measured, rows[metric].within_floor) == (Value(1.0, 0.0), False)
        assert 0 < rows[metric].floor.limit < 1
    assert rows["mean_ratio"].within_floor, "not defined"
