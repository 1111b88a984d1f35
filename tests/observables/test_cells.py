from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import observables as slow

from calogen.errors import GeometryError
from calogen.observables import cells as observables
from calogen.showers.cells import ATLAS_BARREL_STORED, CellGrid
from calogen.showers.sample import Showers
from calogen.showers.voxels import PHOTONS_DATASET1
from calogen.showers.windows import ATLAS_GAN_WINDOW, ATLAS_VAE_WINDOW, restore_window, select_window

SHAPES = ("shower_depth", "second_lambda_moment", "r_eta", "r_phi", "w_eta2", "w_s_tot")


def random_showers(grid, n=40, seed=0):
    """Showers around the centre, with empty cells, empty layers and hot cells at the windows' edges."""
    rng = np.random.default_rng(seed)
    energies = rng.gamma(0.3, 50.0, (n, grid.size)) * (rng.random((n, grid.size)) < rng.random((n, 1)))
    for layer, part in zip(grid.layers, grid.slices, strict=True):
        energies[rng.random(n) < 0.15, part] = 0
        energies[np.arange(n), part.start + rng.integers(layer.size, size=n)] *= 30
    return Showers(grid, np.full(n, 1e4), energies.astype(np.float32))


def shower(grid=ATLAS_VAE_WINDOW, **cells):
    """One shower from `name=[(eta, phi, energy), ...]`."""
    energies = np.zeros((1, grid.size))
    names = [layer.name for layer in grid.layers]
    for name, entries in cells.items():
        for eta, phi, energy in entries:
            energies[0, grid.index(names.index(name), eta, phi)] = energy
    return Showers(grid, np.array([1000.0]), energies)


@pytest.mark.parametrize("grid", [ATLAS_VAE_WINDOW, ATLAS_BARREL_STORED], ids=lambda grid: str(grid.size))
@pytest.mark.parametrize("name", SHAPES)
def test_agrees_with_the_slow_twin(name, grid):
    showers = random_showers(grid)
    fast = getattr(observables, name)(showers)
    twin = [getattr(slow, name)(grid, energies) for energies in showers.energies]
    np.testing.assert_allclose(fast, twin, rtol=1e-7, atol=1e-9)


def test_a_single_cell_has_no_width():
    one = shower(front=[(28, 1, 5.0)], middle=[(3, 3, 10.0)])
    assert observables.r_eta(one) == observables.r_phi(one) == 1
    assert observables.w_eta2(one) == observables.w_s_tot(one) == 0
    assert observables.width(one, 2, "eta") == observables.centroid(one, 2, "phi") == 0


def test_ratios_around_an_off_centre_cell():
    """The hottest cell is the window's corner: what lies outside counts 0, and so does what is 3 cells away."""
    corner = shower(middle=[(0, 0, 6.0), (1, 1, 2.0), (2, 0, 1.0), (0, 3, 3.0), (4, 4, 5.0)])
    assert observables.r_eta(corner) == pytest.approx(11 / 12)
    assert observables.r_phi(corner) == pytest.approx(8 / 11)
    assert observables.w_eta2(corner) == pytest.approx(0.025 * np.sqrt(2 / 8 - (2 / 8) ** 2))


def test_strip_width():
    """Two strips k apart: sqrt(E2 k^2 / (E1 + E2)); the weaker second row and strips outside the 20 do not count."""
    two = shower(front=[(28, 1, 3.0), (32, 0, 1.0), (30, 2, 0.5), (18, 1, 0.0), (38, 1, 9.0)], middle=[(3, 3, 1.0)])
    assert observables.w_s_tot(two) == pytest.approx(np.sqrt(1.0 * 16 / 4.0))
    last = shower(front=[(28, 1, 3.0), (18, 1, 1.0)], middle=[(3, 3, 1.0)])
    assert observables.w_s_tot(last) == pytest.approx(np.sqrt(100 / 4))
    moved = shower(front=[(36, 1, 3.0), (46, 1, 1.0), (45, 1, 1.0)], middle=[(4, 3, 1.0)])
    assert observables.w_s_tot(moved) == pytest.approx(np.sqrt(81 / 4))


def test_depth_of_one_layer_is_the_layers_depth():
    for layer in ATLAS_VAE_WINDOW.layers:
        assert observables.shower_depth(shower(**{layer.name: [(1, 1, 7.0)]})) == pytest.approx(layer.depth)


