import tracemalloc
from dataclasses import astuple

import numpy as np
import pytest
from reference import distances as slow

from calogen.errors import ConfigError, DataFormatError
from calogen.metrics import distances
from calogen.metrics.distances import (
    frechet_distance,
    frechet_physics_distance,
    kernel_physics_distance,
    log_voxels,
    precision_recall_density_coverage,
    squared_mmd,
)


def normal(seed, size, shift=0.0, width=1.0, columns=3):
    return np.random.default_rng(seed).normal(shift, width, (size, columns))


def correlated(seed, size):
    """Four columns, the last two of which are sums of the others: a singular covariance."""
    sample = normal(seed, size, columns=2)
    return np.hstack([sample, sample @ [[1.0, 0.5], [2.0, -1.0]]])


def test_frechet_distance_agrees_with_the_slow_twin():
    for first, second in (
        (normal(1, 200), normal(2, 150, 0.3, 1.5)),
        (normal(1, 50, columns=1), normal(2, 50, 0.4, columns=1)),
    ):
        assert frechet_distance(first, second) == pytest.approx(slow.frechet_distance(first, second), rel=1e-10)


@pytest.mark.parametrize("seed", range(20))
def test_frechet_distance_has_the_closed_form(seed):
    """Commuting covariances: |dmu|^2 + sum (sigma - sigma')^2, exact when the samples have just these moments."""
    basis = np.linalg.qr(np.hstack([np.ones((60, 1)), normal((3, seed), 60)]))[0][:, 1:] * np.sqrt(59)
    rotation = np.linalg.qr(normal((4, seed), 3))[0]
    first, second = basis * [1, 2, 3] @ rotation, basis * [2, 2, 0] @ rotation + [1, 0, 2]
    assert frechet_distance(first, second) == pytest.approx(5 + 1 + 9, rel=1e-12)


def test_frechet_distance_of_singular_covariances():
    first = correlated(1, 80)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-10)
    assert frechet_distance(first, first + 2) == pytest.approx(16, rel=1e-10)


def test_fpd_is_the_intercept_of_a_fit():
    """The same batches; far from the bounds a fit without them gives the same to 1e-3."""
    first, second = normal(1, 900), normal(2, 800, 0.2)
    found = frechet_physics_distance(first, second, seed=5, min_samples=100, num_batches=4)
    sizes, means = slow.frechet_distances(first, second, 100, 4, seed=5)
    slope, intercept = np.polyfit(1 / sizes, means, 1)
    residuals = means - intercept - slope / sizes
    variance = np.sum(residuals**2) / 8 * np.mean(sizes**-2.0) / np.sum((1 / sizes - np.mean(1 / sizes)) ** 2)
    assert slope > 0
    assert found.value == pytest.approx(intercept, rel=1e-3)
    assert found.error == pytest.approx(np.sqrt(variance), rel=1e-3)


@pytest.mark.parametrize("shift", [100.0, 3e4, 1e7])
def test_a_very_large_fpd_is_not_what_the_fit_begins_with(shift):
    """The distance of two means, in units of the reference's largest values."""
    first, second = normal(1, 900), normal(2, 900, shift)
    found = frechet_physics_distance(first, second, min_samples=100, num_batches=4)
    assert found.value == pytest.approx(np.sum((shift / np.abs(first).max(axis=0)) ** 2), rel=0.05)


def test_fpd_of_gaussians_is_the_closed_form():
    """Means differ by 0.5 in 3 columns and widths by 0.2; the reference's largest values rescale them."""
    first, second = normal(1, 4000), normal(2, 4000, 0.5, 1.2)
    found = frechet_physics_distance(first, second)
    expected = np.sum((0.5**2 + 0.2**2) / np.abs(first).max(axis=0) ** 2)
    assert found.value == pytest.approx(expected, rel=0.1)
    assert 0 < found.error < 0.02 * expected


