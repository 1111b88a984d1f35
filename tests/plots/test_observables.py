from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from calogen.evaluation.compare import Scored
from calogen.evaluation.summary import ResponseCurve
from calogen.metrics.distributions import Value
from calogen.metrics.histograms import Histogram, Profile
from calogen.observables.observable import Observable
from calogen.plots.observables import (
    RATIO_RANGE,
    draw_comparison,
    draw_observables,
    draw_profiles,
    draw_response,
    shown_range,
)
from calogen.plots.style import sample_styles, write_figure

EDGES = np.array([0.0, 1.0, 2.0, 3.0])
REFERENCE = Histogram(EDGES, np.array([2, 8, 20, 9, 1]))
GENERATED = Histogram(EDGES, np.array([0, 40, 20, 1, 0]))
EMPTY_BIN = Histogram(EDGES, np.array([0, 20, 0, 20, 0]))
OBSERVABLE = Observable("depth", len, "Shower depth", "mm", 1.0, {4096.0: "6a"}, frozenset({"6a"}))


def axes():
    ax, ratio_ax = Figure().subplots(2, 1)
    return ax, ratio_ax


def test_points_and_lines_show_the_histograms():
    artists = draw_comparison(*axes(), REFERENCE, {"VAE": GENERATED})
    markers, _, (bars,) = artists["Geant4"][0].lines
    np.testing.assert_allclose(markers.get_ydata(), [10 / 40, 20 / 40, 10 / 40])
    np.testing.assert_allclose(markers.get_xdata(), [0.5, 1.5, 2.5])
    np.testing.assert_allclose(np.diff([s[:, 1] for s in bars.get_segments()])[:, 0], 2 * np.sqrt([10, 20, 10]) / 40)
    stairs, ratio = artists["VAE"][0], artists["VAE"][2]
    np.testing.assert_allclose(stairs.get_data().values, np.array([40, 20, 1]) / 61)
    np.testing.assert_allclose(ratio.get_data().values, np.array([40, 20, 1]) / 61 * [4, 2, 4])


def test_arrows_where_the_ratio_is_out_of_range():
    *_, up, down = draw_comparison(*axes(), REFERENCE, {"VAE": GENERATED})["VAE"]
    assert (up.get_marker(), up.get_xdata().tolist()) == ("^", [0.5])
    assert (down.get_marker(), down.get_xdata().tolist()) == ("v", [2.5])
    assert all(RATIO_RANGE[0] < y < RATIO_RANGE[1] for y in (*up.get_ydata(), *down.get_ydata()))


def test_no_ratio_where_the_reference_is_empty():
    ratio = draw_comparison(*axes(), EMPTY_BIN, {"VAE": GENERATED})["VAE"][2]
    assert np.isnan(ratio.get_data().values).tolist() == [False, True, False]


