"""p(x|z) of a VAE, from which a run may draw its showers instead of taking what the decoder gives.

Here it is a normal distribution of some features at each energy: its mean is linear in the decoded features, and both
the mean and the covariance are those of training showers around their reconstructions. With codes that are distributed
as those of the training showers, means and covariances of these features are then Geant4's.
"""

import numpy as np

from calogen.backend import keras, tf
from calogen.features.batches import FeatureTable, blocks_of
from calogen.provenance import named_seed

KNOTS = 33
"""Places, equally far apart in the first number of the condition, between which the distribution is interpolated."""
_MANY = 64  # different values of the condition up to which each has a distribution of its own
_BINS = 16  # ranges of equally many showers that have one together otherwise
_SHRINKAGE = 1e-3  # share of the decoded features' variance that keeps a slope finite where they hardly vary


@keras.saving.register_keras_serializable("calogen")
class Residuals(keras.layers.Layer):
    """Draws the last features of a shower from a normal distribution, given what was decoded for them.

    Its weights do not train: `fit_residuals` sets them afterwards; until then the features stay as they are.

    Args:
        num_features: number `r` of features that are drawn, the last ones.

    Input shape:
        features `[b, f]`, standard normal noise `[b, r]` and the condition `[b, c]`.

    Output shape:
        `[b, f]`.
    """

    def __init__(self, num_features: int, **options: object) -> None:
        super().__init__(**options)
        self.num_features = size = num_features
        self.limits = self.add_weight(shape=(2,), initializer="zeros", trainable=False, name="limits")
        # an offset, slopes of the decoded features and of the noise: what is added to the features
        shape = KNOTS, size, 1 + 2 * size
        self.slopes = self.add_weight(shape=shape, initializer="zeros", trainable=False, name="slopes")

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        """Gives the features of which the last are drawn."""
        features, noise, condition = inputs
        kept = features.shape[1] - self.num_features
        low, high = tf.unstack(tf.cast(self.limits, features.dtype))
        place = tf.math.divide_no_nan(condition[:, 0] - low, high - low) * (KNOTS - 1)
        place = tf.clip_by_value(place, 0.0, KNOTS - 1.0)
        near = tf.nn.relu(1.0 - tf.abs(place[:, None] - tf.range(KNOTS, dtype=features.dtype)))
        given = tf.concat([tf.ones_like(noise[:, :1]), features[:, kept:], noise], axis=1)
        added = tf.einsum("bk,kij,bj->bi", near, tf.cast(self.slopes, features.dtype), given)
        return features + tf.pad(added, [[0, 0], [kept, 0]])

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """Gives the shape of the features."""
        return tuple(input_shape[0])

    def get_config(self) -> dict[str, object]:
        """Gives the layer's arguments."""
        return {**super().get_config(), "num_features": self.num_features}


def fit_residuals(encoder: keras.Model, decoder: keras.Model, features: FeatureTable, seed: int) -> None:
    """Sets the weights of a decoder's `Residuals` by features of showers and their reconstructions.

    Args:
        encoder: network {"shower": [b, f], "condition": [b, c]} -> {"mean": [b, k], "log_variance": [b, k]}.
        decoder: network {"latent": [b, k + r], "condition": [b, c]} -> [b, f], with one `Residuals` layer of `r`
            features, whose weights are 0 and whose noise is the end of `latent`.
        features: features of the training showers.
        seed: seed of the codes, which are drawn from the showers' posterior distributions.
    """
    (layer,) = (item for item in decoder.layers if isinstance(item, Residuals))
    random, size = np.random.default_rng(named_seed(seed, "residuals")), layer.num_features
    true: list[np.ndarray] = []
    decoded: list[np.ndarray] = []
    conditions: list[np.ndarray] = []
    for block in blocks_of(features, num_rows=4096):
        moments = encoder(block)
        mean, spread = moments["mean"].numpy(), np.exp(0.5 * moments["log_variance"].numpy())
        codes = mean + spread * random.standard_normal(mean.shape, np.float32)
        latent = np.concatenate([codes, np.zeros((len(codes), size), np.float32)], axis=1)
        result = decoder({"latent": tf.constant(latent), "condition": block["condition"]})
        for values, kept in ((block["shower"], true), (result, decoded)):
            kept.append(values.numpy()[:, -size:].astype(np.float64))
        conditions.append(block["condition"].numpy()[:, 0].astype(np.float64))
    centres, slopes = _slopes(*(np.concatenate(parts) for parts in (true, decoded, conditions)))
    knots = np.linspace(centres[0], centres[-1], KNOTS)
    between = [np.interp(knots, centres, entry) for entry in slopes.reshape(len(slopes), -1).T]
    layer.limits.assign(centres[[0, -1]])
    layer.slopes.assign(np.stack(between, axis=1).reshape(KNOTS, *slopes.shape[1:]))


def _slopes(true: np.ndarray, decoded: np.ndarray, conditions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights `[m, r, 1 + 2 r]` of `Residuals` at rising values `[m]` of the condition."""
    different = np.unique(conditions)
    if len(different) > _MANY:
        edges = np.quantile(conditions, np.linspace(0, 1, _BINS + 1))[1:-1]
        group = np.searchsorted(edges, conditions, side="right")
    else:
        group = np.searchsorted(different, conditions)
    rows = [np.flatnonzero(group == number) for number in np.unique(group)]
    centres = np.array([conditions[item].mean() for item in rows])
    return centres, np.stack([_linear(true[item], decoded[item]) for item in rows])


def _linear(true: np.ndarray, decoded: np.ndarray) -> np.ndarray:
    """Offset, slopes of the decoded features and root of the covariance of what is left, `[r, 1 + 2 r]`."""
    means = true.mean(axis=0), decoded.mean(axis=0)
    wanted, known = true - true.mean(axis=0) - (decoded - means[1]), decoded - means[1]
    covariance = known.T @ known
    ridge = np.diag(_SHRINKAGE * np.diag(covariance) + np.finfo(np.float64).tiny)
    slopes = np.linalg.solve(covariance + ridge, known.T @ wanted).T
    left = wanted - known @ slopes.T
    offset = means[0] - means[1] - slopes @ means[1]
    return np.concatenate([offset[:, None], slopes, _root(left.T @ left / len(left))], axis=1)


def _root(covariance: np.ndarray) -> np.ndarray:
    """The symmetric root of a covariance, of which small changes of the covariance change little."""
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
