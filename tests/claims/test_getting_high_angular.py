from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from calogen.claims.getting_high_angular import (
    ANGLES,
    BARE,
    BIB_AE,
    FITTED,
    GEANT4,
    MERIT,
    STEPS,
    Point,
    claims,
    measure,
    quantities,
    tables_of,
)
from calogen.claims.judge import Claim
from calogen.evaluation.trainings import Evidence
from calogen.metrics.distributions import Value
from calogen.showers.grids import ILD_ANGULAR_GRID
from calogen.showers.sample import Showers

HOLDS, FAILS, OPEN = "reproduced", "not reproduced", "undecided at this statistics"
BIASED = {40.0: 34.0, 60.0: 56.0, 85.0: 84.0}  # mean angle of Geant4's axes, degrees


def value(number: float, error: float = 0.001) -> Value:
    return Value(number, error)


def points(visible: float = 0.05, axis: float = 0.05, depth: float = 0.05, **changes: float) -> dict[Any, Point]:
    """What was measured at all points, but for a factor of the energy and a shift of the angle."""
    distances = {"visible_energy": value(visible), "axis_angle": value(axis), "depth_centre": value(depth)}
    return {
        (angle, energy): Point(
            distances,
            value(energy / 50 * changes.get("factor", 1.0), 1e-3 * energy / 50),
            value(BIASED[angle] + changes.get("shift", 0.0), 0.05),
            value(3.0),
        )
        for angle in ANGLES
        for energy in STEPS
    }


POINTS = {GEANT4: points(0.0, 0.0, 0.0), BIB_AE: points(depth=0.2), BARE: points(depth=0.2), FITTED: points()}
PEAKS = {GEANT4: 0.6, BIB_AE: 0.5, BARE: 0.05, FITTED: 0.5}


def evidence(**changes: Any) -> Evidence:
    """Results with which every claim holds, but for points or peaks of some samples."""
    peaks = {**PEAKS, **changes.pop("peaks", {})}
    known = {"points": {**POINTS, **changes.pop("points", {})}, **changes}
    of_angles = {label: dict.fromkeys(ANGLES, value(height)) for label, height in peaks.items()}
    floors = {label: dict.fromkeys(ANGLES, value(0.087)) for label in PEAKS}
    return Evidence(comparisons={}, values={"peaks": of_angles, "floors": floors, **known})


def claim(name: str, *seeds: Evidence) -> Claim:
    return next(item for item in claims.judge(seeds) if item.claim == claims.statements[name].claim)


def test_every_claim_holds_with_the_made_up_evidence() -> None:
    assert {item.claim: item.verdict for item in claims.judge([evidence()])} == {
        item.claim: HOLDS for item in claims.statements.values()
    }


CASES = [
    ("visible_energy", {"points": {BIB_AE: points(visible=0.3)}}, FAILS),
    ("visible_energy", {"points": {BIB_AE: points(visible=0.1501)}}, OPEN),
    ("angles", {"points": {BIB_AE: points(axis=0.3)}}, FAILS),
    ("angles", {"points": {BIB_AE: points(visible=0.9)}}, HOLDS),
    ("conditioning", {"points": {BIB_AE: points(factor=1.1)}}, FAILS),
    ("conditioning", {"points": {BIB_AE: points(factor=0.9)}}, FAILS),
    ("conditioning", {"points": {BIB_AE: points(shift=-5.0)}}, FAILS),
    ("conditioning", {"points": {BIB_AE: points(shift=1.0, factor=1.02)}}, HOLDS),
    ("cell_spectrum", {"peaks": {BIB_AE: 0.1}}, FAILS),
    ("fitted_latent", {"points": {FITTED: points(depth=0.4)}}, FAILS),
]


@pytest.mark.parametrize(("name", "changes", "verdict"), CASES)
def test_verdicts(name: str, changes: dict[str, Any], verdict: str) -> None:
    assert claim(name, evidence(**changes)).verdict == verdict


