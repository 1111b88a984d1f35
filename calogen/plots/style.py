"""The look of all figures: sizes, colours, small print; no pyplot, so no shared state."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from textwrap import fill
from typing import TypedDict, cast

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import Container
from matplotlib.figure import Figure

from calogen.files import atomic_path

Drawn = Artist | Container


class LineStyle(TypedDict):
    """Colour and line of a sample, as matplotlib's functions take them."""

    color: str
    linestyle: str


REFERENCE_COLOUR = "black"
_COLOURS = ("#d62728", "#0072b2", "#009e73", "#cc79a7", "#e69f00")
_LINE_STYLES = ("-", "--", "-.", ":")
_PANEL_WIDTH, _PANEL_HEIGHT = 4.2, 3.9
_HANDLE_WIDTH, _LETTER_WIDTH = 0.6, 0.07  # in a legend, inches
_LEGEND_LETTERS = 28  # in a line of a legend
_NOTE_SIZE = 7.5  # of the small print, points
_COMPACT = 0.75  # size of the panels of figures with their own number of columns
_SETTINGS: dict[str, float | str | bool | tuple[int, int]] = {
    "font.size": 9.5,
    "axes.linewidth": 0.8,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "xtick.direction": "in",
    "ytick.direction": "in",
    "xtick.top": True,
    "ytick.right": True,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.4,
    "hatch.linewidth": 0.5,
    "figure.dpi": 110,
    "axes.formatter.limits": (-4, 6),
    "axes.formatter.use_mathtext": True,
}


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib's settings for the figures that are drawn inside the block."""
    with mpl.rc_context():
        mpl.rcdefaults()
        for name, value in _SETTINGS.items():
            mpl.rcParams[name] = value  # type: ignore[index]
        yield


def sample_styles(labels: Sequence[str]) -> dict[str, LineStyle]:
    """Styles of generated samples by label; the first is solid red, as in ATLAS's papers."""
    return {
        label: {"color": colour, "linestyle": line}
        for label, colour, line in zip(labels, cycle(_COLOURS), cycle(_LINE_STYLES), strict=False)
    }


def wrapped(text: str, width: float, size: float = 9.5) -> str:
    """A text in lines that fit into a width, inches, at a size of its letters, points.

    >>> wrapped("radius with 90 % of the energy [mm], layer 21", 2.4).splitlines()
    ['radius with 90 % of the energy', '[mm], layer 21']
    """
    return fill(text, max(8, int(width / (_LETTER_WIDTH / 8.5 * size))))


def legend_label(label: str) -> str:
    """A label in lines that fit into a legend."""
    return fill(label, _LEGEND_LETTERS)


def new_figure(size: tuple[float, float], note: str) -> Figure:
    """An empty figure of a width and a height, inches, with a note in small print."""
    width, height = size
    text = wrapped(note, width, _NOTE_SIZE)
    figure = Figure(figsize=(width, height + text.count("\n") * _NOTE_SIZE / 50), layout="constrained")
    FigureCanvasAgg(figure)
    figure.supxlabel(text, x=0.99, ha="right", fontsize=_NOTE_SIZE, color="0.35")
    return figure


def build_figure(
    num_panels: int, rows_per_panel: Sequence[float], note: str, columns: int | None = None
) -> tuple[Figure, list[list[Axes]]]:
    """A row of panels, each a stack of axes that share the horizontal axis.

    Args:
        num_panels: number of panels; more than four panels stand in two rows.
        rows_per_panel: relative heights of a panel's axes, e.g. (3, 1) for a ratio below a distribution.
        note: small print at the bottom, e.g. which simulation the showers are from.
        columns: number of panels in a row of a grid of small panels; None: large panels.

    Returns:
        The figure, and its axes as `[panel][row]`.
    """
    size = _COMPACT if columns else 1.0
    columns = min(columns, num_panels) if columns else (num_panels if num_panels <= 4 else -(-num_panels // 2))
    rows = -(-num_panels // columns)
    width, height = size * columns * _PANEL_WIDTH, size * rows * _PANEL_HEIGHT + 0.35
    figure = new_figure((width, height), note)
    grid = figure.subfigures(rows, columns, squeeze=False)
    panels: list[list[Axes]] = []
    for part in grid.flat[:num_panels]:
        axes = part.subplots(len(rows_per_panel), 1, sharex=True, squeeze=False, height_ratios=rows_per_panel)
        panels.append(list(axes[:, 0]))
    return figure, panels


def add_legend(figure: Figure, artists: Sequence[Drawn]) -> None:
    """Adds one legend for all panels, above them, in as many columns as fit.

    Args:
        figure: figure with a constrained layout.
        artists: one labelled artist for each entry.
    """
    labels = [legend_label(str(artist.get_label())) for artist in artists]
    widest = _HANDLE_WIDTH + _LETTER_WIDTH * max(
        (len(line) for label in labels for line in label.split("\n")), default=0
    )
    columns = max(1, int(figure.get_figwidth() / widest))
    handles = cast(list[Artist], artists)  # matplotlib takes its containers, too, but its types do not say so
    figure.legend(handles, labels, ncols=columns, loc="outside upper left")


def write_figure(figure: Figure, path: str | Path) -> None:
    """Writes a figure, whole or not at all, in the format of the suffix: png, pdf or svg."""
    path = Path(path)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=path.suffix.lstrip("."), dpi=150)
