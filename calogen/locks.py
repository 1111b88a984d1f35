"""The lock on a directory, whose holder removes what killed processes have left."""

import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from calogen import files, process
from calogen.errors import CalogenError, TemporaryError

WAIT = 60.0
"""How long a process waits for another one's lock, in seconds."""
_POLL = 0.2  # seconds
_UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


@contextmanager
def directory_lock(path: str | Path, wait: float | None = None, *, sweep: bool = True) -> Iterator[None]:
    """Hold a directory (made if need be) for this process until the block or process ends.

    Its file `.lock` names the holder. Where the file system knows no locks, that is all there is to it: a holder that
    runs on this machine is respected, and one elsewhere cannot be seen, which a warning says.

    Args:
        path: the directory.
        wait: how long for another process to leave it, in seconds; None: `WAIT`.
        sweep: whether to remove the unfinished files of processes that are gone, in all of its folders.

    Raises:
        TemporaryError: another process holds it, or this one does already.
        CalogenError: the directory cannot be written.
    """
    descriptor = _open(path)
    try:
        _acquire(descriptor, path, WAIT if wait is None else wait)
        while not _is_in_place(descriptor, path):  # whoever held it has removed the directory meanwhile
            os.close(descriptor)
            descriptor = _open(path)
            _acquire(descriptor, path, WAIT if wait is None else wait)
        try:
            _record(descriptor)
            if sweep:
                for folder, _, _ in os.walk(path):
                    files.sweep(folder)
            yield
        finally:
            with suppress(OSError):
                os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _open(path: str | Path) -> int:
    lock = Path(path) / ".lock"
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        return os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise files.refusal(f"write in {path}", error.errno) from error


def _is_in_place(descriptor: int, path: str | Path) -> bool:
    """Whether the file that was locked is still the directory's."""
    try:
        there = os.stat(Path(path) / ".lock")
    except OSError:
        return False
    return os.path.samestat(os.fstat(descriptor), there)


def _acquire(descriptor: int, path: str | Path, wait: float) -> None:
    deadline, told = monotonic() + wait, False
    while not _try(descriptor, path):
        holder = _holder(descriptor)
        if _is_this_process(holder):
            raise TemporaryError(f"{path} is in use by process {os.getpid()}, which is this one: give it back first")
        if monotonic() >= deadline:
            raise TemporaryError(f"{path} is in use by {_text(holder)}: wait for it, or stop it")
        if not told:
            process.tell(f"waiting up to {wait:g} s for {path}, which is in use by {_text(holder)}")
            told = True
        sleep(min(_POLL, max(0.0, deadline - monotonic())))


def _try(descriptor: int, path: str | Path) -> bool:
    """Whether the lock is ours now."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            kind = TemporaryError if error.errno in files.TEMPORARY else CalogenError
            raise kind(f"cannot lock {path}: {error.strerror}; choose another file system") from error
        holder = _holder(descriptor)
        if _runs(holder):
            return False
        last = f"; {_text(holder)} was the last to use it" if holder and _runs(holder) is None else ""
        process.tell(
            f"warning: {path} is on a file system without locks ({error.strerror}): let no other process use it{last}"
        )
    return True


def _record(descriptor: int) -> None:
    number = os.getpid()
    about = {"process": number, "host": socket.gethostname(), "since": datetime.now(UTC).isoformat(timespec="seconds")}
    about |= {"machine": process.machine(), "start": process.start_of(number)}
    with suppress(OSError):  # a full disk: the lock holds without it
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{json.dumps(about)}\n".encode(), 0)


def _holder(descriptor: int) -> dict[str, Any]:
    """What the holder wrote of itself; empty if nothing or something else."""
    try:
        found = json.loads(os.pread(descriptor, 4096, 0))
    except (OSError, ValueError):
        return {}
    complete = isinstance(found, dict) and {"process", "host", "since", "machine", "start"} <= set(found)
    return found if complete and isinstance(found["process"], int) else {}


def _runs(holder: dict[str, Any]) -> bool | None:
    """Whether the holder still runs; None: unknown, or on another machine."""
    if not holder or holder["machine"] != process.machine():
        return None
    return process.is_alive(holder["process"], holder["start"])


def _is_this_process(holder: dict[str, Any]) -> bool:
    return bool(holder) and holder["process"] == os.getpid() and bool(_runs(holder))


def _text(holder: dict[str, Any]) -> str:
    if not holder:
        return "process unknown"
    text = f"process {holder['process']} on {holder['host']} since {holder['since']}"
    endings = {
        True: "",
        False: " (which is gone: something that it started still holds it)",
        None: " (another machine: whether it still runs cannot be seen from here)",
    }
    return text + endings[_runs(holder)]
