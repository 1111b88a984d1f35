"""Histograms of energy against distance from the track, for Athena's GAN class.

`TFCSGANEtaSlice` fits an exponential to such a histogram, once for each radial bin of a layer, and places the hits of
this bin accordingly. Voxels tell only how much energy a radial bin holds; its distribution inside the bin is taken from
the logarithmic slope between the bin's neighbours.

Source: `TFCSGANEtaSlice::CalculateMeanPointFromDistributionOfR` of FastCaloSim; the slopes are ours.
"""

from importlib import import_module
from pathlib import Path

import numpy as np

from calogen.athena.folder import MARK
from calogen.files import atomic_path
from calogen.showers.geometry import require_kind
from calogen.showers.sample import Showers
from calogen.showers.voxels import VoxelGeometry, VoxelLayer

MOMENTUM = 2.0**20
"""Momentum of the showers in the file that the class looks for by its name, MeV."""
_PARTS = 10  # histogram bins in each radial bin


def file_name(pid: int, eta: int) -> str:
    """Gives a file's path below the networks; `eta` is 100 times the slice's lower edge."""
    return f"rootFiles/pid{pid}_E{MOMENTUM:.0f}_eta_{eta}_{eta + 5}.root"


def radial_histogram(energies: np.ndarray, layer: VoxelLayer) -> tuple[np.ndarray, np.ndarray]:
    """Gives energy against distance from the track: bins' contents, MeV, and edges, mm.

    Args:
        energies: mean energy of the layer's radial bins, `[num_r]`, MeV.
        layer: the layer.
    """
    edges = np.asarray(layer.r_edges)
    inside = np.linspace(0, 1, _PARTS + 1)
    fine = edges[:-1, None] + np.diff(edges)[:, None] * inside
    centres = (fine[:, 1:] + fine[:, :-1]) / 2
    shapes = np.exp(_slopes(energies, edges)[:, None] * (centres - centres.mean(axis=1, keepdims=True)))
    contents = energies[:, None] * shapes / shapes.sum(axis=1, keepdims=True)
    return contents.ravel(), np.append(fine[:, :-1].ravel(), edges[-1])


def write_radial(path: Path, showers: Showers) -> None:
    """Writes a histogram `r<layer>w` of the mean shower for each layer; it needs uproot."""
    uproot = import_module("uproot")
    geometry = require_kind(showers.geometry, VoxelGeometry, "radial histograms need voxels")
    mean = showers.energies.mean(axis=0, dtype=np.float64)
    with atomic_path(path) as temporary, uproot.recreate(temporary) as file:
        file[MARK] = "From the network's own showers; the slopes inside radial bins are those between their neighbours."
        for layer, part in zip(geometry.layers, geometry.slices, strict=True):
            rings = mean[part].reshape(layer.num_alpha, layer.num_r).sum(axis=0)
            file[f"r{layer.id}w"] = radial_histogram(rings, layer)


def _slopes(energies: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Slope d ln(dE/dr) / dr in each radial bin, 1/mm; 0 where a neighbour is empty."""
    density, centres = energies / np.diff(edges), (edges[1:] + edges[:-1]) / 2
    before, after = (
        np.maximum(np.arange(len(centres)) - 1, 0),
        np.minimum(np.arange(len(centres)) + 1, len(centres) - 1),
    )
    known = (density[before] > 0) & (density[after] > 0) & (before < after)
    slopes = np.zeros_like(centres)
    ratio = density[after[known]] / density[before[known]]
    slopes[known] = np.log(ratio) / (centres[after[known]] - centres[before[known]])
    return slopes
