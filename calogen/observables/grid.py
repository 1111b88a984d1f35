"""Observables of showers in regular grids: energies, hits, centres, moments and profiles.

Cells below half of the energy that a minimum ionising particle leaves (the grid's `hit_threshold`) count as empty; the
spectrum of the cells' energies alone shows all of them. Positions along x and z are measured from the middle of the
grid, depths from the calorimeter's front, in mm. An observable is NaN for a shower without hits, where it has no
meaning.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np

from calogen.metrics.histograms import Profile
from calogen.observables.observable import Observable
from calogen.showers.geometry import require_kind
from calogen.showers.grid import RegularGrid
from calogen.showers.sample import Showers

GridAxis = Literal["x", "z", "depth"]
GRID_AXES: tuple[GridAxis, ...] = ("x", "z", "depth")
_BLOCK = 256  # showers that are worked on at a time


def visible_energy(showers: Showers) -> np.ndarray:
    """Energy of all hits, `[n]`, MeV.

    Source: Fig. 7 of arXiv:2005.05334.
    """
    return _along(showers, "depth").sum(axis=1)


def num_hits(showers: Showers) -> np.ndarray:
    """Number of hits, `[n]`.

    Source: Fig. 6 of arXiv:2005.05334.
    """
    threshold = np.float32(_grid(showers).hit_threshold)
    return np.count_nonzero(showers.energies >= threshold, axis=1).astype(np.float64)


def centre(showers: Showers, axis: GridAxis) -> np.ndarray:
    """Centre of gravity along an axis, `[n]`, mm: the first moment.

    Source: Fig. 7 of arXiv:2005.05334.
    """
    return _moments(showers, axis)[0]


def second_moment(showers: Showers, axis: GridAxis) -> np.ndarray:
    """Energy-weighted variance of the position along an axis, `[n]`, mm^2.

    Source: Fig. 9 of arXiv:2005.05334.
    """
    return _moments(showers, axis)[1]


def third(showers: Showers, number: int) -> np.ndarray:
    """Share of the visible energy in a third of the layers, `[n]`.

    Args:
        number: 0, 1 or 2, from the front.

    Source: Fig. 9 of arXiv:2005.05334.
    """
    layers = _along(showers, "depth")
    edges = np.linspace(0, layers.shape[1], 4).round().astype(int)
    return _ratio(layers[:, edges[number] : edges[number + 1]].sum(axis=1), layers.sum(axis=1))


def axis_angle(showers: Showers) -> np.ndarray:
    """Angle between the shower's axis and the layers, `[n]`, rad; pi / 2: perpendicular.

    The axis is the direction in which the hits spread most: the eigenvector with the largest eigenvalue of their
    energy-weighted covariance. NaN below two hits. Spread inside the layers and the folding at 90 degrees pull it
    down: for Geant4's photons of 20 to 80 GeV in our ILD-like stack its means are 34.6, 54.5 and 83.6 degrees at 40,
    60 and 85 (within 0.5 at every energy), its standard deviations 1.9, 2.1 and 1.7 at 20 GeV, 0.9, 1.4 and 1.1 at 80.

    Source: the slides of arXiv:2112.09709 show the angle from a principal component analysis, without its definition.
    """
    grid = _grid(showers)
    x, z, depth = (_positions(grid, axis) for axis in GRID_AXES)
    places = np.stack(np.broadcast_arrays(x[None, :, None], z[None, None, :], depth[:, None, None]), -1).reshape(-1, 3)
    places = places - places.mean(axis=0)
    products = (places[:, :, None] * places[:, None, :]).reshape(-1, 9)
    sums = _blockwise(showers, lambda images: images.reshape(len(images), -1) @ np.hstack([places, products]))
    total = visible_energy(showers)
    total[num_hits(showers) < 2] = np.nan
    means, squares = sums[:, :3] / total[:, None], (sums[:, 3:] / total[:, None]).reshape(-1, 3, 3)
    known = np.isfinite(total)
    angles = np.full(len(total), np.nan)
    covariance = squares[known] - means[known, :, None] * means[known, None, :]
    vectors = np.linalg.eigh(covariance)[1][:, :, -1]
    angles[known] = np.arcsin(np.minimum(np.abs(vectors[:, 2]), 1.0))
    return angles


def hit_energies(showers: Showers) -> np.ndarray:
    """Energies of all cells with energy, `[h]`, MeV, those below the threshold, too.

    Source: Fig. 6 of arXiv:2005.05334.
    """
    _grid(showers)
    return showers.energies[showers.energies > 0]


def longitudinal_profile(showers: Showers) -> np.ndarray:
    """Energy of the hits in each layer, `[n, l]`, MeV.

    Source: Fig. 7 of arXiv:2005.05334.
    """
    return _along(showers, "depth")


def radial_profile(showers: Showers) -> np.ndarray:
    """Energy of the hits in rings around the middle of the grid, `[n, r]`, MeV.

    Source: Fig. 7 of arXiv:2005.05334; the rings are as wide as a cell.
    """
    grid = _grid(showers)
    layer = grid.layers[0]
    x, z = (np.arange(count) - (count - 1) / 2 for count in layer.shape)
    rings = np.hypot(x[:, None], z[None, :]).astype(np.int64).reshape(-1)
    members = np.zeros((layer.size, len(radial_edges(grid)) - 1))
    members[np.arange(layer.size), rings] = 1.0
    return _blockwise(showers, lambda images: images.sum(axis=1, dtype=np.float64).reshape(-1, layer.size) @ members)


def radial_edges(grid: RegularGrid) -> np.ndarray:
    """Edges of the rings of `radial_profile`, `[r + 1]`, mm."""
    layer = grid.layers[0]
    largest = np.hypot((layer.num_x - 1) / 2, (layer.num_z - 1) / 2)
    return layer.cell_size * np.arange(int(largest) + 2.0)


def layer_edges(grid: RegularGrid) -> np.ndarray:
    """Edges around the layers' numbers, `[l + 1]`."""
    return np.arange(len(grid.layers) + 1) + grid.layers[0].id - 0.5


