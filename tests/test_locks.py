import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

from calogen import process
from calogen.command import clean_exit
from calogen.errors import CalogenError, ConfigError, TemporaryError
from calogen.files import remove_folder, write_text
from calogen.locks import directory_lock, is_held, require_same

_HOLD = """
import sys
from calogen.locks import directory_lock
with directory_lock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""

_REMOVE = """
import sys, time
from pathlib import Path
from calogen.files import remove_folder
from calogen.locks import directory_lock
path, log = map(Path, sys.argv[1:])
def tell(text):
    with log.open("a") as file:
        file.write(f"{text}\\n")
with directory_lock(path, 30):
    tell("in")
    tell((path / ".lock").exists())
    time.sleep(0.3)
    tell("out")
    remove_folder(path)
"""


@contextmanager
def held(path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that holds the directory until its stdin ends."""
    command = [sys.executable, "-c", _HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        try:
            yield holder
        finally:
            holder.kill()


def test_lock_excludes_other_processes_and_dies_with_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with held(tmp_path / "run") as holder:
        who = rf"in use by process {holder.pid} on {socket.gethostname()} since 20\d\d-.*\+00:00"
        with (
            pytest.raises(TemporaryError, match=f"{who}: wait for it, or stop it$"),
            directory_lock(tmp_path / "run", 0),
        ):
            pytest.fail("the block must not run")
        assert not capsys.readouterr().err
        holder.kill()
    with directory_lock(tmp_path / "run", 0):
        about = json.loads((tmp_path / "run" / ".lock").read_text())
        assert (about["process"], about["host"]) == (os.getpid(), socket.gethostname())
    assert (tmp_path / "run" / ".lock").read_text() == ""


def test_a_process_waits_for_the_lock_and_says_for_whom(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with held(tmp_path / "run") as holder:
        assert holder.stdin is not None
        Timer(0.3, holder.stdin.close).start()
        with directory_lock(tmp_path / "run"):
            pass
        err = capsys.readouterr().err
    assert err.startswith(f"waiting up to 60 s for {tmp_path / 'run'}, which is in use by process {holder.pid} on ")
    assert len(err.splitlines()) == 1


def test_a_lock_is_worth_another_try(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 75, and after the line about waiting the error's is the only one."""
    with held(tmp_path), pytest.raises(SystemExit) as ended, clean_exit("toy"), directory_lock(tmp_path, 0.3):
        pytest.fail("the block must not run")
    assert ended.value.code == 75
    told, error = capsys.readouterr().err.splitlines()
    assert told.startswith("waiting up to 0.3 s for")
    assert error.startswith(f"toy: error: {tmp_path} is in use by process")


def test_a_process_does_not_wait_for_itself(tmp_path: Path) -> None:
    start = time.monotonic()
    match = f"in use by process {os.getpid()}, which is this one"
    with directory_lock(tmp_path), pytest.raises(TemporaryError, match=match), directory_lock(tmp_path):
        pytest.fail("the block must not run")
    assert time.monotonic() - start < 10


def test_lock_passes_the_errors_of_its_block_on(tmp_path: Path) -> None:
    with pytest.raises(BlockingIOError), directory_lock(tmp_path):
        raise BlockingIOError
    (tmp_path / "file").touch()
    with pytest.raises(CalogenError, match="cannot write in .*file"), directory_lock(tmp_path / "file"):
        pytest.fail("the block must not run")


@pytest.fixture(params=[errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def lockless(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without locks."""

    def refuse(*_: object) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", refuse)


def _leave(folder: Path, **changes: Any) -> None:
    """The lock file of a process that is gone, or as changed."""
    about = {"process": 2**22 + 1, "host": "far", "since": "2026-01-01", "machine": process.machine(), "start": "1"}
    (folder / ".lock").write_text(json.dumps(about | changes))


@pytest.mark.usefixtures("lockless")
@pytest.mark.parametrize("left", ["", "12\n", '{"process": "x"}', "[1]"])
def test_a_file_system_without_locks_is_warned_of(
    tmp_path: Path, left: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".lock").write_text(left)
    with directory_lock(tmp_path, 0):
        assert json.loads((tmp_path / ".lock").read_text())["process"] == os.getpid()
        with pytest.raises(TemporaryError, match="which is this one"), directory_lock(tmp_path):
            pytest.fail("the block must not run")
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning.startswith(f"warning: {tmp_path} is on a file system without locks (")
    assert warning.endswith("): let no other process use it")
    assert (tmp_path / ".lock").read_text() == ""


@pytest.mark.usefixtures("lockless")
def test_without_locks_a_live_holder_is_respected_and_a_stale_one_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        _leave(tmp_path, process=other.pid, start=process.start_of(other.pid))
        with pytest.raises(TemporaryError, match=f"in use by process {other.pid} on far"), directory_lock(tmp_path, 0):
            pytest.fail("the block must not run")
        _leave(tmp_path, process=other.pid)  # the number of a process that is gone, used again
        with directory_lock(tmp_path, 0):
            pass
        other.communicate(b"\n")
    _leave(tmp_path)
    with directory_lock(tmp_path, 0):
        pass
    assert "last to use it" not in capsys.readouterr().err
    _leave(tmp_path, machine="another")
    with directory_lock(tmp_path, 0):
        pass
    assert (
        "; process 4194305 on far since 2026-01-01 (another machine: whether it still runs cannot be seen from here)"
        in (capsys.readouterr().err)
    )


def test_whether_a_lock_is_held(tmp_path: Path) -> None:
    assert is_held(tmp_path / "run") is False
    with held(tmp_path / "run") as holder:
        assert is_held(tmp_path / "run") is True
        holder.kill()
        holder.wait()
        assert is_held(tmp_path / "run") is False
    with directory_lock(tmp_path / "run"):
        assert is_held(tmp_path / "run") is True
    (tmp_path / "file").touch()
    with pytest.raises(CalogenError, match=r"cannot read .*file/\.lock"):
        is_held(tmp_path / "file")


@pytest.mark.usefixtures("lockless")
def test_without_locks_a_holder_on_another_machine_cannot_be_seen(tmp_path: Path) -> None:
    _leave(tmp_path)
    assert is_held(tmp_path) is False
    _leave(tmp_path, process=os.getpid(), start=process.start_of(os.getpid()))
    assert is_held(tmp_path) is True
    _leave(tmp_path, machine="another")
    assert is_held(tmp_path) is None
    (tmp_path / ".lock").write_text("")
    assert is_held(tmp_path) is False


def test_a_holder_that_cannot_be_seen_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel says that the lock is held; who holds it may be gone (a child has it), elsewhere, or unknown."""

    def held_already(*_: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(fcntl, "flock", held_already)
    for changes, text in (
        (
            {},
            r"process 4194305 on far since 2026.* \(which is gone: something that it started still holds it\): wait",
        ),
        ({"machine": "another"}, r"\(another machine: whether it still runs cannot be seen from here\): wait"),
    ):
        _leave(tmp_path, **changes)
        with pytest.raises(TemporaryError, match=text), directory_lock(tmp_path, 0):
            pytest.fail("the block must not run")
    (tmp_path / ".lock").write_text("")
    with pytest.raises(TemporaryError, match="in use by process unknown: wait"), directory_lock(tmp_path, 0):
        pytest.fail("the block must not run")
    assert (tmp_path / ".lock").read_text() == ""


@pytest.mark.parametrize(("number", "code"), [(errno.EIO, 75), (errno.ESTALE, 75), (errno.EINVAL, 2)])
def test_other_troubles_with_locks_are_refused(
    tmp_path: Path, number: int, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", fail)
    with (
        pytest.raises(CalogenError, match=f"cannot lock .*: {os.strerror(number)}; choose") as raised,
        directory_lock(tmp_path),
    ):
        pytest.fail("the block must not run")
    assert raised.value.exit_code == code


def test_who_waited_for_a_directory_that_is_gone_holds_a_new_one(tmp_path: Path) -> None:
    """A production removes its folder of chunks with the lock in it; two who wait must not both go on."""
    path, log = tmp_path / "parts", tmp_path / "log"
    command = [sys.executable, "-c", _REMOVE, str(path), str(log)]
    with directory_lock(path):
        waiting = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
        for each in waiting:
            assert each.stderr is not None
            assert "waiting up to 30 s" in each.stderr.readline()
        remove_folder(path)
    for each in waiting:
        each.communicate(timeout=60)
    assert [each.returncode for each in waiting] == [0, 0]
    assert log.read_text().split() == ["in", "True", "out"] * 2


def test_files_of_others_and_of_nobody_are_refused(tmp_path: Path) -> None:
    """Of nobody are those of a folder without a record, whose removal was interrupted."""
    for _ in range(2):
        with directory_lock(tmp_path):
            require_same(tmp_path, {"seed": 1}, "chunks of another production")
        (tmp_path / "chunk").touch()
    with directory_lock(tmp_path), pytest.raises(ConfigError, match="holds chunks of another production: remove it"):
        require_same(tmp_path, {"seed": 2}, "chunks of another production")
    (tmp_path / "request.json").unlink()
    with directory_lock(tmp_path), pytest.raises(ConfigError, match="holds chunks of another production: remove it"):
        require_same(tmp_path, {"seed": 1}, "chunks of another production")


def test_the_holder_sweeps_what_dead_processes_left_and_nothing_else(tmp_path: Path) -> None:
    here, gone, alive = process.machine(), f"{2**22 + 1:08x}", f"{os.getppid():08x}"
    swept = (
        f".a.{here}{gone}00000000.partial.keras",
        f".a.b.{here}{gone}00000000.partial",
        "old/.a.01234567.partial.h5",
    )
    swept += (f"deep/er/..{here}{gone}00000000.partial.json", f"old/.a.aaaaaaaa{gone}00000000.partial.keras")
    swept += (f".a.{here}{os.getpid():08x}00000000.partial.keras",)  # of an earlier process with this number
    kept = (
        f".a.{here}{alive}00000000.partial.keras",
        f".a.aaaaaaaa{gone}00000000.partial.keras",
        ".a.01234567.partial.h5",
    )
    kept += (f"a.{here}{gone}00000000.partial.keras", f".a.{here}{gone}0000000.partial.keras", ".a.partial.h5", "a.h5")
    kept += (f".a.{here}{gone}00000000.partial.tar.gz",)
    for name in (*swept, *kept):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        if path.parent.name == "old":  # nobody has touched it for two days
            os.utime(path, (time.time() - 2 * 86400,) * 2)
    folder = tmp_path / f".folder.{here}{gone}00000000.partial"
    write_text(folder / "a.h5", "")
    (tmp_path / "kept").mkdir()
    (tmp_path / f".link.{here}{gone}00000000.partial").symlink_to(tmp_path / "kept")
    with directory_lock(tmp_path, sweep=False):
        assert all((tmp_path / name).exists() for name in (*swept, *kept))
    with directory_lock(tmp_path):
        assert [name for name in swept if (tmp_path / name).exists()] == []
    assert [name for name in kept if not (tmp_path / name).exists()] == []
    assert not folder.exists()
    assert (tmp_path / f".link.{here}{gone}00000000.partial").is_dir()
