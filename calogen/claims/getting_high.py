"""The claims of arXiv:2005.05334 about GAN, WGAN and BIB-AE, as rules for our showers.

Where the paper gives no number ("slightly", "well"), the limit is ours and is part of the claim's text.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from calogen.claims.judge import Claims, Finding, Quantity, largest, quantity
from calogen.evaluation.grid_measures import core, correlation_of, edges_of, observable_distance, peak_height
from calogen.evaluation.grids import GridTable
from calogen.evaluation.published import Published
from calogen.evaluation.trainings import Evidence, NotDecidedError
from calogen.metrics.correlations import Correlations, difference
from calogen.metrics.distributions import Value, mean, standard_deviation
from calogen.observables.grid import GRID_OBSERVABLES, HIT_SPECTRUM
from calogen.observables.observable import numbered

claims, NUMBERS = Claims("getting_high"), Published("getting_high").numbers
GEANT4, GAN, WGAN, BIB_AE = "Geant4", "GAN", "WGAN", "BIB-AE PP"
BARE, FITTED = "BIB-AE", "BIB-AE PP, fitted latent numbers"
MMD, POST = "WGAN MMD", "WGAN PP"
STEPS = tuple(1000.0 * energy for energy in range(20, 100, 10))
"""Incident energies of Fig. 8, MeV."""
LOW, MID, HIGH = SHOWN = (20_000.0, 50_000.0, 80_000.0)
"""Incident energies of Figs. 6 and 7, MeV."""
_FIGURES = {
    "num_hits": dict.fromkeys(SHOWN, "6"),
    "visible_energy": dict.fromkeys(SHOWN, "7"),
}
OBSERVABLES = (*numbered(GRID_OBSERVABLES, _FIGURES), HIT_SPECTRUM)
"""Observables of Figs. 6 to 9."""


@dataclass(frozen=True)
class Spectrum:
    """How a sample of all energies looks.

    Args:
        peak: excess of the spectrum of the cells' energies at Geant4's peak over the smooth spectrum beside it.
        centre: KS distance of the centre of gravity in depth from Geant4's.
        edges: energy in the two first and two last layers, and in the outer third of the rings, over Geant4's.
        correlations: mean and largest absolute difference of the correlation coefficients from Geant4's.
    """

    peak: Value
    centre: Value
    edges: tuple[Value, Value]
    correlations: tuple[Value, Value]


def measure(samples: Mapping[str, GridTable], flat: Mapping[str, GridTable], seed: int = 0) -> dict[str, dict]:
    """What the claims look at besides the comparisons.

    Args:
        samples: tables of showers at the energies of Fig. 8 by label; Geant4's are among them.
        flat: tables of showers of 10 to 100 GeV by label, likewise.
        seed: of all resampling.

    Returns:
        `cores`, `hits` (means and standard deviations) by label and energy, and `spectra` by label.
    """
    cores: dict[str, dict[float, tuple[Value, Value]]] = {}
    hits: dict[str, dict[float, tuple[Value, Value]]] = {}
    for label, table in samples.items():
        parts = {energy: table.at(energy) for energy in STEPS}
        cores[label] = {energy: core(part["visible_energy"]) for energy, part in parts.items()}
        counts = {energy: parts[energy]["num_hits"] for energy in SHOWN}
        hits[label] = {energy: (mean(item), standard_deviation(item)) for energy, item in counts.items()}
    spectra = {label: spectrum_of(flat[GEANT4], table, seed) for label, table in flat.items()}
    return {"cores": cores, "hits": hits, "spectra": spectra}


def spectrum_of(reference: GridTable, table: GridTable, seed: int = 0) -> Spectrum:
    """How a sample of all energies looks beside Geant4's, with resampled errors."""
    found = difference(correlation_of(reference, seed), correlation_of(table, seed))
    return Spectrum(
        peak_height(table, reference.mip_peak, seed),
        observable_distance(reference, table, "depth_centre", seed),
        edges_of(reference, table),
        (found.mean_absolute, _largest(found)),
    )


def _largest(found: Correlations) -> Value:
    """Largest absolute difference of the defined coefficients; NaN for none."""
    values = np.where(np.isfinite(found.values), np.abs(found.values), -1.0)
    place = np.unravel_index(values.argmax(), values.shape)
    return Value(float(values[place]), float(found.errors[place])) if values[place] >= 0 else _UNKNOWN


_UNKNOWN = Value(np.nan, np.nan)


def _peaks(evidence: Evidence, *labels: str) -> list[Value]:
    """Heights of the peaks as shares of Geant4's."""
    expected, *found = evidence.samples("spectra", GEANT4, *labels)
    return [item.peak / expected.peak for item in found]


