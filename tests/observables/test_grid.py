"""Observables of grids against slow twins, and against closed forms."""

import numpy as np
import pytest
from reference import grid as slow

from calogen.errors import GeometryError
from calogen.observables import grid as fast
from calogen.observables.grid import AXIS_ANGLE, GRID_AXES, GRID_OBSERVABLES, HIT_SPECTRUM
from calogen.showers.grid import GridLayer, RegularGrid
from calogen.showers.grids import ILD_GRID
from calogen.showers.sample import Showers
from calogen.showers.voxels import PHOTONS_DATASET1

GRID = RegularGrid("small", tuple(GridLayer(number, 4, 3, 5.0, 7.0 * number) for number in range(1, 8)))


def toy(number: int = 12, seed: int = 1) -> Showers:
    rng = np.random.default_rng(seed)
    energies = rng.exponential(0.3, (number, GRID.size)) * (rng.random((number, GRID.size)) < 0.4)
    energies[0] = 0
    energies[1] = 0.09  # no hit
    return Showers(GRID, np.full(number, 1000.0), energies.astype(np.float32))


def test_slow_twins_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty showers and showers without hits are among them; several blocks are needed."""
    monkeypatch.setattr(fast, "_BLOCK", 5)
    showers = toy()
    rows = [row.astype(float) for row in showers.energies]
    np.testing.assert_allclose(fast.visible_energy(showers), [slow.visible_energy(GRID, row) for row in rows], 1e-6)
    np.testing.assert_array_equal(fast.num_hits(showers), [slow.num_hits(GRID, row) for row in rows])
    for axis in GRID_AXES:
        expected = np.array([slow.moments(GRID, row, axis) for row in rows])
        np.testing.assert_allclose(fast.centre(showers, axis), expected[:, 0], 1e-5, 1e-5)
        np.testing.assert_allclose(fast.second_moment(showers, axis), expected[:, 1], 1e-5)
    for number in range(3):
        np.testing.assert_allclose(
            fast.third(showers, number), [slow.third(GRID, row, number) for row in rows], 1e-5, 1e-9
        )
    np.testing.assert_allclose(
        fast.longitudinal_profile(showers), [slow.layer_energies(GRID, row) for row in rows], 1e-5
    )
    rings = fast.radial_profile(showers)
    np.testing.assert_allclose(rings, [slow.ring_energies(GRID, row, rings.shape[1]) for row in rows], 1e-5)
    np.testing.assert_allclose(rings.sum(axis=1), fast.visible_energy(showers), 1e-6)


def test_one_cell_is_where_it_is() -> None:
    """A single hit: its place is the centre, and nothing has a width."""
    energies = np.zeros((1, ILD_GRID.size), np.float32)
    energies[0, ILD_GRID.index(20, 14, 16)] = 2.0  # layer 21, one cell before and one behind the middle
    showers = Showers(ILD_GRID, np.array([20_000.0]), energies)
    centres = [fast.centre(showers, axis)[0] for axis in GRID_AXES]
    np.testing.assert_allclose(centres, [-2.5, 7.5, ILD_GRID.layers[20].depth])
    np.testing.assert_allclose([fast.second_moment(showers, axis)[0] for axis in GRID_AXES], 0.0)
    assert [fast.third(showers, number)[0] for number in range(3)] == [0, 0, 1]
    assert fast.radial_profile(showers)[0].nonzero()[0].tolist() == [1]  # at 7.9 mm, in cells of 5 mm


@pytest.mark.parametrize(("rows", "columns"), [(1, 0), (0, 0), (0, 1), (2, 0)])
def test_hits_on_a_line_have_its_angle(rows: int, columns: int) -> None:
    """One cell further along x or z in each layer: tan(angle) = thickness of a layer / cells."""
    grid = RegularGrid("line", tuple(GridLayer(number, 20, 20, 5.0, 7.0 * number) for number in range(8)))
    energies = np.zeros((3, grid.size), np.float32)
    for number in range(8):
        energies[0, grid.index(number, 2 + rows * number, 3 + columns * number)] = 1.0 + number
    energies[1, 5] = 1.0
    angles = AXIS_ANGLE.values(Showers(grid, np.full(3, 1000.0), energies))
    assert angles[0] == pytest.approx(np.rad2deg(np.arctan2(7.0, 5.0 * (rows + columns))), abs=1e-4)
    assert np.isnan(angles[1:]).all()


def test_the_spectrum_shows_cells_below_the_threshold_too() -> None:
    energies = np.zeros((2, GRID.size), np.float32)
    energies[0, :3] = 0.05, 0.1, 3.0
    showers = Showers(GRID, np.full(2, 1000.0), energies)
    np.testing.assert_allclose(HIT_SPECTRUM.values(showers), [0.05, 0.1, 3.0])
    assert fast.num_hits(showers).tolist() == [2, 0]
    np.testing.assert_allclose(fast.visible_energy(showers), [3.1, 0.0], rtol=1e-6)


def test_profiles_have_an_edge_around_each_bin() -> None:
    profiles = fast.profiles(toy())
    assert profiles["longitudinal"].edges.tolist() == [number + 0.5 for number in range(8)]
    assert len(profiles["radial"].edges) == len(profiles["radial"].mean) + 1
    assert fast.radial_edges(ILD_GRID)[[0, 1, -1]].tolist() == [0.0, 5.0, 105.0]


def test_observables_are_named_once_and_need_a_grid() -> None:
    assert len({item.name for item in GRID_OBSERVABLES}) == 11
    voxels = Showers(PHOTONS_DATASET1, np.array([1000.0]), np.ones((1, 368), np.float32))
    for item in (*GRID_OBSERVABLES, HIT_SPECTRUM):
        assert len(item.values(toy())) >= 12
        with pytest.raises(GeometryError, match="RegularGrid"):
            item.values(voxels)
