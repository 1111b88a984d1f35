from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from calogen.claims.getting_high import (
    BARE,
    BIB_AE,
    FITTED,
    GAN,
    GEANT4,
    MMD,
    POST,
    SHOWN,
    STEPS,
    WGAN,
    Spectrum,
    claims,
    measure,
    quantities,
    spectrum_of,
)
from calogen.claims.judge import Claim
from calogen.evaluation.compare import Comparison, Scored
from calogen.evaluation.grids import table_of
from calogen.evaluation.trainings import Evidence
from calogen.metrics.distributions import Floor, Value
from calogen.metrics.histograms import Histogram
from calogen.observables.grid import GRID_OBSERVABLES
from calogen.showers.grids import ILD_GRID
from calogen.showers.sample import Showers

HOLDS, FAILS, OPEN = "reproduced", "not reproduced", "undecided at this statistics"
LABELS = (GEANT4, GAN, WGAN, BIB_AE, BARE, FITTED, MMD, POST)


def value(number: float, error: float = 0.001) -> Value:
    return Value(number, error)


def spectrum(peak: float, centre: float, edges: float, correlations: float) -> Spectrum:
    pair = value(correlations), value(3 * correlations)
    return Spectrum(value(peak), value(centre), (value(edges), value(edges)), pair)


SPECTRA = {
    GEANT4: spectrum(0.6, 0.0, 1.0, 0.0),
    GAN: spectrum(0.1, 0.03, 1.1, 0.06),
    WGAN: spectrum(0.1, 0.03, 2.0, 0.19),
    BIB_AE: spectrum(0.6, 0.1, 1.1, 0.13),
    BARE: spectrum(0.1, 0.1, 1.1, 0.13),
    FITTED: spectrum(0.6, 0.03, 1.1, 0.13),
    MMD: spectrum(0.6, 0.03, 3.0, 0.2),
    POST: spectrum(0.6, 0.03, 3.0, 0.2),
}
HITS = {GEANT4: (1.0, 1.0), GAN: (0.95, 1.0), WGAN: (0.95, 1.0), BIB_AE: (1.0, 1.0), MMD: (1.0, 0.7), POST: (1.0, 0.7)}
CORES = {GEANT4: (1.0, 1.0), GAN: (1.0, 1.2), WGAN: (1.0, 1.2), BIB_AE: (1.0, 1.0)}
MILLISECONDS = {GEANT4: 4000.0, WGAN: 20.0, BIB_AE: 100.0}


def pairs(of: Mapping[str, tuple[float, float]], energies: tuple[float, ...]) -> dict[str, dict[float, Any]]:
    return {label: {energy: (value(mean), value(width)) for energy in energies} for label, (mean, width) in of.items()}


def comparison(energy: float, distance: float) -> Comparison:
    (item,) = (known for known in GRID_OBSERVABLES if known.name == "visible_energy")
    numbers = {label: {"ks": value(distance)} for label in (GAN, WGAN, BIB_AE)}
    floors = {label: {"ks": Floor(0.0, 0.0, 0.0)} for label in numbers}
    histogram = Histogram.fill(np.ones(2), np.array([0.0, 2.0]))
    return {item.name: Scored(item, energy, dict.fromkeys(("reference", *numbers), histogram), numbers, floors)}


def evidence(distance: float = 0.05, **changes: Any) -> Evidence:
    """Results with which every claim holds, but for the changes."""
    seconds = {label: {STEPS[0]: value(0.02, 1e-4), STEPS[-1]: value(0.02, 1e-4)} for label in (WGAN, BIB_AE)}
    values = {
        "spectra": SPECTRA,
        "hits": pairs(HITS, SHOWN),
        "cores": pairs(CORES, STEPS),
        "seconds": seconds,
        "batch": 100,
        "milliseconds": {label: value(number) for label, number in MILLISECONDS.items()},
    }
    compared = {energy: comparison(energy, distance) for energy in SHOWN}
    return Evidence(comparisons=compared, values={**values, **changes})


def claim(name: str, *seeds: Evidence) -> Claim:
    return next(item for item in claims.judge(seeds) if item.claim == claims.statements[name].claim)


def test_every_claim_holds_with_the_made_up_evidence() -> None:
    assert {item.claim: item.verdict for item in claims.judge([evidence()])} == {
        item.claim: HOLDS for item in claims.statements.values()
    }


def seen(label: str, **changes: Any) -> dict[str, Spectrum]:
    return {**SPECTRA, label: replace(SPECTRA[label], **changes)}


def hits(label: str, mean: float, width: float) -> dict[str, Any]:
    return pairs({**HITS, label: (mean, width)}, SHOWN)


def cores(label: str, mean: float, width: float) -> dict[str, Any]:
    return pairs({**CORES, label: (mean, width)}, STEPS)


