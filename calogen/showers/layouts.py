"""The datasets that an HDF5 file of showers must hold, and checks before they are read."""

import math
from contextlib import ExitStack
from pathlib import Path

import h5py
import numpy as np

from calogen.errors import DataFormatError, GeometryError
from calogen.hdf5 import Stored, find_dataset
from calogen.showers.geometry import Geometry
from calogen.showers.grid import RegularGrid
from calogen.showers.grid_files import (
    GRID_SHAPE,
    PUBLIC_ENERGY,
    PUBLIC_LAYERS,
    PublicRows,
    SparseRows,
    StoredRows,
    grid_shape,
    is_sparse,
    public_group,
)
from calogen.showers.sparse import COUNTS, ENERGIES, STEPS
from calogen.units import GeV

_ALWAYS_BYTES = 2**28  # size to which every dataset may unpack
_MAX_COMPRESSION = 200  # for larger datasets: voxels shrink to about a tenth, but 10 kB of a harmful file hold 10 GB
MAX_DEFLATE = 1100
"""Largest ratio of unpacked to packed size that gzip can reach; showers without energy come close to it."""
_NO_CONDITIONS = ("incident_energies", "cells", "showers")


def find_showers(
    file: h5py.File, path: str | Path, geometry: Geometry, opened: ExitStack, whole: bool = True
) -> tuple[StoredRows, StoredRows]:
    """The datasets of incident energies and showers, checked.

    Args:
        file, path: the file, open, and its path.
        opened: a stack that closes other files with these datasets.
        whole: whether all energies will be read at once, for which their unpacked size must fit the file's size.

    Returns:
        the n incident energies, MeV, and the cells or voxels `[n, v]`, MeV: datasets, or what is read like them.

    Raises:
        DataFormatError: a dataset or a file with its numbers is missing, or holds no numbers or no showers; the lengths
            differ; a compression filter is not installed.
        GeometryError: the number of cells or voxels is not the geometry's.
    """
    name: str = geometry.dataset
    energies: StoredRows
    labels = find_labels(file, path, opened)
    if is_sparse(file):
        name, energies = COUNTS, _find_sparse(file, path, geometry, opened, len(labels), whole)
    elif group := public_group(file):
        name = f"{group}/{PUBLIC_LAYERS}"
        energies = PublicRows(_find_numbers(file, path, name, opened, whole))
    else:
        energies = _find_numbers(file, path, name, opened, whole)
    if energies.ndim == 2 and not len(energies) and energies.shape[1] == geometry.size:
        raise DataFormatError(
            f"{path} holds no showers: {name} must have shape [n, {geometry.size}], n above 0. "
            f"Received: {list(energies.shape)}"
        )
    if len(labels) != len(energies):
        raise DataFormatError(
            f"{path}: incident energies and {name} must have the same length. "
            f"Received: {len(labels)} and {len(energies)}"
        )
    if energies.ndim != 2 or energies.shape[1] != geometry.size:
        raise GeometryError(
            f"{path}: showers of geometry {geometry.name} must have shape [n, {geometry.size}], n above 0. "
            f"Received: {list(energies.shape)} (is this another geometry's file?)"
        )
    return labels, energies


def find_labels(file: h5py.File, path: str | Path, opened: ExitStack) -> StoredRows:
    """The incident energies, as `find_showers` gives them."""
    group = public_group(file)
    name = f"{group}/{PUBLIC_ENERGY}" if group else "incident_energies"
    labels = _find_numbers(file, path, name, opened)
    if math.prod(labels.shape) != len(labels):
        raise DataFormatError(
            f"{path}: {name} must hold one energy per shower. "
            f"Received: {math.prod(labels.shape)} for {len(labels)} showers"
        )
    return PublicRows(labels, GeV) if group else labels


def _find_sparse(
    file: h5py.File, path: str | Path, geometry: Geometry, opened: ExitStack, num_showers: int, whole: bool
) -> SparseRows:
    """The sparse showers of a file, as rows `[n, v]`."""
    shape = grid_shape(file)
    if not isinstance(geometry, RegularGrid) or shape != geometry.shape:
        raise GeometryError(
            f"{path} holds showers of a grid; its attribute {GRID_SHAPE} must be the geometry's shape. "
            f"Received: {shape or 'none'}, geometry {geometry.name} (is this another geometry's file?)"
        )
    counts, steps, energies = (_find_numbers(file, path, name, opened) for name in (COUNTS, STEPS, ENERGIES))
    if counts.shape != (num_showers,) or steps.ndim != 1 or steps.shape != energies.shape or steps.dtype.kind == "f":
        raise DataFormatError(
            f"{path}: sparse showers need {COUNTS} [{num_showers}], and {STEPS} (whole numbers) and {ENERGIES} of one "
            f"length. Received: {counts.shape}, {steps.shape} {steps.dtype!s:.20} and {energies.shape}"
        )
    numbers = counts[:].astype(np.int64)
    if not 0 <= numbers.min(initial=0) <= numbers.max(initial=0) <= geometry.size or numbers.sum() != len(steps):
        raise DataFormatError(
            f"{path}: {COUNTS} must be 0 to {geometry.size} and add up to {len(steps)}, the length of {STEPS}. "
            f"Received: {numbers.min(initial=0)} to {numbers.max(initial=0)}, together {numbers.sum()}"
        )
    packed = sum(item.id.get_storage_size() for item in (counts, steps, energies))
    if whole and 4 * num_showers * geometry.size > max(_ALWAYS_BYTES, MAX_DEFLATE * packed):
        raise DataFormatError(
            f"{path}: {num_showers:,} showers must not unpack to more than {MAX_DEFLATE} times their size in the file. "
            f"Received: {packed:,} bytes"
        )
    return SparseRows(numbers, steps, energies, geometry.size)


def find_conditions(file: h5py.File, num_showers: int, opened: ExitStack) -> dict[str, h5py.Dataset]:
    """Readable datasets with numbers for each shower, by name."""
    conditions: dict[str, h5py.Dataset] = {}
    public = public_group(file)
    others, group = (PUBLIC_ENERGY, PUBLIC_LAYERS) if public else _NO_CONDITIONS, public or "/"
    for name in file[group]:
        if not isinstance(name, str) or name in others:  # bytes that are no text
            continue
        try:
            item = find_dataset(file, f"{group}/{name}", opened)
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