def profiles(showers: Showers) -> dict[str, Profile]:
    """Mean longitudinal and radial profile of showers."""
    grid = _grid(showers)
    return {
        "longitudinal": Profile.of_rows(layer_edges(grid), longitudinal_profile(showers)),
        "radial": Profile.of_rows(radial_edges(grid), radial_profile(showers)),
    }


def _grid(showers: Showers) -> RegularGrid:
    return require_kind(showers.geometry, RegularGrid, "this observable needs showers of a RegularGrid")


def _blockwise(showers: Showers, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """A function of hits' images `[n, layer, x, z]`, evaluated for some showers at a time."""
    grid = _grid(showers)
    parts, threshold = [], np.float32(grid.hit_threshold)
    for start in range(0, len(showers), _BLOCK):
        energies = showers.energies[start : start + _BLOCK]
        parts.append(function(grid.images(np.where(energies >= threshold, energies, 0))))
    return np.concatenate(parts)


def _along(showers: Showers, axis: GridAxis) -> np.ndarray:
    """Energies of the hits along an axis, `[n, k]`, MeV."""
    others = {"depth": (2, 3), "x": (1, 3), "z": (1, 2)}[axis]
    return _blockwise(showers, lambda images: images.sum(axis=others, dtype=np.float64))


def _moments(showers: Showers, axis: GridAxis) -> tuple[np.ndarray, np.ndarray]:
    """Energy-weighted mean and variance of the position along an axis, `[n]` each.

    Squared deviations are summed, because <x^2> - <x>^2 of narrow showers would be lost in rounding.
    """
    energies, positions = _along(showers, axis), _positions(_grid(showers), axis)
    total = energies.sum(axis=1)
    mean = _ratio(energies @ positions, total)
    return mean, _ratio((energies * (positions - mean[:, None]) ** 2).sum(axis=1), total)


def _positions(grid: RegularGrid, axis: GridAxis) -> np.ndarray:
    """Positions of layers or cells along an axis, `[k]`, mm."""
    if axis == "depth":
        return np.array([layer.depth for layer in grid.layers])
    count = grid.layers[0].num_x if axis == "x" else grid.layers[0].num_z
    return (np.arange(count) - (count - 1) / 2) * grid.layers[0].cell_size


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Quotient, NaN where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full(len(denominator), np.nan), where=denominator > 0)


_ALONG = {"x": "along $x$", "z": "along $z$", "depth": "in depth"}
GRID_OBSERVABLES: tuple[Observable, ...] = (
    Observable("visible_energy", visible_energy, "Visible energy", "MeV"),
    Observable("num_hits", num_hits, "Number of hits"),
    *(Observable(f"{axis}_centre", partial(centre, axis=axis), f"Centre {_ALONG[axis]}", "mm") for axis in GRID_AXES),
    *(
        Observable(f"{axis}_second_moment", partial(second_moment, axis=axis), f"Variance {_ALONG[axis]}", r"mm$^2$")
        for axis in GRID_AXES
    ),
    *(
        Observable(f"third_{number + 1}", partial(third, number=number), f"Energy share of the {name} third")
        for number, name in enumerate(("first", "second", "last"))
    ),
)
"""Observables of showers in regular grids: one number for each shower.

Source: Figs. 6, 7 and 9 of arXiv:2005.05334.
"""
AXIS_ANGLE = Observable("axis_angle", axis_angle, "Angle of the axis", "degrees", np.pi / 180)
"""The angle of showers that do not fly perpendicularly into the calorimeter."""
HIT_SPECTRUM = Observable(
    "hit_energy",
    hit_energies,
    "Energy of a cell",
    "MeV",
    log_axis=True,
    edges=tuple(np.geomspace(0.001, 100.0, 101).tolist()),
    metrics=(),
    counted="hits",
)
"""The spectrum of the cells' energies, which has no metrics: they are not independent within a shower.

Source: Fig. 6 of arXiv:2005.05334, whose axis ends at 30 MeV; ours: twenty bins for each factor of ten.
"""
