"""Claims of the slides on pions, as rules for our showers.

The slides show plots of pions without definitions or numbers: observables, energies and limits are ours and are part of
the claims' texts.
"""

from collections.abc import Mapping, Sequence

from calogen.claims.judge import Claims, Finding, Quantity, quantity
from calogen.evaluation.grid_measures import distance_floor, observable_distance, peak_height, profile_deviation
from calogen.evaluation.grids import GridTable
from calogen.evaluation.trainings import Evidence
from calogen.metrics.distributions import Value, mean
from calogen.observables.grid import GRID_OBSERVABLES, HIT_SPECTRUM
from calogen.observables.observable import numbered

claims = Claims("getting_high_hadronic")
GEANT4, WGAN, BIB_AE, BARE = "Geant4", "WGAN", "BIB-AE PP", "BIB-AE"
FITTED, FREE = "BIB-AE PP, fitted latent numbers", "WGAN without constrainer"
STEPS = 20_000.0, 50_000.0, 80_000.0
"""Incident energies of ours, MeV, as the slides name none."""
OBSERVABLES = (*numbered(GRID_OBSERVABLES, {}), HIT_SPECTRUM)
"""Observables of the comparison."""
DISTANCES = ("visible_energy", "num_hits", "depth_centre")
"""Observables whose distances the claims look at."""


def measure(samples: Mapping[str, GridTable], seed: int = 0) -> dict[str, dict]:
    """What the claims look at.

    Args:
        samples: tables of showers at the `STEPS` by label; Geant4's are among them.
        seed: of all resampling.

    Returns:
        By label: `distances`, KS distances from Geant4 by observable, means over the energies; `profiles`, deviations
        of the mean profiles by direction; `peaks` of the cells' spectrum; `energies`, mean visible energies by incident
        energy; `floors` of the distances.
    """
    reference = samples[GEANT4]
    parts = {label: {energy: table.at(energy) for energy in STEPS} for label, table in samples.items()}
    expected = parts[GEANT4]

    def distance(found: Mapping[float, GridTable], name: str) -> Value:
        return Value.mean([observable_distance(expected[energy], found[energy], name, seed) for energy in STEPS])

    return {
        "distances": {label: {name: distance(found, name) for name in DISTANCES} for label, found in parts.items()},
        "profiles": {
            label: {
                "longitudinal": profile_deviation(reference.layers, table.layers, seed),
                "radial": profile_deviation(reference.rings, table.rings, seed),
            }
            for label, table in samples.items()
        },
        "peaks": {label: peak_height(table, reference.mip_peak, seed) for label, table in samples.items()},
        "energies": {
            label: {energy: mean(part["visible_energy"]) for energy, part in found.items()}
            for label, found in parts.items()
        },
        "floors": {
            label: Value.mean([distance_floor(expected[energy], found[energy]) for energy in STEPS])
            for label, found in parts.items()
        },
    }


def _both(evidence: Evidence, value: str, name: str) -> dict[str, Value]:
    """A number of both models, by their names in a text."""
    bib_ae, wgan = evidence.samples(value, BIB_AE, WGAN)
    return {"bib_ae": bib_ae[name], "wgan": wgan[name]}


@claims.rule("visible_energy")
def _visible_energy(evidence: Evidence) -> Finding:
    found = _both(evidence, "distances", "visible_energy")
    return [0.15 - item for item in found.values()], found


@claims.rule("num_hits")
def _num_hits(evidence: Evidence) -> Finding:
    found = _both(evidence, "distances", "num_hits")
    return [0.15 - item for item in found.values()], found


@claims.rule("centre_of_gravity")
def _centre_of_gravity(evidence: Evidence) -> Finding:
    found = _both(evidence, "distances", "depth_centre")
    return [0.15 - item for item in found.values()], found


@claims.rule("profiles")
def _profiles(evidence: Evidence) -> Finding:
    found = {
        f"{name}_{direction}": 100 * value
        for direction in ("longitudinal", "radial")
        for name, value in _both(evidence, "profiles", direction).items()
    }
    return [10 - item for item in found.values()], found


def _peaks(evidence: Evidence, *labels: str) -> list[Value]:
    """Heights of the peaks as shares of Geant4's."""
    expected, *found = evidence.samples("peaks", GEANT4, *labels)
    return [item / expected for item in found]


@claims.rule("cell_spectrum")
def _cell_spectrum(evidence: Evidence) -> Finding:
    post, bare = _peaks(evidence, BIB_AE, BARE)
    return [abs(bare - 1) - abs(post - 1), post - 0.5], {"post": post, "bare": bare}


@claims.rule("constrainer")
def _constrainer(evidence: Evidence) -> Finding:
    expected, held, free = evidence.samples("energies", GEANT4, WGAN, FREE)
    found = {
        name: Value.mean([abs(100 * (item[energy] / expected[energy] - 1)) for energy in STEPS])
        for name, item in (("held", held), ("free", free))
    }
    return [found["free"] - found["held"]], found


@claims.rule("fitted_latent")
def _fitted_latent(evidence: Evidence) -> Finding:
    normal, fitted = (item["depth_centre"] for item in evidence.samples("distances", BIB_AE, FITTED))
    return [normal - fitted], {"normal": normal, "fitted": fitted}


MERIT = f"mean KS distance of visible energy, hits and centre of gravity, {BIB_AE}"
"""Name of the number that stands for the study."""


def quantities(evidence: Sequence[Evidence], note: str) -> tuple[Quantity, ...]:
    """Our numbers, means over the training seeds; the slides state none.

    Args:
        evidence: results of each training seed.
        note: which showers they are of.
    """
    rows = []
    for label, title in ((BIB_AE, MERIT), (WGAN, MERIT.replace(BIB_AE, WGAN))):
        known = [Value.mean(list(item.values["distances"][label].values())) for item in evidence]
        rows.append(quantity(title, "", known, note, headline=True))
        known = [item.values["floors"][label] for item in evidence]
        rows.append(
            quantity(f"KS distance of Geant4's showers from themselves, as many as of {label}", "", known, note)
        )
    for energy in STEPS:
        for label in (GEANT4, WGAN, BIB_AE):
            known = [item.values["energies"][label][energy] for item in evidence]
            rows.append(quantity(f"mean visible energy at {energy / 1000:.0f} GeV, {label}", "MeV", known, note))
    return tuple(rows)
