import numpy as np
import pytest
from scipy import stats

from calogen.errors import DataFormatError
from calogen.evaluation.chi2 import Chi2, energy_chi2, energy_edges, total


def test_equal_samples_have_chi2_zero_and_the_papers_ndf() -> None:
    sample = np.random.default_rng(1).normal(100.0, 3.0, 10_000)
    assert energy_chi2(sample, sample) == Chi2(0.0, 28)  # 29 bins
    assert total([energy_chi2(sample, sample)] * 15) == Chi2(0.0, 420)  # Table 2's 15 momenta: Tables 3 and 4


def test_disjoint_samples_have_the_sum_of_their_sizes() -> None:
    reference = np.random.default_rng(1).normal(100.0, 3.0, 1000)
    edges = energy_edges(reference)
    assert energy_chi2(np.full(1000, 95.0), np.full(1000, 105.0), edges).value == pytest.approx(2000.0)


def test_samples_of_one_distribution_follow_the_chi2_distribution() -> None:
    """False alarm: the mean over 200 pairs is within 4 standard errors of NDF but for 1 seed in 16,000."""
    random = np.random.default_rng(2)
    found = [energy_chi2(*random.normal(50.0, 2.0, (2, 5000))) for _ in range(200)]
    pulls = np.array([(item.value - item.ndf) / np.sqrt(2 * item.ndf) for item in found])
    assert abs(pulls.mean()) < 4 / np.sqrt(200)
    assert 0.8 < pulls.std() < 1.25


def test_chi2_equals_the_contingency_tables() -> None:
    """For equal sizes this is Pearson's chi2 of the 2 x bins table."""
    random = np.random.default_rng(3)
    reference, generated = random.normal(50.0, 2.0, 400), random.normal(51.0, 2.5, 400)
    edges = energy_edges(reference)
    table = np.array([np.histogram(np.clip(x, edges[0], edges[-1]), edges)[0] for x in (reference, generated)])
    expected = stats.chi2_contingency(table[:, table.any(axis=0)], correction=False)
    found = energy_chi2(reference, generated)
    assert (found.value, found.ndf) == (pytest.approx(expected.statistic), expected.dof)


def test_what_lies_outside_counts_in_the_outermost_bins() -> None:
    reference = np.random.default_rng(4).normal(50.0, 2.0, 1000)
    far, near = reference.copy(), reference.copy()
    edges = energy_edges(reference)
    far[:300], near[:300] = 1e6, edges[-1]
    assert energy_chi2(reference, far) == energy_chi2(reference, near)
    assert energy_chi2(reference, far).value > 300


def test_edges_follow_the_published_rule() -> None:
    sample = np.random.default_rng(5).normal(100.0, 3.0, 200_000)
    edges = energy_edges(sample)
    assert len(edges) == 30
    width = 2 * 1.645 * 3.0  # twice the distance of the 5 % and 95 % quantiles; the maximum is farther
    np.testing.assert_allclose(edges[[0, -1]], [100 - width, 100 + width], atol=0.1)
    truncated = sample[sample < 101]
    assert energy_edges(truncated)[-1] == pytest.approx(truncated.max())
    with pytest.raises(DataFormatError, match="energies that differ"):
        energy_edges(np.full(10, 7.0))


def test_chi2_at_other_statistics() -> None:
    assert Chi2(56.0, 28).at_statistics(250) == 41.0  # 1 + (2 - 1) x 10,000 / 250
    assert np.isnan(Chi2(0.0, 0).per_ndf)
