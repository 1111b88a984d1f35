import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from reference import gradient_penalty as slow
from scipy import integrate, stats

from calogen.errors import ConfigError
from calogen.training.losses import (
    critic_loss,
    gradient_penalty,
    interpolate,
    inverse_spread,
    kl_divergence,
    weighted_mse,
)

VECTORS = hnp.arrays(np.float64, (3, 4), elements=st.floats(-5, 5))


def test_kl_divergence_of_the_prior_is_zero() -> None:
    np.testing.assert_array_equal(kl_divergence(np.zeros((3, 5)), np.zeros((3, 5))), np.zeros(3))


@pytest.mark.parametrize(("mean", "sigma"), [(0.7, 1.0), (0.0, 0.3), (-1.2, 2.0)])
def test_kl_divergence_is_the_integral(mean: float, sigma: float) -> None:
    code, prior = stats.norm(mean, sigma), stats.norm()
    expected, _ = integrate.quad(lambda x: code.pdf(x) * (code.logpdf(x) - prior.logpdf(x)), -15, 15)
    assert expected > 0
    result = kl_divergence(np.array([[mean, 0.0]]), np.array([[2 * np.log(sigma), 0.0]]))
    np.testing.assert_allclose(result, [expected], rtol=1e-6)


def test_weighted_mse_by_hand() -> None:
    target, prediction = np.array([[1.0, 2.0], [0.0, 0.0]]), np.array([[0.0, 4.0], [0.0, 0.0]])
    np.testing.assert_allclose(weighted_mse(target, prediction, np.array([3.0, 0.5])), [2.5, 0.0])


def test_weights_are_inverse_spreads_with_a_floor() -> None:
    weights, num_at_floor = inverse_spread(np.array([0.5, 0.0, 1e-4]), 1e-3)
    np.testing.assert_allclose(weights, [2.0, 1e3, 1e3], rtol=1e-6)
    assert num_at_floor == 2


def test_the_floor_must_be_above_zero() -> None:
    with pytest.raises(ConfigError, match="above 0"):
        inverse_spread(np.zeros(2), 0.0)


def test_critic_loss_is_generated_minus_real_by_hand() -> None:
    loss = critic_loss(tf.constant([[1.0], [2.0], [6.0]]), tf.constant([[0.5], [0.5], [0.5]]))
    assert float(loss) == pytest.approx(0.5 - 3.0)


@pytest.mark.parametrize(("length", "expected"), [(0.0, 1.0), (0.5, 0.25), (1.0, 0.0), (3.0, 4.0)])
def test_penalty_of_gradients_of_known_length(length: float, expected: float) -> None:
    direction = np.array([[0.6, 0.0, -0.8], [0.0, 1.0, 0.0]])
    assert float(gradient_penalty(tf.constant(length * direction))) == pytest.approx(expected, abs=1e-15)


@given(VECTORS)
def test_penalty_equals_its_slow_twin(gradients: np.ndarray) -> None:
    assert float(gradient_penalty(tf.constant(gradients))) == pytest.approx(slow.gradient_penalty(gradients), rel=1e-12)


def test_penalty_has_the_derivative_of_its_formula_and_none_at_zero() -> None:
    gradients = tf.Variable(np.array([[3.0, 4.0], [0.0, 0.0], [0.3, -0.4]]))
    with tf.GradientTape() as tape:
        penalty = gradient_penalty(gradients)
    # 2 (|g| - 1) g / |g| / b
    expected = np.array([[2 * 4.0 * 0.6, 2 * 4.0 * 0.8], [0.0, 0.0], [-0.6, 0.8]]) / 3
    np.testing.assert_allclose(tape.gradient(penalty, gradients), expected, rtol=1e-12)


@given(VECTORS, VECTORS, hnp.arrays(np.float64, (3, 1), elements=st.floats(0, 1)))
def test_interpolated_showers_lie_between_both(real: np.ndarray, fake: np.ndarray, fraction: np.ndarray) -> None:
    between = interpolate(tf.constant(real), tf.constant(fake), tf.constant(fraction)).numpy()
    np.testing.assert_allclose(between, fraction * real + (1 - fraction) * fake, atol=1e-12)


def test_interpolation_begins_at_the_generated_and_ends_at_the_real_shower() -> None:
    real, fake = tf.constant([[1.0, 2.0], [3.0, 4.0]]), tf.constant([[5.0, 6.0], [7.0, 8.0]])
    np.testing.assert_array_equal(interpolate(real, fake, tf.constant([[0.0], [1.0]])), [[5.0, 6.0], [3.0, 4.0]])
