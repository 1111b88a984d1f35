"""What a training needs to know of a model: its protocol and its schedules."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from calogen.backend import keras, tf
from calogen.config import require
from calogen.errors import CalogenError
from calogen.features.batches import Batch, permutation

ITERATIONS_PER_CALL = 10
_REPLICA = 7_919  # added to the seed: replicas have a noise of their own
BatchOf = Callable[[tf.Tensor], Batch]


class Trainer(Protocol):
    """Networks with their losses and optimizers, as `training.train` trains them.

    Attributes:
        term_names: of what `step` gives.
        batches_per_step: batches that one step takes, e.g. one for each step of the critics.
        jit: whether whole calls are compiled by XLA.
    """

    term_names: tuple[str, ...]
    batches_per_step: int
    jit: bool

    @property
    def variables_of_networks(self) -> list[Any]:
        """Variables of all networks, in the order of the checkpoint."""

    @property
    def variables_of_optimizers(self) -> list[Any]:
        """Variables of all optimizers, built, in the order of the checkpoint."""

    def step(self, batch: BatchOf) -> dict[str, tf.Tensor]:
        """Takes one step and gives its terms; `batch(number)` is one of its batches."""


class ValidatedTrainer(Trainer, Protocol):
    """A trainer whose terms can be computed without a step, on validation showers."""

    def validate(self, batch: Batch, number: tf.Tensor) -> dict[str, tf.Tensor]:
        """Gives the terms of validation showers; `number` counts the blocks that they come in."""


class KerasTrainer(keras.Model):
    """A trainer that Keras' `fit` can train, too: it shows running means of the terms.

    Args:
        name: of the model.
        networks, optimizers: in the order of the checkpoint.
        seed: of the noise.
    """

    term_names: tuple[str, ...]

    def __init__(
        self, name: str, networks: Sequence[keras.Model], optimizers: Sequence[keras.optimizers.Optimizer], seed: int
    ) -> None:
        super().__init__(name=name)
        self._means = {term: keras.metrics.Mean(name=term) for term in self.term_names}
        self.networks, self.optimizers, self._seed = list(networks), list(optimizers), seed

    @property
    def variables_of_networks(self) -> list[keras.Variable]:
        """Variables of all networks, without those of the metrics."""
        return [variable for network in self.networks for variable in network.variables]

    @property
    def variables_of_optimizers(self) -> list[keras.Variable]:
        """Variables of all optimizers."""
        return [variable for optimizer in self.optimizers for variable in optimizer.variables]

    @property
    def num_replicas(self) -> int:
        """Over how many devices a batch is spread; optimizers sum their gradients."""
        return tf.distribute.get_strategy().num_replicas_in_sync

    def step_seed(self) -> tf.Tensor:
        """Seed `[2]` of the step that comes next; each replica has its own."""
        context = tf.distribute.get_replica_context()
        replica = 0 if context is None else context.replica_id_in_sync_group
        seed = tf.cast(self._seed + _REPLICA * replica, tf.int32)
        return tf.stack([seed, tf.cast(self.optimizer.iterations, tf.int32)])

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Running means of the terms."""
        return list(self._means.values())

    def average(self, terms: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Adds terms to the running means and gives these."""
        for name, value in terms.items():
            self._means[name].update_state(value)
        return {name: mean.result() for name, mean in self._means.items()}


@dataclass(frozen=True, kw_only=True)
class Epochs:
    """Passes over all training showers, each in an order of its own.

    Args:
        epochs: how many.
        batch_size: showers per batch; an incomplete last batch of an epoch is left out.
        seed: of the orders.
        keep: weights the networks have in the end: those of the smallest (validation) loss, or the last.
    """

    epochs: int
    batch_size: int
    seed: int
    keep: str = "best"

    unit = "epoch"

    def __post_init__(self) -> None:
        require(self.epochs >= 1, f"epochs must be at least 1. Received: {self.epochs}")
        require(self.batch_size >= 1, f"batch_size must be at least 1. Received: {self.batch_size}")
        require(self.keep in ("best", "last"), f"keep must be 'best' or 'last'. Received: {self.keep!r}")

    @property
    def length(self) -> int:
        """Number of epochs."""
        return self.epochs

    def require_showers(self, num_showers: int, batches_per_step: int) -> None:
        """Refuse training showers that fill not one step."""
        largest = num_showers // batches_per_step
        require(
            self.batch_size <= largest,
            f"batch_size must be at most {largest}, the number of showers. Received: {self.batch_size}",
        )

    def calls(self, done: int, num_showers: int, batches_per_step: int) -> Iterator[tuple[int, np.ndarray]]:
        """Gives epochs done and rows `[s, k, b]` of each call of the next round."""
        per_step = batches_per_step * self.batch_size
        rows = permutation(num_showers, self.seed, done)[: num_showers // per_step * per_step]
        yield done + 1, rows.reshape(-1, batches_per_step, self.batch_size)


@dataclass(frozen=True, kw_only=True)
class Curriculum:
    """Which showers are drawn from when.

    Args:
        order: rows of the training showers `[n]`.
        starts: iterations at which a stage begins; the first is 0.
        counts: how many of the ordered showers each stage draws from.
    """

    order: np.ndarray
    starts: tuple[int, ...] = (0,)
    counts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        counts = self.counts or (len(self.order),)
        object.__setattr__(self, "counts", counts)
        rising = all(a <= b for a, b in zip(self.starts, self.starts[1:], strict=False))
        if (
            len(self.starts) != len(counts)
            or self.starts[0] != 0
            or not rising
            or not 0 < min(counts) <= max(counts) <= len(self.order)
        ):
            raise CalogenError(f"a curriculum needs starts that rise from 0 and as many counts. Received: {self}")


@dataclass(frozen=True, kw_only=True)
class Draws:
    """Iterations whose showers are drawn with replacement.

    Args:
        iterations: how many.
        batch_size: showers per batch.
        seed: of the draws: rows are a function of it and of the iteration.
        curriculum: which showers are drawn from when.
        interval: iterations between two checkpoints; by default 1000, or a thirtieth of a shorter training.
    """

    iterations: int
    batch_size: int
    seed: int
    curriculum: Curriculum
    interval: int | None = None

    unit, keep = "iteration", "last"

    def __post_init__(self) -> None:
        for name in ("iterations", "batch_size", "interval"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"{name} must be at least 1. Received: {value}")

    @property
    def length(self) -> int:
        """Number of iterations."""
        return self.iterations

    def require_showers(self, num_showers: int, batches_per_step: int) -> None:
        """Refuse a curriculum of other showers."""
        order = self.curriculum.order
        require(
            0 <= order.min() <= order.max() < num_showers,
            f"a curriculum's order must hold rows of {num_showers} showers. Received: {order.min()} to {order.max()}",
        )

    def calls(self, done: int, num_showers: int, batches_per_step: int) -> Iterator[tuple[int, np.ndarray]]:
        """Gives iterations done and rows `[s, k, b]` of each call of the next round."""
        target = min(self.iterations, done + (self.interval or min(1000, -(-self.iterations // 30))))
        while done < target:
            count = min(ITERATIONS_PER_CALL, target - done)
            yield done + count, self.rows(done, count, batches_per_step)
            done += count

    def rows(self, first: int, count: int, batches_per_step: int) -> np.ndarray:
        """Rows of the training showers in some iterations, `[count, k, b]`."""
        places = _places(
            tf.constant(self.seed),
            tf.range(first, first + count),
            tf.constant(self.curriculum.starts),
            tf.constant(self.curriculum.counts),
            (batches_per_step, self.batch_size),
        )
        return self.curriculum.order.astype(np.int32)[places.numpy()]


@tf.function(autograph=False)
def _places(
    seed: tf.Tensor, iterations: tf.Tensor, starts: tf.Tensor, counts: tf.Tensor, shape: tuple[int, int]
) -> tf.Tensor:
    """Gives places in a curriculum's order, `[s, k, b]`."""
    num_batches, batch_size = shape

    def of_iteration(iteration: tf.Tensor) -> tf.Tensor:
        stage = tf.reduce_sum(tf.cast(starts <= iteration, tf.int32)) - 1
        own = tf.stack([seed, iteration])
        drawn = [
            tf.random.stateless_uniform(
                (batch_size,), fold_seed(own, num_batches + 1 + number), 0, counts[stage], tf.int32
            )
            for number in range(num_batches)
        ]
        return tf.stack(drawn)

    return tf.map_fn(of_iteration, iterations, fn_output_signature=tf.int32)


def fold_seed(seed: tf.Tensor, number: tf.Tensor | int) -> tf.Tensor:
    """Gives another seed `[2]`, a function of a seed and a number."""
    return tf.random.experimental.stateless_fold_in(seed, number)


Schedule = Epochs | Draws
