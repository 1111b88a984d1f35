"""Plain Keras: a train_step for `train_on_batch`, the step of `fit`, and `predict`.

Every pass of a network is a call of its own, and the showers that a critic judges are generated or decoded anew for
each of its steps, as in a first version of the public code's loop. For the BIB-AE these are more passes than in our
step, which decodes once; the steps of the other networks compute what ours do.
"""

from typing import Any

import numpy as np
from cases import Case
from serve import Calls, serve

from calogen.backend import keras, tf
from calogen.training.critic import taped_gradient
from calogen.training.discrepancies import SortedKernel, latent_discrepancy
from calogen.training.losses import gradient_penalty, interpolate, kl_divergence
from calogen.training.run import chain_of
from calogen.training.volume_layers import (
    FirstConvolution,
    SingleChannelConvolution,
    VolumeBatchNormalization,
    VolumeNormalization,
)

OWN = {
    FirstConvolution: keras.layers.Conv3D,
    SingleChannelConvolution: keras.layers.Conv3D,
    VolumeBatchNormalization: keras.layers.BatchNormalization,
    VolumeNormalization: keras.layers.LayerNormalization,
}
"""Keras' own layers by those of ours that compute the same."""
Batch = dict[str, tf.Tensor]


def with_own_layers(network: keras.Model) -> keras.Model:
    """Gives a network anew, of Keras' own layers."""

    def anew(layer: keras.layers.Layer) -> keras.layers.Layer:
        return OWN.get(type(layer), type(layer)).from_config(layer.get_config())

    return keras.models.clone_model(network, clone_function=anew)


class Plain(keras.Model):
    """Networks with an optimizer each, SGD for a constrainer, and what their steps share."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.config = case.config
        self.parts = {name: with_own_layers(network) for name, network in case.networks().items()}
        self.optimizers = {name: keras.optimizers.Adam(1e-4, 0.5, 0.9) for name in self.parts}
        if "constrainer" in self.parts:
            self.optimizers["constrainer"] = keras.optimizers.SGD(self.config.constrainer_rate)
        for name, network in self.parts.items():
            self.optimizers[name].build(network.trainable_variables)
        self.dim = case.latent(1).shape[1]
        self.compile(jit_compile=False)

    def call(self, batch: Batch) -> tf.Tensor:
        """Gives the first network's output; Keras asks for it."""
        return batch["shower"]

    def train_step(self, data: tuple[Batch, None, None]) -> dict[str, tf.Tensor]:
        """Takes the step of a batch, which Keras wraps."""
        return self.learn(data[0])

    def update(self, name: str, tape: tf.GradientTape, loss: tf.Tensor) -> None:
        """Takes a step of a network's optimizer."""
        variables = self.parts[name].trainable_variables
        self.optimizers[name].apply(tape.gradient(loss, variables), variables)

    def generate(self, condition: tf.Tensor) -> tf.Tensor:
        """Gives showers of the generator."""
        latent = tf.random.normal((tf.shape(condition)[0], self.dim))
        return self.parts["generator"]({"latent": latent, "condition": condition}, training=True)

    def teach(self, name: str, pair: tuple[tf.Tensor, tf.Tensor], given: Batch) -> None:
        """Takes a step of a critic with real and other showers."""
        critic = self.parts[name]
        with tf.GradientTape() as tape:
            real, fake = (tf.reduce_mean(critic({"shower": item, **given}, training=True)) for item in pair)
            between = interpolate(*pair, tf.random.uniform((tf.shape(pair[0])[0], 1)))
            penalty = gradient_penalty(taped_gradient(critic, between, **given))
            loss = fake - real + self.config.gradient_penalty_weight * penalty
        self.update(name, tape, loss)


class PlainGan(Plain):
    """A GAN."""

    def learn(self, batch: Batch) -> dict[str, tf.Tensor]:
        """One step of each network."""
        entropy, tell = keras.losses.BinaryCrossentropy(), self.parts["discriminator"]
        condition = batch["condition"]
        real, fake = tf.ones_like(condition), tf.zeros_like(condition)
        generated = self.generate(condition)
        with tf.GradientTape() as tape:
            loss = entropy(real, tell(batch, training=True))
            loss += entropy(fake, tell({"shower": generated, "condition": condition}, training=True))
        self.update("discriminator", tape, loss)
        with tf.GradientTape() as tape:
            told = tell({"shower": self.generate(condition), "condition": condition}, training=True)
            loss = entropy(real, told)
        self.update("generator", tape, loss)
        return {"loss": loss}


