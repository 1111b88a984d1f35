import matplotlib as mpl
import pytest

from calogen.plots.style import build_figure, sample_styles, style


def test_settings_end_with_the_block():
    before = dict(mpl.rcParams)
    with style():
        assert mpl.rcParams["xtick.direction"] == "in"
        build_figure(1, (1,), "")
    assert dict(mpl.rcParams) == before


def test_first_sample_is_a_solid_red_line_and_all_differ():
    looks = sample_styles(["VAE", "b", "c", "d", "e"])
    assert looks["VAE"] == {"color": "#d62728", "linestyle": "-"}
    assert len({look["color"] for look in looks.values()}) == 5


@pytest.mark.parametrize(("panels", "size"), [(1, 1), (4, 4), (5, 3), (8, 4)])
def test_at_most_four_panels_in_a_row(panels, size):
    figure, axes = build_figure(panels, (3, 1), "note")
    assert figure.get_figwidth() == pytest.approx(size * 4.2)
    assert [len(column) for column in axes] == [2] * panels


@pytest.mark.parametrize(("panels", "columns", "rows"), [(16, 4, 4), (15, 4, 4), (2, 2, 1)])
def test_a_grid_of_small_panels(panels, columns, rows):
    figure, axes = build_figure(panels, (3, 1), "note", columns=4)
    assert figure.get_figwidth() == pytest.approx(0.75 * columns * 4.2)
    assert figure.get_figheight() == pytest.approx(0.75 * rows * 3.9 + 0.35)
    assert len(axes) == panels


def test_a_long_note_has_several_lines_and_is_not_cut():
    note = "Geant4 11.4 with data-free models, simplified stack, no noise; " * 4
    figure, _ = build_figure(1, (3, 1), note)
    figure.draw_without_rendering()
    (text,) = [text for text in figure.texts if text.get_text()]
    assert text.get_text().split() == note.split()
    box = text.get_window_extent()
    assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
    assert figure.bbox.y0 <= box.y0