def test_one_angle_that_is_wrong_decides() -> None:
    """At 40 degrees alone, whether of the distance or of the peak."""
    found = points()
    for energy in STEPS:
        wrong = {**found[40.0, energy].distances, "axis_angle": value(0.4)}
        found[40.0, energy] = replace(found[40.0, energy], distances=wrong)
    judged = claim("angles", evidence(points={BIB_AE: found}))
    assert judged.verdict == FAILS
    assert "0.40000 ± 0.00058 at 40, 0.05000 ± 0.00058 at 60" in judged.ours
    peaks = {label: dict.fromkeys(ANGLES, value(height)) for label, height in PEAKS.items()}
    peaks[BIB_AE] = {**peaks[BIB_AE], 85.0: value(0.1)}
    assert claim("cell_spectrum", Evidence(comparisons={}, values={"points": POINTS, "peaks": peaks})).verdict == FAILS


def toy(number: int, seed: int, factor: float = 1.0, tilt: float = 0.0) -> Showers:
    """Straight tracks at each angle and energy, with hits beside them."""
    rng = np.random.default_rng(seed)
    angles, energies = np.repeat(ANGLES, len(STEPS) * number), np.tile(np.repeat(STEPS, number), len(ANGLES))
    depth = np.array([layer.depth for layer in ILD_ANGULAR_GRID.layers])
    images = np.zeros((len(angles), *ILD_ANGULAR_GRID.shape), np.float32)
    for image, angle, energy in zip(images, angles, energies, strict=True):
        x = 6 + depth[:25] / np.tan(np.deg2rad(angle + tilt)) / 5.0 + rng.normal(0, 0.5, 25)
        image[np.arange(25), np.clip(x, 0, 59).astype(int), 15] = factor * energy / 5e4 * rng.uniform(0.5, 1.5, 25)
    conditions = {"angle": np.deg2rad(angles)}
    return Showers(ILD_ANGULAR_GRID, energies, images.reshape(len(images), -1), conditions)


def test_the_measures_see_energy_and_angle() -> None:
    """Of toy showers; Geant4 beside itself has no distance."""
    samples = {GEANT4: toy(6, 1), BIB_AE: toy(6, 2, 1.5), BARE: toy(6, 3, 1.0, 12.0), FITTED: toy(6, 4)}
    tables = {label: tables_of(showers) for label, showers in samples.items()}
    assert [len(table) for table in tables[GEANT4].values()] == [18, 18, 18]
    found = measure(tables)["points"]
    for point, item in found[GEANT4].items():
        assert {distance.value for distance in item.distances.values()} == {0.0}
        assert item.angle.value == pytest.approx(point[0], abs=3.0)
    at = (60.0, 50_000.0)
    assert found[BIB_AE][at].energy.value / found[GEANT4][at].energy.value == pytest.approx(1.5, rel=0.2)
    assert found[BARE][at].angle.value - found[GEANT4][at].angle.value > 8
    assert found[BARE][at].distances["axis_angle"].value == 1.0
    assert found[FITTED][at].distances["axis_angle"].value < 0.9


def test_showers_without_hits_have_no_angle_and_the_largest_distance() -> None:
    sample = toy(3, 1)
    empty = tables_of(replace(sample, energies=0 * sample.energies))
    found = measure({GEANT4: tables_of(sample), BIB_AE: empty})["points"][BIB_AE]
    assert {item.distances["axis_angle"].value for item in found.values()} == {1.0}
    assert np.isnan([item.angle.value for item in found.values()]).all()
    lost = {key: replace(item, angle=Value(np.nan, np.nan)) for key, item in points().items()}
    judged = claim("conditioning", evidence(points={BIB_AE: lost}))
    assert judged.verdict == FAILS
    assert "mean angle of the axis 90 degrees" in judged.ours
    rows = {item.name: item for item in quantities([evidence(points={BIB_AE: lost})], "toys")}
    assert rows[f"mean of the axis' angle for 40 degrees, 50 GeV, {BIB_AE}"].ours is None


def test_quantities_are_ours_alone() -> None:
    rows = {item.name: item for item in quantities([evidence(), evidence()], "toys")}
    assert (rows[MERIT].ours, rows[MERIT].paper, rows[MERIT].headline) == (pytest.approx(0.05), None, True)
    row = rows[f"mean of the axis' angle for 40 degrees, 50 GeV, {GEANT4}"]
    assert (row.ours, row.unit, row.spread) == (34.0, "degrees", 0.0)
    assert rows[f"spread of the axis' angle for 85 degrees, 50 GeV, {BIB_AE}"].ours == 3.0