class PlainWgan(Plain):
    """A WGAN with a constrainer."""

    def learn(self, batch: Batch) -> dict[str, tf.Tensor]:
        """Steps of critic and constrainer, which share a batch here, and one of the generator."""
        condition, constrain = batch["condition"], self.parts["constrainer"]
        for _ in range(self.config.critic_steps):
            self.teach("critic", (batch["shower"], self.generate(condition)), {"condition": condition})
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.abs(constrain({"shower": batch["shower"]}) - condition))
            self.update("constrainer", tape, loss)
        with tf.GradientTape() as tape:
            fake = self.generate(condition)
            loss = -tf.reduce_mean(self.parts["critic"]({"shower": fake, "condition": condition}))
            told = [tf.square(constrain({"shower": item}) - condition) for item in (fake, batch["shower"])]
            loss += self.config.constrainer_weight * tf.reduce_mean(tf.abs(told[0] - told[1]))
        self.update("generator", tape, loss)
        return {"loss": loss}


class PlainAutoencoder(Plain):
    """A BIB-AE that decodes anew for each step of its critics."""

    def decode(self, batch: Batch) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Gives decoded showers, codes and their divergence."""
        moments = self.parts["encoder"]({name: batch[name] for name in ("shower", "condition")}, training=True)
        noise, size = tf.random.normal((tf.shape(batch["shower"])[0], self.dim)), self.config.code_dim
        code = moments["mean"] + tf.exp(0.5 * moments["log_variance"]) * noise[:, :size]
        latent = tf.concat([code, noise[:, size:]], axis=-1)
        shower = self.parts["decoder"]({"latent": latent, "condition": batch["condition"]}, training=True)
        return shower, code, tf.reduce_mean(kl_divergence(moments["mean"], moments["log_variance"]))

    def learn(self, batch: Batch) -> dict[str, tf.Tensor]:
        """Steps of both critics and one of the autoencoder."""
        given = {"original": batch["shower"], "condition": batch["condition"]}
        for _ in range(self.config.critic_steps):
            shower, code, _ = self.decode(batch)
            self.teach("critic", (batch["shower"], shower), given)
            numbers = tf.reshape(code, (-1, 1))
            self.teach("latent_critic", (tf.random.normal(tf.shape(numbers)), numbers), {})
        with tf.GradientTape() as tape:
            shower, code, divergence = self.decode(batch)
            loss = self.config.kl_weight * divergence
            distance = latent_discrepancy(code, tf.random.normal(tf.shape(code)), self.config.alphas)
            loss += self.config.discrepancy_weight * distance
            loss -= tf.reduce_mean(self.parts["critic"]({"shower": shower, **given}))
            loss -= 100.0 * tf.reduce_mean(self.parts["latent_critic"]({"shower": tf.reshape(code, (-1, 1))}))
        variables = [*self.parts["encoder"].trainable_variables, *self.parts["decoder"].trainable_variables]
        gradients, number = tape.gradient(loss, variables), len(self.parts["encoder"].trainable_variables)
        self.optimizers["encoder"].apply(gradients[:number], variables[:number])
        self.optimizers["decoder"].apply(gradients[number:], variables[number:])
        return {"loss": loss}


class PlainPostProcessor(PlainAutoencoder):
    """A post processor behind a BIB-AE that does not learn."""

    def learn(self, batch: Batch) -> dict[str, tf.Tensor]:
        """One step with the discrepancy of the sorted cells."""
        shower, condition = tf.stop_gradient(self.decode(batch)[0]), batch["condition"]
        kernel = SortedKernel.of(self.config.kernel)
        with tf.GradientTape() as tape:
            changed = self.parts["post_processor"]({"shower": shower, "condition": condition}, training=True)
            loss = tf.reduce_mean(tf.square(changed - shower))
            loss += self.config.post_weight * kernel(changed, batch["shower"])
        self.update("post_processor", tape, loss)
        return {"loss": loss}


PLAIN: dict[str, type[Plain]] = {
    "gan": PlainGan,
    "wgan": PlainWgan,
    "bib-ae": PlainAutoencoder,
    "post-processor": PlainPostProcessor,
}


def make(case: Case) -> Calls:
    """The step, and one shower."""
    tf.config.threading.set_intra_op_parallelism_threads(case.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    plain, (showers, energies) = PLAIN[case.name](case), case.showers(case.batch_size)
    batch: dict[str, Any] = {"shower": tf.constant(showers), "condition": tf.constant(energies)}
    calls: dict[str, Any] = {"step": lambda: plain.train_on_batch(batch)}
    if case.name == "post-processor":
        return calls
    generator = chain_of([plain.parts[name] for name in case.model.GENERATES if name in plain.parts])
    one = {"latent": case.latent(1), "condition": np.asarray(energies[:1])}
    return calls | {"shower": lambda: generator.predict(one, verbose=0)}


if __name__ == "__main__":
    serve(make)
