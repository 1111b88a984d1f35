"""Makes the small trained runs in tests/golden/trained, with the code that stands here.

They were made before calogen had rooms and hold what users have on their disks: every file of a run, and beside it the
checkpoint of a training that was interrupted half-way. tests/test_golden_runs.py loads them, generates with them and
goes on with the training. They are not made anew when the code changes: that is their purpose.
"""

import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from conftest import make_grid, make_showers
from toy_gan import CONFIG as CALOSHOWERGAN
from toy_gan import toy_showers

from calogen.generation.generate import generate
from calogen.generation.load import model_module
from calogen.models.atlas_vae import AtlasVaeConfig
from calogen.models.fastcalogan import FastCaloGanConfig
from calogen.showers.sample import Showers
from calogen.training.fit import fit as trained
from calogen.training.state import write_state
from calogen.training.train import Keeper

RUNS = Path(__file__).parent / "trained"
MOMENTA = {"lowest_momentum": 2.0**10, "highest_momentum": 2.0**12, "latent_dim": 3}
FASTCALOGAN = FastCaloGanConfig(
    **MOMENTA, generator_units=(8,), critic_units=(8,), critic_steps=2, batch_size=16, iterations=4, seed=5
)
VAE = AtlasVaeConfig(encoder_units=(8,), decoder_units=(8,), latent_dim=2, epochs=4, batch_size=50, seed=5)
SPECTRAL = replace(CALOSHOWERGAN, spectral_normalization="reparametrised")
CELLS = make_showers(make_grid((2, 1), (3, 2), (2, 2)), 200)
VOXELS = toy_showers(40)
MODELS: dict[str, tuple[str, Any, Showers]] = {
    "atlas_vae": ("atlas_vae", VAE, CELLS),
    "fastcalogan": ("fastcalogan", FASTCALOGAN, VOXELS),
    "caloshowergan": ("caloshowergan", CALOSHOWERGAN, VOXELS),
    "caloshowergan_bfloat16": (
        "caloshowergan",
        replace(CALOSHOWERGAN, spectral_normalization="reparametrised"),
        VOXELS,
    ),
}


class InterruptedTrainingError(Exception):
    """Ends a training as a killed process would."""


def fit(name: str, directory: Path) -> Any:
    """Trains the model of one golden run."""
    model, config, showers = MODELS[name]
    bfloat16 = name.endswith("bfloat16")
    return trained(model_module(model), config, showers.geometry, showers, directory, snapshots={2}, bfloat16=bfloat16)


def after(number: int, write: Callable[..., None]) -> Callable[..., None]:
    """Gives a function that writes a checkpoint and ends the training with the one of this number."""

    def written(path: Path, state: Any) -> None:
        write(path, state)
        if state.epoch == number:
            raise InterruptedTrainingError

    return written


def main() -> None:
    """Writes each run, the showers it was trained on, those it generates, and the half-way checkpoint."""
    for name, (_, _, showers) in MODELS.items():
        directory = RUNS / name
        shutil.rmtree(directory, ignore_errors=True)
        half = RUNS / "half"
        with (
            mock.patch("calogen.training.train.write_state", after(2, write_state)),
            mock.patch("calogen.training.fit.Keeper", partial(Keeper, seconds=0.0)),
            suppress(InterruptedTrainingError),
        ):
            fit(name, half)
        run = fit(name, directory)
        shutil.copy(half / "checkpoint.npz", directory / "half.npz")
        shutil.rmtree(half)
        shutil.rmtree(directory / "tensorboard")
        for number in (1, 3):
            (directory / "snapshots" / f"iteration-{number:07d}.keras").unlink(missing_ok=True)
        energies = np.array([1024.0, 2048.0, 4096.0, 3000.0])
        np.savez(
            directory / "showers.npz",
            incident_energies=showers.incident_energies,
            energies=showers.energies,
            asked=energies,
            generated=generate(run, energies, seed=3).energies,
        )
        print(name, sum(path.stat().st_size for path in directory.rglob("*") if path.is_file()))


if __name__ == "__main__":
    main()
