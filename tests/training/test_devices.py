"""Several devices that share each batch, as virtual processors."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from conftest import TINY_VOXELS
from training.mirrored_worker import ROWS as SHARE
from training.mirrored_worker import STEPS, make_trainer
from training.toy_wgan import HERE, SHOWERS, SMALL

from calogen.errors import ConfigError
from calogen.features.batches import Resident
from calogen.models import fastcalogan
from calogen.training.calls import compile_calls
from calogen.training.devices import training_devices, training_scope
from calogen.training.fit import fit

ROWS = np.arange(2 * STEPS * 2 * SHARE, dtype=np.int32).reshape(2, STEPS, 2 * SHARE)
"""Rows of two steps, whose batches both devices share."""
INTERRUPTED = replace(SMALL, iterations=4, batch_size=8)


def table() -> Resident:
    """Showers with the same conditions in both halves of a batch, so that both devices' batch moments are equal."""
    rng = np.random.default_rng(3)
    condition = np.tile(rng.normal(size=(ROWS.size // 2 // SHARE, SHARE, 1)), (1, 2, 1)).reshape(-1, 1)
    shower = rng.normal(size=(ROWS.size, 4))
    return Resident(tf.constant(shower, tf.float32), tf.constant(condition, tf.float32))


def test_two_devices_take_the_steps_of_one_and_one_goes_on(tmp_path: Path) -> None:
    environment = dict(os.environ) | {"PYTHONPATH": f"{HERE.parent}:{HERE.parent / 'support'}"}
    subprocess.run(
        [sys.executable, str(HERE / "devices_worker.py"), str(tmp_path)],
        check=True,
        capture_output=True,
        env=environment,
    )
    trainer = make_trainer()
    before = [item.numpy() for item in trainer.variables_of_networks]
    sums, _ = compile_calls(trainer, table())(ROWS)
    with np.load(tmp_path / "step.npz") as found:
        np.testing.assert_allclose(found["sums"], sums, rtol=1e-4)
        for number, (item, old) in enumerate(zip(trainer.variables_of_networks, before, strict=True)):
            np.testing.assert_allclose(found[f"{number:02d}"], item.numpy(), atol=1e-5, err_msg=item.path)
            if item.name == "kernel":
                assert np.abs(item.numpy() - old).max() > 1e-3

    refusal = (tmp_path / "refusal.txt").read_text(encoding="utf-8")
    assert refusal == "batch_size must be a multiple of the 2 devices. Received: 7"
    assert not (tmp_path / "run" / "config.json").exists(), "it was interrupted"
    run = fit(fastcalogan, INTERRUPTED, TINY_VOXELS, SHOWERS, tmp_path / "run")
    assert [row["iteration"] for row in run.history] == [1, 2, 3, 4]


def test_what_devices_cannot_do_is_refused() -> None:
    with (
        pytest.raises(ConfigError, match="multi-worker is not supported: .* for each GPU"),
        training_devices("multi-worker"),
    ):
        pytest.fail("the block must not run")
    with training_devices("mirrored", ["CPU:0"]), training_scope():
        assert not tf.distribute.has_strategy(), "a single device needs none"
    with pytest.raises(ConfigError, match="must be one or mirrored. Received: two"), training_devices("two"):
        pytest.fail("the block must not run")
