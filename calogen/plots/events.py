"""Figures of imaging calorimeters: event displays, and spectra of the cells' energies."""

import operator
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from calogen.plots.style import REFERENCE_COLOUR, new_figure, sample_styles, style, wrapped
from calogen.showers.grid import RegularGrid

_SIDE = 3.6  # of a display, inches
_MOST = 1500  # hits of a shower that are drawn, those with the largest energies
_BINS = 70


def draw_events(grid: RegularGrid, showers: Mapping[str, np.ndarray], threshold: float, note: str = "") -> Figure:
    """Draws single showers in three dimensions: a square for each hit, coloured by energy.

    Args:
        grid: geometry of the showers.
        showers: energies of single showers, `[v]`, MeV, by label.
        threshold: cells with less energy, MeV, are not drawn.
        note: small print at the bottom.

    Source: Figs. 1 and 5 of arXiv:2005.05334.
    """
    layer = grid.layers[0]
    places = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1).reshape(-1, 3)
    largest = max((float(energies.max()) for energies in showers.values()), default=0.0)
    norm = LogNorm(threshold, max(largest, 2 * threshold))
    with style():
        figure = new_figure((_SIDE * len(showers) + 0.8, _SIDE + 0.4), note)
        panels: list[Any] = [  # matplotlib's axes in three dimensions have no types
            figure.add_subplot(1, len(showers), number + 1, projection="3d") for number in range(len(showers))
        ]
        for ax, (label, energies) in zip(panels, showers.items(), strict=True):
            hits = np.flatnonzero(energies >= threshold)
            hits = hits[np.argsort(energies[hits])[-_MOST:]]  # the largest energies are drawn last, on top
            depth, x, z = places[hits].T
            drawn = ax.scatter(x, z, depth, c=energies[hits], norm=norm, marker="s", s=6)
            ax.set(xlim=(0, layer.num_x), ylim=(0, layer.num_z), zlim=(0, len(grid.layers)))
            ax.set(xlabel="x [cells]", ylabel="z [cells]", zlabel="layer")
            ax.set_title(wrapped(label, _SIDE))
        figure.colorbar(drawn, ax=panels, label="energy of a cell [MeV]", shrink=0.7)
    return figure


def draw_hit_spectrum(
    spectra: Mapping[str, tuple[np.ndarray, int]], mip: float, threshold: float, note: str = ""
) -> Figure:
    """Draws the number of cells by energy, with a second axis in minimum ionising particles.

    Args:
        spectra: energies of all cells with energy, `[h]`, MeV, and the number of showers, by label; Geant4's first.
        mip: energy that a minimum ionising particle most probably leaves in a cell, MeV.
        threshold: cells with less energy, MeV, count as empty elsewhere; this part is shaded.
        note: small print at the bottom.

    Source: left of Fig. 6 of arXiv:2005.05334.
    """
    edges = np.geomspace(threshold / 10, 300 * threshold, _BINS + 1)
    first, *others = spectra
    looks = sample_styles(others)
    with style():
        figure = new_figure((6.2, 4.6), note)
        ax = figure.subplots()
        for label, (energies, number) in spectra.items():
            counts = np.histogram(energies, edges)[0] / max(number, 1)
            if label == first:
                ax.stairs(counts, edges, fill=True, color="0.8", label=label)
                ax.stairs(counts, edges, color=REFERENCE_COLOUR, linewidth=0.8)
            else:
                ax.stairs(counts, edges, label=label, **looks[label])
        ax.axvspan(edges[0], threshold, color="0.6", alpha=0.4, linewidth=0)
        ax.set(xscale="log", yscale="log", xlim=(edges[0], edges[-1]))
        ax.set(xlabel="Energy of a cell [MeV]", ylabel="Cells of a shower / bin")
        above = ax.secondary_xaxis("top", functions=(partial(operator.mul, 1 / mip), partial(operator.mul, mip)))
        above.set_xlabel("Energy of a cell [MIP]")
        ax.legend()
    return figure
