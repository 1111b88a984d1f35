"""Training of any `Trainer`: rounds of compiled calls, a checkpoint after each, exact resume.

A round is an epoch, or the iterations between two checkpoints. Rows are a function of the schedule's seed and of what
is done, noise of the trainer's seed and its optimizer's step: weights, optimizers and history are the whole state.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from calogen.backend import keras, tf
from calogen.errors import CalogenError
from calogen.features.batches import Features, blocks_of
from calogen.progress import Progress, progress
from calogen.training.callbacks import save_network
from calogen.training.state import TrainingState, assign, read_state, write_state
from calogen.training.trainer import Schedule, Trainer, ValidatedTrainer

Logs = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Keeper:
    """What a training leaves behind on its way.

    Args:
        directory: of `checkpoint.npz`, replaced atomically, and of `snapshots/`; None: nothing is left.
        identity: text that says what is trained on what; the checkpoint of another identity is refused.
        seconds: least time between two checkpoints; 0 writes one after every round.
        networks: those that generate, by name: they are saved as `snapshots/<unit>-<number>.keras`.
        snapshots: numbers of finished epochs or iterations after which they are; None: after every round.
    """

    directory: Path | None = None
    identity: str = ""
    seconds: float = 0.0
    networks: Mapping[str, keras.Model] = field(default_factory=dict)
    snapshots: Collection[int] | None = None

    @property
    def checkpoint(self) -> Path | None:
        """File with the training's whole state."""
        return None if self.directory is None else self.directory / "checkpoint.npz"

    def read(self) -> TrainingState:
        """Gives the state to go on from."""
        return TrainingState(self.identity) if self.checkpoint is None else read_state(self.checkpoint, self.identity)

    def save_snapshots(self, unit: str, number: int) -> None:
        """Saves the networks, if they are wanted after this round."""
        if self.directory is not None and (self.snapshots is None or number in self.snapshots):
            for name, network in self.networks.items():
                save_network(network, self.snapshot(unit, number, name))

    def snapshot(self, unit: str, number: int, name: str) -> Path:
        """File with one of the networks after a round."""
        assert self.directory is not None
        return snapshot_path(self.directory, unit, number, name if len(self.networks) > 1 else "")


def snapshot_path(directory: Path, unit: str, number: int, name: str = "") -> Path:
    """File with a network after so many epochs or iterations; `name` tells several apart."""
    digits = 4 if unit == "epoch" else 7
    return directory / "snapshots" / f"{unit}-{number:0{digits}d}{name and '-' + name}.keras"


