"""The claims of ATL-SOFT-PUB-2018-001 about its VAE, as rules for our showers.

What the note says and shows of both of its models stands here: `measure`, `COMMON` and `quantities` serve the GAN as
well. Where the note gives no number ("accurately", "wider"), the limit is ours and is part of the claim's text.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from calogen.claims.judge import ClaimRule, Claims, Finding, Quantity, largest
from calogen.evaluation.published import Published
from calogen.evaluation.summary import energy_text, response_curve
from calogen.evaluation.trainings import Evidence
from calogen.metrics.correlations import correlate, difference
from calogen.metrics.distributions import Value, mean
from calogen.metrics.features import Feature, Features
from calogen.metrics.histograms import Profile
from calogen.observables.cells import (
    AXES,
    CELL_OBSERVABLES,
    FRONT,
    MIDDLE,
    Axis,
    average_profile,
    response,
    shower_depth,
    width,
)
from calogen.observables.impact import mean_distance, profile_around_impact
from calogen.observables.observable import Observable, numbered
from calogen.showers.sample import Showers

claims, NUMBERS = Claims("atlas_note_vae", "atlas_note"), Published("atlas_note").numbers
GEANT4, VAE, GAN = "Geant4", "VAE", "GAN"
TRAINED = tuple(2.0**power for power in range(10, 19))
LOW, MID, HIGH = SHOWN = (4096.0, 65536.0, 262144.0)
TUNED = 32768.0
"""Incident energy of Fig. 3, MeV."""
LAYERS = ("presampler", "front", "middle", "back")
_QUANTILE, _KNOWN = 0.95, 0.25  # of the layers' energies; relative error of Geant4's mean energy in a bin


_FIGURES = {
    **{f"{layer}_energy": {MID: f"7{panel}"} for layer, panel in zip(LAYERS, "abcd", strict=True)},
    "shower_depth": {energy: f"8{panel}" for energy, panel in zip(SHOWN, "abc", strict=True)},
    "total_energy": {MID: "9"},
    **{
        f"middle_{axis}_{quantity}": {MID: f"{number}{panel}"}
        for axis, number in (("eta", 13), ("phi", 14))
        for quantity, panel in (("mean", "a"), ("width", "b"))
    },
}


def _lateral(axis: Axis, unit: str) -> tuple[Observable, ...]:
    """Mean and width of the distance from the impact point along an axis."""
    label = rf"of $\Delta\{axis}$, middle layer"
    spread = partial(width, layer_id=MIDDLE, axis=axis)
    return (
        Observable(f"middle_{axis}_mean", partial(mean_distance, axis=axis), f"Mean {label}", unit),
        Observable(f"middle_{axis}_width", spread, f"Width {label}", unit),
    )


_KNOWN_OBSERVABLES = (*CELL_OBSERVABLES, *_lateral("eta", ""), *_lateral("phi", "rad"))
OBSERVABLES = numbered([item for item in _KNOWN_OBSERVABLES if item.name in _FIGURES], _FIGURES)
"""Observables of the note's Figs. 7 to 9, 13 and 14."""
README_FIGURE = "Fig. 7: energy in the layers at 65 GeV"
PANELS = {
    README_FIGURE: [(f"{layer}_energy", MID) for layer in LAYERS],
    "Fig. 8: shower depth": [("shower_depth", energy) for energy in SHOWN],
    "Fig. 9: total energy at 65 GeV": [("total_energy", MID)],
    "Fig. 13: mean and width in eta, middle layer, 65 GeV": [("middle_eta_mean", MID), ("middle_eta_width", MID)],
    "Fig. 14: mean and width in phi, middle layer, 65 GeV": [("middle_phi_mean", MID), ("middle_phi_width", MID)],
}
"""The note's figures of distributions: observables and incident energies of the panels, by title."""
AVERAGES: dict[str, Axis] = {
    "Fig. 11: average energy by the distance in eta, 65 GeV": "eta",
    "Fig. 12: average energy by the distance in phi, 65 GeV": "phi",
}
"""The note's figures of the average shower: the axis, by title."""
REMARKS = (
    "Showers: Geant4 11.4 with data-free electromagnetic models in flat layers, not ATLAS's own simulation; photons of "
    "exactly the nominal energies.",
    "Assumed: 1.4 X0 of aluminium before the presampler and 0.6 X0 behind it, although the note's photons start at the "
    "calorimeter; the presampler is scaled by 18 to the note's share at 65 GeV.",
    "7,050 training showers; the note has about 90,000. Comparisons are with the bundled test showers, 250 at 65 GeV.",
    "Delta eta and delta phi are measured from the impact point, as in the note, to the centres of the cells.",
)


