import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from conftest import TINY_VOXELS, make_showers
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import shapes as slow
from toy_showers import scattered_showers

from calogen.errors import GeometryError
from calogen.observables import challenge, voxels
from calogen.observables.cells import energy_fraction
from calogen.observables.shapes import ALL_SHAPES, BY_LAYER, compute_shapes, list_shapes
from calogen.showers.sample import Showers
from calogen.showers.voxels import PHOTONS_DATASET1, PIONS_DATASET1, VoxelGeometry, VoxelLayer
from calogen.showers.windows import ATLAS_VAE_WINDOW

NINE = VoxelGeometry("nine", tuple(VoxelLayer(number, (0.0, 2.0, 6.0, 10.0), 2) for number in range(9)))
ONE = VoxelGeometry("one", (VoxelLayer(4, (1.0, 3.0), 2),))
DISK = VoxelGeometry("disk", (VoxelLayer(0, (0.0, 4.0), 3), VoxelLayer(1, (0.0, 2.0, 4.0, 10.0), 1)))


def shower(geometry, filled):
    """One shower with the energies given by index."""
    energies = np.zeros((1, geometry.size))
    for index, energy in filled.items():
        energies[0, index] = energy
    return Showers(geometry, np.array([1000.0]), energies)


def shapes_of(geometry, filled, **options):
    """name -> value."""
    found = compute_shapes(shower(geometry, filled), **options)
    return dict(zip(found.names, found.values[0].tolist(), strict=True))


def compare(showers, min_energy, depths=None):
    found = compute_shapes(showers, min_energy, depths)
    assert found.values.dtype == np.float64
    np.testing.assert_array_equal(found.incident_energies, showers.incident_energies)
    expected = [slow.shapes(showers.geometry, row, min_energy, depths) for row in showers.energies]
    for name in found.names:
        np.testing.assert_allclose(found[name], [row[name] for row in expected], rtol=1e-9, atol=1e-7, err_msg=name)


def with_empty_ones(geometry):
    """20 showers, among them an empty one, one with an empty layer, one of a single voxel, sparse ones."""
    showers = make_showers(geometry, 20, 4)
    energies = showers.energies.astype(np.float64)
    energies[0] = 0
    energies[1, geometry.slices[-1]] = 0
    energies[2], energies[2, -1] = 0, 50.0
    energies[3:9] *= np.random.default_rng(2).random((6, geometry.size)) < 0.1
    return replace(showers, energies=energies)


@pytest.mark.parametrize("geometry", [PHOTONS_DATASET1, PIONS_DATASET1, TINY_VOXELS, NINE, ONE, DISK])
@pytest.mark.parametrize("min_energy", [0.0, 1.0, 200.0])
def test_shapes_agree_with_the_slow_twin(geometry, min_energy):
    compare(with_empty_ones(geometry), min_energy)


def test_depths_agree_with_the_slow_twin():
    compare(with_empty_ones(TINY_VOXELS), 1.0, (12.5, 300.25))


@given(st.integers(0, 2**32), st.sampled_from([1e-12, 1e-3, 1.0, 1e6]))
@settings(max_examples=30, deadline=None)
def test_shapes_of_any_size_agree_with_the_slow_twin(seed, scale):
    compare(scattered_showers(NINE, 5, seed, scale, decades=6), 0.0)


def test_one_voxel():
    """The second layer, alpha 2, the outer ring, 3 to 9 mm."""
    found = shapes_of(TINY_VOXELS, {TINY_VOXELS.index(1, 2, 1): 7.0})
    assert found.pop("containment_radius_1") == pytest.approx(3 + 0.9 * 6)
    undefined = [found.pop(name) for name in ("inner_fraction_0", "containment_radius_0")]
    assert np.isnan(undefined).all()
    assert found == {
        "longitudinal_centre": 1.0,
        "longitudinal_width": 0.0,
        "lateral_moment": 36.0,
        "num_hits": 1.0,
        "maximum_fraction": 1.0,
        "energy_fraction_0": 0.0,
        "energy_fraction_1": 1.0,
        "inner_fraction_1": 0.0,
    }


def test_two_voxels():
    """3 MeV at 2.5 mm in the first layer, 1 MeV at 1.5 mm in the second."""
    filled = {TINY_VOXELS.index(0, 0, 0): 3.0, TINY_VOXELS.index(1, 3, 0): 1.0}
    found = shapes_of(TINY_VOXELS, filled)
    assert found["longitudinal_centre"] == 0.25
    assert found["longitudinal_width"] == pytest.approx(np.sqrt(3) / 4)
    assert found["lateral_moment"] == pytest.approx((3 * 2.5**2 + 1.5**2) / 4)
    assert (found["num_hits"], found["maximum_fraction"]) == (2, 0.75)
    assert (found["energy_fraction_0"], found["energy_fraction_1"]) == (0.75, 0.25)
    assert (found["inner_fraction_0"], found["inner_fraction_1"]) == (1, 1)
    assert found["containment_radius_0"] == pytest.approx(4.5)
    found = shapes_of(TINY_VOXELS, filled, depths=(10.0, 30.0))
    assert found["longitudinal_centre"] == 15.0
    assert found["longitudinal_width"] == pytest.approx(20 * np.sqrt(3) / 4)


