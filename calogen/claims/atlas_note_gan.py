"""The claims of ATL-SOFT-PUB-2018-001 about its GAN, as rules for our showers.

Those that the note makes about both models have the rules of `claims.atlas_note_vae`.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.special import polygamma

from calogen.claims.atlas_note_vae import GAN, GEANT4, MID, TRAINED, VAE, add_common, spread_ratio
from calogen.claims.judge import Claims, Finding
from calogen.evaluation.summary import ResponseCurve
from calogen.evaluation.trainings import Evidence, NotDecidedError
from calogen.metrics.distributions import Value

claims = Claims("atlas_note_gan", "atlas_note")
SIGMOID, GAUSS, RELU = ACTIVATIONS = ("sigmoid", "Gauss", "ReLU")
"""Labels of the activations that Figs. 5 and 6 compare; the note's GAN has the first."""
add_common(claims, GAN)


@claims.rule("spread_below_vae")
def _spread_below_vae(evidence: Evidence) -> Finding:
    gan, vae = (spread_ratio(evidence, sample) for sample in (GAN, VAE))
    return [vae - gan], {"gan": gan, "vae": vae}


@claims.rule("correlations")
def _correlations(evidence: Evidence) -> Finding:
    gan, vae = (evidence.values["correlations"][sample] for sample in (GAN, VAE))
    return [vae - gan], {"gan": gan, "vae": vae}


def _activations(evidence: Evidence, name: str) -> Mapping:
    """What was measured of each activation, by its label."""
    return evidence.value(name, "the first seed alone trains the other activations")


@claims.rule("eta_width")
def _eta_width(evidence: Evidence) -> Finding:
    """Holds where both activations deviate less than ReLU, in the mean of two layers."""
    widths = _activations(evidence, "eta_widths")
    ratios = {
        (layer, label): widths[label][layer] / widths[GEANT4][layer]
        for label in ACTIVATIONS
        for layer in ("front", "middle")
    }
    off = {
        label: Value.mean_of_dependent([abs(ratios[layer, label] - 1) for layer in ("front", "middle")])
        for label in ACTIVATIONS
    }
    figures = {f"{layer}_{label.lower()}": ratio for (layer, label), ratio in ratios.items()}
    return [off[RELU] - off[SIGMOID], off[RELU] - off[GAUSS]], figures


@claims.rule("mean_by_activation")
def _mean_by_activation(evidence: Evidence) -> Finding:
    curves, of_seeds = _activations(evidence, "activation_curves"), evidence.values["seed_curves"]
    if len(of_seeds) < 2:
        raise NotDecidedError("the scatter between seeds needs two or more", "seeds")
    between, seeds = largest_range([*curves.values()]), largest_range(of_seeds)
    figures = {label.lower(): curves[label].at("mean", MID) for label in ACTIVATIONS}
    excess = excess_scatter([*curves.values()], of_seeds, "mean")
    return [excess], {"activations": between, "seeds": seeds, **figures}


@claims.rule("resolution_by_activation")
def _resolution_by_activation(evidence: Evidence) -> Finding:
    """Holds where the ratio is small, or where activations scatter less than seeds."""
    curves, of_seeds = _activations(evidence, "activation_curves"), evidence.values["seed_curves"]
    ratio, seeds = largest_ratio([*curves.values()]), largest_ratio(of_seeds)
    margins = [1.25 - ratio]
    if len(of_seeds) > 1:
        margins += [-excess_scatter([*curves.values()], of_seeds, "resolution")]
    figures = {label.lower(): curves[label].at("resolution", MID) for label in ACTIVATIONS}
    return [max(margins, key=Value.significance)], {"ratio": ratio, "seeds": seeds, **figures}


def excess_scatter(curves: Sequence[ResponseCurve], others: Sequence[ResponseCurve], attribute: str) -> Value:
    """Logarithm of the ratio of two standard deviations between trainings.

    They are relative ones of `mean` or `resolution`, averaged over incident energies. The error is that of so few
    trainings, whose deviations go together at all energies.

    Source: ours; the variance of the logarithm of chi2 with k degrees of freedom is the trigamma function of k / 2.
    """
    variance = sum(float(polygamma(1, (len(item) - 1) / 2)) / 4 for item in (curves, others))
    first, second = (_scatter(item, attribute) for item in (curves, others))
    return Value(float(np.log(first / second)), float(np.sqrt(variance)))


def _scatter(curves: Sequence[ResponseCurve], attribute: str) -> float:
    """Relative standard deviation between curves, averaged over energies; not quite 0."""
    values = np.array([[curve.at(attribute, energy).value for energy in TRAINED] for curve in curves])
    return float(np.mean(values.std(axis=0, ddof=1) / values.mean(axis=0))) + 1e-9


def largest_range(curves: Sequence[ResponseCurve]) -> Value:
    """Largest minus smallest mean response of some curves, averaged over incident energies."""
    return _extremes(curves, "mean", lambda largest, smallest: largest - smallest)


def largest_ratio(curves: Sequence[ResponseCurve]) -> Value:
    """Largest over smallest resolution of some curves, averaged over incident energies."""
    return _extremes(curves, "resolution", lambda largest, smallest: largest / smallest)


def _extremes(curves: Sequence[ResponseCurve], attribute: str, compare: Callable[[Value, Value], Value]) -> Value:
    found = []
    for energy in TRAINED:
        values = sorted((curve.at(attribute, energy) for curve in curves), key=lambda item: item.value)
        found.append(compare(values[-1], values[0]))
    average = Value.mean(found)
    return average if len(curves) > 1 else Value(average.value, 0.0)