def measure(samples: Mapping[str, Showers]) -> dict[str, Any]:
    """What the claims look at besides the comparisons, for each sample.

    Args:
        samples: showers of the trained incident energies by label; the first are Geant4's.
    """
    reference = samples[GEANT4]
    middle = {label: showers.at(MID) for label, showers in samples.items()}
    expected = correlate(layer_features(reference))
    limits = np.quantile(middle[GEANT4].layer_energies, _QUANTILE, axis=0)
    return {
        "curves": {label: response_curve([showers]) for label, showers in samples.items()},
        "depths": {
            label: {energy: mean(shower_depth(showers.at(energy))) for energy in SHOWN}
            for label, showers in samples.items()
        },
        "shares": {
            label: {
                layer: mean(100 * showers.layer_energies[:, position] / MID) for position, layer in enumerate(LAYERS)
            }
            for label, showers in middle.items()
        },
        "tails": {
            label: dict(zip(LAYERS, _above(showers, limits, len(middle[GEANT4])), strict=True))
            for label, showers in middle.items()
        },
        "profiles": {label: profiles(showers) for label, showers in middle.items()},
        "front_from_cell": {label: average_profile(showers, FRONT, "eta") for label, showers in middle.items()},
        "above": {label: _share(response(showers) > 1) for label, showers in samples.items()},
        "correlations": {
            label: difference(expected, correlate(layer_features(showers))).mean_absolute
            for label, showers in samples.items()
            if label != GEANT4
        },
    }


def profiles(showers: Showers) -> dict[tuple[str, Axis], Profile]:
    """Mean energy by the distance from the impact point, by layer and axis."""
    return {
        (layer.name, axis): profile_around_impact(showers, layer.id, axis)
        for layer in showers.geometry.layers
        for axis in AXES
    }


def layer_features(showers: Showers) -> Features:
    """The layers' energies at 65 GeV."""
    chosen = showers.at(MID)
    columns = tuple(Feature("layer_energy", number) for number in range(len(LAYERS)))
    return Features(columns, chosen.layer_energies.astype(np.float64), chosen.incident_energies)


def _share(chosen: np.ndarray) -> Value:
    return Value.share(float(chosen.mean()), len(chosen))


def _above(showers: Showers, limits: np.ndarray, number: int) -> list[Value]:
    """Shares of showers above quantiles that `number` showers of Geant4 fix."""
    error = Value(0.0, Value.share(1 - _QUANTILE, number).error)
    return [_share(column) + error for column in (showers.layer_energies > limits).T]


def _relative(evidence: Evidence, attribute: str, sample: str) -> dict[float, Value]:
    """Mean response or spread over Geant4's, by incident energy."""
    curves = evidence.values["curves"]
    return {energy: curves[sample].at(attribute, energy) / curves[GEANT4].at(attribute, energy) for energy in TRAINED}


def spread_ratio(evidence: Evidence, sample: str) -> Value:
    """Standard deviation of the energy at 65 GeV over Geant4's."""
    return _relative(evidence, "spread", sample)[MID]


