"""Figures of merit by which epochs and iterations are chosen."""

from dataclasses import replace

import numpy as np
import pytest

from calogen.evaluation.merits import mean_ks_distance
from calogen.observables.cells import response
from calogen.observables.observable import Observable
from calogen.showers.sample import Showers

RESPONSE = Observable("response", response, "response")
NEVER = Observable("never", lambda showers: np.full(len(showers), np.nan), "never defined")
LARGE = Observable("large", lambda showers: np.where(response(showers) > 2, response(showers), np.nan), "above 2")


def scaled(showers: Showers, factor: float) -> Showers:
    return replace(showers, energies=showers.energies * np.float32(factor))


def test_equal_samples_have_no_distance_and_disjoint_ones_have_1(tiny_showers: Showers) -> None:
    assert mean_ks_distance(tiny_showers, tiny_showers, [RESPONSE]).value == 0
    assert mean_ks_distance(tiny_showers, scaled(tiny_showers, 50.0), [RESPONSE]).value == 1


def test_the_mean_runs_over_energies_and_observables(tiny_showers: Showers) -> None:
    chosen = tiny_showers[np.isin(tiny_showers.incident_energies, (1024.0, 2048.0))]
    one_wrong = replace(chosen, energies=chosen.energies * (1 + 49 * (chosen.incident_energies == 1024.0))[:, None])
    half = mean_ks_distance(chosen, one_wrong, [RESPONSE])
    assert half.value == 0.5
    constant = Observable("constant", lambda showers: np.ones(len(showers)), "constant")
    quarter = mean_ks_distance(chosen, one_wrong, [RESPONSE, constant])
    assert (quarter.value, quarter.error) == pytest.approx((0.25, half.error / 2))


def test_what_only_the_generated_showers_lack_counts_as_disjoint(tiny_showers: Showers) -> None:
    many = scaled(tiny_showers, 50.0)
    assert mean_ks_distance(many, tiny_showers, [LARGE]).value == 1
    assert mean_ks_distance(many, many, [LARGE, NEVER]).value == 0, "what Geant4 lacks is left out"
    assert np.isnan(mean_ks_distance(many, many, [NEVER]).value)
