"""Loss functions as pure functions of tensors, and the weights that go into them."""

import numpy as np
import tensorflow as tf

from calogen.errors import ConfigError


def kl_divergence(mean: tf.Tensor, log_variance: tf.Tensor) -> tf.Tensor:
    """Divergence of a diagonal normal from the standard normal, summed over the latent space.

    Args:
        mean: `[b, z]`.
        log_variance: `[b, z]`, ln sigma^2.

    Returns:
        `[b]`, at least 0: add it to a loss with a positive weight.

    Source: arXiv:1312.6114, Appendix B. The formula of arXiv:2210.06204, "Variational Autoencoders", is its negative.
    """
    return 0.5 * tf.reduce_sum(tf.square(mean) + tf.exp(log_variance) - log_variance - 1.0, axis=-1)


def weighted_mse(target: tf.Tensor, prediction: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Weighted squared difference, averaged over the features.

    Args:
        target: `[b, f]`.
        prediction: `[b, f]`.
        weights: `[f]`.

    Returns:
        `[b]`.

    Source: arXiv:2210.06204, "Data Reparametrisation": (1/m) sum_i w_i (x_i - x~_i)^2 with m = 281.
    """
    return tf.reduce_mean(weights * tf.square(target - prediction), axis=-1)


def inverse_spread(features: np.ndarray, floor: float) -> tuple[np.ndarray, int]:
    """Weights 1 / standard deviation of each feature over all showers.

    Args:
        features: `[n, f]`.
        floor: smallest standard deviation that counts; without it an always empty cell has an infinite weight.

    Returns:
        the weights `[f]`, float32, and how many features met the floor.

    Raises:
        ConfigError: the floor is not above 0.

    Source: arXiv:2210.06204, "Data Reparametrisation"; the floor is ours.
    """
    if not floor > 0:
        raise ConfigError(f"the floor of the standard deviation must be above 0. Received: {floor}")
    spread = features.std(axis=0, dtype=np.float64)
    return (1.0 / np.maximum(spread, floor)).astype(np.float32), int((spread < floor).sum())
