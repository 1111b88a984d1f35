"""Damaged files of grid showers, sparse or in the public layout: a function of the random generator alone."""

import io
from random import Random

import h5py
import numpy as np
from damage import damage_bytes
from damaged_showers import DTYPES, PATHS

from calogen.showers.grid import GridLayer, RegularGrid
from calogen.showers.grid_files import public_datasets
from calogen.showers.sparse import SparseShowers

TINY_GRID = RegularGrid("tiny", tuple(GridLayer(number, 3, 2, 5.0, 7.0 * number) for number in range(4)))
_NUMBERS = (0, 1, 5, 60_000, 2**31, -1, np.nan, np.inf, 1e300)


def damaged_grids(random: Random) -> bytes:
    """A file of 12 showers in `TINY_GRID` with up to three faults in its parts, or some in its bytes."""
    rng = np.random.default_rng(random.randrange(1000))
    energies = (rng.exponential(50.0, (12, TINY_GRID.size)) * (rng.random((12, TINY_GRID.size)) < 0.4)).astype("f4")
    labels = rng.uniform(1e4, 1e5, 12)
    sparse = {"incident_energies": labels[:, None], **SparseShowers.of(energies).datasets}
    public = public_datasets(TINY_GRID, labels, energies, {"angle": labels / 1e5})
    in_parts, content = random.random() < 0.7, io.BytesIO()
    with h5py.File(content, "w", libver=random.choice((None, "latest"))) as file:
        for name, values in random.choice((sparse, sparse, public)).items():
            file.create_dataset(name, data=values, **random.choice(({}, {"compression": "gzip", "shuffle": True})))
        file.attrs["grid_shape"] = TINY_GRID.shape
        for _ in range(random.choice((1, 1, 2, 3)) if in_parts else 0):
            _damage(file, random)
    data = content.getvalue()
    for _ in range(0 if in_parts else random.choice((0, 1, 1, 2, 5, 20))):
        data = damage_bytes(data, random) if data else data
    return data[: random.randrange(len(data) + 1)] if random.random() < 0.1 else data


def _damage(file: h5py.File, random: Random) -> None:
    """One fault in a dataset, a group or the attribute."""
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    kind = random.choice(("dtype", "shape", "value", "value", "value", "name", "object", "group", "attribute"))
    if kind == "attribute":
        file.attrs["grid_shape"] = random.choice(((4, 3, 3), (4, 3), "text", np.nan, (2**40, 1, 1), h5py.Empty("f8")))
        return
    if not names:
        return
    name = random.choice(names)
    values = file[name][()]
    if kind == "value" and isinstance(values, np.ndarray) and values.size and values.dtype.kind in "fiu":
        with np.errstate(all="ignore"):
            flat = values.reshape(-1)
            number = random.choice(_NUMBERS)
            fits = values.dtype.kind == "f" or (np.isfinite(number) and 0 <= number < 2**15)
            flat[random.randrange(flat.size)] = number if fits else 7
        file[name][...] = values
        return
    del file[name]
    if kind == "dtype" and isinstance(values, np.ndarray):
        file.create_dataset(name, shape=values.shape, dtype=random.choice(DTYPES))
    elif kind == "shape" and isinstance(values, np.ndarray) and values.ndim:
        file[name] = random.choice((values[:-1], values[:0], values.ravel(), values[None], h5py.Empty("f8")))
    elif kind == "name":
        file[f"{name}_"] = values
    elif kind == "group":
        file.create_group(name)
    elif kind == "object":
        file[name] = random.choice(
            (h5py.SoftLink("/nowhere"), h5py.SoftLink(f"/{name}"), h5py.ExternalLink(random.choice(PATHS), "/x"))
        )
