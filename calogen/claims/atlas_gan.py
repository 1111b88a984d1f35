"""The claims of arXiv:2210.06204 about its GAN, as rules for our showers.

Where the paper gives no number ("similar", "close"), the limit is ours and is part of the claim's text.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from calogen.claims import atlas_vae
from calogen.claims.atlas_vae import HIGH, LOW, SHAPE_NAMES, SHOWN, TOTAL, TRAINED, VAE
from calogen.claims.judge import ClaimRule, Claims, Finding
from calogen.evaluation.published import Published
from calogen.evaluation.trainings import Evidence, NotDecidedError
from calogen.metrics.distributions import Value
from calogen.metrics.histograms import Profile

claims, NUMBERS = Claims("atlas_gan"), Published("atlas_gan").numbers
GAN, WITHOUT_POSITION = "GAN", "GAN without impact position"
SINGLE = {10.0: "one critic, weight 10", 1e-8: "one critic, weight 1e-8", 1e-13: "one critic, weight 1e-13"}
"""Labels of GANs with a single critic by the weight of its gradient penalty."""
_FRONT_MIDDLE = ("front_energy", "middle_energy")
_SHAPES = ("presampler_energy", *_FRONT_MIDDLE, "back_energy", "shower_depth", *SHAPE_NAMES)


def error_of(evidence: Evidence, attribute: str, sample: str, energies: Sequence[float] = TRAINED) -> Value:
    """Mean relative error of the `mean`, `spread` or `resolution` of a sample's response."""
    return Value.mean([abs(_ratio(evidence, attribute, sample, energy) - 1) for energy in energies])


def _ratio(evidence: Evidence, attribute: str, sample: str, *energies: float) -> Value:
    """Number of a sample's response over Geant4's, averaged over incident energies."""
    ours, geant4 = evidence.values["curves"][_trained(evidence, sample)], evidence.values["geant4"]
    return Value.mean([ours.at(attribute, energy) / geant4.at(attribute, energy) for energy in energies])


def _trained(evidence: Evidence, sample: str) -> str:
    """Label of a generated sample; only a single critic may have learned nothing."""
    if sample in evidence.values.get("diverged", {}):
        raise NotDecidedError(f"{sample}: {evidence.values['diverged'][sample]}", "diverged")
    if sample not in evidence.values["curves"]:
        raise NotDecidedError(f"there is no {sample}", sample)
    if sample in evidence.networks and sample not in SINGLE.values():
        evidence.network(sample)
    return sample


def mean(evidence: Evidence, names: Sequence[str], *energies: float, sample: str) -> Value:
    """Mean KS distance of a sample that is `_trained` over observables and incident energies."""
    return atlas_vae.mean(evidence, names, *energies, sample=_trained(evidence, sample))


@claims.rule("single_critic")
def _single_critic(evidence: Evidence) -> Finding:
    """Each single critic must be worse in one of the two."""
    both = [_both(evidence, sample) for sample in (GAN, *SINGLE.values())]
    (resolution, shapes), *single = both
    margins = [max(error - resolution, distance - shapes, key=Value.significance) for error, distance in single]
    numbers = {"resolution": resolution, "shapes": shapes}
    for number, (error, distance) in enumerate(single):
        numbers |= {f"resolution_{number}": error, f"shapes_{number}": distance}
    return margins, numbers


@claims.rule("small_weight")
def _small_weight(evidence: Evidence) -> Finding:
    scatters, labels = evidence.values["scatters"], (SINGLE[10.0], SINGLE[1e-13])
    large, small = ((*_both(evidence, label), scatters[label]) for label in labels)
    numbers = {
        f"{name}_{size}": value
        for size, values in (("small", small), ("large", large))
        for name, value in zip(("resolution", "shapes", "scatter"), values, strict=True)
    }
    return [large[0] - small[0], small[1] - large[1], small[2] - large[2]], numbers


@claims.rule("without_energy_critic")
def _without_energy_critic(evidence: Evidence) -> Finding:
    without, ours = (_ratio(evidence, "resolution", sample, *HIGH) for sample in (SINGLE[10.0], GAN))
    published = NUMBERS["resolution_without_energy_critic"].value
    return [without - 0.75 * published, without - ours], {"without": without, "ours": ours}


@claims.rule("picking")
def _picking(evidence: Evidence) -> Finding:
    numbers = evidence.value("picking", "no iteration was picked")
    return [numbers["ks"] - numbers["picked"]], numbers


@claims.rule("mean_energy")
def _mean_energy(evidence: Evidence) -> Finding:
    ours, vae = (error_of(evidence, "mean", sample) for sample in (GAN, VAE))
    return [vae - ours], {"ours": ours, "vae": vae}


@claims.rule("energy_spread_of_both")
def _energy_spread_of_both(evidence: Evidence) -> Finding:
    ours, vae = (error_of(evidence, "spread", sample) for sample in (GAN, VAE))
    return [vae - ours], {"ours": ours, "vae": vae}


@claims.rule("energy_spread")
def _energy_spread(evidence: Evidence) -> Finding:
    low, high = _ratio(evidence, "spread", GAN, *LOW), _ratio(evidence, "spread", GAN, *HIGH)
    return [1 - low, high - 1], {"low": low, "high": high}


