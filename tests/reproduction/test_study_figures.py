from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from matplotlib.figure import Figure
from toy_study import DATA, MOMENTA, scan, toy_outcome

from calogen.errors import ConfigError
from calogen.evaluation.iterations import HELD_OUT, TRAIN, WITH_SHAPES
from calogen.reproduction.networks import StudyNetwork
from calogen.reproduction.study import Outcome
from calogen.reproduction.study_figures import (
    Drawing,
    distribution_figure,
    distribution_figure_by_energy,
    draw_study,
    iteration_figures,
    network_figure,
    statistics_figure,
    total_energy_figure,
)

BY_MOMENTUM: dict[str, Drawing] = {
    "Fig. 15": partial(distribution_figure_by_energy, names="*_eta_width"),
    "Fig. 17": partial(distribution_figure_by_energy, names="voxel_energy"),
}


def titles_of(one: tuple[str, ...], several: tuple[str, ...]) -> dict[str, Drawing]:
    """A figure of each kind."""
    return {
        "Fig. 1": statistics_figure,
        "Fig. 2": partial(network_figure, name=one[0]),
        "Fig. 3": partial(
            total_energy_figure, groups={"alone": one} | ({} if one == several else {"together": several})
        ),
        "Fig. 7": partial(iteration_figures, names=(*one, *several)),
        "Fig. 9": partial(distribution_figure, names="layer_*_energy"),
        "Fig. 11": partial(distribution_figure, names="layer_*_centroid"),
        "Fig. 12": partial(distribution_figure, names="layer_*_width"),
        "Fig. 16": partial(distribution_figure, names="voxel_energy"),
    }


ALONE, BOTH = titles_of(("single",), ("single",)), titles_of(("single",), ("low", "upper"))
TOTAL = "Fig. 3 (chi2/NDF; alone: 3.0, together: 1.8)"  # 196 / 112


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    return toy_outcome()


@pytest.fixture(scope="module")
def figures(outcome: Outcome) -> dict[str, Figure]:
    """Of one network and of two that belong together."""
    return draw_study(BOTH | BY_MOMENTUM, outcome, DATA)


def test_every_figure_has_its_caption(figures: dict[str, Figure], outcome: Outcome) -> None:
    networks, rest = ["Fig. 7, single", "Fig. 7, low", "Fig. 7, upper"], list(BOTH)[4:]
    assert list(figures) == ["Fig. 1", "Fig. 2, single", TOTAL, *networks, *rest, "Fig. 15", "Fig. 17"]
    for caption, figure in figures.items():
        if caption == "Fig. 2, single":
            continue
        assert "toy showers" in {text.get_text() for text in figure.texts}, caption
    alone = draw_study(ALONE, outcome, DATA)
    once = "Fig. 3 (chi2/NDF; alone: 3.0)"
    assert list(alone) == ["Fig. 1", "Fig. 2, single", once, "Fig. 7, single", *rest]
    (first, *_) = alone[once].axes[0].texts
    assert first.get_text() == "chi2/NDF\nalone: 3.0", "the labels are the experiment's"


def titles(figure: Figure) -> list[str]:
    found = [ax.get_title(loc) for ax in figure.axes for loc in ("left", "center")]
    return [text for text in found if text]


def test_panels_of_single_momenta_are_those_of_the_papers_figure(figures: dict[str, Figure], outcome: Outcome) -> None:
    widths, voxels = titles(figures["Fig. 15"]), titles(figures["Fig. 17"])
    assert ["1.02 GeV" in text for text in widths] == [True]
    assert ["2.05 GeV" in voxels[0], "4.1 GeV" in voxels[1], len(voxels)] == [True, True, 2]
    bare = replace(outcome.comparisons, by_energy={1024.0: outcome.comparisons.by_energy[1024.0]})
    found = draw_study(ALONE | BY_MOMENTUM, replace(outcome, comparisons=bare), DATA)
    assert "Fig. 15" in found
    assert "Fig. 17" not in found, "no panel, no figure"


def test_the_total_energy_of_networks_without_a_chi2_is_refused(outcome: Outcome) -> None:
    other = {"single": StudyNetwork(outcome.networks["single"].run, replace(outcome.tests["single"], chi2={}))}
    with pytest.raises(ConfigError, match="must be a chi2 to be tabulated. Received: another for single"):
        total_energy_figure("Fig. 3", replace(outcome, networks=other), DATA, groups={"alone": ("single",)})


def labels(figure: Figure) -> list[str]:
    return [ax.get_xlabel() for ax in figure.axes if ax.get_xlabel()]


def test_panels_of_all_momenta(figures: dict[str, Figure]) -> None:
    assert labels(figures["Fig. 9"]) == ["Energy in layer 0 [GeV]", "Energy in layer 1 [GeV]"]
    assert labels(figures["Fig. 11"]) == [rf"Centre in $\{axis}$ in layer 1 [mm]" for axis in ("eta", "phi")]
    assert labels(figures["Fig. 12"]) == [rf"Width in $\{axis}$ in layer 1 [mm]" for axis in ("eta", "phi")]
    assert labels(figures["Fig. 16"]) == ["Voxel energy [MeV]"]


def test_panels_of_the_total_energy_hold_chi2_per_ndf(figures: dict[str, Figure]) -> None:
    """Of one network and of two; a momentum that two share shows the lower one's."""
    found = [text.get_text() for ax in figures[TOTAL].axes for text in ax.texts]
    assert found == [f"chi2/NDF\nalone: 3.0\ntogether: {value}" for value in ("2.0", "2.0", "1.5")]


def test_statistics_count_the_showers_of_both_samples(figures: dict[str, Figure]) -> None:
    (ax,) = figures["Fig. 1"].axes
    assert [[bar.get_height() for bar in container] for container in ax.containers] == [[60, 60, 60], [20, 20, 20]]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [TRAIN, HELD_OUT]


def test_iterations_are_those_of_all_showers(figures: dict[str, Figure]) -> None:
    line = figures["Fig. 7, single"].axes[3].lines[0]
    np.testing.assert_allclose(line.get_xdata(), [1000, 2000])
    np.testing.assert_allclose(line.get_ydata(), [9.0, 3.0])
    marks = figures["Fig. 7, single"].axes[3].lines[1:]
    assert [line.get_xdata().tolist() for line in marks] == [[2000]]


def test_the_iteration_that_another_merit_chose_is_marked(outcome: Outcome) -> None:
    test = outcome.tests["single"]
    scans = {**test.scans, WITH_SHAPES: scan(list(MOMENTA), [1.0, 2.0], 28)}
    other = StudyNetwork(outcome.networks["single"].run, replace(test, scans=scans, chosen_by=WITH_SHAPES))
    found = draw_study(ALONE, replace(outcome, networks={"single": other}), DATA)
    marks = found["Fig. 7, single"].axes[3].lines[1:]
    assert [line.get_xdata().tolist() for line in marks] == [[1000]]
