"""Observables of showers in cells: functions that give one number for each shower.

An observable is NaN for a shower without energy where it is measured; histograms and metrics count such showers
separately. Cells outside the window count as 0. Positions are measured from the centre of each layer's window, which is
the layer's impact cell; only differences of positions, and sizes of cells, enter the shapes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from calogen.errors import GeometryError
from calogen.metrics.histograms import Profile
from calogen.observables.observable import Observable
from calogen.showers.cells import CellGrid, CellLayer
from calogen.showers.geometry import require_kind
from calogen.showers.sample import Showers
from calogen.units import GeV

Axis = Literal["eta", "phi"]
AXES: tuple[Axis, ...] = ("eta", "phi")

FRONT, MIDDLE = 1, 2
"""Ids of the front and the middle layer."""
_NUM_STRIPS = 20  # of the front layer, in w_s_tot
_SHOWERS = 4096  # whose second lambda moments are computed at a time
_MIN_COSINE = np.cos(np.deg2rad(20.0))  # between shower axis and direction from the origin
_MIN_EIGENVALUE = 1e-6  # of a covariance with three dimensions, mm^2


def total_energy(showers: Showers) -> np.ndarray:
    """Energy of all cells, `[n]`, MeV."""
    return showers.energies.sum(axis=1, dtype=np.float64)


def response(showers: Showers) -> np.ndarray:
    """Total deposited energy / incident energy, `[n]`."""
    return showers.response


def layer_energy(showers: Showers, layer_id: int) -> np.ndarray:
    """Energy of one layer, `[n]`, MeV.

    Source: Fig. 5 of arXiv:2210.06204.
    """
    return showers.layer_energies[:, showers.geometry.position(layer_id)]


def energy_fraction(showers: Showers, layer_id: int) -> np.ndarray:
    """Share of one layer in the total energy, `[n]`."""
    return _ratio(layer_energy(showers, layer_id), total_energy(showers))


def shower_depth(showers: Showers) -> np.ndarray:
    """Energy-weighted mean depth of layer centres, `[n]`, mm from the calorimeter's front.

    Source: section "Shower Generation" of arXiv:2210.06204, d = sum E_i d_i / E.
    """
    depths = np.array([layer.depth for layer in _grid(showers).layers])
    return _ratio(showers.layer_energies @ depths, total_energy(showers))


def second_lambda_moment(showers: Showers, placed: bool = False) -> np.ndarray:
    """Second moment of the energy along the shower axis, `[n]`, mm^2.

    The axis is the eigenvector of the E^2-weighted covariance of the cells' centres that is nearest to the direction
    from the origin to the shower's centre, or this direction itself where the two differ by more than 20 degrees, where
    the covariance has no three dimensions, or with fewer than three cells.

    Args:
        placed: whether each layer's window lies where the impact point has it, which needs the conditions `impact_eta`
            and `impact_phi`; else all windows have one axis.

    Source: ATLAS, EPJC 77 (2017) 490, arXiv:1603.02934, section 4.1; the eigenvector's choice and the fall-backs as in
        ATLAS's cluster moments. Ours: cells at (radius, eta x radius, phi x radius).
    """
    if not placed:
        return _lambda_moment(showers.energies, _cell_centres(_grid(showers)))
    moment = np.full(len(showers), np.nan)
    places, group = np.unique(window_offsets(showers).round(9), axis=0, return_inverse=True)
    for number, offsets in enumerate(places):
        rows = group.ravel() == number
        moment[rows] = _lambda_moment(showers.energies[rows], _cell_centres(_grid(showers), offsets))
    return moment


def _lambda_moment(cell_energies: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Second lambda moment `[n]` of energies `[n, v]` in cells at `[v, 3]`, mm, in blocks."""
    if len(cell_energies) > _SHOWERS:
        starts = range(0, len(cell_energies), _SHOWERS)
        return np.concatenate([_lambda_moment(cell_energies[start : start + _SHOWERS], cells) for start in starts])
    moment = np.full(len(cell_energies), np.nan)
    filled = cell_energies.any(axis=1)
    energies = cell_energies[filled].astype(np.float64)
    energies = energies / energies.sum(axis=1, keepdims=True)
    centre = energies @ cells
    direction = centre / np.linalg.norm(centre, axis=1, keepdims=True)
    distances = cells - centre[:, None, :]
    squares = energies**2 / np.sum(energies**2, axis=1, keepdims=True)
    covariance = (squares[:, :, None] * distances).transpose(0, 2, 1) @ distances
    axis = _shower_axis(covariance, direction, np.count_nonzero(energies, axis=1))
    moment[filled] = np.sum(energies * (distances @ axis[:, :, None])[:, :, 0] ** 2, axis=1)
    return moment


