"""HDF5 files written block by block, whole or not at all, on a full disk, too."""

import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from calogen.errors import CalogenError
from calogen.files import atomic_path, require_space


def write_hdf5(
    path: str | Path,
    blocks: Iterable[Mapping[str, np.ndarray]],
    num_rows: int,
    attributes: Mapping[str, Any],
    level: int = 9,
    chunk_rows: int | None = None,
) -> None:
    """Write datasets block by block, whole or not at all, with gzip and shuffle.

    Args:
        path: the file to write or replace.
        blocks: rows of each dataset by its name, the same names in every block.
        num_rows: of all blocks together.
        attributes: of the file.
        level: of gzip. 9 is for files to keep and to hand on: for showers of a network 4 takes a tenth of its time, and
            makes files larger by some 2 %.
        chunk_rows: chunks are as for a dataset of so many rows; None: as for the first block.

    Raises:
        CalogenError: the file cannot be written: no permission, a directory, disk full, or soon to be full; the blocks
            hold another number of rows.
    """
    with atomic_path(path) as temporary, _PatientFile(temporary) as content:
        written = 0
        left: dict[str, np.ndarray] = {}
        with h5py.File(content, "w") as file:
            for block in blocks:
                written += len(next(iter(block.values())))
                for name, rows in block.items():
                    if name not in file:
                        _create(file, name, rows, chunk_rows or len(rows), num_rows, level)
                    left[name] = _append(file[name], left.get(name, rows[:0]), rows)
                if content.error:
                    break
                # so far by the row, and half of that for the rest: rows may differ
                require_space(path, content.size * (num_rows - written) // (2 * written))
            for name, rows in left.items() if not content.error else ():
                _extend(file[name], rows)
            file.attrs.update(attributes)
        if content.error:
            raise content.error
        if written != num_rows:
            raise CalogenError(f"{path} must hold {num_rows:,} rows. Received: {written:,}")


class _PatientFile(io.FileIO):
    """A file whose first write error waits in `error`.

    It reads as if every write had succeeded: HDF5 crashes the whole process when a write fails as it closes a file.
    Whoever writes looks at `error` now and then: what comes after it stays in memory.

    Args:
        path: the file to make.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+")
        self.error: OSError | None = None
        self._lost: list[tuple[int, bytes]] = []

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return os.fstat(self.fileno()).st_size

    def write(self, data: Any) -> int:
        """Write all of the bytes, or remember them."""
        start, left = self.tell(), memoryview(data).cast("B")
        size = len(left)
        try:
            while len(left) and self.error is None:
                left = left[super().write(left) :]
        except OSError as error:
            self.error = error
        if self.error:
            self._lost.append((start, bytes(data)))
            self.seek(start + size)
        return size

    def readinto(self, buffer: Any) -> int:
        """Read as many bytes as there is room for; zeros where nothing was written."""
        start, view = self.tell(), memoryview(buffer).cast("B")
        number = super().readinto(view) or 0
        view[number:] = bytes(len(view) - number)
        for place, data in self._lost:
            first, last = max(place, start), min(place + len(data), start + len(view))
            if first < last:
                view[first - start : last - start] = data[first - place : last - place]
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Set the size, or remember that it cannot be."""
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size or 0


def _create(file: h5py.File, name: str, rows: np.ndarray, chunk_rows: int, num_rows: int, level: int) -> None:
    """Make a dataset without rows, whose chunks are as for so many of them."""
    shape, most = (chunk_rows, *rows.shape[1:]), (num_rows, *rows.shape[1:])
    made = file.create_dataset(
        name, shape, rows.dtype, maxshape=most, compression="gzip", compression_opts=level, shuffle=True
    )
    made.resize(0, axis=0)


def _append(dataset: h5py.Dataset, left: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Add rows to a dataset in whole chunks.

    A part of one would be compressed twice, and leave a hole in the file.

    Args:
        dataset: where rows go.
        left: rows that come before, less than a chunk.
        rows: to add.

    Returns:
        those that are left.
    """
    step = dataset.chunks[0]
    first = np.concatenate([left, rows[: -len(left) % step]])
    others = rows[len(first) - len(left) :]
    for part in (first, others):
        _extend(dataset, part[: len(part) // step * step])
    return first.copy() if len(first) % step else others[len(others) // step * step :].copy()


def _extend(dataset: h5py.Dataset, rows: np.ndarray) -> None:
    """Write rows behind those that are there."""
    if len(rows):
        start = len(dataset)
        dataset.resize(start + len(rows), axis=0)
        dataset[start:] = rows
