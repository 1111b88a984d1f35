import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TINY_VOXELS, make_showers

from calogen.errors import DataFormatError
from calogen.evaluation.assessment import FILE_NAME, Assessment, particle_of, read_assessment
from calogen.evaluation.judgement import judge
from calogen.evaluation.metrics import Value
from calogen.evaluation.streaming import sample_of
from calogen.files import read_json
from calogen.geometry import PHOTONS_DATASET1, PIONS_DATASET1, VoxelGeometry

NUMBERS = {"auc_low": Value(0.9, 0.01), "fpd": Value(0.0204, math.nan), "kpd": Value(math.nan, math.nan)}


def make_assessment(geometry: VoxelGeometry = TINY_VOXELS, factor: float = 1.0, number: int = 200) -> Assessment:
    """Showers against others whose energies are `factor` times as large."""
    samples = [make_showers(geometry, number, seed) for seed in (1, 2, 3)]
    samples[1] = replace(samples[1], energies=samples[1].energies * np.float32(factor))
    first = sample_of(samples[0])
    judgement = judge(first, *(sample_of(item, reference=first) for item in samples[1:]))
    warnings, provenance = ("take care",), {"seed": 1}
    return Assessment("GAN", geometry.name, particle_of(geometry), judgement, NUMBERS, {}, warnings, provenance)


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    written = make_assessment()
    written.write(tmp_path)
    read = read_assessment(tmp_path)
    assert json.dumps(read.to_json()) == json.dumps(written.to_json())
    rows = {
        (row["quantity"], row["metric"], row["incident_energy"]): row for row in read_json(tmp_path / "metrics.json")
    }
    assert rows["response", "ks", None]["value"] == written.judgement.find("response").measured["ks"].value
    assert rows["showers", "auc_low", None]["value"] == NUMBERS["auc_low"].value
    assert rows["showers", "fpd", None]["error"] is None
    for ours, theirs in zip(read.judgement.scored, written.judgement.scored, strict=True):
        assert (ours.feature, ours.incident_energy) == (theirs.feature, theirs.incident_energy)
        for name, histogram in theirs.histograms.items():
            np.testing.assert_array_equal(ours.histograms[name].edges, histogram.edges)
            np.testing.assert_array_equal(ours.histograms[name].counts, histogram.counts)
    assert read.numbers["auc_low"] == NUMBERS["auc_low"]
    assert math.isnan(read.numbers["fpd"].error)


def test_the_worst_come_first() -> None:
    worst = make_assessment(factor=1.3).worst(3)
    values = [item.measured["separation_power"].value for item in worst]
    assert values == sorted(values, reverse=True)
    assert worst[0].feature.name == "response"
    assert {item.incident_energy for item in worst} == {0.0}


def test_places_only_with_the_challenges_voxels_and_enough_showers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert make_assessment().placements() == []
    found = make_assessment(PHOTONS_DATASET1)
    names = {item.ranking.metric for item in found.placements()}
    assert {"auc_low", "separation_power_response", "separation_power_mean", "separation_power_width_r_12"} <= names
    assert not {"fpd", "kpd"} & names, "200 showers"
    monkeypatch.setattr("calogen.evaluation.assessment.MIN_SHOWERS", 200)
    names = {item.ranking.metric for item in found.placements()}
    assert "fpd" in names
    assert "kpd" not in names, "not a number"


def test_only_a_second_reference_of_no_fewer_showers_is_the_floor() -> None:
    """The distance of fewer showers is larger: any model would beat it."""
    found = replace(make_assessment(PHOTONS_DATASET1), floor={"auc_low": Value(0.5, 0.01)})
    fewer = {**found.judgement.num_showers, "second_reference": 199}
    for item, known in ((found, True), (replace(found, judgement=replace(found.judgement, num_showers=fewer)), False)):
        floors = {place.ranking.metric: place.own_floor for place in item.placements()}
        assert (floors["auc_low"] == Value(0.5, 0.01)) == known
        assert (
            (floors["separation_power_response"] is not None) == (floors["separation_power_mean"] is not None) == known
        )


@pytest.mark.parametrize("label", ["", "Geant4", "$\\bad{$", "two\nlines"])
def test_labels_that_figures_cannot_show_are_refused(label: str) -> None:
    with pytest.raises(DataFormatError, match="label"):
        Assessment.from_json(make_assessment(number=50).to_json() | {"label": label})


def test_other_bins_and_thresholds_have_no_place() -> None:
    found = make_assessment(PHOTONS_DATASET1)
    own_bins = replace(found, judgement=replace(found.judgement, binning="reference"))
    assert {item.ranking.metric for item in own_bins.placements()} == {"auc_low"}
    assert replace(found, judgement=replace(found.judgement, min_energy=100.0)).placements() == []


def test_the_particle_is_told_by_the_layers() -> None:
    assert particle_of(PHOTONS_DATASET1) == "photon"
    assert particle_of(replace(PIONS_DATASET1, name="another name")) == "pion"
    assert particle_of(TINY_VOXELS) == ""


def _without(*path: Any) -> Callable[[Any], None]:
    def damage(value: Any) -> None:
        for key in path[:-1]:
            value = value[key]
        del value[path[-1]]

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        _without("judgement"),
        _without("numbers", "auc_low", 0),
        _without("judgement", "scored", 0, "edges", 0),
        _without("judgement", "scored", 0, "histograms", "reference", "counts"),
        lambda value: value.update(warnings=None),
        lambda value: value["judgement"].update(num_showers=[1]),
        lambda value: value["judgement"]["scored"][0].update(edges="ab"),
        lambda value: value["judgement"]["scored"].append(3),
        lambda value: value["judgement"].update(num_showers={}),
        lambda value: value["provenance"].update(data=3),
        _without("judgement", "scored", 0, "measured", "ks"),
        _without("judgement", "scored", 0, "histograms", "generated"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, damage: Callable[[Any], None]) -> None:
    value = json.loads(json.dumps(make_assessment(number=50).to_json()))
    damage(value)
    (tmp_path / FILE_NAME).write_text(json.dumps(value))
    with pytest.raises(DataFormatError, match=FILE_NAME):
        read_assessment(tmp_path)


def test_a_directory_without_an_evaluation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match="which calogen evaluate writes. Received: none"):
        read_assessment(tmp_path)
