import random
import runpy
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import TINY_VOXELS
from training.toy_wgan import (
    BATCH_SIZE,
    HERE,
    SEED,
    SHOWERS,
    SMALL,
    adam,
    data_of,
    fold,
    make_trainer,
    weights_of,
)

from calogen.errors import CalogenError, ConfigError
from calogen.features.batches import Resident, dataset
from calogen.generation.load import load_network
from calogen.models import fastcalogan
from calogen.parallel import tensorflow_threads
from calogen.training.calls import compile_calls
from calogen.training.latent import Latent
from calogen.training.run import snapshot_paths
from calogen.training.state import TrainingState, read_state
from calogen.training.train import Keeper, stages_of, train
from calogen.training.trainer import Curriculum, Draws
from calogen.training.wgan_gp import TERMS, Generator, WganGp


def rows_of(seed: tf.Tensor, step: int, curriculum: Curriculum, critic_steps: int = 2) -> np.ndarray:
    """Rows of a critic step in the first stage, by the rule of the seeds."""
    drawn = tf.random.stateless_uniform(
        (BATCH_SIZE,), fold(seed, critic_steps + 1 + step), 0, curriculum.counts[0], tf.int32
    )
    return curriculum.order[drawn.numpy()]


class Heard(keras.callbacks.Callback):
    """Remembers what it hears."""

    def __init__(self) -> None:
        super().__init__()
        self.epochs: dict[int, dict[str, float]] = {}
        self.ended = 0

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.epochs[epoch] = dict(logs or {})

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        self.ended += 1


@dataclass(frozen=True)
class Plan:
    """A training of the toy WGAN: schedule and keeper."""

    schedule: Draws
    keeper: Keeper

    @property
    def checkpoint(self) -> Path:
        assert self.keeper.checkpoint is not None
        return self.keeper.checkpoint

    def snapshot(self, iteration: int) -> Path:
        return snapshot_paths(self.checkpoint.parent, "iteration", iteration, ["generator"])["generator"]


def plan_of(trainer: WganGp, directory: Path, curriculum: Curriculum, identity: str = "", **schedule: int) -> Plan:
    keeper = Keeper(directory=directory, identity=identity, networks={"generator": trainer.generator})
    return Plan(Draws(**{"batch_size": BATCH_SIZE, "seed": SEED, "curriculum": curriculum} | schedule), keeper)


CURRICULUM = Curriculum(order=np.random.default_rng(1).permutation(len(SHOWERS))[:40])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[WganGp, Plan, TrainingState, Heard]:
    """A training of 12 iterations with a checkpoint after every five."""
    trainer, heard = make_trainer(), Heard()
    plan = plan_of(trainer, tmp_path_factory.mktemp("trained"), CURRICULUM, "me", iterations=12, interval=5)
    return trainer, plan, train(stages_of(trainer, plan.schedule), data_of(), None, plan.keeper, [heard]), heard


def test_compiled_iterations_take_the_steps_of_single_ones(
    trained: tuple[WganGp, Plan, TrainingState, Heard],
) -> None:
    trainer, _, state, _ = trained
    single, data, rows = make_trainer(), data_of(), []
    for _ in range(12):
        seed = single.step_seed()
        terms = single.iterate(lambda step, s=seed: data.batch(rows_of(s, int(step), CURRICULUM)), seed)
        rows.append([float(terms[name]) for name in TERMS])
    np.testing.assert_allclose(weights_of(trainer), weights_of(single), atol=2e-5)
    means = [np.mean(rows[start:stop], axis=0) for start, stop in ((0, 5), (5, 10), (10, 12))]
    np.testing.assert_allclose([[row[name] for name in TERMS] for row in state.history], means, rtol=1e-3, atol=1e-5)


def test_checkpoints_come_with_the_generator_and_are_heard_of(
    trained: tuple[WganGp, Plan, TrainingState, Heard],
) -> None:
    trainer, plan, state, heard = trained
    names = [f"iteration-00000{number}.keras" for number in ("05", "10", "12")]
    assert sorted(path.name for path in (plan.checkpoint.parent / "snapshots").iterdir()) == names
    assert plan.snapshot(12).name == names[-1]
    assert [row["iteration"] for row in state.history] == [5.0, 10.0, 12.0]
    assert state.reached == 12
    assert {tuple(row) for row in state.history} == {("iteration", *TERMS, "seconds", "cpu_seconds")}
    assert heard.epochs == {
        int(row["iteration"]): {name: row[name] for name in ("iteration", *TERMS)} for row in state.history
    }
    assert heard.ended == 1
    last, early = (load_network(plan.snapshot(iteration)).get_weights() for iteration in (12, 5))
    for ours, theirs, other in zip(trainer.generator.get_weights(), last, early, strict=True):
        np.testing.assert_array_equal(ours, theirs)
        assert (ours != other).any()


