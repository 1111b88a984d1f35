"""Trains a small 3-D model to the end, from its checkpoint if there is one; the resume test kills it on the way.

Usage: python volumes_worker.py MODEL DIRECTORY
"""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from calogen.models import bib_ae, getting_high_gan, getting_high_wgan
from calogen.training import fit as training
from calogen.training.train import Keeper

sys.path.insert(0, str(Path(__file__).parents[1]))
from conftest import TINY_VOLUME, make_showers

_CODER: dict[str, Any] = {"code_dim": 3, "noise_dim": 2, "encoder_filters": (2, 3), "encoder_units": (8,)}
_DECODER: dict[str, Any] = {"decoder_units": (8,), "grown_filters": (2, 2, 3, 2), "decoder_filters": (2,)}
_CRITIC: dict[str, Any] = {"critic_filters": (2, 3), "stream_units": 4, "critic_units": (5,), "critic_steps": 2}
_GENERATOR: dict[str, Any] = {"first_filters": 4, "generator_filters": (4, 3, 2), "critic_steps": 2, "batch_size": 4}
_POST: dict[str, Any] = {"post_processing": True, "post_filters": 4, "post_batch_size": 4, "post_iterations": 12}
_EPOCHS: dict[str, Any] = {"epochs": 5, "post_epochs": (5, 5), "post_filters": 4, "batch_size": 8}
MODELS: dict[str, tuple[Any, dict[str, Any], int]] = {
    "bib_ae": (bib_ae, _CODER | _DECODER | _CRITIC | _EPOCHS, 3),
    "wgan": (getting_high_wgan, _GENERATOR | _POST | {"iterations": 12, "constrainer_iterations": 5}, 2),
    "gan": (getting_high_gan, {"generator_filters": (4, 3, 2), "batch_size": 4, "iterations": 12}, 1),
}
"""Module, what its narrow configuration changes, and number of stages."""


def main(model: str, directory: Path) -> None:
    module, changes, _ = MODELS[model]
    config = replace(module.CONFIGS["laptop"][0], **changes)
    with patch.object(training, "Keeper", partial(Keeper, seconds=0.0)):  # a checkpoint after every epoch
        training.fit(module, config, TINY_VOLUME, make_showers(TINY_VOLUME, 32), directory)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
