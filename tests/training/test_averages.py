from pathlib import Path

import keras
import numpy as np
import pytest
from training.toy_wgan import BATCH_SIZE, SEED, data_of, iterate, make_trainer

from calogen.generation.load import load_network
from calogen.training.run import snapshot_paths
from calogen.training.state import write_state
from calogen.training.train import Keeper, stages_of, train
from calogen.training.trainer import Curriculum, Draws
from calogen.training.wgan_gp import WganGp

MOMENTUM = 0.8


def averaging() -> keras.optimizers.Optimizer:
    return keras.optimizers.Adam(1e-2, use_ema=True, ema_momentum=MOMENTUM)


def generator_of(trainer: WganGp) -> list[np.ndarray]:
    return [variable.numpy() for variable in trainer.generator.trainable_variables]


def schedule(iterations: int) -> Draws:
    curriculum = Curriculum(order=np.arange(len(data_of())))
    return Draws(iterations=iterations, batch_size=BATCH_SIZE, seed=SEED, curriculum=curriculum)


def test_the_average_is_that_of_the_weights_after_each_iteration() -> None:
    trainer, expected = make_trainer(optimizer=averaging), None
    for _ in range(4):
        iterate(trainer)
        now = generator_of(trainer)
        expected = (
            now
            if expected is None
            else [MOMENTUM * old + (1 - MOMENTUM) * new for old, new in zip(expected, now, strict=True)]
        )
    before = generator_of(trainer)
    with trainer.averaged():
        inside = generator_of(trainer)
    for values, wanted, old, again in zip(inside, expected, before, generator_of(trainer), strict=True):
        np.testing.assert_allclose(values, wanted, rtol=1e-5, atol=1e-7)
        np.testing.assert_array_equal(again, old)
    assert any(not np.array_equal(*pair) for pair in zip(inside, before, strict=True))


def test_averaging_does_not_change_the_training() -> None:
    plain, average = make_trainer(optimizer=lambda: keras.optimizers.Adam(1e-2)), make_trainer(optimizer=averaging)
    for trainer in (plain, average):
        iterate(trainer, 3)
    for one, other in zip(generator_of(plain), generator_of(average), strict=True):
        np.testing.assert_array_equal(one, other)
    with plain.averaged():
        np.testing.assert_array_equal(generator_of(plain)[0], generator_of(average)[0])


def test_snapshots_and_the_end_have_averages_and_a_stopped_training_goes_on(tmp_path: Path) -> None:
    def run(directory: Path, iterations: int) -> WganGp:
        trainer = make_trainer(optimizer=averaging)
        keeper = Keeper(directory=directory, identity="me", networks={"generator": trainer.generator})
        train(stages_of(trainer, schedule(iterations)), data_of(), None, keeper)
        return trainer

    whole = run(tmp_path / "whole", 60)
    (path,) = snapshot_paths(tmp_path / "whole", "iteration", 60, ["generator"]).values()
    for variable, value in zip(load_network(path).trainable_variables, generator_of(whole), strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    for trainer in (run(tmp_path / "whole", 60), run(tmp_path / "parts", 60)):
        for one, other in zip(generator_of(trainer), generator_of(whole), strict=True):
            np.testing.assert_array_equal(one, other)
    raw = make_trainer(optimizer=lambda: keras.optimizers.Adam(1e-2))
    train(stages_of(raw, schedule(60)), data_of(), None)
    assert np.abs(generator_of(raw)[0] - generator_of(whole)[0]).max() > 1e-4


@pytest.mark.parametrize("stop", [1, 2])
def test_a_killed_training_has_the_same_average(stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = make_trainer(optimizer=averaging)
    train(stages_of(whole, schedule(60)), data_of(), None)
    written: list[object] = []

    def interrupt(*given: object) -> None:
        write_state(*given)  # type: ignore[arg-type]
        written.append(given)
        if len(written) == stop:
            raise KeyboardInterrupt

    keeper = Keeper(directory=tmp_path, identity="me")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("calogen.training.train.write_state", interrupt)
        train(stages_of(make_trainer(optimizer=averaging), schedule(60)), data_of(), None, keeper)
    again = make_trainer(optimizer=averaging)
    train(stages_of(again, schedule(60)), data_of(), None, keeper)
    for one, other in zip(generator_of(again), generator_of(whole), strict=True):
        np.testing.assert_array_equal(one, other)
