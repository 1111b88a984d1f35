"""A WGAN small enough to look into, for the tests of its training."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from conftest import TINY_VOXELS, make_showers

from calogen.features.batches import Batch, Resident, resident
from calogen.models import caloshowergan, fastcalogan
from calogen.training.latent import Latent
from calogen.training.wgan_gp import (
    Critic,
    Generator,
    WganGp,
)

HERE = Path(__file__).parent
SMALL = fastcalogan.FastCaloGanConfig(
    latent_dim=2, generator_units=(5,), critic_units=(5, 4), critic_steps=2, schedule="all"
)
DEEP = caloshowergan.CaloShowerGanConfig(latent_dim=3, generator_units=(6,), critic_units=(6, 5), critic_steps=2)
SHOWERS = make_showers(TINY_VOXELS, 60)
CHAIN = fastcalogan.build_transform(SMALL, TINY_VOXELS).fit(SHOWERS)
BATCH_SIZE = 8
SEED = 7
fold = tf.random.experimental.stateless_fold_in


def adam() -> keras.optimizers.Optimizer:
    return keras.optimizers.Adam(1e-3)


def sgd() -> keras.optimizers.Optimizer:
    return keras.optimizers.SGD(0.1)


def make_trainer(
    networks: dict[str, keras.Model] | None = None,
    *,
    optimizer: Callable[[], keras.optimizers.Optimizer] = adam,
    critic_steps: int = 2,
    seed: int = SEED,
    **options: Any,
) -> WganGp:
    """A trainer of FastCaloGAN's small networks, or others, with one critic."""
    networks = networks or fastcalogan.build(SMALL, TINY_VOXELS)
    latent_dim = next(tensor.shape[1] for tensor in networks["generator"].inputs if tensor.name == "latent")
    latent = Latent(dim=latent_dim, distribution="uniform")
    critic = Critic(network=networks["critic"], optimizer=optimizer(), gradient_penalty_weight=10.0)
    generator = Generator(network=networks["generator"], optimizer=optimizer(), latent=latent)
    return WganGp(generator, [critic], critic_steps=critic_steps, seed=seed, **options)


def data_of(showers: Any = SHOWERS) -> Resident:
    return resident(showers, CHAIN)


def batch(step: int | tf.Tensor = 0) -> Batch:
    """Showers of one critic step."""
    return data_of().batch(BATCH_SIZE * tf.cast(step, tf.int32) + tf.range(BATCH_SIZE))


def iterate(trainer: WganGp, iterations: int = 1) -> dict[str, float]:
    """Takes iterations without compiling them, always from the same showers."""
    for _ in range(iterations):
        terms = trainer.iterate(batch, trainer.step_seed())
    return {name: float(value) for name, value in terms.items()}


def weights_of(trainer: WganGp) -> np.ndarray:
    return np.concatenate([np.ravel(variable.numpy()) for variable in trainer.variables_of_networks])
