"""Training of a VAE: one train step for `fit` and for compiled epochs of resident data."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from calogen.backend import keras, tf
from calogen.config import require
from calogen.errors import CalogenError
from calogen.features.batches import Batch, Resident, permutation
from calogen.training.losses import kl_divergence, weighted_mse
from calogen.training.state import TrainingState, assign, read_state, write_state

_TERMS = ("loss", "reconstruction", "kl")
# Added to the seed's first word: validation uses the same noise every time, replicas each a noise of their own.
_VALIDATION, _REPLICA = 1_000_003, 7_919


class Vae(keras.Model):
    """Encoder and decoder trained together; after `compile(optimizer)` use `fit` or `train`.

    The loss is (1/f) sum w_i (x_i - x~_i)^2 + kl_weight * KL, averaged over the batch. The noise is a function of
    (seed, optimizer's step), so both ways of training take the same steps.

    Args:
        encoder: {"shower": [b, f], "condition": [b, c]} -> {"mean": [b, z], "log_variance": [b, z]}.
        decoder: {"latent": [b, z], "condition": [b, c]} -> [b, f].
        feature_weights: w_i, `[f]`.
        kl_weight: factor of the divergence.
        seed: of the noise.
    """

    def __init__(
        self,
        encoder: keras.Model,
        decoder: keras.Model,
        feature_weights: np.ndarray,
        kl_weight: float,
        seed: int,
    ) -> None:
        super().__init__(name="vae")
        self.encoder, self.decoder = encoder, decoder
        self._feature_weights = tf.constant(feature_weights, tf.float32)
        self._kl_weight, self._seed = kl_weight, seed
        self._means = {name: keras.metrics.Mean(name=name) for name in _TERMS}
        self.built = True

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Running means of the loss and its parts."""
        return list(self._means.values())

    @property
    def variables_of_networks(self) -> list[keras.Variable]:
        """Variables of encoder and decoder, without those of the metrics."""
        return [*self.encoder.variables, *self.decoder.variables]

    @property
    def variables_of_optimizers(self) -> list[keras.Variable]:
        """Variables of the optimizer."""
        return list(self.optimizer.variables)

    @property
    def validation_seed(self) -> tf.Tensor:
        """Seed `[2]` of the noise in every validation."""
        return tf.constant([self._seed + _VALIDATION, 0])

    def call(self, batch: Batch, training: bool = False) -> tf.Tensor:
        """Gives the reconstruction `[b, f]` from the mean of the latent distribution."""
        latent = self.encoder(batch)["mean"]
        return self.decoder({"latent": latent, "condition": batch["condition"]})

    def terms(self, batch: Batch, noise_seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """Gives loss, reconstruction and KL of a batch (scalars) with the noise of a seed `[2]`."""
        code = self.encoder(batch)
        mean, log_variance = code["mean"], code["log_variance"]
        noise = tf.random.stateless_normal(tf.shape(mean), noise_seed)
        latent = mean + tf.exp(0.5 * log_variance) * noise
        decoded = self.decoder({"latent": latent, "condition": batch["condition"]})
        reconstruction = tf.reduce_mean(weighted_mse(batch["shower"], decoded, self._feature_weights))
        kl = tf.reduce_mean(kl_divergence(mean, log_variance))
        return {"loss": reconstruction + self._kl_weight * kl, "reconstruction": reconstruction, "kl": kl}

    def step(self, batch: Batch) -> dict[str, tf.Tensor]:
        """Takes one optimizer step and gives the terms before it."""
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        with tf.GradientTape() as tape:
            terms = self.terms(batch, self._noise_seed())
            loss = terms["loss"] / replicas  # the optimizer sums the replicas' gradients
        variables = [*self.encoder.trainable_variables, *self.decoder.trainable_variables]
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        return terms

    def train_step(self, batch: Batch) -> dict[str, tf.Tensor]:
        """Is what `fit` calls."""
        return self._average(self.step(batch))

    def test_step(self, batch: Batch) -> dict[str, tf.Tensor]:
        """Is what `evaluate` calls."""
        return self._average(self.terms(batch, self.validation_seed))

    def _noise_seed(self) -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        replica = 0 if context is None else context.replica_id_in_sync_group
        seed = tf.cast(self._seed + _REPLICA * replica, tf.int32)
        return tf.stack([seed, tf.cast(self.optimizer.iterations, tf.int32)])

    def _average(self, terms: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        for name, value in terms.items():
            self._means[name].update_state(value)
        return {name: mean.result() for name, mean in self._means.items()}


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long and in which order to train.

    Args:
        epochs: passes over the training showers.
        batch_size: showers per step; an incomplete last batch of an epoch is left out.
        seed: of the order of the showers.
        keep: weights the model has in the end: those of the smallest (validation) loss, or the last.
    """

    epochs: int
    batch_size: int
    seed: int
    keep: Literal["best", "last"] = "best"

    def __post_init__(self) -> None:
        require(self.epochs >= 1, f"epochs must be at least 1. Received: {self.epochs}")
        require(self.batch_size >= 1, f"batch_size must be at least 1. Received: {self.batch_size}")
        require(self.keep in ("best", "last"), f"keep must be 'best' or 'last'. Received: {self.keep!r}")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Where a training can be resumed from.

    Args:
        path: `.npz` file, replaced atomically.
        identity: text that says what is trained on what; another identity is refused.
        seconds: least time between two checkpoints; 0 writes one after every epoch.
    """

    path: Path
    identity: str = ""
    seconds: float = 20.0


def train(
    model: Vae,
    training: Resident,
    validation: Resident | None,
    schedule: Schedule,
    checkpoint: Checkpoint | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> TrainingState:
    """Trains with every epoch compiled as a whole, from the checkpoint if there is one.

    Args:
        model: compiled with an optimizer; in the end it has the weights that `schedule.keep` names.
        training, validation: features; without validation the training loss chooses the best epoch.
        schedule: epochs, batches, order.
        checkpoint: written at ends of epochs and in the end.
        callbacks: Keras callbacks; they hear of epochs, not of batches.

    Returns:
        the history per epoch: `loss`, `reconstruction`, `kl` (means over the epoch's steps), the same with `val_`
        (after the epoch), `seconds`; the index of the best epoch and its weights.

    Raises:
        CalogenError: the checkpoint is another training's, or the loss is not finite.
    """
    require(
        schedule.batch_size <= len(training),
        f"batch_size must be at most {len(training)}, the number of showers. Received: {schedule.batch_size}",
    )
    state = _resumed(model, checkpoint)
    run_epoch, evaluate = compile_epoch(model, training, schedule.batch_size), compile_evaluation(model, validation)
    heard = keras.callbacks.CallbackList(list(callbacks), model=model, add_history=False)
    heard.on_train_begin()
    saved = time.monotonic()
    if state.epoch < schedule.epochs:
        state.record_threads()
    try:
        while state.epoch < schedule.epochs:
            start = time.monotonic()
            order = permutation(len(training), schedule.seed, state.epoch)
            logs = {**run_epoch(order), **evaluate()}
            logs["seconds"] = time.monotonic() - start
            _require_finite(logs, state.epoch)
            state.record(logs, "val_loss" if validation else "loss", model)
            heard.on_epoch_end(state.epoch - 1, logs)
            if checkpoint and (time.monotonic() - saved >= checkpoint.seconds or state.epoch == schedule.epochs):
                state.capture(model)
                write_state(checkpoint.path, state)
                saved = time.monotonic()
    finally:
        heard.on_train_end()
    if schedule.keep == "best":
        assign(model.variables_of_networks, state.best_weights)
    return state


def compile_epoch(model: Vae, data: Resident, batch_size: int) -> Callable[[np.ndarray], dict[str, float]]:
    """Makes one XLA program of an epoch: gather, noise, gradients, optimizer of every batch.

    Args:
        model: compiled with an optimizer.
        data: training features.
        batch_size: showers per step.

    Returns:
        a function that takes the order of the showers `[n]` and gives the means of the terms over the steps.
    """
    num_steps = len(data) // batch_size

    @tf.function(jit_compile=True, autograph=False)
    def epoch(order: tf.Tensor) -> tf.Tensor:
        def body(step: tf.Tensor, sums: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            terms = model.step(data.batch(tf.slice(order, [step * batch_size], [batch_size])))
            return step + 1, sums + tf.stack([terms[name] for name in _TERMS])

        start = (tf.constant(0), tf.zeros(len(_TERMS)))
        _, sums = tf.while_loop(lambda step, _: step < num_steps, body, start)
        return sums / num_steps

    return lambda order: _named(epoch(tf.constant(order)), "")


def compile_evaluation(model: Vae, data: Resident | None) -> Callable[[], dict[str, float]]:
    """Makes one XLA program of the terms over all showers; no showers give an empty table."""
    if data is None:
        return dict

    @tf.function(jit_compile=True, autograph=False)
    def evaluation() -> tf.Tensor:
        terms = model.terms({"shower": data.shower, "condition": data.condition}, model.validation_seed)
        return tf.stack([terms[name] for name in _TERMS])

    return lambda: _named(evaluation(), "val_")


def _named(values: tf.Tensor, prefix: str) -> dict[str, float]:
    return {prefix + name: float(value) for name, value in zip(_TERMS, values.numpy(), strict=True)}


def _resumed(model: Vae, checkpoint: Checkpoint | None) -> TrainingState:
    model.optimizer.build([*model.encoder.trainable_variables, *model.decoder.trainable_variables])
    state = TrainingState() if checkpoint is None else read_state(checkpoint.path, checkpoint.identity)
    if state.epoch:
        state.restore(model)
    return state


def _require_finite(logs: dict[str, Any], epoch: int) -> None:
    if not all(np.isfinite(value) for value in logs.values()):
        raise CalogenError(
            f"the loss must stay finite. Received: {logs} in epoch {epoch + 1} (a smaller learning_rate may help)"
        )