@pytest.mark.parametrize("count", [1, 3])
def test_figure_has_a_panel_per_comparison(count, tmp_path):
    item = Scored(OBSERVABLE, 4096.0, {"reference": REFERENCE, "VAE": GENERATED, "other": EMPTY_BIN})
    figure = draw_observables([item] * count, "no noise")
    assert len(figure.axes) == 2 * count
    assert figure.axes[0].get_title(loc="left") == "4.1 GeV (Fig. 6a, noise-free here)"
    assert figure.axes[1].get_xlabel() == "Shower depth [mm]"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["Geant4", "VAE", "other"]
    assert figure.get_supxlabel() == "no noise"
    write_figure(figure, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 5000


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("label", ["kinetic", "a label that is much too long for any legend"])
def test_the_legend_stands_above_the_panels(label: str, count: int, tmp_path: Path) -> None:
    generated = dict.fromkeys(["single GAN", "two GANs", "three GANs", label], GENERATED)
    figure = draw_observables([Scored(OBSERVABLE, 4096.0, {"reference": REFERENCE, **generated})] * count)
    write_figure(figure, tmp_path / "figure.png")
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert box.y0 >= max(ax.get_window_extent().y1 for ax in figure.axes)
    assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
    texts = [" ".join(text.get_text().split()) for text in legend.get_texts()]
    assert texts == ["Geant4", *generated], "labels are wrapped, not cut"


def test_the_axis_ends_where_half_a_percent_lies_beyond_it():
    edges = np.arange(0.0, 101.0)
    counts = np.zeros(102, int)
    counts[[10, 20, 90]] = 500, 497, 3
    assert shown_range([Histogram(edges, counts)]) == (8.0, 21.0), "3 of 1000 showers are far outside"
    counts[[90, 101]] = 3, 7
    assert shown_range([Histogram(edges, counts)]) == (8.0, 100.0), "overflow is in the last bin, which is shown"


def test_a_sample_has_one_style_and_one_entry_whatever_panels_it_is_in() -> None:
    first = Scored(OBSERVABLE, 4096.0, {"reference": REFERENCE, "VAE": GENERATED, "GAN": GENERATED})
    second = Scored(OBSERVABLE, 4096.0, {"reference": REFERENCE, "GAN": GENERATED})
    looks = sample_styles(["VAE", "GAN"])
    for labels, items in (((), [first, second]), (("VAE",), [second])):
        figure = draw_observables(items, labels=labels)
        texts = [text.get_text() for text in figure.legends[0].get_texts()]
        assert texts == ["Geant4", *([] if labels else ["VAE"]), "GAN"]
        (drawn,) = (item for item in figure.axes[-2].patches if item.get_label() == "GAN")
        assert to_hex(drawn.get_edgecolor()) == looks["GAN"]["color"]


def test_captions_in_a_grid(tmp_path):
    item = Scored(OBSERVABLE, 4096.0, {"reference": REFERENCE, "GAN": GENERATED})
    figure = draw_observables([item] * 5, columns=4, captions=[f"chi2/NDF = {n}" for n in range(5)])
    panels = figure.axes[::2]
    assert [[text.get_text() for text in ax.texts] for ax in panels] == [[f"chi2/NDF = {n}"] for n in range(5)]
    assert len(figure.legends) == 1
    assert figure.get_figwidth() < 4 * 4.2
    write_figure(figure, tmp_path / "figure.png")
    with pytest.raises(ValueError, match="zip"):
        draw_observables([item] * 2, captions=["one"])


@pytest.mark.parametrize(("reference", "generated"), [(REFERENCE, GENERATED), (EMPTY_BIN, REFERENCE)])
def test_logarithmic_shares(reference, generated, tmp_path):
    """The axis begins below the least filled bin and has room above the fullest one; empty bins lie below it."""
    item = Scored(OBSERVABLE, 4096.0, {"reference": reference, "GAN": generated})
    figure = draw_observables([item], log_scale=True)
    ax, ratio_ax = figure.axes
    low, high = ax.get_ylim()
    shares = np.concatenate([reference.fractions, generated.fractions])
    assert (ax.get_yscale(), ratio_ax.get_yscale()) == ("log", "linear")
    assert low == pytest.approx(shares[shares > 0].min() / 2)
    assert high > 2 * shares.max()
    write_figure(figure, tmp_path / "figure.png")


def test_logarithmic_shares_of_nothing(tmp_path):
    nothing = Histogram(EDGES, np.zeros(5, int))
    item = Scored(OBSERVABLE, 4096.0, {"reference": nothing, "GAN": nothing})
    write_figure(draw_observables([item], log_scale=True), tmp_path / "figure.png")


def test_what_is_counted_stands_on_the_axis():
    voxels = replace(OBSERVABLE, counted="voxels")
    (ax, _) = draw_observables([Scored(voxels, 4096.0, {"reference": REFERENCE})]).axes
    assert ax.get_ylabel() == "Share of voxels / bin"


def test_response_and_its_ratio():
    def curve(energies, mean):
        values = tuple(Value(mean, 0.01) for _ in energies)
        return ResponseCurve(np.array(energies), values, values, values)

    figure = draw_response(curve([1e3, 2e3], 0.8), {"VAE": curve([1e3, 4e3], 0.4)})
    _, ratio_ax = figure.axes[:2]
    reference, generated = ratio_ax.containers
    np.testing.assert_allclose(reference.lines[0].get_ydata(orig=False), [1, 1])
    np.testing.assert_allclose(generated.lines[0].get_ydata(orig=False), [0.5, np.nan])
    bars = generated.lines[2][0].get_segments()[0]
    assert np.ptp(bars[:, 1]) / 2 == pytest.approx(np.hypot(0.01, 0.005) / 0.8)


def test_profiles_are_points_with_errors_at_the_bins_centres() -> None:
    first, second = (Profile(EDGES, np.array([1.0, 2.0, np.nan]) * size, np.full(3, 0.1)) for size in (1, -1))
    figure = draw_profiles({"front": {"Geant4": first, "GAN": second}, "middle": {"Geant4": first}}, ("x", "y"), "toys")
    front, middle = figure.axes
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["front", "middle"]
    assert (front.get_xlabel(), front.get_ylabel()) == ("x", "y")
    points = {item.get_label(): item.lines[0].get_xydata() for item in front.containers}
    np.testing.assert_array_equal(points["Geant4"], [[0.5, 1], [1.5, 2], [2.5, np.nan]])
    np.testing.assert_array_equal(points["GAN"][:2], [[0.5, -1], [1.5, -2]])
    assert len(middle.containers) == 1
    assert figure.get_supxlabel() == "toys"
