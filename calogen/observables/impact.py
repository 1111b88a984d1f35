"""Observables of showers in cells, measured from the particle's impact point."""

import numpy as np

from calogen.metrics.histograms import Profile
from calogen.observables.cells import AXES, MIDDLE, Axis, centroid, displacement, window_offsets
from calogen.showers.cells import CellGrid
from calogen.showers.geometry import require_kind
from calogen.showers.sample import Showers


def mean_distance(showers: Showers, axis: Axis) -> np.ndarray:
    """Mean distance of the middle layer's energy from the impact point, `[n]`, eta or rad.

    The positions of the energy are the centres of the cells.

    Raises:
        DataFormatError: as for `cells.displacement`.

    Source: ATL-SOFT-PUB-2018-001, Figs. 13a, 14a.
    """
    return centroid(showers, MIDDLE, axis, displacement(showers, axis))


def profile_around_impact(showers: Showers, layer_id: int, axis: Axis) -> Profile:
    """Average energy of a layer's cells by their distance from the impact point, MeV.

    The distance is that of a cell's centre. The bins are as wide as a cell and as many as the cells of the window along
    `eta` or `phi`; the outermost ones hold the cells beyond them, too.

    Raises:
        DataFormatError: as for `cells.window_offsets`.

    Source: ATL-SOFT-PUB-2018-001, Figs. 11, 12.
    """
    grid = require_kind(showers.geometry, CellGrid, "this observable needs cells of a CellGrid")
    position = grid.position(layer_id)
    layer, block = grid.layers[position], grid.blocks(showers.energies)[position].astype(np.float64)
    count, size = (layer.num_eta, layer.eta_size) if axis == "eta" else (layer.num_phi, layer.phi_size)
    energies = block.sum(axis=2 if axis == "eta" else 1)
    impact = displacement(showers, axis) - window_offsets(showers)[:, position, AXES.index(axis)]
    bins = np.floor(np.arange(count) + 0.5 - impact[:, None] / size).clip(0, count - 1).astype(np.int64)
    sums = np.zeros_like(energies)
    np.add.at(sums, (np.arange(len(energies))[:, None], bins), energies)
    return Profile.of_rows((np.arange(count + 1) - count / 2) * size, sums)
