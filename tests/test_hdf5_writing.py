"""HDF5 files written block by block: their content, their memory, full disks."""

import re
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import TINY_VOXELS, make_showers
from disks import largest_file

from calogen.errors import CalogenError
from calogen.hdf5_writing import join_hdf5, link_hdf5, write_hdf5
from calogen.showers.sample import Showers, write_blocks


def noise(num_blocks: int, rows: int = 1000) -> Iterator[dict[str, np.ndarray]]:
    """Blocks that do not compress, 80 kB each."""
    for number in range(num_blocks):
        yield {"values": np.random.default_rng(number).random((rows, 10))}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "calogen-test", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a file system needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_blocks_follow_one_another(tmp_path: Path) -> None:
    blocks = [{"a": np.arange(6.0).reshape(3, 2) + 10 * k, "b": np.array([k, k, k])} for k in range(3)]
    blocks.append({"a": np.full((1, 2), 9.0), "b": np.array([9])})
    write_hdf5(tmp_path / "a.h5", blocks, 10, {"seed": 3})
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file["a"], np.concatenate([block["a"] for block in blocks]))
        assert file["b"][:].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 9]
        assert dict(file.attrs) == {"seed": 3}
        assert (file["a"].compression, file["a"].compression_opts, file["a"].shuffle) == ("gzip", 9, True)
    assert list(tmp_path.iterdir()) == [tmp_path / "a.h5"]


def test_a_file_of_blocks_holds_what_a_file_at_once_holds(tmp_path: Path) -> None:
    showers = make_showers(TINY_VOXELS, 100)
    showers = Showers(TINY_VOXELS, showers.incident_energies, showers.energies, {"eta": np.arange(100)}, {"seed": 5})
    showers.write(tmp_path / "whole.h5")
    write_blocks(tmp_path / "blocks.h5", (showers[start : start + 32] for start in range(0, 100, 32)), 100)
    write_blocks(tmp_path / "block.h5", iter([showers]), 100)
    for name in ("block", "blocks", "whole"):
        found = Showers.read(tmp_path / f"{name}.h5", TINY_VOXELS)
        np.testing.assert_array_equal(found.energies, showers.energies)
        np.testing.assert_array_equal(found.incident_energies, showers.incident_energies)
        np.testing.assert_array_equal(found.conditions["eta"], np.arange(100))
        assert found.attributes == {"seed": 5}


@pytest.mark.parametrize("size", [1, 700, 1000, 1500, 9999])
def test_pieces_of_any_size_fill_the_chunks_of_a_block(size: int, tmp_path: Path) -> None:
    """A chunk that is written in two parts leaves a hole in the file."""
    showers = make_showers(TINY_VOXELS, 5000 if size > 1 else 300)
    number, block = len(showers), len(showers) * 4 // 5
    write_blocks(tmp_path / "a.h5", (showers[i : i + block] for i in range(0, number, block)), number)
    write_blocks(tmp_path / "b.h5", (showers[i : i + size] for i in range(0, number, size)), number, block)
    with h5py.File(tmp_path / "a.h5") as first, h5py.File(tmp_path / "b.h5") as second:
        for name in ("showers", "incident_energies"):
            np.testing.assert_array_equal(first[name], second[name])
            assert first[name].chunks == second[name].chunks
            assert first[name].id.get_storage_size() == second[name].id.get_storage_size()
    assert (tmp_path / "b.h5").stat().st_size <= (tmp_path / "a.h5").stat().st_size + 2048


def test_two_blocks_are_in_memory_at_most(tmp_path: Path) -> None:
    showers, made = make_showers(TINY_VOXELS, 50), []

    def blocks() -> Iterator[Showers]:
        for _ in range(6):
            energies = showers.energies.copy()
            made.append(weakref.ref(energies))
            assert sum(one() is not None for one in made) <= 2
            yield Showers(TINY_VOXELS, showers.incident_energies, energies)

    write_blocks(tmp_path / "a.h5", blocks(), 300)
    assert len(made) == 6


