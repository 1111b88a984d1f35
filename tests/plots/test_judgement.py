"""Figures of judged showers: their axes, and captions that say what tables say."""

import numpy as np
import pytest

from calogen.evaluation.compare import ALL_ENERGIES, Scored
from calogen.metrics.distributions import Value
from calogen.metrics.features import Feature
from calogen.metrics.histograms import Histogram
from calogen.plots.judgement import draw_scored
from calogen.plots.observables import FLOOR_LABEL

EDGES = np.linspace(1.0, 101.0, 101)
COUNTS = np.zeros(102, int)
COUNTS[10:20] = 100


def scored(feature: Feature, second: bool = False) -> Scored[Feature]:
    """A feature whose showers lie in 10 of 100 bins, and beside it that of a second reference."""
    samples = ("reference", "generated", *(["second_reference"] if second else []))
    numbers = {name: {"separation_power": Value(0.0295, 0.0213)} for name in samples[1:]}
    return Scored(feature, ALL_ENERGIES, {name: Histogram(EDGES, COUNTS) for name in samples}, numbers)


@pytest.mark.parametrize(
    ("quantity", "scales"),
    [
        ("layer_energy", ("log", "log")),
        ("centroid_eta", ("log", "linear")),
        ("width_r", ("log", "linear")),
        ("response", ("linear", "linear")),
        ("sparsity", ("linear", "linear")),
    ],
)
def test_shares_of_energies_centres_and_widths_are_logarithmic(quantity: str, scales: tuple[str, str]) -> None:
    ax, ratio_ax = draw_scored([{"GAN": scored(Feature(quantity, 1))}]).axes
    assert (ax.get_yscale(), ratio_ax.get_xscale()) == scales
    assert ratio_ax.get_yscale() == "linear"


def test_the_axis_ends_where_the_showers_end() -> None:
    ax, _ = draw_scored([{"GAN": scored(Feature("width_r", 1))}]).axes
    assert ax.get_xlim() == (9.0, 21.0), "ten bins from 10 to 20 mm, and another on each side"


def test_a_caption_has_the_tables_digits_and_the_floor() -> None:
    figure = draw_scored([{"GAN": scored(Feature("width_r", 1), second=True)}])
    assert " ".join(figure.axes[0].get_title(loc="left").split()) == "1000 S = 30 ± 21 (floor 30 ± 21)"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["Geant4", FLOOR_LABEL, "GAN"]


def test_every_feature_that_is_given_has_a_panel_and_its_whole_title() -> None:
    figure = draw_scored([{"GAN": scored(Feature("containment_radius", layer))} for layer in range(20)])
    titles = {" ".join(ax.get_xlabel().split()) for ax in figure.axes}
    assert {f"radius with 90 % of the energy [mm], layer {layer}" for layer in range(20)} <= titles
    figure.draw_without_rendering()
    for ax in figure.axes[1::2]:
        assert ax.xaxis.label.get_window_extent().width <= ax.get_window_extent().width * 1.35
