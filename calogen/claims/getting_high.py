"""The claims of arXiv:2005.05334 about GAN, WGAN and BIB-AE, as rules for our showers.

Where the paper gives no number ("slightly", "well"), the limit is ours and is part of the claim's text.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from calogen.claims.judge import Claims, Finding, Quantity
from calogen.evaluation.grids import GridTable
from calogen.evaluation.published import Published
from calogen.evaluation.trainings import Evidence, NotDecidedError
from calogen.metrics.correlations import INCIDENT_ENERGY, Correlations, correlate, difference
from calogen.metrics.distributions import Value, json_number, mean, standard_deviation
from calogen.metrics.features import Feature, Features
from calogen.metrics.resampling import ks_statistic
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
_CORE = 0.9  # share of the showers whose mean and width Fig. 8 shows
_PEAK, _SHIFTS = 1.15, (0.87, 0.93, 1.0, 1.07, 1.15)  # half width of a window, and where the peak may lie, as factors
_BESIDE = np.array([1 / 3, 1 / 1.8, 1.8, 3.0])  # windows beside the peak, as factors
_INTERCEPT = np.linalg.pinv(np.vander(np.log(_BESIDE), 3))[-1]  # of a parabola through them, at the peak
_GROUPS = 50  # groups of showers that are resampled for errors


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


def core(energies: np.ndarray) -> tuple[Value, Value]:
    """Mean and relative width of the smallest interval with 90 % of some energies `[n]`.

    Source: section 4.1 and Fig. 8 of arXiv:2005.05334; mu90 and sigma90 / mu90.
    """
    ordered = np.sort(energies)
    kept = min(max(2, round(_CORE * len(ordered))), len(ordered))
    first = int(np.argmin(ordered[kept - 1 :] - ordered[: len(ordered) - kept + 1]))
    chosen = ordered[first : first + kept]
    return mean(chosen), standard_deviation(chosen) / float(chosen.mean())


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
        _centre_distance(reference, table, seed),
        edges_of(reference, table),
        (found.mean_absolute, _largest(found)),
    )


def peak_height(table: GridTable, peak: float, seed: int = 0) -> Value:
    """Excess of the spectrum near an energy, MeV, over a smooth one with its neighbourhood.

    Cells are counted within factors of 1.15 around the energy and around 1.8 and 3 times less and more. What a smooth
    spectrum would have at the energy comes from a parabola through the logarithms of the other counts, so that power
    laws, exponentials and log-normals have no peak: 0. The peak may lie up to 15 % beside the energy.
    """
    group = np.repeat(np.arange(len(table)) % _GROUPS, table.cells)
    drawn = np.random.default_rng(seed).multinomial(_GROUPS, np.full(_GROUPS, 1 / _GROUPS), 100)
    weights = np.vstack([np.ones(_GROUPS), drawn])
    heights = np.stack([_height(table.spectrum, group, weights, peak * shift) for shift in _SHIFTS]).max(axis=0)
    return Value(float(heights[0]), float(heights[1:].std()))


def _height(energies: np.ndarray, group: np.ndarray, weights: np.ndarray, energy: float) -> np.ndarray:
    """Excess at one energy, MeV, for each row of weights; NaN where a window is empty."""
    centres = energy * np.array([1.0, *_BESIDE])
    counts = np.stack(
        [
            np.bincount(group[(energies > low) & (energies <= high)], minlength=_GROUPS)
            for low, high in zip(centres / _PEAK, centres * _PEAK, strict=True)
        ],
        axis=1,
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        at, *beside = np.log(weights @ counts).T
        found = np.exp(at - _INTERCEPT @ np.stack(beside)) - 1
    return np.where(np.isfinite(found), found, np.nan)


def edges_of(reference: GridTable, table: GridTable) -> tuple[Value, Value]:
    """Mean energy in two first and last layers, and in outer rings, over the reference's."""
    return _edge_layers(table) / _edge_layers(reference), _outer_rings(table) / _outer_rings(reference)


def correlation_of(table: GridTable, seed: int = 0) -> Correlations:
    """Correlation coefficients of the observables and the incident energy.

    Source: Fig. 9 of arXiv:2005.05334.
    """
    features = features_of(table)
    return correlate(features, (*features.names, INCIDENT_ENERGY), seed)


def features_of(table: GridTable) -> Features:
    """The observables as features, whose correlations can be looked at."""
    names = [item.name for item in table.observables]
    values = np.stack([table[name] for name in names], axis=1)
    return Features(tuple(map(Feature, names)), values, table.incident_energies)


def _edge_layers(table: GridTable) -> Value:
    return mean(table.layers[:, [0, 1, -2, -1]].sum(axis=1))


