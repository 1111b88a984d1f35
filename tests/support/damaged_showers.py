"""Damaged HDF5 shower files, a function of the random generator alone."""

import io
import zlib
from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any

import h5py
import numpy as np
from conftest import TINY_VOXELS, make_showers
from damage import damage_bytes

NAMES = ("incident_energies", "showers")
TEXT = h5py.string_dtype()
DTYPES = ("f2", "f4", "f8", ">f8", "i4", "u1", "i8", "S5", "c16", "?", TEXT, h5py.ref_dtype, h5py.vlen_dtype("f8"))
DATES = h5py.opaque_dtype(np.dtype("M8[s]"))
STRANGE = (np.dtype([("a", "f8"), ("b", "i4")]), h5py.enum_dtype({"x": 1}), np.dtype(("f8", (3,))), "V4", DATES)
SIZES = (10**3, 10**6, 10**9, 2**40, 2**62)
PATHS = ("other.h5", "nowhere")  # in the test's own folder: HDF5 writes into what it is pointed at
Fault = Callable[[h5py.File, Random], None]


def replaced(file: h5py.File, name: str, **options: Any) -> h5py.Dataset:
    """A dataset made anew."""
    if name in file:
        del file[name]
    return file.create_dataset(name, **options)


def other_dtype(file: h5py.File, random: Random) -> None:
    """Another type, filled as far as it can be."""
    name, dtype = random.choice(NAMES), random.choice((*DTYPES, *DTYPES, *STRANGE))
    values = file[name][()]
    made = replaced(file, name, shape=values.shape, dtype=dtype)
    if made.dtype.kind in "fiu" and not made.dtype.subdtype:
        made[...] = np.clip(values, 0, 100).astype(made.dtype)


def other_shape(file: h5py.File, random: Random) -> None:
    """More, fewer, no axes or rows."""
    name = random.choice(NAMES)
    values = file[name][()]
    shapes = [values[:0], values[:, :0], values[0], values[0, 0], values[None], values[:-1], values.T, values.ravel()]
    chosen = random.choice([*shapes, np.hstack([values, values]), h5py.Empty("f8")])
    replaced(file, name, data=chosen)


def other_values(file: h5py.File, random: Random) -> None:
    """One number, or all of them, that no energy is."""
    values = file[random.choice(NAMES)]
    if values.dtype.kind not in "fiu" or values.is_virtual or values.external:
        return  # HDF5 may crash as it writes there
    rows = random.choice((slice(None), random.randrange(len(values))))
    with np.errstate(all="ignore"):
        values[rows] = random.choice((np.nan, np.inf, -np.inf, -1.0, 0.0, 1e300, 1e-300, 5e-324, 0.5))


def other_name(file: h5py.File, random: Random) -> None:
    """A name with other letters, or bytes that are no UTF-8."""
    name = random.choice(NAMES)
    file.move(name, random.choice(("Showers", "incident_energy", "cells", "a/b", "\N{SNOWMAN}", "x" * 1000)))
    if random.random() < 0.3:
        h5py.h5g.create(file.id, b"\xff\xfe\x00"[: random.randrange(1, 3)])


def other_object(file: h5py.File, random: Random) -> None:
    """A group, a type or a link in the place of a dataset; links lead nowhere, to themselves or to other files."""
    name = random.choice((*NAMES, "impact_eta"))
    if name in file:
        file.move(name, "kept")
    links = [h5py.SoftLink("/kept"), h5py.SoftLink("/nowhere"), h5py.SoftLink(f"/{name}"), np.dtype("f8")]
    links += [h5py.ExternalLink(path, random.choice(("/showers", "/x"))) for path in PATHS]
    chosen = random.choice((*links, None))
    if chosen is None:
        file.create_group(name)["showers"] = np.ones(3)
    else:
        file[name] = chosen


def other_file(file: h5py.File, random: Random) -> None:
    """Numbers that lie in another file."""
    name = random.choice(NAMES)
    shape, path = file[name].shape, random.choice(PATHS)
    if random.random() < 0.5:
        replaced(file, name, shape=shape, dtype="u1", external=[(path, 0, h5py.h5f.UNLIMITED)])
        return
    layout = h5py.VirtualLayout(shape, "f8")
    layout[:] = h5py.VirtualSource(path, name, shape)
    del file[name]
    file.create_virtual_dataset(name, layout, fillvalue=5.0)


