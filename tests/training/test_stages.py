"""Training in several stages, each with networks, optimizers and a schedule of its own."""

import signal
from itertools import count
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from stopping import stopped_by
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from calogen.features.batches import Batch, Resident
from calogen.process import Terminated, orderly
from calogen.training import calls as compiled
from calogen.training import train as module
from calogen.training.callbacks import ScalarLog
from calogen.training.state import TrainingState, read_state, write_state
from calogen.training.train import Keeper, Stage, is_finished, stages_of, train
from calogen.training.trainer import BatchOf, Curriculum, Draws, Epochs

SHOWER = np.random.default_rng(1).normal(size=(64, 3)).astype(np.float32)
DATA = Resident(tf.constant(SHOWER), tf.constant(SHOWER[:, :1] * 2))


class Regression:
    """One network learns to give a sum of the features; `before` names a network whose output it gets instead."""

    term_names = ("error", "distance")
    batches_per_step = 1

    def __init__(self, network: keras.Model, before: keras.Model | None = None, *, jit: bool = False) -> None:
        self.network, self._before, self.jit = network, before, jit
        self._optimizer = keras.optimizers.Adam(1e-2)
        self._optimizer.build(network.trainable_variables)

    @property
    def variables_of_networks(self) -> list[keras.Variable]:
        networks = [self.network] if self._before is None else [self._before, self.network]
        return [variable for network in networks for variable in network.variables]

    @property
    def variables_of_optimizers(self) -> list[keras.Variable]:
        return list(self._optimizer.variables)

    def validate(self, batch: Batch, number: tf.Tensor) -> dict[str, tf.Tensor]:
        shower = batch["shower"] if self._before is None else tf.stop_gradient(self._before(batch["shower"]))
        difference = self.network(shower) - batch["condition"]
        return {"error": tf.reduce_mean(difference**2), "distance": tf.reduce_mean(tf.abs(difference))}

    def step(self, batch: BatchOf) -> dict[str, tf.Tensor]:
        with tf.GradientTape() as tape:
            terms = self.validate(batch(tf.constant(0)), tf.constant(0))
        variables = self.network.trainable_variables
        self._optimizer.apply(tape.gradient(terms["error"], variables), variables)
        return terms


def network(seed: int, inputs: int) -> keras.Model:
    given = keras.Input((inputs,))
    dense = keras.layers.Dense(1, kernel_initializer=keras.initializers.GlorotUniform(seed))
    return keras.Model(given, dense(given), name=f"network_{seed}")


def make_stages() -> tuple[Stage, ...]:
    """Four epochs of one network, of which the best stays; six iterations of one that stands on it; two more epochs."""
    first, second = network(1, 3), network(2, 1)
    curriculum = Curriculum(order=np.arange(64))
    schedules = (
        Epochs(epochs=4, batch_size=16, seed=3),
        Draws(iterations=6, batch_size=8, seed=4, curriculum=curriculum, interval=2),
        Epochs(epochs=2, batch_size=16, seed=5, keep="last"),
    )
    return stages_of((Regression(first, jit=True), Regression(second, first), Regression(second, first)), schedules)


def keep(directory: Path, stages: tuple[Stage, ...]) -> Keeper:
    trained = {"second": stages[1].trainer.network}  # type: ignore[attr-defined]
    return Keeper(directory=directory, identity="me", seconds=0.0, networks=trained, snapshots=(5,))


def weights(stages: tuple[Stage, ...]) -> list[bytes]:
    return [item.numpy().tobytes() for stage in stages for item in stage.trainer.variables_of_networks]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[tuple[Stage, ...], TrainingState, Path]:
    directory, stages = tmp_path_factory.mktemp("stages"), make_stages()
    return stages, train(stages, DATA, DATA, keep(directory, stages)), directory


def test_a_log_is_open_through_all_stages(tmp_path: Path) -> None:
    stages = make_stages()
    train(stages, DATA, DATA, callbacks=[ScalarLog(tmp_path)])
    events = EventAccumulator(str(tmp_path), size_guidance={"tensors": 0}).Reload()
    assert [event.step for event in events.Tensors("training/stage")] == [0, 1, 2, 3, 2, 4, 6, 4, 5]