def train(
    trainer: Trainer,
    training: Features,
    validation: Features | None,
    schedule: Schedule,
    keeper: Keeper | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> TrainingState:
    """Trains from the checkpoint, if there is one, to the end of the schedule.

    Args:
        trainer: in the end its networks have the weights that `schedule.keep` names.
        training, validation: features; without validation the training loss chooses the best epoch.
        schedule: how long, in which order.
        keeper: of checkpoint and snapshots.
        callbacks: Keras callbacks; they hear of rounds as of epochs.

    Returns:
        the history, a row for each round: `iteration` where these are counted, means of the terms over the round's
        steps, the same with `val_` after it, `seconds`; the index of the best row and its weights.

    Raises:
        CalogenError: the checkpoint is another training's, or a term or a weight is not finite.
    """
    keeper = keeper or Keeper()
    state = keeper.read()
    if state.epoch:
        state.restore(trainer)
    done = reached(schedule, state)
    if done < schedule.length:
        schedule.require_showers(len(training), trainer.batches_per_step)
        run, validate = compile_calls(trainer, training), compile_validation(trainer, validation)
        heard = keras.callbacks.CallbackList(list(callbacks), model=trainer, add_history=False)
        heard.on_train_begin()
        state.record_threads()
        saved = time.monotonic()
        try:
            with progress("training", schedule.length - done, f"{schedule.unit}s") as bar:
                while done < schedule.length:
                    start = time.monotonic()
                    last, done, logs = done, *_round(trainer, run, schedule, done, len(training), (bar, keeper))
                    logs |= validate()
                    bad = _not_finite(logs) | _weights_not_finite(trainer)
                    _require_finite(bad, schedule, done, last, keeper)
                    _record(state, trainer, schedule, logs | {"seconds": time.monotonic() - start})
                    keeper.save_snapshots(schedule.unit, done)
                    if time.monotonic() - saved >= keeper.seconds or done == schedule.length:
                        _write(state, trainer, keeper)
                        saved = time.monotonic()
                    heard.on_epoch_end(done - (schedule.unit == "epoch"), logs)
        finally:
            heard.on_train_end()
    if schedule.keep == "best":
        assign(trainer.variables_of_networks, state.best_weights)
    return state


def reached(schedule: Schedule, state: TrainingState) -> int:
    """Number of finished epochs or iterations."""
    return state.epoch if schedule.unit == "epoch" else state.reached


def compile_calls(trainer: Trainer, data: Features) -> Callable[[np.ndarray], np.ndarray]:
    """Makes one program of many steps: gather, noise, gradients, optimizers.

    Args:
        trainer: with built optimizers.
        data: features of the training showers.

    Returns:
        a function that takes rows `[s, k, b]` and gives the means of the terms over the steps `s`.
    """

    @tf.function(jit_compile=trainer.jit, autograph=False)
    def call(chunk: tf.Tensor, sums: tf.Tensor) -> tf.Tensor:
        first = tf.nest.flatten(chunk)[0]
        num_steps = first.shape[0] or tf.shape(first)[0]

        def body(step: tf.Tensor, sums: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            terms = trainer.step(lambda number: data.batch_of(chunk, step, number))
            return step + 1, sums + tf.stack([terms[name] for name in trainer.term_names])

        return tf.while_loop(lambda step, _: step < num_steps, body, (tf.constant(0), sums))[1]

    def run(rows: np.ndarray) -> np.ndarray:
        sums = tf.zeros(len(trainer.term_names))
        for chunk in data.chunks(rows):
            sums = call(chunk, sums)
        return (sums.numpy() / np.float32(len(rows))).astype(np.float64)

    return run


def compile_validation(trainer: Trainer | ValidatedTrainer, data: Features | None) -> Callable[[], Logs]:
    """Makes one program of the terms over validation showers; no showers give an empty table."""
    if data is None:
        return dict

    @tf.function(jit_compile=trainer.jit, autograph=False)
    def validation(shower: tf.Tensor, condition: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
        terms = trainer.validate({"shower": shower, "condition": condition}, number)  # type: ignore[union-attr]
        return tf.stack([terms[name] for name in trainer.term_names])

    def run() -> Logs:
        sums = np.zeros(len(trainer.term_names))
        for number, block in enumerate(blocks_of(data)):
            values = validation(block["shower"], block["condition"], tf.constant(number)).numpy()
            sums += values.astype(np.float64) * len(block["shower"])
        return {f"val_{name}": float(value) for name, value in zip(trainer.term_names, sums / len(data), strict=True)}

    return run


def _round(
    trainer: Trainer,
    run: Callable[[np.ndarray], np.ndarray],
    schedule: Schedule,
    done: int,
    num_showers: int,
    told: tuple[Progress, Keeper],
) -> tuple[int, Logs]:
    """Takes the steps up to the next checkpoint; gives what is done then, and the means of the terms."""
    bar, keeper = told
    first, sums, num_steps = done, np.zeros(len(trainer.term_names)), 0
    for reached_now, rows in schedule.calls(done, num_showers, trainer.batches_per_step):
        means = run(rows)
        named = dict(zip(trainer.term_names, means.tolist(), strict=True))
        _require_finite(_not_finite(named), schedule, reached_now, first, keeper)
        sums, num_steps = sums + len(rows) * means, num_steps + len(rows)
        bar.note(", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in named.items()))
        bar.advance(reached_now - done)
        done = reached_now
    counted = {"iteration": float(done)} if schedule.unit == "iteration" else {}
    return done, counted | dict(zip(trainer.term_names, (sums / num_steps).tolist(), strict=True))


def _record(state: TrainingState, trainer: Trainer, schedule: Schedule, logs: Logs) -> None:
    if schedule.unit == "iteration":
        state.history.append(logs)
    else:
        first = trainer.term_names[0]
        state.record(logs, f"val_{first}" if f"val_{first}" in logs else first, trainer)


def _write(state: TrainingState, trainer: Trainer, keeper: Keeper) -> None:
    state.capture(trainer)
    if keeper.checkpoint is not None:
        write_state(keeper.checkpoint, state)


def _not_finite(values: Mapping[str, float]) -> Logs:
    return {name: value for name, value in values.items() if not np.isfinite(value)}


def _weights_not_finite(trainer: Trainer) -> Logs:
    """Largest absolute values, by path.

    The losses may be finite nevertheless: a compiled ReLU makes zeros of NaN.
    """
    return _not_finite({item.path: float(np.abs(item.numpy()).max()) for item in trainer.variables_of_networks})


def _require_finite(bad: Logs, schedule: Schedule, now: int, last: int, keeper: Keeper) -> None:
    if not bad:
        return
    kept = "no checkpoint was written yet"
    if last and keeper.checkpoint is not None and keeper.checkpoint.exists():
        kept = f"{keeper.checkpoint} holds the last checkpoint"
        for name in keeper.networks:
            path = keeper.snapshot(schedule.unit, last, name)
            kept = f"{path} holds the {name} of {schedule.unit} {last}" if path.exists() else kept
    raise CalogenError(
        f"losses and weights must stay finite. Received: {bad} at {schedule.unit} {now}; {kept} "
        "(a smaller learning_rate may help)"
    )
