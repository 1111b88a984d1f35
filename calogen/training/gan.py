"""Training of a generator against a discriminator, which tells Geant4's showers.

Noise is a function of (seed, iteration), so that weights and optimizers are the whole state of a training.
"""

from collections.abc import Mapping

from calogen.backend import keras, tf
from calogen.config import require
from calogen.features.batches import Batch
from calogen.training.latent import Latent
from calogen.training.trainer import BatchOf, KerasTrainer, fold_seed
from calogen.training.wgan_gp import Generator, draw


class Gan(KerasTrainer):
    """A generator and a discriminator, which are trained in turn with binary cross entropy.

    The discriminator sees Geant4's and generated showers in batches of their own, each with its own statistics where it
    has batch normalisation. The generator's loss is minus the logarithm of the discriminator's probability.

    Args:
        generator: the network with its optimizer and its latent space.
        discriminator: network {"shower": [b, f], "condition": [b, c]} -> [b, 1], which ends in a sigmoid layer.
        optimizer: the discriminator's optimizer.
        new_fakes: whether the generator's step has showers of its own; otherwise those of the discriminator's step.

    Source: arXiv:1406.2661, Algorithm 1 and section 3.
    """

    term_names = ("discriminator_loss", "generator_loss")
    batches_per_step = 1
    jit = False

    def __init__(
        self,
        generator: Generator,
        discriminator: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        *,
        seed: int,
        new_fakes: bool = True,
    ) -> None:
        super().__init__("gan", (generator.network, discriminator), (generator.optimizer, optimizer), seed)
        last = discriminator.layers[-1]
        sigmoid = isinstance(last, keras.layers.Activation) and last.activation is keras.activations.sigmoid
        require(sigmoid, f"a discriminator must end in Activation('sigmoid'). Received: {type(last).__name__}")
        self.generator, self.discriminator = generator.network, discriminator
        self._logits = keras.Model(discriminator.input, last.input)
        self._latent: Latent = generator.latent
        self._of_discriminator, self._new_fakes = optimizer, new_fakes
        self.compile(optimizer=generator.optimizer, jit_compile=False)
        self.optimizer.build(self.generator.trainable_variables)
        optimizer.build(discriminator.trainable_variables)
        self.built = True

    def call(self, inputs: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Gives showers `[b, f]` for latent points and conditions."""
        return self.generator(inputs, training=training)

    def train_step(self, batch: Batch) -> dict[str, tf.Tensor]:
        """Takes one iteration for Keras' `fit` and gives the running means of the losses."""
        return self.average(self._step(batch))

    def step(self, batch: BatchOf) -> dict[str, tf.Tensor]:
        """Takes one step of the discriminator and one of the generator; gives the losses."""
        return self._step(batch(tf.constant(0)))

    def _step(self, batch: Batch) -> dict[str, tf.Tensor]:
        seed = self.step_seed()
        return {
            "discriminator_loss": self.discriminator_step(batch, fold_seed(seed, 0)),
            "generator_loss": self.generator_step(batch["condition"], fold_seed(seed, int(self._new_fakes))),
        }

    def discriminator_step(self, real: Batch, seed: tf.Tensor) -> tf.Tensor:
        """Takes one step of the discriminator and gives its loss."""
        fake = {**real, "shower": tf.stop_gradient(self._generate(real["condition"], seed))}
        variables = self.discriminator.trainable_variables
        with tf.GradientTape() as tape:
            of_real, of_fake = (self._logits(showers, training=True) for showers in (real, fake))
            loss = tf.reduce_mean(tf.nn.softplus(-of_real)) + tf.reduce_mean(tf.nn.softplus(of_fake))
            total = loss / self.num_replicas
        self._of_discriminator.apply(tape.gradient(total, variables), variables)
        return loss

    def generator_step(self, condition: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Takes one step of the generator and gives its loss."""
        variables = self.generator.trainable_variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([variable.value for variable in variables])
            fake = self._generate(condition, seed)
            logits = self._logits({"shower": fake, "condition": condition}, training=True)
            loss = tf.reduce_mean(tf.nn.softplus(-logits))
            total = loss / self.num_replicas
        self.optimizer.apply(tape.gradient(total, variables), variables)
        return loss

    def _generate(self, condition: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        latent = draw(self._latent, tf.shape(condition)[0], seed)
        return self.generator({"latent": latent, "condition": condition}, training=True)