def huge(file: h5py.File, random: Random) -> None:
    """Sizes that are declared and not there, chunks among them."""
    rows, columns = random.choice(SIZES), random.choice((1, TINY_VOXELS.size, TINY_VOXELS.size, 1000))
    chunks = random.choice((None, (min(rows, random.choice((1, 1000, 10**6, 2**25))), 1)))
    options: dict[str, Any] = {
        "chunks": chunks,
        "fillvalue": random.choice((0, 700)),
        "compression": "gzip" if chunks else None,
    }
    dtype = random.choice(("u1", "f4", "f8"))
    for name in random.choice((NAMES, NAMES, NAMES[:1], NAMES[1:], ("impact_eta",))):
        width = columns if name == "showers" else 1
        options["maxshape"] = (None, width) if chunks else None
        try:
            replaced(file, name, shape=(rows, width), dtype=dtype, **options)
        except (ValueError, OverflowError, OSError):
            return


def bomb(file: h5py.File, random: Random) -> None:
    """A few bytes in each chunk that unpack to 10 MB; a second compression makes them fewer still."""
    rounds, number = random.choice((1, 2)), random.choice((1, 3, 1000))
    for name, width in (("incident_energies", 1), ("showers", TINY_VOXELS.size)):
        if name in file:
            del file[name]
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        shape = 2**17 * number, width
        plist.set_chunk((2**17, width))
        for _ in range(rounds):
            plist.set_deflate(9)
        space = h5py.h5s.create_simple(shape)
        dataset = h5py.h5d.create(file.id, name.encode(), h5py.h5t.IEEE_F64LE, space, plist)
        for chunk in range(number):
            dataset.write_direct_chunk((chunk * 2**17, 0), packed(width, rounds))


@cache
def packed(width: int, rounds: int) -> bytes:
    """A chunk of equal energies, compressed."""
    data = np.full(2**17 * width, 1000.0).tobytes()
    for _ in range(rounds):
        data = zlib.compress(data, 9)
    return data


def extras(file: h5py.File, random: Random) -> None:
    """Conditions and attributes of any type."""
    number = len(file["showers"])
    for name in ("impact_eta", "\N{SNOWMAN}"):
        dtype = random.choice((*DTYPES, *STRANGE))
        replaced(file, name, shape=random.choice(((number,), (number, 0), (number, 2, 3), ())), dtype=dtype)
    file.attrs["seed"] = random.choice((np.arange(10), "text", b"\xff", h5py.Empty("f8"), file.ref, np.nan, 2**63))
    file.attrs.create("kind", np.zeros(3, random.choice(("S3", "f8"))), dtype=random.choice((TEXT, "S3", "S1")))


FAULTS: list[Fault] = [other_dtype, other_shape, other_values, other_name, other_object, other_file, huge, bomb, extras]


def damaged_showers(random: Random) -> bytes:
    """A file of 12 showers in `TINY_VOXELS` with up to three faults in its parts, or some in its bytes."""
    showers, content = make_showers(TINY_VOXELS, 12), io.BytesIO()
    in_parts = random.random() < 0.6
    with h5py.File(content, "w", libver=random.choice((None, "latest"))) as file:
        options = random.choice(({}, {"compression": "gzip"}, {"chunks": (5, 1), "shuffle": True, "fletcher32": True}))
        for name, values in zip(NAMES, (showers.incident_energies[:, None], showers.energies), strict=True):
            file.create_dataset(name, data=values, **options)
        file["impact_eta"] = np.linspace(0, 1, 12)
        for _ in range(random.choice((1, 1, 2, 3)) if in_parts else 0):
            fault = random.choice(FAULTS)
            try:
                fault(file, random)
            except (LookupError, AttributeError, ValueError, TypeError, OSError, OverflowError, RuntimeError):
                break  # what an earlier fault has left does not bear this one
            if fault in (huge, bomb):
                break  # what comes next would unpack it
        file.flush()
    data = content.getvalue()
    for _ in range(0 if in_parts else random.choice((0, 1, 1, 2, 5, 20))):
        data = damage_bytes(data, random) if data else data
    return data[: random.randrange(len(data) + 1)] if random.random() < 0.1 else data
