import errno
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from disks import asked_disks, largest_file

from calogen import process
from calogen.errors import CalogenError, DataFormatError, TemporaryError
from calogen.files import (
    atomic_path,
    listed,
    read_json,
    remove_folder,
    require_space,
    require_writable_file,
    sha256,
    write_json,
    write_text,
)


def test_write_makes_the_folder_and_leaves_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "text.txt"
    write_text(target, "é")
    assert target.read_bytes() == "é".encode()
    assert list(target.parent.iterdir()) == [target]


def test_temporary_lies_in_the_same_folder_with_the_same_suffix(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "model.keras") as temporary:
        assert (temporary.parent, temporary.suffix) == (tmp_path, ".keras")
        assert not temporary.exists()
        temporary.touch()


@pytest.mark.parametrize("exception", [ValueError, KeyboardInterrupt, SystemExit])
def test_failed_write_keeps_the_old_file(tmp_path: Path, exception: type[BaseException]) -> None:
    target = tmp_path / "data.txt"
    write_text(target, "old")
    with pytest.raises(exception), atomic_path(target) as temporary:
        temporary.write_text("half of the n")
        raise exception
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a"):
        pass


def test_a_directory_is_refused_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(CalogenError, match=r"cannot write .*: Is a directory; name a file"), atomic_path(tmp_path):
        pytest.fail("the block must not run")


@pytest.mark.parametrize("name", ["file/below.txt", "file/deep/below.txt"])
def test_a_file_in_the_path_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CalogenError, match="a part of the path is a file"):
        write_text(tmp_path / name, "text")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EDQUOT])
def test_unwritable_and_full_disks_are_named(tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("calogen.files.os.replace", fail)
    with pytest.raises(CalogenError, match=rf"cannot write .*data\.txt: {os.strerror(number)}; \w+") as raised:
        write_text(tmp_path / "data.txt", "text")
    assert raised.value.exit_code == 2  # someone has to make room, or choose another path
    assert list(tmp_path.iterdir()) == []


def test_a_failing_disk_is_worth_another_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("calogen.files.os.fsync", fail)
    with pytest.raises(TemporaryError, match=r"cannot write .*data\.txt: Input/output error; check the disk"):
        write_text(tmp_path / "data.txt", "text")


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.ENOSYS])
def test_a_file_system_that_cannot_flush_is_written_to(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush = os.fsync

    def fail(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        flush(descriptor)

    monkeypatch.setattr("calogen.files.os.fsync", fail)
    write_text(tmp_path / "data.txt", "text")
    assert (tmp_path / "data.txt").read_text() == "text"


@pytest.mark.parametrize("kind", ["fifo", "socket", "/dev/null", "/dev/full", "/dev/stdout", "/proc/self/fd/1", "link"])
def test_what_is_no_file_is_refused_and_stays(tmp_path: Path, kind: str) -> None:
    path = Path(kind) if kind.startswith("/") else tmp_path / "out"
    with socket.socket(socket.AF_UNIX) as bound:
        if kind == "fifo":
            os.mkfifo(path)
        elif kind == "socket":
            bound.bind(str(path))
        elif kind == "link":
            path.symlink_to("/dev/full")
        before = os.lstat(path)
        for write in (require_writable_file, lambda path: write_text(path, "text")):
            with pytest.raises(CalogenError, match=f"cannot write {path}: .*a device, pipe or socket; name a file"):
                write(path)
        assert (os.lstat(path).st_ino, os.lstat(path).st_mode) == (before.st_ino, before.st_mode)


@pytest.mark.parametrize("there", [True, False])
def test_symbolic_links_are_followed_and_stay(tmp_path: Path, there: bool) -> None:
    target, link = tmp_path / "data" / "real.txt", tmp_path / "link.txt"
    (tmp_path / "hop.txt").symlink_to(Path("data", "real.txt"))
    link.symlink_to("hop.txt")
    if there:
        write_text(target, "old")
    write_text(link, "new")
    assert target.read_text() == "new"
    assert not target.is_symlink()
    assert os.readlink(link) == "hop.txt"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "hop.txt", "link.txt"]
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(CalogenError, match="Too many levels of symbolic links; a symbolic link leads to itself"):
        write_text(tmp_path / "loop", "text")


def test_an_existing_file_keeps_its_mode_and_a_new_one_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a", "new")
        assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640
        (tmp_path / "a").chmod(0o664)
        write_text(tmp_path / "a", "newer")
        assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o664
    finally:
        os.umask(before)


def test_a_protected_file_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_text("old")
    monkeypatch.setattr("calogen.files.os.access", lambda path, mode: mode != os.W_OK)  # root may write anywhere
    with pytest.raises(CalogenError, match="Permission denied; choose a path that you may write to"):
        write_text(tmp_path / "a", "new")


@pytest.mark.parametrize("name", ["a" * 255, "é" * 127, "a" * 250 + ".json", "a." + "b" * 253, "." + "a" * 254])
def test_the_longest_names_are_written(tmp_path: Path, name: str) -> None:
    """The temporary name is longer than the name; it is cut where there is no room."""
    write_text(tmp_path / name, "text")
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["a" * 256, "é" * 128, "new/" + "a" * 256, "a" * 256 + "/b", "a/" * 2100 + "b"])
def test_longer_names_are_refused_before_the_work(tmp_path: Path, name: str) -> None:
    with pytest.raises(CalogenError, match="File name too long; choose a shorter name"):
        require_writable_file(tmp_path / name)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(CalogenError, match="File name too long"), atomic_path(tmp_path / name):
        pytest.fail("the block must not run")


