"""A study's own files as others write them: labels after a logarithm, slightly negative energies."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import TINY_VOXELS, make_grid, make_showers
from toy_gan import GAN_VALUES, toy_showers

from calogen.errors import ConfigError, DataFormatError
from calogen.generation.generate import route
from calogen.reproduction import study
from calogen.reproduction.experiment import Arguments, parse_arguments
from calogen.reproduction.study_data import read_at_energies
from calogen.showers.bundled import HONEST_NOTE, bundled
from calogen.showers.sample import Showers
from calogen.showers.voxels import PHOTONS_DATASET1, PIONS_DATASET1, VoxelGeometry
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


@pytest.mark.parametrize(("particle", "geometry"), [("photon", PHOTONS_DATASET1), ("pion", PIONS_DATASET1)])
def test_bundled_showers_and_every_eighth_of_them(particle: str, geometry: VoxelGeometry) -> None:
    given = Arguments(preset="laptop", seeds=(1,), runs=Path("runs"), first_edition=True)
    whole = study.read_data(given, f"{particle}s", geometry, len)
    assert whole.note == f"{HONEST_NOTE}; first edition"
    assert dict(whole.files) == {name: bundled(f"{particle}s_{name}") for name in ("train", "test")}
    few = study.read_data(replace(given, preset="smoke", first_edition=False), f"{particle}s", geometry, len)
    assert whole.held_out is not None and few.held_out is not None  # noqa: PT018
    assert len(whole.train) > len(few.train)
    np.testing.assert_array_equal(few.train.energies, whole.train.energies[::8])
    np.testing.assert_array_equal(few.held_out.energies, whole.held_out.energies[::4])
    assert {*few.train.incident_energies} == {*whole.train.incident_energies} == {*few.held_out.incident_energies}
    more = study.read_data(replace(given, first_edition=False), f"{particle}s", geometry, len)
    assert more.note == f"{HONEST_NOTE}; all bundled showers"
    assert [item.train.counts[256.0] for item in (whole, more)] == [1000, 3000]
    np.testing.assert_array_equal(more.train.at(512.0).energies[:1000], whole.train.at(512.0).energies)


def cells(folder: Path, energies: tuple[float, ...], name: str) -> Path:
    """Ten showers of each energy in two layers of cells."""
    grid = make_grid((2, 1), (3, 2))
    incident = np.repeat(energies, 10)
    showers = make_showers(grid, len(incident), 1)
    Showers(grid, incident, showers.energies).write(folder / name)
    return folder / name


def test_a_papers_energies_are_read_from_two_files(tmp_path: Path) -> None:
    grid, trained = make_grid((2, 1), (3, 2)), (1024.0, 4096.0)
    train = cells(tmp_path, (512.0, *trained), "a.h5")
    test = cells(tmp_path, (512.0, 1024.0, 3000.0, 4096.0), "b.h5")
    given = Arguments(preset="laptop", seeds=(1,), runs=tmp_path, train_data=train, test_data=test)
    data = read_at_energies(given, "photons", grid, trained, (3000.0,))
    assert data.held_out is None
    assert data.train.counts == {1024.0: 10, 4096.0: 10}
    assert data.reference.counts == {1024.0: 10, 3000.0: 10, 4096.0: 10}
    assert data.note == "a.h5, b.h5"
    few = read_at_energies(replace(given, preset="smoke", first_edition=False), "photons", grid, trained, (3000.0,))
    np.testing.assert_array_equal(few.train.energies, data.train.energies[::8])
    with pytest.raises(DataFormatError, match=r"b\.h5 must hold showers at 2000 MeV, at least two"):
        read_at_energies(given, "photons", grid, trained, (2000.0,))
    with pytest.raises(ConfigError, match="go together"):
        read_at_energies(replace(given, test_data=None), "photons", grid, trained, ())