def test_a_finished_training_only_restores_its_weights(trained: tuple[WganGp, Plan, TrainingState, Heard]) -> None:
    trainer, plan, state, _ = trained
    stamp = plan.checkpoint.stat().st_mtime_ns
    again, heard = make_trainer(), Heard()
    assert train(stages_of(again, plan.schedule), data_of(), None, plan.keeper, [heard]).history == state.history
    np.testing.assert_array_equal(weights_of(again), weights_of(trainer))
    for ours, theirs in zip(again.variables_of_optimizers, trainer.variables_of_optimizers, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    assert not heard.epochs
    assert plan.checkpoint.stat().st_mtime_ns == stamp


def test_another_trainings_checkpoint_is_refused(trained: tuple[WganGp, Plan, TrainingState, Heard]) -> None:
    _, plan, _, _ = trained
    trainer = make_trainer()
    before = weights_of(trainer)
    with pytest.raises(CalogenError, match="another training's"):
        train(stages_of(trainer, plan.schedule), data_of(), None, replace(plan.keeper, identity="you"))
    np.testing.assert_array_equal(weights_of(trainer), before)


def test_fit_takes_an_iteration_from_a_batch_of_all_critic_steps() -> None:
    fitted, single = make_trainer(), make_trainer()
    history = fitted.fit(dataset(data_of(), 2 * BATCH_SIZE, shuffle=False).take(2), verbose=0, shuffle=False)
    data = data_of()
    losses = []
    for number in range(2):
        start = 2 * BATCH_SIZE * number
        losses.append(
            single.iterate(
                lambda step, s=start: data.batch(s + BATCH_SIZE * int(step) + tf.range(BATCH_SIZE)),
                single.step_seed(),
            )
        )
    np.testing.assert_allclose(weights_of(fitted), weights_of(single), atol=1e-5)
    for name in TERMS:
        assert history.history[name][0] == pytest.approx(np.mean([float(loss[name]) for loss in losses]), rel=1e-3)


def test_a_batch_of_fit_that_holds_too_few_showers_is_refused() -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="fit needs batches of 2 showers"):
        make_trainer().train_step(data_of().batch(tf.range(1)))


def without(rows: np.ndarray) -> Resident:
    """The showers with NaN in some rows."""
    shower = data_of().shower.numpy().copy()
    shower[rows] = np.nan
    return replace(data_of(), shower=tf.constant(shower))


STAGES = {"starts": (0, 3, 5), "counts": (20, 40, 60)}


@pytest.mark.parametrize(("first_forbidden", "starts"), [(20, 3), (40, 5)])
def test_a_stage_draws_its_showers_from_its_start_on(first_forbidden: int, starts: int) -> None:
    curriculum = Curriculum(order=np.random.default_rng(2).permutation(60), **STAGES)
    run = compile_calls(make_trainer(), without(curriculum.order[first_forbidden:]))
    schedule = Draws(iterations=starts + 1, batch_size=2 * BATCH_SIZE, seed=SEED, curriculum=curriculum)
    assert np.isfinite(run(schedule.rows(0, starts, 2))[0]).all()
    # half or a third of the showers allowed now: 32 draws miss them with probability 2^-32 or 2e-6
    assert np.isnan(run(schedule.rows(starts, 1, 2))[0]).any()


def test_a_loss_that_is_not_finite_names_the_last_good_checkpoint(tmp_path: Path) -> None:
    curriculum = Curriculum(order=np.arange(60), starts=(0, 25), counts=(20, 60))
    trainer, heard = make_trainer(), Heard()
    plan = plan_of(trainer, tmp_path, curriculum, iterations=60, batch_size=2 * BATCH_SIZE, interval=10)
    with pytest.raises(CalogenError, match="must stay finite") as error:
        train(stages_of(trainer, plan.schedule), without(curriculum.order[20:]), None, plan.keeper, [heard])
    assert f"{plan.snapshot(20)} holds the generator of iteration 20" in str(error.value)
    assert "at iteration 30" in str(error.value)
    assert heard.ended == 1
    state = read_state(plan.checkpoint, "")
    assert state.reached == 20
    assert np.isfinite([[row[name] for name in TERMS] for row in state.history]).all()
    assert all(np.isfinite(array).all() for array in (*state.weights, *state.optimizer))
    assert all(np.isfinite(weights).all() for weights in load_network(plan.snapshot(20)).get_weights())


