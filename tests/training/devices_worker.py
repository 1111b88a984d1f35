"""Trains on two virtual devices, which must be set before TensorFlow starts.

It writes the weights and sums of one step of a WGAN, and a run that is interrupted after the first of its iterations.

Usage: python devices_worker.py FOLDER
"""

import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow as tf

if __name__ == "__main__":
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    from training.mirrored_worker import make_trainer
    from training.test_devices import INTERRUPTED, ROWS, table
    from training.toy_wgan import SHOWERS, TINY_VOXELS

    from calogen.errors import ConfigError
    from calogen.models import fastcalogan
    from calogen.training import train
    from calogen.training.calls import compile_calls
    from calogen.training.devices import training_devices, training_scope
    from calogen.training.fit import fit

    folder = Path(sys.argv[1])
    with training_devices("mirrored"):
        with training_scope():
            trainer = make_trainer()
            sums, _ = compile_calls(trainer, table())(ROWS)
        weights = {f"{number:02d}": item.numpy() for number, item in enumerate(trainer.variables_of_networks)}
        np.savez(folder / "step.npz", sums=sums, **weights)

        try:
            fit(fastcalogan, replace(INTERRUPTED, batch_size=7), TINY_VOXELS, SHOWERS, folder / "odd")
        except ConfigError as error:
            (folder / "refusal.txt").write_text(str(error), encoding="utf-8")

        write, written = train.write_state, []

        def interrupt(*words: object) -> None:
            write(*words)  # type: ignore[arg-type]
            written.append(1)
            if len(written) == 2:
                raise KeyboardInterrupt

        train.write_state = interrupt
        with suppress(KeyboardInterrupt):
            fit(fastcalogan, INTERRUPTED, TINY_VOXELS, SHOWERS, folder / "run")
