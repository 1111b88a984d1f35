"""Claims of the slides on inclined photons, as rules for our showers.

The slides state no numbers: observables with a choice, energies and limits are ours and are part of the claims' texts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from calogen.claims.judge import Claims, Finding, Quantity, largest, quantity
from calogen.evaluation.grid_measures import distance_floor, observable_distance, peak_height
from calogen.evaluation.grids import GridTable, table_of
from calogen.evaluation.trainings import Evidence
from calogen.metrics.distributions import Value, mean, standard_deviation
from calogen.observables.grid import AXIS_ANGLE, GRID_OBSERVABLES, HIT_SPECTRUM
from calogen.observables.observable import numbered
from calogen.showers.sample import Showers

claims = Claims("getting_high_angular")
GEANT4, BIB_AE, BARE, FITTED = "Geant4", "BIB-AE PP", "BIB-AE", "BIB-AE PP, fitted latent numbers"
ANGLES = 40.0, 60.0, 85.0
"""Angles of the slides' figures, degrees."""
STEPS = 20_000.0, 50_000.0, 80_000.0
"""Incident energies of ours at each angle, MeV, as the slides name none."""
OBSERVABLES = (*numbered(GRID_OBSERVABLES, {}), AXIS_ANGLE, HIT_SPECTRUM)
"""Observables of the comparison."""
DISTANCES = ("visible_energy", AXIS_ANGLE.name, "depth_centre")
"""Observables whose distances the claims look at."""
ANGLE_TOLERANCE = 0.01
"""Degrees by which a shower's angle may differ from that of a figure."""


@dataclass(frozen=True)
class Point:
    """What was measured at one angle and one incident energy.

    Args:
        distances: KS distances from Geant4's showers, by observable.
        energy: mean visible energy, MeV.
        angle: mean angle of the axis, degrees; NaN if fewer than two showers have one.
        spread: standard deviation of the angle of the axis, degrees; likewise.
    """

    distances: Mapping[str, Value]
    energy: Value
    angle: Value
    spread: Value


Tables = Mapping[float, GridTable]
"""Tables of a sample by angle, degrees."""


def tables_of(showers: Showers) -> Tables:
    """Tables of showers at each of the `ANGLES`, with a column for the axis' angle."""
    table = table_of(showers)
    table = replace(table, columns={**table.columns, AXIS_ANGLE.name: AXIS_ANGLE.values(showers)})
    return {angle: table.where(at_angle(showers, angle)) for angle in ANGLES}


def at_angle(showers: Showers, angle: float) -> np.ndarray:
    """Mask `[n]` of the showers of an angle, degrees."""
    return np.abs(np.rad2deg(showers.conditions["angle"]) - angle) < ANGLE_TOLERANCE


def measure(samples: Mapping[str, Tables], seed: int = 0) -> dict[str, dict]:
    """What the claims look at.

    Args:
        samples: tables by label; Geant4's are among them.
        seed: of all resampling.

    Returns:
        `points` by label, angle and energy, and by label and angle `peaks` of the cells' spectrum and `floors` of the
        distances.
    """
    reference = samples[GEANT4]
    points: dict[str, dict[tuple[float, float], Point]] = {}
    for label, tables in samples.items():
        points[label] = {
            (angle, energy): _point(reference[angle].at(energy), tables[angle].at(energy), seed)
            for angle in ANGLES
            for energy in STEPS
        }
    peaks = {
        label: {angle: peak_height(tables[angle], reference[angle].mip_peak, seed) for angle in ANGLES}
        for label, tables in samples.items()
    }
    floors = {
        label: {angle: distance_floor(reference[angle].at(STEPS[1]), tables[angle].at(STEPS[1])) for angle in ANGLES}
        for label, tables in samples.items()
    }
    return {"points": points, "peaks": peaks, "floors": floors}


def _point(reference: GridTable, table: GridTable, seed: int) -> Point:
    angles = table[AXIS_ANGLE.name][np.isfinite(table[AXIS_ANGLE.name])]
    known = len(angles) > 1
    return Point(
        {name: observable_distance(reference, table, name, seed) for name in DISTANCES},
        mean(table["visible_energy"]),
        mean(angles) if known else _UNKNOWN,
        standard_deviation(angles) if known else _UNKNOWN,
    )


