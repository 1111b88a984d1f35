"""Compiled calls of a training: many steps in one program, on one device or on several."""

import time
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from calogen.backend import tf
from calogen.config import require
from calogen.features.batches import Batch, FeatureTable, blocks_of
from calogen.training.trainer import Trainer, ValidatedTrainer

Logs = dict[str, float]
Chunk: TypeAlias = "tf.Tensor | Batch"
"""What a compiled call gets for its steps."""
Run = Callable[..., tuple[np.ndarray, int]]
"""A function that takes steps; see `compile_calls`."""
Program = Callable[[Chunk, tf.Tensor], tf.Tensor]
"""A function from a chunk of steps, and sums of the terms over earlier ones, to the sums with these steps."""
_FIRST_STEPS, _CALL_SECONDS = 1, 5.0  # steps of the first call of a program, and about how long later ones take


def require_equal_shares(batch_size: int) -> None:
    """Refuse batches that the devices of the scope cannot share equally."""
    number = tf.distribute.get_strategy().num_replicas_in_sync
    require(batch_size % number == 0, f"batch_size must be a multiple of the {number} devices. Received: {batch_size}")


def compile_calls(trainer: Trainer, data: FeatureTable) -> Run:
    """Compiles many steps into one program: batches, noise, gradients, optimizers.

    A call of the program takes some seconds at most, then signals are heard and progress is told; of a trainer whose
    steps XLA compiles (`jit`), whose steps are short, it takes all steps. The weights do not depend on it. In the scope
    of several devices (`devices.training_scope`) each of them takes an equal part of each batch.

    Args:
        trainer: a trainer whose optimizers are built.
        data: features of the training showers.

    Returns:
        a function that takes rows `[s, k, b]`, sums of the terms over earlier steps, and a function that is told how
        many of the steps `s` are done, and answers whether to stop. It gives the sums, float32, of the terms over these
        and the earlier steps, and the number of steps taken: all, or fewer when stopped.

    Raises:
        ConfigError: several devices cannot share the batches equally.
    """
    compiled: Program | None = None
    size, is_shared = _FIRST_STEPS, tf.distribute.get_strategy().num_replicas_in_sync > 1
    at_once = trainer.jit and not is_shared

    def run(
        rows: np.ndarray, earlier: Sequence[float] = (), told: Callable[[int], bool] = lambda done: False
    ) -> tuple[np.ndarray, int]:
        nonlocal compiled, size
        sums, done = tf.constant(earlier or np.zeros(len(trainer.term_names)), tf.float32), 0
        for chunk in data.chunks(rows):
            compiled = compiled or (_shared_program if is_shared else _program)(trainer, data, chunk)
            number, first = len(tf.nest.flatten(chunk)[0]), 0
            while first < number:
                start, steps = time.monotonic(), number if at_once else min(size, number - first)
                sums = compiled(_steps_of(chunk, first, steps), sums)
                sums.numpy()  # waits for the steps
                size = max(1, min(2 * size, int(steps * _CALL_SECONDS / max(time.monotonic() - start, 1e-9))))
                first, done = first + steps, done + steps
                if told(done):
                    return sums.numpy(), done
        return sums.numpy(), done

    return run


def _program(trainer: Trainer, data: FeatureTable, chunk: Chunk) -> Program:
    """The program for one device: a loop over the steps of chunks like this one."""

    def call(chunk: Chunk, sums: tf.Tensor) -> tf.Tensor:
        first = tf.nest.flatten(chunk)[0]
        num_steps = first.shape[0] or tf.shape(first)[0]

        def body(step: tf.Tensor, sums: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            terms = trainer.step(lambda number: data.batch_of(chunk, step, number))
            return step + 1, sums + tf.stack([terms[name] for name in trainer.term_names])

        return tf.while_loop(lambda step, _: step < num_steps, body, (tf.constant(0), sums))[1]

    signature = None if trainer.jit else (_any_steps(chunk), tf.TensorSpec((len(trainer.term_names),)))
    return tf.function(call, signature, autograph=False, jit_compile=trainer.jit)


def _shared_program(trainer: Trainer, data: FeatureTable, chunk: Chunk) -> Program:
    """The program for several devices, whose gradients no loop can sum: a call for each step."""
    strategy = tf.distribute.get_strategy()
    size = tf.nest.flatten(chunk)[0].shape[2]
    require_equal_shares(size)
    share = size // strategy.num_replicas_in_sync

    def step_of(whole: Batch) -> tf.Tensor:
        start = share * tf.distribute.get_replica_context().replica_id_in_sync_group
        mine = {name: part[:, start : start + share] for name, part in whole.items()}
        terms = trainer.step(lambda batch: {name: part[batch] for name, part in mine.items()})
        return tf.stack([terms[name] for name in trainer.term_names])

    def take(chunk: Chunk, step: tf.Tensor, sums: tf.Tensor) -> tf.Tensor:
        batches = [data.batch_of(chunk, step, tf.constant(batch)) for batch in range(trainer.batches_per_step)]
        whole = {name: tf.stack([batch[name] for batch in batches]) for name in batches[0]}
        return sums + strategy.reduce("MEAN", strategy.run(step_of, args=(whole,)), axis=None)

    scalar, terms = tf.TensorSpec((), tf.int32), tf.TensorSpec((len(trainer.term_names),))
    compiled = tf.function(take, (_any_steps(chunk), scalar, terms), autograph=False)

    def program(chunk: Chunk, sums: tf.Tensor) -> tf.Tensor:
        for step in range(len(tf.nest.flatten(chunk)[0])):
            sums = compiled(chunk, tf.constant(step), sums)
        return sums

    return program


def _steps_of(chunk: Chunk, first: int, number: int) -> Chunk:
    """Some of the steps of a chunk."""
    return tf.nest.map_structure(lambda part: part[first : first + number], chunk)


def _any_steps(chunk: Chunk) -> Chunk:
    """The kinds of a chunk's tensors, with any number of steps."""
    return tf.nest.map_structure(lambda part: tf.TensorSpec((None, *part.shape[1:]), part.dtype), chunk)


def compile_validation(trainer: Trainer | ValidatedTrainer, data: FeatureTable | None) -> Callable[[], Logs]:
    """Compiles the terms of all validation showers.

    There are none without showers, or of a trainer that does not look at them.
    """
    if data is None or not hasattr(trainer, "validate"):
        return dict

    @tf.function(jit_compile=trainer.jit and not tf.distribute.has_strategy(), autograph=False)
    def validation(shower: tf.Tensor, condition: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
        terms = trainer.validate({"shower": shower, "condition": condition}, number)
        return tf.stack([terms[name] for name in trainer.term_names])

    def run() -> Logs:
        sums = np.zeros(len(trainer.term_names))
        for number, block in enumerate(blocks_of(data)):
            values = validation(block["shower"], block["condition"], tf.constant(number)).numpy()
            sums += values.astype(np.float64) * len(block["shower"])
        return {f"val_{name}": float(value) for name, value in zip(trainer.term_names, sums / len(data), strict=True)}

    return run
