"""Training of Wasserstein GANs with gradient penalty.

An iteration consists of `critic_steps` steps of every critic and one step of the generator. Rows, latent points and
interpolation are functions of (seed, iteration), so that weights and optimizers are the whole state of a training.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from calogen.backend import keras, tf
from calogen.config import require
from calogen.features.batches import Batch, FeatureTable
from calogen.training.critic import PenaltyGradient
from calogen.training.latent import Latent
from calogen.training.losses import critic_loss, gradient_penalty
from calogen.training.trainer import BatchOf, KerasTrainer, fold_seed

TERMS = ("critic_loss", "gradient_penalty", "generator_loss")
_View = Callable[[tf.Tensor], tf.Tensor]


@dataclass(frozen=True, kw_only=True)
class Critic:
    """A critic, its optimizer and its weights in the losses.

    Args:
        network: network {"shower": [b, f], "condition": [b, c]} -> [b, 1].
        gradient_penalty_weight: factor of its gradient penalty.
        loss_weight: factor of its score in the generator's loss.
        view: function of the shower that the critic gets, e.g. the total energy; by default the shower itself.
        one_sided: whether gradients with a norm below 1 have no penalty.
    """

    network: keras.Model
    optimizer: keras.optimizers.Optimizer
    gradient_penalty_weight: float
    loss_weight: float = 1.0
    view: _View = tf.identity
    one_sided: bool = False


@dataclass(frozen=True, kw_only=True)
class Generator:
    """A generator, its optimizer and its latent space.

    Args:
        network: network {"latent": [b, z], "condition": [b, c]} -> [b, f].
        latent: prior of the latent space.
        batch_statistics: whether batch normalisation uses the moments of the batch in training, not the moving ones.
        activity_weight: factor, in its loss, of the sum of all outputs of a batch: an L1 regulariser.
    """

    network: keras.Model
    optimizer: keras.optimizers.Optimizer
    latent: Latent
    batch_statistics: bool = True
    activity_weight: float = 0.0


def critic_step(
    critic: Critic,
    scores_and_gradient: PenaltyGradient,
    seen: tuple[tf.Tensor, tf.Tensor],
    given: Mapping[str, tf.Tensor],
    fraction: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Takes one step of a critic and gives its loss and its penalty.

    Args:
        scores_and_gradient: of this critic.
        seen: Geant4's and generated showers, as the critic gets them, `[b, f]`.
        given, fraction: further arguments of `scores_and_gradient`.
    """
    variables = critic.network.trainable_variables
    with tf.GradientTape() as tape:
        scores, gradient = scores_and_gradient(*seen, given, fraction)
        loss = critic_loss(*tf.split(scores, 2))
        penalty = gradient_penalty(gradient, critic.one_sided)
        total = (loss + critic.gradient_penalty_weight * penalty) / tf.distribute.get_strategy().num_replicas_in_sync
    critic.optimizer.apply(tape.gradient(total, variables), variables)
    return loss, penalty


