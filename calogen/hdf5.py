"""Reading of HDF5 files that may be locked, compressed, or spread over several files.

A dataset may be reached by links, and its numbers may lie in the file itself, in other HDF5 files (external links,
virtual datasets) or in raw files (external storage). All of these files are found before anything is read: they belong
to the provenance of a result, and reading from a pipe or a device would never end.
"""

import errno
import importlib
import math
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from calogen.errors import CalogenError, DataFormatError, TemporaryError
from calogen.files import read_error

if TYPE_CHECKING:
    from h5py._hl.vds import VDSmap

# Exceptions that h5py raises in damaged files, where a part is missing or numbers do not fit.
_DAMAGE = (OSError, RuntimeError, LookupError, ValueError, TypeError, ArithmeticError, MemoryError)
_MOST_LINKS = 16  # links that may lead to one dataset, as in HDF5
_MOST_ROWS, _MOST_KINDS = 2**26, 32  # rows of a virtual dataset, and ways in which its sources may divide a row
_Box = tuple[tuple[int, int, int, int], ...]  # start, stride, count and block along each axis
_FILTERS = {
    307: "bzip2",
    32000: "LZF",
    32001: "Blosc",
    32004: "LZ4",
    32008: "Bitshuffle",
    32013: "ZFP",
    32015: "Zstandard",
    32017: "SZ",
    32024: "SZ3",
    32026: "Blosc2",
}
# Errors that mean a lock which another process holds; any other error means that the file system has no locks.
_HELD = (errno.EAGAIN, errno.EACCES)
_LOCK_FAILED = "unable to lock file"  # in HDF5's message


@dataclass(frozen=True)
class Stored:
    """A dataset and the files in which its numbers lie.

    Args:
        files: other files that hold the numbers, or links to them.
        num_bytes: size of the compressed numbers in all files, in bytes.
    """

    dataset: h5py.Dataset
    files: tuple[Path, ...]
    num_bytes: int


def require_regular(path: str | Path) -> None:
    """Refuse, with a `DataFormatError`, a path that is no regular file."""
    if os.path.isdir(path):
        raise DataFormatError(f"{path} is a directory: name a file in it")
    if not os.path.exists(path):
        raise DataFormatError(f"no such file: {path}")
    if not os.path.isfile(path):
        raise DataFormatError(f"{path} is a pipe or a device: write what it gives to a file, and name that")


def open_file(path: str | Path) -> h5py.File:
    """Open an HDF5 file for reading, without a lock where the file system has none.

    Raises:
        DataFormatError: there is no such file, it may not be read, or it is no complete HDF5 file.
        TemporaryError: another process writes it, or the disk or the network fails.
    """
    require_regular(path)
    try:
        try:
            return h5py.File(path, "r")
        except OSError as error:
            if _LOCK_FAILED not in str(error) or error.errno in _HELD:
                raise
            return h5py.File(path, "r", locking=False)
    except _DAMAGE as error:
        raise _why_closed(path, error) from error


@contextmanager
def damage_named(path: str | Path) -> Iterator[None]:
    """Turns the exceptions of HDF5 in a damaged file into a message with the file's path."""
    try:
        yield
    except _DAMAGE as error:
        number = getattr(error, "errno", None)
        if number:
            raise read_error(path, OSError(number, os.strerror(number))) from error
        reason = str(error).encode("ascii", "backslashreplace").decode()
        raise DataFormatError(f"{path} is damaged: {reason:.300}. Copy or download it again.") from error


def find_dataset(file: h5py.File, name: str | bytes, opened: ExitStack) -> Stored | None:
    """The dataset with a name, which links of every kind may lead to.

    Args:
        file: the file in which the dataset is looked for.
        name: path of the dataset inside the file.
        opened: a stack that closes other files to which links lead, when the dataset is no longer needed.

    Returns:
        the dataset; None if there is none, or only one without extent (null dataspace).

    Raises:
        DataFormatError: a file with numbers of the dataset is missing, no regular file, or too short; links lead in a
            circle; a compression filter is not installed.
    """
    item, files = _follow(file, name, opened)
    if not isinstance(item, h5py.Dataset) or item.shape is None:
        return None
    _require_filters(item)
    others, num_bytes = _sources(item, 0)
    return Stored(item, tuple(dict.fromkeys((*files, *others))), num_bytes)


