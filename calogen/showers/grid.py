"""Regular grids of cells, as imaging calorimeters have them: layer, x and z."""

from dataclasses import dataclass, field

import numpy as np

from calogen.errors import GeometryError
from calogen.showers.geometry import Geometry, Layer

SILICON_THRESHOLD = 0.1
"""Energy of a hit, MeV, at least: half a minimum ionising particle in 0.5 mm of silicon.

Source: section 4.1 of arXiv:2005.05334.
"""
SILICON_PEAK = 0.1, 0.4
"""Energies, MeV, between which a minimum ionising particle's most probable energy lies in 0.3 to 0.5 mm of silicon."""


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
    """Layers of equal size, one behind the other: layer by layer, then x, then z (fastest).

    Args:
        hit_threshold: energy of a hit, MeV, at least: half of what a minimum ionising particle most probably leaves in
            a cell. Cells with less count as empty in observables.
        peak_range: energies, MeV, between which lies this most probable energy, and the spectrum of the cells has no
            larger value.
    """

    name: str
    layers: tuple[GridLayer, ...]
    hit_threshold: float = field(default=SILICON_THRESHOLD, repr=False)  # files name the repr of what was simulated
    peak_range: tuple[float, float] = field(default=SILICON_PEAK, repr=False)

    def __post_init__(self) -> None:
        low, high = self.peak_range
        if not (0 < self.hit_threshold < np.inf and 0 < low < high < np.inf):
            raise GeometryError(
                "hit_threshold and peak_range of a RegularGrid must be above 0 MeV, the range in this order. "
                f"Received: {self.hit_threshold}, {self.peak_range}"
            )
        shapes = {layer.shape for layer in self.layers}
        if len(shapes) > 1:
            raise GeometryError(f"layers of a RegularGrid must have equal numbers of cells. Received: {sorted(shapes)}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Numbers of layers and of cells along x and z."""
        return len(self.layers), *self.layers[0].shape

    def to_json(self) -> dict[str, object]:
        """The geometry as JSON, with threshold and range where they are not those of silicon.

        Runs that were trained before grids knew a threshold so keep the hash of their geometry.
        """
        known = super().to_json()
        if (self.hit_threshold, self.peak_range) == (SILICON_THRESHOLD, SILICON_PEAK):
            return known
        return known | {"hit_threshold": self.hit_threshold, "peak_range": list(self.peak_range)}

    def images(self, energies: np.ndarray) -> np.ndarray:
        """Energies `[n, v]` as `[n, layer, x, z]`, MeV (a view)."""
        self.require(energies)
        return energies.reshape(-1, *self.shape)
