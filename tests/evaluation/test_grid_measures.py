"""Numbers of samples in regular grids, against closed forms."""

import numpy as np
import pytest

from calogen.evaluation.grid_measures import (
    core,
    distance_floor,
    edges_of,
    observable_distance,
    peak_height,
    profile_deviation,
)
from calogen.evaluation.grids import table_of
from calogen.metrics.distributions import Value
from calogen.metrics.resampling import ks_statistic
from calogen.showers.grids import ILD_GRID
from calogen.showers.sample import Showers


def showers(energies: np.ndarray, incident: float | np.ndarray = 50_000.0) -> Showers:
    return Showers(ILD_GRID, np.broadcast_to(incident, len(energies)).astype(np.float64), energies.astype(np.float32))


def test_the_core_is_the_smallest_interval_with_nine_tenths() -> None:
    numbers = np.concatenate([np.linspace(0.0, 1.0, 90), np.linspace(50.0, 99.0, 10)])
    centre, width = core(np.random.default_rng(1).permutation(numbers))
    assert centre.value == pytest.approx(0.5)
    assert width.value == pytest.approx(np.linspace(0, 1, 90).std(ddof=1) / 0.5)
    assert np.isnan(core(np.ones(1))[1].value)
    normal = core(np.random.default_rng(2).normal(100, 10, 200_000))
    assert normal[0].value == pytest.approx(100, abs=0.2)
    assert normal[1].value == pytest.approx(0.1 * 0.789, rel=0.01)  # of a normal distribution cut at +-1.645


def test_errors_of_the_core_are_the_scatter_of_new_samples() -> None:
    """The scatter of 300 samples is known to 4 %, the mean error to 2 %; a formula for fixed intervals gives 70 %."""
    rng = np.random.default_rng(1)
    found = [core(rng.normal(100, 10, 400), seed) for seed in range(300)]
    for part in (0, 1):
        scatter = np.std([item[part].value for item in found])
        assert np.mean([item[part].error for item in found]) == pytest.approx(scatter, rel=0.2)


def test_a_power_law_has_no_peak_and_added_cells_give_one() -> None:
    rng = np.random.default_rng(3)
    energies = np.zeros((40, ILD_GRID.size))
    energies[:, :3000] = 0.02 * rng.random((40, 3000)) ** -1.0  # a spectrum that falls with E^-2
    smooth = peak_height(table_of(showers(energies)), 0.165)
    assert abs(smooth.value) < 0.1 + 4 * smooth.error
    log_normal = np.zeros((40, ILD_GRID.size))
    log_normal[:, :3000] = 0.16 * np.exp(0.8 * rng.standard_normal((40, 3000)))
    assert abs(peak_height(table_of(showers(log_normal)), 0.165).value) < 0.1
    energies[:, 3000:3400] = 0.165
    assert peak_height(table_of(showers(energies)), 0.165).value > 1
    energies[:] = 0
    assert abs(peak_height(table_of(showers(energies)), 0.165).value) < 1e-9
    energies[:, 3000:3400] = 0.165
    alone = peak_height(table_of(showers(energies)), 0.165)
    assert alone.value > 1
    assert np.isfinite(alone.error)


def test_energy_at_the_edges_is_that_of_the_outer_layers_and_rings() -> None:
    images = np.zeros((4, 30, 30, 30))
    images[:, 10, 15, 15] = 1.0 + np.arange(4)
    images[:, 0, 15, 15], images[:, 10, 0, 0] = 1.0, 2.0
    reference = table_of(showers(images.reshape(4, -1)))
    images[:, 0, 15, 15], images[:, 10, 0, 0] = 3.0, 1.0
    layers, rings = edges_of(reference, table_of(showers(images.reshape(4, -1))))
    assert (layers.value, rings.value) == (pytest.approx(3.0), pytest.approx(0.5))


def test_the_distance_of_an_observable_is_that_of_its_values() -> None:
    """Disjoint energies have distance 1, equal ones 0; showers without hits have no centre."""
    energies = np.zeros((40, ILD_GRID.size))
    energies[:, ILD_GRID.index(3, 15, 15)] = np.linspace(1.0, 2.0, 40)
    one, other = table_of(showers(energies)), table_of(showers(4 * energies))
    assert observable_distance(one, one, "visible_energy").value == 0
    assert observable_distance(one, other, "visible_energy").value == 1
    assert observable_distance(one, other, "depth_centre").value == 0
    empty = table_of(showers(0 * energies))
    assert observable_distance(one, empty, "depth_centre").value == 1
    energies[10:] = 0
    assert observable_distance(one, table_of(showers(energies)), "depth_centre").value == 0.75


def test_the_floor_is_the_mean_distance_of_equal_samples() -> None:
    energies = np.zeros((90, ILD_GRID.size))
    energies[:, 0] = 1.0
    table, rng = table_of(showers(energies)), np.random.default_rng(1)
    drawn = [ks_statistic(rng.random(90), rng.random(90)) for _ in range(400)]
    assert distance_floor(table, table).value == pytest.approx(np.mean(drawn), rel=0.06)


def test_the_deviation_of_a_profile_is_the_share_of_energy_elsewhere() -> None:
    reference = np.tile([1.0, 2.0, 1.0], (20, 1))
    assert profile_deviation(reference, reference) == Value(0.0, 0.0)
    assert profile_deviation(reference, np.tile([0.0, 2.0, 2.0], (30, 1))).value == pytest.approx(0.5)
    assert profile_deviation(reference, 1.1 * reference).value == pytest.approx(0.1)
    noisy = reference * np.random.default_rng(1).uniform(0.5, 1.5, (20, 1))
    assert 0.02 < profile_deviation(noisy, noisy).error < 0.2
