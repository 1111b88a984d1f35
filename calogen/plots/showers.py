"""Figures of the average shower: profiles in eta and phi, and images of the cells."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from calogen.metrics.histograms import Profile
from calogen.observables.cells import AXES, AverageShower, Axis
from calogen.plots.observables import finish_ratio
from calogen.plots.style import REFERENCE_COLOUR, Drawn, build_figure, sample_styles, style
from calogen.units import GeV

_LABELS = {"eta": (r"$\Delta\eta$ from the impact ", ""), "phi": (r"$\Delta\phi$ from the impact ", " [rad]")}
PROFILE_RATIO_RANGE = (0.5, 1.5)


def draw_profile(
    ax: Axes, ratio_ax: Axes, reference: Profile, generated: Mapping[str, Profile], label: str = "Geant4"
) -> dict[str, list[Drawn]]:
    """Draws mean energies along an axis, with errors, above generated / reference.

    Args:
        ax, ratio_ax: axes of the profile, which get a logarithmic scale, and of the ratio.
        reference: profile of the reference.
        generated: profiles of generated samples with the same edges, by label.
        label: label of the reference.

    Returns:
        The artists by label: that of the profile, then that of the ratio.
    """
    centres = (reference.edges[1:] + reference.edges[:-1]) / 2
    filled = reference.mean > 0
    base = np.where(filled, reference.mean, np.nan)
    styles = sample_styles(list(generated))
    artists: dict[str, list[Drawn]] = {}
    for name, profile in {label: reference, **generated}.items():
        mark = partial(Axes.errorbar, elinewidth=0.8, label=name)
        if name == label:
            mark = partial(mark, color=REFERENCE_COLOUR, marker="o", markersize=3, linestyle="none")
        else:
            mark = partial(mark, **styles[name])
        artists[name] = [
            mark(axes, centres, profile.mean / scale, profile.error / scale)
            for axes, scale in ((ax, np.ones_like(base)), (ratio_ax, base))
        ]
    ax.set(yscale="log", ylabel="Mean energy [MeV]")
    if filled.any():
        ax.set_ylim(0.3 * reference.mean[filled].min(), 5 * reference.mean.max())
    finish_ratio(ratio_ax, PROFILE_RATIO_RANGE)
    ratio_ax.set_xlim(reference.edges[0], reference.edges[-1])
    return artists


def draw_average_shower(
    layers: Sequence[AverageShower], note: str = "", axes: Sequence[Axis] = AXES, origin: str = "cell"
) -> Figure:
    """Draws profiles of the average shower: a column for each layer, eta above phi.

    Args:
        layers: average showers in the layers, from `average_showers`; the first sample is the reference.
        note: small print at the bottom.
        axes: the axes along which to draw.
        origin: what the profiles are measured from: the impact `cell` or the impact `point`.

    Source: Figs. 11, 12 of the 2018 note (ATL-SOFT-PUB-2018-001).
    """
    with style():
        figure, panels = build_figure(len(axes) * len(layers), (3, 1), note)
        for position, (ax, ratio_ax) in enumerate(panels):
            layer, axis = layers[position % len(layers)], axes[position // len(layers)]
            profiles = {label: of_sample[axis] for label, of_sample in layer.profiles.items()}
            label, *names = profiles
            draw_profile(ax, ratio_ax, profiles[label], {name: profiles[name] for name in names}, label)
            ax.set_title(f"{layer.layer}, {layer.incident_energy / GeV:.3g} GeV")
            ratio_ax.locator_params(axis="x", nbins=5)
            ratio_ax.set_xlabel(origin.join(_LABELS[axis]))
            if position == 0:
                ax.legend()
    return figure


def draw_average_cells(layers: Sequence[AverageShower], note: str = "") -> Figure:
    """Draws mean energies of cells: a column and a colour scale per layer, a row per sample."""
    samples = list(layers[0].cells)
    with style():
        figure, panels = build_figure(len(layers), [1.0] * len(samples), note)
        for column, layer in zip(panels, layers, strict=True):
            brightest = max(float(layer.cells[samples[0]].max()), 1e-3)
            norm = LogNorm(1e-4 * brightest, brightest)
            for ax, sample in zip(column, samples, strict=True):
                profiles = layer.profiles[samples[0]]
                image = ax.pcolormesh(
                    profiles["eta"].edges, profiles["phi"].edges, layer.cells[sample].T, norm=norm, cmap="viridis"
                )
                ax.set_facecolor("black")
                ax.set_title(f"{layer.layer}, {sample}", fontsize=9)
                ax.set_ylabel(r"$\Delta\phi$")
            column[-1].set_xlabel(r"$\Delta\eta$")
            column[0].figure.colorbar(image, ax=column, label="Energy [MeV]")
    return figure
