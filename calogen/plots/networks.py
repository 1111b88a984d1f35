"""Drawings of networks: boxes in rows by depth, arrows from sources to consumers."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path
from matplotlib.textpath import text_to_path
from scipy.optimize import linprog
from scipy.sparse import block_array, eye_array, lil_array

from calogen.errors import ConfigError
from calogen.plots.style import build_figure, style

MAX_BOXES, MAX_ARROWS = 60, 200
"""More make no picture that anyone reads."""

BoxKind = Literal["input", "layer", "join", "output"]

_COLOURS: dict[BoxKind, str] = {"input": "#d6e6f4", "layer": "#f7f7f7", "join": "#fdebd0", "output": "#d5efdd"}
_TITLE_SIZE, _DETAIL_SIZE = 8.0, 7.0  # points
# Of boxes, of their text, between boxes, of an arrow's way; inches.
_HEIGHT, _PADDING, _SPACE, _BEND = 0.44, 0.09, 0.16, 0.1
_GAP, _STEEPNESS, _WIDEST_GAP = 0.34, 0.05, 0.8  # between rows: wider where arrows go far aside; inches
_SHORT = 0.1  # how much short ways count beside straight ones
_POINTS = 72.0  # in an inch
_SWEEPS = 24


@dataclass(frozen=True)
class Box:
    """A box of a drawing.

    Args:
        title: first line, bold.
        detail: second line.
        depth: row, from the top; greater than those of the sources.
        sources: positions in the list of boxes from where arrows come.
        kind: decides the colour.
    """

    title: str
    detail: str
    depth: int
    sources: tuple[int, ...] = ()
    kind: BoxKind = "layer"


@dataclass(frozen=True)
class Layout:
    """Places of boxes and arrows, in inches; y points downward.

    Args:
        width: of every box.
        centres: of the boxes, `[boxes, 2]`.
        ways: (source, target) -> the points that an arrow passes straight down between, `[points, 2]`.
        size: width and height of everything.
    """

    width: float
    centres: np.ndarray
    ways: dict[tuple[int, int], np.ndarray]
    size: tuple[float, float]


def draw_graph(ax: Axes, boxes: Sequence[Box], layout: Layout | None = None) -> dict[str, list[Artist]]:
    """Draw boxes and arrows; texts fit if the axes have the layout's size in inches.

    Args:
        ax: where to draw.
        boxes: in any order.
        layout: of these boxes; None: `arrange(boxes)`.

    Returns:
        "boxes", "titles" and "details" in the order of the boxes, "arrows" in that of `Layout.ways`.

    Raises:
        ConfigError: more than 60 boxes or 200 arrows, or a source that is not above its consumer.
    """
    layout = layout or arrange(boxes)
    drawn: dict[str, list[Artist]] = {name: [] for name in ("boxes", "titles", "details", "arrows")}
    for way in layout.ways.values():
        arrow = FancyArrowPatch(path=_curve(way), arrowstyle="-|>", mutation_scale=7, linewidth=0.8, color="0.35")
        drawn["arrows"].append(ax.add_patch(arrow))
    for box, (x, y) in zip(boxes, layout.centres, strict=True):
        corner = (x - layout.width / 2, y - _HEIGHT / 2)
        look: dict[str, Any] = {"facecolor": _COLOURS[box.kind], "edgecolor": "0.3", "linewidth": 0.8, "zorder": 2}
        rounded = "round,pad=0,rounding_size=0.06"
        drawn["boxes"].append(ax.add_patch(FancyBboxPatch(corner, layout.width, _HEIGHT, boxstyle=rounded, **look)))
        place: dict[str, Any] = {"ha": "center", "va": "center", "zorder": 3}
        for name, text, size, weight, up in (
            ("titles", box.title, _TITLE_SIZE, "bold", 0.08),
            ("details", box.detail, _DETAIL_SIZE, "normal", -0.1),
        ):
            label = ax.text(x, y - up, text, fontsize=size, fontweight=weight, parse_math=False, **place)
            drawn[name].append(label)
    ax.set(xlim=(0, layout.size[0]), ylim=(layout.size[1], 0))
    ax.set_axis_off()
    return drawn


def draw_network(boxes: Sequence[Box], note: str = "") -> Figure:
    """A figure as large as the drawing needs.

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
    """Places of the boxes: few crossings, short ways, and arrows that pass no box.

    An arrow over several rows has a place of its own in each row between; arrows from one box share it.

    Raises:
        ConfigError: as `draw_graph`.

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
    width = max(_text_width(box) for box in boxes) + 2 * _PADDING
    widths = np.where(np.arange(len(depths)) < len(boxes), width, _BEND)
    rows = _ordered(depths, links)
    x = _positions(rows, links, widths)
    y = _heights(rows, links, x)
    centres = np.column_stack([x, y[depths]])
    ways = _ways(chains, centres, width)
    size = (float((x + widths / 2).max()) + _SPACE, float(y.max()) + _HEIGHT / 2 + _SPACE)
    return Layout(width, centres[: len(boxes)], ways, size)


def _text_width(box: Box) -> float:
    lines = ((box.title, _TITLE_SIZE, "bold"), (box.detail, _DETAIL_SIZE, "normal"))
    widths = [
        text_to_path.get_text_width_height_descent(text, FontProperties(size=size, weight=weight), ismath=False)[0]
        for text, size, weight in lines
    ]
    return max(widths) / _POINTS


def _chains(boxes: Sequence[Box], edges: list[tuple[int, int]]) -> tuple[dict[tuple[int, int], list[int]], np.ndarray]:
    """Boxes and bends along each arrow, and rows of both; bends are numbered after boxes."""
    depths, bends = [box.depth for box in boxes], dict[tuple[int, int], int]()
    chains = {}
    for source, target in edges:
        between = range(boxes[source].depth + 1, boxes[target].depth)
        for depth in between:
            if (source, depth) not in bends:
                bends[source, depth] = len(depths)
                depths.append(depth)
        chains[source, target] = [source, *(bends[source, depth] for depth in between), target]
    return chains, np.unique(depths, return_inverse=True)[1]  # no empty rows


def _ordered(depths: np.ndarray, links: list[tuple[int, int]]) -> list[list[int]]:
    """Boxes and bends by row, from left to right: the fewest crossings among those tried."""
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


def _crossings(rows: list[list[int]], links: list[tuple[int, int]]) -> int:
    place = {item: (depth, number) for depth, row in enumerate(rows) for number, item in enumerate(row)}
    starts = np.array([place[start] for start, _ in links]).reshape(-1, 2)
    ends = np.array([place[end][1] for _, end in links])
    same_gap = starts[:, None, 0] == starts[None, :, 0]
    crossed = (starts[:, None, 1] < starts[None, :, 1]) & (ends[:, None] > ends[None, :])
    return int((same_gap & crossed).sum())


def _positions(rows: list[list[int]], links: list[tuple[int, int]], widths: np.ndarray) -> np.ndarray:
    """Centres along x, in order and without overlap, with the shortest way sideways.

    The lengths are those from each box or bend to the mean of its neighbours above and below, and, counting less, those
    of the links: chains become straight, and what forks stands above the middle of its branches.
    """
    above, below = _neighbours(links)
    terms = [(1.0, item, near[item]) for near in (above, below) for item in range(len(widths)) if near[item]]
    terms += [(_SHORT, start, [end]) for start, end in links]
    lengths = lil_array((len(terms), len(widths)))
    for number, (weight, item, others) in enumerate(terms):
        lengths[number, item] = weight
        lengths[number, others] = -weight / len(others)
    pairs = [pair for row in rows for pair in pairwise(row)]
    order = lil_array((len(pairs), len(widths)))
    for number, (left, right) in enumerate(pairs):
        order[number, left], order[number, right] = 1.0, -1.0
    apart = [-(widths[left] + widths[right]) / 2 - _SPACE for left, right in pairs]
    bound = eye_array(len(terms))  # |length| <= bound, whose sum is the smallest
    found = linprog(
        np.concatenate([np.zeros(len(widths)), np.ones(len(terms))]),
        A_ub=block_array([[lengths, -bound], [-lengths, -bound], [order, None]], format="csr"),
        b_ub=np.concatenate([np.zeros(2 * len(terms)), apart]),
    )
    x = found.x[: len(widths)]
    return x - (x - widths / 2).min() + _SPACE


def _heights(rows: list[list[int]], links: list[tuple[int, int]], x: np.ndarray) -> np.ndarray:
    """Centres of the rows along y."""
    aside = np.zeros(len(rows))
    depth_of = {item: depth for depth, row in enumerate(rows) for item in row}
    for start, end in links:
        aside[depth_of[end]] = max(aside[depth_of[end]], abs(x[end] - x[start]))
    gaps = np.minimum(_GAP + _STEEPNESS * aside, _WIDEST_GAP)
    gaps[0] = _SPACE - _HEIGHT / 2
    return np.cumsum(gaps + _HEIGHT)


def _ways(
    chains: dict[tuple[int, int], list[int]], centres: np.ndarray, width: float
) -> dict[tuple[int, int], np.ndarray]:
    """Points of each arrow: from its source, both ends of straight parts, to its target."""
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
    """Straight down through bends, S-shaped between rows."""
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


def _neighbours(links: list[tuple[int, int]]) -> tuple[defaultdict[int, list[int]], defaultdict[int, list[int]]]:
    above, below = defaultdict[int, list[int]](list), defaultdict[int, list[int]](list)
    for start, end in links:
        above[end].append(start)
        below[start].append(end)
    return above, below
