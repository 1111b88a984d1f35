"""Numbers typed in by hand are those of the CaloChallenge's tables, independently read from the source."""

import math

import pytest

from calogen.errors import DataFormatError
from calogen.evaluation.criteria import criteria
from calogen.evaluation.submissions import (
    placement_table,
    rank,
    ranking_notes,
    read_submissions,
)
from calogen.metrics.distributions import Value


def _numbers(particle, name):
    published = read_submissions(particle)
    entries = {item.name: item.numbers for item in (published.geant4, *published.submissions)}
    return entries[name]


@pytest.mark.parametrize(
    ("particle", "name", "metric", "value", "error"),
    [
        ("photon", "CaloDiffusion", "auc_low", "0.6346", "0.0028"),
        ("photon", "CaloINN", "auc_high", "0.6377", "0.0034"),
        ("photon", "CaloShower3GAN", "fpd", "20.5146", "0.3082"),
        ("photon", "CaloDiffusion", "kpd", "-0.0100", "0.0515"),
        ("photon", "CaloGraph", "log_posterior", "-3.5833", "0.0310"),
        ("photon", "Geant4", "auc_low", "0.4992", "0.0024"),
        ("pion", "Geant4", "auc_low", "0.6089", "0.0035"),
        ("pion", "Geant4", "auc_high", "0.5579", "0.0024"),
        ("pion", "DNN CaloSim", "auc_low", "0.6764", "0.0037"),
        ("pion", "CaloShowerGAN", "kpd", "3.0518", "0.1067"),
        ("pion", "BoloGAN", "log_posterior", "-8.0202", "0.1331"),
        ("pion", "CaloShowerGAN", "time_cpu_100", "70.7", "6.3"),
        ("pion", "CaloINN", "time_gpu_1", "24.75", "2"),
        ("photon", "Calo-VQ", "density", "115.883", None),
        ("pion", "CaloForest", "precision", "0.643", None),
        ("pion", "CaloMan", "coverage", "0.584", None),
        ("pion", "CaloForest", "num_parameters_training", "5297822388", None),
        ("photon", "CaloShower2GAN", "num_parameters_generation", "367380", None),
        ("photon", "BoloGAN", "separation_power_width_r_12", "169.216", None),
        ("photon", "CaloShower3GAN", "separation_power_sparsity_2", "109.683", None),
        ("photon", "CaloShower2GAN", "separation_power_centroid_phi_2", "3.075", None),
        ("photon", "CaloForest", "separation_power_response", "82.630", None),
        ("pion", "BoloGAN", "separation_power_centroid_eta_13", "10.766", None),
        ("pion", "CaloShowerGAN", "separation_power_layer_energy_0", "147.509", None),
        ("pion", "CaloShowerGAN", "separation_power_width_eta_12", "1.675", None),
        ("pion", "CaloShowerGAN", "separation_power_width_phi_1", "8.109", None),
        ("pion", "CaloShowerGAN", "separation_power_centroid_r_14", "4.683", None),
        ("pion", "Calo-VQ", "separation_power_voxel_energy", "3.437", None),
        ("photon", "CaloMan", "separation_power_width_eta", "82.359", None),
        ("pion", "CaloGraph", "separation_power_layer_energy", "12.751", None),
        ("photon", "CaloScore", "separation_power_mean", "0.556", None),
        ("pion", "CaloShowerGAN", "separation_power_mean", "8.299", None),
        ("pion", "CaloDiffusion", "separation_power_mean", "2.848", None),
    ],
)
def test_spot_values(particle, name, metric, value, error):
    found, scale = _numbers(particle, name)[metric], criteria(particle)[metric].scale
    for shown, ours in ((value, found.value), (error, found.error)):
        if shown is None:
            assert math.isnan(ours)
            continue
        last_digit = 10.0 ** -len(shown.partition(".")[2])
        # 4 digits are kept of separation powers
        tolerance = max(last_digit, 1e-3 * abs(float(shown)) if "separation" in metric else 0.0)
        assert ours * scale == pytest.approx(float(shown), abs=0.501 * tolerance)


def test_geant4s_separation_powers_have_the_spread_of_the_splits():
    floor = _numbers("pion", "Geant4")["separation_power_layer_energy_14"]
    assert 1000 * floor.value == pytest.approx(0.357, abs=0.0005)
    assert floor.error == 8.7e-5
    assert 1000 * _numbers("photon", "Geant4")["separation_power_mean"].value == pytest.approx(0.273, abs=0.0005)


