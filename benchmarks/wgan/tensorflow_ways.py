"""One iteration in TensorFlow: calogen's in three variants, and a first, plain version."""

import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from types import SimpleNamespace

import numpy as np
from serve import serve

from calogen.backend import keras, tf
from calogen.features.batches import Resident
from calogen.features.moments import moments
from calogen.models.caloshowergan import CONFIGS, build, build_latent, build_schedule, build_trainer
from calogen.training.calls import compile_calls
from calogen.training.critic import taped_gradient
from calogen.training.losses import critic_loss, gradient_penalty, interpolate
from calogen.training.wgan_gp import draw

PAPER_CONFIG, GEOMETRY = CONFIGS["photon-kinetic"]
CONFIG = replace(PAPER_CONFIG, spectral_normalization="none")
Iterate = Callable[[], object]


def make(settings: SimpleNamespace) -> Iterate:
    """Makes the iteration of the way that the second argument names."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    random = np.random.default_rng(1)
    showers = random.random((settings.num_showers, GEOMETRY.size), np.float32)
    conditions = random.random((settings.num_showers, 1), np.float32)
    ways = {"ours": ours, "spectral": ours_spectral, "bfloat16": ours_bfloat16, "plain": plain}
    return ways[sys.argv[2]](showers, conditions, settings.batch_size)


def ours(showers: np.ndarray, conditions: np.ndarray, batch_size: int) -> Iterate:
    """The suite's compiled iterations."""
    return compiled(build(CONFIG, GEOMETRY), showers, conditions, batch_size)


def ours_spectral(showers: np.ndarray, conditions: np.ndarray, batch_size: int) -> Iterate:
    """The suite's compiled iterations with the paper's spectral normalisation."""
    return compiled(build(PAPER_CONFIG, GEOMETRY), showers, conditions, batch_size)


def ours_bfloat16(showers: np.ndarray, conditions: np.ndarray, batch_size: int) -> Iterate:
    """The suite's compiled iterations with the critic's products in bfloat16."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    critic = build(CONFIG, GEOMETRY)["critic"]
    keras.config.set_dtype_policy("float32")
    return compiled(build(CONFIG, GEOMETRY) | {"critic": critic}, showers, conditions, batch_size)


def compiled(networks: dict[str, keras.Model], showers: np.ndarray, conditions: np.ndarray, batch_size: int) -> Iterate:
    """One compiled iteration."""
    trainer = build_trainer(CONFIG, GEOMETRY, networks, moments(showers))
    data = Resident(tf.constant(showers), tf.constant(conditions))
    schedule = replace(build_schedule(CONFIG, conditions[:, 0]), batch_size=batch_size)
    run, iterations = compile_calls(trainer, data), count()
    return lambda: run(schedule.rows(next(iterations), 1, CONFIG.critic_steps))


def plain(showers: np.ndarray, conditions: np.ndarray, batch_size: int) -> Iterate:
    """A first, plain version: a tf.function per step, tf.data, double back-propagation."""
    networks, latent = build(CONFIG, GEOMETRY), build_latent(CONFIG)
    generator, critic = networks["generator"], networks["critic"]
    optimizers = [keras.optimizers.Adam(CONFIG.learning_rate, CONFIG.beta_1, CONFIG.beta_2) for _ in range(2)]
    for optimizer, network in zip(optimizers, (generator, critic), strict=True):
        optimizer.build(network.trainable_variables)
    batches = tf.data.Dataset.from_tensor_slices((showers, conditions)).shuffle(len(showers)).repeat()
    source = iter(batches.batch(batch_size, drop_remainder=True).prefetch(2))

    def generate(condition: tf.Tensor) -> tf.Tensor:
        seed = tf.random.uniform((2,), 0, 2**31 - 1, tf.int32)
        points = draw(latent, tf.shape(condition)[0], seed)
        return generator({"latent": points, "condition": condition}, training=True)

    @tf.function
    def critic_step(shower: tf.Tensor, condition: tf.Tensor) -> None:
        fake = generate(condition)
        between = interpolate(shower, fake, tf.random.uniform((batch_size, 1)))
        with tf.GradientTape() as tape:
            scores = [critic({"shower": item, "condition": condition}, training=True) for item in (shower, fake)]
            penalty = gradient_penalty(taped_gradient(critic, between, condition=condition))
            loss = critic_loss(*scores) + CONFIG.gradient_penalty_weight * penalty
        optimizers[1].apply(tape.gradient(loss, critic.trainable_variables), critic.trainable_variables)

    @tf.function
    def generator_step(condition: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(critic({"shower": generate(condition), "condition": condition}))
        optimizers[0].apply(tape.gradient(loss, generator.trainable_variables), generator.trainable_variables)

    def iterate() -> None:
        for _ in range(CONFIG.critic_steps):
            shower, condition = next(source)
            critic_step(shower, condition)
        generator_step(condition)

    return iterate


if __name__ == "__main__":
    serve(make)
