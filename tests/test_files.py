import errno
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from calogen.errors import CalogenError, DataFormatError
from calogen.files import atomic_path, directory_lock, read_json, require_space, sha256, write_json, write_text


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
    with pytest.raises(CalogenError, match=rf"cannot write .*data\.txt: {os.strerror(number)}; \w+"):
        write_text(tmp_path / "data.txt", "text")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_is_one_clear_line(tmp_path: Path) -> None:
    """800 kB where files may have 100 kB: the nearest thing to a full disk without one."""
    target = tmp_path / "data.txt"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(CalogenError, match=r"cannot write .*data\.txt: File too large; \w+"):
            write_text(target, "0" * 800_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_fit_on_the_disk_is_refused_before_the_work(tmp_path: Path) -> None:
    require_space(tmp_path / "new" / "data.h5", 1000)
    with pytest.raises(CalogenError, match=r"cannot write .*data\.h5: it needs at least 1e\+09 GB more, .* GB are"):
        require_space(tmp_path / "new" / "data.h5", 10**18)
    assert list(tmp_path.iterdir()) == []


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


_HOLD = """
import sys
from calogen.files import directory_lock
with directory_lock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_lock_excludes_other_processes_and_dies_with_them(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _HOLD, str(tmp_path / "run")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(CalogenError, match=f"in use by process {holder.pid}"), directory_lock(tmp_path / "run"):
            pytest.fail("the block must not run")
        holder.kill()
    with directory_lock(tmp_path / "run"):
        pass


def test_lock_passes_the_errors_of_its_block_on(tmp_path: Path) -> None:
    with pytest.raises(BlockingIOError), directory_lock(tmp_path):
        raise BlockingIOError
    (tmp_path / "file").touch()
    with pytest.raises(CalogenError, match="cannot write in .*file"), directory_lock(tmp_path / "file"):
        pytest.fail("the block must not run")
