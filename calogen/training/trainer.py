"""Trainers, which `training.train` can train, and schedules of their steps."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from calogen.backend import keras, tf
from calogen.config import require
from calogen.errors import CalogenError
from calogen.features.batches import Batch, permutation

ITERATIONS_PER_CALL = 10
_REPLICA = 7_919  # times the number of a replica, added to the seed: each replica has noise of its own
BatchOf = Callable[[tf.Tensor], Batch]
"""A function that gives the batch with a number among those of a step."""


class Trainer(Protocol):
    """Networks with their losses and optimizers, as `training.train` trains them.

    Attributes:
        term_names: names of the terms that `step` gives, the loss first.
        batches_per_step: number of batches in one step, e.g. one for each step of the critics.
        jit: whether XLA compiles the steps.
    """

    term_names: tuple[str, ...]
    batches_per_step: int
    jit: bool

    @property
    def variables_of_networks(self) -> list[keras.Variable]:
        """Variables of all networks, in the order of the checkpoint."""

    @property
    def variables_of_optimizers(self) -> list[keras.Variable]:
        """Variables of all optimizers, which are built already, in the order of the checkpoint."""

    def step(self, batch: BatchOf) -> dict[str, tf.Tensor]:
        """Takes one step with the batches that `batch(number)` gives, and gives its terms."""


class ValidatedTrainer(Trainer, Protocol):
    """A trainer whose terms can be computed without a step, on validation showers."""

    def validate(self, batch: Batch, number: tf.Tensor) -> dict[str, tf.Tensor]:
        """Gives the terms of a block of validation showers; `number` is that of the block."""


@runtime_checkable
class AveragingTrainer(Protocol):
    """A trainer whose saved networks have running averages of weights, if it keeps them."""

    def take_average(self) -> None:
        """Gives the networks the averages of their weights."""

    def averaged(self) -> AbstractContextManager[None]:
        """While it lasts, the networks have the averages of their weights."""


class KerasTrainer(keras.Model):
    """A trainer for Keras' `fit` as well, which shows running means of the terms.

    Args:
        networks, optimizers: networks and their optimizers, in the order of the checkpoint.
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
        """Number of devices over which a batch is spread; optimizers sum their gradients."""
        return tf.distribute.get_strategy().num_replicas_in_sync

    def step_seed(self) -> tf.Tensor:
        """Seed `[2]` of the next step; each replica has its own."""
        context = tf.distribute.get_replica_context()
        replica = 0 if context is None else context.replica_id_in_sync_group
        seed = tf.cast(self._seed + _REPLICA * replica, tf.int32)
        return tf.stack([seed, tf.cast(self.optimizer.iterations, tf.int32)])

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Running means of the terms."""
        return list(self._means.values())

    def average(self, terms: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Adds terms to the running means and gives the means."""
        for name, value in terms.items():
            self._means[name].update_state(value)
        return {name: mean.result() for name, mean in self._means.items()}


@dataclass(frozen=True, kw_only=True)
class Epochs:
    """A schedule of epochs: passes over all training showers, each in an order of its own.

    Args:
        epochs: number of epochs.
        batch_size: number of showers per batch; an incomplete last batch of an epoch is left out.
        keep: the weights that the networks have in the end: `best`, those of the smallest (validation) loss, or `last`.
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
        """Refuse training showers that are too few for one step."""
        largest = num_showers // batches_per_step
        require(
            self.batch_size <= largest,
            f"batch_size must be at most {largest}, the number of showers. Received: {self.batch_size}",
        )

    def calls(self, done: int, num_showers: int, batches_per_step: int) -> Iterator[tuple[int, np.ndarray]]:
        """Gives the number of epochs after the next epoch, and the rows `[s, k, b]` of its steps."""
        per_step = batches_per_step * self.batch_size
        rows = permutation(num_showers, self.seed, done)[: num_showers // per_step * per_step]
        yield done + 1, rows.reshape(-1, batches_per_step, self.batch_size)


@dataclass(frozen=True, kw_only=True)
class Curriculum:
    """The training showers from which batches are drawn in each stage of a training.

    Args:
        order: rows of the training showers `[n]`, in the order in which they are added.
        starts: iterations at which the stages begin; the first is 0.
        counts: number of showers, counted in this order, from which each stage draws; empty: all showers in one stage.
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
    """A schedule of iterations, whose showers are drawn with replacement.

    Args:
        iterations: number of iterations.
        batch_size: number of showers per batch.
        seed: seed of the draws; the rows are a function of the seed and the iteration.
        curriculum: the showers from which each stage of the training draws.
        interval: iterations between two checkpoints; None: 1000, or a thirtieth of a shorter training.
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

    @property
    def open_ended(self) -> bool:
        """Whether fewer iterations would be the first of these: all draw from the same showers."""
        return len(self.curriculum.starts) == 1

    def require_showers(self, num_showers: int, batches_per_step: int) -> None:
        """Refuse a curriculum with rows that the training showers do not have."""
        order = self.curriculum.order
        require(
            0 <= order.min() <= order.max() < num_showers,
            f"a curriculum's order must hold rows of {num_showers} showers. Received: {order.min()} to {order.max()}",
        )

    def calls(self, done: int, num_showers: int, batches_per_step: int) -> Iterator[tuple[int, np.ndarray]]:
        """Gives the iterations after each call of a round, and its rows `[s, k, b]`."""
        interval = self.interval or min(1000, -(-self.iterations // 30))
        target = min(self.iterations, (done // interval + 1) * interval)
        while done < target:
            count = min(ITERATIONS_PER_CALL, target - done)
            yield done + count, self.rows(done, count, batches_per_step)
            done += count

    def rows(self, first: int, count: int, batches_per_step: int) -> np.ndarray:
        """Gives the rows of `count` iterations from `first` on, `[count, k, b]`."""
        places = _places(
            tf.constant(self.seed),
            tf.range(first, first + count),
            tf.constant(self.curriculum.starts),
            tf.constant(self.curriculum.counts),
            (batches_per_step, self.batch_size),
        )
        return self.curriculum.order[places.numpy()].astype(np.int32)


@tf.function(autograph=False)
def _places(
    seed: tf.Tensor, iterations: tf.Tensor, starts: tf.Tensor, counts: tf.Tensor, shape: tuple[int, int]
) -> tf.Tensor:
    """Draws places in a curriculum's order, `[s, k, b]`."""
    num_batches, batch_size = shape

    def draw(iteration: tf.Tensor) -> tf.Tensor:
        stage = tf.reduce_sum(tf.cast(starts <= iteration, tf.int32)) - 1
        own = tf.stack([seed, iteration])
        drawn = [
            tf.random.stateless_uniform(
                (batch_size,), fold_seed(own, num_batches + 1 + number), 0, counts[stage], tf.int32
            )
            for number in range(num_batches)
        ]
        return tf.stack(drawn)

    return tf.map_fn(draw, iterations, fn_output_signature=tf.int32)


def fold_seed(seed: tf.Tensor, number: tf.Tensor | int) -> tf.Tensor:
    """Gives a new seed `[2]`, which is a function of a seed and a number."""
    return tf.random.experimental.stateless_fold_in(seed, number)


Schedule = Epochs | Draws
