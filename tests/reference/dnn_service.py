"""What Athena's service for cells does, cell by cell: the slow twin of calogen.athena.service.

The barrel is a list of cells. The impact cell is the middle layer's that holds the photon, the window are the cells
that pass the service's cuts, in the order of its comparison.
"""

from dataclasses import dataclass
from functools import cache, cmp_to_key

import numpy as np

_SIZES = {  # eta and phi of a cell, by layer
    0: (0.025, 2 * np.pi / 64),
    1: (0.025 / 8, 2 * np.pi / 64),
    2: (0.025, 2 * np.pi / 256),
    3: (0.05, 2 * np.pi / 256),
}


@dataclass(frozen=True)
class Cell:
    """A cell of the barrel; its indices count from eta = 0 outwards, and from phi = 0."""

    layer: int
    index_eta: int
    index_phi: int
    eta: float
    phi: float


@cache
def hit(eta: float, phi: float) -> tuple[Cell, tuple[Cell, ...]]:
    """The impact cell of a photon, and the cells that the service fills, in its order."""
    cells = barrel(eta)
    impact = impact_cell(cells, eta, phi)
    return impact, tuple(window(cells, impact))


def barrel(eta: float) -> list[Cell]:
    """The cells within 0.15 of an eta, on its side and on the other."""
    cells = []
    for layer, (size_eta, size_phi) in _SIZES.items():
        for side in (1, -1):
            for index_eta in range(round(1.4 / size_eta)):
                at_eta = side * (index_eta + 0.5) * size_eta
                if abs(at_eta - eta) < 0.15:
                    for index_phi in range(round(2 * np.pi / size_phi)):
                        at_phi = difference((index_phi + 0.5) * size_phi, 0.0)
                        cells.append(Cell(layer, index_eta, index_phi, at_eta, at_phi))
    return cells


def difference(first: float, second: float) -> float:
    """first - second as an angle between -pi and pi."""
    return float((first - second + np.pi) % (2 * np.pi) - np.pi)


def impact_cell(cells: list[Cell], eta: float, phi: float) -> Cell:
    """The middle layer's cell that holds the photon."""
    size_eta, size_phi = _SIZES[2]
    (found,) = [
        cell
        for cell in cells
        if cell.layer == 2 and abs(eta - cell.eta) < size_eta / 2 and abs(difference(phi, cell.phi)) < size_phi / 2
    ]
    return found


def window(cells: list[Cell], impact: Cell) -> list[Cell]:
    """The cells that the service fills, in its order."""
    width_eta, width_phi = 0.025, np.pi / 128
    chosen = []
    for cell in cells:
        d_eta, d_phi = abs(cell.eta - impact.eta), abs(difference(cell.phi, impact.phi))
        within_eta = d_eta < (4.0 if cell.layer == 3 else 3.5) * width_eta
        if within_eta and d_phi < (3.5 if cell.layer in (2, 3) else 6.0) * width_phi:
            chosen.append(cell)

    def compare(first: Cell, second: Cell) -> float:
        if first.layer != second.layer:
            return first.layer - second.layer
        if first.eta != second.eta:
            return (first.eta - second.eta) * (-1 if impact.eta < 0 else 1)
        return difference(first.phi, second.phi)

    return sorted(chosen, key=cmp_to_key(compare))


def inputs(impact: Cell, energy: float, eta: float, phi: float, noise: np.ndarray) -> dict[str, dict[str, float]]:
    """What the service gives the network for a photon of a kinetic energy, MeV, at an impact point."""
    d_eta = eta - impact.eta
    if eta < 0:
        d_eta = -d_eta
    p_config, e_config = impact.index_phi % 4, (impact.index_eta + 1) % 2
    return {
        "Z": {str(place): float(value) for place, value in enumerate(noise)},
        "E_true": {"0": (np.log(energy) - 9.70406053) / 1.76099569},
        "pconfig": {str(place): float(place == p_config) for place in range(4)},
        "econfig": {str(place): float(place == e_config) for place in range(2)},
        "ripos": {
            "0": (d_eta - 3.47603256e-05) / 0.00722316,
            "1": (difference(phi, impact.phi) - -5.42153684e-05) / 0.00708241,
        },
    }
