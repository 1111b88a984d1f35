from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from conftest import TINY_VOXELS, make_showers
from scipy import stats

from calogen.errors import DataFormatError
from calogen.evaluation.iterations import chi2_by_momentum
from calogen.metrics.chi2 import RULES, Chi2, energy_chi2, energy_edges, mode_edges, total
from calogen.observables.cells import layer_energy, total_energy
from calogen.showers.sample import Showers

SHOWERS = make_showers(TINY_VOXELS, 600, 1)
OTHERS = make_showers(TINY_VOXELS, 900, 2)


def test_equal_samples_have_chi2_zero_and_the_papers_ndf() -> None:
    sample = np.random.default_rng(1).normal(100.0, 3.0, 10_000)
    found = energy_chi2(sample, sample)
    assert (found.value, found.ndf, found.per_ndf) == (0.0, 28, 0.0)  # 29 bins
    fifteen = total([found] * 15)  # Table 2's 15 momenta: Tables 3 and 4
    assert (fifteen.value, fifteen.ndf) == (0.0, 420)


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


def test_the_error_is_the_scatter_of_chi2() -> None:
    """False alarm: the scatter of 300 pairs has an error of 4 %; 15 % are left to either side, 1 seed in 5,000."""
    random, found = np.random.default_rng(3), []
    for _ in range(300):
        found.append(energy_chi2(random.normal(50.0, 2.0, 3000), random.normal(50.8, 2.0, 3000)))
    scatter = np.std([item.per_ndf for item in found])
    assert np.mean([item.per_ndf for item in found]) > 5
    assert np.sqrt(np.mean([item.error**2 for item in found])) == pytest.approx(scatter, rel=0.15)


def test_the_error_of_equal_distributions_is_too_large_rather_than_too_small() -> None:
    """Resampling adds NDF to chi2: variance 6 NDF instead of 2. False alarm: under 1 seed in a million."""
    random = np.random.default_rng(4)
    found = [energy_chi2(*random.normal(50.0, 2.0, (2, 5000))) for _ in range(50)]
    assert np.mean([item.variance / item.ndf for item in found]) == pytest.approx(6.0, rel=0.25)


def test_errors_are_repeatable() -> None:
    reference, generated = np.random.default_rng(5).normal(50.0, 2.0, (2, 500))
    assert energy_chi2(reference, generated) == energy_chi2(reference, generated)


def test_chi2_equals_the_contingency_tables() -> None:
    """For equal sizes this is Pearson's chi2 of the 2 x bins table."""
    random = np.random.default_rng(3)
    reference, generated = random.normal(50.0, 2.0, 400), random.normal(51.0, 2.5, 400)
    edges = energy_edges(reference)
    table = np.array([np.histogram(np.clip(x, edges[0], edges[-1]), edges)[0] for x in (reference, generated)])
    expected = stats.chi2_contingency(table[:, table.any(axis=0)], correction=False)
    found = energy_chi2(reference, generated)
    assert (found.value, found.ndf) == (pytest.approx(expected.statistic), expected.dof)


def test_chi2_of_unequal_sizes_by_hand() -> None:
    """Of 4 and 2 values, (n g - m r)^2 / (n^2 g + m^2 r) in three filled bins: 4/16, 16/24 and 4/4."""
    reference, generated = np.array([0.5, 1.5, 1.5, 2.5]), np.array([1.5, 0.5])
    found = energy_chi2(reference, generated, np.array([0.0, 1.0, 2.0, 3.0, 4.0]))
    terms = [(4 * g - 2 * r) ** 2 / (16 * g + 4 * r) for r, g in ((1, 1), (2, 1), (1, 0))]
    assert (found.value, found.ndf) == (pytest.approx(sum(terms)), 2)


def test_what_lies_outside_counts_in_the_outermost_bins() -> None:
    reference = np.random.default_rng(4).normal(50.0, 2.0, 1000)
    far, near = reference.copy(), reference.copy()
    edges = energy_edges(reference)
    far[:300], near[:300] = 1e6, edges[-1]
    assert energy_chi2(reference, far) == energy_chi2(reference, near)
    assert energy_chi2(reference, far).value > 300


