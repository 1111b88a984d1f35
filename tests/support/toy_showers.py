"""Showers that are unlike showers, for the tests of what is computed from them."""

import numpy as np

from calogen.showers.sample import Showers
from calogen.showers.voxels import VoxelGeometry


def scattered_showers(geometry: VoxelGeometry, num_showers: int, seed: int, scale: float, decades: int) -> Showers:
    """Showers with up to `scale` MeV in a voxel, over so many orders of magnitude; half of the voxels are empty."""
    rng, shape = np.random.default_rng(seed), (num_showers, geometry.size)
    energies = scale * 10.0 ** rng.uniform(-decades, 0, shape) * (rng.random(shape) < 0.5)
    return Showers(geometry, np.full(num_showers, 1000.0), energies)
