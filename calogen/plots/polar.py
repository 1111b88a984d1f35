"""Figures of voxel showers seen along the flight: each layer is a disc in r and alpha."""

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from calogen.plots.style import new_figure, style, wrapped
from calogen.showers.voxels import VoxelGeometry, VoxelLayer

MOST_LAYERS = 8
"""Largest number of discs in a row; of more layers some are drawn, at even distances."""
_DEPTH = 1e-4  # voxels with less than this share of the layer's largest one look empty
_WIDTH = 1.9  # of a disc, inches
_COLOURS = mpl.colormaps["viridis"].with_extremes(under="black", bad="black")
_ARC = 2 * np.pi / 120  # largest step of the drawn circles


def draw_disc(ax: Axes, layer: VoxelLayer, energies: np.ndarray, norm: LogNorm) -> QuadMesh:
    """Draws the voxels of one layer as a disc.

    The drawn radius is the square root of the real one, since otherwise the core would be a dot.

    Args:
        ax: axes for the disc, whose frame and ticks are removed.
        layer: the layer.
        energies: energies of its voxels, `[num_alpha * num_r]`, MeV; voxels without energy are black.
        norm: scale of the colours.
    """
    steps = max(1, round(2 * np.pi / layer.num_alpha / _ARC))
    alpha = np.linspace(-np.pi, np.pi, layer.num_alpha * steps + 1)[:, None]
    radius = np.sqrt(np.asarray(layer.r_edges) / layer.r_edges[-1])[None, :]
    values = np.repeat(energies.reshape(layer.num_alpha, layer.num_r), steps, axis=0)
    mesh = ax.pcolormesh(radius * np.cos(alpha), radius * np.sin(alpha), values, norm=norm, cmap=_COLOURS)
    ax.set(aspect="equal", xticks=[], yticks=[], xlim=(-1.02, 1.02), ylim=(-1.02, 1.02))
    ax.spines[:].set_visible(False)
    return mesh


def draw_showers(geometry: VoxelGeometry, showers: Mapping[str, np.ndarray], note: str = "") -> Figure:
    """Draws showers: a column and a colour scale for each layer, a row for each shower.

    Args:
        geometry: geometry of the showers.
        showers: energies of single or average showers, `[v]`, MeV, by label.
        note: small print at the bottom.
    """
    chosen = np.unique(np.linspace(0, len(geometry.layers) - 1, MOST_LAYERS).round().astype(int)).tolist()
    if len(chosen) < len(geometry.layers):
        note = "; ".join(filter(None, (f"{len(chosen)} of {len(geometry.layers)} layers", note)))
    with style():
        figure = new_figure((_WIDTH * len(chosen), _WIDTH * len(showers) + 0.8), note)
        panels = figure.subplots(len(showers), len(chosen), squeeze=False)
        for column, position in zip(panels.T, chosen, strict=True):
            layer, part = geometry.layers[position], geometry.slices[position]
            largest = max(float(energies[part].max()) for energies in showers.values())
            norm = LogNorm(_DEPTH * largest, largest) if largest > 0 else LogNorm(_DEPTH, 1.0)
            for ax, (label, energies) in zip(column, showers.items(), strict=True):
                mesh = draw_disc(ax, layer, energies[part], norm)
                ax.set_title(wrapped(f"{layer.name}, {label}", _WIDTH, 8), fontsize=8)
            column[-1].set_xlabel(f"r to {layer.r_edges[-1]:g} mm", fontsize=7.5)
            figure.colorbar(mesh, ax=list(column), label="energy [MeV]", location="bottom", shrink=0.9)
    return figure
