from typing import Any

import numpy as np
import pytest

from calogen.claims.getting_high_hadronic import (
    BARE,
    BIB_AE,
    FITTED,
    FREE,
    GEANT4,
    MERIT,
    STEPS,
    WGAN,
    claims,
    measure,
    quantities,
)
from calogen.claims.judge import Claim
from calogen.evaluation.grids import table_of
from calogen.evaluation.trainings import Evidence
from calogen.metrics.distributions import Value
from calogen.showers.grids import AHCAL_GRID
from calogen.showers.sample import Showers

HOLDS, FAILS, OPEN = "reproduced", "not reproduced", "undecided at this statistics"
LABELS = (GEANT4, WGAN, BIB_AE, BARE, FITTED, FREE)


def value(number: float, error: float = 0.001) -> Value:
    return Value(number, error)


def distances(**changes: float) -> dict[str, Value]:
    known = {"visible_energy": 0.05, "num_hits": 0.05, "depth_centre": 0.05, **changes}
    return {name: value(number) for name, number in known.items()}


def profiles(longitudinal: float = 0.03, radial: float = 0.03) -> dict[str, Value]:
    return {"longitudinal": value(longitudinal), "radial": value(radial)}


def energies(factor: float) -> dict[float, Value]:
    return {energy: value(factor * energy / 40, 0.1) for energy in STEPS}


HEIGHTS = {GEANT4: 0.6, WGAN: 0.1, BIB_AE: 0.5, BARE: 0.1, FITTED: 0.5, FREE: 0.1}
FACTORS = {GEANT4: 1.0, WGAN: 1.02, BIB_AE: 1.02, BARE: 1.02, FITTED: 1.02, FREE: 1.3}


def evidence(without: str = "", **changes: dict[str, Any]) -> Evidence:
    """Results with which every claim holds, but for some samples, or without one of them."""
    known: dict[str, dict[str, Any]] = {
        "distances": {label: distances() for label in LABELS} | {BIB_AE: distances(depth_centre=0.1)},
        "profiles": {label: profiles() for label in LABELS},
        "peaks": {label: value(height) for label, height in HEIGHTS.items()},
        "energies": {label: energies(factor) for label, factor in FACTORS.items()},
        "floors": dict.fromkeys(LABELS, value(0.06)),
    }
    values = {
        name: {label: item for label, item in {**found, **changes.get(name, {})}.items() if label != without}
        for name, found in known.items()
    }
    return Evidence(comparisons={}, values=values)


def claim(name: str, *seeds: Evidence) -> Claim:
    return next(item for item in claims.judge(seeds) if item.claim == claims.statements[name].claim)


def test_every_claim_holds_with_the_made_up_evidence() -> None:
    assert {item.claim: item.verdict for item in claims.judge([evidence()])} == {
        item.claim: HOLDS for item in claims.statements.values()
    }


CASES = [
    ("visible_energy", {"distances": {WGAN: distances(visible_energy=0.4)}}, FAILS),
    ("visible_energy", {"distances": {BIB_AE: distances(visible_energy=0.4)}}, FAILS),
    ("visible_energy", {"distances": {BIB_AE: distances(visible_energy=0.1505)}}, OPEN),
    ("num_hits", {"distances": {WGAN: distances(num_hits=0.4)}}, FAILS),
    ("num_hits", {"distances": {BIB_AE: distances(num_hits=0.4)}}, FAILS),
    ("centre_of_gravity", {"distances": {WGAN: distances(depth_centre=0.4)}}, FAILS),
    ("profiles", {"profiles": {BIB_AE: profiles(longitudinal=0.2)}}, FAILS),
    ("profiles", {"profiles": {WGAN: profiles(radial=0.2)}}, FAILS),
    ("cell_spectrum", {"peaks": {BIB_AE: value(0.2)}}, FAILS),
    ("cell_spectrum", {"peaks": {BARE: value(0.6)}}, FAILS),
    ("constrainer", {"energies": {FREE: energies(1.01)}}, FAILS),
    ("fitted_latent", {"distances": {FITTED: distances(depth_centre=0.4)}}, FAILS),
]


@pytest.mark.parametrize(("name", "changes", "verdict"), CASES)
def test_verdicts(name: str, changes: dict[str, Any], verdict: str) -> None:
    assert claim(name, evidence(**changes)).verdict == verdict


def test_without_the_ablation_the_constrainer_is_undecided() -> None:
    found = claim("constrainer", evidence(FREE))
    command = "make reproduce-getting-high-hadronic OPTIONS=--ablation"
    assert (found.verdict, found.ours) == (OPEN, f"{FREE} was not trained: {command}")


def toy(number: int, seed: int, factor: float = 1.0, shift: int = 0) -> Showers:
    """Hits along the middle, with energies around that of a minimum ionising particle."""
    rng, labels = np.random.default_rng(seed), np.repeat(STEPS, number)
    images = np.zeros((len(labels), *AHCAL_GRID.shape), np.float32)
    for image, label in zip(images, labels, strict=True):
        hits = int(label / 200)
        places = rng.integers(2, 40, hits) + shift, rng.integers(8, 17, hits), rng.integers(8, 17, hits)
        np.add.at(image, places, factor * rng.gamma(4.0, 0.13, hits))
    return Showers(AHCAL_GRID, labels, images.reshape(len(images), -1))


def test_the_measures_see_energy_and_depth() -> None:
    samples = {GEANT4: toy(20, 1), BIB_AE: toy(20, 2), WGAN: toy(20, 3, 1.4), BARE: toy(20, 4, 1.0, 6)}
    found = measure({label: table_of(showers) for label, showers in samples.items()})
    assert {item.value for item in found["distances"][GEANT4].values()} == {0.0}
    assert {item.value for item in found["profiles"][GEANT4].values()} == {0.0}
    assert found["distances"][WGAN]["visible_energy"].value > 0.9
    assert found["distances"][BARE]["depth_centre"].value > 0.9
    assert found["profiles"][BARE]["longitudinal"].value > 0.25
    assert found["profiles"][BARE]["radial"].value < 0.2
    assert found["profiles"][BIB_AE]["longitudinal"].value < 0.2
    for energy in STEPS:
        ratio = found["energies"][WGAN][energy].value / found["energies"][GEANT4][energy].value
        assert ratio == pytest.approx(1.4, rel=0.15)


def test_quantities_are_ours_alone() -> None:
    rows = {item.name: item for item in quantities([evidence(), evidence()], "toys")}
    assert (rows[MERIT].ours, rows[MERIT].paper, rows[MERIT].headline) == (pytest.approx(0.2 / 3), None, True)
    assert rows["mean visible energy at 50 GeV, Geant4"].ours == 1250.0
    assert rows["mean visible energy at 50 GeV, WGAN"].ours == pytest.approx(1275.0)
