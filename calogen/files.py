"""Files that appear whole or not at all, their hashes, and the lock on a run directory."""

import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from calogen.errors import CalogenError, DataFormatError

_DISK_FULL = "free some space or write to another disk"
_UNWRITABLE = "choose a path that you may write to"
_REMEDIES = {
    errno.ENOSPC: _DISK_FULL,
    errno.EDQUOT: _DISK_FULL,
    errno.EFBIG: "raise the limit on file sizes (ulimit -f)",
    errno.EIO: "check the disk or write to another one",
    errno.EACCES: _UNWRITABLE,
    errno.EPERM: _UNWRITABLE,
    errno.EROFS: _UNWRITABLE,
    errno.EISDIR: "name a file, not a directory",
    errno.ENOTDIR: "a part of the path is a file: choose another path",
    errno.EEXIST: "a part of the path is a file: choose another path",
    errno.ENAMETOOLONG: "choose a shorter name",
}


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path that becomes `path` once the block succeeds.

    The temporary file lies in the same folder (made if need be) and has the same suffix. It is flushed to the disk and
    renamed at the end; after any exception, an interrupt included, it is removed and `path` is as it was before.

    Args:
        path: the file to write or replace.

    Raises:
        CalogenError: the file cannot be written: no permission, a directory, disk full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.partial{path.suffix}")
    try:
        _require_writable(path, temporary)
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)
        _flush(path.parent)
    except (OSError, RuntimeError) as error:
        number = _write_error(error, temporary)
        if number is None:
            raise
        raise CalogenError(f"cannot write {path}: {os.strerror(number)}; {_REMEDIES[number]}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def require_space(path: str | Path, num_bytes: int) -> None:
    """Fail now, not after hours of work, where a file to come does not fit on its disk.

    Args:
        path: of the file.
        num_bytes: what it needs at least, beyond what it has.

    Raises:
        CalogenError: less is free.
    """
    disk = shutil.disk_usage(next(filter(os.path.isdir, Path(path).absolute().parents)))
    if disk.total and num_bytes > disk.free:  # some network file systems tell no total
        raise CalogenError(
            f"cannot write {path}: it needs at least {num_bytes / 1e9:.3g} GB more, {disk.free / 1e9:.3g} GB are free; "
            f"{_DISK_FULL}"
        )


def write_text(path: str | Path, text: str) -> None:
    """Write a text file whole or not at all, in UTF-8."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_text(path: str | Path) -> str:
    """Read a text file in UTF-8.

    Raises:
        DataFormatError: no such file, or no text.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise DataFormatError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataFormatError(f"{path} must be a text in UTF-8. Received: {error}") from error


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON whole or not at all; NumPy scalars, arrays and paths become plain values.

    Raises:
        DataFormatError: NaN, infinity, or a type that JSON has not.
    """
    try:
        text = json.dumps(value, indent=2, allow_nan=False, default=_plain)
    except (ValueError, TypeError) as error:
        raise DataFormatError(f"{path} must hold finite numbers, text, lists and tables. Received: {error}") from error
    write_text(path, text + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        DataFormatError: no such file, or not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataFormatError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise DataFormatError(f"{path} is not a JSON file: {error}") from error


def sha256(path: str | Path) -> str:
    """SHA-256 of a file's content, in hexadecimal digits.

    Raises:
        DataFormatError: the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataFormatError(f"cannot read {path}: {error.strerror}") from error


@contextmanager
def directory_lock(path: str | Path) -> Iterator[None]:
    """Hold a directory (made if need be) for this process until the block or process ends.

    Raises:
        CalogenError: another process holds it, or the directory cannot be written.
    """
    lock = Path(path) / ".lock"
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, _UNWRITABLE)
        raise CalogenError(f"cannot write in {path}: {error.strerror}; {remedy}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 20).decode().strip() or "unknown"
            raise CalogenError(f"{path} is in use by process {holder}: wait for it, or stop it") from error
        except OSError as error:
            raise CalogenError(f"cannot lock {path}: {error.strerror}; choose another file system") from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)


def require_directory(path: str | Path) -> None:
    """Make a directory; fail now, not after hours of work, where it cannot be written to.

    Raises:
        CalogenError: it cannot be made or written to.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, _UNWRITABLE)
        raise CalogenError(f"cannot write to {path}: {error.strerror}; {remedy}") from error


@contextmanager
def output_directory(path: str | Path) -> Iterator[None]:
    """A directory for the block's files; what a failure leaves empty of it goes again.

    Raises:
        CalogenError: as `require_directory`.
    """
    path = Path(path)
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    require_directory(path)
    try:
        yield
    except BaseException:
        for folder in made:
            with suppress(OSError):
                folder.rmdir()
        raise


def _require_writable(path: Path, temporary: Path) -> None:
    """Fail now, not after hours of work, where the file cannot be written at the end."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary.touch()
    temporary.unlink()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_error(error: Exception, temporary: Path) -> int | None:
    """The error number if writing the temporary file failed; None for other files or errors."""
    number = getattr(error, "errno", None)
    if number is None:  # HDF5 tells the number in its text only
        found = re.search(r"errno = (\d+)", str(error))
        return int(found[1]) if found and int(found[1]) in _REMEDIES else None
    filename = getattr(error, "filename", None)
    ours = filename is None or Path(str(filename)) in (temporary, *temporary.parents)
    return number if ours and number in _REMEDIES else None


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} {value!r:.60}")