def test_unclipped_what_lies_outside_does_not_count() -> None:
    random = np.random.default_rng(4)
    reference, generated = random.normal(50.0, 2.0, (2, 1000))
    edges, far = energy_edges(reference), np.append(generated, np.full(300, 1e6))
    assert energy_chi2(reference, far, edges, clip=False) == energy_chi2(reference, generated, edges, clip=False)


def test_samples_of_which_nothing_counts_are_disjoint() -> None:
    reference = np.random.default_rng(4).normal(50.0, 2.0, 100)
    edges = energy_edges(reference)
    found = energy_chi2(reference, np.full(70, 1e6), edges, clip=False)
    assert (found.value, found.ndf) == (170.0, energy_chi2(reference, reference, edges, clip=False).ndf)
    assert energy_chi2(reference, np.full(70, 1e6), edges).value <= 170.0


def test_edges_follow_the_published_rule() -> None:
    sample = np.random.default_rng(5).normal(100.0, 3.0, 200_000)
    edges = energy_edges(sample)
    assert len(edges) == 30
    width = 2 * 1.645 * 3.0  # twice the distance of the 5 % and 95 % quantiles; the maximum is farther
    np.testing.assert_allclose(edges[[0, -1]], [100 - width, 100 + width], atol=0.1)
    truncated = sample[sample < 101]
    assert energy_edges(truncated)[-1] == pytest.approx(truncated.max())
    with pytest.raises(DataFormatError, match="must spread around their median"):
        energy_edges(np.full(10, 7.0))


def test_edges_reach_ten_times_the_84_percent_quantile_at_most() -> None:
    """101 values with the median 0, the 84 % quantile 1, the 95 % quantile 90 and the maximum 100."""
    sample = np.concatenate([np.linspace(-100.0, 0.0, 51), np.linspace(0.0, 1.0, 35)[1:], np.linspace(90.0, 100.0, 16)])
    low, median, high = np.quantile(sample, (0.05, 0.5, 0.84))
    assert (low, median, high) == pytest.approx((-90.0, 0.0, 1.0), abs=0.05)
    np.testing.assert_allclose(energy_edges(sample)[[0, -1]], [-10 * high, 10 * high])


def test_edges_around_the_mode_by_hand() -> None:
    """At 100 MeV the bins are 2 MeV wide: mode 81, of four energies within 200 MeV with the RMS 10.6."""
    energies = np.array([60.0, 80.5, 81.5, 90.0, 250.0, 1000.0])
    spread = np.std([60.0, 80.5, 81.5, 90.0])
    edges = mode_edges(energies, 100.0, below=3.0, above=2.0)
    assert len(edges) == 31
    np.testing.assert_allclose(edges[[0, 1, -1]], [81 - 3 * spread, 81 - 3 * spread + spread / 6, 81 + 2 * spread])
    assert mode_edges(energies, 100.0, below=10.0, above=2.0)[0] == 0.0, "no energy is below 0"
    for nothing in (np.full(10, 70.0), np.array([300.0, 400.0])):
        with pytest.raises(DataFormatError, match="energies that differ"):
            mode_edges(nothing, 100.0, below=3.0, above=3.0)


@pytest.mark.parametrize(
    ("rule", "expected", "clip"),
    [
        ("caloshowergan", energy_edges, True),
        ("fastcalogan-photons", partial(mode_edges, below=3.0, above=3.0), False),
        ("fastcalogan-hadrons", partial(mode_edges, below=4.0, above=3.5), False),
    ],
)
def test_published_rules(rule: str, expected: Callable[[np.ndarray, float], np.ndarray], clip: bool) -> None:
    sample = np.random.default_rng(6).normal(60.0, 5.0, 500)
    np.testing.assert_array_equal(RULES[rule].edges(sample, 64.0), expected(sample, 64.0))
    assert RULES[rule].clip is clip
    assert set(RULES) == {"caloshowergan", "fastcalogan-photons", "fastcalogan-hadrons"}


@pytest.mark.parametrize("rule", RULES)
def test_chi2_of_every_momentum(rule: str) -> None:
    found = chi2_by_momentum(SHOWERS, OTHERS, RULES[rule])
    assert list(found) == (2.0 ** np.arange(10, 19)).tolist()
    for momentum, part in found.items():
        expected, received = (total_energy(showers.at(momentum)) for showers in (SHOWERS, OTHERS))
        edges = RULES[rule].edges(expected, momentum)
        assert part == energy_chi2(expected, received, edges, RULES[rule].clip)


