"""Figures of distributions and of response curves, with panels of ratios to Geant4."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from calogen.evaluation.compare import Scored
from calogen.evaluation.summary import ResponseCurve, energy_text
from calogen.metrics.distributions import Value
from calogen.metrics.histograms import Histogram, Profile
from calogen.observables.observable import Observable
from calogen.plots.style import (
    REFERENCE_COLOUR,
    Drawn,
    LineStyle,
    add_legend,
    build_figure,
    legend_label,
    sample_styles,
    style,
)
from calogen.units import GeV

RATIO_RANGE = (0.4, 1.6)
FLOOR_LABEL = "second Geant4 file (floor)"
_REFERENCE_LABEL = "Geant4"
_FLOOR_COLOUR = "0.55"
_TAIL = 0.005  # share of the showers that may lie beyond each end of an axis


def draw_comparison(
    ax: Axes,
    ratio_ax: Axes,
    reference: Histogram,
    generated: Mapping[str, Histogram],
    floor: Histogram | None = None,
    looks: Mapping[str, LineStyle] | None = None,
) -> dict[str, list[Drawn]]:
    """Draws the share of showers in each bin, and below it the ratio generated / reference.

    The reference has black markers with statistical errors, generated samples have lines with hatched bands. Underflow
    and overflow are in the first and the last bin; arrows in the ratio stand for points outside its range. The axis
    ends where the showers end (`shown_range`).

    Args:
        ax, ratio_ax: axes of the distribution and of the ratio.
        reference: histogram of the reference.
        generated: histograms of generated samples with the same edges, by label.
        floor: histogram of a second Geant4 sample, whose ratio to the reference is drawn in grey; None: there is none.
        looks: styles of these and perhaps of other samples, by label; None: as if there were no others.

    Returns:
        The artists by label: first those of the distribution, then those of the ratio.

    Source: captions of Figs. 5-8 of arXiv:2210.06204.
    """
    edges, centres = reference.edges, (reference.edges[1:] + reference.edges[:-1]) / 2
    expected, uncertainty = reference.fractions, reference.errors
    mark = partial(Axes.errorbar, color=REFERENCE_COLOUR, linestyle="none", zorder=3, markersize=3.5)
    artists: dict[str, list[Drawn]] = {
        _REFERENCE_LABEL: [
            mark(ax, centres, expected, uncertainty, marker="o", label=_REFERENCE_LABEL),
            mark(ratio_ax, centres, _divide(expected, expected), _divide(uncertainty, expected)),
        ]
    }
    if floor is not None:
        ratio = _divide(floor.fractions, expected)
        artists[FLOOR_LABEL] = [ratio_ax.stairs(ratio, edges, baseline=None, color=_FLOOR_COLOUR, label=FLOOR_LABEL)]
    looks = sample_styles(list(generated)) if looks is None else looks
    for label, histogram in generated.items():
        look, values, errors = looks[label], histogram.fractions, histogram.errors
        ratio, ratio_errors = _divide(values, expected), _divide(errors, expected)
        artists[label] = [
            ax.stairs(values, edges, label=label, **look),
            _band(ax, edges, values, errors, look["color"]),
            ratio_ax.stairs(ratio, edges, baseline=None, **look),
            _band(ratio_ax, edges, ratio, ratio_errors, look["color"]),
            *_draw_arrows(ratio_ax, centres, ratio, look["color"]),
        ]
    ax.set(xlim=shown_range([reference, *generated.values()]), ylim=(0, None), ylabel="Share of showers / bin")
    finish_ratio(ratio_ax, RATIO_RANGE)
    return artists


def draw_observables(
    comparisons: Sequence[Scored[Observable]],
    note: str = "",
    columns: int | None = None,
    captions: Sequence[str] | None = None,
    log_scale: bool = False,
    labels: Sequence[str] = (),
) -> Figure:
    """Draws distributions of observables, one panel for each comparison.

    Args:
        comparisons: comparisons in the order of the panels, e.g. of three incident energies or of four layers.
        note: small print at the bottom, e.g. "Geant4 with data-free models, simplified stack, noise-free".
        columns: number of panels in a row of a grid of small panels; None: large panels.
        captions: a short text inside each panel, e.g. "chi2/NDF = 1.9".
        log_scale: whether the shares have a logarithmic axis, on which empty bins are not visible.
        labels: labels of samples, in the order of their styles, so that several figures have the same; those that are
            missing here come after them.
    """
    texts = captions if captions is not None else [""] * len(comparisons)
    present = [name for item in comparisons for name in item.histograms if name != "reference"]
    looks, drawn = sample_styles([*dict.fromkeys([*labels, *present])]), dict[str, Drawn]()
    with style():
        figure, panels = build_figure(len(comparisons), (3, 1), note, columns)
        for (ax, ratio_ax), item, text in zip(panels, comparisons, texts, strict=True):
            generated = dict(item.histograms)
            artists = draw_comparison(ax, ratio_ax, generated.pop("reference"), generated, looks=looks)
            drawn |= {label: parts[0] for label, parts in artists.items()}
            ratio_ax.set(xlabel=item.feature.axis_label, xscale="log" if item.feature.log_axis else "linear")
            ax.set_title(_title(item))
            ax.set_ylabel(f"Share of {item.feature.counted} / bin")
            set_height(ax, [*item.histograms.values()], log_scale)
            if text:
                ax.text(0.97, 0.95, text, transform=ax.transAxes, ha="right", va="top", fontsize="small")
        add_legend(figure, [drawn[label] for label in (_REFERENCE_LABEL, *looks) if label in drawn])
    return figure


def draw_response(
    reference: ResponseCurve, generated: Mapping[str, ResponseCurve], note: str = "", title: str = ""
) -> Figure:
    """Draws mean response (its bars are the spread) and resolution against incident energy.

    Below them are the ratios generated / reference.

    Source: Fig. 9a of arXiv:2210.06204; the resolution's panel is ours.
    """
    with style():
        figure, panels = build_figure(2, (3, 1), note)
        for (ax, ratio_ax), quantity in zip(panels, ("mean", "resolution"), strict=True):
            for position, (label, curve) in enumerate({_REFERENCE_LABEL: reference, **generated}.items()):
                colour = sample_styles(list(generated))[label]["color"] if position else REFERENCE_COLOUR
                shifted = curve.energies / GeV * 1.06 ** (position - len(generated) / 2)
                bars = curve.spread if quantity == "mean" else curve.resolution
                values = np.array([item.value for item in getattr(curve, quantity)])
                errors = [item.value if quantity == "mean" else item.error for item in bars]
                mark = partial(
                    Axes.errorbar, marker="o", markersize=4, linestyle="none", color=colour, label=legend_label(label)
                )
                mark(ax, shifted, values, errors)
                ratios = _ratios(curve, reference, quantity)
                mark(ratio_ax, shifted, [ratio.value for ratio in ratios], [ratio.error for ratio in ratios])
            ax.set_ylabel("E / E$_{true}$ (bars: spread)" if quantity == "mean" else r"Resolution $\sigma_E/\bar E$")
            ratio_ax.set(xscale="log", xlabel="Incident energy [GeV]", ylabel="ratio to\nGeant4")
            ratio_ax.axhline(1, color="0.6", linewidth=0.8, zorder=0)
            ax.legend()
        panels[0][0].set_title(title)
        panels[1][0].set_yscale("log")
    return figure


def draw_profiles(panels: Mapping[str, Mapping[str, Profile]], labels: tuple[str, str], note: str = "") -> Figure:
    """Draws means in bins of a condition, with errors: a panel for each title.

    Args:
        panels: profiles by sample, Geant4's first, by the panel's title.
        labels: labels of the horizontal and of the vertical axis.
        note: small print at the bottom.

    Source: Fig. 14 of arXiv:2210.06204.
    """
    with style():
        figure, axes = build_figure(len(panels), (1,), note)
        for (ax,), (title, profiles) in zip(axes, panels.items(), strict=True):
            first, *others = profiles
            looks = {first: REFERENCE_COLOUR} | {label: look["color"] for label, look in sample_styles(others).items()}
            for label, item in profiles.items():
                centres = (item.edges[1:] + item.edges[:-1]) / 2
                ax.errorbar(centres, item.mean, item.error, fmt="o", markersize=4, color=looks[label], label=label)
            ax.axhline(0, color="0.6", linewidth=0.8, zorder=0)
            ax.set(title=title, xlabel=labels[0], ylabel=labels[1])
            ax.legend()
    return figure


def shown_range(histograms: Sequence[Histogram]) -> tuple[float, float]:
    """The ends of an axis: 0.5 % or less of each histogram's showers lie beyond each of them.

    There is room for another bin on each side.
    """
    edges, lows, highs = histograms[0].edges, [], []
    for item in histograms:
        below = np.cumsum(item.counts) / max(item.entries, 1)  # counts begin with those below the first bin
        lows.append(int(np.searchsorted(below, _TAIL, side="right")) - 2)
        highs.append(int(np.searchsorted(below, 1 - _TAIL)) + 1)
    first, last = np.clip([min(lows), max(highs)], 0, len(edges) - 1)
    return (float(edges[first]), float(edges[last])) if first < last else (float(edges[0]), float(edges[-1]))


def set_height(ax: Axes, histograms: Sequence[Histogram], log_scale: bool) -> None:
    """Sets the range of the vertical axis, with space for a caption.

    A logarithmic axis begins below the least bin that is filled.
    """
    filled = np.concatenate([item.fractions[item.fractions > 0] for item in histograms])
    if log_scale and len(filled):
        low, high = 0.5 * float(filled.min()), 2 * float(filled.max())
        ax.set(yscale="log", ylim=(low, high * (high / low) ** 0.3))
    else:
        ax.set_ylim(0, 1.35 * ax.get_ylim()[1])


def finish_ratio(ax: Axes, limits: tuple[float, float]) -> None:
    """Gives the axes of a ratio their range, their title and a line at 1."""
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
    band = ax.fill_between(edges, low, high, step="post", facecolor="none", edgecolor=colour, alpha=0.6)
    band.set(hatch="////", linewidth=0)
    return band


def _draw_arrows(ax: Axes, centres: np.ndarray, ratio: np.ndarray, colour: str) -> list[Drawn]:
    """Draws arrows at the top and bottom of the ratio for points outside its range."""
    artists: list[Drawn] = []
    low, high = RATIO_RANGE
    margin = 0.06 * (high - low)
    for outside, height, marker in ((ratio > high, high - margin, "^"), (ratio < low, low + margin, "v")):
        artists += ax.plot(centres[outside], np.full(outside.sum(), height), marker, color=colour, markersize=4)
    return artists


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Quotient; where the denominator is 0 it is NaN, which is not drawn."""
    return np.divide(numerator, denominator, out=np.full(len(denominator), np.nan), where=denominator > 0)


def _ratios(curve: ResponseCurve, reference: ResponseCurve, quantity: str) -> list[Value]:
    """Ratios of a curve to the reference at equal energies; NaN where there is no reference."""
    known = dict(zip(reference.energies, getattr(reference, quantity), strict=True))
    ratios = []
    for energy, value in zip(curve.energies, getattr(curve, quantity), strict=True):
        expected = known.get(energy, Value(np.nan, np.nan))
        ratio = value / expected
        ratios.append(Value(ratio.value, 0.0) if value is expected else ratio)  # the reference over itself is exact
    return ratios