def deviation(expected: Profile, received: Profile, inner: bool | None = None) -> Value:
    """Root mean square relative difference of two profiles, %, without their noise.

    Only bins in which the first profile is known well enough count.

    Args:
        expected, received: mean energies in the same bins.
        inner: whether to look at bins up to half way to the edge, or beyond; None: at all bins.
    """
    centres = np.abs(expected.edges[1:] + expected.edges[:-1]) / 2
    chosen = (expected.mean > 0) & (expected.error < _KNOWN * expected.mean)
    if inner is not None:
        chosen &= (centres < expected.edges[-1] / 2) == inner
    columns = (expected.mean, expected.error, received.mean, received.error)
    rows = zip(*(column[chosen].tolist() for column in columns), strict=True)
    found = [Value(ours, error) / Value(theirs, known) - 1 for theirs, known, ours, error in rows]
    if not found:
        return Value(np.nan, np.nan)
    off, noise = (np.array([getattr(item, part) for item in found]) for part in ("value", "error"))
    square = max(float(np.mean(off**2 - noise**2)), 0.0)
    error = float(np.sqrt(np.sum(4 * (off * noise) ** 2 + 2 * noise**4))) / len(off)
    return 100 * Value(float(np.sqrt(square)), error / (2 * max(np.sqrt(square), np.sqrt(error), 1e-12)))


def _mean_energy(evidence: Evidence, sample: str) -> Finding:
    ratios = _relative(evidence, "mean", sample)
    off = Value.mean([abs(ratio - 1) for ratio in ratios.values()])
    return [0.02 - off], {"deviation": off, "low": ratios[TRAINED[0]], "middle": ratios[MID], "high": ratios[HIGH]}


def _energy_spread(evidence: Evidence, sample: str) -> Finding:
    ratios = _relative(evidence, "spread", sample)
    average = Value.mean([*ratios.values()])
    figures = {"mean": average, "low": ratios[TRAINED[0]], "middle": ratios[MID], "high": ratios[HIGH]}
    return [ratios[MID] - 1, average - 1], figures


def _layer_energies(evidence: Evidence, sample: str) -> Finding:
    found = {layer: evidence.metric(MID, f"{layer}_energy", "ks", sample).measured for layer in LAYERS}
    average = Value.mean_of_dependent([*found.values()])
    return [0.2 - average], {"mean": average, **found}


def _layer_tails(evidence: Evidence, sample: str) -> Finding:
    found = evidence.values["tails"][sample]
    average = Value.mean_of_dependent([*found.values()])
    return [average - (1 - _QUANTILE)], {"mean": average, **found}


def _shower_depth(evidence: Evidence, sample: str) -> Finding:
    depths = evidence.values["depths"]
    shifts = {energy: depths[sample][energy] - depths[GEANT4][energy] for energy in SHOWN}
    low, middle, high = (abs(shift) for shift in shifts.values())
    figures = dict(zip(("low", "middle", "high"), shifts.values(), strict=True))
    return [low, low - largest([middle, high])], figures


def _lateral_shapes(evidence: Evidence, sample: str) -> Finding:
    found = evidence.values["profiles"]
    halves = {
        name: Value.mean_of_dependent(
            [
                part
                for key, expected in found[GEANT4].items()
                if np.isfinite((part := deviation(expected, found[sample][key], inner)).value)
            ]
        )
        for name, inner in (("inner", True), ("outer", False))
    }
    worst = largest([*halves.values()])
    strips, from_cell = ("front", "eta"), evidence.values["front_from_cell"]
    figures = halves | {
        "middle": Value.mean_of_dependent(
            [deviation(found[GEANT4][key], found[sample][key]) for key in (("middle", "eta"), ("middle", "phi"))]
        ),
        "front": deviation(found[GEANT4][strips], found[sample][strips]),
        "front_from_cell": deviation(from_cell[GEANT4], from_cell[sample]),
    }
    return [NUMBERS["lateral_precision"].value - worst, halves["outer"] - halves["inner"]], figures


def _lateral_widths(evidence: Evidence, sample: str) -> Finding:
    found = {
        (axis, metric): evidence.metric(MID, f"middle_{axis}_width", metric, sample).measured
        for axis in AXES
        for metric in ("rms_ratio", "mean_ratio")
    }
    figures = {f"{axis}_mean": found[axis, "mean_ratio"] for axis in AXES}
    figures |= {f"{axis}_spread": found[axis, "rms_ratio"] for axis in AXES}
    return [found[axis, "rms_ratio"] - 1 for axis in AXES], figures


def _energy_conservation(evidence: Evidence, sample: str) -> Finding:
    above = evidence.values["above"]
    return [above[sample]], {"ours": above[sample], "geant4": above[GEANT4]}


