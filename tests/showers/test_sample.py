import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calogen.errors import CalogenError, DataFormatError, GeometryError
from calogen.showers.cells import ATLAS_BARREL_STORED
from calogen.showers.sample import Showers, concatenate, round_mantissa
from calogen.showers.voxels import PHOTONS_DATASET1, PIONS_DATASET1


def some_showers(count: int = 10) -> Showers:
    random = np.random.default_rng(1)
    energies = random.exponential(3.0, (count, 368)).astype(np.float32)
    return Showers(PHOTONS_DATASET1, np.full(count, 1024.0), energies, {"impact_eta": random.uniform(0.2, 0.25, count)})


def test_files_round_trip(tmp_path: Path) -> None:
    showers = some_showers()
    showers.write(tmp_path / "a.h5")
    read = Showers.read(tmp_path / "a.h5", PHOTONS_DATASET1)
    np.testing.assert_array_equal(read.energies, showers.energies)
    np.testing.assert_array_equal(read.incident_energies, showers.incident_energies)
    np.testing.assert_array_equal(read.conditions["impact_eta"], showers.conditions["impact_eta"])
    with h5py.File(tmp_path / "a.h5") as file:  # the CaloChallenge's format
        assert file["incident_energies"].shape == (10, 1)
        assert file["showers"].shape == (10, 368)


def test_counts_by_incident_energy() -> None:
    both = concatenate([some_showers(2), replace(some_showers(3), incident_energies=np.array([64.0, 1024.0, 64.0]))])
    assert list(both.counts.items()) == [(64.0, 2), (1024.0, 3)]


def test_rows_of_a_file_are_the_file(tmp_path: Path) -> None:
    showers = some_showers()
    showers.write(tmp_path / "a.h5")
    blocks = [Showers.read(tmp_path / "a.h5", PHOTONS_DATASET1, slice(start, start + 4)) for start in (0, 4, 8)]
    assert [len(block) for block in blocks] == [4, 4, 2]
    np.testing.assert_array_equal(concatenate(blocks).energies, showers.energies)


def test_selection_and_response() -> None:
    showers = some_showers()
    np.testing.assert_allclose(showers[:3].response, showers.energies[:3].astype(float).sum(axis=1) / 1024)
    assert len(showers.at(1024.0)) == 10
    with pytest.raises(DataFormatError, match="Present: 1024"):
        showers.at(2048.0)


def change(name: str, edit: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        with h5py.File(path, "a") as file:
            values = edit(file[name][:])
            del file[name]
            file[name] = values

    return apply


def nan_at_the_end(values: np.ndarray) -> np.ndarray:
    values[-1, -1] = np.nan
    return values


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-500])


def rename(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file.move("showers", "voxels")


FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing file": (Path.unlink, "no such file"),
    "truncated": (truncate, "not a whole HDF5 file"),
    "foreign": (lambda path: path.write_text("hello") and None, "not a whole HDF5 file"),
    "misnamed dataset": (
        rename,
        r"must hold the dataset 'showers'. Received: .*'vox",
    ),
    "pion file": (change("showers", lambda v: np.ones((10, 533))), r"\[n, 368\], n above 0. Received: \[10, 533\]"),
    "NaN": (change("showers", nan_at_the_end), "NaN or infinity"),
    "negative": (change("showers", lambda v: -v), "must not be negative"),
    "labels in GeV": (change("incident_energies", lambda v: v / 1e3), "must be in MeV"),
    "voxels in GeV": (change("showers", lambda v: v / 1e3), "must be in MeV"),
    "all in GeV": (
        lambda path: [change(name, lambda v: v / 1e3)(path) for name in ("showers", "incident_energies")] and None,
        "must be in MeV",
    ),
    "empty": (
        lambda path: [change(name, lambda v: v[:0])(path) for name in ("showers", "incident_energies")] and None,
        r"n above 0. Received: \[0, 368\]",
    ),
    "scalar labels": (change("incident_energies", lambda v: v[0, 0]), "must be an array of numbers"),
    "labels as text": (change("incident_energies", lambda v: v.astype("S")), "must be an array of numbers"),
    "lengths differ": (change("incident_energies", lambda v: v[:5]), "same length. Received: 5 and 10"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_file_is_refused_in_one_line(tmp_path: Path, fault: str) -> None:
    path = tmp_path / "a.h5"
    some_showers().write(path)
    damage, message = FAULTS[fault]
    damage(path)
    with pytest.raises(CalogenError, match=message) as caught:
        Showers.read(path, PHOTONS_DATASET1)
    assert "a.h5" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_geometry_is_refused(tmp_path: Path) -> None:
    some_showers().write(tmp_path / "a.h5")
    with pytest.raises(GeometryError, match="another geometry"):
        Showers.read(tmp_path / "a.h5", PIONS_DATASET1)
    with pytest.raises(DataFormatError, match="'cells'"):
        Showers.read(tmp_path / "a.h5", ATLAS_BARREL_STORED)


@given(st.floats(1e-30, 1e30), st.integers(1, 23))
def test_rounding_the_mantissa_keeps_its_promise(value: float, bits: int) -> None:
    exact = np.float32(value)
    rounded = round_mantissa(np.array([exact]), bits)[0]
    assert abs(float(rounded) - float(exact)) <= float(exact) * 2.0 ** -(bits + 1) * (1 + 1e-6)
    assert bits < 23 or rounded == exact


def test_rounded_files_say_so(tmp_path: Path) -> None:
    showers = some_showers()
    showers.write(tmp_path / "a.h5", mantissa_bits=12)
    read = Showers.read(tmp_path / "a.h5", PHOTONS_DATASET1)
    assert read.attributes["precision"] == "energies rounded to 12 mantissa bits: relative 0.00012"
    error = np.abs(read.energies / showers.energies - 1)
    assert 2e-5 < error.max() <= 1.23e-4


def test_empty_showers_have_no_unit(tmp_path: Path) -> None:
    showers = some_showers()
    showers.energies[:6] = 0.0  # more than half, as from a network that hardly trained
    showers.write(tmp_path / "a.h5")
    assert len(Showers.read(tmp_path / "a.h5", PHOTONS_DATASET1)) == 10
    change("incident_energies", lambda values: values / 1e3)(tmp_path / "a.h5")
    with pytest.raises(DataFormatError, match="must be in MeV. Received: incident energies around 1.024 with 0 times"):
        Showers.read(tmp_path / "a.h5", PHOTONS_DATASET1)


def test_showers_travel_to_other_processes() -> None:
    showers = replace(some_showers(), attributes={"physics": "toy"})
    again = pickle.loads(pickle.dumps(showers))
    np.testing.assert_array_equal(again.energies, showers.energies)
    np.testing.assert_array_equal(again.incident_energies, showers.incident_energies)
    np.testing.assert_array_equal(again.conditions["impact_eta"], showers.conditions["impact_eta"])
    assert (again.geometry, dict(again.attributes)) == (showers.geometry, {"physics": "toy"})
