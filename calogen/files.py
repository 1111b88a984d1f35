"""Files that are written whole or not at all, remains of killed processes, hashes."""

import errno
import glob
import hashlib
import json
import os
import re
import shutil
import stat
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from calogen import process
from calogen.errors import CalogenError, DataFormatError, TemporaryError
from calogen.unfinished import sweep, temporary_beside

if TYPE_CHECKING:
    import pandas as pd

FigureFormat = Literal["pdf", "svg", "png"]
"""Formats of files of figures."""
_DISK_FULL = "free some space or write to another disk"
_UNWRITABLE = "choose a path that you may write to"
_REMEDIES = {
    errno.ENOSPC: _DISK_FULL,
    errno.EDQUOT: _DISK_FULL,
    errno.EFBIG: "raise the limit on file sizes (ulimit -f)",
    errno.EIO: "check the disk or write to another one",
    errno.ESTALE: "check the network's file system, or write to another one",
    errno.EACCES: _UNWRITABLE,
    errno.EPERM: _UNWRITABLE,
    errno.EROFS: _UNWRITABLE,
    errno.EISDIR: "name a file, not a directory",
    errno.ENOTDIR: "a part of the path is a file: choose another path",
    errno.EEXIST: "a part of the path is a file: choose another path",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "a symbolic link leads to itself: remove it",
}
TEMPORARY = (errno.EIO, errno.ESTALE)  # errors of a disk or a network: another try, perhaps on another node, may help
_NOT_FLUSHED = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.ENOSYS)  # errors of file systems that cannot flush
_BLOCK = 4096  # bytes that are written as a test, since a full disk accepts empty files


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path; its file becomes `path` when the block succeeds.

    The temporary file lies in the folder of `path`, which is made if it is missing, and has the suffix of `path`. It is
    flushed to the disk and renamed at the end; after any exception, an interrupt included, it is removed and `path` is
    as it was before. An existing file keeps its mode, and a symbolic link remains: the file it names is replaced.

    Raises:
        CalogenError: the file cannot be written: no permission, a directory or device, a long name, or a full disk.
    """
    with _failures_named(path):
        target = _target(Path(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        _require_writable(target, target.parent)
    sweep(target.parent)
    temporary = temporary_beside(target)
    process.UNFINISHED.add(temporary)
    try:
        with _failures_named(path, temporary):
            yield temporary
            _flush(temporary)
            with suppress(OSError):  # a new file, or a file system without modes
                temporary.chmod(stat.S_IMODE(target.stat().st_mode))
            os.replace(temporary, target)
            _flush(target.parent)
    finally:
        with suppress(OSError):
            temporary.unlink()
        process.UNFINISHED.discard(temporary)


def require_writable_file(path: str | Path, size: float = 0) -> None:
    """Refuse at once, not after hours of work, a file that cannot be written at the end.

    Devices such as /dev/null or /dev/stdout and pipes are refused, because a file would replace them. Missing folders
    are not made; it is checked whether a file can be written where the first of them would be.

    Args:
        size: the least size of the file, in bytes.

    Raises:
        CalogenError: no permission, a directory or device, a name that is too long, no space.
    """
    with _failures_named(path):
        target = _target(Path(path))
        there = next(folder for folder in target.parents if folder.exists())
        for name in target.relative_to(there).parts:
            with suppress(FileNotFoundError):
                os.stat(there / name)  # refuses a name that is too long
        _require_writable(target, there)
    require_space(target, size)


def listed(folder: str | Path, pattern: str = "*") -> list[Path]:
    """Files and folders that match, sorted by name, without hidden and unfinished ones."""
    return sorted(path for path in Path(folder).glob(pattern) if not path.name.startswith("."))


def matching_files(pattern: str) -> list[str]:
    """Paths that match a pattern as in a shell, sorted by name; `*` leaves out hidden ones."""
    return sorted(glob.glob(pattern))


def remove_folder(path: str | Path) -> None:
    """Remove a folder, which others see whole or not at all; `CalogenError`: not allowed.

    It is hidden under a temporary name first. What stays, as a network keeps open files, a later write sweeps.
    """
    hidden = temporary_beside(Path(path))
    process.UNFINISHED.add(hidden)
    try:
        os.rename(path, hidden)
        shutil.rmtree(hidden, ignore_errors=True)
    except OSError as error:
        raise refusal(f"remove {path}", error.errno) from error
    finally:
        process.UNFINISHED.discard(hidden)


def require_space(path: str | Path, num_bytes: float) -> None:
    """Refuse at once, with a `CalogenError`, a future file that does not fit on its disk.

    Args:
        path: the file; for a symbolic link the disk of its target counts.
        num_bytes: the number of bytes that the file needs at least, beyond its present size.
    """
    disk = shutil.disk_usage(next(filter(os.path.isdir, Path(os.path.realpath(path)).parents)))
    if disk.total and num_bytes > disk.free:  # some network file systems tell no total
        raise CalogenError(
            f"cannot write {path}: it needs at least {num_bytes / 1e6:,.0f} MB more. Received: "
            f"{disk.free / 1e6:,.0f} MB of free space; {_DISK_FULL}"
        )


def write_text(path: str | Path, text: str) -> None:
    """Write a text file whole or not at all, in UTF-8."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_text(path: str | Path) -> str:
    """Read a text file in UTF-8.

    Raises:
        DataFormatError: there is no such file, or it holds no text.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise read_error(path, error) from error
    except UnicodeDecodeError as error:
        raise DataFormatError(f"{path} must be a text in UTF-8. Received: {error}") from error


def write_table(path: str | Path, table: "pd.DataFrame") -> None:
    """Write a table as CSV, whole or not at all; what is not defined is empty.

    Raises:
        CalogenError: as `write_text`.
    """
    write_text(path, table.to_csv(index=False))


def write_json(path: str | Path, value: object) -> None:
    """Write JSON whole or not at all; NumPy scalars, arrays and paths become plain values.

    Raises:
        DataFormatError: the value holds NaN, infinity, or a type that JSON lacks.
    """
    write_text(path, format_json(path, value))


def format_json(path: str | Path, value: object) -> str:
    """Give the text that `write_json` writes; it raises the same error, which names the path."""
    try:
        return json.dumps(value, indent=2, allow_nan=False, default=_plain) + "\n"
    except (ValueError, TypeError) as error:
        raise DataFormatError(f"{path} must hold finite numbers, text, lists and tables. Received: {error}") from error


def replace_files(folder: str | Path, contents: Mapping[str, bytes], stale: Iterable[Path] = ()) -> None:
    """Write several files that belong together, and remove those that they replace.

    All are written under temporary names first; then those that are stale are removed, and the others renamed, the last
    of `contents` last. Until then, whatever ends the work leaves the folder as it was; SIGTERM and interrupts wait
    until all are renamed.

    Args:
        folder: the folder, which is made if it is missing.
        contents: contents by path below the folder.
        stale: files to remove, in this order.

    Raises:
        CalogenError: a file cannot be written or removed.
    """
    with ExitStack() as stack:
        for name, content in reversed(list(contents.items())):
            stack.enter_context(atomic_path(Path(folder, name))).write_bytes(content)
        with process.uninterrupted(), stack.pop_all():
            for path in stale:
                try:
                    path.unlink(missing_ok=True)
                except OSError as error:
                    raise refusal(f"remove {path}", error.errno) from error


def read_json(path: str | Path) -> object:
    """Read a JSON file.

    Raises:
        DataFormatError: there is no such file, or it is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise read_error(path, error) from error
    except (ValueError, RecursionError) as error:
        raise DataFormatError(f"{path} is not a JSON file: {error}") from error


