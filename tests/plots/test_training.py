import numpy as np
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from calogen.evaluation.iterations import ALL, SHORTLIST, IterationScan, NetworkTest
from calogen.plots.style import write_figure
from calogen.plots.training import (
    CHOSEN_COLOUR,
    OWN_BEST_COLOUR,
    draw_chi2,
    draw_iterations,
    draw_shortlist,
    draw_statistics,
)

SCAN = IterationScan(
    iterations=np.array([1000, 2000, 3000]),
    momenta=np.array([256.0, 1048576.0]),
    chi2=np.array([[90.0, 60.0], [20.0, 50.0], [40.0, 20.0]]),
    ndf=np.array([[10, 10], [10, 20], [10, 10]]),
)


def dots(ax):
    """Colour -> (iteration, chi2/NDF) of the marks."""
    return {to_hex(line.get_color()): tuple(line.get_xydata()[0]) for line in ax.lines[1:]}


def test_a_panel_per_momentum_and_one_for_all():
    figure = draw_iterations(SCAN, "our showers")
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["256 MeV", "1.05 TeV", "all momenta"]
    curves = [ax.lines[0].get_xydata().T.tolist() for ax in figure.axes]
    assert [x for x, _ in curves] == [[1000, 2000, 3000]] * 3
    np.testing.assert_allclose([y for _, y in curves], [[9, 2, 4], [6, 2.5, 2], [7.5, 70 / 30, 3]])
    assert {ax.get_yscale() for ax in figure.axes} == {"log"}
    assert figure.get_supxlabel() == "our showers"


def test_the_chosen_iteration_is_red_and_a_momentums_best_orange():
    low, high, total = (dots(ax) for ax in draw_iterations(SCAN).axes)
    assert low == {OWN_BEST_COLOUR: (2000, 2), CHOSEN_COLOUR: (2000, 2)}
    assert high == {OWN_BEST_COLOUR: (3000, 2), CHOSEN_COLOUR: (2000, 2.5)}
    assert total == {CHOSEN_COLOUR: (2000, 70 / 30)}


def test_another_merit_may_have_chosen_the_iteration():
    low, high, total = (dots(ax) for ax in draw_iterations(SCAN, "our showers", 2).axes)
    assert low == {OWN_BEST_COLOUR: (2000, 2), CHOSEN_COLOUR: (3000, 4)}
    assert high == {OWN_BEST_COLOUR: (3000, 2), CHOSEN_COLOUR: (3000, 2)}
    assert total == {CHOSEN_COLOUR: (3000, 3)}
    first = draw_iterations(SCAN, chosen=0).axes[-1]
    assert dots(first) == {CHOSEN_COLOUR: (1000, 7.5)}, "the first is not none"


def test_a_mark_below_another_is_bigger():
    _, below, above = draw_chi2(Figure().subplots(), np.arange(2), np.ones(2), {"a": (0, "red"), "b": (0, "blue")})
    assert below.get_markersize() > above.get_markersize()


def test_nothing_is_drawn_where_there_is_no_chi2(tmp_path):
    """Infinite where no generated shower counts."""
    chi2 = SCAN.chi2.copy()
    chi2[0, 0] = np.inf
    figure = draw_iterations(IterationScan(SCAN.iterations, SCAN.momenta, chi2, SCAN.ndf))
    curves = np.array([ax.lines[0].get_ydata() for ax in figure.axes])
    assert np.isnan(curves).tolist() == [[True, False, False], [False] * 3, [True, False, False]]
    write_figure(figure, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 5000


def test_fifteen_momenta_go_into_four_columns():
    scan = IterationScan(np.arange(2), 2.0 ** np.arange(8, 23), np.ones((2, 15)), np.ones((2, 15)))
    figure = draw_iterations(scan)
    assert len(figure.axes) == 16
    assert figure.get_figwidth() < 14


def test_bars_show_the_numbers_of_showers(tmp_path):
    counts = {"training": {512.0: 900, 256.0: 1000}, "test": {1048576.0: 30, 256.0: 250}}
    figure = draw_statistics(counts, "our showers")
    (ax,) = figure.axes
    assert [text.get_text() for text in ax.get_xticklabels()] == ["256 MeV", "512 MeV", "1.05 TeV"]
    heights = {bars.get_label(): [bar.get_height() for bar in bars] for bars in ax.containers}
    assert heights == {"training": [1000, 900, 0], "test": [250, 0, 30]}
    sides = [[(bar.get_x(), bar.get_x() + bar.get_width()) for bar in bars] for bars in ax.containers]
    np.testing.assert_allclose(np.array(sides)[:, 1], [[0.6, 1.0], [1.0, 1.4]])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["training", "test"]
    write_figure(figure, tmp_path / "figure.png")


def test_the_shortlist_and_the_choice_are_marked_in_every_merit():
    def scan(*values):
        return IterationScan(
            np.arange(1, len(values) + 1), np.zeros(1), np.array(values)[:, None], np.ones((len(values), 1))
        )

    listed = IterationScan(np.array([2, 3]), np.zeros(1), np.array([[4.0], [3.0]]), np.ones((2, 1)))
    scans = {ALL: scan(5.0, 1.0, 2.0), "resolution": scan(0.1, 0.2, 0.3), SHORTLIST: listed}
    test = NetworkTest(name="toy", scans=scans, chi2={}, floor={}, num_showers={}, chosen_by=SHORTLIST)
    figure = draw_shortlist(test, "our showers")
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["first figure of merit", "resolution"]
    marks = [[line.get_xydata().tolist() for line in ax.lines] for ax in figure.axes]
    assert marks[0] == [[[1, 5], [2, 1], [3, 2]], [[2, 1], [3, 2]], [[3, 2]]]
    assert marks[1][1:] == [[[2, 0.2], [3, 0.3]], [[3, 0.3]]]
