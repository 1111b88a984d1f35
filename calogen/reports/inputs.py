"""The files that `calogen evaluate` is given: which they are, and what they hold."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import h5py

from calogen.errors import DataFormatError
from calogen.hdf5 import damage_named, dataset_shape, open_file
from calogen.showers.grid_files import grid_shape
from calogen.showers.grids import GRIDS

Kind = Literal["cells", "voxels", "grids"]
"""What showers are judged by: cells around the impact, voxels, or regular grids."""
_MAX_NOTE = 10_000  # letters of a file's note


def kind_of(generated: Sequence[Path], others: Sequence[Path]) -> Kind:
    """What showers are judged by: voxels if any generated file holds them.

    Raises:
        DataFormatError: a file is no whole HDF5 file, or some files hold only one kind and others only another.
    """
    kinds = {path: _kinds(path) for path in (*others, *generated)}
    lone: dict[str, list[Path]] = {}
    for path, held in kinds.items():
        if len(held) == 1:
            lone.setdefault(next(iter(held)), []).append(path)
    if len(lone) > 1:
        names = (
            f"{kind} in {', '.join(map(str, paths[:5]))}{', ...' if paths[5:] else ''}"
            for kind, paths in sorted(lone.items())
        )
        raise DataFormatError(f"all files must hold one kind of showers. Received: {'; '.join(names)}")
    for kind in ("cells", "grids"):
        if all(kinds[path] == {kind} for path in generated):
            return kind
    return "voxels"


def origin(path: Path) -> str:
    """A file's note on how its showers were produced; empty if it has none.

    Raises:
        DataFormatError: it is no whole HDF5 file.
    """
    with open_file(path) as file, damage_named(path):
        known = h5py.h5a.exists(file.id, b"note") and h5py.h5a.open(file.id, b"note").get_storage_size() < _MAX_NOTE
        note = file.attrs["note"] if known else ""
    text = note.decode(errors="replace") if isinstance(note, bytes) else note
    return plain_text(text) if isinstance(text, str) else ""


def plain_text(text: str) -> str:
    """A text for small print: short, printable, and without matplotlib's mathematics ($)."""
    return "".join(letter for letter in text[:_MAX_NOTE] if letter.isprintable() and letter != "$")


def _kinds(path: Path) -> set[str]:
    """Which of `cells`, `voxels` and `grids` a file holds."""
    with open_file(path) as file, damage_named(path):
        if grid_shape(file):
            return {"grids"}
        shapes = {name: dataset_shape(file, name) for name in ("cells", "showers")}
    if not shapes["cells"] and shapes["showers"][1:] in [(grid.size,) for grid in GRIDS]:
        return {"grids"}
    return {kind for kind, name in (("cells", "cells"), ("voxels", "showers")) if shapes[name]}
