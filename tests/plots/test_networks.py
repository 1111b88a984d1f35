from itertools import combinations, pairwise
from pathlib import Path as FilePath
from random import Random

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.text import Text

from calogen.errors import ConfigError
from calogen.plots.networks import Box, arrange, draw_graph, draw_network
from calogen.plots.style import write_figure

HEADS = [
    Box("0 latent", "50, 3 times", 0, kind="input"),
    Box("1 condition", "1, 3 times", 0, kind="input"),
    Box("2 concatenate", "51 → 51, 3 times", 1, (0, 1), "join"),
    Box("3 dense, swish(1)", "51 → 400, 3 times", 2, (2,)),
    *(Box(f"{number} dense, softmax", "400 → 160", 3, (3,)) for number in (4, 5, 6)),
    Box("7 highway, leakyrelu(0.1)", "160 → 160", 4, (5,)),
    Box("8 concatenate", "480 → 480", 5, (4, 7, 6, 6), "join"),
    Box("out", "480", 6, (8,), "output"),
]
"""A trunk and three heads, of which one is longer."""


def random_network(seed: int, num_boxes: int = 25) -> list[Box]:
    random, boxes = Random(seed), [Box("0 x", "1", 0), Box("1 a_rather_long_name_of_…", "1", 0)]
    for number in range(2, num_boxes):
        sources = {random.randrange(max(0, number - 6), number) for _ in range(random.choice((1, 1, 2, 3)))}
        depth = 1 + max(boxes[source].depth for source in sources)
        boxes.append(Box(f"{number} dense, rectified", f"{number} → 1", depth, tuple(sources)))
    return boxes


NETWORKS = [HEADS, *(random_network(seed) for seed in range(4))]


def test_boxes_stand_in_rows_and_hold_their_text() -> None:
    drawn = draw_graph(Figure().subplots(), HEADS)
    boxes = [box for box in drawn["boxes"] if isinstance(box, FancyBboxPatch)]
    rows = np.array([box.get_y() for box in boxes])
    assert all((rows[a] < rows[b]) == (HEADS[a].depth < HEADS[b].depth) for a, b in combinations(range(len(HEADS)), 2))
    for name, lines in (("titles", [box.title for box in HEADS]), ("details", [box.detail for box in HEADS])):
        texts = [text for text in drawn[name] if isinstance(text, Text)]
        assert [text.get_text() for text in texts] == lines
        for box, text in zip(boxes, texts, strict=True):
            assert text.get_position()[0] == pytest.approx(box.get_x() + box.get_width() / 2)
            assert box.get_y() < text.get_position()[1] < box.get_y() + box.get_height()
    colours = {box.kind: to_hex(patch.get_facecolor()) for box, patch in zip(HEADS, boxes, strict=True)}
    assert len(set(colours.values())) == 4


def test_arrows_lead_from_below_sources_to_above_consumers() -> None:
    drawn = draw_graph(Figure().subplots(), HEADS)
    edges = list(arrange(HEADS).ways)
    assert edges == [(source, target) for target, box in enumerate(HEADS) for source in dict.fromkeys(box.sources)]
    for (source, target), arrow in zip(edges, drawn["arrows"], strict=True):
        assert isinstance(arrow, FancyArrowPatch)
        start, end = arrow._path_original.vertices[[0, -1]]  # get_path has the arrow's head in it
        below, above = (drawn["boxes"][number] for number in (source, target))
        assert isinstance(below, FancyBboxPatch)
        assert isinstance(above, FancyBboxPatch)
        np.testing.assert_allclose(start, [below.get_x() + below.get_width() / 2, below.get_y() + below.get_height()])
        assert end[1] == pytest.approx(above.get_y())
        assert above.get_x() < end[0] < above.get_x() + above.get_width()
    from_left = sorted((way[-2, 0], way[-1, 0]) for (_, target), way in arrange(HEADS).ways.items() if target == 8)
    assert all(a[1] < b[1] for a, b in pairwise(from_left)), "arrows enter a box side by side, in their order"