_CommonRule = Callable[[Evidence, str], Finding]
COMMON: Mapping[str, _CommonRule] = {
    "mean_energy": _mean_energy,
    "energy_spread": _energy_spread,
    "layer_energies": _layer_energies,
    "layer_tails": _layer_tails,
    "shower_depth": _shower_depth,
    "lateral_shapes": _lateral_shapes,
    "lateral_widths": _lateral_widths,
    "energy_conservation": _energy_conservation,
}
"""Rules of the claims that the note makes about both models: functions of the evidence and the model's label."""


def _of(rule: _CommonRule, sample: str) -> ClaimRule:
    return lambda evidence: rule(evidence, sample)


def add_common(to: Claims, sample: str) -> None:
    """Gives claims the rules of `COMMON`, for the model with this label."""
    for name, rule in COMMON.items():
        to.rule(name)(_of(rule, sample))


add_common(claims, VAE)


def _variant(evidence: Evidence, name: str) -> Any:  # noqa: ANN401 - what the experiment measured of its variants
    return evidence.value(name, "the first seed alone trains the other weights and rates")


@claims.rule("kl_weight")
def _kl_weight(evidence: Evidence) -> Finding:
    """Holds where both other weights give a larger KS distance."""
    best, more, most = (_variant(evidence, "weights")[weight] for weight in (1e-4, 1e-2, 1.0))
    return [more - best, most - best], {"best": best, "more": more, "most": most}


@claims.rule("learning_rate")
def _learning_rate(evidence: Evidence) -> Finding:
    found = _variant(evidence, "rates")
    (early, late, profile), (early_large, late_large, profile_large) = found[1e-4], found[1e-3]
    figures = {"early": early, "late": late, "profile": profile}
    figures |= {"early_large": early_large, "late_large": late_large, "profile_large": profile_large}
    return [early - early_large, late_large - late, profile - profile_large], figures


@claims.rule("printed_divergence")
def _printed_divergence(evidence: Evidence) -> Finding:
    printed = _variant(evidence, "printed")
    variance = Value.mean_of_dependent(
        [evidence.metric(MID, f"{layer}_energy", "ks", VAE).measured for layer in LAYERS]
    )
    figures = {"printed": printed["ks"], "spread_printed": printed["spread"]}
    return [], figures | {"variance": variance, "spread_variance": spread_ratio(evidence, VAE)}


@claims.rule("training_time")
def _training_time(evidence: Evidence) -> Finding:
    minutes, updates = evidence.values["minutes"], evidence.values["updates"]
    limit = 2 * NUMBERS["vae_training_time"].value
    return [Value(limit - minutes, 0.0)], {"minutes": minutes, "updates": updates}


@claims.rule("interaction_lengths")
def _interaction_lengths(_: Evidence) -> Finding:
    return [], {}


def quantities(seeds: Sequence[Evidence], labels: Sequence[str], data: str) -> tuple[Quantity, ...]:
    """Layers' shares, mean response and resolution of Geant4 and of models.

    Args:
        seeds: evidence of every training seed.
        labels: labels of the models.
        data: what the numbers were computed from.
    """
    rows = []

    def add(name: str, label: str, unit: str, published: float | None, values: Sequence[Value]) -> None:
        if label == GEANT4:
            ours, spread = values[0], None
        else:
            ours, spread = Value.repeated(values)
        shown = "share of the" in name
        rows.append(Quantity(f"{name}, {label}", unit, published, ours.value, ours.error, spread, data, shown))

    for layer in LAYERS:
        for label in (GEANT4, *labels):
            published = NUMBERS[f"{layer}_share_{label.lower()}"].value
            values = [item.values["shares"][label][layer] for item in seeds]
            add(f"share of the {layer} in the photon's energy at 65 GeV", label, "%", published, values)
    for energy in (TRAINED[0], *SHOWN):
        for title, attribute in (("mean response", "mean"), ("resolution", "resolution")):
            for label in (GEANT4, *labels):
                values = [item.values["curves"][label].at(attribute, energy) for item in seeds]
                add(f"{title} at {energy_text(energy)}", label, "", None, values)
    return tuple(rows)