def test_radius_that_holds_nine_tenths():
    """Rings of 6, 2, 2 MeV: 8 MeV within 4 mm, and half of the last ring."""
    found = shapes_of(DISK, {3: 6.0, 4: 2.0, 5: 2.0})
    assert found["containment_radius_1"] == pytest.approx(7)
    assert found["inner_fraction_1"] == pytest.approx(0.6)
    assert shapes_of(DISK, {3: 6.0, 5: 4.0})["containment_radius_1"] == pytest.approx(4 + 0.75 * 6)
    assert "inner_fraction_0" not in found, "one ring tells nothing"


def test_nothing_is_undefined():
    found = shapes_of(NINE, {0: 0.5}, min_energy=1.0)
    assert found.pop("num_hits") == 0
    assert np.isnan(list(found.values())).all()


def test_thirds_of_the_layers():
    found = shapes_of(NINE, {NINE.index(layer, 0, 0): layer + 1.0 for layer in range(9)})
    shares = [found[name] for name in ("first_third", "second_third", "last_third")]
    assert shares == pytest.approx([6 / 45, 15 / 45, 24 / 45])


def test_swapped_layers_show_along_the_flight_only():
    """The order of the layers turned round: what lies across stays, the centre is mirrored."""
    showers = make_showers(NINE, 50)
    turned = showers.energies.reshape(-1, 9, 6)[:, ::-1].reshape(-1, 54)
    found, other = compute_shapes(showers), compute_shapes(replace(showers, energies=turned))
    for name in ("lateral_moment", "num_hits", "maximum_fraction", "longitudinal_width"):
        np.testing.assert_allclose(other[name], found[name], rtol=1e-10, err_msg=name)
    np.testing.assert_allclose(other["longitudinal_centre"], 8 - found["longitudinal_centre"])
    for quantity in BY_LAYER:
        np.testing.assert_allclose(other.of(quantity), found.of(quantity)[:, ::-1], rtol=1e-10)
    np.testing.assert_allclose(other["first_third"], found["last_third"])


def test_shapes_agree_with_what_is_known_already():
    showers = with_empty_ones(PIONS_DATASET1)
    found, features = compute_shapes(showers, 0.0), challenge.compute_features(showers, 0.0)
    moment = np.zeros(len(showers))
    for layer in PIONS_DATASET1.layers:
        fraction = found[f"energy_fraction_{layer.id}"]
        np.testing.assert_allclose(fraction, energy_fraction(showers, layer.id))
        centre, width = (function(showers, layer.id) for function in (voxels.radial_centroid, voxels.radial_width))
        moment += np.nan_to_num(fraction * (centre**2 + width**2))
    np.testing.assert_allclose(found["lateral_moment"][1:], moment[1:], rtol=1e-6)
    sizes = [layer.size for layer in PIONS_DATASET1.layers]
    np.testing.assert_allclose(found["num_hits"], (1 - features.of("sparsity")) @ sizes)


def test_list_of_shapes():
    found = list_shapes(PHOTONS_DATASET1)
    assert len(found) == 5 + 3 * 5
    assert len(list_shapes(NINE)) == 5 + 3 + 3 * 9
    assert [item.name for item in list_shapes(ONE)] == ["lateral_moment", "num_hits", "maximum_fraction"]
    assert {item.quantity for item in (*found, *list_shapes(NINE))} == ALL_SHAPES
    assert not ALL_SHAPES & {item.quantity for item in challenge.list_features(PHOTONS_DATASET1)}


def test_shapes_do_not_depend_on_the_blocks(monkeypatch):
    showers = with_empty_ones(PHOTONS_DATASET1)
    whole = compute_shapes(showers).values
    for size in (1, 7 * 368):
        monkeypatch.setattr(challenge, "_BLOCK_VALUES", size)
        np.testing.assert_allclose(compute_shapes(showers).values, whole, rtol=1e-12)


def test_memory_is_that_of_a_block():
    showers = make_showers(PHOTONS_DATASET1, 4000)
    tracemalloc.start()
    found = compute_shapes(showers)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak - found.values.nbytes < showers.energies.nbytes / 2


def test_refuses_what_has_no_voxels_or_depths():
    cells = Showers(ATLAS_VAE_WINDOW, np.array([1e3]), np.ones((1, ATLAS_VAE_WINDOW.size)))
    with pytest.raises(GeometryError, match="need voxels"):
        compute_shapes(cells)
    for depths in ((1.0,), (1.0, np.nan), ((1.0, 2.0),)):
        with pytest.raises(GeometryError, match="depths must be 2 finite numbers"):
            compute_shapes(make_showers(TINY_VOXELS, 2), depths=depths)
