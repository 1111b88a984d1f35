"""Loss functions as pure functions of tensors, and the weights that go into them."""

import numpy as np

from calogen.backend import tf
from calogen.errors import ConfigError


def kl_divergence(mean: tf.Tensor, log_variance: tf.Tensor) -> tf.Tensor:
    """Divergence of a diagonal normal from the standard normal, summed over the latent space.

    Args:
        mean: `[b, z]`.
        log_variance: `[b, z]`, ln sigma^2.

    Returns:
        `[b]`, at least 0, to be added to a loss with a positive weight.

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


def inverse_spread(spread: np.ndarray, floor: float) -> tuple[np.ndarray, int]:
    """Weights of the features, 1 / standard deviation over all showers.

    Args:
        spread: standard deviations `[f]`.
        floor: value that replaces smaller standard deviations; without it an always empty cell has an infinite weight.

    Returns:
        the weights `[f]`, float32, and the number of features whose standard deviation is below the floor.

    Raises:
        ConfigError: the floor is not above 0.

    Source: arXiv:2210.06204, "Data Reparametrisation"; the floor is ours.
    """
    if not floor > 0:
        raise ConfigError(f"the floor of the standard deviation must be above 0. Received: {floor}")
    return (1.0 / np.maximum(spread, floor)).astype(np.float32), int((spread < floor).sum())


def critic_loss(real: tf.Tensor, fake: tf.Tensor) -> tf.Tensor:
    """Mean score of generated minus Geant4's showers, minus a Wasserstein distance.

    Args:
        real, fake: scores of Geant4's and generated showers, `[b, 1]`.

    Source: arXiv:1701.07875, equation (2).
    """
    return tf.reduce_mean(fake) - tf.reduce_mean(real)


def gradient_penalty(gradient: tf.Tensor, one_sided: bool = False) -> tf.Tensor:
    """Penalty on the norm of a gradient, the mean of (|gradient| - 1)^2.

    Args:
        gradient: gradient of the critic's score with respect to the shower, `[b, f]`.
        one_sided: whether norms below 1 cost nothing.

    Source: arXiv:1704.00028, equation (3); for the one-sided penalty its section 4.
    """
    squared = tf.reduce_sum(tf.square(gradient), axis=-1)
    positive = squared > 0  # the square root has no derivative at 0
    norm = tf.where(positive, tf.sqrt(tf.where(positive, squared, 1.0)), 0.0)
    excess = tf.nn.relu(norm - 1.0) if one_sided else norm - 1.0
    return tf.reduce_mean(tf.square(excess))


def interpolate(real: tf.Tensor, fake: tf.Tensor, fraction: tf.Tensor) -> tf.Tensor:
    """Points between pairs of showers, `[b, f]`, for uniform fractions `[b, 1]`.

    Source: arXiv:1704.00028, section 4.
    """
    return fake + fraction * (real - fake)