def test_a_failed_block_keeps_the_old_file(tmp_path: Path) -> None:
    def broken() -> Iterator[dict[str, np.ndarray]]:
        yield from noise(1)
        raise ValueError("no luck")

    write_hdf5(tmp_path / "a.h5", noise(1), 1000, {})
    before = (tmp_path / "a.h5").read_bytes()
    with pytest.raises(ValueError, match="no luck"):
        write_hdf5(tmp_path / "a.h5", broken(), 2000, {})
    assert (tmp_path / "a.h5").read_bytes() == before
    assert list(tmp_path.iterdir()) == [tmp_path / "a.h5"]


@pytest.mark.parametrize("num_bytes", [0, 1, 96, 800, 2048, 5000, *range(10_000, 220_000, 15_000)])
def test_a_disk_may_be_full_at_any_byte(tmp_path: Path, num_bytes: int) -> None:
    made: list[int] = []

    def blocks() -> Iterator[dict[str, np.ndarray]]:
        for number, block in enumerate(noise(3)):
            made.append(number)
            yield block

    with (
        largest_file(num_bytes),
        pytest.raises(CalogenError, match=r"cannot write .*data\.h5: File too large; raise the limit"),
    ):
        write_hdf5(tmp_path / "data.h5", blocks(), 3000, {"seed": 1})
    assert list(tmp_path.iterdir()) == []
    assert len(made) <= 1 + num_bytes // 70_000, "nothing more is made once the disk is full"


_WRITE = """
import sys
sys.path.append("support")
from test_hdf5_writing import noise
from calogen.command import clean_exit
from calogen.hdf5_writing import join_hdf5, link_hdf5, write_hdf5
with clean_exit("calogen"):
    num_blocks, rows = map(int, sys.argv[2:])
    write_hdf5(sys.argv[1], noise(num_blocks, rows), num_blocks * rows, {})
"""


@pytest.mark.parametrize(
    ("num_blocks", "message"),
    [
        (1, "No space left on device; free some space"),
        (20, r"at least [\d,]+ MB more\. Received: [\d,]+ MB of free space"),
    ],
)
def test_a_full_disk_ends_the_process_in_one_line(small_disk: Path, num_blocks: int, message: str) -> None:
    """Of 1.6 MB in one block some are written; of 20 blocks no more than can fit with the rest are made."""
    command = [sys.executable, "-c", _WRITE, str(small_disk / "data.h5"), str(num_blocks), str(20_000 // num_blocks)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2
    assert re.match(rf"calogen: error: cannot write {small_disk}/data\.h5: .*{message}", line), line
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize("num_rows", [301, 500])
def test_fewer_rows_than_were_promised_are_no_file(tmp_path: Path, num_rows: int) -> None:
    blocks = [{"x": np.ones((number, 40)), "e": np.ones(number)} for number in (100, 200)]
    with pytest.raises(CalogenError, match=f"must hold {num_rows} rows. Received: 300"):
        write_hdf5(tmp_path / "data.h5", blocks, num_rows, {}, chunk_rows=200)
    assert list(tmp_path.iterdir()) == []
    write_hdf5(tmp_path / "data.h5", blocks, 300, {}, chunk_rows=200)
    with h5py.File(tmp_path / "data.h5") as file:
        assert (file["x"].shape, file["e"].shape) == ((300, 40), (300,))


def test_joined_files_have_numbers_that_hold_all_of_them(tmp_path: Path) -> None:
    parts = []
    for number, kind in enumerate((np.uint16, np.uint32, np.uint16)):
        parts.append(tmp_path / f"{number}.h5")
        values = np.arange(8, dtype=kind) + (70_000 if kind is np.uint32 else 0)
        write_hdf5(
            parts[-1], [{"steps": values.astype(kind), "a": np.ones((8, 3)) * number}], 8, {"seed": 3}, chunk_rows=4
        )
    join_hdf5(tmp_path / "joined.h5", parts)
    link_hdf5(tmp_path / "100%.h5", parts)
    for name in ("joined.h5", "100%.h5"):
        with h5py.File(tmp_path / name) as file:
            assert file["steps"][:].tolist() == [*range(8), *range(70_000, 70_008), *range(8)], name
            assert file["a"][:, 2].tolist() == [0.0] * 8 + [1.0] * 8 + [2.0] * 8
            assert dict(file.attrs) == {"seed": 3}