GANS = {"photon": ("BoloGAN", "CaloShower2GAN", "CaloShower3GAN"), "pion": ("BoloGAN", "CaloShowerGAN")}
PLACES = {  # of the challenge's GANs among all submissions, 1 = best
    "auc_low": {"photon": (11, 13, 12), "pion": (10, 8)},
    "auc_high": {"photon": (13, 10, 11)},
    "fpd": {"photon": (15, 13, 10), "pion": (11, 7)},
    "kpd": {"photon": (15, 13, 9), "pion": (11, 6)},
    "log_posterior": {"photon": (13, 12, 11), "pion": (10, 8)},
    "num_parameters_generation": {"photon": (2, 1, 3), "pion": (3, 4)},
    "time_cpu_1": {"photon": (4, 9, 7)},
    "time_cpu_10000": {"pion": (2, 4)},
    "time_gpu_10000": {"photon": (6, 9, 8)},
    "separation_power_layer_energy": {"photon": (15, 10, 9)},
    "separation_power_response": {"photon": (13, 8, 9)},
    "separation_power_voxel_energy": {"photon": (10, 13, 14), "pion": (12, 6)},
    "separation_power_centroid_phi": {"photon": (14, 11, 5)},
    "separation_power_centroid_r": {"pion": (9, 2)},
    "separation_power_width_r": {"photon": (15, 12, 11)},
    "separation_power_sparsity": {"pion": (12, 7)},
}


@pytest.mark.parametrize("particle", GANS)
def test_published_gans_get_their_places_back(particle):
    names, expected = GANS[particle], {metric: item[particle] for metric, item in PLACES.items() if particle in item}
    found = [{item.ranking.metric: item for item in rank(particle, _numbers(particle, name))} for name in names]
    assert {metric: tuple(places[metric].position for places in found) for metric in expected} == expected
    for name, places in zip(names, found, strict=True):
        assert list(places) == [metric for metric in criteria(particle) if metric in places]
        assert all(name in item.alike for item in places.values())


def test_leaders():
    table = {particle: read_submissions(particle) for particle in ("photon", "pion")}

    def leader(particle, metric):
        return table[particle].ranking(metric).published[0][0]

    assert [leader("photon", metric) for metric in ("auc_low", "auc_high", "fpd", "kpd", "log_posterior")] == [
        *("CaloINN", "CaloDiffusion", "CaloScore", "CaloDiffusion", "CaloDiffusion")
    ]
    assert [leader("pion", metric) for metric in ("auc_low", "auc_high", "log_posterior")] == [
        *("DNN CaloSim", "CaloDiffusion", "DNN CaloSim")
    ]
    assert leader("photon", "separation_power_centroid_eta_2") == "CaloScore distilled"
    # Calo-VQ's density is 115, where Geant4 has 0.99
    assert leader("photon", "density") == "CaloGraph"
    assert table["photon"].ranking("density").published[-1][0] == "CaloMan"


@pytest.mark.parametrize("particle", ["photon", "pion"])
def test_geant4_is_the_floor_and_has_no_place(particle):
    for metric in criteria(particle):
        ranking = read_submissions(particle).ranking(metric)
        assert "Geant4" not in dict(ranking.published)
        assert len(ranking.published) >= len(read_submissions(particle).submissions) - 2
    assert read_submissions(particle).ranking("fpd").floor == _numbers(particle, "Geant4")["fpd"]
    assert read_submissions(particle).ranking("time_cpu_1").floor is None


def _place(particle, metric, value, error=math.nan):
    (placement,) = rank(particle, {metric: Value(value, error)})
    return placement


def test_places_at_both_ends():
    best, worst = _place("photon", "auc_low", 0.51, 0.003), _place("photon", "auc_low", 1.0, 0.0)
    assert (best.position, best.alike, best.against_floor) == (1, (), "worse")
    assert (worst.position, worst.alike) == (16, ())
    assert best.remark == worst.remark == ""
    assert _place("photon", "log_posterior", -1.0).position == 1  # higher is better
    assert _place("photon", "log_posterior", -40.0).position == 16
    assert _place("photon", "log_posterior", -1.0).against_floor is None


