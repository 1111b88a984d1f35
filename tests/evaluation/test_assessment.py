import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TINY_VOXELS, make_showers

import calogen
from calogen.errors import DataFormatError
from calogen.evaluation.assessment import FILE_NAME, Assessment, particle_of, read_assessment
from calogen.evaluation.judgement import judge_samples
from calogen.evaluation.streaming import sample_of
from calogen.evaluation.submissions import Placement
from calogen.files import read_json
from calogen.metrics.distributions import Value
from calogen.showers.files import ShowerFile
from calogen.showers.sample import Showers, concatenate
from calogen.showers.voxels import PHOTONS_DATASET1, PIONS_DATASET1, VoxelGeometry

NUMBERS = {"auc_low": Value(0.9, 0.01), "fpd": Value(0.0204, math.nan), "kpd": Value(math.nan, math.nan)}


def make_assessment(geometry: VoxelGeometry = TINY_VOXELS, factor: float = 1.0, number: int = 200) -> Assessment:
    """Showers against others whose energies are `factor` times as large."""
    samples = [make_showers(geometry, number, seed) for seed in (1, 2, 3)]
    samples[1] = replace(samples[1], energies=samples[1].energies * np.float32(factor))
    first = sample_of(samples[0])
    judgement = judge_samples(first, *(sample_of(item, reference=first) for item in samples[1:]))
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
    assert rows["response", "ks", None]["value"] == written.judgement.find("response").numbers_of()["ks"].value
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
    values = [item.numbers_of()["separation_power"].value for item in worst]
    assert values == sorted(values, reverse=True)
    assert worst[0].feature.name == "response"
    assert {item.incident_energy for item in worst} == {0.0}


def test_places_only_with_the_challenges_voxels_and_enough_showers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert make_assessment().placements() == []
    found = make_assessment(PHOTONS_DATASET1)
    names = {item.ranking.metric for item in found.placements()}
    assert {"separation_power_response", "separation_power_mean", "separation_power_width_r_12"} <= names
    assert not {"fpd", "kpd", "auc_low"} & names, "200 showers"
    monkeypatch.setattr("calogen.evaluation.assessment.MIN_SHOWERS", 200)
    names = {item.ranking.metric for item in found.placements()}
    assert {"fpd", "auc_low"} <= names
    assert "kpd" not in names, "not a number"


def test_a_second_reference_of_fewer_showers_is_no_floor_of_single_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The distance of fewer showers is larger: any model would beat it."""
    monkeypatch.setattr("calogen.evaluation.assessment.MIN_SHOWERS", 200)
    found = replace(make_assessment(PHOTONS_DATASET1), floor={"auc_low": Value(0.5, 0.01)})
    fewer = {**found.judgement.num_showers, "second_reference": 199}
    for item, known in ((found, True), (replace(found, judgement=replace(found.judgement, num_showers=fewer)), False)):
        floors = {place.ranking.metric: place.own_floor for place in item.placements()}
        assert (floors["auc_low"] == Value(0.5, 0.01)) == known


def test_the_floor_of_separation_powers_is_of_the_generated_files_size() -> None:
    """A second reference of 200 has the real difference; one of any other size is corrected by what is expected."""
    found = make_assessment(PHOTONS_DATASET1)

    def floor_of(assessment: Assessment, metric: str = "separation_power_response") -> Value | None:
        return {place.ranking.metric: place.own_floor for place in assessment.placements()}[metric]

    def with_response(**changes: Any) -> Assessment:
        scored = [replace(i, **changes) if i.feature.name == "response" else i for i in found.judgement.scored]
        return replace(found, judgement=replace(found.judgement, scored=tuple(scored)))

    second = found.judgement.find("response").second_reference["challenge_separation_power"]
    expected = {"generated": Value(0.05, 0.01), "second_reference": Value(0.02, 0.005)}
    assert floor_of(with_response(expected=expected)) == Value(pytest.approx(second.value + 0.03), second.error)
    assert floor_of(with_response(expected={}), "separation_power_response") == second, "an evaluation of old"
    alone = {"generated": found.judgement.find("response").numbers_of()}
    assert floor_of(with_response(expected=expected, numbers=alone)) == expected["generated"]
    assert floor_of(with_response(expected={}, numbers=alone)) is None
    assert floor_of(found, "separation_power_mean") is not None


def test_neighbourhoods_of_few_showers_need_a_floor_of_as_many() -> None:
    found = replace(make_assessment(PHOTONS_DATASET1), numbers={"coverage": Value(0.5, 0.01)})
    floor = {"coverage": Value(0.51, 0.01)}
    for sizes, given, known in (
        ((200, 200, 200), floor, True),
        ((200, 200, 0), {}, False),
        ((300, 200, 300), floor, False),
    ):
        numbers = dict(zip(("reference", "generated", "second_reference"), sizes, strict=True))
        item = replace(found, judgement=replace(found.judgement, num_showers=numbers), floor=given)
        places = {place.ranking.metric: place for place in item.placements()}
        assert ("coverage" in places) == known, sizes
        if known:
            assert places["coverage"].against_floor == "alike"


@pytest.fixture(scope="module")
def bundled_showers() -> Mapping[str, Showers]:
    """The bundled test showers of dataset 1's voxels, by particle."""
    paths = {"photon": PHOTONS_DATASET1, "pion": PIONS_DATASET1}
    folder = Path(calogen.__file__).parent / "data"
    found = {}
    for particle, geometry in paths.items():
        with ShowerFile(folder / f"{particle}s_test.h5", geometry) as file:
            found[particle] = concatenate([file.read(rows) for rows in file.rows])
    return found


