"""Pages of judged showers: one model, several side by side, and the commands that write them."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import TINY_VOXELS, make_showers
from matplotlib.figure import Figure

from calogen.errors import CalogenError, DataFormatError
from calogen.evaluation.assessment import Assessment, read_assessment
from calogen.evaluation.judging import Options
from calogen.metrics.distributions import Value
from calogen.metrics.features import Feature
from calogen.reports.comparison import compare_directories
from calogen.reports.evaluate import evaluate_voxels
from calogen.reports.evaluation import build_comparison_page
from calogen.reports.evaluation_figures import draw_distributions, figure_sections
from calogen.reports.inputs import kind_of, origin, plain_text
from calogen.reports.page import Gallery, build_html, build_markdown
from calogen.showers.voxels import PHOTONS_DATASET1, VoxelGeometry
from calogen.showers.windows import ATLAS_VAE_WINDOW

QUICK = Options(repetitions=0)


def write_models(folder: Path, geometry: VoxelGeometry) -> dict[str, Path]:
    """A reference and two models, 5 % and 30 % off; the models' files by label."""
    for seed, (name, factor) in enumerate({"reference": 1.0, "GAN": 1.05, "VAE <b>": 1.3}.items()):
        showers = make_showers(geometry, 150, seed)
        replace(showers, energies=showers.energies * np.float32(factor)).write(folder / f"{name}.h5")
    geometry.write_xml(folder / "bins.xml", attributes={"pid": "22", "etaMin": "0", "etaMax": "130"})
    return {label: folder / f"{label}.h5" for label in ("GAN", "VAE <b>")}


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models judged against one reference."""
    folder = tmp_path_factory.mktemp("evaluated")
    files = write_models(folder, TINY_VOXELS)
    reference, output, bins = folder / "reference.h5", folder / "report", folder / "bins.xml"
    text = evaluate_voxels(reference, files, output, geometry=bins, options=QUICK)
    assert text.splitlines()[-1] == str(output / "report.html")
    return output


def test_a_page_opens_with_the_verdict_and_holds_every_section(evaluated: Path) -> None:
    page = (evaluated / "GAN" / "report.html").read_text()
    figures = ("total-energy-layers-average-shower", "distributions", "single-showers-correlations")
    titles = (*figures, "numbers", "provenance")
    places = [page.index(f'id="section-{title}"') for title in titles]
    assert places == sorted(places)
    assert page.index("separation power is") < places[0]
    assert len(re.findall(r'src="data:image/png', page)) >= 14
    text = (evaluated / "GAN" / "report.md").read_text()
    assert text.index("The worst") < text.index("## Distributions") < text.index("## Numbers")
    for words in ("1000 FPD", "width in η [mm], layer 1", "data: reference: sha256"):
        assert words in text, words
    assert "## Rank" not in text, "no published numbers of these voxels"


def test_the_challenges_voxels_are_ranked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calogen.reports.evaluation_figures.draw_scored", lambda scored, note: Figure((1, 1)))
    files = write_models(tmp_path, PHOTONS_DATASET1)
    del files["VAE <b>"]
    text = evaluate_voxels(tmp_path / "reference.h5", files, tmp_path / "out", options=QUICK)
    assert re.search(r"places among the CaloChallenge's submissions: 1 to \d+ of 16", text)
    assert len(text.splitlines()) < 10
    text = (tmp_path / "out" / "report.md").read_text()
    assert text.index("is not a file of the CaloChallenge") < text.index("## Rank") < text.index("## Numbers")
    assert "CaloDiffusion" in text
    facts = text.partition("## Warnings")[0]
    assert re.search(
        r"places among the CaloChallenge's submissions.* 1 to \d+ of 16 in the median of \d+ metrics", facts
    )
    assert "places: numbers are ranked by their excess over Geant4 against itself" in text
    assert " bins of the challenge's axis" in text
    assert "the CaloChallenge's separation power has its bins everywhere" in text


def test_labels_are_escaped(evaluated: Path) -> None:
    page = (evaluated / "report.html").read_text()
    assert "VAE &lt;b&gt;" in page
    assert "VAE <b>" not in page


def test_models_stand_side_by_side(evaluated: Path) -> None:
    text = (evaluated / "report.md").read_text()
    assert "| distribution | GAN | VAE \\<b> | VAE \\<b> - GAN [σ] |" in text
    found = read_assessment(evaluated / "VAE <b>").judgement.find("response").numbers_of()["separation_power"]
    (row,) = (line for line in text.splitlines() if line.startswith("| total / incident energy |"))
    other = read_assessment(evaluated / "GAN").judgement.find("response").numbers_of()["separation_power"]
    assert f"| {1000 * other} | {1000 * found} | {(found - other).significance():+.1f} |" in row
    assert "(figure: Response and resolution)" in text
    assert "(figure: Correlations (Getting High, Fig. 9), VAE \\<b>)" in text, "pictures of both models"
    assert "Of 2 models, GAN's separation power" in text, "the better one is named"


def test_evaluations_are_compared_by_their_directories(evaluated: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (evaluated / "GAN").rename(tmp_path / "run" / "report")
    try:
        text = compare_directories([tmp_path / "run", evaluated / "VAE <b>"], tmp_path / "page")
    finally:
        (tmp_path / "run" / "report").rename(evaluated / "GAN")
    assert (tmp_path / "page" / "report.html").is_file()
    assert text.startswith("✓ Of 2 models, GAN's separation power is ")
    assert text.splitlines()[-1] == str(tmp_path / "page" / "report.html")
    with pytest.raises(DataFormatError, match=f"Received: {tmp_path / 'page'} without any"):
        compare_directories([tmp_path / "page", evaluated / "GAN"], tmp_path / "other")
    with pytest.raises(DataFormatError, match="Received: neither"):
        compare_directories([tmp_path / "page"] * 2, tmp_path / "other")
    both = compare_directories([evaluated, evaluated / "GAN"], tmp_path / "both")
    assert f"  {evaluated.name}: GAN, 1000 FPD: " in both
    assert "  GAN: GAN, 1000 FPD: " in both


def test_what_cannot_be_judged_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    files, bins = write_models(tmp_path, TINY_VOXELS), tmp_path / "bins.xml"
    other = make_showers(TINY_VOXELS, 150, 7)
    replace(other, incident_energies=other.incident_energies * 2).write(tmp_path / "other.h5")
    for output in (tmp_path / "deep" / "out", tmp_path / "out"):
        for wrong in ({"other": tmp_path / "other.h5"}, {"Geant4": files["GAN"]}):
            with pytest.raises(CalogenError):
                evaluate_voxels(tmp_path / "reference.h5", files | wrong, output, geometry=bins, options=QUICK)
        assert not output.exists()
    assert not (tmp_path / "deep").exists()


@pytest.mark.parametrize("kind", [str, lambda text: np.bytes_(text.encode())], ids=["str", "bytes"])
def test_where_showers_come_from(tmp_path: Path, kind: Callable[[str], object]) -> None:
    make_showers(TINY_VOXELS, 20, 1).write(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file.attrs["note"] = kind("Geant4,\n $\\bad{$ simplified")
    assert origin(tmp_path / "a.h5") == r"Geant4, \bad{ simplified"
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file.attrs["note"] = 7
    assert origin(tmp_path / "a.h5") == ""
    assert len(plain_text("x" * 100_000)) == 10_000


def test_only_what_had_the_same_reference_is_compared(evaluated: Path) -> None:
    first, second = (read_assessment(evaluated / name) for name in ("GAN", "VAE <b>"))
    with pytest.raises(DataFormatError, match="labels of their own"):
        build_comparison_page([first, first])
    other = {"data": {"reference": {"file": "other.h5", "sha256": "0"}}}
    for damaged, what in (
        (replace(second, geometry="other"), "geometry"),
        (replace(second, provenance=other), "reference file"),
        (replace(second, judgement=replace(second.judgement, binning="2")), "bins"),
    ):
        with pytest.raises(DataFormatError, match=f"must be judged with the {what} of GAN"):
            build_comparison_page([first, damaged])


def test_evaluations_in_other_bins_are_not_compared(evaluated: Path) -> None:
    first, second = (read_assessment(evaluated / name) for name in ("GAN", "VAE <b>"))
    scored = list(second.judgement.scored)
    moved = {name: replace(item, edges=item.edges + 1) for name, item in scored[1].histograms.items()}
    scored[1] = replace(scored[1], histograms=moved)
    other = replace(second, judgement=replace(second.judgement, scored=tuple(scored)))
    with pytest.raises(DataFormatError, match="Received: others of response, .* evaluate both anew"):
        build_comparison_page([first, other])


def test_the_page_says_which_inputs_the_normed_classifier_had(evaluated: Path) -> None:
    found = read_assessment(evaluated / "GAN")
    found = replace(found, numbers={**found.numbers, "auc_low-normed": Value(0.7, 0.1)})
    other = read_assessment(evaluated / "VAE <b>")
    assert "below the threshold are empty, which is calogen's way" in build_markdown(
        build_comparison_page([found, other])
    )
    pair = [replace(item, judgement=replace(item.judgement, binning="1-photons")) for item in (found, other)]
    assert "voxels below the threshold keep their energy" in build_markdown(build_comparison_page(pair))


def with_auc(assessment: Assessment, auc: float, floor: float | None = None) -> Assessment:
    floors = {} if floor is None else {"auc_low": Value(floor, 0.01)}
    return replace(assessment, numbers={"auc_low": Value(auc, 0.01)}, floor=floors)


@pytest.mark.parametrize(
    ("auc", "floor", "tone"), [(0.55, None, "good"), (0.7, None, "unsure"), (0.95, None, "bad"), (0.55, 0.5, "unsure")]
)
def test_the_verdict_follows_the_classifier(evaluated: Path, auc: float, floor: float | None, tone: str) -> None:
    first, second = (read_assessment(evaluated / name) for name in ("GAN", "VAE <b>"))
    page = build_comparison_page([with_auc(first, 0.99), with_auc(second, auc, floor)])
    assert page.verdict.tone == tone
    assert f"tells VAE <b> from Geant4 with AUC {auc:.3f} ± 0.010" in page.verdict.headline
    like_geant4 = build_comparison_page([with_auc(first, 0.99), with_auc(second, auc, auc + 0.02)])
    assert like_geant4.verdict.tone == "good"


@pytest.mark.parametrize(("auc", "tone"), [(0.999, "bad"), (0.7, "unsure"), (0.55, "good")])
def test_an_auc_without_error_is_not_within_its_floor(evaluated: Path, auc: float, tone: str) -> None:
    first, second = (read_assessment(evaluated / name) for name in ("GAN", "VAE <b>"))
    single = {"numbers": {"auc_low": Value(auc, np.nan)}, "floor": {"auc_low": Value(0.5, np.nan)}}
    assert build_comparison_page([with_auc(first, 0.9999), replace(second, **single)]).verdict.tone == tone


def test_an_alarm_takes_the_place_of_the_verdict(evaluated: Path) -> None:
    first, second = (read_assessment(evaluated / name) for name in ("GAN", "VAE <b>"))
    alarmed = replace(second, warnings=("ATTENTION: all showers are empty",))
    page = build_comparison_page([first, alarmed])
    assert (page.verdict.headline, page.verdict.tone) == ("VAE <b>: ATTENTION: all showers are empty", "bad")


def test_numbers_that_are_not_defined_say_so(evaluated: Path) -> None:
    first, second = (read_assessment(evaluated / name) for name in ("GAN", "VAE <b>"))
    undefined = replace(first, numbers={"auc_low": Value(np.nan, np.nan), "fpd": Value(0.001, np.nan)})
    page = build_comparison_page([undefined, with_auc(second, 0.7)])
    assert "VAE <b>" in page.verdict.headline
    text = build_markdown(page)
    assert "not defined" in text
    assert not re.search(r"\bnan\b", text + build_html(page))


def test_a_second_reference_stands_beside_each_number(tmp_path: Path) -> None:
    files = write_models(tmp_path, TINY_VOXELS)
    second = files.pop("VAE <b>")
    make_showers(TINY_VOXELS, 120, 7).write(second)
    reference, bins = tmp_path / "reference.h5", tmp_path / "bins.xml"
    evaluate_voxels(reference, files, tmp_path / "out", second, bins, QUICK)
    text = (tmp_path / "out" / "report.md").read_text()
    assert re.search(r"\(Geant4 [\d.]+ ± [\d.]+; [+-]\d+\.\d σ\)", text), "the floor and the pull"
    assert re.search(r"; \d+ of \d+ lie above Geant4's own by more than 2 σ\*\*", text)
    kept = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert kept["judgement"]["num_showers"] == {"reference": 150, "generated": 150, "second_reference": 120}


def test_cells_are_told_from_voxels(tmp_path: Path) -> None:
    make_showers(ATLAS_VAE_WINDOW, 10).write(tmp_path / "cells.h5")
    make_showers(TINY_VOXELS, 10).write(tmp_path / "voxels.h5")
    cells, voxels = tmp_path / "cells.h5", tmp_path / "voxels.h5"
    assert kind_of([cells], [cells]) == "cells"
    assert kind_of([voxels], [voxels]) == "voxels"
    for generated, others in (([cells], [voxels]), ([voxels], [cells]), ([cells, voxels], [])):
        with pytest.raises(DataFormatError, match=r"Received: cells in .*/cells.h5; voxels in .*/voxels.h5"):
            kind_of(generated, others)


def test_every_layer_has_a_panel(evaluated: Path) -> None:
    """Of 45 layers, 29 had none: the figure showed the worst 16."""
    found = read_assessment(evaluated / "GAN")
    (one,) = (item for item in found.judgement.scored if item.feature.name == "width_r_1")
    layers = tuple(replace(one, feature=Feature("width_r", layer)) for layer in range(45))
    deep = replace(found, judgement=replace(found.judgement, scored=layers))
    figures = draw_distributions([deep])["width_r"]
    assert [*figures] == [f"Width in r, layers {ends}" for ends in ("0 to 15", "16 to 31", "32 to 44")]
    titles = [ax.get_xlabel() for figure in figures.values() for ax in figure.axes if ax.get_xlabel()]
    assert titles == [f"width in r [mm], layer {layer}" for layer in range(45)]
    (gallery,) = figure_sections([deep], [])["Distributions"]
    assert isinstance(gallery, Gallery)
    assert gallery.folded


def test_every_incident_energy_has_a_panel(evaluated: Path) -> None:
    """Of 20 energies all but four were lost, since the parts had one caption."""
    found = read_assessment(evaluated / "GAN")
    (one,) = (item for item in found.judgement.scored if item.feature.name == "width_r_1")
    response = replace(one, feature=Feature("response"))
    many = tuple(replace(response, incident_energy=1000.0 * (number + 1)) for number in range(20))
    deep = replace(found, judgement=replace(found.judgement, scored=many))
    (figures,) = draw_distributions([deep]).values()
    assert [caption.rpartition(", ")[2] for caption in figures] == ["panels 1 to 16", "panels 17 to 20"]
    assert sum(bool(ax.get_xlabel()) for figure in figures.values() for ax in figure.axes) == 20


def test_the_mark_without_classifiers_is_that_of_the_floor(evaluated: Path) -> None:
    first, second = (read_assessment(evaluated / name) for name in ("GAN", "VAE <b>"))
    like = [
        replace(item, numbers={"generated": values, "second_reference": values})
        for item in first.judgement.scored
        for values in [item.numbers_of()]
    ]
    same = replace(first, floor={"fpd": Value(0.0, 0.1)}, judgement=replace(first.judgement, scored=tuple(like)))
    assert build_comparison_page([same, second]).verdict.tone == "good"
    worse = dict.fromkeys(like[0].numbers_of(), Value(0.9, 0.03))
    like[0] = replace(like[0], numbers={"generated": worse, "second_reference": like[0].numbers_of()})
    one = replace(same, judgement=replace(first.judgement, scored=tuple(like)))
    assert build_comparison_page([one, second]).verdict.tone == "bad", "one distribution is far off"


def test_only_files_that_say_so_have_the_remark_on_the_simulation(evaluated: Path) -> None:
    assert "ATLAS's own" not in (evaluated / "GAN" / "report.md").read_text()
