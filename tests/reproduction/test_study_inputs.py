"""A study's own files as others write them: labels after a logarithm, slightly negative energies."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import TINY_VOXELS
from toy_gan import GAN_VALUES, toy_showers

from calogen.errors import DataFormatError
from calogen.generation.generate import route
from calogen.reproduction import study
from calogen.reproduction.experiment import Arguments, parse_arguments
from calogen.showers.sample import Showers
from calogen.training.fit import select_training

TRAIN, TEST = (toy_showers(number, seed, (1024.0, 4096.0)) for number, seed in ((40, 1), (20, 2)))
NOISE = 1 + 2e-7


def write(path: Path, showers: Showers, noise: float = 1.0, negative: float = 0.0) -> Path:
    """A file with noisy labels and a voxel below 0, as a part of its shower's energy."""
    energies = showers.energies.astype(float)
    energies[1, 2] -= energies[1, 2] + negative * showers.incident_energies[1] if negative else 0
    with h5py.File(path, "w") as file:
        file["incident_energies"], file["showers"] = showers.incident_energies[:, None] * noise, energies
    return path


def read(folder: Path, train: Path, test: Path, **changes: Any) -> study.Data:
    given: dict[str, Any] = {"preset": "laptop", "seeds": (1,), "runs": folder, "options": GAN_VALUES} | changes
    return study.read_data(Arguments(train_data=train, test_data=test, **given), "photons", TINY_VOXELS, len)


def test_labels_of_a_logarithm_are_held_out_at_the_training_momenta(tmp_path: Path) -> None:
    data = read(tmp_path, write(tmp_path / "a.h5", TRAIN), write(tmp_path / "b.h5", TEST, NOISE))
    assert data.held_out is not None
    np.testing.assert_array_equal(data.held_out.incident_energies, TEST.incident_energies)
    assert list(data.reference.counts) == [1024.0, 4096.0]


def test_momenta_at_the_edge_of_a_range_belong_to_it() -> None:
    """FastCaloGAN's and CaloShowerGAN's networks end at the momenta of the files."""
    config = SimpleNamespace(momentum_range=(1024.0, 4096.0))
    noisy = replace(TRAIN, incident_energies=TRAIN.incident_energies * np.resize([NOISE, 2 - NOISE], len(TRAIN)))
    assert len(select_training(noisy, config)[0]) == len(select_training(TRAIN, config)[0])
    run: Any = SimpleNamespace(geometry=TINY_VOXELS, momentum_range=config.momentum_range)
    assert (route([run], noisy.incident_energies) == 0).all()
    with pytest.raises(DataFormatError, match="must be within 1024..4096 MeV"):
        route([run], np.array([4097.0]))


def test_slightly_negative_energies_need_the_flag_and_are_noted(tmp_path: Path) -> None:
    train, test = write(tmp_path / "a.h5", TRAIN, negative=5e-4), write(tmp_path / "b.h5", TEST)
    with pytest.raises(DataFormatError, match="1 negative energies in 1 showers.*--tolerant sets them to 0"):
        read(tmp_path, train, test)
    data = read(tmp_path, train, test, tolerant=True)
    assert data.note.startswith("a.h5, b.h5; a.h5: set to 0 were 1 negative energies in 1 showers")
    assert data.train.energies.min() == 0
    halved = write(tmp_path / "c.h5", TEST, 1 + 4e-4)
    with pytest.raises(DataFormatError, match="c.h5 must hold showers at momenta of"):
        read(tmp_path, write(tmp_path / "a.h5", TRAIN), halved)
    data = read(tmp_path, tmp_path / "a.h5", halved, tolerant=True)
    assert data.note == f"a.h5, c.h5; c.h5: {len(TEST)} incident energies were close to known ones and count as equal"
    assert data.held_out is not None
    np.testing.assert_array_equal(data.held_out.incident_energies, TEST.incident_energies)
    assert parse_arguments("", ["--tolerant"]).tolerant
    assert not parse_arguments("", []).tolerant
