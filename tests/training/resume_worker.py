"""Trains a small VAE to the end, from its checkpoint if there is one; the resume test kills it on the way.

Usage: python resume_worker.py DIRECTORY EPOCHS
"""

import sys
from pathlib import Path

from calogen.features.batches import resident, split
from calogen.features.moments import moments
from calogen.models import atlas_vae
from calogen.training.callbacks import ScalarLog
from calogen.training.train import Keeper, stages_of, train
from calogen.training.trainer import Epochs

sys.path.insert(0, str(Path(__file__).parents[1]))
from conftest import make_grid, make_showers


def main(directory: Path, epochs: int) -> None:
    grid = make_grid((2, 1), (3, 2), (2, 2))
    config = atlas_vae.AtlasVaeConfig(encoder_units=(32, 16), decoder_units=(16, 32), learning_rate=3e-3)
    showers = make_showers(grid, 400)
    training, validation = (showers[rows] for rows in split(400, 0.2, seed=1))
    chain = atlas_vae.build_transform(config, grid).fit(training)
    networks = atlas_vae.build(config, grid)
    trainer = atlas_vae.build_trainer(config, grid, networks, moments(chain.forward(training)))
    train(
        stages_of(trainer, Epochs(epochs=epochs, batch_size=32, seed=5, keep="last")),
        resident(training, chain),
        resident(validation, chain),
        Keeper(
            directory=directory,
            seconds=0.0,
            identity="worker",
            networks={"decoder": networks["decoder"]},
            snapshots=(epochs // 2, epochs),
        ),
        [ScalarLog(directory / "tensorboard")],
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
