"""Observables that are measured from the impact point."""

from dataclasses import replace

import numpy as np
import pytest
from reference import observables as slow
from toy_runs import showers_of

from calogen.errors import DataFormatError, GeometryError
from calogen.observables.cells import AXES, Axis, average_showers, layer_energy
from calogen.observables.impact import mean_distance, profile_around_impact
from calogen.showers.sample import Showers
from calogen.showers.voxels import PHOTONS_DATASET1
from calogen.showers.windows import ATLAS_GAN_WINDOW


def middle(impact_eta: float, *cells: tuple[int, int, float]) -> Showers:
    """One shower with energy in cells (eta, phi) of the middle layer; (3, 3) is the impact cell."""
    energies = np.zeros((1, ATLAS_GAN_WINDOW.size))
    for eta, phi, energy in cells:
        energies[0, ATLAS_GAN_WINDOW.index(2, eta, phi)] = energy
    impact = {"impact_eta": np.array([impact_eta]), "impact_phi": np.array([0.01])}
    return Showers(ATLAS_GAN_WINDOW, np.array([1000.0]), energies, impact)


@pytest.mark.parametrize("axis", AXES)
def test_the_profile_agrees_with_the_slow_twin(axis: Axis) -> None:
    showers = showers_of(ATLAS_GAN_WINDOW, (1e4,), (30,))
    impact = showers.conditions["impact_eta"], showers.conditions["impact_phi"]
    for layer in ATLAS_GAN_WINDOW.layers:
        profile = profile_around_impact(showers, layer.id, axis)
        rows = [
            slow.profile_around_impact(ATLAS_GAN_WINDOW, energies, layer.id, axis, eta, phi)
            for energies, eta, phi in zip(showers.energies, *impact, strict=True)
        ]
        np.testing.assert_allclose(profile.mean, np.mean(rows, axis=0), rtol=1e-9)
        np.testing.assert_allclose(profile.error, np.std(rows, axis=0, ddof=1) / np.sqrt(30), rtol=1e-6)
        assert profile.mean.sum() == pytest.approx(layer_energy(showers, layer.id).mean())
        assert np.diff(profile.edges) == pytest.approx(layer.eta_size if axis == "eta" else layer.phi_size)
    average = average_showers({"Geant4": showers}, 1e4, profile_around_impact)
    np.testing.assert_array_equal(average[-1].profiles["Geant4"][axis].mean, profile.mean)
    with pytest.raises(DataFormatError, match=f"impact_{axis}"):
        profile_around_impact(replace(showers, conditions={}), 2, axis)


@pytest.mark.parametrize("impact", [0.2001, 0.2124])
def test_a_cell_is_as_far_as_its_centre_is_from_the_impact_point(impact: float) -> None:
    """The impact cell is 0.2 to 0.225; the bin around 0 is -0.0125 to 0.0125."""
    profile = profile_around_impact(middle(impact, (3, 3, 3.0), (2, 3, 1.0)), 2, "eta")
    np.testing.assert_allclose(profile.edges, 0.025 * (np.arange(8) - 3.5))
    np.testing.assert_allclose(profile.mean, [0, 0, 1, 3, 0, 0, 0])


def test_the_mean_distance_of_one_cell_is_that_of_its_centre() -> None:
    one = middle(0.201, (4, 3, 2.0))
    assert mean_distance(one, "eta") == pytest.approx(0.2375 - 0.201)
    assert mean_distance(one, "phi") == pytest.approx(ATLAS_GAN_WINDOW.layers[2].phi_size / 2 - 0.01)


def test_voxels_are_refused() -> None:
    with pytest.raises(GeometryError, match="CellGrid"):
        profile_around_impact(Showers(PHOTONS_DATASET1, np.array([1e3]), np.ones((1, 368))), 2, "eta")
