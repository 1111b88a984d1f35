"""The datasets that an HDF5 file of showers must hold, and checks before they are read."""

import math
from contextlib import ExitStack
from pathlib import Path

import h5py

from calogen.errors import DataFormatError, GeometryError
from calogen.hdf5 import Stored, find_dataset
from calogen.showers.geometry import Geometry

_ALWAYS_BYTES = 2**28  # size to which every dataset may unpack
_MAX_COMPRESSION = 200  # for larger datasets: voxels shrink to about a tenth, but 10 kB of a harmful file hold 10 GB
MAX_DEFLATE = 1100
"""Largest ratio of unpacked to packed size that gzip can reach; showers without energy come close to it."""


def find_showers(
    file: h5py.File, path: str | Path, geometry: Geometry, opened: ExitStack, whole: bool = True
) -> tuple[h5py.Dataset, h5py.Dataset]:
    """The datasets of incident energies and showers, checked.

    Args:
        file, path: the file, open, and its path.
        opened: a stack that closes other files with these datasets.
        whole: whether all energies will be read at once, for which their unpacked size must fit the file's size.

    Returns:
        the datasets of the n incident energies and of the cells or voxels `[n, v]`.

    Raises:
        DataFormatError: a dataset or a file with its numbers is missing, or holds no numbers or no showers; the lengths
            differ; a compression filter is not installed.
        GeometryError: the number of cells or voxels is not the geometry's.
    """
    name = geometry.dataset
    labels = find_labels(file, path, opened)
    energies = _find_numbers(file, path, name, opened, whole)
    if energies.ndim == 2 and not len(energies) and energies.shape[1] == geometry.size:
        raise DataFormatError(
            f"{path} holds no showers: {name} must have shape [n, {geometry.size}], n above 0. "
            f"Received: {list(energies.shape)}"
        )
    if len(labels) != len(energies):
        raise DataFormatError(
            f"{path}: incident_energies and {name} must have the same length. "
            f"Received: {len(labels)} and {len(energies)}"
        )
    if energies.ndim != 2 or energies.shape[1] != geometry.size:
        raise GeometryError(
            f"{path}: showers of geometry {geometry.name} must have shape [n, {geometry.size}], n above 0. "
            f"Received: {list(energies.shape)} (is this another geometry's file?)"
        )
    return labels, energies


def find_labels(file: h5py.File, path: str | Path, opened: ExitStack) -> h5py.Dataset:
    """The dataset of incident energies, as `find_showers` gives it."""
    labels = _find_numbers(file, path, "incident_energies", opened)
    if math.prod(labels.shape) != len(labels):
        raise DataFormatError(
            f"{path}: incident_energies must hold one energy per shower. "
            f"Received: {math.prod(labels.shape)} for {len(labels)} showers"
        )
    return labels


def find_conditions(file: h5py.File, num_showers: int, opened: ExitStack) -> dict[str, h5py.Dataset]:
    """Readable datasets with numbers for each shower, by name."""
    conditions: dict[str, h5py.Dataset] = {}
    for name in file:
        if not isinstance(name, str) or name in ("incident_energies", "cells", "showers"):  # bytes that are no text
            continue
        try:
            item = find_dataset(file, name, opened)
        except DataFormatError:
            continue
        if item is not None and not _swells(item):
            numbers = item.dataset.dtype.kind in "fiub" and item.dataset.shape[:1] == (num_showers,)
            conditions |= {name: item.dataset} if numbers else {}
    return conditions


def missing_dataset(file: h5py.File, path: str | Path, needed: str) -> DataFormatError:
    """The error for a file that lacks a dataset; it may suggest another one."""
    names = [name for name in list(file)[:20] if isinstance(name, str)]
    known = "incident_energies", "cells", "showers"
    links = {name: file.get(name, getclass=True, getlink=True) for name in names if name not in known}
    shapes = {name: getattr(file[name], "shape", None) for name, link in links.items() if link is h5py.HardLink}
    voxels = needed != "incident_energies"
    meant = [name for name, shape in shapes.items() if shape and (math.prod(shape[1:]) > 1) == voxels]
    hint = f"; rename {meant[0]!a:.40} if it is meant (h5py: file.move)" if len(meant) == 1 else ""
    shown = ", ".join(sorted(f"{name!a:.40}" for name in list(file)[:20]))
    received = _what_is_there(file, needed) or f"[{shown}]{hint}"
    return DataFormatError(f"{path} must hold the dataset '{needed}'. Received: {received}")


def _what_is_there(file: h5py.File, name: str) -> str:
    """Description of an object that has a dataset's name but is none; empty if absent."""
    link = file.get(name, getlink=True) if file.id.links.exists(name.encode()) else None
    if isinstance(link, h5py.SoftLink | h5py.ExternalLink):
        return f"a link to {link.path!a:.100}, where no dataset with numbers is"
    if link is None:
        return ""
    item = file[name]
    if isinstance(item, h5py.Dataset):
        return "one without extent (null dataspace)" if item.shape is None else f"one of shape {item.shape}"
    return f"a {type(item).__name__.lower()} of this name"


def _find_numbers(file: h5py.File, path: str | Path, name: str, opened: ExitStack, whole: bool = True) -> h5py.Dataset:
    """A dataset, which must hold an array of numbers and may not unpack to too many bytes."""
    stored = find_dataset(file, name, opened)
    if stored is None:
        raise missing_dataset(file, path, name)
    item = stored.dataset
    if item.ndim < 1 or item.dtype.kind not in "fiu":
        raise DataFormatError(
            f"{path}: {name} must be an array of numbers. Received: shape {item.shape}, {item.dtype!s:.100}"
        )
    if _swells(stored, whole):
        raise DataFormatError(
            f"{path}: {name} must not unpack to more than {_MAX_COMPRESSION if whole else MAX_DEFLATE} times its size "
            f"in the file, nor a chunk to more than {_MAX_COMPRESSION} times. "
            f"Received: {stored.num_bytes} bytes for shape {item.shape}, chunks {item.chunks}"
        )
    return item


def _swells(stored: Stored, whole: bool = True) -> bool:
    """Whether a dataset or a chunk would unpack to too many bytes for its size."""
    item = stored.dataset
    limits = (item.shape, _MAX_COMPRESSION if whole else MAX_DEFLATE), (item.chunks or (), _MAX_COMPRESSION)
    return any(
        math.prod(shape) * item.dtype.itemsize > max(_ALWAYS_BYTES, most * stored.num_bytes) for shape, most in limits
    )
