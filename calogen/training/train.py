"""Training of any `Trainer`: compiled calls, checkpoints, exact resume.

A round is an epoch, or the iterations between two checkpoints. Rows are a function of the schedule's seed and of what
is done, noise of the trainer's seed and its optimizer's step: weights, optimizers and history are the whole state.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from calogen.backend import keras, tf
from calogen.errors import CalogenError
from calogen.features.batches import FeatureTable, blocks_of
from calogen.progress import Progress, progress
from calogen.training.callbacks import save_network
from calogen.training.run import snapshot_paths
from calogen.training.state import TrainingState, assign, read_state, write_state
from calogen.training.trainer import Schedule, Trainer, ValidatedTrainer

Logs = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Keeper:
    """What a training leaves behind on its way.

    Args:
        directory: of `checkpoint.npz`, replaced atomically, and of `snapshots/`; None: nothing is left.
        identity: text that says what is trained on what; the checkpoint of another identity is refused.
        seconds: least time between two checkpoints of epochs; iterations have one after every round.
        networks: those that generate, by name: they are saved as `snapshots/<unit>-<number>.keras`.
        snapshots: numbers of finished epochs after which they are; of iterations, after every round.
    """

    directory: Path | None = None
    identity: str = ""
    seconds: float = 20.0
    networks: Mapping[str, keras.Model] = field(default_factory=dict)
    snapshots: Collection[int] = ()

    @property
    def checkpoint(self) -> Path | None:
        """File with the training's whole state."""
        return None if self.directory is None else self.directory / "checkpoint.npz"

    def read(self) -> TrainingState:
        """Gives the state to go on from."""
        return TrainingState(self.identity) if self.checkpoint is None else read_state(self.checkpoint, self.identity)

    def save_snapshots(self, unit: str, number: int) -> None:
        """Saves the networks, if they are wanted after this round."""
        if self.directory is not None and (unit == "iteration" or number in self.snapshots):
            for name, path in snapshot_paths(self.directory, unit, number, self.networks).items():
                save_network(self.networks[name], path)


@dataclass(frozen=True)
class Stage:
    """A part of a training: its own networks, optimizers and schedule."""

    trainer: Trainer
    schedule: Schedule


def stages_of(trainers: Trainer | Sequence[Trainer], schedules: Schedule | Sequence[Schedule]) -> tuple[Stage, ...]:
    """Gives the stages of a training, one trainer and one schedule for each."""
    found = [list(item) if isinstance(item, list | tuple) else [item] for item in (trainers, schedules)]
    return tuple(Stage(*pair) for pair in zip(*found, strict=True))