class Spoil(keras.callbacks.Callback):
    """Makes the generator's weights NaN after the first checkpoint."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        for variable in self.model.generator.trainable_variables:
            variable.assign(np.full(variable.shape, np.nan))


def test_weights_that_are_not_finite_are_never_kept(tmp_path: Path) -> None:
    """A compiled ReLU makes zeros of NaN on some processors; on the others the losses tell before the weights do."""
    trainer = make_trainer()
    plan = plan_of(trainer, tmp_path, CURRICULUM, iterations=10, interval=2)
    message = r"must stay finite. Received: \{'(dense|critic_loss).*: nan.* at iteration 4"
    with pytest.raises(CalogenError, match=message) as error:
        train(stages_of(trainer, plan.schedule), data_of(), None, plan.keeper, [Spoil()])
    assert f"{plan.snapshot(2)} holds" in str(error.value)
    assert [path.name for path in (tmp_path / "snapshots").iterdir()] == ["iteration-0000002.keras"]
    assert all(np.isfinite(array).all() for array in read_state(plan.checkpoint, "").weights)


def test_without_a_checkpoint_the_message_says_so(tmp_path: Path) -> None:
    trainer = make_trainer()
    plan = plan_of(trainer, tmp_path, Curriculum(order=np.arange(60)), iterations=2, batch_size=4, interval=2)
    with pytest.raises(CalogenError, match="no checkpoint was written yet"):
        train(stages_of(trainer, plan.schedule), without(np.arange(60)), None, plan.keeper)
    assert not plan.checkpoint.exists()


@pytest.mark.parametrize("kills", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_killed_trainings_end_with_the_same_bits(tmp_path: Path, kills: int) -> None:
    """In the condition that is promised: processes with as many threads on the same processor."""
    worker, iterations, moments = HERE / "wgan_gp_worker.py", 40, random.Random(kills)

    def start(name: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, str(worker), str(tmp_path / name), str(iterations)])

    def reached(name: str = "killed") -> TrainingState:
        return read_state(tmp_path / name / "checkpoint.npz", "worker")

    for kill in range(kills):
        process = start("killed")
        while process.poll() is None and reached().reached <= kill * iterations // (kills + 1):
            time.sleep(0.002)
        time.sleep(moments.uniform(0.0, 0.05))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert reached().reached < iterations
    assert [process.wait() for process in (start("killed"), start("whole"))] == [0, 0]
    whole, killed = reached("whole"), reached()
    assert whole.reached == killed.reached == iterations
    assert whole.threads == killed.threads == [tensorflow_threads()]
    for name in ("weights", "optimizer"):
        pairs = zip(getattr(killed, name), getattr(whole, name), strict=True)
        assert all(ours.tobytes() == theirs.tobytes() for ours, theirs in pairs), name
    losses = [[{**row, "seconds": 0, "cpu_seconds": 0} for row in state.history] for state in (whole, killed)]
    assert losses[0] == losses[1]


def test_two_replicas_train_as_one_with_the_showers_of_both(tmp_path: Path) -> None:
    worker, path = HERE / "mirrored_worker.py", tmp_path / "replicas.npz"
    subprocess.run([sys.executable, str(worker), str(path)], check=True, capture_output=True)
    functions = runpy.run_path(str(worker))
    trainer = functions["make_trainer"]()
    before = [variable.numpy() for variable in trainer.variables_of_networks]
    both = functions["batch_of"](((0, 0), (1, 0), (0, 1), (1, 1)))  # each step has what both replicas had in it
    history = trainer.fit(both, verbose=0, shuffle=False).history
    with np.load(path) as found:
        for number, (variable, old) in enumerate(zip(trainer.variables_of_networks, before, strict=True)):
            for replica in found[f"after/{number:02d}"]:
                np.testing.assert_allclose(replica, variable.numpy(), atol=1e-6, err_msg=variable.path)
            if variable.name == "kernel":
                assert np.abs(variable.numpy() - old).max() > 1e-3
            if variable.trainable:
                np.testing.assert_array_equal(*found[f"after/{number:02d}"])
        for name in TERMS:
            assert found[name][0] == pytest.approx(history[name][0], rel=1e-4)
        assert (found["seeds"][0] != found["seeds"][1]).any(), "each has noise of its own"


def test_nonsense_is_refused() -> None:
    with pytest.raises(ConfigError, match="critic_steps must be at least 1. Received: 0"):
        make_trainer(critic_steps=0)
    generator = Generator(
        network=fastcalogan.build_generator(SMALL, TINY_VOXELS), optimizer=adam(), latent=Latent(dim=2)
    )
    with pytest.raises(ConfigError, match="at least one critic"):
        WganGp(generator, [], critic_steps=1, seed=1)
    for name in ("iterations", "batch_size", "interval"):
        with pytest.raises(ConfigError, match=f"{name} must be at least 1"):
            Draws(**{"iterations": 1, "batch_size": 1, "seed": 1, "curriculum": CURRICULUM, "interval": 1} | {name: 0})
    for starts, counts in (
        ((0, 5), (10,)),
        ((1,), (10,)),
        ((0, 5, 3), (1, 2, 3)),
        ((0,), (11,)),
        ((0, 2), (0, 5)),
    ):
        with pytest.raises(CalogenError, match="starts that rise from 0"):
            Curriculum(order=np.arange(10), starts=starts, counts=counts)
    assert Curriculum(order=np.arange(10)).counts == (10,)


def test_slow_steps_are_told_in_pieces_and_give_the_same_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(1).integers(60, size=(23, 2, 8)).astype(np.int32)
    whole, pieces, told = make_trainer(), make_trainer(), []
    sums, number = compile_calls(whole, data_of())(rows)
    monkeypatch.setattr("calogen.training.calls._CALL_SECONDS", 0.0)  # every step is slow
    run = compile_calls(pieces, data_of())
    again, first = run(rows, (), lambda done: told.append(done) or done == 9)
    assert (number, first, told) == (23, 9, [*range(1, 10)])
    again, rest = run(rows[9:], again.tolist())
    assert rest == 14
    np.testing.assert_array_equal(sums, again)
    np.testing.assert_array_equal(weights_of(whole), weights_of(pieces))