CASES = [
    ("mip_peak", evidence(spectra=seen(GAN, peak=value(0.5))), FAILS),
    ("mip_peak", evidence(spectra=seen(BIB_AE, peak=value(0.1))), FAILS),
    ("mip_peak", evidence(spectra=seen(WGAN, peak=value(0.25, 0.2))), OPEN),
    ("mip_smeared", evidence(spectra=seen(BARE, peak=value(0.5))), FAILS),
    ("mip_variants", evidence(spectra=seen(POST, peak=value(0.1))), FAILS),
    ("few_hits", evidence(hits=hits(GAN, 1.1, 1.0)), FAILS),
    ("few_hits", evidence(hits=hits(GAN, 0.1, 1.0)), FAILS),
    ("bib_ae_hits", evidence(hits=hits(BIB_AE, 0.9, 1.0)), FAILS),
    ("bib_ae_hits", evidence(hits=hits(BIB_AE, 1.0, 1.5)), FAILS),
    ("narrow_hits", evidence(hits=hits(MMD, 1.0, 1.1)), FAILS),
    ("edges_of_variants", evidence(spectra=seen(MMD, edges=(value(0.5), value(2.0)))), FAILS),
    ("visible_energy", evidence(0.3), FAILS),
    ("centre_of_gravity", evidence(spectra=seen(GAN, centre=value(0.3))), FAILS),
    ("fitted_sampler", evidence(spectra=seen(FITTED, centre=value(0.3))), FAILS),
    ("wgan_edges", evidence(spectra=seen(GAN, edges=(value(0.1), value(9.0)))), FAILS),
    ("mean_energy", evidence(cores=cores(WGAN, 1.05, 1.2)), FAILS),
    ("mean_energy", evidence(cores=cores(WGAN, 0.95, 1.2)), FAILS),
    ("wide_gans", evidence(cores=cores(GAN, 1.0, 0.9)), FAILS),
    ("bib_ae_width", evidence(cores=cores(BIB_AE, 1.0, 1.3)), FAILS),
    ("bib_ae_width", evidence(cores={**pairs(CORES, STEPS), BIB_AE: {energy: (value(1.0), value(1 + 0.3 * (-1) ** (energy // 1e4))) for energy in STEPS}}), FAILS),  # noqa: E501
    ("correlations", evidence(spectra=seen(GAN, correlations=(value(0.5), value(0.9)))), FAILS),
    ("generation_time", evidence(seconds={label: {STEPS[0]: value(0.02), STEPS[-1]: value(0.2)} for label in (WGAN, BIB_AE)}), FAILS),  # noqa: E501
    ("speed", evidence(milliseconds={GEANT4: value(10.0), WGAN: value(20.0), BIB_AE: value(5.0)}), FAILS),
]  # fmt: skip


@pytest.mark.parametrize(("name", "found", "verdict"), CASES, ids=lambda item: item if isinstance(item, str) else "")
def test_verdicts(name: str, found: Evidence, verdict: str) -> None:
    assert claim(name, found).verdict == verdict


def test_what_was_not_trained_or_timed_leaves_claims_undecided() -> None:
    few = evidence(spectra={label: SPECTRA[label] for label in (GEANT4, GAN, WGAN, BIB_AE)}, milliseconds={})
    found = claim("mip_variants", few)
    assert (found.verdict, found.ours) == (
        OPEN,
        "WGAN MMD was not trained: make reproduce-getting-high OPTIONS=--ablation",
    )
    assert claim("speed", few).ours.startswith("the file of the flat spectrum has no cpu_seconds of Geant4")
    assert claim("mip_peak", few).verdict == HOLDS


def showers(energies: np.ndarray, incident: float | np.ndarray = 50_000.0) -> Showers:
    return Showers(ILD_GRID, np.broadcast_to(incident, len(energies)).astype(np.float64), energies.astype(np.float32))


def test_geant4_beside_itself_shows_no_difference() -> None:
    rng = np.random.default_rng(4)
    images = rng.random((60, 30, 30, 30)) * (rng.random((60, 30, 30, 30)) < 0.02) * rng.random((60, 1, 1, 1))
    sample = showers(images.reshape(60, -1), rng.uniform(1e4, 1e5, 60))
    table = table_of(sample)
    found = spectrum_of(table, table)
    assert (found.centre.value, found.correlations[0].value, found.correlations[1].value) == (0, 0, 0)
    assert [item.value for item in found.edges] == [1, 1]
    steps = showers(np.tile(sample.energies[:2], (8, 1)), np.repeat(STEPS, 2))
    values = measure({GEANT4: table_of(steps)}, {GEANT4: table})
    assert set(values["cores"][GEANT4]) == set(STEPS)
    assert set(values["hits"][GEANT4]) == set(SHOWN)


def test_numbers_stand_beside_the_papers() -> None:
    rows = {item.name: item for item in quantities([evidence(), evidence()], "toys")}
    row = rows[f"mean difference of the correlation coefficients, {WGAN}"]
    assert (row.paper, row.ours, row.spread, row.headline) == (0.187, 0.19, 0.0, True)
    assert rows[f"largest difference of the correlation coefficients, {BIB_AE}"].paper == 0.36
    assert rows["time of a shower of 10 to 100 GeV on a CPU, Geant4"].paper == 4081.53
    assert rows[f"relative width of the visible energy over Geant4's at 20 GeV, {GAN}"].ours == pytest.approx(1.2)
