"""Trains a small WGAN-GP to the end, from its checkpoint if there is one.

The resume test kills it on the way.

Usage: python wgan_gp_worker.py DIRECTORY ITERATIONS
"""

import sys
from pathlib import Path

import numpy as np

from calogen.features.batches import resident
from calogen.features.moments import moments
from calogen.models import caloshowergan
from calogen.training.callbacks import ScalarLog
from calogen.training.train import Keeper, stages_of, train
from calogen.training.trainer import Curriculum, Draws

sys.path.insert(0, str(Path(__file__).parents[1]))
from conftest import TINY_VOXELS, make_showers


def main(directory: Path, iterations: int) -> None:
    config = caloshowergan.CaloShowerGanConfig(
        latent_dim=3, generator_units=(8,), critic_units=(8,), critic_steps=2, learning_rate=1e-3
    )
    showers = make_showers(TINY_VOXELS, 100)
    chain = caloshowergan.build_transform(config, TINY_VOXELS).fit(showers)
    data = resident(showers, chain)
    networks = caloshowergan.build(config, TINY_VOXELS)
    trainer = caloshowergan.build_trainer(config, TINY_VOXELS, networks, moments(data.shower.numpy()))
    order = np.random.default_rng(1).permutation(len(showers))
    curriculum = Curriculum(order=order, starts=(0, iterations // 2), counts=(50, 100))
    seed = trainer.step_seed().numpy()[0]
    schedule = Draws(iterations=iterations, batch_size=16, seed=int(seed), curriculum=curriculum, interval=4)
    keeper = Keeper(directory=directory, identity="worker", networks={"generator": networks["generator"]})
    train(stages_of(trainer, schedule), data, None, keeper, [ScalarLog(directory / "tensorboard")])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
