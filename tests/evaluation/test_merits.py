"""Figures of merit by which epochs and iterations are chosen."""

from dataclasses import replace

import numpy as np
import pytest

from calogen.evaluation.merits import (
    ConditionalMeanMerit,
    CovarianceMerit,
    DistanceMerit,
    ResolutionMerit,
    mean_ks_distance,
)
from calogen.features.conditions import CellAlignment
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


def test_the_covariance_distance_has_the_closed_form(tiny_showers: Showers) -> None:
    """Energies times a have covariances times a^2: the distance is |a^2 - 1| times the matrices' RMS."""
    chosen = tiny_showers[np.isin(tiny_showers.incident_energies, (1024.0, 2048.0))]
    sizes = []
    for energy in (1024.0, 2048.0):
        cells = chosen.at(energy).energies.astype(np.float64) / energy
        deviations = cells - cells.mean(axis=0)
        matrix = deviations.T @ deviations / len(cells)
        sizes.append(np.sqrt((matrix**2).mean()))
    merit = CovarianceMerit()
    assert merit(chosen, chosen).value == 0
    assert merit(chosen, scaled(chosen, 2.0)).value == pytest.approx(3 * np.mean(sizes))
    assert merit(chosen, scaled(chosen, 0.0)).value == pytest.approx(np.mean(sizes))


def test_the_resolution_counts_whatever_the_mean(tiny_showers: Showers) -> None:
    merit = ResolutionMerit()
    assert merit(tiny_showers, scaled(tiny_showers, 3.0)).value == pytest.approx(0, abs=1e-6)
    narrower = []
    for energy in np.unique(tiny_showers.incident_energies):
        part = tiny_showers.at(energy)
        total = part.energies.sum(axis=1, keepdims=True)
        wanted = total.mean() + 0.8 * (total - total.mean())
        narrower.append(replace(part, energies=part.energies * (wanted / total)))
    found = [
        merit(part, less).value
        for part, less in zip(map(tiny_showers.at, np.unique(tiny_showers.incident_energies)), narrower, strict=True)
    ]
    np.testing.assert_allclose(found, -np.log(0.8), rtol=1e-4)
    assert np.isfinite(merit(tiny_showers, scaled(tiny_showers, 0.0)).value), "a bad merit, no crash"


def test_the_mean_of_an_observable_must_follow_the_condition(tiny_showers: Showers) -> None:
    place = CellAlignment("impact_eta", 1.0, 2)
    groups = np.random.default_rng(1).integers(0, 2, len(tiny_showers))
    moved = Observable("moved", lambda showers: showers.conditions["value"], "moved")
    noise = np.random.default_rng(2).normal(size=len(tiny_showers))

    def sample(shift: float) -> Showers:
        conditions = {"impact_eta": groups + 0.5, "value": noise + shift * groups}
        return replace(tiny_showers, incident_energies=np.full(len(groups), 1024.0), conditions=conditions)

    reference, merit = sample(0.0), ConditionalMeanMerit(moved, place)
    assert merit(reference, reference).value == 0
    assert merit(reference, sample(2.0)).value == pytest.approx(2 / noise.std() / np.sqrt(2)), "one group of two is off"
    undefined = replace(reference, conditions=reference.conditions | {"value": np.where(groups > 0, np.nan, noise)})
    assert merit(reference, undefined).value == pytest.approx(10 / np.sqrt(2))
    assert merit(undefined, reference).value == 0, "what Geant4 lacks is left out"


def test_merits_are_recognised_in_another_process() -> None:
    """A function's address in the text would have judged every iteration again."""
    assert " at 0x" not in repr(ConditionalMeanMerit(RESPONSE, CellAlignment("impact_eta", 1.0, 2)))


def test_a_merit_is_the_distance_without_its_error(tiny_showers: Showers) -> None:
    observables = (RESPONSE, NEVER, LARGE)
    other = scaled(tiny_showers, 1.05)
    expected, found = (
        mean_ks_distance(tiny_showers, other, observables),
        DistanceMerit(observables)(tiny_showers, other),
    )
    assert found.value == expected.value > 0
    assert np.isnan(found.error)
    assert expected.error > 0


def test_distances_of_the_same_showers_have_their_errors_in_common(tiny_showers: Showers) -> None:
    other = scaled(tiny_showers, 1.05)
    once, twice = (mean_ks_distance(tiny_showers, other, (RESPONSE,) * number) for number in (1, 2))
    assert twice.value == pytest.approx(once.value)
    assert twice.error == pytest.approx(once.error)
