"""Distributions, and response against energy, with ratio panels, of finished histograms."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from calogen.evaluation.compare import Scored
from calogen.evaluation.summary import ResponseCurve, energy_text
from calogen.metrics.distributions import Value
from calogen.metrics.histograms import Histogram
from calogen.observables.observable import Observable
from calogen.plots.style import REFERENCE_COLOUR, Drawn, add_legend, build_figure, sample_styles, short, style
from calogen.units import GeV

RATIO_RANGE = (0.4, 1.6)
_REFERENCE_LABEL = "Geant4"


def draw_comparison(
    ax: Axes, ratio_ax: Axes, reference: Histogram, generated: Mapping[str, Histogram]
) -> dict[str, list[Drawn]]:
    """Draw the share of showers per bin, and below it generated / reference.

    The reference is drawn as black markers with statistical errors, generated samples as lines with hatched bands.
    Underflow and overflow are in the first and the last bin; arrows in the ratio stand for points outside its range.

    Args:
        ax, ratio_ax: where to draw.
        reference: histogram of the reference sample.
        generated: histograms with the same edges, by label.

    Returns:
        The artists by label; the last ones of each are those of the ratio.

    Source: captions of Figs. 5-8 of arXiv:2210.06204.
    """
    edges, centres = reference.edges, (reference.edges[1:] + reference.edges[:-1]) / 2
    expected, uncertainty = reference.fractions, reference.errors
    marks: dict[str, Any] = {"color": REFERENCE_COLOUR, "linestyle": "none", "zorder": 3, "markersize": 3.5}
    artists: dict[str, list[Drawn]] = {
        _REFERENCE_LABEL: [
            ax.errorbar(centres, expected, uncertainty, marker="o", label=_REFERENCE_LABEL, **marks),
            ratio_ax.errorbar(centres, _divide(expected, expected), _divide(uncertainty, expected), **marks),
        ]
    }
    for label, look in sample_styles(list(generated)).items():
        values, errors = generated[label].fractions, generated[label].errors
        ratio, ratio_errors = _divide(values, expected), _divide(errors, expected)
        artists[label] = [
            ax.stairs(values, edges, label=label, **look),
            _band(ax, edges, values, errors, look["color"]),
            ratio_ax.stairs(ratio, edges, baseline=None, **look),
            _band(ratio_ax, edges, ratio, ratio_errors, look["color"]),
            *_draw_arrows(ratio_ax, centres, ratio, look["color"]),
        ]
    ax.set(xlim=(edges[0], edges[-1]), ylim=(0, None), ylabel="Share of showers / bin")
    finish_ratio(ratio_ax, RATIO_RANGE)
    return artists


def draw_observables(
    comparisons: Sequence[Scored[Observable]],
    note: str = "",
    columns: int | None = None,
    captions: Sequence[str] | None = None,
    log_scale: bool = False,
) -> Figure:
    """A figure, one panel per comparison: e.g. three energies (Fig. 6), four layers (Fig. 5).

    Args:
        comparisons: what to draw, in order.
        note: small print at the bottom, e.g. "Geant4 with data-free models, simplified stack, noise-free".
        columns: a grid of small panels with at most so many in a row.
        captions: a short text for each panel, e.g. "chi2/NDF = 1.9".
        log_scale: whether the shares have a logarithmic axis; empty bins are then below it.
    """
    texts = captions if captions is not None else [""] * len(comparisons)
    with style():
        figure, panels = build_figure(len(comparisons), (3, 1), note, columns)
        for (ax, ratio_ax), item, text in zip(panels, comparisons, texts, strict=True):
            generated = dict(item.histograms)
            artists = draw_comparison(ax, ratio_ax, generated.pop("reference"), generated)
            ratio_ax.set(xlabel=item.feature.axis_label, xscale="log" if item.feature.log_axis else "linear")
            ax.set_title(_title(item))
            ax.set_ylabel(f"Share of {item.feature.counted} / bin")
            set_height(ax, [*item.histograms.values()], log_scale)
            if text:
                ax.text(0.97, 0.95, text, transform=ax.transAxes, ha="right", va="top", fontsize="small")
        add_legend(figure, [drawn[0] for drawn in artists.values()])
    return figure


def draw_response(
    reference: ResponseCurve, generated: Mapping[str, ResponseCurve], note: str = "", title: str = ""
) -> Figure:
    """Mean response (bars: its spread) and resolution against incident energy, with ratios.

    The ratios are generated / reference.

    Source: Fig. 9a of arXiv:2210.06204; the resolution's panel is ours.
    """
    with style():
        figure, panels = build_figure(2, (3, 1), note)
        for (ax, ratio_ax), quantity in zip(panels, ("mean", "resolution"), strict=True):
            for position, (label, curve) in enumerate({_REFERENCE_LABEL: reference, **generated}.items()):
                look = {"color": REFERENCE_COLOUR} if position == 0 else {**sample_styles(list(generated))[label]}
                look.pop("linestyle", None)
                shifted = curve.energies / GeV * 1.06 ** (position - len(generated) / 2)
                bars = curve.spread if quantity == "mean" else curve.resolution
                values = np.array([item.value for item in getattr(curve, quantity)])
                errors = [item.value if quantity == "mean" else item.error for item in bars]
                marks: dict[str, Any] = {"marker": "o", "markersize": 4, "linestyle": "none", "label": short(label)}
                marks |= look
                ax.errorbar(shifted, values, errors, **marks)
                ratios = _ratios(curve, reference, quantity)
                ratio_ax.errorbar(shifted, [r.value for r in ratios], [r.error for r in ratios], **marks)
            ax.set_ylabel("E / E$_{true}$ (bars: spread)" if quantity == "mean" else r"Resolution $\sigma_E/\bar E$")
            ratio_ax.set(xscale="log", xlabel="Incident energy [GeV]", ylabel="ratio to Geant4")
            ratio_ax.axhline(1, color="0.6", linewidth=0.8, zorder=0)
            ax.legend()
        panels[0][0].set_title(title)
        panels[1][0].set_yscale("log")
    return figure


def set_height(ax: Axes, histograms: Sequence[Histogram], log_scale: bool) -> None:
    """Set the range of the vertical axis, with room for a caption.

    A logarithmic one begins below the least filled bin.
    """
    filled = np.concatenate([item.fractions[item.fractions > 0] for item in histograms])
    if log_scale and len(filled):
        low, high = 0.5 * float(filled.min()), 2 * float(filled.max())
        ax.set(yscale="log", ylim=(low, high * (high / low) ** 0.3))
    else:
        ax.set_ylim(0, 1.35 * ax.get_ylim()[1])


def finish_ratio(ax: Axes, limits: tuple[float, float]) -> None:
    """Give the axes of a ratio their range, their title and a line at 1."""
    ax.axhline(1, color="0.6", linewidth=0.8, zorder=0)
    ax.set(ylim=limits, ylabel="ratio to\nGeant4")


def _title(item: Scored[Observable]) -> str:
    energy = energy_text(item.incident_energy)
    number = item.feature.figures.get(item.incident_energy)
    if not number:
        return energy
    return f"{energy} (Fig. {number}{', noise-free here' if number in item.feature.noise_free else ''})"


def _band(ax: Axes, edges: np.ndarray, values: np.ndarray, errors: np.ndarray, colour: str) -> Drawn:
    low, high = (np.append(bound, bound[-1]) for bound in (values - errors, values + errors))
    look: dict[str, Any] = {"facecolor": "none", "edgecolor": colour, "hatch": "////", "linewidth": 0, "alpha": 0.6}
    return ax.fill_between(edges, low, high, step="post", **look)


def _draw_arrows(ax: Axes, centres: np.ndarray, ratio: np.ndarray, colour: str) -> list[Drawn]:
    """Arrows at the top and bottom of the ratio for points outside its range."""
    artists: list[Drawn] = []
    low, high = RATIO_RANGE
    margin = 0.06 * (high - low)
    for outside, height, marker in ((ratio > high, high - margin, "^"), (ratio < low, low + margin, "v")):
        artists += ax.plot(centres[outside], np.full(outside.sum(), height), marker, color=colour, markersize=4)
    return artists


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Quotient, NaN (drawn as nothing) where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full(len(denominator), np.nan), where=denominator > 0)


def _ratios(curve: ResponseCurve, reference: ResponseCurve, quantity: str) -> list[Value]:
    """A curve over the reference at the same energy, errors of both; NaN without a reference."""
    known = dict(zip(reference.energies, getattr(reference, quantity), strict=True))
    ratios = []
    for energy, value in zip(curve.energies, getattr(curve, quantity), strict=True):
        other = known.get(energy, Value(np.nan, np.nan))
        ratio = value / other
        ratios.append(Value(ratio.value, 0.0) if value is other else ratio)  # of the reference itself no error is left
    return ratios
