import numpy as np
import pytest
from scipy import integrate, stats

from calogen.errors import ConfigError
from calogen.losses import inverse_spread, kl_divergence, weighted_mse


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
    features = np.stack([np.tile([0.0, 1.0], 50), np.zeros(100), np.tile([0.5, 0.5002], 50)], axis=1)
    weights, num_at_floor = inverse_spread(features.astype(np.float32), 1e-3)
    np.testing.assert_allclose(weights, [2.0, 1e3, 1e3], rtol=1e-6)
    assert num_at_floor == 2


def test_the_floor_must_be_above_zero() -> None:
    with pytest.raises(ConfigError, match="above 0"):
        inverse_spread(np.zeros((2, 2)), 0.0)
