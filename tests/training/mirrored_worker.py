"""Trains with `fit` on two replicas.

They are virtual CPUs, which must be set before TensorFlow starts. It writes the file: weights `after/<number>`, one
row per replica, the losses, and the replicas' `seeds`.

Usage: python mirrored_worker.py FILE
"""

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from calogen.training.latent import Latent
from calogen.training.layers import SpectralDense
from calogen.training.wgan_gp import Critic, Generator, WganGp

STEPS, ROWS = 2, 8  # critic steps, showers per step and replica


def make_trainer() -> WganGp:
    """A trainer without noise.

    The latent space is a point, and a linear critic has one gradient everywhere.
    """
    inputs = {"latent": keras.Input((2,), name="latent"), "condition": keras.Input((1,), name="condition")}
    hidden = keras.layers.Concatenate()([inputs["latent"], inputs["condition"]])
    for number, units in enumerate((6, 4)):
        hidden = keras.layers.Dense(units, kernel_initializer=initializer(number))(hidden)
        hidden = keras.layers.Activation("swish")(keras.layers.BatchNormalization()(hidden))
    generator = keras.Model(inputs, hidden, name="generator")
    seen = {"shower": keras.Input((4,), name="shower"), "condition": keras.Input((1,), name="condition")}
    hidden = keras.layers.Concatenate()([seen["shower"], seen["condition"]])
    hidden = keras.layers.LeakyReLU(1.0)(SpectralDense(5, kernel_initializer=initializer(2))(hidden))
    critic = keras.Model(seen, SpectralDense(1, kernel_initializer=initializer(3))(hidden), name="critic")
    return WganGp(
        Generator(
            network=generator,
            optimizer=keras.optimizers.SGD(0.1),
            latent=Latent(dim=2, mean=0.5, spread=1e-30),
            activity_weight=0.01,
        ),
        [Critic(network=critic, optimizer=keras.optimizers.SGD(0.1), gradient_penalty_weight=3.0)],
        critic_steps=STEPS,
        seed=1,
    )


def batch_of(places: tuple[tuple[int, int], ...]) -> tf.data.Dataset:
    """One batch of `fit` with the showers of (replica, step) in some order.

    Both replicas have the same conditions, so that their batches of generated showers have the same moments.
    """
    rng = np.random.default_rng(2)
    shower = rng.normal(size=(2, STEPS, ROWS, 4)).astype(np.float32)
    condition = np.stack([rng.normal(size=(STEPS, ROWS, 1)).astype(np.float32)] * 2)
    parts = {"shower": shower, "condition": condition}
    batch = {name: np.concatenate([part[place] for place in places]) for name, part in parts.items()}
    return tf.data.Dataset.from_tensor_slices(batch).batch(2 * STEPS * ROWS)


def initializer(seed: int) -> keras.initializers.Initializer:
    return keras.initializers.HeUniform(seed=seed)


def main(path: Path) -> None:
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        trainer = make_trainer()
    history = trainer.fit(batch_of(((0, 0), (0, 1), (1, 0), (1, 1))), verbose=0, shuffle=False).history
    weights = [variable.value.values for variable in trainer.variables_of_networks]
    after = {f"after/{number:02d}": np.stack([one.numpy() for one in found]) for number, found in enumerate(weights)}
    np.savez(path, seeds=np.stack(strategy.run(trainer.step_seed).values), **after, **history)


if __name__ == "__main__":
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    main(Path(sys.argv[1]))
