from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import voxelisation as slow

from calogen.errors import DataFormatError
from calogen.showers.cells import ATLAS_BARREL_STORED
from calogen.showers.hits import Hits, cell_energies, mean_depths, voxelise
from calogen.showers.voxels import PHOTONS_DATASET1, PIONS_DATASET1, VoxelGeometry
from calogen.simulation.detectors import ATLAS_BARREL


def random_hits(seed: int, count: int, spread: float) -> Hits:
    random = np.random.default_rng(seed)
    layer_ids = random.choice([0, 1, 2, 3, 12, 13, 14], count)
    return Hits(
        layer_ids, random.normal(0, spread, count), random.normal(0, spread, count), random.exponential(1, count)
    )


@pytest.mark.parametrize("geometry", [PHOTONS_DATASET1, PIONS_DATASET1], ids=lambda geometry: geometry.name)
@pytest.mark.parametrize("seed", range(3))
def test_voxels_equal_the_slow_twin(geometry: VoxelGeometry, seed: int) -> None:
    hits = random_hits(seed, 60, 0.03)
    expected = slow.voxels(hits, geometry, ATLAS_BARREL.radii)
    np.testing.assert_allclose(voxelise(hits, geometry, ATLAS_BARREL.radii), expected, rtol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_cells_equal_the_slow_twin(seed: int) -> None:
    hits = random_hits(seed, 60, 0.03)
    eta, phi = np.random.default_rng(seed).uniform((0.2, 0), (0.25, 6.28)).tolist()
    expected = slow.cells(hits, ATLAS_BARREL_STORED, eta, phi)
    np.testing.assert_allclose(cell_energies(hits, ATLAS_BARREL_STORED, eta, phi), expected, rtol=1e-12)


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.floats(0.2, 0.25, exclude_max=True), st.floats(0, 6.28))
def test_energy_near_the_track_is_kept(seed: int, eta: float, phi: float) -> None:
    hits = random_hits(seed, 200, 0.002)  # within 20 mm: inside every window
    total = hits.energies.sum()
    assert voxelise(hits, PIONS_DATASET1, ATLAS_BARREL.radii).sum() == pytest.approx(total, rel=1e-12)
    electromagnetic = hits.energies[hits.layer_ids < 4].sum()
    assert cell_energies(hits, ATLAS_BARREL_STORED, eta, phi).sum() == pytest.approx(electromagnetic, rel=1e-12)


def test_angles_start_at_minus_pi() -> None:
    back = Hits(np.array([1]), np.array([-1e-3]), np.array([-1e-9]), np.array([5.0]))
    front = Hits(np.array([1]), np.array([1e-3]), np.array([1e-9]), np.array([5.0]))
    radii = ATLAS_BARREL.radii
    assert PHOTONS_DATASET1.unravel(int(voxelise(back, PHOTONS_DATASET1, radii).argmax()))[1] == 0
    assert PHOTONS_DATASET1.unravel(int(voxelise(front, PHOTONS_DATASET1, radii).argmax()))[1] == 5


def test_no_hits_give_an_empty_shower() -> None:
    nothing = Hits(*(np.empty(0) for _ in range(4)))
    assert not voxelise(nothing, PHOTONS_DATASET1, ATLAS_BARREL.radii).any()
    assert not cell_energies(nothing, ATLAS_BARREL_STORED, 0.22, 1.0).any()


def test_mean_depths_are_weighted_with_the_energy() -> None:
    hits = Hits(
        np.array([1, 1, 2]), np.zeros(3), np.zeros(3), np.array([3.0, 1.0, 2.0]), depths=np.array([0.2, 0.6, 0.5])
    )
    np.testing.assert_allclose(mean_depths(hits, (1, 2, 3)), [0.3, 0.5, np.nan])
    with pytest.raises(DataFormatError, match="hits with depths"):
        mean_depths(replace(hits, depths=None), (1,))