_UNKNOWN = Value(np.nan, np.nan)


def _by_angle(evidence: Evidence, observable: str, label: str) -> dict[str, Value]:
    """KS distances, means over the energies, by the angle's name in a text."""
    (points,) = evidence.samples("points", label)
    return {
        f"at_{angle:.0f}": Value.mean([points[angle, energy].distances[observable] for energy in STEPS])
        for angle in ANGLES
    }


@claims.rule("visible_energy")
def _visible_energy(evidence: Evidence) -> Finding:
    found = _by_angle(evidence, "visible_energy", BIB_AE)
    return [0.15 - item for item in found.values()], found


@claims.rule("angles")
def _angles(evidence: Evidence) -> Finding:
    found = _by_angle(evidence, AXIS_ANGLE.name, BIB_AE)
    return [0.15 - item for item in found.values()], found


@claims.rule("conditioning")
def _conditioning(evidence: Evidence) -> Finding:
    expected, found = evidence.samples("points", GEANT4, BIB_AE)
    energy = largest([abs(100 * (item.energy / expected[key].energy - 1)) for key, item in found.items()])
    angle = largest([_turned(item.angle, expected[key].angle) for key, item in found.items()])
    return [5 - energy, 2 - angle], {"energy": energy, "angle": angle}


def _turned(angle: Value, expected: Value) -> Value:
    """Difference of two angles, degrees; a right angle where showers have no axis."""
    return abs(angle - expected) if np.isfinite(angle.value) else Value(90.0, 0.0)


def _peaks(evidence: Evidence, label: str) -> list[Value]:
    """Heights of the peaks as shares of Geant4's, by angle."""
    expected, found = evidence.samples("peaks", GEANT4, label)
    return [found[angle] / expected[angle] for angle in ANGLES]


@claims.rule("cell_spectrum")
def _cell_spectrum(evidence: Evidence) -> Finding:
    post, bare = (_peaks(evidence, label) for label in (BIB_AE, BARE))
    named = dict(zip(("at_40", "at_60", "at_85"), post, strict=True))
    return [0.5 - abs(item - 1) for item in post], {**named, "bare": Value.mean(bare)}


@claims.rule("fitted_latent")
def _fitted_latent(evidence: Evidence) -> Finding:
    normal, fitted = (
        Value.mean(list(_by_angle(evidence, "depth_centre", label).values())) for label in (BIB_AE, FITTED)
    )
    return [normal - fitted], {"normal": normal, "fitted": fitted}


MERIT = f"mean KS distance of the axis' angle, {BIB_AE}"
"""Name of the number that stands for the study."""


def quantities(evidence: Sequence[Evidence], note: str) -> tuple[Quantity, ...]:
    """Our numbers, means over the training seeds; the slides state none.

    Args:
        evidence: results of each training seed.
        note: which showers they are of.
    """

    def distance(item: Evidence, name: str) -> Value:
        return Value.mean(list(_by_angle(item, name, BIB_AE).values()))

    rows = [
        quantity(MERIT, "", [distance(item, AXIS_ANGLE.name) for item in evidence], note, headline=True),
        quantity(
            f"mean KS distance of the visible energy, {BIB_AE}",
            "",
            [distance(item, "visible_energy") for item in evidence],
            note,
            headline=True,
        ),
        quantity(
            f"KS distance of Geant4's showers from themselves, as many as of {BIB_AE}",
            "",
            [Value.mean(list(item.values["floors"][BIB_AE].values())) for item in evidence],
            note,
        ),
    ]
    taken: dict[str, Callable[[Point], Value]] = {"mean": lambda item: item.angle, "spread": lambda item: item.spread}
    for angle in ANGLES:
        for label in (GEANT4, BIB_AE):
            for name, take in taken.items():
                known = [take(item.values["points"][label][angle, STEPS[1]]) for item in evidence]
                title = f"{name} of the axis' angle for {angle:.0f} degrees, {STEPS[1] / 1000:.0f} GeV, {label}"
                rows.append(quantity(title, "degrees", known, note))
    return tuple(rows)
