"""The grids of our imaging calorimeters, whose stacks are in `simulation.imaging`.

Layers are numbered from 1, from the front. The first direction of a layer is x (rows), the second z (columns).
"""

from collections.abc import Sequence
from itertools import accumulate

from calogen.showers.grid import SILICON_PEAK, SILICON_THRESHOLD, GridLayer, RegularGrid

ILD_PITCHES = (2.1 + 0.5 + 3.54,) * 20 + (4.2 + 0.5 + 3.54,) * 10
"""Thickness of each layer of the ILD-like stack, mm: tungsten, silicon and an air gap, in this order.

The air gap is assumed: it stands for boards, cooling and structure. With 3.54 mm, the first and the last layer of
silicon are 199 mm apart, as the layers in the conversion script that the authors of arXiv:2005.05334 have published.
"""
_ILD_CENTRES = (2.1 + 0.25,) * 20 + (4.2 + 0.25,) * 10  # centre of the silicon, behind the layer's face, mm
AHCAL_PITCHES = (20.0 + 3.0,) * 48
"""Thickness of each layer of the AHCAL-like stack, mm: steel and scintillator."""

SCINTILLATOR_THRESHOLD = 0.25
"""Energy of a hit, MeV, at least: half a minimum ionising particle in 3 mm of scintillator.

Source: ours; in our AHCAL-like stack the cells of pions of 10 to 100 GeV most probably have 0.49 MeV, and those that a
pion of 4 GeV crosses before its first interaction 0.47 MeV.
"""
SCINTILLATOR_PEAK = 0.4, 1.0
"""Energies, MeV, between which the peak of these cells lies: below, the spectrum rises again towards small energies."""


def build_grid(
    name: str,
    shape: tuple[int, int],
    cell_size: float,
    pitches: Sequence[float],
    centres: Sequence[float],
    hits: tuple[float, tuple[float, float]] = (SILICON_THRESHOLD, SILICON_PEAK),
) -> RegularGrid:
    """A grid whose layers lie one behind the other.

    Args:
        shape: numbers of cells along x and z.
        cell_size: edge of the cells, mm.
        pitches: thickness of each layer, mm.
        centres: distance of the active material's middle from each layer's face, mm.
        hits: a hit's energy, at least, and the range of its peak, MeV.
    """
    faces = accumulate(pitches[:-1], initial=0.0)
    layers = zip(faces, centres, strict=True)
    return RegularGrid(
        name,
        tuple(
            GridLayer(number, *shape, cell_size, round(face + centre, 6))
            for number, (face, centre) in enumerate(layers, start=1)
        ),
        *hits,
    )


ILD_GRID = build_grid("ild", (30, 30), 5.0, ILD_PITCHES, _ILD_CENTRES)
"""30 layers of 30 x 30 cells of 5 x 5 mm, for perpendicular photons.

Source: arXiv:2005.05334, section 2.
"""
ILD_ANGULAR_GRID = build_grid("ild-angular", (60, 30), 5.0, ILD_PITCHES, _ILD_CENTRES)
"""30 layers of 60 x 30 cells of 5 x 5 mm, for photons that are inclined towards growing x.

Source: ours; arXiv:2112.09709 does not state the grid, and a photon at 40 degrees drifts over 47 cells.
"""
AHCAL_GRID = build_grid(
    "ahcal", (25, 25), 30.0, AHCAL_PITCHES, (21.5,) * 48, (SCINTILLATOR_THRESHOLD, SCINTILLATOR_PEAK)
)
"""48 layers of 25 x 25 cells of 30 x 30 mm, for pions.

Source: arXiv:2112.09709, section 2 (48 x 25 x 25 cells); the size of the cells is assumed.
"""
GRIDS = (ILD_GRID, ILD_ANGULAR_GRID, AHCAL_GRID)
"""The grids that are recognised by the numbers of their cells in a file."""
