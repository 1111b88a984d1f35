"""Names of unfinished files, and the removal of those that nobody finishes any more.

Whatever is written has a temporary name until it is complete (`files.atomic_path`).
"""

import os
import re
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

from calogen import process

_FOREIGN_AGE = 86400.0  # seconds after which another machine's unfinished file counts as given up
# The name ends in machine and process (8 hexadecimal digits each; earlier versions had neither) and a random number.
_PARTIAL = re.compile(r"\..*\.(?:([0-9a-f]{8})([0-9a-f]{8}))?[0-9a-f]{8}\.partial(?:\.[^.]*)?", re.DOTALL)


def temporary_beside(target: Path) -> Path:
    """A path beside the target, named after this machine and process, with a random number."""
    suffix = target.suffix if len(os.fsencode(target.suffix)) < 100 else ""
    tail = f".{process.machine()}{os.getpid():08x}{secrets.token_hex(4)}.partial{suffix}"
    try:
        room = os.pathconf(target.parent, "PC_NAME_MAX") - len(os.fsencode(tail)) - 1
    except (OSError, ValueError):
        room = 100
    stem = os.fsencode(target.stem)[:room].decode(errors="ignore")
    return target.with_name(f".{stem}{tail}")


def sweep(folder: str | Path) -> None:
    """Remove temporary files and folders of processes that no longer run from a folder."""
    with suppress(OSError):
        now = os.stat(folder).st_mtime
        for entry in list(os.scandir(folder)):
            parts = _PARTIAL.fullmatch(entry.name)
            if not parts or entry.is_symlink() or not _is_orphan(entry, now, *parts.groups()):
                continue
            if entry.is_dir():
                shutil.rmtree(entry.path, ignore_errors=True)
            elif entry.is_file():
                with suppress(OSError):
                    os.unlink(entry.path)


def _is_orphan(entry: os.DirEntry[str], now: float, machine: str | None, number: str | None) -> bool:
    """Whether the process that wrote a temporary file is gone, as far as can be seen.

    Of another machine's file the age tells, at `now`, when the folder was changed: by the clock of the disk, as this
    machine's may have jumped.
    """
    if machine != process.machine() or number is None:
        return now - entry.stat().st_mtime > _FOREIGN_AGE
    if int(number, 16) == os.getpid():
        return entry.name not in {path.name for path in tuple(process.UNFINISHED)}
    return not process.is_alive(int(number, 16))
