"""Stored cells and the papers' cell windows around the impact cell.

The simulation stores 297 cells around each shower (`cells.ATLAS_BARREL_STORED`). A window is the part of them that a
paper uses: the VAE's keeps 57 of the 64 strips in the front layer, centred on the impact strip, and all other cells.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import h5py
import numpy as np

from calogen.errors import DataFormatError
from calogen.hdf5 import dataset_shape
from calogen.showers.cells import ATLAS_BARREL_STORED, CellGrid
from calogen.showers.geometry import Geometry, require_kind
from calogen.showers.sample import Showers

ATLAS_VAE_WINDOW = CellGrid(
    "atlas_vae_window",
    tuple(
        replace(layer, num_eta=57, eta_anchor=0.0) if layer.name == "front" else layer
        for layer in ATLAS_BARREL_STORED.layers
    ),
)
"""7x3 + 57x3 + 7x7 + 5x7 = 276 cells (eta x phi), each layer centred on its own impact cell.

Source: ATLAS 2022 (arXiv:2210.06204), "Monte Carlo Samples and Preprocessing", the second approach.
"""

_NUM_ETA = {"front": 56, "back": 4}
ATLAS_GAN_WINDOW = CellGrid(
    "atlas_gan_window",
    tuple(
        replace(layer, num_eta=_NUM_ETA.get(layer.name, layer.num_eta), eta_anchor=0.025)
        for layer in ATLAS_BARREL_STORED.layers
    ),
)
"""7x3 + 56x3 + 7x7 + 4x7 = 266 cells (eta x phi), centred in eta on the middle layer's impact cell.

Source: ATLAS 2022 (arXiv:2210.06204), "Monte Carlo Samples and Preprocessing", the first approach; its four alignments
in eta and phi are the places of that cell's centre in the cells of the coarser layers.
"""
IMPACT = ("impact_eta", "impact_phi")
"""Names of the conditions that tell where a shower's window lies."""
WINDOWS = {"vae": ATLAS_VAE_WINDOW, "gan": ATLAS_GAN_WINDOW}


def select_window(showers: Showers, window: CellGrid) -> Showers:
    """Keeps the cells of a window from a larger grid.

    Args:
        showers: showers in a larger grid with the same layers, with the conditions `impact_eta` and `impact_phi`.
        window: the cells to keep.

    Returns:
        these showers in the geometry `window`.

    Raises:
        DataFormatError: the impact point is missing, or the window is not inside the grid for some shower.
    """
    energies = np.empty((len(showers), window.size), showers.energies.dtype)
    for rows, block in showers.blocks():
        columns, within = _columns(block, window, showers.geometry)
        if not within.all():
            raise DataFormatError(
                f"{window.name} must lie inside {showers.geometry.name}. Received: an impact point whose window does "
                "not (are impact_eta and impact_phi those of these showers?)"
            )
        energies[rows] = np.take_along_axis(block.energies, columns, axis=1)
    return replace(showers, geometry=window, energies=energies)


def in_geometry(showers: Showers, geometry: Geometry) -> Showers:
    """These showers in a geometry: theirs, or a window of their cells.

    Raises:
        DataFormatError: as for `select_window`.
    """
    if showers.geometry == geometry or not isinstance(geometry, CellGrid):
        return showers
    return select_window(showers, geometry)


def stored_geometry(file: h5py.File, geometry: Geometry) -> Geometry:
    """The geometry of a file's cells: the given one, or that of all cells around a window."""
    shape = dataset_shape(file, geometry.dataset) if isinstance(geometry, CellGrid) else ()
    stored = shape[1:] == (ATLAS_BARREL_STORED.size,) != (geometry.size,)
    return ATLAS_BARREL_STORED if stored else geometry


def require_impact(conditions: Iterable[str], where: str = "") -> None:
    """Refuse, with a `DataFormatError`, showers without the conditions that place a window.

    Args:
        conditions: names of the showers' conditions.
        where: beginning of the message, which names their file.
    """
    if not set(IMPACT) <= set(conditions):
        names = " and ".join(IMPACT)
        raise DataFormatError(f"{where}a window needs the datasets {names}. Received: {sorted(conditions)}")


def restore_window(showers: Showers, grid: CellGrid, conditions: Mapping[str, np.ndarray]) -> Showers:
    """Puts the cells of a window back among those of a larger grid; the others are empty.

    Args:
        showers: showers in a window of the grid.
        grid: the larger grid, with the same layers.
        conditions: `impact_eta` and `impact_phi` of the showers, `[n]`, around which the window lies, and whatever else
            is known of them.

    Returns:
        these showers in the geometry `grid`, with these conditions.

    Raises:
        DataFormatError: as for `select_window`.
    """
    placed = replace(showers, conditions={**showers.conditions, **conditions})
    window = require_kind(showers.geometry, CellGrid, "a window has cells")
    energies = np.zeros((len(showers), grid.size), showers.energies.dtype)
    for rows, block in placed.blocks():
        columns, within = _columns(block, window, grid)
        if not within.all():
            raise DataFormatError(f"{window.name} must lie inside {grid.name}. Received: one that does not")
        np.put_along_axis(energies[rows], columns, block.energies, axis=1)
    return replace(placed, geometry=grid, energies=energies)


def _columns(showers: Showers, window: CellGrid, grid: Geometry) -> tuple[np.ndarray, np.ndarray]:
    """Columns of `grid` for a window's cells, `[n, c]`, and a mask of those inside it."""
    if not isinstance(grid, CellGrid) or grid.layer_ids != window.layer_ids:
        names = f"{window.name} and {grid.name}"
        raise DataFormatError(f"window and showers must be cells of the same layers. Received: {names}")
    require_impact(showers.conditions)
    eta, phi = (showers.conditions[name] for name in IMPACT)
    columns, within = [], []
    for inner, outer, start in zip(window.layers, grid.layers, (part.start for part in grid.slices), strict=True):
        eta_inner, phi_inner = inner.first_cell(eta, phi)
        eta_outer, phi_outer = outer.first_cell(eta, phi)
        at_eta = (eta_inner - eta_outer)[:, None, None] + np.arange(inner.num_eta)[:, None]
        at_phi = (phi_inner - phi_outer)[:, None, None] + np.arange(inner.num_phi)
        inside = (at_eta >= 0) & (at_eta < outer.num_eta) & (at_phi >= 0) & (at_phi < outer.num_phi)
        columns.append((start + at_eta * outer.num_phi + at_phi).reshape(len(eta), -1))
        within.append(inside.reshape(len(eta), -1))
    return np.concatenate(columns, axis=1), np.concatenate(within, axis=1)