def _outer_rings(table: GridTable) -> Value:
    return mean(table.rings[:, 2 * table.rings.shape[1] // 3 :].sum(axis=1))


def _centre_distance(reference: GridTable, table: GridTable, seed: int) -> Value:
    """KS distance of the centres in depth, with the spread of resampled showers."""
    samples = [item["depth_centre"][np.isfinite(item["depth_centre"])] for item in (reference, table)]
    if min(map(len, samples)) < 2:
        return Value(1.0, 0.0)
    rng = np.random.default_rng(seed)
    drawn = [ks_statistic(*(rng.choice(item, len(item)) for item in samples)) for _ in range(50)]
    return Value(ks_statistic(*samples), float(np.std(drawn)))


def _largest(found: Correlations) -> Value:
    """Largest absolute difference of the defined coefficients; NaN for none."""
    values = np.where(np.isfinite(found.values), np.abs(found.values), -1.0)
    place = np.unravel_index(values.argmax(), values.shape)
    return Value(float(values[place]), float(found.errors[place])) if values[place] >= 0 else _UNKNOWN


_UNKNOWN = Value(np.nan, np.nan)


def _of(evidence: Evidence, name: str, *labels: str) -> list:
    """What was measured of some samples; those that were not trained leave a claim undecided."""
    known = evidence.values[name]
    for label in labels:
        if label not in known:
            raise NotDecidedError(f"{label} was not trained", label)
    return [known[label] for label in labels]


def _peaks(evidence: Evidence, *labels: str) -> list[Value]:
    """Heights of the peaks as shares of Geant4's."""
    expected, *found = _of(evidence, "spectra", GEANT4, *labels)
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
    expected, *found = _of(evidence, "hits", GEANT4, *labels)
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
    mmd, post = _of(evidence, "spectra", MMD, POST)
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
    gan, wgan, bib_ae = (item.centre for item in _of(evidence, "spectra", GAN, WGAN, BIB_AE))
    margins = [bib_ae - gan, bib_ae - wgan, 0.15 - gan, 0.15 - wgan]
    return margins, {"gan": gan, "wgan": wgan, "bib_ae": bib_ae}


@claims.rule("fitted_sampler")
def _fitted_sampler(evidence: Evidence) -> Finding:
    normal, fitted = (item.centre for item in _of(evidence, "spectra", BIB_AE, FITTED))
    return [0.5 * normal - fitted], {"normal": normal, "fitted": fitted}


@claims.rule("wgan_edges")
def _wgan_edges(evidence: Evidence) -> Finding:
    found = {}
    for name, item in zip(_NAMED, _of(evidence, "spectra", *_NAMED.values()), strict=True):
        found[name] = Value.mean([abs(_logarithm(ratio)) for ratio in item.edges])
    return [found["wgan"] - found["gan"], found["wgan"] - found["bib_ae"]], found


def _logarithm(ratio: Value) -> Value:
    """Natural logarithm; large, with a large error, for a ratio of 0."""
    return Value(float(np.log(ratio.value)), ratio.error / ratio.value) if ratio.value > 0 else Value(-9.0, 9.0)


def _cores(evidence: Evidence, part: int, label: str) -> list[Value]:
    """Means (0) or relative widths (1) of the central 90 % over Geant4's, as in Fig. 8."""
    expected, found = _of(evidence, "cores", GEANT4, label)
    return [found[energy][part] / expected[energy][part] for energy in STEPS]


@claims.rule("mean_energy")
def _mean_energy(evidence: Evidence) -> Finding:
    found = {name: _worst(_cores(evidence, 0, label)) for name, label in _NAMED.items()}
    return [2 - 100 * item for item in found.values()], {name: 100 * item for name, item in found.items()}


def _worst(ratios: Sequence[Value]) -> Value:
    """The largest deviation from 1."""
    return max((abs(ratio - 1) for ratio in ratios), key=lambda item: item.value)


@claims.rule("wide_gans")
def _wide_gans(evidence: Evidence) -> Finding:
    gan, wgan = (min(_cores(evidence, 1, label), key=lambda item: item.value) for label in (GAN, WGAN))
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
        for name, item in zip(_NAMED, _of(evidence, "spectra", *_NAMED.values()), strict=True)
    }
    return [found["bib_ae"] - found["gan"], found["wgan"] - found["bib_ae"]], found


@claims.rule("generation_time")
def _generation_time(evidence: Evidence) -> Finding:
    found = {}
    for name, label in (("wgan", WGAN), ("bib_ae", BIB_AE)):
        (times,) = _of(evidence, "seconds", label)
        found[name] = times[STEPS[-1]] / times[STEPS[0]]
    return [0.1 - abs(item - 1) for item in found.values()], found


@claims.rule("speed")
def _speed(evidence: Evidence) -> Finding:
    if GEANT4 not in evidence.values["milliseconds"]:
        raise NotDecidedError("the file of the flat spectrum has no cpu_seconds of Geant4")
    geant4, wgan, bib_ae = _of(evidence, "milliseconds", GEANT4, WGAN, BIB_AE)
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
    value, spread = Value.repeated(known)
    paper = NUMBERS[published].value if published else None
    ours, error = json_number(value.value), json_number(value.error)  # a network that gives nothing has no width
    spread = None if spread is None else json_number(spread)
    return Quantity(title, unit, paper, ours, error, spread, data=note, headline=headline)
