"""Files against files: known answers, what is left out and why, what figures need."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import TINY_VOXELS, make_showers

from calogen.errors import CalogenError, ConfigError, DataFormatError
from calogen.evaluation import judging
from calogen.evaluation.assessment import Assessment
from calogen.evaluation.judging import Options, default_binning, read_reference, read_some
from calogen.evaluation.judging import assess as assess_file
from calogen.evaluation.pictures import Pictures
from calogen.metrics import classifier
from calogen.metrics.distributions import Value
from calogen.observables.challenge import classifier_inputs
from calogen.reports.evaluation_figures import draw_pictures
from calogen.showers.bundled import voxel_geometry
from calogen.showers.sample import Showers
from calogen.showers.voxels import PHOTONS_DATASET1, VoxelGeometry, VoxelLayer

QUICK = Options(repetitions=0)


def assess(
    path: Path,
    generated: Path,
    geometry: VoxelGeometry,
    label: str,
    second: Path | None = None,
    options: Options = QUICK,
) -> tuple[Assessment, Pictures]:
    """One model alone."""
    return assess_file(read_reference(path, geometry, second, options), generated, label)


def write(path: Path, showers: Showers) -> Path:
    showers.write(path)
    return path


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """A reference, the same showers 20 % up in energy, and others of the same kind."""
    showers = make_showers(TINY_VOXELS, 400, 1)
    shifted = replace(showers, energies=showers.energies * np.float32(1.2))
    return [
        write(tmp_path / f"{number}.h5", item)
        for number, item in enumerate((showers, shifted, make_showers(TINY_VOXELS, 400, 2)))
    ]


def test_identical_files_differ_nowhere(files: list[Path]) -> None:
    found, pictures = assess(files[0], files[0], TINY_VOXELS, "same", options=QUICK)
    for item in found.judgement.scored:
        values = [value.value for name, value in item.numbers_of().items() if name != "chi2_per_ndf"]
        assert all(value == 0 or np.isnan(value) for value in values), item.feature
    assert found.numbers["fpd"].value == pytest.approx(0, abs=1e-2)
    assert found.numbers["coverage"].value == 1
    for average in pictures.averages:
        np.testing.assert_array_equal(average.showers["Geant4"], average.showers["same"])
    np.testing.assert_array_equal(pictures.single["Geant4"], pictures.single["same"])


def test_a_shift_is_seen_beside_the_floor(files: list[Path]) -> None:
    found, pictures = assess(files[0], files[1], TINY_VOXELS, "shifted", files[2], QUICK)
    response = found.judgement.find("response")
    assert response.numbers_of()["ks"].value > 5 * response.second_reference["ks"].value
    assert found.worst(1)[0].feature.name == "response"
    assert {"precision", "kpd"} <= set(found.floor)
    reference, shifted = (curve.mean for curve in pictures.curves.values())
    ratio = [ours.value / theirs.value for ours, theirs in zip(reference, shifted, strict=True)]
    assert ratio == pytest.approx([1 / 1.2] * len(ratio), rel=1e-3)
    assert found.provenance["data"]["second_reference"]["file"] == "2.h5"


def test_classifiers_are_trained_on_all_inputs(
    files: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    small = replace(classifier.CHALLENGE, hidden_units=(16,), epochs=8, learning_rate=0.01, batch_size=50)
    others = make_showers(TINY_VOXELS, 400, 3)
    files[1] = write(tmp_path / "double.h5", replace(others, energies=others.energies * np.float32(2)))
    start = classifier.start_classifying
    monkeypatch.setattr(
        classifier, "start_classifying", lambda *data, **options: start(*data, **{**options, "config": small})
    )
    found, _ = assess(files[0], files[1], TINY_VOXELS, "shifted", options=Options(repetitions=2))
    kinds = ("low", "low-normed", "high")
    assert {f"{score}_{kind}" for score in ("auc", "jsd") for kind in kinds} <= set(found.numbers)
    assert found.numbers["auc_high"].value > 0.6
    assert all(np.isfinite(found.numbers[f"auc_{kind}"].error) for kind in kinds)


def test_what_too_few_showers_cannot_tell_is_left_out_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "CHALLENGE", replace(classifier.CHALLENGE, epochs=2))
    path = write(tmp_path / "few.h5", make_showers(TINY_VOXELS, 40, 1))
    found, _ = assess(path, path, TINY_VOXELS, "few", options=Options(repetitions=1, max_showers=30))
    assert {"fpd", "kpd", "auc_high"} <= set(found.numbers)
    assert "coverage" not in found.numbers
    assert [text.partition(":")[0] for text in found.warnings] == [
        "ATTENTION",
        "classifiers and neighbourhoods (precision, recall, density, coverage) saw 30 of the showers, drawn at random",
        "neighbourhoods left out",
    ]


def test_foreign_references_are_warned_of(tmp_path: Path) -> None:
    path, other = (write(tmp_path / f"{seed}.h5", make_showers(PHOTONS_DATASET1, 100, seed)) for seed in (1, 2))
    found, _ = assess(path, other, voxel_geometry(path), "GAN", options=QUICK)
    assert (found.particle, found.judgement.binning) == ("photon", "1-photons")
    assert "is not a file of the CaloChallenge" in found.warnings[0]
    assert "FPD and KPD of 100 showers are not ranked" in found.warnings[1]
    assert "40 bins" not in found.warnings[1], "most features have 100"
    assert found.provenance["options"]["repetitions"] == 0


def test_a_second_reference_of_fewer_showers_is_warned_of(files: list[Path], tmp_path: Path) -> None:
    few = write(tmp_path / "few.h5", make_showers(TINY_VOXELS, 300, 3))
    generated = write(tmp_path / "generated.h5", make_showers(TINY_VOXELS, 400, 4))
    found, _ = assess(files[0], generated, TINY_VOXELS, "GAN", few)
    assert "second reference has 300 showers, the generated file 400" in found.warnings[0]
    assert assess(files[0], generated, TINY_VOXELS, "GAN", files[2])[0].warnings == ()


def test_numbers_of_few_drawn_showers_are_not_ranked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is drawn counts, not the files: 200 showers are enough here, 100 are not."""
    for module in ("calogen.evaluation.judging", "calogen.evaluation.assessment"):
        monkeypatch.setattr(f"{module}.MIN_SHOWERS", 200)
    paths = [write(tmp_path / f"{seed}.h5", make_showers(PHOTONS_DATASET1, 200, seed)) for seed in (1, 2, 3)]
    score = classifier.ClassifierScore(Value(0.7, 0.1), Value(0.1, 0.1), (0.7,), (0.1,), (1,), 100)
    monkeypatch.setattr(classifier, "start_classifying", lambda *_, **__: lambda: score)
    near, auc = {"precision", "recall", "density", "coverage"}, {"auc_low", "auc_high"}
    for drawn, second, ranked, said in (
        (None, None, near | auc, ""),
        (
            100,
            None,
            set(),
            "AUCs of 100 showers are not ranked: the challenge takes 200 or more; nor are neighbourhoods",
        ),
        (100, paths[2], near, "AUCs of 100 showers are not ranked: the challenge takes 200 or more"),
    ):
        options = Options(repetitions=1, max_showers=drawn)
        found, _ = assess(paths[0], paths[1], PHOTONS_DATASET1, "GAN", second, options)
        read = Assessment.from_json(found.to_json())
        assert read.drawn == found.drawn
        assert set(read.drawn) == set(read.judgement.num_showers)
        assert set(read.drawn.values()) == {drawn or 200}
        names = {place.ranking.metric for place in read.placements()}
        assert names & (near | auc) == ranked
        assert "fpd" in names, "of all showers of the files"
        texts = [text for text in found.warnings if "not ranked" in text]
        assert len(texts) == (drawn is not None)
        assert said in "".join(texts)
        assert ("without a second reference" in "".join(texts)) == (drawn is not None and second is None)
        assert not any("Separation powers are ranked by" in text for text in texts), "the files are large enough"


