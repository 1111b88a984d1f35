"""Figures of showers in regular grids: profiles, and projections along each axis."""

from collections.abc import Mapping

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from calogen.metrics.histograms import Profile
from calogen.plots.showers import draw_profile
from calogen.plots.style import build_figure, new_figure, style, wrapped
from calogen.showers.grid import RegularGrid

_AXIS_LABELS = {"longitudinal": "layer", "radial": "distance from the middle [mm]"}
# Title, axis that is summed over (of layer, x, z), and labels of the horizontal and of the vertical axis.
_VIEWS = (
    ("from the side", 2, "layer", "x [mm]"),
    ("from above", 1, "layer", "z [mm]"),
    ("front", 0, "x [mm]", "z [mm]"),
)
_DEPTH = 1e-4  # cells with less than this share of the largest one look empty
_WIDTH = 2.6  # of a projection, inches


def draw_grid_profiles(samples: Mapping[str, Mapping[str, Profile]], note: str = "") -> Figure:
    """Draws longitudinal and radial profiles, above generated / reference.

    Args:
        samples: the profiles by sample, the reference first.
        note: small print at the bottom.

    Source: Fig. 7 of arXiv:2005.05334.
    """
    first, *others = samples
    with style():
        figure, panels = build_figure(2, (3, 1), note)
        for (ax, ratio_ax), (name, label) in zip(panels, _AXIS_LABELS.items(), strict=True):
            draw_profile(ax, ratio_ax, samples[first][name], {other: samples[other][name] for other in others}, first)
            ax.set_title(f"{name.capitalize()} profile")
            ratio_ax.set_xlabel(label)
        panels[0][0].legend()
    return figure


def draw_projections(grid: RegularGrid, showers: Mapping[str, np.ndarray], note: str = "") -> Figure:
    """Draws showers as seen from three sides: a column for each view, a row for each shower.

    Args:
        grid: geometry of the showers.
        showers: energies of single or average showers, `[v]`, MeV, by label.
        note: small print at the bottom.

    Source: Figs. 1, 2 and 5 of arXiv:2005.05334.
    """
    layer, ids = grid.layers[0], grid.layer_ids
    across = [(np.arange(count + 1) - count / 2) * layer.cell_size for count in layer.shape]
    edges = {"layer": np.arange(len(ids) + 1) + ids[0] - 0.5, "x [mm]": across[0], "z [mm]": across[1]}
    with style():
        figure = new_figure((_WIDTH * len(_VIEWS) + 1.0, 0.85 * _WIDTH * len(showers)), note)
        panels = figure.subplots(len(showers), len(_VIEWS), squeeze=False)
        for row, (label, energies) in zip(panels, showers.items(), strict=True):
            image = grid.images(energies[None, :])[0]
            largest = max(float(image.sum(axis=axis).max()) for _, axis, *_ in _VIEWS)
            norm = LogNorm(_DEPTH * largest, largest) if largest > 0 else LogNorm(_DEPTH, 1.0)
            for ax, (title, axis, horizontal, vertical) in zip(row, _VIEWS, strict=True):
                values = image.sum(axis=axis).T
                mesh = ax.pcolormesh(
                    edges[horizontal], edges[vertical], np.where(values > 0, values, np.nan), norm=norm
                )
                ax.set(xlabel=horizontal, ylabel=vertical, facecolor="black")
                ax.set_title(wrapped(f"{label}, {title}", _WIDTH, 9), fontsize=9)
            figure.colorbar(mesh, ax=list(row), label="energy [MeV]")
    return figure
