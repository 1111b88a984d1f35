from itertools import pairwise

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from calogen.metrics.correlations import Correlations, PairHistograms, difference
from calogen.plots.correlations import draw_correlation_matrices, draw_pairs
from calogen.plots.style import write_figure


def matrices(number, seed=0):
    """Reference, generated, difference, with one undefined coefficient."""
    rng = np.random.default_rng(seed)
    names = tuple(f"containment_radius_{position}" for position in range(number))
    found = []
    for _ in range(2):
        values = np.corrcoef(rng.normal(size=(number, 50)))
        values[0, 1] = values[1, 0] = np.nan
        found.append(Correlations(names, values, np.full((number, number), 0.1), values[None]))
    return *found, difference(*found)


def test_matrices_stand_side_by_side():
    reference, generated, change = matrices(4)
    figure = draw_correlation_matrices(reference, generated, change, "no noise")
    panels, bars = figure.axes[:3], figure.axes[3:]
    for ax, item in zip(panels, (reference, generated, change), strict=True):
        (image,) = ax.images
        np.testing.assert_array_equal(image.get_array().filled(np.nan), item.values)
        assert image.cmap.name == "RdBu_r"
        assert image.norm.vmin == -image.norm.vmax
        assert [label.get_text() for label in ax.get_xticklabels()] == list(item.names)
        assert ax.get_facecolor() == to_rgba("0.8")
    assert [ax.images[0].norm.vmax for ax in panels] == [1, 1, np.nanmax(np.abs(change.values))]
    assert panels[2].get_title(loc="left").endswith(f"mean absolute value {change.mean_absolute.value:.3f}")
    assert len(bars) == 3
    assert figure.get_supxlabel() == "no noise"


def test_differences_of_equal_samples_stay_pale():
    reference, _, _ = matrices(3)
    figure = draw_correlation_matrices(reference, reference, difference(reference, reference))
    assert figure.axes[2].images[0].norm.vmax == 0.1


@pytest.mark.parametrize("number", [2, 40, 362])
def test_labels_do_not_overlap(number, tmp_path):
    figure = draw_correlation_matrices(*matrices(number))
    write_figure(figure, tmp_path / "figure.png")
    boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    heights = sorted((box.y0, box.y1) for box in boxes)
    assert len(heights) >= min(number, 40)
    # A box is taller than its glyphs, and than Matplotlib 3.11's in 3.10.
    assert all(upper[0] >= lower[1] - 0.15 * (lower[1] - lower[0]) for lower, upper in pairwise(heights))


def pair(scale=1):
    edges = np.arange(4.0), np.array([1.0, 10.0, 100.0])
    reference, generated = np.zeros((2, 5, 4), int)
    reference[1:4, 1:3] = np.array([[1, 2], [0, 4], [8, 5]]) * scale
    generated[2, 1] = generated[0, 0] = 10
    counts = {"Geant4": reference, "GAN": generated}
    return PairHistograms(("num_hits", "total_energy"), edges, counts, {"Geant4": 0, "GAN": 20})


def test_pairs_share_their_colours():
    figure = draw_pairs([pair(), pair(2)], "note")
    panels = figure.axes[:4]
    images = [ax.collections[0] for ax in panels]
    for first, second in ((0, 1), (2, 3)):
        assert images[first].norm is images[second].norm
    assert (images[0].norm.vmin, images[0].norm.vmax) == (1 / 20, 8 / 20)
    found = images[0].get_array()
    np.testing.assert_allclose(found.filled(0), np.array([[1, 0, 8], [2, 4, 5]]) / 20)
    assert [ax.get_title(loc="left") for ax in panels[:2]] == ["Geant4", "GAN (75.0% outside)"]
    assert panels[0].get_xlabel() == "number of hits"
    assert panels[0].get_ylabel() == "total energy [MeV]"
    assert (panels[0].get_xscale(), panels[0].get_yscale()) == ("linear", "log")


def test_pairs_of_nothing_are_drawn(tmp_path):
    item = pair(0)
    item.counts["GAN"][:] = 0
    figure = draw_pairs([PairHistograms(item.names, item.edges, item.counts, {"Geant4": 1, "GAN": 1})])
    write_figure(figure, tmp_path / "figure.png")