def test_no_word_of_neighbourhoods_where_they_are_ranked(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{seed}.h5", make_showers(PHOTONS_DATASET1, 100, seed)) for seed in (1, 2, 3)]
    for second, said in ((None, True), (paths[2], False)):
        found, _ = assess(paths[0], paths[1], PHOTONS_DATASET1, "GAN", second, QUICK)
        (text,) = (text for text in found.warnings if "FPD and KPD of 100 showers are not ranked" in text)
        assert ("neighbourhoods of 100 without a second reference" in text) == said
        assert ("coverage" in {place.ranking.metric for place in found.placements()}) != said
        assert "Separation powers are ranked by their excess over those of two Geant4 samples" in text


@pytest.mark.parametrize(("threshold", "floor"), [(0.01, 0.01), (1.0, 0.1)])
def test_empty_voxels_have_less_than_all_others_in_logarithms(
    files: list[Path], monkeypatch: pytest.MonkeyPatch, threshold: float, floor: float
) -> None:
    seen: list[np.ndarray] = []
    compare = judging.precision_recall_density_coverage
    monkeypatch.setattr(
        judging, "precision_recall_density_coverage", lambda *pair, **more: seen.extend(pair) or compare(*pair, **more)
    )
    assess(files[0], files[1], TINY_VOXELS, "shifted", options=Options(repetitions=0, min_energy=threshold))
    assert [float(item.min()) for item in seen] == pytest.approx([np.log10(floor)] * 2)


@pytest.mark.parametrize("label", ["Geant4", "", "$x$", "a\tb"])
def test_labels_are_checked(files: list[Path], label: str) -> None:
    with pytest.raises(ConfigError, match="labels must be printable"):
        assess(files[0], files[1], TINY_VOXELS, label)


def test_some_showers_are_whole_showers_in_order(tmp_path: Path) -> None:
    showers = make_showers(TINY_VOXELS, 300, 1)
    path = write(tmp_path / "all.h5", showers)
    some = read_some(path, TINY_VOXELS, 70, 5)
    rows = [int(np.flatnonzero((showers.energies == row).all(axis=1))[0]) for row in some.energies]
    assert len(some) == len(set(rows)) == 70
    assert rows == sorted(rows)
    np.testing.assert_array_equal(some.incident_energies, showers.incident_energies[rows])
    assert len(read_some(path, TINY_VOXELS, 1000, 5)) == 300
    assert not np.array_equal(read_some(path, TINY_VOXELS, 70, 6).energies, some.energies)


def test_continuous_energies_are_binned(tmp_path: Path) -> None:
    showers = make_showers(TINY_VOXELS, 500, 1)
    energies = showers.incident_energies * np.random.default_rng(2).uniform(0.8, 1.2, 500)
    path = write(tmp_path / "continuous.h5", replace(showers, incident_energies=energies))
    _, pictures = assess(path, path, TINY_VOXELS, "same", options=QUICK)
    curve = pictures.curves["same"]
    assert len(curve.energies) == 12
    assert energies.min() < curve.energies[0] < curve.energies[-1] < energies.max()


def test_normed_inputs_are_the_challenges_with_its_bins_only(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Voxels below the threshold: kept in the challenge's bins, empty in calogen's."""
    seen: list[np.ndarray] = []

    def start(ours: np.ndarray, theirs: np.ndarray, **_: Any) -> Callable[[], classifier.ClassifierScore]:
        seen.append(ours)
        score = classifier.ClassifierScore(Value(0.5, 0.1), Value(0.0, 0.1), (0.5,), (0.0,), (1,), len(ours))
        return lambda: score

    monkeypatch.setattr(classifier, "start_classifying", start)
    for binning, small_voxels in (("1-photons", True), ("reference", False), (None, False)):
        assess(files[0], files[0], TINY_VOXELS, "GAN", options=Options(repetitions=1, binning=binning, min_energy=50.0))
        showers = read_some(files[0], TINY_VOXELS, None, 1)
        expected = classifier_inputs(showers, "low-normed", 50.0, small_voxels).astype(np.float32)
        np.testing.assert_array_equal(seen[-2], expected)
        assert not np.array_equal(expected, classifier_inputs(showers, "low-normed", 50.0, not small_voxels))


def test_the_geometry_comes_from_the_file_or_its_binning(tmp_path: Path) -> None:
    tiny = write(tmp_path / "tiny.h5", make_showers(TINY_VOXELS, 20, 1))
    with pytest.raises(DataFormatError, match=r"give their binning file \(XML\). Received: \[20, 10\]"):
        voxel_geometry(tiny)
    xml = tmp_path / "tiny.xml"
    TINY_VOXELS.write_xml(xml, attributes={"pid": "22", "etaMin": "0", "etaMax": "130"})
    geometry = voxel_geometry(tiny, xml)
    assert (geometry.layers, default_binning(geometry)) == (TINY_VOXELS.layers, "reference")
    assert default_binning(PHOTONS_DATASET1) == "1-photons"
    layer = VoxelLayer(0, tuple(np.arange(19.0).tolist()), 50)
    deep = VoxelGeometry("3", tuple(replace(layer, id=number) for number in range(45)))
    other = VoxelGeometry("other", tuple(replace(TINY_VOXELS.layers[0], id=n, num_alpha=450) for n in range(45)))
    assert (deep.size, default_binning(deep)) == (40500, "3")
    assert (other.size, default_binning(other)) == (40500, "reference")


@pytest.mark.parametrize(
    "options",
    [{"repetitions": -1}, {"max_showers": 1}, {"min_energy": 0.0}, {"min_energy": np.inf}, {"min_energy": np.nan}],
)
def test_options_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Options(**options)


def test_showers_without_energy_are_judged(tmp_path: Path) -> None:
    showers = make_showers(TINY_VOXELS, 100, 1)
    empty = replace(showers, energies=np.zeros_like(showers.energies))
    paths = [write(tmp_path / f"{name}.h5", item) for name, item in (("full", showers), ("empty", empty))]
    for first, second in (paths, paths[::-1]):
        found, pictures = assess(first, second, TINY_VOXELS, "GAN")
        assert found.judgement.find("total_energy").numbers_of()["ks"].value == 1
        draw_pictures([pictures])


def test_the_reference_is_read_once(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    original = judging.read_sample
    monkeypatch.setattr(judging, "read_sample", lambda path, *rest: read.append(path) or original(path, *rest))
    prepared = read_reference(files[0], TINY_VOXELS, files[2], QUICK)
    for path in files[1:]:
        assess_file(prepared, path, path.stem)
    assert read == [files[0], files[2], files[1], files[2]]


def test_showers_in_memory_take_half_of_a_float64_file(tmp_path: Path) -> None:
    showers = make_showers(TINY_VOXELS, 50, 1)
    with h5py.File(tmp_path / "double.h5", "w") as file:
        file["incident_energies"] = showers.incident_energies[:, None]
        file["showers"] = showers.energies.astype(np.float64)
    assert read_some(tmp_path / "double.h5", TINY_VOXELS, 100, 1).energies.dtype == np.float32


def test_unknown_bins_and_missing_files_are_refused(files: list[Path], tmp_path: Path) -> None:
    for threshold in (None, 1.0):
        with pytest.raises(ConfigError, match="binning must be one of"):
            assess(files[0], files[1], TINY_VOXELS, "a", options=Options(binning="4", min_energy=threshold))
    with pytest.raises(CalogenError, match="no such file"):
        assess(files[0], tmp_path / "none.h5", TINY_VOXELS, "a", options=QUICK)