def test_fpd_and_kpd_of_equal_distributions_are_small():
    first, second = normal(1, 1500), normal(2, 1500)
    shifted = normal(2, 1500, 0.3)
    for distance in (frechet_physics_distance, kernel_physics_distance):
        same, floor, far = (distance(first, other) for other in (first, second, shifted))
        assert abs(same.value) < 5 * same.error + 1e-4
        assert abs(floor.value) < 0.1 * far.value
        assert far.value > 5 * far.error


def test_distances_do_not_depend_on_the_columns_scale():
    first, second = normal(1, 300), normal(2, 300, 0.3)
    for distance in (frechet_physics_distance, kernel_physics_distance):
        found, scaled = distance(first, second), distance(first * [1, 1e3, 1e-3], second * [1, 1e3, 1e-3])
        assert scaled.value == pytest.approx(found.value, rel=1e-6)
        zeros = np.zeros((300, 1))
        assert np.isfinite(astuple(distance(np.hstack([first, zeros]), np.hstack([second, zeros])))).all()


def test_kernel_agrees_with_the_slow_twin(monkeypatch):
    first, second = normal(1, 23), normal(2, 17, 0.5)
    expected = slow.squared_mmd(first, second)
    assert squared_mmd(first, second) == pytest.approx(expected, rel=1e-10)
    monkeypatch.setattr(distances, "_BLOCK_VALUES", 50)
    assert squared_mmd(first, second) == pytest.approx(expected, rel=1e-10)


def test_kernel_of_one_column_by_hand():
    """Kernels (xy + 1)^4 of {0, 1} and {1, 2}: 1 within the first, 81 within the second, (1 + 1 + 16 + 81)/4 across."""
    assert squared_mmd(np.array([[0.0], [1.0]]), np.array([[1.0], [2.0]])) == pytest.approx(1 + 81 - 99 / 2)


def test_kpd_is_the_batches_median():
    first, second = normal(1, 60), normal(2, 50, 0.5)
    largest = np.abs(first).max(axis=0)
    streams = [np.random.default_rng(7 + 1000 * number) for number in range(4)]
    values = [slow.squared_mmd(rng.choice(first / largest, 20), rng.choice(second / largest, 20)) for rng in streams]
    found = kernel_physics_distance(first, second, seed=7, batch_size=20, num_batches=4)
    low, high = np.percentile(values, [16.275, 83.725])
    assert found.value == pytest.approx(np.median(values), rel=1e-9)
    assert found.error == pytest.approx((high - low) / 2, rel=1e-9)


def test_seeds_repeat():
    pair = normal(1, 200), normal(2, 250, 0.3)
    for distance in (frechet_physics_distance, kernel_physics_distance, precision_recall_density_coverage):
        found, again, other = (distance(*pair, seed=seed) for seed in (3, 3, 4))
        assert found == again
        assert found != other


@pytest.mark.parametrize("k", [1, 5])
def test_neighbours_agree_with_the_slow_twin(monkeypatch, k):
    first, second = normal(1, 80, columns=6), normal(2, 80, 0.2, 0.8, columns=6)
    expected = slow.neighbourhoods(first, second, k)
    for values in (2**20, 300):
        monkeypatch.setattr(distances, "_BLOCK_VALUES", values)
        found = precision_recall_density_coverage(first, second, k)
        assert [item.value for item in astuple_of_values(found)] == pytest.approx(expected, abs=1e-12)
        assert found.num_showers == 80


def astuple_of_values(found):
    return found.precision, found.recall, found.density, found.coverage


def test_neighbours_of_equal_samples_whatever_the_rounding():
    """A shower is in its own ball and in those of the k - 1 nearer ones; on the sphere is outside."""
    for sample in (normal(1, 200, 1000.0, 0.01), np.repeat(normal(2, 100), 2, axis=0)):
        found = precision_recall_density_coverage(sample, sample, k=5)
        assert [item.value for item in astuple_of_values(found)][:2] == [1, 1]
        assert found.coverage.value == 1
    assert precision_recall_density_coverage(sample + 0, sample[::-1] + 0).density.value <= 1
    same = np.ones((100, 3))
    assert [item.value for item in astuple_of_values(precision_recall_density_coverage(same, same))] == [0] * 4