def dataset_shape(file: h5py.File, name: str) -> tuple[int, ...]:
    """Shape of the dataset with a name; () if there is none, or only one without extent."""
    with ExitStack() as opened:
        found = find_dataset(file, name, opened)
        return () if found is None else found.dataset.shape


def source_files(path: str | Path) -> tuple[Path, ...]:
    """Other files that hold datasets of an HDF5 file, sorted by name.

    Raises:
        DataFormatError: the file cannot be opened.
    """
    require_regular(path)
    if not h5py.is_hdf5(path):
        return ()
    sources: set[Path] = set()
    with open_file(path) as file, damage_named(path):
        for name in file:
            try:
                with ExitStack() as opened:
                    item = find_dataset(file, name, opened)
                    sources |= set(item.files) if item else set()
            except DataFormatError:
                continue  # a dataset that cannot be read has no part in any result
    return tuple(sorted(sources))


def _why_closed(path: str | Path, error: BaseException) -> CalogenError:
    """The error for a file that cannot be opened: the reason and the remedy."""
    text, number = str(error), getattr(error, "errno", None)
    if _LOCK_FAILED in text and number not in _HELD:
        return DataFormatError(
            f"{path} lies in a file system without locks ({os.strerror(number or errno.ENOLCK)}): set the environment "
            "variable HDF5_USE_FILE_LOCKING=FALSE"
        )
    if _LOCK_FAILED in text or "already open" in text:
        kind = TemporaryError if _LOCK_FAILED in text else DataFormatError
        return kind(
            f"{path} is open for writing elsewhere: wait until it is closed. If nobody writes it any more, copy it; "
            "what was killed while it wrote leaves a mark that `h5clear -s` removes; and where locks of dead processes "
            "stay, set the environment variable HDF5_USE_FILE_LOCKING=FALSE"
        )
    if number:
        return read_error(path, OSError(number, os.strerror(number)))
    reason = text.encode("ascii", "backslashreplace").decode()
    return DataFormatError(f"{path} is not a whole HDF5 file ({reason:.300}). Copy or download it again.")


def _follow(file: h5py.File, name: str | bytes, opened: ExitStack) -> tuple[h5py.HLObject | None, list[Path]]:
    """The object to which a path leads, None if there is none, and the files on the way."""
    files: list[Path] = []
    item, parts, links = file["/"], os.fsencode(name).split(b"/"), 0
    while parts:
        part = parts.pop(0)
        if part in (b"", b"."):
            continue
        if not isinstance(item, h5py.Group) or not item.id.links.exists(part):
            return None, files
        kind = item.id.links.get_info(part).type
        if kind == h5py.h5l.TYPE_HARD:
            item = item[part]
            continue
        links += 1
        if links > _MOST_LINKS:
            raise DataFormatError(f"{file.filename}: the links from {os.fsdecode(name)!a:.40} lead in a circle")
        target = item.id.links.get_val(part)
        if kind == h5py.h5l.TYPE_EXTERNAL:
            path = _located(os.fsdecode(target[0]), item.file, "HDF5_EXT_PREFIX")
            item, target = opened.enter_context(open_file(path))["/"], target[1]
            files.append(path)
        elif target.startswith(b"/"):
            item = item.file["/"]
        parts = target.split(b"/") + parts
    return item, files


def _sources(item: h5py.Dataset, depth: int) -> tuple[list[Path], int]:
    """Other files that hold numbers of a dataset, and the size of all its numbers in bytes."""
    if item.external:
        return _raw_sources(item)
    if not item.is_virtual:
        return [], item.id.get_storage_size()
    if depth > _MOST_LINKS:
        raise DataFormatError(f"{item.file.filename}: the virtual dataset {item.name!a:.40} lies in itself")
    files: list[Path] = []
    num_bytes = 0
    boxes: list[_Box] = []
    known: dict[tuple[str, str], tuple[int, ...]] = {}  # shapes of the sources, by file and name
    for source in item.virtual_sources():
        key = source.file_name, source.dset_name
        if re.search(r"%\d*b", "".join(key)):
            raise DataFormatError(
                f"{item.file.filename}: virtual dataset {item.name!a:.40} must name its sources one by one. Received: "
                f"the pattern {key!a:.100} (copy it: h5repack)"
            )
        if key not in known:
            here, more, known[key] = _virtual_source(item, *key, depth)
            files += here
            num_bytes += more
        boxes.append(_covered(item, source, known[key]))
    num_missing = _num_missing(item, boxes)
    if num_missing:
        raise DataFormatError(
            f"{item.file.filename}: the sources of virtual dataset {item.name!a:.40} must hold all of its "
            f"{math.prod(item.shape)} numbers. Received: {math.prod(item.shape) - num_missing}"
        )
    return files, num_bytes