def test_auc_on_either_side_of_a_half():
    """An AUC of 0.4 is as far from perfect as one of 0.6."""
    assert _place("pion", "auc_high", 0.3).position == _place("pion", "auc_high", 0.7).position == 2
    assert _place("pion", "auc_high", 0.3476).position == _place("pion", "auc_high", 0.6524).position == 1


def test_nearest_to_geant4_is_best():
    geant4 = _numbers("pion", "Geant4")["recall"].value
    assert _place("pion", "recall", geant4).position == 1
    assert _place("pion", "recall", geant4).remark == "as good as Geant4 against itself"
    assert _place("pion", "recall", 1.0).position > _place("pion", "recall", 0.75).position


def test_ties():
    """Equal values share a place; two standard errors of both decide who can be told apart."""
    assert _place("photon", "num_parameters_training", 4894732).position == 8
    assert _place("photon", "num_parameters_training", 4894732).alike == (
        *("CaloScore distilled", "CaloScore single-shot"),
    )
    assert _place("photon", "num_parameters_training", 4894733).position == 10
    assert _place("photon", "num_parameters_training", 4894733).alike == ()
    # CaloINN 0.6259 +- 0.0042, CaloDiffusion 0.6346 +- 0.0028, CaloFlow teacher 0.733
    assert _place("photon", "auc_low", 0.6300, 0.001).alike == ("CaloINN", "CaloDiffusion")
    assert _place("photon", "auc_low", 0.6300, 0.001).position == 2
    assert _place("photon", "auc_low", 0.6410, 0.001).alike == ()
    assert _place("photon", "auc_low", 0.6410, 0.001).position == 3
    assert _place("photon", "auc_low", 0.6410, 0.003).alike == ("CaloDiffusion",)
    assert _place("photon", "auc_low", 0.6410, 0.0065).alike == ("CaloINN", "CaloDiffusion")
    assert _place("photon", "auc_low", 0.6410, 0.003).remark == "cannot be told apart from CaloDiffusion"


def test_better_than_the_floor():
    """Pions of the two files are not alike: 0.609 is what Geant4 itself gets, 0.5 is out of reach."""
    suspicious = _place("pion", "auc_low", 0.55, 0.004)
    assert (suspicious.position, suspicious.against_floor) == (1, "better")
    assert suspicious.remark.startswith("better than Geant4 against itself: check")
    assert _place("pion", "auc_low", 0.605, 0.004).against_floor == "alike"
    assert _place("pion", "auc_low", 0.62, 0.001).against_floor == "worse"
    assert _place("photon", "auc_low", 0.55, 0.004).against_floor == "worse"
    assert _place("photon", "kpd", -1e-5, 5e-5).against_floor == "alike"


def test_missing_numbers():
    """CaloForest has no times on a GPU, CaloGraph none in large batches, DNN CaloSim no photons."""
    assert len(_place("pion", "time_gpu_10000", 1.0).ranking.published) == 10
    assert len(_place("pion", "time_gpu_1", 1.0).ranking.published) == 11
    assert placement_table([_place("pion", "time_gpu_10000", 1e9)]).rows[0][2] == "11 of 11"
    assert _place("pion", "time_gpu_10000", 1e9).places == (11, 11)
    assert "DNN CaloSim" not in {item.name for item in read_submissions("photon").submissions}
    assert rank("photon", {}) == []


@pytest.mark.parametrize(
    ("particle", "ours", "words"),
    [
        ("photon", {"auc": Value(0.6, 0.1)}, "auc_low, .*Received: auc$"),
        ("photon", {"separation_power_layer_energy_13": Value(0.6, 0.1)}, "Received: separation_power_layer_energy_13"),
        ("electron", {"auc_low": Value(0.6, 0.1)}, "one of photon, pion. Received: 'electron'"),
        ("photon", {"auc_low": Value(math.nan, 0.1)}, "auc_low must be finite"),
        ("photon", {"auc_low": Value(math.inf, 0.1)}, "auc_low must be finite"),
        ("photon", {"auc_low": Value(0.6, -0.1)}, "error of 0 or more"),
        ("photon", {"auc_low": Value(0.6, math.inf)}, "error of 0 or more"),
    ],
)
def test_nonsense_is_refused(particle, ours, words):
    with pytest.raises(DataFormatError, match=words):
        rank(particle, ours)