def r_eta(showers: Showers) -> np.ndarray:
    """E(3x7) / E(7x7), cells in eta x phi around the middle layer's hottest cell, `[n]`.

    Source: ATLAS, EPJC 79 (2019) 205, arXiv:1810.05087, Table 1.
    """
    cells = _around_hottest(showers)
    return _ratio(cells[:, 2:5].sum(axis=(1, 2)), cells.sum(axis=(1, 2)))


def r_phi(showers: Showers) -> np.ndarray:
    """E(3x3) / E(3x7), cells in eta x phi around the middle layer's hottest cell, `[n]`.

    Source: ATLAS, EPJC 79 (2019) 205, arXiv:1810.05087, Table 1.
    """
    cells = _around_hottest(showers)[:, 2:5]
    return _ratio(cells[:, :, 2:5].sum(axis=(1, 2)), cells.sum(axis=(1, 2)))


def w_eta2(showers: Showers) -> np.ndarray:
    """Width in eta of 3x5 cells (eta x phi) around the middle layer's hottest cell, `[n]`.

    Source: ATLAS, EPJC 79 (2019) 205, arXiv:1810.05087, Table 1; without its correction for the position in the cell.
    """
    rows = _around_hottest(showers)[:, 2:5, 1:6].sum(axis=2)
    return _width(rows, np.array([-1.0, 0.0, 1.0]) * _layer(showers, MIDDLE).eta_size)


