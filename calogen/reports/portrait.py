"""A figure of the showers in a file: their mean, and single ones."""

from dataclasses import replace

import numpy as np
from matplotlib.figure import Figure

from calogen.observables.cells import average_showers
from calogen.plots.grids import draw_projections
from calogen.plots.polar import draw_showers
from calogen.plots.showers import draw_average_cells
from calogen.showers.grid import RegularGrid
from calogen.showers.sample import Showers
from calogen.showers.voxels import VoxelGeometry
from calogen.units import GeV

SINGLE = 3
"""Number of single showers in the figure."""
_MOST = 1000  # showers in the mean


def draw_portrait(showers: Showers, note: str = "") -> Figure:
    """Draws the mean and the first three showers at the incident energy in the middle.

    Args:
        showers: cells, voxels or grids; of continuous incident energies, those nearest to the one in the middle.
        note: small print at the bottom.
    """
    energy = float(np.sort(showers.incident_energies)[len(showers) // 2])
    distance = np.abs(np.log(showers.incident_energies / energy))
    near = showers[np.sort(np.argsort(distance, kind="stable")[:_MOST])]
    if (near.incident_energies == energy).sum() > SINGLE:
        near = near.at(energy)
    rows = {f"mean of {len(near)}": near} | {
        f"shower {number + 1}": near[number : number + 1] for number in range(min(SINGLE, len(near)))
    }
    note = f"incident energy {energy / GeV:.3g} GeV; black: no energy" + (f"; {note}" if note else "")
    if isinstance(showers.geometry, VoxelGeometry | RegularGrid):
        means = {label: part.energies.mean(axis=0, dtype=np.float64) for label, part in rows.items()}
        if isinstance(showers.geometry, RegularGrid):
            return draw_projections(showers.geometry, means, note)
        return draw_showers(showers.geometry, means, note)
    same = {label: replace(part, incident_energies=np.full(len(part), energy)) for label, part in rows.items()}
    return draw_average_cells(average_showers(same, energy), note)
