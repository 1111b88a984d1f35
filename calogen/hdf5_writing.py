"""Writing of HDF5 files block by block, whole or not at all, even on a full disk."""

import io
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import h5py
import numpy as np

from calogen.errors import CalogenError
from calogen.files import atomic_path, require_space
from calogen.hdf5 import damage_named, open_file


class _Buffer(Protocol):
    """An object whose bytes `memoryview` shows."""

    def __buffer__(self, flags: int, /) -> memoryview: ...


def write_hdf5(
    path: str | Path,
    blocks: Iterable[Mapping[str, np.ndarray]],
    num_rows: int,
    attributes: Mapping[str, object],
    level: int = 9,
    chunk_rows: int | None = None,
    ragged: Collection[str] = (),
) -> None:
    """Write datasets block by block, whole or not at all, with gzip and shuffle.

    Args:
        blocks: rows of each dataset, by its name; all blocks have the same names.
        num_rows: number of rows of all blocks together.
        attributes: attributes of the file.
        level: compression level of gzip. 9 is for files that are kept and published; for showers of a network, 4 takes
            a tenth of the time and makes files some 2 % larger.
        chunk_rows: number of rows for which h5py chooses the size of the chunks; None: that of the first block.
        ragged: names of the datasets whose lengths are not the number of rows.

    Raises:
        CalogenError: the file cannot be written: no permission, a directory, a disk that is full or soon will be; or
            the blocks hold another number of rows.
    """
    with atomic_path(path) as temporary, _PatientFile(temporary) as content:
        written = 0
        left: dict[str, np.ndarray] = {}
        with h5py.File(content, "w") as file:
            for block in blocks:
                written += len(next(iter(block.values())))
                for name, rows in block.items():
                    if name not in file:
                        fitting = chunk_rows or len(rows)
                        lengths = (len(rows), None) if name in ragged else (fitting, max(fitting, num_rows))
                        _create(file, name, rows, lengths, level)
                    left[name] = _append(file[name], left.get(name, rows[:0]), rows)
                if content.error:
                    break
                # the remaining rows need at least half the bytes per row of the written ones
                require_space(path, content.size * (num_rows - written) // (2 * written))
            for name, rows in left.items() if not content.error else ():
                _extend(file[name], rows)
            file.attrs.update(attributes)
        if content.error:
            raise content.error
        if written != num_rows:
            raise CalogenError(f"{path} must hold {num_rows:,} rows. Received: {written:,}")


def join_hdf5(path: str | Path, parts: Sequence[Path]) -> None:
    """Join files of `write_hdf5` into one, whole or not at all.

    Chunks of whole rows are copied as they are; what does not fill a chunk is read and compressed anew. Attributes are
    those of the first part.

    Raises:
        CalogenError: as for `write_hdf5`; a part is missing or damaged.
    """
    types = _common_types(parts)
    with atomic_path(path) as temporary, _PatientFile(temporary) as content:
        left: dict[str, np.ndarray] = {}
        with h5py.File(content, "w") as file:
            for number, part in enumerate(parts):
                with open_file(part) as source, damage_named(part):
                    for name, rows in datasets_of(source).items():
                        if name not in file:
                            _create_like(file, name, rows, types[name])
                        left[name] = _join(file[name], left.get(name), rows, last=number == len(parts) - 1)
                    if number == 0:
                        file.attrs.update(source.attrs)
                if content.error:
                    break
            for name, rest in left.items() if not content.error else ():
                _extend(file[name], rest)
        if content.error:
            raise content.error


def link_hdf5(path: str | Path, parts: Sequence[Path]) -> None:
    """Write a file that refers to the datasets of files beside it, one behind another.

    Source: HDF5's virtual data sets.

    Raises:
        CalogenError: as for `join_hdf5`.
    """
    shapes: dict[str, list[tuple[str, h5py.Dataset]]] = {}
    with atomic_path(path) as temporary, ExitStack() as opened, h5py.File(temporary, "w", locking=False) as file:
        for part in parts:
            source = opened.enter_context(open_file(part))
            for name, rows in datasets_of(source).items():
                shapes.setdefault(name, []).append((part.name.replace("%", "%%"), rows))  # HDF5 counts with %
            file.attrs.update({} if len(file.attrs) else source.attrs)
        for name, pieces in shapes.items():
            dtype = np.result_type(*(rows.dtype for _, rows in pieces))
            layout = h5py.VirtualLayout((sum(len(rows) for _, rows in pieces), *pieces[0][1].shape[1:]), dtype)
            start = 0
            for source_name, rows in pieces:
                layout[start : start + len(rows)] = h5py.VirtualSource(source_name, name, rows.shape, rows.dtype)
                start += len(rows)
            file.create_virtual_dataset(name, layout)


def datasets_of(group: h5py.Group) -> dict[str, h5py.Dataset]:
    """All datasets of a file, those in its groups, too, by path."""
    found: dict[str, h5py.Dataset] = {}
    group.visititems(lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None)
    return found


class _PatientFile(io.FileIO):
    """A file that keeps its first write error in `error` instead of raising it.

    HDF5 crashes the whole process if a write fails while it closes a file. This file therefore reads as if every write
    had succeeded; the bytes after the error stay in memory, so the writer must check `error` now and then.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+")
        self.error: OSError | None = None
        self._lost: list[tuple[int, bytes]] = []

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return os.fstat(self.fileno()).st_size

    def write(self, data: _Buffer) -> int:
        """Write all bytes, or keep them in memory after an error."""
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

    def readinto(self, buffer: _Buffer) -> int:
        """Fill a buffer with bytes, and with zeros where nothing was written."""
        start, view = self.tell(), memoryview(buffer).cast("B")
        number = super().readinto(view) or 0
        view[number:] = bytes(len(view) - number)
        for place, data in self._lost:
            first, last = max(place, start), min(place + len(data), start + len(view))
            if first < last:
                view[first - start : last - start] = data[first - place : last - place]
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Set the size of the file; an error is kept in `error`."""
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size or 0


def _create(file: h5py.File, name: str, rows: np.ndarray, lengths: tuple[int, int | None], level: int) -> None:
    """Create a dataset without rows.

    Args:
        lengths: number of rows that its chunks fit, and the largest number of rows (None: any).
    """
    shape, most = ((length, *rows.shape[1:]) for length in lengths)
    dataset = file.create_dataset(
        name, shape, rows.dtype, maxshape=most, compression="gzip", compression_opts=level, shuffle=True
    )
    dataset.resize(0, axis=0)


def _append(dataset: h5py.Dataset, left: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Append rows, after those `left` before, in whole chunks; gives the rows that fill none.

    Partial chunks would be compressed twice and leave gaps in the file.
    """
    step = dataset.chunks[0]
    first = np.concatenate([left, rows[: -len(left) % step]])
    others = rows[len(first) - len(left) :]
    for part in (first, others):
        _extend(dataset, part[: len(part) // step * step])
    return first.copy() if len(first) % step else others[len(others) // step * step :].copy()


def _extend(dataset: h5py.Dataset, rows: np.ndarray) -> None:
    """Write rows behind the existing rows of a dataset."""
    if len(rows):
        start = len(dataset)
        dataset.resize(start + len(rows), axis=0)
        dataset[start:] = rows


def _common_types(parts: Sequence[Path]) -> dict[str, np.dtype]:
    """The type of each dataset that holds the numbers of all parts, some of them wider."""
    types: dict[str, np.dtype] = {}
    for part in parts:
        with open_file(part) as source, damage_named(part):
            for name, rows in datasets_of(source).items():
                types[name] = np.result_type(types.get(name, rows.dtype), rows.dtype)
    return types


def _create_like(file: h5py.File, name: str, rows: h5py.Dataset, dtype: np.dtype) -> None:
    """Create a dataset without rows, stored as another one."""
    file.create_dataset(
        name,
        (0, *rows.shape[1:]),
        dtype,
        maxshape=(None, *rows.shape[1:]),
        chunks=rows.chunks,
        compression=rows.compression,
        compression_opts=rows.compression_opts,
        shuffle=rows.shuffle,
    )


def _join(dataset: h5py.Dataset, left: np.ndarray | None, rows: h5py.Dataset, *, last: bool) -> np.ndarray:
    """Append a dataset to another, after rows `left` before; gives those that fill no chunk."""
    left = rows[:0].astype(dataset.dtype) if left is None else left
    whole = len(rows) % dataset.chunks[0] == 0 or last
    if len(left) or (rows.chunks, rows.dtype) != (dataset.chunks, dataset.dtype) or not whole:
        return _append(dataset, left, rows[:].astype(dataset.dtype))
    start = len(dataset)
    dataset.resize(start + len(rows), axis=0)
    for number in range(rows.id.get_num_chunks()):
        first, *others = rows.id.get_chunk_info(number).chunk_offset
        mask, content = rows.id.read_direct_chunk((first, *others))
        dataset.id.write_direct_chunk((start + first, *others), content, mask)
    return left