def read_json_table(path: str | Path) -> dict[str, Any]:
    """Read a JSON file that holds a table.

    Raises:
        DataFormatError: as `read_json`, or the file holds something else.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise DataFormatError(f"{path} must hold a table of JSON. Received: {value!r:.100}")
    return value


def read_toml(path: Traversable) -> dict[str, Any]:
    """Read the tables of a TOML file, `[name]` each, in their order.

    Raises:
        DataFormatError: a table is broken or stands twice; the message names it.
    """
    tables: dict[str, Any] = {}
    for text in re.split(r"^(?=\[)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        name = text[1:].partition("]")[0]
        try:
            table = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise DataFormatError(f"{path.name}, table [{name}]: {error}") from error
        if name in tables:
            raise DataFormatError(f"{path.name}, table [{name}] must be there once. Received: two")
        tables |= table
    return tables


def sha256(path: str | Path) -> str:
    """SHA-256 of a file's content, in hexadecimal digits.

    Raises:
        DataFormatError: the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise read_error(path, error) from error


def read_error(path: str | Path, error: OSError) -> CalogenError:
    """The error for an unreadable file; another try may help after some errors."""
    kind = TemporaryError if error.errno in TEMPORARY else DataFormatError
    return kind(f"cannot read {path}: {error.strerror or error}")


