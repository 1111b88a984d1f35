"""Files of grid showers: sparse, dense and in the public layout, against the arrays in memory."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from calogen.errors import DataFormatError, GeometryError
from calogen.showers.bundled import known_geometry, read_showers
from calogen.showers.files import ShowerFile, read_given
from calogen.showers.grid import RegularGrid
from calogen.showers.grid_files import public_datasets
from calogen.showers.grids import AHCAL_GRID, ILD_ANGULAR_GRID, ILD_GRID
from calogen.showers.public import write_public
from calogen.showers.sample import Showers, write_blocks
from calogen.showers.sparse import COUNTS, ENERGIES, STEPS
from calogen.showers.voxels import PHOTONS_DATASET1


def toy_showers(grid: RegularGrid = ILD_GRID, number: int = 7) -> Showers:
    rng = np.random.default_rng(number)
    energies = np.where(rng.random((number, grid.size)) < 0.02, rng.exponential(2.0, (number, grid.size)), 0)
    energies[2] = 0
    labels = rng.uniform(10_000, 100_000, number)
    return Showers(grid, labels, energies.astype(np.float32), {"angle": rng.uniform(0.7, 1.5, number)}, {"note": "toy"})


@pytest.fixture(scope="module")
def showers() -> Showers:
    return toy_showers()


def assert_equal(first: Showers, second: Showers) -> None:
    np.testing.assert_array_equal(first.energies, second.energies)
    np.testing.assert_allclose(first.incident_energies, second.incident_energies, rtol=1e-7)
    np.testing.assert_allclose(first.conditions["angle"], second.conditions["angle"])


@pytest.mark.parametrize("grid", [ILD_GRID, ILD_ANGULAR_GRID, AHCAL_GRID], ids=lambda grid: grid.name)
def test_sparse_files_are_small_and_known(tmp_path: Path, grid: RegularGrid) -> None:
    showers = toy_showers(grid)
    showers.write(tmp_path / "a.h5")
    assert known_geometry(tmp_path / "a.h5") is grid
    assert_equal(read_showers(tmp_path / "a.h5"), showers)
    assert read_showers(tmp_path / "a.h5").attributes["note"] == "toy"
    assert (tmp_path / "a.h5").stat().st_size < 0.08 * showers.energies.nbytes


def test_energies_are_rounded_to_some_bits(tmp_path: Path, showers: Showers) -> None:
    showers.write(tmp_path / "a.h5", mantissa_bits=12)
    read = read_showers(tmp_path / "a.h5").energies
    assert (read != showers.energies).any()
    np.testing.assert_allclose(read, showers.energies, rtol=1.3e-4)


def test_dense_files_are_read_as_ever(tmp_path: Path, showers: Showers) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["incident_energies"], file["showers"] = showers.incident_energies[:, None], showers.energies
        file["angle"] = showers.conditions["angle"]
    assert_equal(read_showers(tmp_path / "a.h5"), showers)


def test_the_public_layout_has_the_published_names_and_units(tmp_path: Path, showers: Showers) -> None:
    showers.write(tmp_path / "a.h5")
    write_public(tmp_path / "a.h5", tmp_path / "public.h5")
    with h5py.File(tmp_path / "public.h5") as file:
        assert file["30x30/energy"].shape == (7, 1)
        np.testing.assert_allclose(file["30x30/energy"][:, 0], showers.incident_energies / 1000, rtol=1e-6)
        assert file["30x30/layers"].shape == (7, 30, 30, 30)
        np.testing.assert_array_equal(file["30x30/layers"][3, 4, 5, 6], showers.energies[3, (4 * 30 + 5) * 30 + 6])
    assert known_geometry(tmp_path / "public.h5") is ILD_GRID
    assert_equal(read_showers(tmp_path / "public.h5"), showers)
    given = read_given(tmp_path / "public.h5")
    np.testing.assert_allclose(given.others["angle"], showers.conditions["angle"])
    np.testing.assert_allclose(given.incident_energies, showers.incident_energies, rtol=1e-6)


def test_a_condition_does_not_stand_in_the_place_of_showers(showers: Showers) -> None:
    with pytest.raises(DataFormatError, match="conditions must have other names than energies. Received: layers"):
        public_datasets(ILD_GRID, showers.incident_energies, showers.energies, {"layers": np.zeros(7)})


def test_the_published_file_is_read_without_conditions(tmp_path: Path, showers: Showers) -> None:
    """Float64 everywhere, and nothing besides the two datasets."""
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["30x30/energy"] = showers.incident_energies[:, None] / 1000
        file["30x30/layers"] = ILD_GRID.images(showers.energies).astype(np.float64)
    read = read_showers(tmp_path / "a.hdf5")
    np.testing.assert_allclose(read.energies, showers.energies)
    np.testing.assert_allclose(read.incident_energies, showers.incident_energies)
    assert dict(read.conditions) == {}


@pytest.mark.parametrize("layout", ["sparse", "public"])
def test_files_are_streamed_by_slices(tmp_path: Path, showers: Showers, layout: str) -> None:
    path = tmp_path / f"{layout}.h5"
    showers.write(tmp_path / "sparse.h5")
    write_public(tmp_path / "sparse.h5", tmp_path / "public.h5")
    with ShowerFile(path, ILD_GRID, max_bytes=8 * 27_000 * 2) as file:
        blocks = list(file.blocks())
        assert [len(block) for _, block in blocks] == [2, 2, 2, 1]
        np.testing.assert_array_equal(np.concatenate([block.energies for _, block in blocks]), showers.energies)
    with ShowerFile([path, path], ILD_GRID) as opened:
        assert len(opened) == 14
    np.testing.assert_array_equal(Showers.read(path, ILD_GRID, slice(2, 4)).energies, showers.energies[2:4])


def test_blocks_are_written_one_by_one(tmp_path: Path, showers: Showers) -> None:
    write_blocks(tmp_path / "a.h5", (block for _, block in showers.blocks(3)), len(showers))
    assert_equal(read_showers(tmp_path / "a.h5"), showers)


@pytest.mark.parametrize("damage", ["counts", "short", "steps", "energies", "shape", "far", "negative", "lengths"])
def test_damaged_files_are_refused(tmp_path: Path, showers: Showers, damage: str) -> None:
    path = tmp_path / "a.h5"
    showers.write(path)
    with h5py.File(path, "r+") as file:
        if damage == "counts":
            file[COUNTS][0] += 1
        elif damage == "short":
            file[ENERGIES].resize(len(file[ENERGIES]) - 1, axis=0)
        elif damage in ("steps", "energies"):
            del file[STEPS if damage == "steps" else ENERGIES]
        elif damage == "shape":
            file.attrs["grid_shape"] = "x"
        elif damage == "far":
            file[STEPS][0] = 60_000
        elif damage == "negative":
            file[ENERGIES][0] = -5.0
        else:
            del file["incident_energies"]
            file["incident_energies"] = np.full((3, 1), 1000.0)
    with pytest.raises((DataFormatError, GeometryError), match=r"a\.h5"):
        Showers.read(path, ILD_GRID)


def test_another_geometry_is_refused(tmp_path: Path, showers: Showers) -> None:
    showers.write(tmp_path / "a.h5")
    for geometry in (ILD_ANGULAR_GRID, PHOTONS_DATASET1):
        with pytest.raises(GeometryError, match="another geometry's file"):
            Showers.read(tmp_path / "a.h5", geometry)
    replace(showers, geometry=replace(ILD_GRID, name="other")).write(tmp_path / "b.h5")
    assert known_geometry(tmp_path / "b.h5") is ILD_GRID


def test_a_bomb_of_empty_showers_is_not_unpacked(tmp_path: Path) -> None:
    number = 300_000
    with h5py.File(tmp_path / "a.h5", "w") as file:
        options = {"compression": "gzip", "shuffle": True}
        file.create_dataset("incident_energies", data=np.full((number, 1), 1e4), **options)
        file.create_dataset(COUNTS, data=np.zeros(number, np.int32), **options)
        file.create_dataset(STEPS, data=np.zeros(0, np.uint16))
        file.create_dataset(ENERGIES, data=np.zeros(0, np.float32))
        file.attrs["grid_shape"] = (30, 30, 30)
    with pytest.raises(DataFormatError, match="must not unpack"):
        Showers.read(tmp_path / "a.h5", ILD_GRID)