def test_neighbours_of_disjoint_samples():
    found = precision_recall_density_coverage(normal(1, 200), normal(2, 200, 100.0))
    assert [astuple(item) for item in astuple_of_values(found)] == [(0, 0)] * 4


def test_neighbours_of_a_sample_that_lacks_half():
    """Generated showers on one side only are precise, but reach half of the reference."""
    first, second = normal(1, 2000, columns=2), normal(2, 2000, columns=2)
    second[:, 0] = np.abs(second[:, 0])
    found = precision_recall_density_coverage(first, second)
    assert found.precision.value > 0.9
    assert found.recall.value == pytest.approx(0.5, abs=0.08)
    assert found.coverage.value == pytest.approx(0.5, abs=0.08)
    assert found.density.value == pytest.approx(1, rel=0.15)


def test_errors_of_neighbours_are_the_scatter_of_new_samples():
    """Spread over 60 pairs (known to 9 %) against the mean of 20 errors (5 %): outside 0.6..1.7 once in 1e5 seeds."""

    def found(seed):
        return astuple_of_values(
            precision_recall_density_coverage(normal((seed, 0), 300, columns=2), normal((seed, 1), 300, 0.3, columns=2))
        )

    every = [found(seed) for seed in range(60)]
    for number, name in enumerate(("precision", "recall", "density", "coverage")):
        spread = np.std([item[number].value for item in every])
        error = np.mean([item[number].error for item in every])
        assert 0.6 < error / spread < 1.7, (name, error, spread)


def test_neighbours_use_equal_numbers_and_at_most_what_is_allowed():
    first, second = normal(1, 300), normal(2, 200)
    assert precision_recall_density_coverage(first, second).num_showers == 200
    assert precision_recall_density_coverage(first, second, max_showers=90).num_showers == 90


def test_memory_stays_far_below_all_pairs(monkeypatch):
    """3000 x 3000 distances or kernels are 72 MB."""
    monkeypatch.setattr(distances, "_BLOCK_VALUES", 2**16)
    first, second = normal(1, 3000), normal(2, 3000)
    for distance in (kernel_physics_distance, precision_recall_density_coverage):
        peaks = []
        for _ in range(3):  # what the first call keeps, or another thread allocates, is not its memory
            tracemalloc.start()
            distance(first, second)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert min(peaks) < 8e6


def test_logarithms_of_voxels():
    found = log_voxels(np.array([[0, 1, 1000], [0.1, 10, 0]], np.float32))
    np.testing.assert_allclose(found, [[-1, 0, 3], [-1, 1, -1]], atol=1e-7)
    assert found.dtype == np.float64
    assert log_voxels(np.zeros((1, 1)), floor=0.01)[0, 0] == pytest.approx(-2)
    for wrong in (-1.0, np.nan):
        with pytest.raises(DataFormatError, match="energies must be 0 or more. Received"):
            log_voxels(np.array([[1.0, wrong]]))


@pytest.mark.parametrize(
    "distance", [frechet_physics_distance, kernel_physics_distance, precision_recall_density_coverage]
)
def test_refuses_bad_samples(distance):
    good = normal(1, 80)
    bad = good.copy()
    bad[5, 2] = np.inf
    for pair, message in (
        ((bad, good), "reference must be finite. Received: NaN or infinity in column 2"),
        ((good, good[:3]), "generated must have .* showers or more. Received: 3"),
        ((good, good[:, :2]), r"shapes \[n, f\] and \[m, f\]. Received: \[80, 3\] and \[80, 2\]"),
    ):
        with pytest.raises(DataFormatError, match=message):
            distance(*pair)


def test_refuses_neighbours_that_cannot_be():
    for options in ({"k": 0}, {"max_showers": 69}):
        with pytest.raises(ConfigError, match="max_showers 10 .* or more. Received: k="):
            precision_recall_density_coverage(normal(1, 80), normal(2, 80), **options)
