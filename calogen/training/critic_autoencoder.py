"""Training of an autoencoder by critics: of showers beside the originals, and of codes.

The terms of a step are functions of (seed, optimizer's step), so that weights and optimizers are the whole state.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from calogen.backend import keras, tf
from calogen.features.batches import Batch
from calogen.training.critic import PenaltyGradient
from calogen.training.discrepancies import latent_discrepancy
from calogen.training.layers import Initializers
from calogen.training.losses import kl_divergence
from calogen.training.trainer import BatchOf, KerasTrainer, fold_seed
from calogen.training.volumes import dense_layers
from calogen.training.wgan_gp import Critic, critic_step, mean_of_steps


@dataclass(frozen=True)
class Autoencoder:
    """Encoder and decoder, and their common optimizer.

    Args:
        encoder: network {"shower": [b, f], "condition": [b, c]} -> {"mean": [b, k], "log_variance": [b, k]}.
        decoder: network {"latent": [b, z], "condition": [b, c]} -> [b, f]; its latent point is the code, and noise.
    """

    encoder: keras.Model
    decoder: keras.Model
    optimizer: keras.optimizers.Optimizer


@dataclass(frozen=True)
class CodeTerms:
    """What an autoencoder's loss has of the code, besides the score of its critic.

    Args:
        kl_weight: factor of the divergence.
        discrepancy_weight: factor of the discrepancy between codes and the standard normal distribution.
        alphas: the kernels of the discrepancy.
        with_noise: whether the discrepancy compares codes and noise together.
    """

    kl_weight: float
    discrepancy_weight: float
    alphas: Sequence[float]
    with_noise: bool = False


def build_latent_critic(units: Sequence[int], slope: float, initializers: Initializers) -> keras.Model:
    """Gives a critic of single numbers of the code.

    Args:
        units: widths of the hidden layers.
        slope: slope of their leaky ReLU below zero.

    Input shape:
        `shower` `[m, 1]`, a number of the code instead of a shower.

    Output shape:
        `[m, 1]`.
    """
    number = keras.Input((1,), name="shower")
    score = keras.layers.Dense(1, kernel_initializer=initializers())
    hidden = dense_layers(number, units, slope, initializers)
    return keras.Model({"shower": number}, score(hidden), name="latent_critic")


class CriticAutoencoder(KerasTrainer):
    """An autoencoder that learns from two critics instead of a distance between showers.

    One critic sees a shower beside the original, {"shower", "original", "condition"}: Geant4's twice, or the decoded
    one. The other one sees a number of the code, {"shower": [m, 1]}, or of the standard normal distribution. In a step
    both learn several times from the same decoded showers, which are computed once, and then the autoencoder learns.

    Args:
        autoencoder: the two networks, with their optimizer.
        code: the terms of the code.
        critics: the critic of showers and the critic of codes, with their weights in the autoencoder's loss.
        critic_steps: number of steps of the critics in each step.

    Source: arXiv:2005.05334, equations (6) to (9), with both critics of showers in one network as in its appendix A.3.
    """

    term_names = ("loss", "kl", "discrepancy", "critic_loss", "latent_critic_loss", "gradient_penalty")
    batches_per_step = 1
    jit = False

    def __init__(
        self, autoencoder: Autoencoder, code: CodeTerms, critics: Sequence[Critic], *, critic_steps: int, seed: int
    ) -> None:
        networks = (autoencoder.encoder, autoencoder.decoder, *(critic.network for critic in critics))
        optimizers = (autoencoder.optimizer, *(critic.optimizer for critic in critics))
        super().__init__("critic_autoencoder", networks, optimizers, seed)
        self._autoencoder, self._code, self._critic_steps = autoencoder, code, critic_steps
        self._critic, self._latent_critic = critics
        self._gradients = [PenaltyGradient(critic.network, by_hand=False) for critic in critics]
        (latent,) = [tensor for tensor in autoencoder.decoder.inputs if tensor.name == "latent"]
        self._latent_dim = latent.shape[-1]
        self.compile(optimizer=autoencoder.optimizer, jit_compile=False)
        self.optimizer.build(self._variables)
        for critic in critics:
            critic.optimizer.build(critic.network.trainable_variables)
        self.built = True

    def call(self, batch: Batch, training: bool = False) -> tf.Tensor:
        """Gives decoded showers `[b, f]`, with the noise of the next step."""
        return self.reconstruct(batch, self.step_seed())

    def train_step(self, batch: Batch) -> dict[str, tf.Tensor]:
        """Takes one step for Keras' `fit` and gives the running means of the terms."""
        return self.average(self._step(batch))

    def step(self, batch: BatchOf) -> dict[str, tf.Tensor]:
        """Takes one step of the autoencoder, after those of the critics, and gives the terms."""
        return self._step(batch(tf.constant(0)))

    def reconstruct(self, batch: Batch, seed: tf.Tensor) -> tf.Tensor:
        """Gives decoded showers `[b, f]`, with the noise of a seed `[2]`."""
        return self._decoded(batch, seed)["shower"]

    def _step(self, batch: Batch) -> dict[str, tf.Tensor]:
        seed = self.step_seed()
        with tf.GradientTape() as tape:
            decoded = self._decoded(batch, fold_seed(seed, 0))
            with tape.stop_recording():
                kept = {name: tf.stop_gradient(values) for name, values in decoded.items()}
                told = self._teach_critics(batch, kept, seed)
            terms = self._terms(batch, decoded, fold_seed(seed, 1))
            total = terms["loss"] / self.num_replicas
        self.optimizer.apply(tape.gradient(total, self._variables), self._variables)
        return {**terms, **dict(zip(("critic_loss", "latent_critic_loss", "gradient_penalty"), told, strict=True))}

    @property
    def _variables(self) -> list[keras.Variable]:
        """Variables that the autoencoder's optimizer trains."""
        parts = self._autoencoder
        return [*parts.encoder.trainable_variables, *parts.decoder.trainable_variables]

    def _decoded(self, batch: Batch, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """Moments of the code, code `[b, k]`, latent point `[b, z]` and decoded shower `[b, f]`."""
        moments = self._autoencoder.encoder({name: batch[name] for name in ("shower", "condition")})
        mean, log_variance = moments["mean"], moments["log_variance"]
        noise = tf.random.stateless_normal((tf.shape(mean)[0], self._latent_dim), seed)
        inside, outside = tf.split(noise, [mean.shape[-1], self._latent_dim - mean.shape[-1]], axis=-1)
        code = mean + tf.exp(0.5 * log_variance) * inside
        latent = tf.concat([code, outside], axis=-1)
        shower = self._autoencoder.decoder({"latent": latent, "condition": batch["condition"]})
        return {"mean": mean, "log_variance": log_variance, "code": code, "latent": latent, "shower": shower}

    def _terms(self, batch: Batch, decoded: Mapping[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """Loss of the autoencoder, and its terms of the code."""
        code = self._code
        points = decoded["latent" if code.with_noise else "code"]
        prior = tf.random.stateless_normal(tf.shape(points), seed)
        kl = tf.reduce_mean(kl_divergence(decoded["mean"], decoded["log_variance"]))
        discrepancy = latent_discrepancy(points, prior, code.alphas)
        scores = self._critic.network({"shower": decoded["shower"], **_beside(batch)})
        code_scores = self._latent_critic.network({"shower": tf.reshape(decoded["code"], (-1, 1))})
        loss = code.kl_weight * kl + code.discrepancy_weight * discrepancy
        for critic, values in ((self._critic, scores), (self._latent_critic, code_scores)):
            loss -= critic.loss_weight * tf.reduce_mean(tf.cast(values, tf.float32))
        return {"loss": loss, "kl": kl, "discrepancy": discrepancy}

    def _teach_critics(self, batch: Batch, decoded: Mapping[str, tf.Tensor], seed: tf.Tensor) -> Sequence[tf.Tensor]:
        """Takes all steps of the critics; gives their mean losses and penalty."""
        numbers = tf.reshape(decoded["code"], (-1, 1))

        def take(step: tf.Tensor) -> tuple[tf.Tensor, ...]:
            own = fold_seed(seed, 2 + step)
            pairs = (batch["shower"], decoded["shower"]), (_normal(numbers, fold_seed(own, 0)), numbers)
            results = [
                critic_step(critic, gradient, pair, given, _fractions(pair[0], fold_seed(own, place)))
                for place, critic, gradient, pair, given in (
                    (1, self._critic, self._gradients[0], pairs[0], _beside(batch)),
                    (2, self._latent_critic, self._gradients[1], pairs[1], {}),
                )
            ]
            (loss, penalty), (latent_loss, latent_penalty) = results
            return loss, latent_loss, penalty + latent_penalty

        return mean_of_steps(take, self._critic_steps, 3)


def _beside(batch: Batch) -> dict[str, tf.Tensor]:
    """What the critic sees beside a shower."""
    return {"original": batch["shower"], "condition": batch["condition"]}


def _normal(like: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    return tf.random.stateless_normal(tf.shape(like), seed)


def _fractions(like: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    return tf.random.stateless_uniform((tf.shape(like)[0], 1), seed)
