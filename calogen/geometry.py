"""Geometries as data: what each number of a shower stands for, and nothing else.

A geometry names every cell or voxel of a flat shower vector: `CellGrid` (layer, eta, phi) for detector cells,
`VoxelGeometry` (layer, alpha, r) for the bins of the CaloChallenge. Both give the layers' slices and sums.
"""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import ArrayLike

from calogen.errors import GeometryError


@dataclass(frozen=True)
class CellLayer:
    """Cells of one calorimeter layer: `num_eta` x `num_phi`, phi running fastest.

    Args:
        id: the layer's number in ATLAS (0 presampler, 1 front, 2 middle, 3 back).
        name: what people call it.
        num_eta, num_phi: number of cells along eta and phi.
        eta_size, phi_size: size of one cell; phi in rad.
        radius: distance of the layer's centre from the beam line, mm.
        depth: distance of the layer's centre from the calorimeter's front, mm.
        eta_anchor: size in eta of the cell whose centre the window is centred on; 0: the layer's own impact cell.
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
    def size(self) -> int:
        """Number of cells of the layer."""
        return self.num_eta * self.num_phi

    def first_cell(self, eta: ArrayLike, phi: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Absolute indices (cell 0 begins at 0) of the window's first cell in eta and phi.

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
class VoxelLayer:
    """Voxels of one layer: `num_alpha` x `num_r`, r running fastest.

    Args:
        id: the layer's number in ATLAS (12, 13, 14 are the tile calorimeter's).
        r_edges: edges of the radial bins, mm.
        num_alpha: number of equal angular bins, starting at -pi.
    """

    id: int
    r_edges: tuple[float, ...]
    num_alpha: int

    def __post_init__(self) -> None:
        if len(self.r_edges) < 2 or any(np.diff(self.r_edges) <= 0) or self.num_alpha < 1:
            raise GeometryError(
                f"layer {self.id} needs at least two increasing r_edges and num_alpha >= 1. "
                f"Received: r_edges={self.r_edges}, num_alpha={self.num_alpha}"
            )

    @property
    def name(self) -> str:
        """What the plots call the layer."""
        return f"layer {self.id}"

    @property
    def num_r(self) -> int:
        """Number of radial bins."""
        return len(self.r_edges) - 1

    @property
    def size(self) -> int:
        """Number of voxels of the layer."""
        return self.num_r * self.num_alpha


class _Layered:
    """What cell grids and voxel geometries share: flat vectors made of one block per layer."""

    name: str
    layers: tuple

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

    def position(self, layer_id: int) -> int:
        """Position of a layer in `layers`.

        Raises:
            GeometryError: the geometry has no such layer.
        """
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
        """Refuse an array that is not of this geometry.

        Raises:
            GeometryError: `energies` is not `[n, v]`.
        """
        if energies.ndim != 2 or energies.shape[1] != self.size:
            raise GeometryError(
                f"showers of geometry {self.name} must have shape [n, {self.size}]. "
                f"Received: {list(energies.shape)} (is this another geometry's file?)"
            )


@dataclass(frozen=True)
class CellGrid(_Layered):
    """Cells around an impact cell: layer by layer, then eta, then phi (fastest)."""

    name: str
    layers: tuple[CellLayer, ...]

    def index(self, layer: int, eta: int, phi: int) -> int:
        """Flat index of the cell at (position in `layers`, eta, phi)."""
        part, cells = self.layers[layer], self.slices[layer]
        if not (0 <= eta < part.num_eta and 0 <= phi < part.num_phi):
            raise GeometryError(f"{self.name}, {part.name}: no cell ({eta}, {phi}) in {part.num_eta} x {part.num_phi}")
        return cells.start + eta * part.num_phi + phi

    def unravel(self, index: int) -> tuple[int, int, int]:
        """(position in `layers`, eta, phi) of a flat index; the inverse of `index`."""
        layer = int(self.layer_of[index])
        eta, phi = divmod(index - self.slices[layer].start, self.layers[layer].num_phi)
        return layer, eta, phi

    def blocks(self, energies: np.ndarray) -> list[np.ndarray]:
        """The layers as images, each `[n, num_eta, num_phi]`, MeV (views, no copies)."""
        self.require(energies)
        return [
            energies[:, part].reshape(-1, layer.num_eta, layer.num_phi)
            for part, layer in zip(self.slices, self.layers, strict=True)
        ]


@dataclass(frozen=True)
class VoxelGeometry(_Layered):
    """Voxels around a particle's extrapolated track: by layer, then alpha, then r (fastest).

    Args:
        name: e.g. `photons_dataset1`.
        layers: the layers with voxels.
        attributes: further attributes of the XML's `Bin` element, kept as they were read.
    """

    name: str
    layers: tuple[VoxelLayer, ...]
    attributes: tuple[tuple[str, str], ...] = field(default=(), compare=False)

    def index(self, layer: int, alpha: int, r: int) -> int:
        """Flat index of the voxel at (position in `layers`, alpha, r)."""
        part, voxels = self.layers[layer], self.slices[layer]
        if not (0 <= alpha < part.num_alpha and 0 <= r < part.num_r):
            raise GeometryError(f"{self.name}, {part.name}: no voxel ({alpha}, {r}) in {part.num_alpha} x {part.num_r}")
        return voxels.start + alpha * part.num_r + r

    def unravel(self, index: int) -> tuple[int, int, int]:
        """(position in `layers`, alpha, r) of a flat index; the inverse of `index`."""
        layer = int(self.layer_of[index])
        alpha, r = divmod(index - self.slices[layer].start, self.layers[layer].num_r)
        return layer, alpha, r

    @classmethod
    def read_xml(cls, path: str | Path, name: str | None = None) -> "VoxelGeometry":
        """Read a CaloChallenge binning file: one `Bin`; layers with `r_edges="0"` have no voxels.

        Raises:
            GeometryError: the file is missing, is no XML, or holds no `Bin` with layers.
        """
        path = Path(path)
        try:
            element = ElementTree.parse(path).getroot().find("Bin")
            if element is None:
                raise GeometryError(f"{path} must hold a <Bin> inside <Bins>. Received: none")
            layers = [
                VoxelLayer(
                    int(layer.attrib["id"]),
                    tuple(float(edge) for edge in layer.attrib["r_edges"].split(",")),
                    int(layer.attrib["n_bin_alpha"]),
                )
                for layer in element.findall("Layer")
                if "," in layer.attrib["r_edges"]
            ]
        except (OSError, ElementTree.ParseError, KeyError, ValueError) as error:
            raise GeometryError(f"{path} is not a readable binning file: {error}") from error
        if not layers:
            raise GeometryError(f"{path} must hold at least one layer with voxels. Received: none")
        return cls(name or path.stem, tuple(layers), tuple(element.attrib.items()))


def _bundled(name: str, file: str) -> VoxelGeometry:
    return VoxelGeometry.read_xml(Path(__file__).parent / "data" / file, name)


PHOTONS_DATASET1 = _bundled("photons_dataset1", "binning_photons_dataset1.xml")
PIONS_DATASET1 = _bundled("pions_dataset1", "binning_pions_dataset1.xml")

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
