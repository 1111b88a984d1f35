"""What the figure of merit `shapes` adds up: energies of layers, centres and widths."""

from collections.abc import Callable
from functools import partial

import numpy as np

from calogen.observables.cells import layer_energy, total_energy
from calogen.observables.voxels import voxel_centroid, voxel_width
from calogen.showers.geometry import Geometry
from calogen.showers.sample import Showers

ShowerQuantity = Callable[[Showers], np.ndarray]


def shape_quantities(geometry: Geometry) -> tuple[ShowerQuantity, ...]:
    """Total energy, layer energies and, of voxels, centres and widths."""
    found: list[ShowerQuantity] = [total_energy]
    found += [partial(layer_energy, layer_id=layer.id) for layer in geometry.layers]
    found += [
        partial(function, layer_id=layer_id, axis=axis)
        for function in (voxel_centroid, voxel_width)
        for layer_id in geometry.turned_layers
        for axis in ("eta", "phi")
    ]
    return tuple(found)
