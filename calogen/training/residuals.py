"""p(x|z) of a VAE, from which a run may draw its showers.

Here it is a normal distribution at each energy, fitted to training showers around their reconstructions. Its mean is
what is decoded plus the mean difference; for the last features, the energies, it is linear in the decoded ones. Its
covariance is that of the energies and of a few principal components of all other features, the cells. With codes that
are distributed as those of the training showers, means and covariances of the energies are then Geant4's.
"""

import numpy as np

from calogen.backend import keras, tf
from calogen.features.batches import FeatureTable, blocks_of
from calogen.provenance import named_seed
from calogen.training.encoded import posterior_codes

KNOTS = 32
"""Most places, in the first number of the condition, between which the distribution is interpolated.

Up to so many different values of the condition have a distribution each; of more of them, e.g. of a continuous
condition, half as many ranges with equally many showers.
"""
MOST_SHOWERS = 100_000
"""Most showers to which the distribution is fitted: memory does not grow with more of them."""
_SHRINKAGE = 1e-3  # share of the decoded features' variance that keeps a slope finite where they hardly vary


@keras.saving.register_keras_serializable("calogen")
class Residuals(keras.layers.Layer):
    """Draws a shower's features from a normal distribution, given what was decoded.

    Its weights do not train: `fit_residuals` sets them afterwards; until then the features stay as they are.

    Args:
        num_energies: number `r` of features whose mean is linear in the decoded ones, the last ones.

    Input shape:
        features `[b, f]`, standard normal noise `[b, q]`, q at least r, and the condition `[b, c]`.

    Output shape:
        `[b, f]`.
    """

    def __init__(self, num_energies: int, **options: object) -> None:
        super().__init__(**options)
        self.num_energies = num_energies

    def build(self, input_shape: list[tuple[int | None, ...]]) -> None:
        """Makes the weights: offsets, slopes and roots at each place, and directions."""
        (_, features), (_, noise), _ = input_shape
        shapes = {
            "places": (KNOTS,),
            "offsets": (KNOTS, features),
            "slopes": (KNOTS, self.num_energies, self.num_energies),
            "roots": (KNOTS, noise, noise),
            "directions": (features, noise),
        }
        for name, shape in shapes.items():
            setattr(self, name, self.add_weight(shape=shape, initializer="zeros", trainable=False, name=name))
        self.built = True

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        """Gives the features as they are drawn."""
        features, noise, condition = inputs
        names = ("places", "offsets", "slopes", "roots", "directions")
        places, offsets, slopes, roots, directions = (tf.cast(getattr(self, name), features.dtype) for name in names)
        # how far the condition is from each place to the next; behind the last one they are all equal
        reached = tf.math.divide_no_nan(condition[:, :1] - places[:-1], places[1:] - places[:-1])
        reached = tf.pad(tf.clip_by_value(reached, 0.0, 1.0), [[0, 0], [1, 1]], constant_values=1.0)
        near = reached[:, :-1] - tf.pad(reached[:, 1:-1], [[0, 0], [0, 1]])
        kept = features.shape[1] - self.num_energies
        linear = tf.einsum("bk,kij,bj->bi", near, slopes, features[:, kept:])
        drawn = tf.einsum("bk,kij,bj->bi", near, roots, noise)
        drawn = tf.matmul(drawn, directions, transpose_b=True) + tf.matmul(near, offsets)
        return features + drawn + tf.pad(linear, [[0, 0], [kept, 0]])

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """Gives the shape of the features."""
        return tuple(input_shape[0])

    def get_config(self) -> dict[str, object]:
        """Gives the layer's arguments."""
        return {**super().get_config(), "num_energies": self.num_energies}


def has_residuals(decoder: keras.Model) -> bool:
    """Whether a decoder's showers are drawn from p(x|z)."""
    return any(isinstance(layer, Residuals) for layer in decoder.layers)