def test_geant4_on_our_own_files_is_the_floor_where_it_is_known():
    ours = {"auc_low": Value(0.62, 0.003), "fpd": Value(0.05, 0.001)}
    published, own = rank("pion", ours), rank("pion", ours, {"auc_low": Value(0.622, 0.003)})
    assert [item.against_floor for item in published] == ["worse", "worse"]
    assert [item.against_floor for item in own] == ["alike", "worse"]
    header, rows = placement_table(own)
    assert header[4:] == ("Geant4", "Geant4 here", "remark")
    assert rows[0][4:6] == ("0.6089 ± 0.0035", "0.6220 ± 0.0030")
    assert rows[1][5] == "-"


def test_the_excess_over_geant4_is_ranked():
    """CaloDiffusion's FPD is 2.7746 where Geant4's is 0.5110, CaloGraph's 22.3235: excesses of 2.2636 and 21.8125."""
    floor = Value(0.1, 0.0)  # of few showers: 100 in the table's units
    for excess, position in ((0.0022, 1), (0.0023, 2), (0.0217, 2), (0.0219, 3)):
        (place,) = rank("pion", {"fpd": Value(floor.value + excess, 0.0)}, {"fpd": floor})
        assert place.position == position
    (unknown,) = rank("pion", {"fpd": Value(0.1022, 0.0)})
    assert unknown.position == 7
    (time,) = rank("pion", {"time_cpu_1": Value(3.0, 0.0)}, {"time_cpu_1": Value(2.9, 0.0)})
    assert (time.position, time.own_floor) == (1, None), "Geant4 has no published time"


def test_places_are_a_range():
    """The best excesses of pions' FPD: 2.26, 21.81, 25.15, 25.18, 28.75, 82.49, with errors below 0.9."""
    floor = {"fpd": Value(0.1, 0.0)}
    for error, places, text in (
        (0.0001, (2, 2), "2 of 13"),
        (0.01, (1, 6), "1 to 6 of 13"),
        (0.004, (2, 5), "2 to 5 of 13"),
    ):
        (place,) = rank("pion", {"fpd": Value(0.118, error)}, floor)
        assert (place.places, place.text, place.position) == (places, text, 2)
        assert len(place.alike) == places[1] - places[0]
    (place,) = rank("pion", {"fpd": Value(0.118, 0.0001)}, {"fpd": Value(0.1, 0.01)})
    assert place.places == (1, 6), "the floor is uncertain"
    (place,) = rank("pion", {"fpd": Value(0.3, 10.0)})
    assert place.places == (1, 13)
    assert place.remark == "cannot be told apart from 12 submissions; as good as Geant4 against itself"


@pytest.mark.parametrize(("ours", "verdict"), [(0.802, "alike"), (0.704, "worse"), (0.9, "worse")])
def test_what_is_best_near_geant4_is_best_near_ours(ours, verdict):
    (place,) = rank("pion", {"precision": Value(ours, 0.005)}, {"precision": Value(0.804, 0.005)})
    assert place.against_floor == verdict


def test_table_of_places():
    places = rank("pion", {"auc_low": Value(0.795, 0.003), "time_cpu_1": Value(5.0, 0.1), "kpd": Value(0.001, 1e-4)})
    header, rows = placement_table(places)
    assert header == ("metric", "ours", "places", "best submission", "Geant4", "remark")
    assert rows == (
        ("AUC, voxels", "0.7950 ± 0.0030", "4 of 13", "0.6764 ± 0.0037 (DNN CaloSim)", "0.6089 ± 0.0035", ""),
        (
            *("KPD x 1000", "1.00 ± 0.10", "2 to 6 of 13", "0.089 ± 0.057 (CaloDiffusion)", "-0.008 ± 0.036"),
            "cannot be told apart from CaloFlow teacher, CaloGraph, CaloFlow student, CaloINN",
        ),
        (
            *("time per shower, CPU, batch of 1 [ms]", "5.00 ± 0.10", "1 to 2 of 13", "3.85 ± 0.96 (DNN CaloSim)", "-"),
            "cannot be told apart from DNN CaloSim",
        ),
    )
    more = rank(
        "pion", {f"separation_power_layer_energy_{layer}": Value(0.1, 0.0) for layer in (0, 1, 2, 3, 12, 13, 14)}
    )
    assert more[0].ranking.metric == "separation_power_layer_energy"  # their mean, which nobody gave
    assert [note.partition(":")[0] for note in ranking_notes([*places, *more, *places])] == [
        "times",
        "separation powers",
    ]