def refusal(what: str, number: int | None) -> CalogenError:
    """The error for a failed operation (`write <path>`), with the remedy for its number."""
    kind = TemporaryError if number in TEMPORARY else CalogenError
    return kind(f"cannot {what}: {os.strerror(number or 0)}; {_REMEDIES.get(number or 0, _UNWRITABLE)}")


@contextmanager
def _failures_named(path: str | Path, temporary: Path | None = None) -> Iterator[None]:
    """Name the file and a remedy where writing fails, or only where `temporary` fails."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        number = error.errno if temporary is None and isinstance(error, OSError) else _write_error(error, temporary)
        if number not in _REMEDIES:
            raise
        raise refusal(f"write {path}", number) from error


def _target(path: Path) -> Path:
    """The file that a path stands for, its symbolic links followed; it must be no device."""
    target, folder = Path(os.path.realpath(path)), str(path.absolute().parent)
    try:
        mode = os.stat(target).st_mode
    except FileNotFoundError:
        mode = stat.S_IFREG
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode) or folder in ("/dev", "/dev/fd") or folder.startswith("/proc/"):
        raise CalogenError(
            f"cannot write {path}: it must be a file, which is written beside it and renamed. Received: a device, pipe "
            "or socket; name a file"
        )
    return target


def _require_writable(target: Path, folder: Path) -> None:
    """Write a small file into the folder of the target, or of its parents, and remove it."""
    if target.exists() and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    temporary = temporary_beside(folder / target.name)
    process.UNFINISHED.add(temporary)
    try:
        temporary.write_bytes(bytes(_BLOCK))
    finally:
        with suppress(OSError):
            temporary.unlink()
        process.UNFINISHED.discard(temporary)


def _flush(path: Path) -> None:
    """Flush a file or a directory to the disk, where the file system can do so."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:
        return  # a directory that may be written, but not read
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NOT_FLUSHED:
            raise
    finally:
        os.close(descriptor)


def _write_error(error: Exception, temporary: Path | None) -> int | None:
    """The number of an error in writing the temporary file; None: another error or file."""
    number = getattr(error, "errno", None)
    if number is None:  # HDF5 gives the number in its text only
        match = re.search(r"errno = (\d+)", str(error))
        return int(match[1]) if match and int(match[1]) in _REMEDIES else None
    filename = getattr(error, "filename", None)
    ours = temporary is None or filename is None or Path(str(filename)) in (temporary, *temporary.parents)
    return number if ours and number in _REMEDIES else None


def _plain(value: object) -> object:
    to_list = getattr(value, "tolist", None)  # of NumPy's arrays and scalars
    if to_list is not None:
        return to_list()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} {value!r:.60}")
