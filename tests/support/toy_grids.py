"""Toy showers of a small grid of the ILD's kind: a longitudinal profile that grows with the energy, and hits."""

from pathlib import Path

import numpy as np

from calogen.showers.grid import RegularGrid
from calogen.showers.grids import ILD_GRID
from calogen.showers.sample import Showers


def grid_showers(
    number: int, seed: int, energies: tuple[float, ...] = (), width: float = 2.0, grid: RegularGrid = ILD_GRID
) -> Showers:
    """Hits around the axis, 600 at 20 GeV, of about 0.9 MeV each.

    Args:
        energies: incident energies, in turn, MeV; none: uniform from 10 to 100 GeV.
        width: of the shower across its axis, in cells.
    """
    rng = np.random.default_rng(seed)
    labels = np.resize(energies, number) if energies else rng.uniform(10_000, 100_000, number)
    image = np.zeros((number, *grid.shape), np.float32)
    for row, label in zip(image, labels, strict=True):
        hits = rng.poisson(0.03 * label)
        layer = np.minimum(rng.gamma(6.0, 1.5 + 0.3 * np.log(label / 10_000), hits), len(grid.layers) - 1)
        x, z = (np.clip(rng.normal(count / 2 - 0.5, width, hits), 0, count - 1) for count in grid.shape[1:])
        np.add.at(row, tuple(axis.astype(int) for axis in (layer, x.round(), z.round())), rng.exponential(0.9, hits))
    return Showers(grid, labels, image.reshape(number, -1), {}, {"note": "toy showers"})


def write_grids(path: Path, *arguments: object, **more: object) -> Path:
    """A file of `grid_showers`."""
    grid_showers(*arguments, **more).write(path)  # type: ignore[arg-type]
    return path
