"""Training of any `Trainer`, with compiled calls, checkpoints and exact resume.

A round is an epoch, or the iterations between two checkpoints. Rows of the showers are a function of the schedule's
seed and the epoch or iteration, and noise is a function of the trainer's seed and its optimizer's step; the state of a
training therefore consists of weights, optimizers and history alone.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from calogen.backend import keras
from calogen.errors import DataFormatError, DivergedError
from calogen.features.batches import FeatureTable
from calogen.process import StopRequest, stoppable
from calogen.progress import Progress, progress
from calogen.training.callbacks import save_network
from calogen.training.calls import Logs, Run, compile_calls, compile_validation, require_equal_shares
from calogen.training.run import snapshot_paths
from calogen.training.state import TrainingState, Variables, assign, read_state, write_state
from calogen.training.trainer import AveragingTrainer, Schedule, Trainer


@dataclass(frozen=True, kw_only=True)
class Keeper:
    """Writer of a training's checkpoint and snapshots.

    Args:
        directory: folder of `checkpoint.npz`, which is replaced atomically, and `snapshots/`; None: nothing is saved.
        identity: text that identifies model and showers; a checkpoint with another identity is refused.
        seconds: least time between two checkpoints of epochs; with iterations every round ends with a checkpoint.
        networks: the generating networks, by name, which are saved as `snapshots/<unit>-<number>.keras`.
        snapshots: numbers of finished epochs after which they are saved; with iterations every round saves them.
        extends: whether a checkpoint of the same training with fewer iterations is gone on from.
    """

    directory: Path | None = None
    identity: str = ""
    seconds: float = 20.0
    networks: Mapping[str, keras.Model] = field(default_factory=dict)
    snapshots: Collection[int] = ()
    extends: bool = False

    @property
    def checkpoint(self) -> Path | None:
        """File with the training's whole state."""
        return None if self.directory is None else self.directory / "checkpoint.npz"

    def read(self) -> TrainingState:
        """Gives the state in the checkpoint; without a checkpoint, the state before the training."""
        if self.checkpoint is None:
            return TrainingState(self.identity)
        return read_state(self.checkpoint, self.identity, extends=self.extends)

    def save_snapshots(self, unit: str, number: int) -> None:
        """Saves the generating networks if this epoch or iteration is to have a snapshot."""
        if self.directory is not None and (unit == "iteration" or number in self.snapshots):
            for name, path in snapshot_paths(self.directory, unit, number, self.networks).items():
                save_network(self.networks[name], path)


@dataclass(frozen=True)
class Stage:
    """A part of a training with a trainer and a schedule of its own."""

    trainer: Trainer
    schedule: Schedule


def stages_of(trainers: Trainer | Sequence[Trainer], schedules: Schedule | Sequence[Schedule]) -> tuple[Stage, ...]:
    """Gives the stages of a training, each with one of the trainers and one of the schedules."""
    lists = [list(item) if isinstance(item, list | tuple) else [item] for item in (trainers, schedules)]
    return tuple(Stage(*pair) for pair in zip(*lists, strict=True))


