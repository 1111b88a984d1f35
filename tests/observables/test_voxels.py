from dataclasses import replace

import numpy as np
import pytest
from conftest import TINY_VOXELS, make_showers
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import voxels as slow

from calogen.errors import GeometryError
from calogen.observables import voxels
from calogen.showers.sample import Showers
from calogen.showers.voxels import PHOTONS_DATASET1, PIONS_DATASET1, VoxelGeometry, VoxelLayer
from calogen.showers.windows import ATLAS_VAE_WINDOW

AXES = ("eta", "phi")
LAYER = VoxelLayer(2, (0.0, 2.0, 5.0, 10.0), 8)
RING = VoxelGeometry("ring", (VoxelLayer(1, (0.0, 10.0, 30.0), 1), LAYER))


def showers_of(geometry, *filled):
    """A shower for each `{(position of the layer, alpha, r): energy}`."""
    energies = np.zeros((len(filled), geometry.size))
    for row, entries in zip(energies, filled, strict=True):
        for place, energy in entries.items():
            row[geometry.index(*place)] = energy
    return Showers(geometry, np.full(len(filled), 1000.0), energies)


def both(showers, layer_id=2):
    """Centres and widths along eta and phi, `[n, 4]`."""
    functions = (voxels.voxel_centroid, voxels.voxel_width)
    return np.stack([function(showers, layer_id, axis) for function in functions for axis in AXES], axis=1)


@pytest.mark.parametrize("geometry", [PHOTONS_DATASET1, PIONS_DATASET1, TINY_VOXELS], ids=lambda item: item.name)
def test_agrees_with_the_slow_twin(geometry):
    """Empty layers, single voxels and widths over six orders of magnitude included."""
    showers = make_showers(geometry, 12, 3)
    showers.energies[0] = 0
    showers.energies[1:4] *= np.random.default_rng(1).random((3, geometry.size)) < 0.02
    for layer in geometry.layers:
        found = {name: getattr(voxels, name)(showers, layer.id) for name in ("radial_centroid", "radial_width")}
        for axis in AXES if layer.num_alpha > 1 else ():
            found |= {
                (name, axis): getattr(voxels, name)(showers, layer.id, axis)
                for name in ("voxel_centroid", "voxel_width")
            }
        found["sparsity"] = voxels.sparsity(showers, layer.id)
        for key, values in found.items():
            name, *axis = key if isinstance(key, tuple) else (key,)
            twin = [getattr(slow, name)(geometry, row, layer.id, *axis) for row in showers.energies]
            np.testing.assert_allclose(values, twin, rtol=1e-10, atol=1e-10, err_msg=f"{key} {layer.id}")
            assert values.shape == (12,)
            assert values.dtype == np.float64


@given(st.integers(0, 7), st.integers(0, 2), st.floats(1e-6, 1e6))
@settings(max_examples=50, deadline=None)
def test_a_single_voxel_is_at_its_middle_and_has_no_width(alpha, r, energy):
    one = showers_of(RING, {(1, alpha, r): energy})
    radius, angle = (1.0, 3.5, 7.5)[r], -np.pi + (alpha + 0.5) * np.pi / 4
    np.testing.assert_allclose(both(one)[0], [radius * np.cos(angle), radius * np.sin(angle), 0, 0], atol=1e-10)
    np.testing.assert_allclose(voxels.radial_centroid(one, 2), radius)
    np.testing.assert_allclose(voxels.radial_width(one, 2), 0, atol=1e-10)
    assert voxels.sparsity(one, 2) == 23 / 24


@given(st.integers(0, 7), st.integers(0, 2), st.floats(1e-3, 1e3))
@settings(max_examples=50, deadline=None)
def test_opposite_voxels_are_centred_on_the_track(alpha, r, energy):
    two = showers_of(RING, {(1, alpha, r): energy, (1, (alpha + 4) % 8, r): energy})
    radius, angle = (1.0, 3.5, 7.5)[r], -np.pi + (alpha + 0.5) * np.pi / 4
    expected = [0, 0, radius * abs(np.cos(angle)), radius * abs(np.sin(angle))]
    np.testing.assert_allclose(both(two)[0], expected, atol=1e-10)
    np.testing.assert_allclose(voxels.radial_width(two, 2), 0, atol=1e-10)


@given(st.integers(0, 2**31), st.integers(1, 7))
@settings(max_examples=25, deadline=None)
def test_moving_the_voxels_by_an_alpha_bin_turns_the_shower(seed, steps):
    """Centres turn by the bin's angle; the sum of the squared widths and all that is radial stay."""
    showers = make_showers(RING, 5, seed)
    showers = replace(showers, energies=showers.energies.astype(np.float64) + 1e-3)
    images = showers.energies[:, RING.slices[1]].reshape(-1, LAYER.num_alpha, LAYER.num_r)
    energies = showers.energies.copy()
    energies[:, RING.slices[1]] = np.roll(images, steps, axis=1).reshape(5, -1)
    turned = replace(showers, energies=energies)
    before, after = both(showers), both(turned)
    angle = steps * np.pi / 4
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    np.testing.assert_allclose(after[:, :2], before[:, :2] @ turn.T, atol=1e-9)
    np.testing.assert_allclose((after[:, 2:] ** 2).sum(axis=1), (before[:, 2:] ** 2).sum(axis=1), rtol=1e-9)
    for function in (voxels.radial_centroid, voxels.radial_width, voxels.sparsity):
        np.testing.assert_allclose(function(turned, 2), function(showers, 2), rtol=1e-12)


