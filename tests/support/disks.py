"""Full disks, and which disks a command asks for free space."""

import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def asked_disks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Paths whose disks are asked from now on; each has the free space of the folder's."""
    asked: list[Path] = []
    usage = shutil.disk_usage(folder)

    def fake(path: Path) -> object:
        asked.append(path)
        return usage

    monkeypatch.setattr(shutil, "disk_usage", fake)
    return asked


@contextmanager
def largest_file(num_bytes: int) -> Iterator[None]:
    """Files that may not grow beyond a size: the nearest thing to a full disk without one."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