def ranked(showers: Showers, particle: str, sizes: tuple[int, int], seed: int, factor: float = 1.0) -> list[Placement]:
    """Places of some of the showers, their energies times `factor`, against others of them."""
    order = np.random.default_rng(seed).permutation(len(showers))
    first, second = showers[np.sort(order[: sizes[0]])], showers[np.sort(order[sizes[0] : sum(sizes)])]
    second = replace(second, energies=second.energies * np.float32(factor))
    reference = sample_of(first, shapes=False)
    judgement = judge_samples(reference, sample_of(second, 1.0, reference, shapes=False), None, f"1-{particle}s", seed)
    return Assessment("same", "", particle, judgement, {}, {}, (), {}).placements()


@pytest.mark.parametrize("sizes", [(1100, 1100), (300, 1000), (1000, 300), (150, 150)])
@pytest.mark.parametrize("particle", ["photon", "pion"])
def test_geant4_itself_may_be_first_at_any_size(
    bundled_showers: Mapping[str, Showers], particle: str, sizes: tuple[int, int]
) -> None:
    """In 68 other splits of these showers, the range missed the first place in up to 0.4 % of the metrics of a split.

    Metrics go together: 5 % of them are taken as the limit. By the published floor most of them are far from it.
    """
    places = ranked(bundled_showers[particle], particle, sizes, 1)
    assert len(places) > 30
    assert sum(item.places[0] > 1 for item in places) <= 0.05 * len(places)
    assert sum(item.against_floor != "alike" for item in places) <= 0.05 * len(places)
    raw = [item.ranking.place(item.ours).position for item in places]
    assert np.median(raw) > 6 or sizes == (1100, 1100)


def test_a_bad_model_keeps_its_bad_place(bundled_showers: Mapping[str, Showers]) -> None:
    """All energies 10 % up: the response is off by several of its widths, the centres and widths are as before."""
    places = {item.ranking.metric: item for item in ranked(bundled_showers["photon"], "photon", (1100, 1100), 1, 1.1)}
    response, last = places["separation_power_response"], len(places["separation_power_response"].ranking.published) + 1
    assert response.places == (last, last)
    assert response.against_floor == "worse"
    assert places["separation_power_width_phi_2"].places[0] == 1


@pytest.mark.parametrize("label", ["", "Geant4", "$\\bad{$", "two\nlines"])
def test_labels_that_figures_cannot_show_are_refused(label: str) -> None:
    with pytest.raises(DataFormatError, match="label"):
        Assessment.from_json(make_assessment(number=50).to_json() | {"label": label})


def test_what_was_drawn_is_kept_and_evaluations_of_old_have_all() -> None:
    found = replace(make_assessment(number=50), drawn={"reference": 40, "generated": 30})
    value = json.loads(json.dumps(found.to_json()))
    assert Assessment.from_json(value).drawn == {"reference": 40, "generated": 30}
    for damaged in ([1], {"reference": -1}, {"reference": "many"}):
        with pytest.raises(DataFormatError, match="to_json"):
            Assessment.from_json(value | {"drawn": damaged})
    del value["drawn"]
    assert Assessment.from_json(value).drawn == {}


def test_other_bins_and_thresholds_have_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calogen.evaluation.assessment.MIN_SHOWERS", 200)
    found = make_assessment(PHOTONS_DATASET1)
    own_bins = replace(found, judgement=replace(found.judgement, binning="reference"))
    assert {item.ranking.metric for item in own_bins.placements()} == {"auc_low", "fpd"}
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