def train(
    stages: Sequence[Stage],
    training: FeatureTable,
    validation: FeatureTable | None,
    keeper: Keeper | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> TrainingState:
    """Trains from the checkpoint, if there is one, to the end of the last stage.

    Args:
        stages: stages of the training, which follow one another; at the end of each its networks have the weights that
            its `schedule.keep` names.
        training, validation: features; without validation the training loss decides which epoch is the best.
        keeper: writer of checkpoint and snapshots.
        callbacks: Keras callbacks, which are called after every round as after an epoch.

    Returns:
        the final state. Its history has a row for each round, with `stage` if there are several, `iteration` if the
        schedule counts iterations, the means of the terms over the steps of the round, the terms of the validation
        showers after it, with the prefix `val_`, `seconds` and `cpu_seconds`. `best_epoch` is the index of the best row
        of the last stage.

    Raises:
        CalogenError: the checkpoint is another training's.
        DivergedError: a term or a weight is not finite.
    """
    for stage in stages:
        require_equal_shares(stage.schedule.batch_size)
    keeper, variables = keeper or Keeper(), Variables([stage.trainer for stage in stages])
    state = keeper.read()
    if state.weights:
        state.restore(variables)
    called = keras.callbacks.CallbackList([], add_history=False)
    if not is_finished(stages, state):
        state.record_threads()
        called = keras.callbacks.CallbackList(list(callbacks), model=stages[0].trainer, add_history=False)
    called.on_train_begin()
    try:
        for number, stage in enumerate(stages):
            if any(row.get("stage", 0) > number for row in [*state.history, state.begun]):
                continue
            if number and not _rows(state, number):
                state.best_epoch, state.best_weights = -1, []
            if reached(stages, state, number) < stage.schedule.length:
                called.set_model(stage.trainer)
                _train_stage(stages, number, (training, validation), (state, variables, keeper), called)
            if stage.schedule.keep == "best":
                assign(variables.variables_of_networks, state.best_weights)
            if isinstance(stage.trainer, AveragingTrainer):
                stage.trainer.take_average()
    finally:
        called.on_train_end()
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
    """Number of epochs or iterations in the earlier stages with the unit of this one."""
    unit = stages[number].schedule.unit
    return sum(stage.schedule.length for stage in stages[:number] if stage.schedule.unit == unit)


@dataclass(kw_only=True)
class Round:
    """How far an epoch, or the iterations between two checkpoints, have come.

    Args:
        stage: number of the stage.
        done: finished epochs or iterations of the stage.
        steps: steps of the next epoch or call of iterations that are taken.
        sums: sums of the terms over these steps, float32; empty: there are none.
        number: steps of the round before them.
        totals: sums of the terms over those, float64.
        seconds, cpu_seconds: what the round has taken in earlier processes.
    """

    stage: int
    done: int
    steps: int = 0
    sums: list[float] = field(default_factory=list)
    number: int = 0
    totals: list[float] = field(default_factory=list)
    seconds: float = 0.0
    cpu_seconds: float = 0.0


def _train_stage(
    stages: Sequence[Stage],
    number: int,
    data: tuple[FeatureTable, FeatureTable | None],
    kept: tuple[TrainingState, Variables, Keeper],
    called: keras.callbacks.CallbackList,
) -> None:
    """Trains the rest of a stage, round by round; a signal ends it with a checkpoint."""
    trainer, schedule = stages[number].trainer, stages[number].schedule
    (training, validation), (state, variables, keeper) = data, kept
    before, last = _before(stages, number), reached(stages, state, number)
    schedule.require_showers(len(training), trainer.batches_per_step)
    run, validate = compile_calls(trainer, training), compile_validation(trainer, validation)
    saved = time.monotonic()
    named = {"stage": float(number)} if len(stages) > 1 else {}
    text = f"training, stage {number + 1} of {len(stages)}" if named else "training"
    place = _begun(state, number, last)
    with progress(text, schedule.length - place.done, f"{schedule.unit}s") as bar, stoppable() as stop:
        while place.done < schedule.length:
            start, used = time.monotonic(), time.process_time()
            require_finite = partial(_require_finite, schedule.unit, before, last, keeper)
            finished = _round(stages[number], (run, len(training)), place, (bar, stop), require_finite)
            place.seconds += time.monotonic() - start
            place.cpu_seconds += time.process_time() - used
            if not finished:
                sums = dict(zip(trainer.term_names, place.sums, strict=False))
                require_finite(place.done, sums | _largest_weights(trainer))
                state.begun = asdict(place)
                _write(state, variables, keeper)
                state.begun = {}
                stop.end()
                continue  # the signal's handler lets the training go on
            last, means = place.done, (np.array(place.totals) / place.number).tolist()
            counted = {"iteration": float(before + last)} if schedule.unit == "iteration" else {}
            logs = {**named, **counted, **dict(zip(trainer.term_names, means, strict=True)), **validate()}
            require_finite(last, logs | _largest_weights(trainer))
            times = {"seconds": place.seconds, "cpu_seconds": place.cpu_seconds}
            _record(state, trainer, schedule, logs | times, variables)
            with trainer.averaged() if isinstance(trainer, AveragingTrainer) else nullcontext():
                keeper.save_snapshots(schedule.unit, before + last)
            due = schedule.unit == "iteration" or time.monotonic() - saved >= keeper.seconds
            if due or last == schedule.length or stop.number is not None:
                _write(state, variables, keeper)
                saved = time.monotonic()
            called.on_epoch_end(before + last - (schedule.unit == "epoch"), logs)
            stop.end()
            place = Round(stage=number, done=last)


def _begun(state: TrainingState, number: int, done: int) -> Round:
    """The round of a stage that a signal has stopped, or the next one after `done`."""
    begun, state.begun = state.begun, {}
    try:
        return Round(**begun) if begun else Round(stage=number, done=done)
    except TypeError as error:
        raise DataFormatError(f"a checkpoint's round must be one of training.train.Round. Received: {begun}") from error


def _round(
    stage: Stage,
    data: tuple[Run, int],
    place: Round,
    listeners: tuple[Progress, StopRequest],
    require_finite: Callable[[int, Logs], None],
) -> bool:
    """Takes the steps of a round, from its place on; False: a signal has stopped it.

    Args:
        data: the function that takes the steps, and the number of training showers.
        place: where the round begins; it is changed.
        listeners: what is told of progress, and what knows of a signal.
    """
    trainer, (run, num_showers), (bar, stop) = stage.trainer, data, listeners
    totals = np.array(place.totals or np.zeros(len(trainer.term_names)))
    for now, rows in stage.schedule.calls(place.done, num_showers, trainer.batches_per_step):
        if stop.number is not None:
            return False
        told = partial(_told_steps, bar, stop, place.steps, len(rows))
        sums, steps = run(rows[place.steps :], place.sums, told)
        if place.steps + steps < len(rows):
            place.steps, place.sums = place.steps + steps, sums.astype(np.float64).tolist()
            return False
        means = (sums / np.float32(len(rows))).astype(np.float64)
        logs = dict(zip(trainer.term_names, means.tolist(), strict=True))
        require_finite(now, logs)
        totals, place.number = totals + len(rows) * means, place.number + len(rows)
        bar.note(", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in logs.items()))
        bar.advance(now - place.done)
        place.done, place.steps, place.sums, place.totals = now, 0, [], totals.tolist()
    return True


def _told_steps(bar: Progress, stop: StopRequest, before: int, total: int, done: int) -> bool:
    """Tells how many steps are done, and whether a signal stops the round."""
    if before + done < total:
        bar.note(f"{before + done:,} of {total:,} steps")
    return stop.number is not None


def _record(state: TrainingState, trainer: Trainer, schedule: Schedule, logs: Logs, variables: Variables) -> None:
    if schedule.unit == "iteration":
        state.history.append(logs)
    else:
        first = trainer.term_names[0]
        state.record(logs, f"val_{first}" if f"val_{first}" in logs else first, variables)


def _write(state: TrainingState, variables: Variables, keeper: Keeper) -> None:
    state.capture(variables)
    if keeper.checkpoint is not None:
        write_state(keeper.checkpoint, state)


def _largest_weights(trainer: Trainer) -> Logs:
    """Largest absolute values by path: with NaN in a weight, ReLU may keep losses finite."""
    return {item.path: float(np.abs(item.numpy()).max()) for item in trainer.variables_of_networks}


def _require_finite(unit: str, before: int, last: int, keeper: Keeper, now: int, values: Logs) -> None:
    """Refuse infinity and NaN after `now` epochs or iterations of a stage.

    `before` precede the stage; after `last` of its own there may be a snapshot.
    """
    bad = {name: value for name, value in values.items() if not np.isfinite(value)}
    if not bad:
        return
    kept = "no checkpoint was written yet"
    if keeper.directory and keeper.checkpoint and keeper.checkpoint.exists():
        kept = f"{keeper.checkpoint} holds the last checkpoint"
        for name, path in snapshot_paths(keeper.directory, unit, before + last, keeper.networks).items():
            kept = f"{path} holds the {name} of {unit} {before + last}" if path.exists() else kept
    raise DivergedError(
        f"losses and weights must stay finite. Received: {bad} at {unit} {before + now}; {kept} "
        "(a smaller learning_rate may help)"
    )