def test_lambda_moment_along_the_axis():
    """Energy on the axis only: the variance of the layers' radii."""
    middle, back = ATLAS_VAE_WINDOW.layers[2].radius, ATLAS_VAE_WINDOW.layers[3].radius
    two = shower(middle=[(3, 3, 3.0)], back=[(2, 3, 1.0)])
    assert observables.second_lambda_moment(two) == pytest.approx((back - middle) ** 2 * 3 / 16)


def test_lambda_moment_ignores_the_plane_across():
    """One layer: the covariance has no depth, so that the axis points from the origin and the moment is about 0."""
    flat = shower(middle=[(3, 3, 9.0), (4, 3, 1.0), (2, 3, 1.0), (3, 4, 1.0), (3, 2, 1.0)])
    assert observables.second_lambda_moment(flat) == pytest.approx(0, abs=1e-6)


def test_lambda_moments_in_blocks_are_those_of_all_together(monkeypatch):
    showers = random_showers(ATLAS_VAE_WINDOW, 20)
    expected = observables.second_lambda_moment(showers)
    monkeypatch.setattr(observables, "_SHOWERS", 7)
    moment = observables._lambda_moment
    sizes = []
    monkeypatch.setattr(observables, "_lambda_moment", lambda *args: sizes.append(len(args[0])) or moment(*args))
    np.testing.assert_allclose(observables.second_lambda_moment(showers), expected, rtol=1e-12)
    assert sizes == [20, 7, 7, 6]


def test_undefined_is_nan():
    nothing = shower()
    for name in SHAPES:
        assert np.isnan(getattr(observables, name)(nothing)), name
    only_front = shower(front=[(28, 1, 1.0)])
    assert np.isnan(observables.r_eta(only_front))
    assert observables.w_s_tot(only_front) == 0 or np.isnan(observables.w_s_tot(only_front))


@given(st.integers(0, 2**31), st.floats(1e-3, 1e3))
@settings(max_examples=15, deadline=None)
def test_shapes_do_not_depend_on_the_energy_scale(seed, factor):
    showers = random_showers(ATLAS_VAE_WINDOW, 5, seed)
    showers = replace(showers, energies=showers.energies.astype(np.float64))
    scaled = replace(showers, energies=showers.energies * factor, incident_energies=showers.incident_energies * factor)
    for name in SHAPES:
        function = getattr(observables, name)
        np.testing.assert_allclose(function(scaled), function(showers), rtol=1e-6, atol=1e-9)


def test_energies_add_up():
    showers = random_showers(ATLAS_VAE_WINDOW)
    layers = [observables.layer_energy(showers, layer.id) for layer in ATLAS_VAE_WINDOW.layers]
    np.testing.assert_allclose(np.sum(layers, axis=0), observables.total_energy(showers))
    np.testing.assert_allclose(observables.response(showers) * 1e4, observables.total_energy(showers))
    shares = [observables.energy_fraction(showers, layer.id) for layer in ATLAS_VAE_WINDOW.layers]
    np.testing.assert_allclose(np.sum(shares, axis=0), 1)


def test_centroid_and_width():
    two = shower(middle=[(4, 1, 3.0), (2, 1, 1.0)])
    assert observables.centroid(two, 2, "eta") == pytest.approx(0.0125)
    assert observables.centroid(two, 2, "eta", np.array([0.01])) == pytest.approx(0.0025)
    assert observables.centroid(two, 2, "phi") == pytest.approx(-2 * 2 * np.pi / 256)
    assert observables.width(two, 2, "eta") == pytest.approx(0.025 * np.sqrt(0.75))
    assert observables.width(two, 2, "phi") == 0


@pytest.mark.parametrize("axis", ["eta", "phi"])
def test_average_profile(axis):
    showers = random_showers(ATLAS_VAE_WINDOW)
    for layer in ATLAS_VAE_WINDOW.layers:
        profile = observables.average_profile(showers, layer.id, axis)
        assert len(profile.edges) == len(profile.mean) + 1
        assert profile.edges[0] == -profile.edges[-1]
        assert profile.mean.sum() == pytest.approx(observables.layer_energy(showers, layer.id).mean())
        cells = observables.average_cells(showers, layer.id)
        np.testing.assert_allclose(cells.sum(axis=1 if axis == "eta" else 0), profile.mean)


def test_refuses_voxels():
    voxels = Showers(PHOTONS_DATASET1, np.array([1e3]), np.ones((1, PHOTONS_DATASET1.size)))
    with pytest.raises(GeometryError, match="CellGrid"):
        observables.r_eta(voxels)