@pytest.mark.parametrize("boxes", NETWORKS)
def test_nothing_overlaps(boxes: list[Box]) -> None:
    """In the finished figure, in pixels: boxes, text, arrows."""
    figure = draw_network(boxes, "a note")
    figure.canvas.draw()
    (ax,) = figure.axes
    patches = [patch for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
    frames = [patch.get_window_extent() for patch in patches]
    assert not any(a.overlaps(b) for a, b in combinations(frames, 2))
    for frame, *texts in zip(frames, ax.texts[::2], ax.texts[1::2], strict=True):
        above, below = (text.get_window_extent() for text in texts)
        assert not above.overlaps(below)
        for extent in (above, below):
            assert frame.x0 + 2 < extent.x0 < extent.x1 < frame.x1 - 2
            assert frame.y0 < extent.y0 < extent.y1 < frame.y1
    assert all(figure.bbox.x0 <= frame.x0 < frame.x1 <= figure.bbox.x1 for frame in frames)
    arrows = [patch for patch in ax.patches if isinstance(patch, FancyArrowPatch)]
    for (source, target), arrow in zip(arrange(boxes).ways, arrows, strict=True):
        (points,) = ax.transData.transform_path(arrow._path_original).to_polygons(closed_only=False)
        dense = np.concatenate([np.linspace(a, b, 20) for a, b in pairwise(points)])
        for number, frame in enumerate(frames):
            inside = (frame.x0 < dense[:, 0]) & (dense[:, 0] < frame.x1)
            inside &= (frame.y0 + 1 < dense[:, 1]) & (dense[:, 1] < frame.y1 - 1)
            assert not inside.any(), f"the arrow {source} -> {target} passes box {number}"


def test_chains_are_straight() -> None:
    chain = [Box(str(number), "", number, (number - 1,) if number else ()) for number in range(6)]
    centres = arrange(chain).centres
    np.testing.assert_allclose(centres[:, 0], centres[0, 0])
    np.testing.assert_allclose(np.diff(centres[:, 1]), centres[1, 1] - centres[0, 1])
    trunk = arrange(HEADS).centres[[2, 3], 0]
    assert trunk[1] == pytest.approx(trunk[0])


def test_a_box_stands_below_its_source() -> None:
    heads = [Box("a", "", 0), *(Box(name, "", 1, (0,)) for name in "bcd"), Box("e", "", 2, (3,)), Box("f", "", 3, (4,))]
    x = arrange(heads).centres[:, 0]
    np.testing.assert_allclose(x[[4, 5]], x[3])
    np.testing.assert_allclose(x[0], x[2])  # above the middle of its branches


def test_what_joins_or_forks_stands_in_the_middle() -> None:
    x = arrange([Box("a", "", 0), Box("b", "", 0), Box("c", "", 1, (0, 1)), Box("d", "", 2, (2,))]).centres[:, 0]
    np.testing.assert_allclose(x[[2, 3]], (x[0] + x[1]) / 2)
    x = arrange([Box("a", "", 0), Box("b", "", 1, (0,)), Box("c", "", 1, (0,))]).centres[:, 0]
    np.testing.assert_allclose(x[0], (x[1] + x[2]) / 2)


def test_rows_without_boxes_take_no_place() -> None:
    near, far = (arrange([Box("a", "", 0), Box("b", "", depth)]) for depth in (1, 7))
    assert near.size == far.size


def test_order_in_a_row_avoids_crossings() -> None:
    tops = [Box(name, "", 0) for name in "abc"]
    crossed = [Box("x", "", 1, (2,)), Box("y", "", 1, (0,)), Box("z", "", 1, (1,))]
    centres = arrange([*tops, *crossed]).centres[:, 0]
    assert [centres[2] < centres[0], centres[0] < centres[1]] == [centres[3] < centres[4], centres[4] < centres[5]]
    np.testing.assert_allclose(centres[[2, 0, 1]], centres[3:])


def test_an_arrow_over_rows_goes_round_the_boxes_between() -> None:
    boxes = [Box("a", "", 0), Box("b", "", 1, (0,)), Box("c", "", 2, (1, 0)), Box("d", "", 3, (2, 0))]
    layout = arrange(boxes)
    assert [len(layout.ways[edge]) for edge in ((0, 1), (0, 2), (0, 3))] == [2, 4, 6]
    np.testing.assert_allclose(layout.ways[0, 2][:3], layout.ways[0, 3][:3])  # arrows from one box share their way
    assert all(abs(x - layout.centres[1, 0]) > layout.width / 2 for x in layout.ways[0, 2][1:3, 0])


def test_any_text_is_drawn_as_it_is(tmp_path: FilePath) -> None:
    """Dollars are no formulas, and the box is as wide as its text."""
    short, long = (arrange([Box(title, "1", 0)]).width for title in ("a", "$\\frac$ $x_$ 123456"))
    assert long > 2 * short
    figure = draw_network([Box("$\\frac$ $x_$ 123456", "", 0), Box(" ", "{}", 1, (0,))])
    path = tmp_path / "network.svg"
    write_figure(figure, path)
    assert path.stat().st_size > 1000


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([], "1 to 60 boxes and at most 200 arrows. Received: 0 and 0"),
        ([Box("a", "", 0)] * 61, "Received: 61 and 0"),
        ([*[Box("a", "", 0)] * 50, *[Box("b", "", 1, tuple(range(50)))] * 5], "Received: 55 and 250"),
        ([Box("a", "", 0), Box("b", "", 0, (0,))], "a source that is not above"),
        ([Box("a", "", 0, (0,))], "a source that is not above"),
    ],
)
def test_what_cannot_be_drawn_is_refused(boxes: list[Box], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        draw_graph(Figure().subplots(), boxes)


def test_the_largest_network_is_still_a_picture() -> None:
    boxes = [Box("a", "", depth, tuple(range(max(0, depth - 3), depth))) for depth in range(60)]
    width, height = draw_network(boxes).get_size_inches()
    assert width < 20
    assert height < 80