def _some(showers: Showers, momentum: float) -> np.ndarray:
    """A value at one momentum only."""
    return np.where(showers.incident_energies == momentum, total_energy(showers), np.nan)


def test_quantities_are_summed_and_left_out_where_they_are_undefined() -> None:
    rule, last = RULES["caloshowergan"], partial(layer_energy, layer_id=1)
    alone, other = (chi2_by_momentum(SHOWERS, OTHERS, rule, (item,)) for item in (total_energy, last))
    quantities = (total_energy, last, lambda showers: np.ones(len(showers)), partial(_some, momentum=4096.0))
    found = chi2_by_momentum(SHOWERS, OTHERS, rule, quantities)
    for momentum, part in found.items():
        parts = [alone[momentum], other[momentum], *([alone[momentum]] if momentum == 4096.0 else [])]
        assert part == total(parts)


def test_what_only_the_generated_showers_lack_counts_as_disjoint() -> None:
    empty = Showers(TINY_VOXELS, SHOWERS.incident_energies, np.zeros_like(SHOWERS.energies))

    def positive(showers: Showers) -> np.ndarray:
        return np.where(total_energy(showers) > 0, total_energy(showers), np.nan)

    found = chi2_by_momentum(SHOWERS, empty, RULES["caloshowergan"], (positive,))
    assert {momentum: part.value for momentum, part in found.items()} == {
        momentum: len(SHOWERS.at(momentum)) for momentum in found
    }


def test_a_momentum_without_a_histogram_is_named() -> None:
    rows = np.append(np.flatnonzero(SHOWERS.incident_energies == 1024.0), 0)
    rows[-1] = np.flatnonzero(SHOWERS.incident_energies == 8192.0)[0]
    with pytest.raises(DataFormatError, match="at 8192 MeV the energies must spread around their median. Received:"):
        chi2_by_momentum(SHOWERS[rows], SHOWERS[rows], RULES["caloshowergan"])
    with pytest.raises(DataFormatError, match="no shower has incident energy 8192 MeV"):
        chi2_by_momentum(SHOWERS.at(8192.0), SHOWERS.at(1024.0), RULES["caloshowergan"])


def test_momenta_that_two_gans_share_count_twice() -> None:
    """28 degrees of freedom at each momentum: the sums of the paper's Tables 3 and 4."""
    momenta = [2.0**power for power in range(8, 23)]
    one = dict.fromkeys(momenta, Chi2(2.0, 28, 9.0))
    splits = {420: ((8, 22),), 448: ((8, 12), (12, 22)), 476: ((8, 12), (12, 18), (18, 22))}
    for ndf, ranges in splits.items():
        parts = [one[momentum] for low, high in ranges for momentum in momenta if 2.0**low <= momentum <= 2.0**high]
        assert total(parts) == Chi2(ndf / 14, ndf, ndf / 28 * 9.0)


def test_chi2_at_other_statistics() -> None:
    scaled = Chi2(56.0, 28, 9.0).at_statistics(250)  # 1 + (2 - 1) x 10,000 / 250
    assert (scaled.per_ndf, scaled.ndf, scaled.error) == (41.0, 28, pytest.approx(40 * 3.0 / 28))
    assert Chi2(56.0, 28).at_statistics(250, 500).per_ndf == 3.0
    assert Chi2(14.0, 28).at_statistics(100, 50).per_ndf == 0.75, "an excess may be negative"
    assert np.isnan([Chi2(0.0, 0).per_ndf, Chi2(0.0, 0, 1.0).error]).all()
    assert Chi2(56.0, 28, 49.0).error == 0.25


def test_without_resampling_only_the_variance_is_missing() -> None:
    random = np.random.default_rng(11)
    samples = random.normal(50.0, 2.0, 400), random.normal(51.0, 2.0, 400)
    found = energy_chi2(*samples)
    assert found.variance > 0
    assert energy_chi2(*samples, rounds=0) == Chi2(found.value, found.ndf)