class _Whole:
    """All stages as one model, as the checkpoint has them: shared variables stand once."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        trainers = [stage.trainer for stage in stages]
        self.variables_of_networks = _once(item for trainer in trainers for item in trainer.variables_of_networks)
        self.variables_of_optimizers = _once(item for trainer in trainers for item in trainer.variables_of_optimizers)


def _once(variables: Iterable[Any]) -> list[Any]:
    return list({id(variable): variable for variable in variables}.values())


def train(
    stages: Sequence[Stage],
    training: FeatureTable,
    validation: FeatureTable | None,
    keeper: Keeper | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> TrainingState:
    """Trains from the checkpoint, if there is one, to the end of the last stage.

    Args:
        stages: one after another; at the end of each its networks have the weights that its `schedule.keep` names.
        training, validation: features; without validation the training loss chooses the best epoch.
        keeper: of checkpoint and snapshots.
        callbacks: Keras callbacks; they hear of rounds as of epochs.

    Returns:
        the history, a row for each round: `stage` where there are several, `iteration` where these are counted, means
        of the terms over the round's steps, the same with `val_` after it, `seconds`; the index of the best row of the
        last stage and its weights.

    Raises:
        CalogenError: the checkpoint is another training's, or a term or a weight is not finite.
    """
    keeper, whole = keeper or Keeper(), _Whole(stages)
    state = keeper.read()
    if state.epoch:
        state.restore(whole)
    heard = keras.callbacks.CallbackList([], add_history=False)
    if not is_finished(stages, state):
        state.record_threads()
        heard = keras.callbacks.CallbackList(list(callbacks), model=stages[0].trainer, add_history=False)
    heard.on_train_begin()
    try:
        for number, stage in enumerate(stages):
            if any(row.get("stage", 0) > number for row in state.history):
                continue
            if number and not _rows(state, number):
                state.best_epoch, state.best_weights = -1, []
            if reached(stages, state, number) < stage.schedule.length:
                heard.set_model(stage.trainer)
                _train_stage(stages, number, (training, validation), (state, whole, keeper), heard)
            if stage.schedule.keep == "best":
                assign(whole.variables_of_networks, state.best_weights)
    finally:
        heard.on_train_end()
    return state


def is_finished(stages: Sequence[Stage], state: TrainingState) -> bool:
    """Whether nothing is left to train."""
    last = len(stages) - 1
    return reached(stages, state, last) >= stages[last].schedule.length


def reached(stages: Sequence[Stage], state: TrainingState, number: int) -> int:
    """Number of finished epochs or iterations of a stage."""
    rows = _rows(state, number)
    if not rows or stages[number].schedule.unit == "epoch":
        return len(rows)
    return int(rows[-1]["iteration"]) - _before(stages, number)


def _rows(state: TrainingState, number: int) -> list[Logs]:
    return [row for row in state.history if row.get("stage", 0) == number]


def _before(stages: Sequence[Stage], number: int) -> int:
    """Epochs or iterations of the stages before, in the unit of this one."""
    unit = stages[number].schedule.unit
    return sum(stage.schedule.length for stage in stages[:number] if stage.schedule.unit == unit)


def _train_stage(
    stages: Sequence[Stage],
    number: int,
    data: tuple[FeatureTable, FeatureTable | None],
    kept: tuple[TrainingState, _Whole, Keeper],
    heard: keras.callbacks.CallbackList,
) -> None:
    """Train from where a stage stands to its end, a checkpoint after each round."""
    trainer, schedule = stages[number].trainer, stages[number].schedule
    (training, validation), (state, whole, keeper) = data, kept
    before, done = _before(stages, number), reached(stages, state, number)
    schedule.require_showers(len(training), trainer.batches_per_step)
    run, validate = compile_calls(trainer, training), compile_validation(trainer, validation)
    saved = time.monotonic()
    named = {"stage": float(number)} if len(stages) > 1 else {}
    text = f"training, stage {number + 1} of {len(stages)}" if named else "training"
    with progress(text, schedule.length - done, f"{schedule.unit}s") as bar:
        while done < schedule.length:
            start, last = time.monotonic(), done
            require_finite = partial(_require_finite, schedule.unit, before + last, keeper)
            done, logs = _round(stages[number], run, done, len(training), bar, require_finite)
            counted = {"iteration": float(before + done)} if schedule.unit == "iteration" else {}
            logs = {**named, **counted, **logs, **validate()}
            require_finite(before + done, logs | _largest_weights(trainer))
            _record(state, trainer, schedule, logs | {"seconds": time.monotonic() - start}, whole)
            keeper.save_snapshots(schedule.unit, before + done)
            due = schedule.unit == "iteration" or time.monotonic() - saved >= keeper.seconds
            if due or done == schedule.length:
                _write(state, whole, keeper)
                saved = time.monotonic()
            heard.on_epoch_end(before + done - (schedule.unit == "epoch"), logs)


def compile_calls(trainer: Trainer, data: FeatureTable) -> Callable[[np.ndarray], np.ndarray]:
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


def compile_validation(trainer: Trainer | ValidatedTrainer, data: FeatureTable | None) -> Callable[[], Logs]:
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
    stage: Stage,
    run: Callable[[np.ndarray], np.ndarray],
    done: int,
    num_showers: int,
    bar: Progress,
    require_finite: Callable[[int, Logs], None],
) -> tuple[int, Logs]:
    """Takes the steps up to the next checkpoint; gives what is done, and mean terms."""
    trainer = stage.trainer
    sums, num_steps = np.zeros(len(trainer.term_names)), 0
    for now, rows in stage.schedule.calls(done, num_showers, trainer.batches_per_step):
        means = run(rows)
        logs = dict(zip(trainer.term_names, means.tolist(), strict=True))
        require_finite(now, logs)
        sums, num_steps = sums + len(rows) * means, num_steps + len(rows)
        bar.note(", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in logs.items()))
        bar.advance(now - done)
        done = now
    return done, dict(zip(trainer.term_names, (sums / num_steps).tolist(), strict=True))


def _record(state: TrainingState, trainer: Trainer, schedule: Schedule, logs: Logs, whole: _Whole) -> None:
    if schedule.unit == "iteration":
        state.history.append(logs)
    else:
        first = trainer.term_names[0]
        state.record(logs, f"val_{first}" if f"val_{first}" in logs else first, whole)


def _write(state: TrainingState, whole: _Whole, keeper: Keeper) -> None:
    state.capture(whole)
    if keeper.checkpoint is not None:
        write_state(keeper.checkpoint, state)


def _largest_weights(trainer: Trainer) -> Logs:
    """Largest absolute values, by path.

    The losses may be finite where a weight is not: a compiled ReLU makes zeros of NaN.
    """
    return {item.path: float(np.abs(item.numpy()).max()) for item in trainer.variables_of_networks}


def _require_finite(unit: str, last: int, keeper: Keeper, now: int, values: Logs) -> None:
    """Refuse to go on after `now` epochs or iterations, of which `last` are kept."""
    bad = {name: value for name, value in values.items() if not np.isfinite(value)}
    if not bad:
        return
    kept = "no checkpoint was written yet"
    if last and keeper.directory is not None and keeper.checkpoint is not None and keeper.checkpoint.exists():
        kept = f"{keeper.checkpoint} holds the last checkpoint"
        for name, path in snapshot_paths(keeper.directory, unit, last, keeper.networks).items():
            kept = f"{path} holds the {name} of {unit} {last}" if path.exists() else kept
    raise CalogenError(
        f"losses and weights must stay finite. Received: {bad} at {unit} {now}; {kept} "
        "(a smaller learning_rate may help)"
    )