@claims.rule("mip_peak")
def _mip_peak(evidence: Evidence) -> Finding:
    gan, wgan, bib_ae = _peaks(evidence, GAN, WGAN, BIB_AE)
    return [0.5 - gan, 0.5 - wgan, bib_ae - 0.5], {"gan": gan, "wgan": wgan, "bib_ae": bib_ae}


@claims.rule("mip_smeared")
def _mip_smeared(evidence: Evidence) -> Finding:
    (bare,) = _peaks(evidence, BARE)
    return [0.5 - bare], {"bare": bare}


@claims.rule("mip_variants")
def _mip_variants(evidence: Evidence) -> Finding:
    mmd, post = _peaks(evidence, MMD, POST)
    return [mmd - 0.5, post - 0.5], {"mmd": mmd, "post": post}


def _hits(evidence: Evidence, part: int, *labels: str) -> list[Value]:
    """Means (0) or deviations (1) of the number of hits over Geant4's, of three energies."""
    expected, *found = evidence.samples("hits", GEANT4, *labels)
    return [Value.mean([item[energy][part] / expected[energy][part] for energy in SHOWN]) for item in found]


@claims.rule("few_hits")
def _few_hits(evidence: Evidence) -> Finding:
    gan, wgan = _hits(evidence, 0, GAN, WGAN)
    return [1 - gan, 1 - wgan, gan - 0.8, wgan - 0.8], {"gan": gan, "wgan": wgan}


@claims.rule("bib_ae_hits")
def _bib_ae_hits(evidence: Evidence) -> Finding:
    (number,), (width,) = (_hits(evidence, part, BIB_AE) for part in (0, 1))
    return [0.03 - abs(number - 1), 0.15 - abs(width - 1)], {"mean": number, "width": width}


@claims.rule("narrow_hits")
def _narrow_hits(evidence: Evidence) -> Finding:
    mmd, post = _hits(evidence, 1, MMD, POST)
    return [1 - mmd, 1 - post], {"mmd": mmd, "post": post}


@claims.rule("edges_of_variants")
def _edges_of_variants(evidence: Evidence) -> Finding:
    mmd, post = evidence.samples("spectra", MMD, POST)
    margins = [ratio - 1 for item in (mmd, post) for ratio in item.edges]
    names = ("mmd_layers", "mmd_rings", "post_layers", "post_rings")
    return margins, dict(zip(names, (*mmd.edges, *post.edges), strict=True))


@claims.rule("visible_energy")
def _visible_energy(evidence: Evidence) -> Finding:
    found = {}
    for name, label in _NAMED.items():
        distances = [evidence.metric(energy, "visible_energy", "ks", label).measured for energy in SHOWN]
        found[name] = Value.mean(distances)
    return [0.15 - item for item in found.values()], found


@claims.rule("centre_of_gravity")
def _centre_of_gravity(evidence: Evidence) -> Finding:
    gan, wgan, bib_ae = (item.centre for item in evidence.samples("spectra", GAN, WGAN, BIB_AE))
    margins = [bib_ae - gan, bib_ae - wgan, 0.15 - gan, 0.15 - wgan]
    return margins, {"gan": gan, "wgan": wgan, "bib_ae": bib_ae}


@claims.rule("fitted_sampler")
def _fitted_sampler(evidence: Evidence) -> Finding:
    normal, fitted = (item.centre for item in evidence.samples("spectra", BIB_AE, FITTED))
    return [0.5 * normal - fitted], {"normal": normal, "fitted": fitted}


@claims.rule("wgan_edges")
def _wgan_edges(evidence: Evidence) -> Finding:
    found = {}
    for name, item in zip(_NAMED, evidence.samples("spectra", *_NAMED.values()), strict=True):
        found[name] = Value.mean_of_dependent([abs(_logarithm(ratio)) for ratio in item.edges])
    return [found["wgan"] - found["gan"], found["wgan"] - found["bib_ae"]], found


def _logarithm(ratio: Value) -> Value:
    """Natural logarithm; large, with a large error, for a ratio of 0."""
    return Value(float(np.log(ratio.value)), ratio.error / ratio.value) if ratio.value > 0 else Value(-9.0, 9.0)


def _cores(evidence: Evidence, part: int, label: str) -> list[Value]:
    """Means (0) or relative widths (1) of the central 90 % over Geant4's, as in Fig. 8."""
    expected, found = evidence.samples("cores", GEANT4, label)
    return [found[energy][part] / expected[energy][part] for energy in STEPS]


