"""HDF5 files as others leave them: in parts, with links, compressed by plugins, locked."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import TINY_VOXELS, make_showers

from calogen import hdf5
from calogen.errors import CalogenError, DataFormatError, TemporaryError
from calogen.files import sha256
from calogen.hdf5 import damage_named, dataset_shape, find_dataset, open_file, source_files
from calogen.provenance import file_record
from calogen.showers.bundled import read_showers, voxel_geometry
from calogen.showers.files import ShowerFile
from calogen.showers.sample import Showers

SHOWERS = make_showers(TINY_VOXELS, 12)
SHAPE = SHOWERS.energies.shape


def virtual(file: h5py.File, *sources: tuple[str, str], name: str = "showers", rows: int = 12) -> None:
    """A virtual dataset whose sources have the same number of rows each."""
    layout, each = h5py.VirtualLayout(SHAPE, "f4"), rows // len(sources)
    for number, (path, source) in enumerate(sources):
        layout[number * each : (number + 1) * each] = h5py.VirtualSource(path, source, (each, SHAPE[1]))
    file.create_virtual_dataset(name, layout)


def external_link(file: h5py.File) -> None:
    file["showers"] = h5py.ExternalLink("other.h5", "/showers")


def chain_of_links(file: h5py.File) -> None:
    with h5py.File("middle.h5", "w") as middle:
        middle["group"] = h5py.ExternalLink("other.h5", "/")
    file["a"] = h5py.ExternalLink("middle.h5", "/group")
    file.create_group("b")["c"] = h5py.SoftLink("/a/showers")
    file["showers"] = h5py.SoftLink("b/c")


def raw(file: h5py.File) -> None:
    Path("first.bin").write_bytes(b"head" + SHOWERS.energies[:5].tobytes())
    Path("second.bin").write_bytes(SHOWERS.energies[5:].tobytes())
    parts = [("first.bin", 4, 5 * 4 * SHAPE[1]), ("second.bin", 0, h5py.h5f.UNLIMITED)]
    file.create_dataset("showers", SHAPE, "f4", external=parts)


def halves(file: h5py.File) -> None:
    for name, rows in (("low.h5", slice(0, 6)), ("high.h5", slice(6, 12))):
        with h5py.File(name, "w") as part:
            part["showers"] = SHOWERS.energies[rows]
    virtual(file, ("low.h5", "showers"), ("high.h5", "/showers"))


def nested(file: h5py.File) -> None:
    with h5py.File("outer.h5", "w") as outer:
        virtual(outer, ("other.h5", "showers"))
    virtual(file, ("outer.h5", "showers"))


def growing(file: h5py.File) -> None:
    """Source and virtual dataset that may grow."""
    with h5py.File("other.h5", "w") as other:
        other.create_dataset("showers", data=SHOWERS.energies, maxshape=(None, SHAPE[1]))
    layout = h5py.VirtualLayout(SHAPE, "f4", maxshape=(None, SHAPE[1]))
    source = h5py.VirtualSource("other.h5", "showers", SHAPE, maxshape=(None, SHAPE[1]))
    layout[: h5py.h5s.UNLIMITED] = source[: h5py.h5s.UNLIMITED]
    file.create_virtual_dataset("showers", layout)


WHOLE: dict[str, tuple[Callable[[h5py.File], None], list[str]]] = {
    "external link": (external_link, ["other.h5"]),
    "chain of links": (chain_of_links, ["middle.h5", "other.h5"]),
    "external storage": (raw, ["first.bin", "second.bin"]),
    "virtual": (halves, ["high.h5", "low.h5"]),
    "virtual of itself": (lambda file: virtual(file, (".", "kept")), []),
    "nested virtual": (nested, ["other.h5", "outer.h5"]),
    "growing virtual": (growing, ["other.h5"]),
}


def build(path: Path, fill: Callable[[h5py.File], None]) -> Path:
    """A file with labels, whose showers lie as told; `other.h5` holds them plainly."""
    SHOWERS.write("other.h5")
    with h5py.File(path, "w") as file:
        file["incident_energies"] = SHOWERS.incident_energies[:, None]
        file["kept"] = SHOWERS.energies
        fill(file)
    return path


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, the current one: HDF5 looks for raw files there."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", WHOLE)
def test_numbers_in_other_files_are_read_and_hashed(kind: str) -> None:
    fill, expected = WHOLE[kind]
    path = build(Path("a.h5"), fill)
    np.testing.assert_array_equal(Showers.read(path, TINY_VOXELS).energies, SHOWERS.energies)
    with ShowerFile(path, TINY_VOXELS) as file:
        np.testing.assert_array_equal(file.read(file.rows[0]).energies, SHOWERS.energies)
    record = file_record(path)
    assert (record["file"], record["sha256"]) == ("a.h5", sha256(path))
    assert record.get("sources", {}) == {name: sha256(name) for name in expected}


def test_other_files_lie_beside_the_file_or_where_hdf5_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("data").mkdir()
    build(Path("data/a.h5"), external_link)
    Path("other.h5").rename("data/other.h5")
    assert source_files("data/a.h5") == (Path("data/other.h5"),)
    assert Showers.read("data/a.h5", TINY_VOXELS).energies.shape == SHAPE
    Path("elsewhere").mkdir()
    Path("data/other.h5").rename("elsewhere/other.h5")
    with pytest.raises(DataFormatError, match=r"a.h5 holds numbers that lie in another file: no such file: other.h5"):
        Showers.read("data/a.h5", TINY_VOXELS)
    monkeypatch.setenv("HDF5_EXT_PREFIX", "nowhere:${ORIGIN}/../elsewhere")
    assert len(source_files("data/a.h5")) == 1
    assert Showers.read("data/a.h5", TINY_VOXELS).energies.shape == SHAPE


def test_raw_files_beside_the_file_have_a_remedy() -> None:
    Path("data").mkdir()
    build(Path("data/a.h5"), raw)
    for name in ("first.bin", "second.bin"):
        Path(name).rename(f"data/{name}")
    with pytest.raises(DataFormatError, match=r"HDF5_EXTFILE_PREFIX='\$\{ORIGIN\}'"):
        Showers.read("data/a.h5", TINY_VOXELS)
    code = "import conftest as c; from calogen.showers.sample import Showers as S; "
    code += "S.read('data/a.h5', c.TINY_VOXELS).write('copy.h5')"
    environment = os.environ | {"HDF5_EXTFILE_PREFIX": "${ORIGIN}", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)  # HDF5 reads it as it starts
    np.testing.assert_array_equal(Showers.read("copy.h5", TINY_VOXELS).energies, SHOWERS.energies)


def missing_half(file: h5py.File) -> None:
    halves(file)
    Path("low.h5").unlink()


def short_half(file: h5py.File) -> None:
    halves(file)
    with h5py.File("low.h5", "w") as part:
        part["showers"] = SHOWERS.energies[:4]


def renamed_half(file: h5py.File) -> None:
    halves(file)
    with h5py.File("low.h5", "a") as part:
        part.move("showers", "voxels")


def pipe(file: h5py.File) -> None:
    os.mkfifo("pipe.h5")
    file["showers"] = h5py.ExternalLink("pipe.h5", "/showers")


def short_raw(file: h5py.File) -> None:
    raw(file)
    Path("second.bin").write_bytes(b"only this")


def mirror(file: h5py.File) -> None:
    with h5py.File("b.h5", "w") as other:
        virtual(other, ("a.h5", "showers"))
    virtual(file, ("b.h5", "showers"))


def pattern(file: h5py.File) -> None:
    space, source = h5py.h5s.create_simple(SHAPE, (h5py.h5s.UNLIMITED, SHAPE[1])), h5py.h5s.create_simple(SHAPE)
    space.select_hyperslab((0, 0), (h5py.h5s.UNLIMITED, 1), stride=SHAPE, block=SHAPE)
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_virtual(space, b"part-%b.h5", b"showers", source)
    whole = h5py.h5s.create_simple(SHAPE, (h5py.h5s.UNLIMITED, SHAPE[1]))
    h5py.h5d.create(file.id, b"showers", h5py.h5t.IEEE_F32LE, whole, plist)


def other_text(file: h5py.File) -> None:
    external_link(file)
    Path("other.h5").write_text("hello")


BROKEN: dict[str, tuple[Callable[[h5py.File], None], str]] = {
    "missing source": (missing_half, "holds numbers that lie in another file: no such file: low.h5"),
    "short source": (short_half, r"'low.h5': 'showers' must hold what .* takes from it. Received: shape \(4, 10\)"),
    "renamed source": (renamed_half, "low.h5 must hold the dataset 'showers', a part of '/showers' of a.h5"),
    "gap": (lambda file: virtual(file, ("other.h5", "showers"), rows=6), "another file|takes from it|all of its 120"),
    "pattern": (pattern, r"must name its sources one by one. Received: the pattern \('part-%b.h5'"),
    "pipe": (pipe, "pipe.h5 is a pipe or a device"),
    "short raw file": (short_raw, "must hold 480 bytes of '/showers'. Received: 209"),
    "mirrors": (mirror, "lies in itself"),
    "source of another format": (other_text, "other.h5 is not a whole HDF5 file"),
    "circle": (lambda file: file.__setitem__("showers", h5py.SoftLink("/showers")), "links from 'showers' lead in a"),
    "null": (
        lambda file: file.__setitem__("showers", h5py.Empty("f4")),
        r"must hold the dataset 'showers'. Received: one without extent \(null dataspace\)",
    ),
    "nowhere": (
        lambda file: file.__setitem__("showers", h5py.SoftLink("/x/y")),
        "must hold the dataset 'showers'. Received: a link to '/x/y', where no dataset with numbers is",
    ),
    "group": (
        lambda file: file.create_group("showers"),
        "must hold the dataset 'showers'. Received: a group of this name",
    ),
    "type": (
        lambda file: file.__setitem__("showers", np.dtype("f4")),
        "must hold the dataset 'showers'. Received: a datatype of this name",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_files_are_refused_in_one_line(kind: str) -> None:
    fill, message = BROKEN[kind]
    path = build(Path("a.h5"), fill)
    for read in (lambda: Showers.read(path, TINY_VOXELS), lambda: ShowerFile(path, TINY_VOXELS)):
        with pytest.raises(DataFormatError, match=message) as found:
            read()
        assert "\n" not in str(found.value)
    for tell in (read_showers, voxel_geometry):
        with pytest.raises(DataFormatError, match="(a|b|low|other).h5"):
            tell(path)
    assert file_record(path)["file"] == "a.h5", "what cannot be read has no part in the hash"


def test_a_gap_between_sources_is_refused() -> None:
    with h5py.File("half.h5", "w") as part:
        part["showers"] = SHOWERS.energies[:6]
    path = build(Path("a.h5"), lambda file: virtual(file, ("half.h5", "showers"), rows=6))
    with pytest.raises(DataFormatError, match="must hold all of its 120 numbers. Received: 60"):
        Showers.read(path, TINY_VOXELS)


def parts(*selections: tuple[slice, slice]) -> Callable[[h5py.File], None]:
    """A virtual dataset of parts of another file, at the same places."""

    def fill(file: h5py.File) -> None:
        with h5py.File("other.h5", "w") as other:
            other["showers"] = SHOWERS.energies
        layout, source = h5py.VirtualLayout(SHAPE, "f4"), h5py.VirtualSource("other.h5", "showers", SHAPE)
        for selection in selections:
            layout[selection] = source[selection]
        file.create_virtual_dataset("showers", layout)

    return fill


ALL = slice(0, SHAPE[1])


@pytest.mark.parametrize(
    ("selections", "number"),
    [
        (((slice(0, 6), ALL), (slice(2, 8), ALL)), 80),
        (((slice(0, 12), slice(0, 6)), (slice(0, 12), slice(2, 8))), 96),
        (((slice(0, 12, 2), ALL), (slice(0, 12, 3), ALL), (slice(0, 12, 4), ALL)), 80),
        (((slice(0, 12), slice(0, 9)), (slice(3, 12), slice(1, 10)), (slice(0, 1), ALL)), 118),
    ],
)
def test_overlapping_sources_hide_no_gap(selections: tuple[tuple[slice, slice], ...], number: int) -> None:
    path = build(Path("a.h5"), parts(*selections))
    with pytest.raises(DataFormatError, match=f"must hold all of its 120 numbers. Received: {number}"):
        Showers.read(path, TINY_VOXELS)


def test_sources_may_overlap_and_interleave() -> None:
    halves = (slice(0, 12), slice(0, 5)), (slice(0, 12), slice(5, 10))
    interleaved, overlapping = (slice(0, 12, 2), slice(1, 12, 2)), (slice(0, 9), slice(2, 12))
    for selections in (halves, *(((first, ALL), (second, ALL)) for first, second in (interleaved, overlapping))):
        path = build(Path("a.h5"), parts(*selections))
        np.testing.assert_array_equal(Showers.read(path, TINY_VOXELS).energies, SHOWERS.energies)


def test_whole_rows_may_be_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "_MOST_ROWS", 10)  # of which an array is made
    path = build(Path("a.h5"), parts((slice(5, 12), ALL), (slice(0, 5), ALL)))
    np.testing.assert_array_equal(Showers.read(path, TINY_VOXELS).energies, SHOWERS.energies)
    path = build(Path("b.h5"), parts((slice(7, 12), ALL), (slice(1, 5), ALL), (slice(2, 3), ALL)))
    with pytest.raises(DataFormatError, match="must hold all of its 120 numbers. Received: 90"):
        Showers.read(path, TINY_VOXELS)
    with pytest.raises(DataFormatError, match="must be regular parts of it"):
        Showers.read(build(Path("c.h5"), parts((slice(0, 12, 2), ALL), (slice(1, 12, 2), ALL))), TINY_VOXELS)


def test_datasets_without_extent_have_no_shape() -> None:
    with h5py.File("a.h5", "w") as file:
        file["incident_energies"] = h5py.Empty("f8")
    with open_file("a.h5") as file:
        assert dataset_shape(file, "incident_energies") == dataset_shape(file, "nothing") == ()


@pytest.mark.parametrize(("code", "name"), [(32001, "Blosc"), (32015, "Zstandard"), (400, "unknown")])
def test_missing_filters_are_named(code: int, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def compressed(file: h5py.File) -> None:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk(SHAPE)
        plist.set_filter(code, h5py.h5z.FLAG_OPTIONAL, (3,))
        dataset = h5py.h5d.create(file.id, b"showers", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple(SHAPE), plist)
        dataset.write_direct_chunk((0, 0), b"packed")

    path = build(Path("a.h5"), compressed)
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    message = rf"a.h5: '/showers' is compressed by '{name}' \(HDF5 filter {code}\), .*pip install hdf5plugin"
    with pytest.raises(DataFormatError, match=message):
        Showers.read(path, TINY_VOXELS)
    with h5py.File("v.h5", "w") as file:
        file["incident_energies"] = SHOWERS.incident_energies[:, None]
        virtual(file, ("a.h5", "showers"))
    with pytest.raises(DataFormatError, match=message):
        Showers.read("v.h5", TINY_VOXELS)
    Path("hdf5plugin.py").write_text("")
    monkeypatch.delitem(sys.modules, "hdf5plugin")
    monkeypatch.syspath_prepend(".")
    with pytest.raises(DataFormatError, match="hdf5plugin, which is installed, has none of this number"):
        Showers.read(path, TINY_VOXELS)
    assert "hdf5plugin" in sys.modules
    monkeypatch.delitem(sys.modules, "hdf5plugin")


WRITER = """
import h5py, os, sys
file = h5py.File("a.h5", "a")
print("open", flush=True)
sys.stdin.read() or os._exit(0)
"""


def test_a_file_that_is_open_elsewhere_is_not_called_damaged() -> None:
    build(Path("a.h5"), lambda file: None)
    with subprocess.Popen([sys.executable, "-c", WRITER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        with pytest.raises(TemporaryError, match="a.h5 is open for writing elsewhere: wait") as found:
            Showers.read("a.h5", TINY_VOXELS)
        assert "HDF5_USE_FILE_LOCKING=FALSE" in str(found.value)
        writer.communicate()
    killed = "import h5py, os; file = h5py.File('b.h5', 'w', libver='latest'); file.flush(); os._exit(0)"
    subprocess.run([sys.executable, "-c", killed], check=True)
    with pytest.raises(DataFormatError, match="h5clear -s"):
        Showers.read("b.h5", TINY_VOXELS)


@pytest.mark.parametrize(
    ("error", "message", "code"),
    [
        (BlockingIOError(11, "unable to lock file, errno = 11"), "a.h5 is open for writing elsewhere", 75),
        (PermissionError(13, "unable to open file, errno = 13"), "cannot read a.h5: Permission denied", 2),
        (OSError(5, "file read failed, errno = 5"), "cannot read a.h5: Input/output error", 75),
        (OSError("truncated file: eof = 5"), "a.h5 is not a whole HDF5 file", 2),
    ],
)
def test_what_keeps_a_file_closed_is_said(
    error: OSError, message: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(Path("a.h5"), lambda file: None)

    def fail(*_: object, **_more: object) -> None:
        raise error

    monkeypatch.setattr(hdf5.h5py, "File", fail)
    with pytest.raises(CalogenError, match=message) as found:
        open_file("a.h5")
    assert found.value.exit_code == code


def test_a_disk_that_fails_while_it_is_read_is_worth_another_try() -> None:
    with pytest.raises(TemporaryError, match="cannot read a.h5: Stale file handle$"), damage_named("a.h5"):
        raise OSError(errno.ESTALE, "can't read data")


def test_what_is_no_file_has_its_own_sentence() -> None:
    os.mkfifo("pipe")
    for path, message in ((".", ". is a directory: name a file in it"), ("pipe", "pipe is a pipe or a device")):
        with pytest.raises(DataFormatError, match=message):
            open_file(path)
        with pytest.raises(DataFormatError, match=message):
            file_record(Path(path))
    with pytest.raises(DataFormatError, match="no such file: none"):
        open_file("none")


def test_datasets_stay_readable_as_long_as_their_files_are_kept_open() -> None:
    path = build(Path("a.h5"), chain_of_links)
    with open_file(path) as file, ExitStack() as opened:
        found = find_dataset(file, "showers", opened)
        assert found is not None
        np.testing.assert_array_equal(found.dataset[3:5], SHOWERS.energies[3:5])
