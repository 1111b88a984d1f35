"""Geometries: the meaning of each number of a shower.

A geometry divides a flat shower vector into layers, and these into cells or voxels: `cells.CellGrid` (layer, eta, phi)
for detector cells, `voxels.VoxelGeometry` (layer, alpha, r) for the bins of the CaloChallenge and of Athena, and
`grid.RegularGrid` (layer, x, z). The base class gives the slices and the energies of the layers.
"""

import math
from dataclasses import asdict
from functools import cached_property
from typing import Any, ClassVar, TypeVar  # Any: the layers of a geometry have the class of its kind

import numpy as np

from calogen.errors import GeometryError

GeometryT = TypeVar("GeometryT", bound="Geometry")


class Layer:
    """A layer of cells or voxels in two directions, of which the second runs fastest."""

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of cells or voxels in both directions."""
        raise NotImplementedError

    @property
    def size(self) -> int:
        """Number of cells or voxels."""
        return math.prod(self.shape)


class Geometry:
    """Base class of all geometries: flat vectors with one block per layer.

    Attributes:
        dataset: name of the energies in an HDF5 file.
    """

    dataset: ClassVar[str] = "showers"
    name: str
    layers: tuple[Any, ...]

    @property
    def turned_layers(self) -> tuple[int, ...]:
        """Ids of the layers whose voxels have centres and widths in eta and phi."""
        return ()

    @cached_property
    def size(self) -> int:
        """Number of cells or voxels of a shower, `v`."""
        return sum(layer.size for layer in self.layers)

    @cached_property
    def layer_ids(self) -> tuple[int, ...]:
        """The layers' ids, in the order of the vector."""
        return tuple(layer.id for layer in self.layers)

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """Each layer's slice of the flat vector, in the order of `layers`."""
        ends = np.cumsum([layer.size for layer in self.layers]).tolist()
        return tuple(slice(end - layer.size, end) for end, layer in zip(ends, self.layers, strict=True))

    @cached_property
    def layer_of(self) -> np.ndarray:
        """Position in `layers` of each cell or voxel, `[v]`."""
        return np.repeat(np.arange(len(self.layers)), [layer.size for layer in self.layers])

    def index(self, layer: int, *place: int) -> int:
        """Flat index of the cell or voxel at (position in `layers`, places in both directions)."""
        part = self.layers[layer]
        if not all(0 <= at < number for at, number in zip(place, part.shape, strict=True)):
            numbers = " x ".join(map(str, part.shape))
            raise GeometryError(f"{self.name}, {part.name}: no cell or voxel {place} in {numbers}")
        return self.slices[layer].start + int(np.ravel_multi_index(place, part.shape))

    def unravel(self, index: int) -> tuple[int, int, int]:
        """Position in `layers` and places in both directions of a flat index."""
        layer = int(self.layer_of[index])
        return layer, *divmod(index - self.slices[layer].start, self.layers[layer].shape[1])

    def position(self, layer_id: int) -> int:
        """Position in `layers` of the layer with an id; a `GeometryError` if there is none."""
        if layer_id not in self.layer_ids:
            raise GeometryError(f"{self.name} has the layers {self.layer_ids}. Received: layer {layer_id}")
        return self.layer_ids.index(layer_id)

    def layer_energies(self, energies: np.ndarray) -> np.ndarray:
        """Energy of each layer.

        Args:
            energies: `[n, v]`, MeV.

        Returns:
            `[n, l]`, MeV, summed in float64.
        """
        return np.stack([energies[:, part].sum(axis=1, dtype=np.float64) for part in self.slices], axis=1)

    def require(self, energies: np.ndarray) -> None:
        """Refuse, with a `GeometryError`, an array of energies that does not fit this geometry."""
        if energies.ndim != 2 or energies.shape[1] != self.size:
            raise GeometryError(
                f"showers of geometry {self.name} must have shape [n, {self.size}]. "
                f"Received: {list(energies.shape)} (is this another geometry's file?)"
            )

    @property
    def kind(self) -> str:
        """Name of the geometry's class, as it stands in files."""
        return type(self).__name__

    def to_json(self) -> dict[str, object]:
        """The geometry as JSON; `kinds.geometry_from_json` is the inverse."""
        return {"kind": self.kind, "name": self.name, "layers": [asdict(layer) for layer in self.layers]}


def require_kind(geometry: Geometry, kind: type[GeometryT], text: str) -> GeometryT:
    """Gives a geometry that must be of one kind.

    Args:
        kind: the class of geometries that is needed.
        text: beginning of the message, which says what needs this class.

    Raises:
        GeometryError: the geometry is of another class.
    """
    if not isinstance(geometry, kind):
        raise GeometryError(f"{text}. Received: geometry {geometry.name}")
    return geometry
