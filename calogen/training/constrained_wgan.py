"""A Wasserstein GAN with a network that holds the generator to the incident energy."""

from collections.abc import Sequence
from dataclasses import dataclass

from calogen.backend import keras, tf
from calogen.features.batches import Batch
from calogen.training.discrepancies import Discrepancy
from calogen.training.wgan_gp import Critic, Generator, WganGp


@dataclass(frozen=True, kw_only=True)
class Constrainer:
    """A network that tells the incident energy, its optimizer and its weight in the loss.

    Args:
        network: network {"shower": [b, f]} -> [b, 1], in the unit of the first column of the condition.
        loss_weight: factor of its term in the generator's loss.
        iterations: number of iterations in which it learns; it stays as it is afterwards.
    """

    network: keras.Model
    optimizer: keras.optimizers.Optimizer
    loss_weight: float
    iterations: int


class ConstrainedWganGp(WganGp):
    """A generator, its critics and a constrainer, which learns from Geant4's showers alone.

    The constrainer takes a step beside each step of the critics, with the mean absolute error. The generator's loss has
    the mean of |(a(x~) - E)^2 - (a(x) - E)^2| besides the scores, for a constrainer `a` and Geant4's and generated
    showers `x`, `x~` of the same energy `E`, and maybe a discrepancy between the energies of their cells.

    Args:
        generator, critics, critic_steps, seed: as for `WganGp`.
        constrainer: the constrainer.
        discrepancy: the discrepancy, with its weight in the generator's loss; 0: there is none.

    Source: arXiv:2005.05334, equations (3) to (5); the discrepancy is that of its section 4.2.
    """

    term_names = ("critic_loss", "gradient_penalty", "constrainer_loss", "generator_loss")

    def __init__(
        self,
        generator: Generator,
        critics: Sequence[Critic],
        constrainer: Constrainer,
        discrepancy: Discrepancy,
        *,
        critic_steps: int,
        seed: int,
    ) -> None:
        super().__init__(generator, critics, critic_steps=critic_steps, seed=seed)
        self.networks.append(constrainer.network)
        self.optimizers.append(constrainer.optimizer)
        self._constrainer, self._discrepancy = constrainer, discrepancy
        constrainer.optimizer.build(constrainer.network.trainable_variables)

    def critic_step(self, real: Batch, seed: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Takes one step of every critic and of the constrainer; gives losses and penalties."""
        return *super().critic_step(real, seed), self.constrainer_step(real)

    def generate_like(self, real: Batch, seed: tf.Tensor) -> tf.Tensor:
        """Gives showers `[b, f]` with the conditions of Geant4's, as `PostProcessing` gets them."""
        return self.generate(real["condition"], seed)

    def constrainer_step(self, real: Batch) -> tf.Tensor:
        """Takes one step of the constrainer, if it still learns, and gives its loss.

        Later its gradients are 0, since a step of an optimizer may not depend on a condition on several devices.
        """
        learns = tf.cast(self.optimizer.iterations < self._constrainer.iterations, tf.float32)
        variables = self._constrainer.network.trainable_variables
        with tf.GradientTape() as tape:
            told = self._constrainer.network({"shower": real["shower"]})
            error = tf.reduce_mean(tf.abs(tf.cast(told, tf.float32) - real["condition"][:, :1]))
            total = learns * error / self.num_replicas
        self._constrainer.optimizer.apply(tape.gradient(total, variables), variables)
        return error

    def further_loss(self, fake: tf.Tensor, real: Batch) -> tf.Tensor | float:
        """Gives the constrainer's term and the discrepancy of the generator's showers."""
        energy = real["condition"][:, :1]
        told = [self._constrainer.network({"shower": showers}) for showers in (fake, real["shower"])]
        squares = [tf.square(tf.cast(value, tf.float32) - energy) for value in told]
        loss = super().further_loss(fake, real)
        loss += self._constrainer.loss_weight * tf.reduce_mean(tf.abs(squares[0] - squares[1]))
        if self._discrepancy.weight:
            loss += self._discrepancy.weight * self._discrepancy.kernel(fake, real["shower"])
        return loss
