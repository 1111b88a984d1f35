"""Figures of trainings: losses, chi2/NDF by iteration, numbers of showers by momentum."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from calogen.evaluation.iterations import ALL, SHORTLIST, IterationScan, NetworkTest
from calogen.evaluation.summary import energy_text
from calogen.plots.style import Drawn, add_legend, build_figure, sample_styles, style

CHOSEN_COLOUR, OWN_BEST_COLOUR = "#d62728", "#ff9f1c"
_COLUMNS = 4
_NO_LOSSES = ("iteration", "epoch", "seconds", "cpu_seconds")  # further numbers in the rows of a history
_BAR_WIDTH = 0.8  # of all bars at a momentum, in distances between momenta


def draw_chi2(ax: Axes, iterations: np.ndarray, chi2: np.ndarray, marks: Mapping[str, tuple[int, str]]) -> list[Drawn]:
    """Draws chi2/NDF against iteration, with marks at some iterations.

    Args:
        ax: axes, which get a logarithmic scale.
        iterations: iterations, `[k]`.
        chi2: chi2/NDF, `[k]`; numbers that are not finite are not drawn.
        marks: position in `iterations` and colour of each mark, by its label.

    Returns:
        The line, then the marks.
    """
    values = np.where(np.isfinite(chi2), chi2, np.nan)
    artists: list[Drawn] = [*ax.plot(iterations, values, color="0.25", linewidth=0.9)]
    for number, (label, (position, colour)) in enumerate(marks.items()):
        size = 4.5 + 2 * (len(marks) - number)  # of two marks at one place the lower one is larger
        artists += ax.plot(
            iterations[position], values[position], "o", markersize=size, color=colour, zorder=3, label=label
        )
    ax.set(yscale="log", xlabel="Iteration", ylabel=r"$\chi^2$ / NDF")
    ax.yaxis.set_major_formatter(LogFormatter())
    ax.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
    return artists


def draw_losses(histories: Mapping[str, Sequence[Mapping[str, float]]], note: str = "") -> Figure:
    """Draws the numbers of the trainings' histories against iteration or epoch, a panel each.

    Args:
        histories: history of each network's training: rows of numbers in the order of time. The horizontal axis is the
            `iteration` of the rows, if they have it, else their position; a `val_` loss is drawn pale.
        note: small print at the bottom.
    """
    rows = [row for history in histories.values() for row in history]
    names = [name for name in dict.fromkeys(name for row in rows for name in row) if name not in _NO_LOSSES]
    shown = list(dict.fromkeys(name.removeprefix("val_") for name in names))
    with style():
        figure, panels = build_figure(max(len(shown), 1), (1,), note)
        for (ax,), name in zip(panels, shown, strict=False):
            for (label, history), look in zip(histories.items(), sample_styles(list(histories)).values(), strict=True):
                steps = [row.get("iteration", number + 1) for number, row in enumerate(history)]
                ax.plot(steps, [row.get(name, np.nan) for row in history], **look, label=label)
                if f"val_{name}" in names:
                    values = [row.get(f"val_{name}", np.nan) for row in history]
                    ax.plot(steps, values, **look, alpha=0.4, label=f"{label}, validation")
            ax.set(xlabel="Iteration" if any("iteration" in row for row in rows) else "Epoch")
            ax.set_ylabel(name.replace("_", " "))
        add_legend(figure, panels[0][0].get_lines())
    return figure


def draw_iterations(scan: IterationScan, note: str = "", chosen: int | None = None) -> Figure:
    """Draws chi2/NDF against iteration: a panel for each momentum, and one for all momenta.

    The chosen iteration has a red mark, the best one for the momentum of a panel an orange one.

    Args:
        scan: chi2 of the saved iterations of a network.
        note: small print at the bottom.
        chosen: position of the chosen iteration; None: the iteration with the smallest chi2/NDF over all momenta.

    Source: Figs. 7, 8 of arXiv:2309.06515.
    """
    mark = {"chosen": (scan.best if chosen is None else chosen, CHOSEN_COLOUR)}
    with style():
        figure, panels = build_figure(len(scan.momenta) + 1, (1,), note, columns=_COLUMNS)
        figure.set_figheight(0.8 * figure.get_figheight())
        for (ax,), momentum, values, own in zip(
            panels[:-1], scan.momenta, (scan.chi2 / np.maximum(scan.ndf, 1)).T, scan.best_by_momentum, strict=True
        ):
            artists = draw_chi2(ax, scan.iterations, values, {"best here": (own, OWN_BEST_COLOUR)} | mark)
            ax.set_title(energy_text(momentum))
        total_ax = panels[-1][0]
        draw_chi2(total_ax, scan.iterations, scan.total, mark)
        total_ax.set_title("all momenta")
        add_legend(figure, artists[1:])
    return figure


def draw_shortlist(test: NetworkTest, note: str = "") -> Figure:
    """Draws the figures of merit that chose among shortlisted iterations, a panel each.

    The shortlisted iterations are orange, the chosen one has a red mark.

    Args:
        test: test of a network with a `SHORTLIST` among its scans.
        note: small print at the bottom.

    Source: arXiv:2210.06204, "Generative Adversarial Networks".
    """
    listed = test.scans[SHORTLIST].iterations
    shown = {name: scan for name, scan in test.scans.items() if name != SHORTLIST}
    with style():
        figure, panels = build_figure(len(shown), (1,), note)
        for (ax,), (name, scan) in zip(panels, shown.items(), strict=True):
            rows, chosen = np.isin(scan.iterations, listed), scan.iterations == test.iteration
            artists = [
                *ax.plot(scan.iterations, scan.total, color="0.25", linewidth=0.9),
                *ax.plot(scan.iterations[rows], scan.total[rows], "o", color=OWN_BEST_COLOUR, label="shortlisted"),
                *ax.plot(scan.iterations[chosen], scan.total[chosen], "o", color=CHOSEN_COLOUR, label="chosen"),
            ]
            ax.set(yscale="log", xlabel="Iteration", ylabel="Figure of merit")
            ax.set_title("first figure of merit" if name == ALL else name)
        add_legend(figure, artists[1:])
    return figure


def draw_statistics(counts: Mapping[str, Mapping[float, int]], note: str = "") -> Figure:
    """Draws the number of showers at each incident momentum, with a bar for each sample.

    Args:
        counts: numbers of showers by sample and momentum, MeV.
        note: small print at the bottom.

    Source: Fig. 1 of arXiv:2309.06515.
    """
    momenta = sorted({momentum for sample in counts.values() for momentum in sample})
    width = _BAR_WIDTH / len(counts)
    with style():
        figure, ((ax,),) = build_figure(1, (1,), note)
        figure.set_figwidth(max(figure.get_figwidth(), 0.6 * len(momenta)))
        for number, (label, look) in enumerate(sample_styles(list(counts)).items()):
            places = np.arange(len(momenta)) + (number + 0.5) * width - _BAR_WIDTH / 2
            heights = [counts[label].get(momentum, 0) for momentum in momenta]
            ax.bar(places, heights, width, color=look["color"], label=label)
        ax.set_xticks(np.arange(len(momenta)), [energy_text(momentum) for momentum in momenta], rotation=45, ha="right")
        ax.tick_params(axis="x", length=0)
        ax.set(xlabel="Incident momentum", ylabel="Showers", ylim=(0, 1.2 * ax.get_ylim()[1]))
        ax.legend(ncols=len(counts), loc="upper right")
    return figure
