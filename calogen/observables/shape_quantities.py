"""Observables whose chi2 the figure of merit `shapes` sums: energies, centres and widths."""

from collections.abc import Callable
from functools import partial

import numpy as np

from calogen.observables.cells import layer_energy, total_energy
from calogen.observables.voxels import voxel_centroid, voxel_width
from calogen.showers.geometry import Geometry
from calogen.showers.sample import Showers

ShowerQuantity = Callable[[Showers], np.ndarray]


def shape_quantities(geometry: Geometry) -> tuple[ShowerQuantity, ...]:
    """Total energy, energies of the layers, and for voxels their centres and widths."""
    quantities: list[ShowerQuantity] = [total_energy]
    quantities += [partial(layer_energy, layer_id=layer.id) for layer in geometry.layers]
    quantities += [
        partial(function, layer_id=layer_id, axis=axis)
        for function in (voxel_centroid, voxel_width)
        for layer_id in geometry.turned_layers
        for axis in ("eta", "phi")
    ]
    return tuple(quantities)