def _virtual_source(
    item: h5py.Dataset, file_name: str, name: str, depth: int
) -> tuple[list[Path], int, tuple[int, ...]]:
    """Files, size in bytes and shape of one source of a virtual dataset."""
    file_name, name = (text.replace("%%", "%") for text in (file_name, name))
    with ExitStack() as opened:
        if file_name == ".":
            path, file = None, item.file
        else:
            path = _located(file_name, item.file, "HDF5_VDS_PREFIX")
            file = opened.enter_context(open_file(path))
        found, files = _follow(file, name, opened)
        if not isinstance(found, h5py.Dataset) or found.shape is None:
            raise DataFormatError(
                f"{path or item.file.filename} must hold the dataset {name!a:.40}, a part of {item.name!a:.40} of "
                f"{item.file.filename}. Received: none"
            )
        _require_filters(found)
        deeper, num_bytes = _sources(found, depth + 1)
        return [*([path] if path else []), *files, *deeper], num_bytes, found.shape


def _covered(item: h5py.Dataset, source: "VDSmap", shape: tuple[int, ...]) -> _Box:
    """The part of a virtual dataset from a source, which must hold it: HDF5 would invent it."""
    whole = tuple((0, 1, size, 1) for size in item.shape)
    try:
        num_numbers = source.vspace.get_select_npoints()
    except RuntimeError:  # the source may grow, and the dataset with it
        return whole
    space = source.src_space
    if space.get_select_type() == h5py.h5s.SEL_ALL:
        fits = math.prod(shape) == num_numbers
    else:
        fits = all(last < size for last, size in zip(space.get_select_bounds()[1], shape, strict=True))
    if not fits:
        raise DataFormatError(
            f"{source.file_name!a:.100}: {source.dset_name!a:.40} must hold what {item.name!a:.40} of "
            f"{item.file.filename} takes from it. Received: shape {shape} (is it whole?)"
        )
    if source.vspace.get_select_type() == h5py.h5s.SEL_ALL:
        return whole
    if source.vspace.get_select_type() != h5py.h5s.SEL_HYPERSLABS or not source.vspace.is_regular_hyperslab():
        raise _too_intricate(item)
    return tuple(zip(*source.vspace.get_regular_hyperslab(), strict=True))


def _num_missing(item: h5py.Dataset, boxes: list[_Box]) -> int:
    """Number of the elements of a virtual dataset that lie in no box; boxes may overlap."""
    num_rows, row_shape = (item.shape or (1,))[0], item.shape[1:]
    stretches = [_stretch(box[0]) for box in boxes]
    whole = [(0, size) for size in row_shape]
    if all(rows and list(map(_stretch, box[1:])) == whole for rows, box in zip(stretches, boxes, strict=True)):
        end = missing = 0  # of rows, whose number may be large
        for start, stop in [*sorted(filter(None, stretches)), (num_rows, num_rows)]:
            missing, end = missing + max(0, start - end), max(end, stop)
        return missing * math.prod(row_shape)
    kinds = list(dict.fromkeys(box[1:] for box in boxes))  # the different parts of a row that boxes cover
    if max(num_rows, math.prod(row_shape)) > _MOST_ROWS or len(kinds) > _MOST_KINDS:
        raise _too_intricate(item)
    covered = np.zeros(num_rows, np.uint32)  # for each row one bit for each kind of part
    for box in boxes:
        covered[_places(box[0], num_rows)] |= np.uint32(1 << kinds.index(box[1:]))
    missing = 0
    for bits, count in zip(*(values.tolist() for values in np.unique(covered, return_counts=True)), strict=True):
        row = np.zeros(row_shape, bool)
        for number, kind in enumerate(kinds):
            if bits >> number & 1:
                row[np.ix_(*map(_places, kind, row_shape))] = True
        missing += count * int(row.size - row.sum())
    return missing


