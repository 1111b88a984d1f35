"""Regular grids of cells, as imaging calorimeters have them: layer, x and z."""

from dataclasses import dataclass

import numpy as np

from calogen.errors import GeometryError
from calogen.showers.geometry import Geometry, Layer


@dataclass(frozen=True)
class GridLayer(Layer):
    """Square cells of one layer: `num_x` x `num_z`, z running fastest.

    Args:
        id: the layer's number, from the calorimeter's front.
        num_x, num_z: number of cells along both axes.
        cell_size: edge of a cell, mm.
        depth: distance of the layer's centre from the calorimeter's front, mm.
    """

    id: int
    num_x: int
    num_z: int
    cell_size: float
    depth: float

    @property
    def name(self) -> str:
        """Name of the layer in plots."""
        return f"layer {self.id}"

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of cells along x and z."""
        return self.num_x, self.num_z


@dataclass(frozen=True)
class RegularGrid(Geometry):
    """Layers of equal size, one behind the other: layer by layer, then x, then z (fastest)."""

    name: str
    layers: tuple[GridLayer, ...]

    def __post_init__(self) -> None:
        shapes = {layer.shape for layer in self.layers}
        if len(shapes) > 1:
            raise GeometryError(f"layers of a RegularGrid must have equal numbers of cells. Received: {sorted(shapes)}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Numbers of layers and of cells along x and z."""
        return len(self.layers), *self.layers[0].shape

    def images(self, energies: np.ndarray) -> np.ndarray:
        """Energies `[n, v]` as `[n, layer, x, z]`, MeV (a view)."""
        self.require(energies)
        return energies.reshape(-1, *self.shape)