@claims.rule("lambda_moment")
def _lambda_moment(evidence: Evidence) -> Finding:
    names = ("second_lambda_moment",)
    low, high = (mean(evidence, names, *energies, sample=GAN) for energies in (SHOWN[:1], SHOWN[1:]))
    return [0.2 - low, high - 0.2], {"low": low, "high": high}


@claims.rule("lateral_shapes_low")
def _lateral_shapes_low(evidence: Evidence) -> Finding:
    ours, vae = (mean(evidence, SHAPE_NAMES, SHOWN[0], sample=sample) for sample in (GAN, VAE))
    return [0.1 - abs(ours - vae)], {"ours": ours, "vae": vae}


@claims.rule("summary")
def _summary(evidence: Evidence) -> Finding:
    shapes, vae_shapes = (mean(evidence, _SHAPES, *SHOWN, sample=sample) for sample in (GAN, VAE))
    total, vae_total = (mean(evidence, TOTAL, *SHOWN, sample=sample) for sample in (GAN, VAE))
    numbers = {"shapes": shapes, "vae_shapes": vae_shapes, "total": total, "vae_total": vae_total}
    return [shapes - vae_shapes, vae_total - total], numbers


@claims.rule("impact_position")
def _impact_position(evidence: Evidence) -> Finding:
    centres, gan = evidence.values["centres"], _trained(evidence, GAN)
    off = {layer: _distance(centres[layer][gan], centres[layer]["Geant4"]) for layer in ("front", "middle")}
    return [0.5 - value for value in off.values()], off


@claims.rule("impact_position_of_the_vae")
def _impact_position_of_the_vae(evidence: Evidence) -> Finding:
    centres = evidence.values["centres"]
    middle = _size(centres["middle"][_trained(evidence, VAE)]) / _size(centres["middle"]["Geant4"])
    front = _distance(centres["front"][VAE], evidence.values["steps"])
    return [0.5 - middle, 0.5 - front], {"middle": middle, "front": front}


@claims.rule("position_as_input")
def _position_as_input(evidence: Evidence) -> Finding:
    without, ours = (mean(evidence, SHAPE_NAMES, *SHOWN, sample=sample) for sample in (WITHOUT_POSITION, GAN))
    return [without - ours], {"without": without, "ours": ours}


@claims.rule("time")
def _time(evidence: Evidence) -> Finding:
    times = evidence.values["times"]
    ratio = times[SHOWN[-1]] / times[TRAINED[0]]
    return [0.1 - abs(ratio - 1)], {"ratio": ratio}


def _compared_with_vae(evidence: Evidence, names: Sequence[str], energies: Sequence[float]) -> Finding:
    """Holds where the VAE's mean KS distance is the smaller one."""
    ours, vae = (mean(evidence, names, *energies, sample=sample) for sample in (GAN, VAE))
    return [ours - vae], {"ours": ours, "vae": vae}


claims.rule("layer_energies")(partial(_compared_with_vae, names=_FRONT_MIDDLE, energies=SHOWN[1:2]))
claims.rule("depth")(partial(_compared_with_vae, names=("shower_depth",), energies=SHOWN))
claims.rule("lateral_shapes_high")(partial(_compared_with_vae, names=SHAPE_NAMES, energies=SHOWN[1:]))


def _of_gan(rule: Callable[[Evidence, str], Finding]) -> ClaimRule:
    return lambda evidence: rule(evidence, _trained(evidence, GAN))


claims.rule("presampler_back_energy")(_of_gan(atlas_vae.presampler_back))
claims.rule("interpolation")(_of_gan(atlas_vae.interpolation))
claims.rule("extrapolation")(_of_gan(atlas_vae.extrapolation))
claims.rule("extrapolation_shapes")(_of_gan(atlas_vae.extrapolation_shapes))
claims.rule("depth_trend")(_of_gan(lambda evidence, _: atlas_vae.depth_trend(evidence)))
claims.rule("speed")(atlas_vae.speed)
claims.rule("memory")(atlas_vae.memory)


def _both(evidence: Evidence, sample: str) -> tuple[Value, Value]:
    """Error of the resolution at 65 to 262 GeV, and mean KS distance of the lateral shapes."""
    resolution = error_of(evidence, "resolution", sample, (SHOWN[1], *HIGH))
    return resolution, mean(evidence, SHAPE_NAMES, *SHOWN, sample=sample)


def _size(profile: Profile) -> Value:
    """Root mean square of a profile."""
    nothing = np.zeros_like(profile.mean)
    return _distance(profile, Profile(profile.edges, nothing, nothing), unit=1.0)


def _distance(profile: Profile, expected: Profile, unit: float | None = None) -> Value:
    """Root mean square difference of two profiles, in units of that of the expected one."""
    both = np.isfinite([profile.mean, expected.mean, profile.error, expected.error]).all(axis=0)
    difference, errors = (profile.mean - expected.mean)[both], np.hypot(profile.error, expected.error)[both]
    unit = unit or float(np.sqrt(np.mean(expected.mean[both] ** 2)))
    rms = float(np.sqrt(np.mean(difference**2)))
    error = float(np.sqrt(np.sum((difference * errors) ** 2))) / (len(difference) * rms) if rms else 0.0
    return Value(rms / unit, error / unit)