def one_cell(grid: CellGrid, layer: int, place: tuple[int, int], eta: float, phi: float) -> Showers:
    """A shower with energy in one cell, `place` of its layer's window around an impact point."""
    energies = np.zeros((1, grid.size), np.float32)
    energies[0, grid.slices[layer].start + place[0] * grid.layers[layer].num_phi + place[1]] = 1.0
    return Showers(grid, np.array([2.0]), energies, {"impact_eta": np.array([eta]), "impact_phi": np.array([phi])})


@given(
    grid=st.sampled_from([ATLAS_VAE_WINDOW, ATLAS_GAN_WINDOW, ATLAS_BARREL_STORED]),
    eta=st.floats(0.2, 0.25, exclude_max=True),
    phi=st.floats(0, 6.2831),
    layer=st.integers(0, 3),
    data=st.data(),
)
def test_centres_from_the_impact_cell_are_where_the_cells_are(
    grid: CellGrid, eta: float, phi: float, layer: int, data: st.DataObject
) -> None:
    window, middle = grid.layers[layer], grid.layers[2]
    place = tuple(data.draw(st.integers(0, count - 1)) for count in window.shape)
    shower = one_cell(grid, layer, (place[0], place[1]), eta, phi)
    first = [int(index) for index in window.first_cell(eta, phi)]
    for axis, point, at, start in zip(observables.AXES, (eta, phi), place, first, strict=True):
        size, cell = (getattr(item, f"{axis}_size") for item in (window, middle))
        expected = (start + at + 0.5) * size - (np.floor(point / cell) + 0.5) * cell
        assert observables.centre_from_impact_cell(shower, window.id, axis) == pytest.approx(expected, abs=1e-9)
        found = observables.displacement(shower, axis)
        assert found == pytest.approx(point - (np.floor(point / cell) + 0.5) * cell, abs=1e-9)
        assert abs(found) <= cell / 2 + 1e-12


def test_the_placed_lambda_moment_does_not_depend_on_the_window() -> None:
    """The same cells in three windows: only with the windows at their places is their moment one number."""
    rng = np.random.default_rng(5)
    impact = {"impact_eta": rng.uniform(0.2, 0.25, 40), "impact_phi": rng.uniform(0, 6.28, 40)}
    whole = Showers(ATLAS_BARREL_STORED, np.full(40, 1024.0), np.zeros((40, 297), np.float32), impact)
    window = select_window(whole, ATLAS_GAN_WINDOW)
    inner = replace(window, energies=rng.exponential(1, (40, 266)).astype(np.float32))
    stored = restore_window(inner, ATLAS_BARREL_STORED, impact)
    placed = [observables.second_lambda_moment(item, placed=True) for item in (inner, stored)]
    np.testing.assert_allclose(*placed, rtol=1e-6)
    plain = [observables.second_lambda_moment(item) for item in (inner, stored)]
    assert np.abs(plain[0] / plain[1] - 1).max() > 1e-3


def test_the_placed_lambda_moment_agrees_with_a_slow_twin() -> None:
    rng = np.random.default_rng(6)
    impact = {"impact_eta": rng.uniform(0.2, 0.25, 8), "impact_phi": rng.uniform(0, 6.28, 8)}
    energies = rng.exponential(1, (8, 266)).astype(np.float32)
    showers = Showers(ATLAS_GAN_WINDOW, np.full(8, 1024.0), energies, impact)
    expected = []
    for row in range(8):
        cells = []
        middle = ATLAS_GAN_WINDOW.layers[2]
        point = (float(impact["impact_eta"][row]), float(impact["impact_phi"][row]))
        origin = [(np.floor(p / s) + 0.5) * s for p, s in zip(point, (middle.eta_size, middle.phi_size), strict=True)]
        for layer in ATLAS_GAN_WINDOW.layers:
            first = layer.first_cell(*point)
            for i, j in np.ndindex(*layer.shape):
                eta = (first[0] + i + 0.5) * layer.eta_size - origin[0]
                phi = (first[1] + j + 0.5) * layer.phi_size - origin[1]
                cells.append((layer.radius, eta * layer.radius, phi * layer.radius))
        expected.append(float(observables._lambda_moment(energies[row : row + 1], np.array(cells))[0]))
    np.testing.assert_allclose(observables.second_lambda_moment(showers, placed=True), expected, rtol=1e-6)
