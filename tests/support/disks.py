"""Which disks a command asks for free space."""

import shutil
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