def w_s_tot(showers: Showers) -> np.ndarray:
    """Width in eta in the front layer around its strip with most energy, `[n]`, strips.

    It is computed from 20 strips (0.0625 in eta) around the middle layer's hottest cell, summed over two rows in phi:
    the central row, and that one of its neighbours that has more energy. If the hottest cell's centre is the middle of
    a strip, 10 strips lie below this strip and 9 above it.

    Source: ATLAS, EPJC 79 (2019) 205, arXiv:1810.05087, Table 1. Ours: the choice of the second row; and the centres of
        both layers' windows count as one position (in the VAE's window they may differ by four strips).
    """
    front, middle = _layer(showers, FRONT), _layer(showers, MIDDLE)
    if front.num_phi < 3:
        raise GeometryError(f"w_s_tot needs 3 rows in phi in the front layer. Received: {front.num_phi}")
    hottest, _ = _hottest(showers)
    centre = (front.num_eta - 1) / 2 + (hottest - (middle.num_eta - 1) / 2) * (middle.eta_size / front.eta_size)
    start = np.clip(np.ceil(centre - _NUM_STRIPS / 2 - 1e-6).astype(int), -_NUM_STRIPS, front.num_eta)
    padded = np.pad(_block(showers, FRONT), ((0, 0), (_NUM_STRIPS, _NUM_STRIPS), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, _NUM_STRIPS, axis=1)
    row = front.num_phi // 2
    rows = windows[np.arange(len(showers)), start + _NUM_STRIPS, row - 1 : row + 2]
    below, above = rows[:, 0], rows[:, 2]
    strips = rows[:, 1] + np.where((below.sum(axis=1) >= above.sum(axis=1))[:, None], below, above)
    squares = (np.arange(_NUM_STRIPS) - strips.argmax(axis=1)[:, None]) ** 2
    return np.sqrt(_ratio((strips * squares).sum(axis=1), strips.sum(axis=1)))


def centroid(showers: Showers, layer_id: int, axis: Axis, impact: np.ndarray | float = 0.0) -> np.ndarray:
    """Energy-weighted mean position in a layer, `[n]`, eta or rad.

    Args:
        showers: showers of a cell grid.
        layer_id: the layer.
        axis: `eta` or `phi`.
        impact: position from which the mean is measured, `[n]`, itself measured from the window's centre.

    Source: "Delta eta / Delta phi mean" of the 2018 note (ATL-SOFT-PUB-2018-001), Figs. 13, 14.
    """
    energies, positions = _along(showers, layer_id, axis)
    return _ratio(energies @ positions, energies.sum(axis=1)) - impact


def window_offsets(showers: Showers) -> np.ndarray:
    """Places of the layers' windows from the impact cell, `[n, l, 2]`: eta, phi in rad.

    Raises:
        DataFormatError: the conditions `impact_eta` and `impact_phi` are missing.
    """
    impact = showers.given.only(("impact_eta", "impact_phi")).others
    centres, middle = [], _layer(showers, MIDDLE)
    for layer in _grid(showers).layers:
        first_eta, first_phi = layer.first_cell(impact["impact_eta"], impact["impact_phi"])
        eta = (first_eta + layer.num_eta / 2) * layer.eta_size
        centres.append(np.stack([eta, (first_phi + layer.num_phi / 2) * layer.phi_size], axis=-1))
    sizes = np.array([middle.eta_size, middle.phi_size])
    cells = np.floor(np.stack([impact["impact_eta"], impact["impact_phi"]], axis=-1) / sizes)
    return np.stack(centres, axis=1) - ((cells + 0.5) * sizes)[:, None]


def centre_from_impact_cell(showers: Showers, layer_id: int, axis: Axis) -> np.ndarray:
    """`centroid` from the centre of the middle layer's impact cell, `[n]`, eta or rad.

    Raises:
        DataFormatError: as for `window_offsets`.

    Source: Fig. 14 of arXiv:2210.06204.
    """
    offsets = window_offsets(showers)[:, _grid(showers).position(layer_id), AXES.index(axis)]
    return centroid(showers, layer_id, axis, -offsets)


def displacement(showers: Showers, axis: Axis) -> np.ndarray:
    """Impact point from the centre of the middle layer's impact cell, `[n]`, eta or rad.

    Raises:
        DataFormatError: the condition `impact_eta` or `impact_phi` is missing.
    """
    layer, name = _layer(showers, MIDDLE), f"impact_{axis}"
    size = layer.eta_size if axis == "eta" else layer.phi_size
    cells = showers.given.only((name,)).others[name] / size
    return (cells - np.floor(cells) - 0.5) * size


def width(showers: Showers, layer_id: int, axis: Axis) -> np.ndarray:
    """Energy-weighted standard deviation of the position in a layer, `[n]`, eta or rad.

    Source: "Delta eta / Delta phi width" of the 2018 note (ATL-SOFT-PUB-2018-001), Figs. 13, 14.
    """
    return _width(*_along(showers, layer_id, axis))


def average_profile(showers: Showers, layer_id: int, axis: Axis) -> Profile:
    """Average energy of a layer's cells along eta or phi, summed over the other axis, MeV.

    Source: ours.
    """
    energies, positions = _along(showers, layer_id, axis)
    half = (positions[1] - positions[0]) / 2 if len(positions) > 1 else 0.5
    return Profile.of_rows(np.append(positions - half, positions[-1] + half), energies)


def average_cells(showers: Showers, layer_id: int) -> np.ndarray:
    """Average energy of each cell of a layer, `[num_eta, num_phi]`, MeV."""
    return _block(showers, layer_id).mean(axis=0)


@dataclass(frozen=True)
class AverageShower:
    """The average shower of several samples in one layer.

    Args:
        layer: name of the layer.
        incident_energy: incident energy of the showers, MeV.
        profiles: average energy along `eta` and `phi`, MeV, for each sample.
        cells: average energy of each cell, `[num_eta, num_phi]`, MeV, for each sample.
    """

    layer: str
    incident_energy: float
    profiles: Mapping[str, Mapping[Axis, Profile]]
    cells: Mapping[str, np.ndarray]


def average_showers(
    samples: Mapping[str, Showers],
    incident_energy: float,
    profile: Callable[[Showers, int, Axis], Profile] = average_profile,
) -> tuple[AverageShower, ...]:
    """The average shower of samples at one incident energy, MeV, for each layer.

    Its profiles are those of `average_profile`, or of `impact.profile_around_impact`.
    """
    chosen = {label: showers.at(incident_energy) for label, showers in samples.items()}
    return tuple(
        AverageShower(
            layer.name,
            incident_energy,
            {label: {axis: profile(item, layer.id, axis) for axis in AXES} for label, item in chosen.items()},
            {label: average_cells(item, layer.id) for label, item in chosen.items()},
        )
        for layer in _grid(next(iter(samples.values()))).layers
    )


def _shower_axis(covariance: np.ndarray, direction: np.ndarray, num_cells: np.ndarray) -> np.ndarray:
    """Axis of each shower, `[n, 3]`, as `second_lambda_moment` defines it.

    It depends on the covariance `[n, 3, 3]`, the direction `[n, 3]` and the number of cells with energy `[n]`.
    """
    values, vectors = np.linalg.eigh(covariance)
    cosines = np.abs(np.einsum("nji,nj->ni", vectors, direction))
    rows, nearest = np.arange(len(direction)), cosines.argmax(axis=1)
    trusted = (cosines[rows, nearest] > _MIN_COSINE) & (values.min(axis=1) > _MIN_EIGENVALUE) & (num_cells > 2)
    return np.where(trusted[:, None], vectors[rows, :, nearest], direction)


def _grid(showers: Showers) -> CellGrid:
    return require_kind(showers.geometry, CellGrid, "this observable needs cells of a CellGrid")


def _layer(showers: Showers, layer_id: int) -> CellLayer:
    grid = _grid(showers)
    return grid.layers[grid.position(layer_id)]


def _block(showers: Showers, layer_id: int) -> np.ndarray:
    """Cells of one layer, `[n, num_eta, num_phi]`, MeV, in float64."""
    grid = _grid(showers)
    return grid.blocks(showers.energies)[grid.position(layer_id)].astype(np.float64)


def _along(showers: Showers, layer_id: int, axis: Axis) -> tuple[np.ndarray, np.ndarray]:
    """Energies of a layer along one of its axes, `[n, k]`, MeV, and the positions `[k]`."""
    layer = _layer(showers, layer_id)
    count, size = (layer.num_eta, layer.eta_size) if axis == "eta" else (layer.num_phi, layer.phi_size)
    return _block(showers, layer_id).sum(axis=2 if axis == "eta" else 1), _centres(count) * size


def _centres(count: int) -> np.ndarray:
    """Centres of cells in a row, `[count]`, in cells from the middle of the row."""
    return np.arange(count) - (count - 1) / 2


def _cell_centres(grid: CellGrid, offsets: np.ndarray | None = None) -> np.ndarray:
    """Cell centres, `[v, 3]`, mm: distance from the beam line, eta x radius, phi x radius.

    The layers' windows are centred at the `offsets` `[l, 2]` (eta, phi); None: at 0.
    """
    places = np.zeros((len(grid.layers), 2)) if offsets is None else offsets
    blocks = [
        np.stack(
            np.broadcast_arrays(
                layer.radius,
                (_centres(layer.num_eta)[:, None] * layer.eta_size + eta) * layer.radius,
                (_centres(layer.num_phi)[None, :] * layer.phi_size + phi) * layer.radius,
            ),
            axis=-1,
        ).reshape(-1, 3)
        for layer, (eta, phi) in zip(grid.layers, places, strict=True)
    ]
    return np.concatenate(blocks)


def _hottest(showers: Showers) -> tuple[np.ndarray, np.ndarray]:
    """Indices (eta, phi) of the middle layer's hottest cell, `[n]` each."""
    layer = _layer(showers, MIDDLE)
    eta, phi = np.divmod(_block(showers, MIDDLE).reshape(len(showers), -1).argmax(axis=1), layer.num_phi)
    return eta, phi


def _around_hottest(showers: Showers) -> np.ndarray:
    """7 x 7 cells around the hottest one, `[n, 7, 7]`, MeV; 0 outside the window."""
    padded = np.pad(_block(showers, MIDDLE), ((0, 0), (3, 3), (3, 3)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (7, 7), axis=(1, 2))
    return windows[np.arange(len(showers)), *_hottest(showers)]


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Quotient, NaN where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full(len(denominator), np.nan), where=denominator > 0)


def _width(energies: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Energy-weighted standard deviation of the positions, `[n]`."""
    total = energies.sum(axis=1)
    mean = _ratio(energies @ positions, total)
    return np.sqrt(_ratio((energies * (positions - mean[:, None]) ** 2).sum(axis=1), total))


CELL_OBSERVABLES: tuple[Observable, ...] = (
    *(
        Observable(
            f"{name}_energy", partial(layer_energy, layer_id=layer_id), f"Energy in the {name}{what}", "GeV", GeV
        )
        for layer_id, (name, what) in enumerate(
            (("presampler", ""), ("front", " layer"), ("middle", " layer"), ("back", " layer"))
        )
    ),
    Observable("shower_depth", shower_depth, "Shower depth", "mm"),
    Observable("second_lambda_moment", second_lambda_moment, r"$\langle\lambda^2\rangle$", r"mm$^2$"),
    Observable("total_energy", total_energy, "Total energy", "GeV", GeV),
    Observable("w_s_tot", w_s_tot, r"$w_{s\,\mathrm{tot}}$", "strips"),
    Observable("r_phi", r_phi, r"$R_\phi$"),
    Observable("r_eta", r_eta, r"$R_\eta$"),
    Observable("w_eta2", w_eta2, r"$w_{\eta 2}$"),
)
"""Observables of photons in the cells of the ATLAS barrel.

Source: Figs. 5-8 and 10-13 of arXiv:2210.06204.
"""