def mean_of_steps(
    take: Callable[[tf.Tensor], tuple[tf.Tensor, ...]], num_steps: int, num_terms: int
) -> list[tf.Tensor]:
    """Takes several steps, one after another, and gives the means of their terms.

    Args:
        take: function that takes the step with a number and gives its `num_terms` terms.
    """

    def body(step: tf.Tensor, sums: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return step + 1, sums + tf.stack(take(step))

    sums = tf.zeros(num_terms)
    if tf.distribute.has_strategy():  # replicas cannot sum their gradients inside a loop of the graph
        for step in range(num_steps):
            _, sums = body(tf.constant(step), sums)
    else:
        _, sums = tf.while_loop(lambda step, _: step < num_steps, body, (0, sums))
    return tf.unstack(sums / num_steps)


class WganGp(KerasTrainer):
    """A generator and its critics, which are trained against one another.

    It is compiled, and can be trained by `training.train` or by Keras' `fit`, each of whose batches holds the
    `critic_steps` batches of the critics in an iteration.

    Args:
        generator, critics: the networks with their optimizers; one critic or more.
        critic_steps: number of steps of the critics for each step of the generator.
        seed: seed of rows, latent points and interpolation.
        by_hand: whether the input gradient of a critic that is a chain of dense layers is computed without
            back-propagation.
    """

    term_names: tuple[str, ...] = TERMS
    jit = False

    def __init__(
        self, generator: Generator, critics: Sequence[Critic], *, critic_steps: int, seed: int, by_hand: bool = True
    ) -> None:
        networks = [generator.network, *(critic.network for critic in critics)]
        optimizers = [generator.optimizer, *(critic.optimizer for critic in critics)]
        super().__init__("wgan_gp", networks, optimizers, seed)
        require(critic_steps >= 1, f"critic_steps must be at least 1. Received: {critic_steps}")
        require(len(critics) >= 1, "a WGAN needs at least one critic. Received: none")
        self.generator = generator.network
        self.critic_steps = self.batches_per_step = critic_steps
        self._critics = tuple(critics)
        self._latent, self._batch_statistics = generator.latent, generator.batch_statistics
        self._activity_weight = generator.activity_weight
        self._gradients = [PenaltyGradient(critic.network, by_hand=by_hand) for critic in critics]
        self.compile(optimizer=generator.optimizer, jit_compile=False)
        self.optimizer.build(self.generator.trainable_variables)
        for critic in critics:
            critic.optimizer.build(critic.network.trainable_variables)
        self.built = True

    def take_average(self) -> None:
        """Gives the generator the running average of its weights, if there is one (`use_ema`)."""
        if self.optimizer.use_ema:
            self.optimizer.finalize_variable_values(self.generator.trainable_variables)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """While it lasts, the generator has the running average of its weights, if there is one."""
        variables = self.generator.trainable_variables
        values = [variable.numpy() for variable in variables] if self.optimizer.use_ema else []
        self.take_average()
        try:
            yield
        finally:
            for variable, value in zip(variables, values, strict=bool(values)):
                variable.assign(value)

    def call(self, inputs: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Gives showers `[b, f]` for latent points and conditions."""
        return self.generator(inputs, training=training)

    def train_step(self, batch: Batch) -> dict[str, tf.Tensor]:
        """Takes one iteration for Keras' `fit` and gives the running means of the losses."""
        size = tf.shape(batch["shower"])[0] // self.critic_steps
        tf.debugging.assert_positive(size, f"fit needs batches of {self.critic_steps} showers (critic_steps) or more")
        terms = self.iterate(
            lambda step: {name: values[step * size : (step + 1) * size] for name, values in batch.items()},
            self.step_seed(),
        )
        return self.average(terms)

    def step(self, batch: BatchOf) -> dict[str, tf.Tensor]:
        """Takes one iteration and gives the means of the losses before each step."""
        return self.iterate(batch, self.step_seed())

    def iterate(self, batch: Callable[[tf.Tensor], Batch], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """Takes all steps of one iteration and gives the means of the losses before each step.

        Args:
            batch: function that gives the batch of Geant4 showers of each critic step; the generator uses the last
                one.
        """
        means = mean_of_steps(
            lambda step: self.critic_step(batch(step), fold_seed(seed, step)),
            self.critic_steps,
            len(self.term_names) - 1,
        )
        last = batch(tf.constant(self.critic_steps - 1))
        losses = (*means, self.generator_step(last, fold_seed(seed, self.critic_steps)))
        return dict(zip(self.term_names, losses, strict=True))

    def critic_step(self, real: Batch, seed: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Takes one step of every critic and gives the sums of their losses and penalties."""
        condition = real["condition"]
        fake = self.generate(condition, fold_seed(seed, 0))
        fraction = tf.random.stateless_uniform((tf.shape(condition)[0], 1), fold_seed(seed, 1))
        losses, penalties = [], []
        for critic, scores_and_gradient in zip(self._critics, self._gradients, strict=True):
            seen = critic.view(real["shower"]), critic.view(fake)
            loss, penalty = critic_step(critic, scores_and_gradient, seen, {"condition": condition}, fraction)
            losses.append(loss)
            penalties.append(penalty)
        return tf.add_n(losses), tf.add_n(penalties)

    def generator_step(self, real: Batch, seed: tf.Tensor) -> tf.Tensor:
        """Takes one step of the generator and gives its loss, minus the weighted mean scores.

        Args:
            real: Geant4's showers, whose conditions the generated ones have.
        """
        condition, variables = real["condition"], self.generator.trainable_variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([variable.value for variable in variables])
            fake = self.generate(condition, seed)
            scores = [
                critic.loss_weight * critic.network({"shower": critic.view(fake), "condition": condition})
                for critic in self._critics
            ]
            loss = -tf.add_n([tf.reduce_mean(tf.cast(score, tf.float32)) for score in scores])
            total = (loss + self.further_loss(fake, real)) / self.num_replicas
        self.optimizer.apply(tape.gradient(total, variables), variables)
        return loss

    def further_loss(self, fake: tf.Tensor, real: Batch) -> tf.Tensor | float:
        """Gives what the generator's loss has besides the scores; `fake`: its showers."""
        if not self._activity_weight:
            return 0.0
        return self._activity_weight * self.num_replicas * tf.reduce_sum(tf.abs(fake))  # a sum, not a mean, of showers

    def settle(self, training: FeatureTable, rounds: int = 600, batch_size: int = 256) -> None:
        """Gives batch normalisation the moving statistics of the generator as it is.

        Args:
            training: features, whose conditions the generated showers have.
            rounds: number of batches; a momentum of 0.99 forgets all but 0.2 % of the start.
        """
        normalised = any(isinstance(layer, keras.layers.BatchNormalization) for layer in self.generator.layers)
        if not (normalised and self._batch_statistics):
            return
        generate = tf.function(self.generate)
        for number in range(rounds):
            rows = tf.random.stateless_uniform((batch_size,), (self._seed, number), 0, len(training), tf.int32)
            generate(training.batch(rows)["condition"], tf.constant([self._seed, number]))

    def generate(self, condition: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Gives showers `[b, f]` of the generator as it trains, with the noise of a seed."""
        latent = draw(self._latent, tf.shape(condition)[0], seed)
        return self.generator({"latent": latent, "condition": condition}, training=self._batch_statistics)


def draw(latent: Latent, num_showers: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draws latent points, `[b, z]`, a function of the seed `[2]`."""
    shape = (num_showers, latent.dim)
    if latent.distribution == "normal":
        return latent.mean + latent.spread * tf.random.stateless_normal(shape, seed)
    return latent.mean + latent.spread * tf.random.stateless_uniform(shape, seed, -1.0, 1.0)