def test_stages_follow_one_another(whole: tuple[tuple[Stage, ...], TrainingState, Path]) -> None:
    stages, state, directory = whole
    assert [row["stage"] for row in state.history] == [0] * 4 + [1] * 3 + [2] * 2
    assert [row["iteration"] for row in state.history if row["stage"] == 1] == [2.0, 4.0, 6.0]
    assert all({"error", "distance", "val_error", "val_distance", "seconds"} <= set(row) for row in state.history)
    assert state.history[3]["error"] < state.history[0]["error"]
    assert is_finished(stages, state)
    names = {path.name for path in (directory / "snapshots").iterdir()}
    assert names == {"epoch-0005.keras", *(f"iteration-000000{number}.keras" for number in (2, 4, 6))}


def test_a_stage_leaves_the_networks_of_others_alone(whole: tuple[tuple[Stage, ...], TrainingState, Path]) -> None:
    stages, state, _ = whole
    best = int(np.argmin([row["val_error"] for row in state.history[:4]]))
    alone = make_stages()[:1]
    short = Stage(alone[0].trainer, Epochs(epochs=best + 1, batch_size=16, seed=3, keep="last"))
    train((short,), DATA, DATA)
    assert weights((short,)) == weights(stages[:1]), "the best epoch of the first stage is what the second stands on"


@pytest.mark.parametrize("after", range(1, 9))
def test_training_goes_on_in_the_stage_where_it_stopped(
    after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: tuple[tuple[Stage, ...], TrainingState, Path]
) -> None:
    written: list[int] = []

    def interrupt(path: Path, state: TrainingState) -> None:
        write_state(path, state)
        written.append(state.epoch)
        if len(written) == after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("calogen.training.train.write_state", interrupt)
        stages = make_stages()
        train(stages, DATA, DATA, keep(tmp_path, stages))
    assert written[-1] == after
    again = make_stages()
    state = train(again, DATA, DATA, keep(tmp_path, again))
    assert weights(again) == weights(whole[0])
    assert without_times(state) == without_times(whole[1])


def without_times(state: TrainingState) -> list[dict[str, float]]:
    return [{**row, "seconds": 0, "cpu_seconds": 0} for row in state.history]


@pytest.mark.parametrize("calls", [1, 3, 5, 6, 8, 10, 11, 12, 15])
def test_a_signal_at_any_step_changes_no_weight(
    calls: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: tuple[tuple[Stage, ...], TrainingState, Path]
) -> None:
    """The first stage has four calls, the second six, the third eight; see `make_stages`."""
    with stopped_by(monkeypatch, signal.SIGTERM, calls):
        stages = make_stages()
        train(stages, DATA, DATA, keep(tmp_path, stages))
    again = make_stages()
    state = train(again, DATA, DATA, keep(tmp_path, again))
    assert weights(again) == weights(whole[0])
    assert without_times(state) == without_times(whole[1])


def test_a_handler_that_returns_lets_the_training_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: tuple[tuple[Stage, ...], TrainingState, Path]
) -> None:
    told, heard, calls = module._told_steps, [], count(1)

    def send(*given: Any) -> bool:
        if next(calls) in (6, 12):
            signal.raise_signal(signal.SIGUSR1)
        return told(*given)

    before = signal.signal(signal.SIGUSR1, lambda number, _: heard.append(number))
    monkeypatch.setattr(module, "_told_steps", send)
    monkeypatch.setattr(compiled, "_CALL_SECONDS", 0.0)
    try:
        stages = make_stages()
        state = train(stages, DATA, DATA, keep(tmp_path, stages))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert heard == [signal.SIGUSR1] * 2
    assert weights(stages) == weights(whole[0])
    assert without_times(state) == without_times(whole[1])


def test_a_stopped_training_with_nan_keeps_its_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stages, told, calls = make_stages(), module._told_steps, count(1)

    def spoil(*given: Any) -> bool:
        if next(calls) == 6:
            stages[1].trainer.network.trainable_variables[0].assign([[np.nan]])  # type: ignore[attr-defined]
            signal.raise_signal(signal.SIGTERM)
        return told(*given)

    monkeypatch.setattr(module, "_told_steps", spoil)
    monkeypatch.setattr(compiled, "_CALL_SECONDS", 0.0)
    with pytest.raises(Terminated), orderly():  # the signal wins over the fault that the next start will meet
        train(stages, DATA, DATA, keep(tmp_path, stages))
    state = read_state(tmp_path / "checkpoint.npz", "me")
    assert all(np.isfinite(value).all() for value in state.weights)
    assert not state.begun
