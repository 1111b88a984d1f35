"""Detector cells: a geometry of layers, eta and phi."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from calogen.showers.geometry import Geometry, Layer


@dataclass(frozen=True)
class CellLayer(Layer):
    """Cells of one calorimeter layer: `num_eta` x `num_phi`, phi running fastest.

    Args:
        id: the layer's number in ATLAS (0 presampler, 1 front, 2 middle, 3 back).
        name: the layer's usual name.
        num_eta, num_phi: number of cells along eta and phi.
        eta_size, phi_size: size of one cell; phi in rad.
        radius: distance of the layer's centre from the beam line, mm.
        depth: distance of the layer's centre from the calorimeter's front, mm.
        eta_anchor: size in eta of the cell at whose centre the window is centred; 0: the layer's own impact cell.
    """

    id: int
    name: str
    num_eta: int
    num_phi: int
    eta_size: float
    phi_size: float
    radius: float
    depth: float
    eta_anchor: float = 0.0

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of cells along eta and phi."""
        return self.num_eta, self.num_phi

    def first_cell(self, eta: ArrayLike, phi: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Indices of the window's first cell in eta and phi, counted from the cell at 0.

        Args:
            eta, phi: impact point, `[n]`; phi in rad.

        Returns:
            two integer arrays `[n]`.
        """
        anchor = self.eta_anchor or self.eta_size
        eta_centre = (np.floor(np.asarray(eta) / anchor) + 0.5) * anchor / self.eta_size
        phi_centre = np.floor(np.asarray(phi) / self.phi_size) + 0.5
        return (
            np.rint(eta_centre - self.num_eta / 2).astype(np.int64),
            np.rint(phi_centre - self.num_phi / 2).astype(np.int64),
        )


@dataclass(frozen=True)
class CellGrid(Geometry):
    """Cells around an impact cell: layer by layer, then eta, then phi (fastest)."""

    name: str
    layers: tuple[CellLayer, ...]

    dataset = "cells"

    def blocks(self, energies: np.ndarray) -> list[np.ndarray]:
        """The layers as images, each `[n, num_eta, num_phi]`, MeV (views, no copies)."""
        self.require(energies)
        return [
            energies[:, part].reshape(-1, *layer.shape) for part, layer in zip(self.slices, self.layers, strict=True)
        ]


_PHI_64, _PHI_256 = 2 * np.pi / 64, 2 * np.pi / 256
# Radii and depths are those of the bundled simulation (calogen.simulation.detectors); a test holds the two together.
_ATLAS_LAYERS = (
    CellLayer(0, "presampler", 7, 3, 0.025, _PHI_64, radius=1422.5, depth=5.5),
    CellLayer(1, "front", 64, 3, 0.003125, _PHI_64, radius=1539.845, depth=122.845, eta_anchor=0.025),
    CellLayer(2, "middle", 7, 7, 0.025, _PHI_256, radius=1729.875, depth=312.875),
    CellLayer(3, "back", 5, 7, 0.05, _PHI_256, radius=1898.45, depth=481.45),
)
ATLAS_BARREL_STORED = CellGrid("atlas_barrel_stored", _ATLAS_LAYERS)
"""7x3 + 64x3 + 7x7 + 5x7 = 297 cells (eta x phi) that hold both papers' windows for every impact point.

Eta: presampler, middle and back are centred on the impact cell; the 64 strips begin 28 strips below the first strip
of the middle layer's impact cell. Phi: every layer is centred on its own impact cell.
"""