@given(st.integers(0, 2**31), st.floats(1e-3, 1e3))
@settings(max_examples=15, deadline=None)
def test_shapes_do_not_depend_on_the_energy_scale(seed, factor):
    showers = make_showers(RING, 5, seed)
    showers = replace(showers, energies=showers.energies.astype(np.float64))
    np.testing.assert_allclose(both(replace(showers, energies=showers.energies * factor)), both(showers), rtol=1e-9)


def test_r_runs_fastest_and_alpha_begins_at_minus_pi():
    """The first voxels of layer 1 lie on the side of negative eta, just below it in phi, at growing radii."""
    firsts = showers_of(PHOTONS_DATASET1, *({(1, 0, r): 1.0} for r in range(16)))
    assert np.flatnonzero(firsts.energies[15]).tolist() == [8 + 15]
    eta, phi = (voxels.voxel_centroid(firsts, 1, axis) for axis in AXES)
    assert eta[0] == pytest.approx(-np.cos(np.pi / 10))
    assert phi[0] == pytest.approx(-np.sin(np.pi / 10))
    np.testing.assert_allclose(eta / eta[0], voxels.radial_centroid(firsts, 1))


def test_many_showers_are_worked_on_in_blocks(monkeypatch):
    showers = make_showers(PHOTONS_DATASET1, 50)
    whole = both(showers)
    monkeypatch.setattr(voxels, "_BLOCK", 7)
    np.testing.assert_allclose(both(showers), whole, rtol=1e-9)


def test_without_energy_in_the_layer_undefined():
    nothing = showers_of(RING, {(0, 0, 0): 1.0})
    assert np.isnan(both(nothing)).all()
    assert np.isnan([voxels.radial_centroid(nothing, 2), voxels.radial_width(nothing, 2)]).all()
    assert voxels.sparsity(nothing, 2) == 1
    assert voxels.radial_centroid(nothing, 1) == 5


def test_voxel_energies_are_all_of_them_without_a_copy():
    showers = make_showers(PHOTONS_DATASET1, 5)
    found = voxels.voxel_energies(showers)
    np.testing.assert_array_equal(found, showers.energies.ravel())
    assert np.shares_memory(found, showers.energies)


def test_refuses_what_has_no_such_position():
    cells = Showers(ATLAS_VAE_WINDOW, np.array([1e3]), np.ones((1, ATLAS_VAE_WINDOW.size)))
    for function in (voxels.voxel_energies, lambda item: voxels.voxel_centroid(item, 2, "eta")):
        with pytest.raises(GeometryError, match="VoxelGeometry"):
            function(cells)
    showers = make_showers(RING, 2)
    with pytest.raises(GeometryError, match="several alpha bins .* Received: layer 1 of ring with one"):
        voxels.voxel_width(showers, 1, "phi")
    with pytest.raises(GeometryError, match=r"ring has the layers \(1, 2\). Received: layer 12"):
        voxels.radial_width(showers, 12)
    folded = replace(showers, geometry=replace(RING, attributes=(("symmetriseAlpha", "true"),)))
    with pytest.raises(GeometryError, match="from 0 to pi"):
        voxels.voxel_centroid(folded, 2, "eta")


@pytest.mark.parametrize("geometry", [PHOTONS_DATASET1, PIONS_DATASET1])
def test_observables_fit_the_geometry(geometry):
    showers = make_showers(geometry, 20)
    found = {item.name: item.values(showers) for item in voxels.voxel_observables(geometry)}
    layers = [name for name in found if name.startswith("layer_") and name.endswith("_energy")]
    assert layers == [f"layer_{layer.id}_energy" for layer in geometry.layers]
    np.testing.assert_allclose(sum(found[name] for name in layers), found["total_energy"])
    shapes = {name for name in found if name.endswith(("_centroid", "_width"))}
    assert shapes == {
        f"layer_{layer.id}_{axis}_{quantity}"
        for layer in geometry.layers
        if layer.num_alpha > 1
        for axis in ("eta", "phi")
        for quantity in ("centroid", "width")
    }
    assert all(len(values) == 20 for name, values in found.items() if name != "voxel_energy")
    np.testing.assert_allclose(found["voxel_energy"].sum(), 1000 * found["total_energy"].sum(), rtol=1e-5)
    np.testing.assert_array_equal(found["layer_1_eta_width"], voxels.voxel_width(showers, 1, "eta"))
    np.testing.assert_array_equal(found["layer_2_phi_centroid"], voxels.voxel_centroid(showers, 2, "phi"))
