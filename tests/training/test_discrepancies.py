import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from reference import discrepancies as slow
from reference.gradient_penalty import finite_differences

from calogen.errors import ConfigError
from calogen.training.discrepancies import SortedKernel, latent_discrepancy, mean_discrepancy

PAPER = SortedKernel(window=100, stride=25, reach=2000, alpha=200.0)


def random(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def test_it_equals_its_slow_twin() -> None:
    one, other = random(1, 2, 6, 3), 0.5 + random(2, 2, 6, 3)
    expected = [slow.mean_discrepancy(*pair, 0.3) for pair in zip(one, other, strict=True)]
    np.testing.assert_allclose(mean_discrepancy(tf.constant(one), tf.constant(other), 0.3), expected, rtol=1e-12)


def test_equal_samples_have_none() -> None:
    points = tf.constant(random(1, 20, 4))
    assert float(mean_discrepancy(points, tf.random.shuffle(points, seed=1), 1.0)) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("distance", [0.0, 0.5, 3.0])
def test_two_points_have_that_of_their_kernel(distance: float) -> None:
    one, other = tf.zeros((5, 1), tf.float64), tf.fill((5, 1), tf.constant(distance, tf.float64))
    assert float(mean_discrepancy(one, other, 2.0)) == pytest.approx(2 - 2 * np.exp(-2 * distance**2), abs=1e-14)


@pytest.mark.parametrize("shift", [0.0, 0.7, 2.0])
def test_normal_distributions_have_their_closed_form(shift: float) -> None:
    """Of 3 dimensions: (1 + 4 a)^(-3/2) (2 - 2 exp(-a shift^2 / (1 + 4 a))), and points beside themselves."""
    number, alpha = 1500, 0.4
    one, other = random(3, number, 3), random(4, number, 3) + np.array([shift, 0, 0])
    mean = (1 + 4 * alpha) ** -1.5
    expected = mean * (2 - 2 * np.exp(-alpha * shift**2 / (1 + 4 * alpha))) + 2 * (1 - mean) / number
    # a standard deviation is some 0.3 / sqrt(1500) = 0.008 at most, where the samples differ
    assert float(mean_discrepancy(tf.constant(one), tf.constant(other), alpha)) == pytest.approx(expected, abs=0.02)


def test_kernels_of_a_latent_space_are_summed() -> None:
    codes, prior = tf.constant(random(1, 8, 5)), tf.constant(random(2, 8, 5))
    parts = [float(mean_discrepancy(codes, prior, alpha)) for alpha in (1.0, 0.01)]
    assert float(latent_discrepancy(codes, prior, (1.0, 0.01))) == pytest.approx(sum(parts), rel=1e-12)


@pytest.mark.parametrize("cells", [7, 12, 30, 200])
def test_the_sorted_kernel_equals_its_slow_twin(cells: int) -> None:
    one, other = np.abs(random(1, 3, cells)), np.abs(random(2, 3, cells))
    kernel = SortedKernel(window=10, stride=3, reach=20, alpha=5.0)
    expected = np.mean([slow.sorted_kernel(*pair, (10, 3, 20), 5.0) for pair in zip(one, other, strict=True)])
    assert float(kernel(tf.constant(one), tf.constant(other))) == pytest.approx(expected, rel=1e-12)


def test_the_papers_window_has_eighty_places() -> None:
    one, other = (tf.constant(np.random.default_rng(seed).exponential(0.3, (1, 27_000))) for seed in (1, 2))
    assert PAPER._windows(one).shape == (1, 80, 100, 1)
    sizes = (100, 25, 60)  # three of the places, as the twin is slow
    short = SortedKernel(window=100, stride=25, reach=60, alpha=200.0)
    expected = slow.sorted_kernel(one.numpy()[0].tolist(), other.numpy()[0].tolist(), sizes, 200.0)
    assert float(short(one, other)) == pytest.approx(expected, rel=1e-9)


@given(st.integers(0, 2**32 - 1))
def test_where_the_energy_lies_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = rng.exponential(0.5, (2, 1, 300))
    kernel = SortedKernel(window=20, stride=5, reach=100, alpha=200.0)
    value = float(kernel(tf.constant(one), tf.constant(other)))
    assert value >= -1e-12
    assert float(kernel(tf.constant(rng.permuted(one, axis=1)), tf.constant(other))) == pytest.approx(value, abs=1e-12)
    assert float(kernel(tf.constant(one), tf.constant(rng.permuted(one, axis=1)))) == pytest.approx(0.0, abs=1e-12)


def test_its_gradient_is_that_of_finite_differences() -> None:
    kernel = SortedKernel(window=5, stride=2, reach=9, alpha=2.0)
    one, other = np.abs(random(1, 1, 14)), tf.constant(np.abs(random(2, 1, 14)))
    with tf.GradientTape() as tape:
        shower = tf.constant(one)
        tape.watch(shower)
        value = kernel(shower, other)
    gradient = tape.gradient(value, shower).numpy()
    expected = finite_differences(lambda values: float(kernel(tf.constant(values), other)), one, 1e-6)
    np.testing.assert_allclose(gradient, expected, atol=1e-8)
    assert (gradient != 0).sum() == 13, "the smallest energy is in no place of the window"


@pytest.mark.parametrize("name", ["window", "stride", "reach", "alpha"])
def test_nonsense_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} of a SortedKernel must be above 0"):
        SortedKernel(**{"window": 1, "stride": 1, "reach": 1, "alpha": 1.0, name: 0})  # type: ignore[arg-type]
