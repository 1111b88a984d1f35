"""Several devices that share each batch, as virtual processors."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import tensorflow as tf
from conftest import TINY_VOLUME, TINY_VOXELS, make_showers
from training.mirrored_worker import ROWS as SHARE
from training.mirrored_worker import STEPS, make_trainer
from training.toy_wgan import HERE, SHOWERS, SMALL
from training.volumes_worker import MODELS

from calogen.errors import ConfigError
from calogen.features.batches import Resident, moments_of, resident
from calogen.models import atlas_gan, atlas_note_gan, atlas_vae, caloshowergan, fastcalogan
from calogen.training.calls import compile_calls
from calogen.training.devices import training_devices, training_scope
from calogen.training.fit import fit
from calogen.training.state import assign

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


_LONG = [*(module for module, *_ in MODELS.values()), caloshowergan]


@pytest.mark.parametrize(
    "module", [atlas_vae, atlas_gan, atlas_note_gan, *(pytest.param(item, marks=pytest.mark.slow) for item in _LONG)]
)
def test_each_device_gives_its_share_of_every_gradient(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Optimizers sum the gradients of all devices; here two devices have the same showers and noise."""
    narrow = {item: replace(item.CONFIGS["laptop"][0], **changes) for item, changes, _ in MODELS.values()}
    config, geometry = next(iter(module.CONFIGS.values()))
    config, geometry = (narrow[module], TINY_VOLUME) if module in narrow else (config, geometry)
    chain, showers = module.build_transform(config, geometry), make_showers(geometry, 8)
    showers = replace(showers, conditions={name: np.linspace(-0.5, 0.5, 8) for name in chain.needs})
    data = resident(showers, chain.fit(showers.given))
    networks = module.build(config, geometry)
    trainers = module.build_trainer(config, geometry, networks, moments_of(data))
    given: list[np.ndarray] = []

    def remember(gradients: list[tf.Tensor], variables: object = None) -> None:
        given.extend(np.array(item) for item in gradients)

    for trainer in trainers if isinstance(trainers, list | tuple) else [trainers]:
        monkeypatch.setattr(trainer, "_activity_weight", 0.0, raising=False)  # of a sum, not of a mean, over showers
        for optimizer in trainer.optimizers:
            monkeypatch.setattr(optimizer, "apply", remember)
        found, state = [], [item.numpy() for item in trainer.variables_of_networks]
        for number in (1, 2):
            assign(trainer.variables_of_networks, state)  # even without a gradient a step changes norms and means
            monkeypatch.setattr(type(tf.distribute.get_strategy()), "num_replicas_in_sync", number)
            given.clear()
            trainer.step(lambda batch: data.batch(np.arange(4 * int(batch), 4 * int(batch) + 4) % 8))
            found.append([*given])
        assert any(gradient.any() for gradient in found[0])
        for whole, share in zip(*found, strict=True):
            np.testing.assert_allclose(share, whole / 2, rtol=1e-4, atol=1e-5 * np.abs(whole).max())