def fit_residuals(encoder: keras.Model, decoder: keras.Model, features: FeatureTable, seed: int) -> None:
    """Sets the weights of a decoder's `Residuals` by showers and their reconstructions.

    Args:
        encoder: network {"shower": [b, f], "condition": [b, c]} -> {"mean": [b, k], "log_variance": [b, k]}.
        decoder: network {"latent": [b, k + q], "condition": [b, c]} -> [b, f], with one `Residuals` layer, whose
            weights are 0 and whose noise is the end of `latent`.
        features: features of the training showers, of which up to `MOST_SHOWERS` are used, evenly taken.
        seed: seed of the codes, which are drawn from the showers' posterior distributions.
    """
    (layer,) = (item for item in decoder.layers if isinstance(item, Residuals))
    random, noise = np.random.default_rng(named_seed(seed, "residuals")), layer.roots.shape[1]
    every = -(-len(features) // MOST_SHOWERS)
    true: list[np.ndarray] = []
    decoded: list[np.ndarray] = []
    conditions: list[np.ndarray] = []
    for block in blocks_of(features, num_rows=4096, every=every):
        codes = posterior_codes(encoder, block, random)
        latent = np.concatenate([codes, np.zeros((len(codes), noise), np.float32)], axis=1)
        result = decoder({"latent": tf.constant(latent), "condition": block["condition"]})
        for values, kept in ((block["shower"], true), (result, decoded), (block["condition"][:, 0], conditions)):
            kept.append(values.numpy().astype(np.float64))
    samples = np.concatenate(true), np.concatenate(decoded), np.concatenate(conditions)
    found = _fit(samples, layer.num_energies, noise)
    for name, values in found.items():
        getattr(layer, name).assign(values)


def _fit(samples: tuple[np.ndarray, np.ndarray, np.ndarray], num_energies: int, noise: int) -> dict[str, np.ndarray]:
    """Weights of `Residuals` for features and decoded ones, `[n, f]`, and a condition `[n]`."""
    true, decoded, conditions = samples
    rows = _groups(conditions)
    centres = np.array([conditions[item].mean() for item in rows])
    parts = [_linear(true[item], decoded[item], num_energies) for item in rows]
    directions = _directions([left for _, _, left in parts], num_energies, noise)
    roots = np.stack([_root(left @ directions) for _, _, left in parts])
    offsets, slopes = (np.stack([part[number] for part in parts]) for number in (0, 1))
    at_places = {"places": centres, "offsets": offsets, "slopes": slopes, "roots": roots}
    filled = {
        name: np.concatenate([values, np.repeat(values[-1:], KNOTS - len(rows), axis=0)])
        for name, values in at_places.items()
    }
    return {"directions": directions, **filled}


def _groups(conditions: np.ndarray) -> list[np.ndarray]:
    """Rows that have a distribution together, by rising condition."""
    different = np.unique(conditions)
    if len(different) > KNOTS:
        edges = np.quantile(conditions, np.linspace(0, 1, KNOTS // 2 + 1))[1:-1]
        group = np.searchsorted(edges, conditions, side="right")
    else:
        group = np.searchsorted(different, conditions)
    return [np.flatnonzero(group == number) for number in np.unique(group)]


def _linear(true: np.ndarray, decoded: np.ndarray, num_energies: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Offsets `[f]`, slopes of the last features `[r, r]`, and what is left, `[n, f]`."""
    kept, left = true.shape[1] - num_energies, true - decoded
    offsets = left.mean(axis=0)
    left, known = left - offsets, decoded[:, kept:] - decoded[:, kept:].mean(axis=0)
    covariance = known.T @ known
    ridge = np.diag(_SHRINKAGE * np.diag(covariance) + np.finfo(np.float64).tiny)
    slopes = np.linalg.solve(covariance + ridge, known.T @ left[:, kept:]).T
    left[:, kept:] -= known @ slopes.T
    offsets[kept:] -= slopes @ decoded[:, kept:].mean(axis=0)
    return offsets, slopes, left


def _directions(parts: list[np.ndarray], num_energies: int, noise: int) -> np.ndarray:
    """Directions `[f, q]`: the last features, and principal components of the others.

    Every condition counts alike, although the cells vary more at some than at others.
    """
    kept, number = parts[0].shape[1] - num_energies, noise - num_energies
    covariances = [cells.T @ cells for cells in (part[:, :kept] for part in parts)]
    pooled = sum(
        (item / max(np.trace(item), np.finfo(np.float64).tiny) for item in covariances), np.zeros((kept, kept))
    )
    vectors = np.linalg.eigh(pooled)[1][:, kept - number :]
    found = np.zeros((kept + num_energies, noise))
    found[kept:, :num_energies] = np.eye(num_energies)
    found[:kept, num_energies:] = vectors
    return found


def _root(values: np.ndarray) -> np.ndarray:
    """The symmetric root `[q, q]` of a covariance, which changes little when that does."""
    eigenvalues, vectors = np.linalg.eigh(values.T @ values / len(values))
    return (vectors * np.sqrt(np.maximum(eigenvalues, 0.0))) @ vectors.T