@claims.rule("mean_energy")
def _mean_energy(evidence: Evidence) -> Finding:
    found = {name: _worst(_cores(evidence, 0, label)) for name, label in _NAMED.items()}
    return [2 - 100 * item for item in found.values()], {name: 100 * item for name, item in found.items()}


def _worst(ratios: Sequence[Value]) -> Value:
    """The largest deviation from 1."""
    return largest([abs(ratio - 1) for ratio in ratios])


@claims.rule("wide_gans")
def _wide_gans(evidence: Evidence) -> Finding:
    gan, wgan = (-largest([-ratio for ratio in _cores(evidence, 1, label)]) for label in (GAN, WGAN))
    return [gan - 1, wgan - 1], {"gan": gan, "wgan": wgan}


@claims.rule("bib_ae_width")
def _bib_ae_width(evidence: Evidence) -> Finding:
    ratios = _cores(evidence, 1, BIB_AE)
    average, largest = Value.mean(ratios), _worst(ratios)
    return [0.05 - abs(average - 1), 0.12 - largest], {"mean": average, "largest": largest}


@claims.rule("correlations")
def _correlations(evidence: Evidence) -> Finding:
    found = {
        name: item.correlations[0]
        for name, item in zip(_NAMED, evidence.samples("spectra", *_NAMED.values()), strict=True)
    }
    return [found["bib_ae"] - found["gan"], found["wgan"] - found["bib_ae"]], found


@claims.rule("generation_time")
def _generation_time(evidence: Evidence) -> Finding:
    found = {}
    for name, label in (("wgan", WGAN), ("bib_ae", BIB_AE)):
        (times,) = evidence.samples("seconds", label)
        found[name] = times[STEPS[-1]] / times[STEPS[0]]
    return [0.1 - abs(item - 1) for item in found.values()], found


@claims.rule("speed")
def _speed(evidence: Evidence) -> Finding:
    if GEANT4 not in evidence.values["milliseconds"]:
        raise NotDecidedError("the file of the flat spectrum has no cpu_seconds of Geant4")
    geant4, wgan, bib_ae = evidence.samples("milliseconds", GEANT4, WGAN, BIB_AE)
    speeds = {"wgan_speed": geant4 / wgan, "bib_ae_speed": geant4 / bib_ae}
    margins = [speeds["wgan_speed"] - 70, speeds["bib_ae_speed"] - 10]
    return margins, {"geant4": geant4, "wgan": wgan, "bib_ae": bib_ae, **speeds}


_NAMED = {"gan": GAN, "wgan": WGAN, "bib_ae": BIB_AE}


def quantities(evidence: Sequence[Evidence], note: str) -> tuple[Quantity, ...]:
    """The paper's numbers beside ours, means over the training seeds.

    Args:
        evidence: results of each training seed.
        note: which showers ours are of.
    """
    rows: list[Quantity] = []
    for name, label in _NAMED.items():
        of: dict[str, Callable[[Spectrum], Value]] = {
            "mean_difference": lambda item: item.correlations[0],
            "largest_difference": lambda item: item.correlations[1],
        }
        for number, take in of.items():
            known = [take(item.values["spectra"][label]) for item in evidence if label in item.values["spectra"]]
            if known:
                title = number.replace("_", " ") + f" of the correlation coefficients, {label}"
                rows.append(_quantity(title, "", f"{number}_{name}", known, note, headline=number.startswith("mean")))
        for energy in (LOW, HIGH):
            known = [_cores(item, 1, label)[STEPS.index(energy)] for item in evidence if label in item.values["cores"]]
            if known:
                title = f"relative width of the visible energy over Geant4's at {energy / 1000:.0f} GeV, {label}"
                rows.append(_quantity(title, "", "", known, note))
    for name, label in (("geant4", GEANT4), ("wgan", WGAN), ("bib_ae", BIB_AE)):
        known = [item.values["milliseconds"][label] for item in evidence if label in item.values["milliseconds"]]
        if known:
            title = f"time of a shower of 10 to 100 GeV on a CPU, {label}"
            how = "a simplified stack" if label == GEANT4 else f"batches of {evidence[0].values['batch']:,}"
            rows.append(_quantity(title, "ms", f"time_{name}", known, how, headline=True))
    return tuple(rows)


def _quantity(
    title: str, unit: str, published: str, known: Sequence[Value], note: str, *, headline: bool = False
) -> Quantity:
    paper = NUMBERS[published].value if published else None
    return quantity(title, unit, known, note, paper=paper, headline=headline)
