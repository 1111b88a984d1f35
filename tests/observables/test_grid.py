"""Observables of grids against slow twins, and against closed forms."""

from dataclasses import replace

import numpy as np
import pytest
from reference import grid as slow

from calogen.errors import GeometryError
from calogen.observables import grid as fast
from calogen.observables.grid import AXIS_ANGLE, GRID_AXES, GRID_OBSERVABLES, HIT_SPECTRUM
from calogen.showers.grid import GridLayer, RegularGrid
from calogen.showers.grids import AHCAL_GRID, ILD_ANGULAR_GRID, ILD_GRID
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


def test_the_angle_agrees_with_its_slow_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of long showers in all directions, where the largest eigenvalue is well above the others."""
    monkeypatch.setattr(fast, "_BLOCK", 5)
    grid = RegularGrid("long", tuple(GridLayer(number, 12, 5, 5.0, 7.0 * number) for number in range(9)))
    rng, images = np.random.default_rng(3), np.zeros((12, 9, 12, 5), np.float32)
    for number, image in enumerate(images[2:]):
        layers = np.arange(9)
        image[layers, np.minimum(number * layers // 9 + 1, 11), rng.integers(1, 4)] = rng.exponential(2.0, 9)
        image[rng.integers(0, 9, 15), rng.integers(0, 12, 15), rng.integers(0, 5, 15)] += 0.15
    images[1, 4, 4, 2] = 1.0
    showers = Showers(grid, np.full(12, 1000.0), images.reshape(12, -1))
    found = fast.axis_angle(showers)
    assert np.isnan(found[:2]).all()
    expected = [slow.axis_angle(grid, row.astype(float)) for row in showers.energies]
    np.testing.assert_allclose(found, expected, 1e-5)
    assert np.ptp(found[2:]) > 0.2


def test_bias_and_spread_of_the_angle_are_those_of_its_text() -> None:
    """Of toy showers as wide as photons': spread inside the layers pulls their axis down."""
    rng, number = np.random.default_rng(4), 3000
    depth = np.array([layer.depth for layer in ILD_ANGULAR_GRID.layers])
    means = []
    for angle in (40.0, 85.0):
        images = np.zeros((4, *ILD_ANGULAR_GRID.shape), np.float32)
        for image in images:
            layer = np.clip(rng.gamma(6.0, 2.2, number), 0, 29).astype(int)
            along = depth[layer] / np.tan(np.deg2rad(angle)) - 120
            x = np.round((along + rng.normal(0, 12, number)) / 5.0 + 29.5).astype(int)
            z = np.round(rng.normal(0, 12, number) / 5.0 + 14.5).astype(int)
            kept = (x >= 0) & (x < 60) & (z >= 0) & (z < 30)
            np.add.at(image, (layer[kept], x[kept], z[kept]), 1.0)
        labels = np.full(4, 50_000.0)
        means.append(AXIS_ANGLE.values(Showers(ILD_ANGULAR_GRID, labels, images.reshape(4, -1))).mean())
    assert 32 < means[0] < 39
    assert 82 < means[1] < 88


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


def test_hits_are_what_the_grid_calls_hits() -> None:
    """0.2 MeV are one particle in silicon, and less than half a one in scintillator."""
    energies = np.zeros((1, AHCAL_GRID.size), np.float32)
    energies[0, :3] = 0.2, 0.25, 1.0
    in_scintillator = Showers(AHCAL_GRID, np.ones(1), energies)
    in_silicon = Showers(replace(AHCAL_GRID, hit_threshold=0.1), np.ones(1), energies)
    assert [fast.num_hits(showers)[0] for showers in (in_scintillator, in_silicon)] == [2, 3]
    assert [fast.visible_energy(showers)[0] for showers in (in_scintillator, in_silicon)] == pytest.approx([1.25, 1.45])


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