def test_space_and_folders_are_checked_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 9 * 10**8, 10**8))  # type: ignore[attr-defined]
    require_writable_file(tmp_path / "new" / "deep" / "a.h5", 1e8)
    with pytest.raises(CalogenError, match=r"at least 2,000 MB more\. Received: 100 MB of free space; free some"):
        require_writable_file(tmp_path / "new" / "deep" / "a.h5", 2e9)
    (tmp_path / "file").touch()
    with pytest.raises(CalogenError, match="a part of the path is a file"):
        require_writable_file(tmp_path / "file" / "new" / "a.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_looking_whether_a_file_can_be_written_makes_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another job that finds it would miss it a moment later, before its file is in it."""
    monkeypatch.setattr("os.mkdir", lambda path, *_: pytest.fail(f"{path} must not be made"))
    require_writable_file(tmp_path / "new" / "deep" / "a.txt")
    assert list(tmp_path.iterdir()) == []


_FULL = """
from pathlib import Path
from calogen.errors import CalogenError
from calogen.files import require_writable_file
folder = Path("{0}")
(folder / "full").write_bytes(bytes(2**16))
for path in (folder / "a.txt", folder / "new" / "deep" / "a.txt"):
    try:
        require_writable_file(path)
    except CalogenError as error:
        print(error)
print(sorted(path.name for path in folder.iterdir()))
"""


def test_a_full_disk_is_seen_before_the_work(tmp_path: Path) -> None:
    """A real file system of 64 kB: it still takes empty files."""
    mount = f"mount -t tmpfs -o size=64k tmpfs {tmp_path}"
    if subprocess.run(["unshare", "-Urm", "sh", "-c", mount], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a file system")
    script = tmp_path.with_suffix(".py")
    script.write_text(_FULL.format(tmp_path))
    command = ["unshare", "-Urm", "sh", "-c", f"{mount} && {sys.executable} {script}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    first, second, names = done.stdout.splitlines()
    for line, path in ((first, "a.txt"), (second, "new/deep/a.txt")):
        assert line.startswith(f"cannot write {tmp_path}/{path}: No space left on device; free some space or write to")
    assert names == "['full']"


def test_the_next_write_sweeps_what_a_killed_one_left(tmp_path: Path) -> None:
    orphan = tmp_path / f".a.{process.machine()}{2**22 + 1:08x}00000000.partial.txt"
    orphan.touch()
    assert listed(tmp_path) == []
    with atomic_path(tmp_path / "b.txt") as temporary:
        assert not orphan.exists()
        temporary.touch()
        write_text(tmp_path / "c.txt", "one write does not sweep another's file")
        assert temporary.exists()
        assert [path.name for path in listed(tmp_path)] == ["c.txt"]
    assert [path.name for path in listed(tmp_path, "*.txt")] == ["b.txt", "c.txt"]


def test_another_machines_file_is_swept_a_day_later_by_the_disks_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This machine's clock may be wrong: files that another one just writes stay."""
    live, old = (tmp_path / f".{name}.0000000000000001{name * 8}.partial.txt" for name in "ab")
    live.touch()
    old.touch()
    day = 86_400 * 10**9
    os.utime(old, ns=(0, old.stat().st_mtime_ns - day - 10**11))
    monkeypatch.setattr(time, "time", lambda known=time.time: known() + 90_000)
    write_text(tmp_path / "c.txt", "")
    assert (live.exists(), old.exists()) == (True, False)


def test_a_folder_goes_at_once_and_its_remains_are_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever stays of it: here all files, as if the process were killed before it removes the first."""
    write_text(tmp_path / "parts" / "request.json", "{}")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *_, **_options: None)
        remove_folder(tmp_path / "parts")
    assert listed(tmp_path) == []
    assert [path.name for path in tmp_path.glob(".parts.*/*")] == ["request.json"]
    write_text(tmp_path / "a.txt", "")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    with pytest.raises(CalogenError, match="cannot remove .*parts: No such file"):
        remove_folder(tmp_path / "parts")


def test_a_disk_that_fills_up_is_one_clear_line(tmp_path: Path) -> None:
    """800 kB where files may have 100 kB: the nearest thing to a full disk without one."""
    target = tmp_path / "data.txt"
    with largest_file(100_000), pytest.raises(CalogenError, match=r"cannot write .*data\.txt: File too large; \w+"):
        write_text(target, "0" * 800_000)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_fit_on_the_disk_is_refused_before_the_work(tmp_path: Path) -> None:
    require_space(tmp_path / "new" / "data.h5", 1000)
    with pytest.raises(CalogenError, match=r"cannot write .*data\.h5: it needs at least 1,000,000,000,000 MB more"):
        require_space(tmp_path / "new" / "data.h5", 10**18)
    assert list(tmp_path.iterdir()) == []


def test_the_disk_is_that_of_a_links_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asked_disks(tmp_path, monkeypatch)
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    (tmp_path / "here" / "a.h5").symlink_to(tmp_path / "there" / "a.h5")
    require_space(tmp_path / "here" / "a.h5", 1000)
    assert asked == [(tmp_path / "there").resolve()]


def test_troubles_with_other_files_are_not_relabelled(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), atomic_path(tmp_path / "a"):
        raise PermissionError(errno.EACCES, "Permission denied", "/elsewhere/input.h5")
    with pytest.raises(RuntimeError, match="unrelated"), atomic_path(tmp_path / "a"):
        raise RuntimeError("unrelated")


def test_json_round_trip(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, None, True, "é"], "b": {"c": []}}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value
    assert (tmp_path / "a.json").read_text().startswith('{\n  "a"')


def test_json_takes_numpy_and_paths(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": np.float32(0.5), "b": np.arange(2), "c": Path("x/y")})
    assert read_json(tmp_path / "a.json") == {"a": 0.5, "b": [0, 1], "c": "x/y"}


@pytest.mark.parametrize("value", [float("nan"), np.float32("inf"), np.array([1, np.nan]), {1, 2}, b"bytes"])
def test_json_refuses_what_it_cannot_hold(tmp_path: Path, value: object) -> None:
    with pytest.raises(DataFormatError, match="must hold finite numbers"):
        write_json(tmp_path / "a.json", {"value": value})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("read", [read_json, sha256])
def test_a_disk_that_cannot_be_read_is_worth_another_try(
    tmp_path: Path, read: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("builtins.open", fail)
    monkeypatch.setattr(Path, "read_text", fail)
    with pytest.raises(TemporaryError, match="cannot read .*a.json: Input/output error"):
        read(tmp_path / "a.json")


def test_json_faults_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match="cannot read .*: No such file"):
        read_json(tmp_path / "none.json")
    (tmp_path / "half.json").write_text(json.dumps({"a": 1})[:-1])
    with pytest.raises(DataFormatError, match=r"half\.json is not a JSON file"):
        read_json(tmp_path / "half.json")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataFormatError, match=r"bytes\.json is not a JSON file"):
        read_json(tmp_path / "bytes.json")


def test_sha256_known_value(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2
    with pytest.raises(DataFormatError, match="cannot read"):
        sha256(tmp_path / "none")