def _stretch(axis: tuple[int, int, int, int]) -> tuple[int, int] | None:
    """First and last (excluded) index of a selection without gaps; None: it has gaps."""
    start, stride, count, block = axis
    return (start, start + stride * (count - 1) + block) if count == 1 or stride <= block else None


def _places(axis: tuple[int, int, int, int], size: int) -> np.ndarray:
    """Indices below a size that a selection (start, stride, count, block) takes."""
    start, stride, count, block = axis
    places = start + stride * np.arange(min(count, size))[:, None] + np.arange(min(block, size))
    return places[places < size]


def _too_intricate(item: h5py.Dataset) -> DataFormatError:
    return DataFormatError(
        f"{item.file.filename}: the sources of virtual dataset {item.name!a:.40} must be regular parts of it, of at "
        f"most {_MOST_KINDS} kinds and {_MOST_ROWS:,} rows. Received: others (copy it: h5repack)"
    )


def _raw_sources(item: h5py.Dataset) -> tuple[list[Path], int]:
    """Raw files of a dataset, and the number of their bytes that belong to it."""
    prefix = os.environ.get("HDF5_EXTFILE_PREFIX", "").replace("${ORIGIN}", str(_folder(item.file)))
    files, num_bytes, needed = [], 0, math.prod(item.shape) * item.dtype.itemsize
    for name, start, size in item.external:
        path = Path(prefix, os.fsdecode(name))
        if not path.exists() and (_folder(item.file) / path.name).exists():
            raise DataFormatError(
                f"{path}, where numbers of {item.file.filename} lie, is looked for in the current directory. Received: "
                "it lies beside the file; set the environment variable HDF5_EXTFILE_PREFIX='${ORIGIN}'"
            )
        _require_source(path, item.file)
        files.append(path)
        num_bytes += min(size, max(0, path.stat().st_size - start))
    if num_bytes < needed:
        raise DataFormatError(
            f"the raw files of {item.file.filename} must hold {needed} bytes of {item.name!a:.40}. Received: "
            f"{num_bytes} (are they whole?)"
        )
    return files, num_bytes


def _located(name: str, owner: h5py.File, variable: str) -> Path:
    """Path of a file that another file names, searched as the HDF5 library does it.

    Source: the HDF5 library's documentation of H5Lcreate_external and H5Pset_virtual_prefix.
    """
    given, beside = Path(name), Path(owner.filename).parent
    prefixes = [
        text for text in os.environ.get(variable, "").replace("${ORIGIN}", str(_folder(owner))).split(":") if text
    ]
    relative = Path(given.name) if given.is_absolute() else given
    folders = (*map(Path, prefixes), beside, Path(), _folder(owner))
    places = [*([given] if given.is_absolute() else []), *(folder / relative for folder in folders)]
    path = next((place for place in places if place.exists()), given)
    _require_source(path, owner)
    return path


def _folder(file: h5py.File) -> Path:
    return Path(file.filename).resolve().parent


def _require_source(path: Path, owner: h5py.File) -> None:
    try:
        require_regular(path)
    except DataFormatError as error:
        raise DataFormatError(f"{owner.filename} holds numbers that lie in another file: {error}") from error


def _require_filters(item: h5py.Dataset) -> None:
    """Refuse a dataset whose compression filters neither HDF5 nor hdf5plugin has."""
    properties = item.id.get_create_plist()
    for code, _, _, name in map(properties.get_filter, range(properties.get_nfilters())):
        if h5py.h5z.filter_avail(code):
            continue
        try:
            importlib.import_module("hdf5plugin")  # the import registers its filters
        except ImportError:
            remedy = "install it (pip install hdf5plugin); it is used by itself then"
        else:
            remedy = "hdf5plugin, which is installed, has none of this number"
        if h5py.h5z.filter_avail(code):
            continue
        known = _FILTERS.get(code) or name.decode(errors="replace") or "unknown"
        raise DataFormatError(
            f"{item.file.filename}: {item.name!a:.40} is compressed by {known!a:.40} (HDF5 filter {code}), which needs "
            f"hdf5plugin: {remedy}"
        )
