"""Tables of iterations, and the test of the one that is chosen: both of calogen.metrics.chi2."""

from dataclasses import replace

import numpy as np
import pytest

from calogen.evaluation.iterations import ALL, HELD_OUT, TRAIN, WITH_SHAPES, IterationScan, NetworkTest, shortlisted
from calogen.metrics.chi2 import Chi2
from calogen.reproduction.chi2_selection import challenge_showers

ITERATIONS = np.array([100, 200, 300])


def scan(*chi2: tuple[float, float], ndf: tuple[int, int] = (10, 20)) -> IterationScan:
    """Two momenta, of 10 and 20 degrees of freedom."""
    return IterationScan(ITERATIONS, np.array([256.0, 512.0]), np.array(chi2), np.tile(ndf, (3, 1)))


ROWS = scan((50.0, 100.0), (20.0, 100.0), (40.0, 40.0))


def test_the_smallest_total_is_the_best_iteration() -> None:
    np.testing.assert_allclose(ROWS.total, [5.0, 4.0, 80 / 30])
    assert ROWS.best == 2
    assert ROWS.best_by_momentum.tolist() == [1, 2], "another one than for all momenta"


def test_each_iteration_has_its_own_degrees_of_freedom() -> None:
    chi2, ndf = np.array([[30.0, 30.0], [33.0, 32.0]]), np.array([[10, 10], [20, 10]])
    found = IterationScan(np.array([1, 2]), np.array([256.0, 512.0]), chi2, ndf)
    np.testing.assert_allclose(found.total, [3.0, 65 / 30])
    assert (found.best, found.best_by_momentum.tolist()) == (1, [1, 0])


def test_no_degrees_of_freedom_are_no_division_by_zero() -> None:
    found = IterationScan(np.array([1, 2]), np.array([256.0]), np.array([[5.0], [4.0]]), np.zeros((2, 1), int))
    assert (found.total.tolist(), found.best, found.best_by_momentum.tolist()) == ([5.0, 4.0], 1, [1])


def network_test(chosen_by: str = ALL, **scans: IterationScan) -> NetworkTest:
    chi2 = {2.0**power: Chi2(56.0, 28) for power in (8, 18, 19, 20, 21, 22)}
    return NetworkTest(
        name="toy",
        scans={ALL: ROWS, **scans},
        chi2=chi2,
        floor={},
        num_showers=dict.fromkeys(chi2, 100),
        chosen_by=chosen_by,
        statistics={momentum: challenge_showers(momentum) for momentum in chi2},
    )


def test_the_figure_of_merit_chooses_the_iteration() -> None:
    shapes = scan((0.0, 0.0), (9.0, 9.0), (9.0, 9.0))
    assert network_test(**{WITH_SHAPES: shapes}).iteration == 300
    assert network_test(WITH_SHAPES, **{WITH_SHAPES: shapes}).iteration == 100


def test_the_papers_statistics_are_those_of_the_challenge() -> None:
    """10,000 showers up to 262 GeV, then 5000, 3000, 2000, 1000: 1 + (2 - 1) x paper's / 100."""
    found = network_test().at_papers_statistics
    assert [part.per_ndf for part in found.values()] == pytest.approx([101.0, 101.0, 51.0, 31.0, 21.0, 11.0])
    assert [part.ndf for part in found.values()] == [28] * 6
    unknown = replace(network_test(), statistics={})
    assert unknown.at_papers_statistics == unknown.chi2


TRAINING = scan((1.0, 1.0), (5.0, 5.0), (0.5, 0.5))
OTHERS = scan((11.0, 13.0), (1.0, 1.0), (17.0, 19.0), ndf=(5, 6))


def test_held_out_showers_do_not_choose_their_iteration() -> None:
    found = network_test(**{TRAIN: TRAINING, HELD_OUT: OTHERS})
    assert found.held_out_within(None) == Chi2(36.0, 11, 2 * 11 + 4 * 25)  # the scatter of a noncentral chi2
    assert network_test().held_out_within(None) is None


@pytest.mark.parametrize(("limit", "value"), [(None, 36.0), (300, 36.0), (299, 24.0), (200, 24.0), (100, 24.0)])
def test_a_training_that_ends_earlier_chooses_among_its_own_iterations(limit: int | None, value: float) -> None:
    found = network_test(**{TRAIN: TRAINING, HELD_OUT: OTHERS})
    assert found.held_out_within(limit) == Chi2(value, 11, 2 * 11 + 4 * (value - 11))
    assert network_test().held_out_within(limit) is None


def merit_scan(*values: float) -> IterationScan:
    return IterationScan(
        np.arange(1, len(values) + 1), np.zeros(1), np.array(values)[:, None], np.ones((len(values), 1))
    )


def test_the_shortlist_is_ranked_by_the_other_merits() -> None:
    first = merit_scan(5.0, 1.0, 2.0, 3.0, 9.0)
    ranked = merit_scan(0.1, 3.0, 1.0, 2.0, 0.0), merit_scan(0.1, 8.0, 7.0, 9.0, 0.0)
    found = shortlisted(first, ranked, 0.6)
    assert found.iterations.tolist() == [2, 3, 4], "1 and 5 are better but not on the list"
    np.testing.assert_allclose(found.total, [3 + 2, 1 + 1, 2 + 3], atol=1e-5)
    assert found.choice("iteration")["iteration"] == 3
    assert shortlisted(first, ranked, 1e-9).iterations.tolist() == [2], "at least one"
    tied = shortlisted(first, (merit_scan(*[1.0] * 5),), 1.0)
    assert tied.iterations[tied.best] == 2, "of equal sums, the first figure of merit"
