"""Locks on directories, whose holder removes the remains of killed processes."""

import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep
from typing import Any  # the values of JSON tables

from calogen import files, process, unfinished
from calogen.errors import CalogenError, ConfigError, TemporaryError

WAIT = 60.0
"""Seconds that a process waits for the lock of another one."""
_POLL = 0.2  # seconds between two tries
_UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


@contextmanager
def directory_lock(path: str | Path, wait: float | None = None, *, sweep: bool = True) -> Iterator[None]:
    """Lock a directory, which is made if it is missing, until the block or this process ends.

    The file `.lock` in the directory names the holder. On a file system without locks this file is the only protection:
    a holder on this machine is respected, but one on another machine cannot be seen, as a warning says.

    Args:
        wait: seconds to wait until another process releases the directory; None: `WAIT`.
        sweep: whether to remove the unfinished files of processes that no longer run, in all folders of the directory.

    Raises:
        TemporaryError: another process holds the directory, or this one holds it already.
        CalogenError: the directory cannot be written.
    """
    descriptor = _open(path)
    try:
        _acquire(descriptor, path, WAIT if wait is None else wait)
        while not _is_in_place(descriptor, path):  # the previous holder has removed the directory meanwhile
            os.close(descriptor)
            descriptor = _open(path)
            _acquire(descriptor, path, WAIT if wait is None else wait)
        try:
            _record(descriptor)
            if sweep:
                for folder, _, _ in os.walk(path):
                    unfinished.sweep(folder)
            yield
        finally:
            with suppress(OSError):
                os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def require_same(path: str | Path, identity: dict[str, Any], kind: str) -> None:
    """Record whose files a locked directory holds, or refuse those of others.

    Args:
        identity: a table of JSON: everything that decides the files.
        kind: what the directory holds otherwise, for the message: "chunks of another production".

    Raises:
        ConfigError: the directory holds the files of another identity, or files of which it does not say whose.
    """
    record = Path(path) / "request.json"
    same = files.read_json(record) == identity if record.exists() else not files.listed(path)
    if not same:
        raise ConfigError(f"{path} holds {kind}: remove it, or name another output")
    files.write_json(record, identity)


def is_held(path: str | Path) -> bool | None:
    """Whether a process holds the lock of a directory, which is left as it is.

    Returns:
        None: this cannot be seen from here, because the file system has no locks, and the last holder, who has not
        given the directory back, is on another machine.

    Raises:
        CalogenError: the directory cannot be read.
    """
    try:
        descriptor = os.open(Path(path) / ".lock", os.O_RDWR)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise files.read_error(Path(path) / ".lock", error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise files.read_error(Path(path) / ".lock", error) from error
        holder = _holder(descriptor)
        return _runs(holder) if holder else False
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
    """Whether the locked file is still the file `.lock` of the directory."""
    try:
        present = os.stat(Path(path) / ".lock")
    except OSError:
        return False
    return os.path.samestat(os.fstat(descriptor), present)


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
    """Try once to lock; True: this process holds the lock, or the file system has no locks."""
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
    with suppress(OSError):  # on a full disk the lock holds without this text
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{json.dumps(about)}\n".encode(), 0)


@dataclass(frozen=True)
class _Holder:
    """The process that holds a lock, as the file `.lock` describes it."""

    process: int
    host: str
    since: str
    machine: str
    start: str | None


def _holder(descriptor: int) -> _Holder | None:
    """The holder that the file `.lock` names; None: it names none."""
    try:
        about = json.loads(os.pread(descriptor, 4096, 0))
        holder = _Holder(**{name: about[name] for name in _Holder.__annotations__})
        return holder if isinstance(holder.process, int) else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _runs(holder: _Holder | None) -> bool | None:
    """Whether the holder still runs; None: the holder is unknown, or on another machine."""
    if holder is None or holder.machine != process.machine():
        return None
    return process.is_alive(holder.process, holder.start)


def _is_this_process(holder: _Holder | None) -> bool:
    return holder is not None and holder.process == os.getpid() and bool(_runs(holder))


def _text(holder: _Holder | None) -> str:
    if holder is None:
        return "process unknown"
    text = f"process {holder.process} on {holder.host} since {holder.since}"
    endings = {
        True: "",
        False: " (which is gone: something that it started still holds it)",
        None: " (another machine: whether it still runs cannot be seen from here)",
    }
    return text + endings[_runs(holder)]
