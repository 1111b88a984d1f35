"""Drawings of networks: boxes in rows by depth, arrows from sources to consumers."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path
from matplotlib.textpath import text_to_path
from scipy.optimize import linprog

from calogen.errors import ConfigError
from calogen.plots.style import build_figure, style

MAX_BOXES, MAX_ARROWS = 60, 200
"""Larger drawings are refused, as nobody could read them."""

BoxKind = Literal["input", "layer", "join", "output"]
Link = tuple[int, int]
"""Positions of source and target in a list of boxes."""

_COLOURS: dict[BoxKind, str] = {"input": "#d6e6f4", "layer": "#f7f7f7", "join": "#fdebd0", "output": "#d5efdd"}
_TITLE_SIZE, _DETAIL_SIZE, _POINTS = 8.0, 7.0, 72.0  # sizes of text in points; points of an inch
_HEIGHT, _PADDING, _SPACE = 0.44, 0.09, 0.16  # of a box, around its text, between boxes; inches
_BEND = 0.1  # width of an arrow's place in a row that it passes; inches
_GAP, _STEEPNESS, _WIDEST_GAP = 0.34, 0.05, 0.8  # between rows, wider where arrows lead far aside; inches
_SHORT = 0.1  # weight of short arrows beside straight ones
_SWEEPS = 24  # over the rows, in search of an order with few crossings


@dataclass(frozen=True)
class Box:
    """A box of a drawing.

    Args:
        title: first line, in bold.
        detail: second line.
        depth: number of the row, from the top; greater than those of the sources.
        sources: positions in the list of boxes of those from which arrows lead to this box.
        kind: decides the colour.
    """

    title: str
    detail: str
    depth: int
    sources: tuple[int, ...] = ()
    kind: BoxKind = "layer"


@dataclass(frozen=True)
class Layout:
    """Positions of boxes and arrows, in inches; y points downward.

    Args:
        width: width of every box.
        centres: centres of the boxes, `[boxes, 2]`.
        ways: points of each arrow, `[points, 2]`: its start, both ends of its straight parts, its end.
        size: width and height of the drawing.
    """

    width: float
    centres: np.ndarray
    ways: dict[Link, np.ndarray]
    size: tuple[float, float]


def draw_graph(ax: Axes, boxes: Sequence[Box], layout: Layout | None = None) -> dict[str, list[Artist]]:
    """Draws boxes and arrows; texts fit if the axes have the layout's size in inches.

    Args:
        ax: axes for the drawing.
        boxes: boxes in any order.
        layout: layout of these boxes; None: `arrange(boxes)`.

    Returns:
        "boxes", "titles" and "details" in the order of the boxes, "arrows" in that of `Layout.ways`.

    Raises:
        ConfigError: as `arrange`.
    """
    layout = layout or arrange(boxes)
    drawn: dict[str, list[Artist]] = {name: [] for name in ("boxes", "titles", "details", "arrows")}
    for way in layout.ways.values():
        arrow = FancyArrowPatch(path=_curve(way), arrowstyle="-|>", mutation_scale=7, linewidth=0.8, color="0.35")
        drawn["arrows"].append(ax.add_patch(arrow))
    for box, (x, y) in zip(boxes, layout.centres, strict=True):
        corner = (x - layout.width / 2, y - _HEIGHT / 2)
        shape = FancyBboxPatch(corner, layout.width, _HEIGHT, boxstyle="round,pad=0,rounding_size=0.06", zorder=2)
        shape.set(facecolor=_COLOURS[box.kind], edgecolor="0.3", linewidth=0.8)
        drawn["boxes"].append(ax.add_patch(shape))
        title = ax.text(x, y - 0.08, box.title, fontsize=_TITLE_SIZE, fontweight="bold")
        detail = ax.text(x, y + 0.1, box.detail, fontsize=_DETAIL_SIZE)
        for name, text in (("titles", title), ("details", detail)):
            text.set(ha="center", va="center", zorder=3, parse_math=False)
            drawn[name].append(text)
    ax.set(xlim=(0, layout.size[0]), ylim=(layout.size[1], 0))
    ax.set_axis_off()
    return drawn


def draw_network(boxes: Sequence[Box], note: str = "") -> Figure:
    """Draws boxes and arrows in a figure of the size that they need.

    Args:
        boxes: as for `draw_graph`.
        note: small print at the bottom.
    """
    layout = arrange(boxes)
    width, height = layout.size
    with style():
        figure, ((ax,),) = build_figure(1, (1,), note)
        draw_graph(ax, boxes, layout)
        figure.set_size_inches(max(width, 0.06 * len(note)) + 0.1, height + 0.3)
    return figure


def arrange(boxes: Sequence[Box]) -> Layout:
    """Finds a layout with few crossings and short arrows that pass no box.

    An arrow that passes rows has a place of its own in each of them, called a bend; arrows from one box share it.

    Raises:
        ConfigError: there is no box, there are more than 60 boxes or 200 arrows, or an arrow does not lead downward.

    Source: ours, after Sugiyama, Tagawa and Toda, IEEE Trans. SMC 11 (1981) 109: rows, bends, barycentres.
    """
    edges = list(dict.fromkeys((source, target) for target, box in enumerate(boxes) for source in box.sources))
    if not 0 < len(boxes) <= MAX_BOXES or len(edges) > MAX_ARROWS:
        limits = f"1 to {MAX_BOXES} boxes and at most {MAX_ARROWS} arrows"
        raise ConfigError(f"a drawing holds {limits}. Received: {len(boxes)} and {len(edges)}")
    if any(boxes[source].depth >= boxes[target].depth for source, target in edges):
        raise ConfigError("arrows must lead downward. Received: a source that is not above its consumer")
    chains, depths = _chains(boxes, edges)
    links = list(dict.fromkeys(link for chain in chains.values() for link in pairwise(chain)))
    width = max(map(_text_width, boxes)) + 2 * _PADDING
    widths = np.where(np.arange(len(depths)) < len(boxes), width, _BEND)
    rows = _ordered(depths, links)
    x = _positions(rows, links, widths)
    y = _heights(depths, links, x)
    centres = np.column_stack([x, y])
    size = (float((x + widths / 2).max()) + _SPACE, float(y.max()) + _HEIGHT / 2 + _SPACE)
    return Layout(width, centres[: len(boxes)], _ways(chains, centres, width), size)


def _text_width(box: Box) -> float:
    """Width of the text in a box, inches."""
    title, detail = FontProperties(size=_TITLE_SIZE, weight="bold"), FontProperties(size=_DETAIL_SIZE)
    measure = text_to_path.get_text_width_height_descent
    return (
        max(measure(text, font, ismath=False)[0] for text, font in ((box.title, title), (box.detail, detail))) / _POINTS
    )


def _chains(boxes: Sequence[Box], edges: list[Link]) -> tuple[dict[Link, list[int]], np.ndarray]:
    """Boxes and bends along each arrow, and the row of each; bends are numbered after boxes."""
    depths, bends = [box.depth for box in boxes], dict[tuple[int, int], int]()
    chains = {}
    for source, target in edges:
        between = range(boxes[source].depth + 1, boxes[target].depth)
        for depth in between:
            if (source, depth) not in bends:
                bends[source, depth] = len(depths)
                depths.append(depth)
        chains[source, target] = [source, *(bends[source, depth] for depth in between), target]
    return chains, np.unique(depths, return_inverse=True)[1]  # numbered so that no row is empty


def _ordered(depths: np.ndarray, links: list[Link]) -> list[list[int]]:
    """Boxes and bends of each row from left to right, in an order with few crossings.

    A sweep down (up) sorts each row by the mean place of the neighbours above (below).
    """
    rows = [np.flatnonzero(depths == depth).tolist() for depth in range(depths.max() + 1)]
    above, below = _neighbours(links)
    best, fewest = rows, _crossings(rows, links)
    for sweep in range(_SWEEPS if fewest else 0):
        neighbours, step = (above, 1) if sweep % 2 == 0 else (below, -1)
        rows = [list(row) for row in rows]
        place = {item: number - len(row) / 2 for row in rows for number, item in enumerate(row)}
        for row in rows[::step]:
            centre = {item: np.mean([place[other] for other in neighbours[item] or [item]]) for item in row}
            row.sort(key=lambda item: centre[item])
            place |= {item: number - len(row) / 2 for number, item in enumerate(row)}
        crossings = _crossings(rows, links)
        if crossings < fewest:
            best, fewest = rows, crossings
    return best


def _crossings(rows: list[list[int]], links: list[Link]) -> int:
    """Number of pairs of links that cross between two rows."""
    place = {item: (depth, number) for depth, row in enumerate(rows) for number, item in enumerate(row)}
    starts = np.array([place[start] for start, _ in links]).reshape(-1, 2)
    ends = np.array([place[end][1] for _, end in links])
    same_gap = starts[:, None, 0] == starts[None, :, 0]
    crossed = (starts[:, None, 1] < starts[None, :, 1]) & (ends[:, None] > ends[None, :])
    return int((same_gap & crossed).sum())


def _positions(rows: list[list[int]], links: list[Link], widths: np.ndarray) -> np.ndarray:
    """Centres along x, in order and without overlap, with the least sum of distances.

    The distances are those of each box or bend from the mean of its neighbours above and below, and with a small weight
    those along the links: so chains are straight, and a box stands above the middle of its branches.
    """
    terms = [(1.0, item, near) for neighbours in _neighbours(links) for item, near in sorted(neighbours.items())]
    terms += [(_SHORT, start, [end]) for start, end in links]
    distances = np.zeros((len(terms), len(widths)))
    for row, (weight, item, near) in zip(distances, terms, strict=True):
        row[item], row[near] = weight, -weight / len(near)
    pairs = np.array([pair for row in rows for pair in pairwise(row)], int).reshape(-1, 2)
    order = np.zeros((len(pairs), len(widths) + len(terms)))
    np.put_along_axis(order, pairs, np.array([[1.0, -1.0]]), axis=1)
    apart = -widths[pairs].sum(axis=1) / 2 - _SPACE
    bound = np.eye(len(terms))  # |distance| <= bound, and the sum of the bounds is minimised
    solution = linprog(
        np.repeat([0.0, 1.0], [len(widths), len(terms)]),
        A_ub=np.vstack([np.hstack([distances, -bound]), np.hstack([-distances, -bound]), order]),
        b_ub=np.concatenate([np.zeros(2 * len(terms)), apart]),
    )
    x = solution.x[: len(widths)]
    return x - (x - widths / 2).min() + _SPACE


def _heights(depths: np.ndarray, links: list[Link], x: np.ndarray) -> np.ndarray:
    """Centres along y: a row is further from the one above it where arrows lead far aside."""
    aside = np.zeros(depths.max() + 1)
    for start, end in links:
        aside[depths[end]] = max(aside[depths[end]], abs(x[end] - x[start]))
    gaps = np.minimum(_GAP + _STEEPNESS * aside, _WIDEST_GAP)
    gaps[0] = _SPACE - _HEIGHT / 2
    return np.cumsum(gaps + _HEIGHT)[depths]


def _ways(chains: dict[Link, list[int]], centres: np.ndarray, width: float) -> dict[Link, np.ndarray]:
    """Points of each arrow: at its source, at both ends of its straight parts, at its target."""
    entering = defaultdict(list)
    for (_, target), chain in chains.items():
        entering[target].append(chain[-2])
    ways = {}
    for (source, target), chain in chains.items():
        doors = sorted(entering[target], key=lambda item: (centres[item, 0], item))
        share = (doors.index(chain[-2]) + 0.5) / len(doors) - 0.5
        points = [centres[source] + (0.0, _HEIGHT / 2)]
        points += [centres[bend] + (0.0, side * _HEIGHT / 2) for bend in chain[1:-1] for side in (-1, 1)]
        points.append(centres[target] + (0.7 * width * share, -_HEIGHT / 2))
        ways[source, target] = np.array(points)
    return ways


def _curve(way: np.ndarray) -> Path:
    """Path of an arrow: straight down through bends, S-shaped between rows."""
    vertices, codes = [way[0]], [Path.MOVETO]
    for number, (start, end) in enumerate(pairwise(way)):
        if number % 2:
            vertices.append(end)
            codes.append(Path.LINETO)
        else:
            middle = (start[1] + end[1]) / 2
            vertices += [(start[0], middle), (end[0], middle), end]
            codes += [Path.CURVE4] * 3
    return Path(vertices, codes)


def _neighbours(links: list[Link]) -> tuple[defaultdict[int, list[int]], defaultdict[int, list[int]]]:
    """Boxes and bends above and below each of them, along the links."""
    above, below = defaultdict[int, list[int]](list), defaultdict[int, list[int]](list)
    for start, end in links:
        above[end].append(start)
        below[start].append(end)
    return above, below
