"""Training of a VAE, with the same steps in Keras' `fit` and in compiled epochs."""

import numpy as np

from calogen.backend import keras, tf
from calogen.features.batches import Batch
from calogen.training.losses import kl_divergence, weighted_mse
from calogen.training.trainer import BatchOf, KerasTrainer

_VALIDATION = 1_000_003  # added to the seed: validation uses the same noise every time


class Vae(KerasTrainer):
    """Encoder and decoder that are trained together, by Keras' `fit` or by `training.train`.

    The loss is (1/f) sum w_i (x_i - x~_i)^2 + kl_weight * KL, averaged over the batch. The noise is a function of
    (seed, optimizer's step), so that both ways of training take the same steps.

    Args:
        encoder: network {"shower": [b, f], "condition": [b, c]} -> {"mean": [b, z], "log_variance": [b, z]}.
        decoder: network {"latent": [b, z], "condition": [b, c]} -> [b, f]; if it takes more numbers than the code has,
            the rest is noise of p(x|z), which is 0 in the training.
        feature_weights: weights w_i of the features, `[f]`.
        kl_weight: factor of the divergence.
    """

    term_names: tuple[str, ...] = ("loss", "reconstruction", "kl")
    batches_per_step = 1
    jit = True

    def __init__(
        self,
        encoder: keras.Model,
        decoder: keras.Model,
        feature_weights: np.ndarray,
        kl_weight: float,
        seed: int,
        optimizer: keras.optimizers.Optimizer,
    ) -> None:
        super().__init__("vae", (encoder, decoder), (optimizer,), seed)
        self.encoder, self.decoder = encoder, decoder
        self._feature_weights = tf.constant(feature_weights, tf.float32)
        self._kl_weight = kl_weight
        self._noise_dim = decoder.input["latent"].shape[-1] - encoder.output["mean"].shape[-1]
        self.compile(optimizer=optimizer)
        self.optimizer.build([*encoder.trainable_variables, *decoder.trainable_variables])
        self.built = True

    def call(self, batch: Batch, training: bool = False) -> tf.Tensor:
        """Gives the reconstruction `[b, f]` from the mean of the latent distribution."""
        return self._decode(self.encoder(batch)["mean"], batch)

    def reconstruct(self, batch: Batch, noise_seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Gives the latent space's mean and log variance, `[b, z]`, and decoded showers `[b, f]`."""
        code = self.encoder(batch)
        mean, log_variance = code["mean"], code["log_variance"]
        noise = tf.random.stateless_normal(tf.shape(mean), noise_seed)
        return mean, log_variance, self._decode(mean + tf.exp(0.5 * log_variance) * noise, batch)

    def _decode(self, code: tf.Tensor, batch: Batch) -> tf.Tensor:
        latent = tf.pad(code, [[0, 0], [0, self._noise_dim]]) if self._noise_dim else code
        return self.decoder({"latent": latent, "condition": batch["condition"]})

    def terms(self, batch: Batch, noise_seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """Gives loss, reconstruction and divergence of a batch, with the noise of a seed `[2]`."""
        mean, log_variance, decoded = self.reconstruct(batch, noise_seed)
        reconstruction = tf.reduce_mean(weighted_mse(batch["shower"], decoded, self._feature_weights))
        kl = tf.reduce_mean(kl_divergence(mean, log_variance))
        return {"loss": reconstruction + self._kl_weight * kl, "reconstruction": reconstruction, "kl": kl}

    def step(self, batch: BatchOf) -> dict[str, tf.Tensor]:
        """Takes one step of the optimizer and gives the terms before it."""
        return self._step(batch(tf.constant(0)))

    def validate(self, batch: Batch, number: tf.Tensor) -> dict[str, tf.Tensor]:
        """Gives the terms of a block of validation showers, with the same noise every time."""
        return self.terms(batch, tf.stack([self._seed + _VALIDATION, number]))

    def _step(self, batch: Batch) -> dict[str, tf.Tensor]:
        with tf.GradientTape() as tape:
            terms = self.terms(batch, self.step_seed())
            loss = terms["loss"] / self.num_replicas
        variables = [*self.encoder.trainable_variables, *self.decoder.trainable_variables]
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        return terms

    def train_step(self, batch: Batch) -> dict[str, tf.Tensor]:
        """Takes one step for Keras' `fit` and gives the running means of the terms."""
        return self.average(self._step(batch))

    def test_step(self, batch: Batch) -> dict[str, tf.Tensor]:
        """Gives the running means of the terms for Keras' `evaluate`."""
        return self.average(self.validate(batch, tf.constant(0)))
