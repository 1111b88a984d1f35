import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calogen.errors import DataFormatError
from calogen.showers.bundled import bundled
from calogen.showers.cells import ATLAS_BARREL_STORED, CellGrid
from calogen.showers.hits import Hits, cell_energies
from calogen.showers.sample import Showers
from calogen.showers.windows import ATLAS_GAN_WINDOW, ATLAS_VAE_WINDOW, in_geometry, restore_window, select_window


def stored(eta: np.ndarray, phi: np.ndarray, seed: int = 1) -> Showers:
    energies = np.random.default_rng(seed).exponential(1.0, (len(eta), 297)).astype(np.float32)
    return Showers(ATLAS_BARREL_STORED, np.full(len(eta), 512.0), energies, {"impact_eta": eta, "impact_phi": phi})


@pytest.mark.parametrize("geometry", [ATLAS_VAE_WINDOW, ATLAS_GAN_WINDOW])
@given(
    points=st.lists(st.tuples(st.floats(0.2, 0.25, exclude_max=True), st.floats(0, 6.2831)), min_size=1, max_size=8),
    seed=st.integers(0, 2**31),
)
def test_window_to_cells_to_window_is_exact(geometry: CellGrid, points: list[tuple[float, float]], seed: int) -> None:
    eta, phi = np.array(points).T
    window = in_geometry(stored(eta, phi, seed), geometry)
    bare = replace(window, conditions={})
    cells = restore_window(bare, ATLAS_BARREL_STORED, window.conditions)
    assert cells.geometry == ATLAS_BARREL_STORED
    assert in_geometry(cells, ATLAS_BARREL_STORED) is cells
    np.testing.assert_array_equal(in_geometry(cells, geometry).energies, window.energies)
    assert (cells.energies > 0).sum() == window.energies.size  # the cells outside are zero
    np.testing.assert_allclose(cells.energies.sum(axis=1), window.energies.sum(axis=1), rtol=1e-5)


@settings(max_examples=30)
@given(st.floats(0.2, 0.25, exclude_max=True), st.floats(0, 6.2831), st.integers(0, 2**31))
def test_the_window_is_what_its_own_grid_gives(eta: float, phi: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    hits = Hits(
        random.integers(0, 4, 300), random.normal(0, 0.03, 300), random.normal(0, 0.05, 300), random.exponential(1, 300)
    )
    direct = cell_energies(hits, ATLAS_VAE_WINDOW, eta, phi)
    through = cell_energies(hits, ATLAS_BARREL_STORED, eta, phi)
    showers = Showers(
        ATLAS_BARREL_STORED,
        np.array([512.0]),
        through[None] + 1e-9,
        {"impact_eta": np.array([eta]), "impact_phi": np.array([phi])},
    )
    np.testing.assert_allclose(select_window(showers, ATLAS_VAE_WINDOW).energies[0], direct, atol=1e-8)


def test_a_window_takes_little_memory_besides_its_energies() -> None:
    """Of 20,000 showers: the window has 22 MB; the places of all its cells in the grid would have 44 MB."""
    few = stored(np.array([0.21]), np.array([1.0]))
    showers = few[np.zeros(20_000, int)]
    tracemalloc.start()
    found = select_window(showers, ATLAS_VAE_WINDOW)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6
    np.testing.assert_array_equal(found.energies, np.repeat(select_window(few, ATLAS_VAE_WINDOW).energies, 20_000, 0))
    tracemalloc.start()
    restored = restore_window(found, ATLAS_BARREL_STORED, showers.conditions)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6
    np.testing.assert_array_equal(select_window(restored, ATLAS_VAE_WINDOW).energies, found.energies)


def test_impact_point_is_needed() -> None:
    showers = Showers(ATLAS_BARREL_STORED, np.array([512.0]), np.ones((1, 297)))
    with pytest.raises(DataFormatError, match="impact_eta and impact_phi"):
        select_window(showers, ATLAS_VAE_WINDOW)


def test_a_window_that_sticks_out_is_refused() -> None:
    window = select_window(stored(np.array([0.21]), np.array([1.0])), ATLAS_GAN_WINDOW)
    with pytest.raises(DataFormatError, match="atlas_gan_window must lie inside atlas_vae_window"):
        restore_window(window, ATLAS_VAE_WINDOW, {"impact_eta": np.array([0.2249]), "impact_phi": np.array([1.0])})
    inside = stored(np.array([0.21]), np.array([1.0]))
    with pytest.raises(DataFormatError, match="must lie inside"):
        select_window(select_window(inside, ATLAS_VAE_WINDOW), ATLAS_BARREL_STORED)


@given(st.floats(0.2, 0.25, exclude_max=True), st.floats(0, 6.2831))
def test_the_gan_window_has_the_cells_of_athena(eta: float, phi: float) -> None:
    """Athena keeps the cells whose centre is near that of the middle layer's impact cell: here by brute force."""
    middle = ATLAS_GAN_WINDOW.layers[2]
    centre_eta = (np.floor(eta / middle.eta_size) + 0.5) * middle.eta_size
    centre_phi = (np.floor(phi / middle.phi_size) + 0.5) * middle.phi_size
    assert ATLAS_GAN_WINDOW.size == 266
    for layer in ATLAS_GAN_WINDOW.layers:
        near_eta = 4 * 0.025 if layer.name == "back" else 3.5 * 0.025
        near_phi = (6 if layer.name in ("presampler", "front") else 3.5) * np.pi / 128
        for size, centre, near, number, first in (
            (layer.eta_size, centre_eta, near_eta, layer.num_eta, layer.first_cell(eta, phi)[0]),
            (layer.phi_size, centre_phi, near_phi, layer.num_phi, layer.first_cell(eta, phi)[1]),
        ):
            cells = np.arange(-100, 500)
            expected = cells[np.abs((cells + 0.5) * size - centre) < near]
            np.testing.assert_array_equal(np.arange(first, first + number), expected)


@pytest.mark.parametrize("sample", ["train", "test"])
def test_layer_shares_of_the_bundled_photons_in_the_gan_window(sample: str) -> None:
    showers = Showers.read(bundled(f"photons_{sample}"), ATLAS_BARREL_STORED)
    window = select_window(showers[showers.incident_energies == 65536.0], ATLAS_GAN_WINDOW)
    shares = 100 * window.layer_energies.mean(axis=0) / 65536.0
    np.testing.assert_array_less(np.abs(shares[:3] - [0.7, 17, 79]), [0.4, 3, 4])
    assert shares[3] < 1.5
    assert abs(shares.sum() - 97.6) < 1
