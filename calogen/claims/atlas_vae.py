"""The claims of arXiv:2210.06204 about its VAE, judged on our showers.

Every rule is a number that is positive where the claim holds, with its error; the limits that the paper leaves to the
eye ("good", "similar", "several times") are ours and stand in the text of the claim's figure.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from calogen.claims.judge import Claim, Quantity, judge
from calogen.claims.rules import combined, difference, mean, over_seeds, significance, texts
from calogen.evaluation.compare import Comparison, Measurement
from calogen.evaluation.published import ATLAS_VAE_CLAIMS, ATLAS_VAE_NUMBERS, ATLAS_VAE_OBSERVABLES
from calogen.evaluation.summary import ResponseCurve
from calogen.metrics.distributions import Value
from calogen.units import GeV

VAE, ABSOLUTE = "VAE", "VAE, absolute inputs"
TRAINED = tuple(2.0**power for power in range(10, 19))
LOW, HIGH = (1024.0, 2048.0, 4096.0), (131072.0, 262144.0)
SHOWN = (4096.0, 65536.0, 262144.0)
INTERPOLATED, NEIGHBOURS, EXTRAPOLATED = 24576.0, (16384.0, 32768.0), 524288.0
COMPARED = tuple(sorted({*SHOWN, INTERPOLATED, *NEIGHBOURS, EXTRAPOLATED}))
SHAPES = ("r_eta", "r_phi", "w_eta2", "w_s_tot")
JUDGES = tuple(item for item in ATLAS_VAE_OBSERVABLES if item.name != "second_lambda_moment")
"""Observables whose mean KS distance on validation showers chooses settings and compares epochs."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What one trained pair of networks (VAE and its ablation) gave.

    Args:
        comparisons: by incident energy, MeV; those of `COMPARED` with the samples `VAE` and `ABSOLUTE`.
        geant4, vae, absolute: mean response and resolution against energy.
        depths: energy -> mean shower depth, mm: Geant4, VAE.
        shares: layer -> mean energy at 65 GeV, % of the photon's energy: Geant4, VAE.
        epoch_distances: finished epochs -> mean KS distance on validation showers.
        best_epoch: the epoch, counted from 1, with the smallest loss on validation showers; a key of the above.
    """

    comparisons: Mapping[float, Comparison]
    geant4: ResponseCurve
    vae: ResponseCurve
    absolute: ResponseCurve
    depths: Mapping[float, tuple[Value, Value]]
    shares: Mapping[str, tuple[Value, Value]]
    epoch_distances: Mapping[int, Value]
    best_epoch: int

    def metric(self, energy: float, observable: str, metric: str, sample: str = VAE) -> Measurement:
        """One entry of the metrics tables."""
        rows = self.comparisons[energy].observables[observable].measurements
        return next(row for row in rows if row.metric == metric and row.sample == sample)

    def mean_metric(
        self, energies: Sequence[float], observables: Sequence[str], metric: str = "ks", sample: str = VAE
    ) -> Value:
        """A metric averaged over energies and observables."""
        rows = [self.metric(energy, name, metric, sample).measured for energy in energies for name in observables]
        return mean(rows)

    def mean_excess(self, energies: Sequence[float], observables: Sequence[str]) -> Value:
        """Mean KS distance above its floor: what samples of different sizes compare by."""
        rows = [self.metric(energy, name, "ks") for energy in energies for name in observables]
        return mean([Value(row.measured.value - row.floor.mean, row.measured.error) for row in rows])


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Time and memory of generation.

    Args:
        geant4_seconds: incident energy, MeV -> CPU seconds per shower.
        one_by_one_seconds, batch_seconds: per generated shower, one at a time and 10,000 at once.
        json_bytes, weight_bytes, added_bytes: decoder as LWTNN JSON, its float32 weights, memory that a process
            gains by loading the JSON and generating.
        origin: where the Geant4 times come from.
    """

    geant4_seconds: Mapping[float, float]
    one_by_one_seconds: float
    batch_seconds: float
    json_bytes: int
    weight_bytes: int
    added_bytes: int
    origin: str

    def speedup(self, energy: float) -> float:
        """Geant4's time over ours, one shower at a time."""
        return self.geant4_seconds[energy] / self.one_by_one_seconds


Rule = Callable[[Evidence], tuple[Value, dict[str, Value]]]


def judge_claims(seeds: Sequence[Evidence], costs: Costs) -> tuple[Claim, ...]:
    """The claims table, averaged over the trained seeds."""
    claims = []
    scatter = "" if len(seeds) > 1 else " [one training: the scatter between trainings is not in the errors]"
    for name, (rule, text) in _RULES.items():
        found = [rule(evidence) for evidence in seeds]
        shown = {key: combined([figures[key] for _, figures in found]) for key in found[0][1]}
        claims.append(_claim(name, combined([value for value, _ in found]), text.format(**texts(shown)) + scatter))
    low, high = costs.speedup(8192.0), costs.speedup(262144.0)
    claims.append(
        _claim(
            "speed",
            Value(min(low / 10, high / 100) - 1, 0.0),
            f"{low:,.0f}x at 8 GeV, {high:,.0f}x at 262 GeV, one shower at a time on this machine ({costs.origin})",
        )
    )
    sizes = (costs.json_bytes, costs.weight_bytes, costs.added_bytes)
    megabytes = [size / 1e6 for size in sizes]
    claims.append(
        _claim(
            "memory",
            Value(2 * ATLAS_VAE_NUMBERS["memory"].value - max(megabytes), 0.0),
            "LWTNN JSON {:.1f} MB, weights {:.1f} MB, memory added by loading and generating {:.1f} MB "
            "(holds up to 10 MB)".format(*megabytes),
        )
    )
    return tuple(claims)


def quantities(seeds: Sequence[Evidence], costs: Costs, data: str) -> tuple[Quantity, ...]:
    """The numbers beside the paper's: layer shares, response, resolution, cost."""
    found = []
    for layer in ("presampler", "front", "middle", "back"):
        published = ATLAS_VAE_NUMBERS[f"{layer}_share"].value
        geant4 = seeds[0].shares[layer][0]
        ours, spread = over_seeds([evidence.shares[layer][1] for evidence in seeds])
        name = f"share of the {layer} at 65 GeV"
        found.append(Quantity(f"{name}, Geant4", "%", published, geant4.value, geant4.error, None, data, headline=True))
        found.append(Quantity(f"{name}, VAE", "%", published, ours.value, ours.error, spread, data, headline=True))
    for energy in (*SHOWN, INTERPOLATED, EXTRAPOLATED):
        for title, attribute in (("mean response", "mean"), ("resolution", "resolution")):
            name = f"{title} at {energy / GeV:.4g} GeV"
            geant4 = _at(seeds[0].geant4, attribute, energy)
            found.append(Quantity(f"{name}, Geant4", "", None, geant4.value, geant4.error, data=data))
            ours, spread = over_seeds([_at(evidence.vae, attribute, energy) for evidence in seeds])
            found.append(Quantity(f"{name}, VAE", "", None, ours.value, ours.error, spread, data))
    megabyte = 1e-6
    found += [
        *(
            Quantity(
                f"speed-up over Geant4 at {gev}", "", words, costs.speedup(energy), data=costs.origin, headline=True
            )
            for gev, words, energy in (("8 GeV", "about 10", 8192.0), ("262 GeV", "over 100", 262144.0))
        ),
        Quantity("one shower", "us", None, costs.one_by_one_seconds * 1e6, data="CPU, no TensorFlow"),
        Quantity("one of 10,000 showers", "us", None, costs.batch_seconds * 1e6, data="TensorFlow"),
        *(
            Quantity(name, "MB", "about 5", size * megabyte, headline=True)
            for name, size in (
                ("decoder as LWTNN JSON", costs.json_bytes),
                ("decoder's weights", costs.weight_bytes),
                ("memory added by generation", costs.added_bytes),
            )
        ),
    ]
    return tuple(found)


def _absolute_inputs(evidence: Evidence) -> tuple[Value, dict[str, Value]]:
    """Holds where the total energy or the shapes are worse than with reparametrised inputs."""
    names = {"total": ("total_energy",), "shapes": SHAPES}
    found = {
        f"{kind}_{key}": evidence.mean_metric(SHOWN, observables, sample=sample)
        for kind, observables in names.items()
        for key, sample in (("ours", VAE), ("absolute", ABSOLUTE))
    }
    losses = [difference(found[f"{kind}_absolute"], found[f"{kind}_ours"]) for kind in names]
    return max(losses, key=significance), found


def _absolute_inputs_spread(evidence: Evidence) -> tuple[Value, dict[str, Value]]:
    ratio = evidence.mean_metric(SHOWN, ("total_energy",), "rms_ratio", ABSOLUTE)
    ours = evidence.mean_metric(SHOWN, ("total_energy",), "rms_ratio")
    evidences = [Value(ratio.value - 2, ratio.error), difference(ratio, ours)]
    return min(evidences, key=significance), {"absolute": ratio, "ours": ours}


def _front_middle(evidence: Evidence) -> tuple[Value, dict[str, Value]]:
    good = evidence.mean_metric((65536.0,), ("front_energy", "middle_energy"))
    poor = evidence.mean_metric((65536.0,), ("presampler_energy", "back_energy"))
    evidences = [difference(poor, good), Value(0.2 - good.value, good.error)]
    return min(evidences, key=significance), {"good": good, "poor": poor}


def _presampler_back(evidence: Evidence) -> tuple[Value, dict[str, Value]]:
    layers = ("presampler", "back")
    ratios = {name: evidence.metric(65536.0, f"{name}_energy", "mean_ratio").measured for name in layers}
    return min((Value(1 - ratio.value, ratio.error) for ratio in ratios.values()), key=significance), ratios


def _depth_trend(evidence: Evidence) -> tuple[Value, dict[str, Value]]:
    pairs = [evidence.depths[energy] for energy in sorted(evidence.depths) if energy <= SHOWN[-1]]
    rises = [difference(pairs[-1][kind], pairs[0][kind]) for kind in (0, 1)]
    error = float(np.hypot(rises[0].error, rises[1].error) / abs(rises[0].value))
    return Value(0.2 - abs(rises[1].value / rises[0].value - 1), error), {"geant4": rises[0], "ours": rises[1]}


def _lambda_moment(evidence: Evidence) -> tuple[Value, dict[str, Value]]:
    low = evidence.mean_metric((4096.0, 65536.0), ("second_lambda_moment",))
    high = evidence.metric(262144.0, "second_lambda_moment", "ks").measured
    return Value(0.2 - low.value, low.error), {"low": low, "high": high}


def _mean_response(evidence: Evidence) -> tuple[Value, dict[str, Value]]:
    ratios = {energy: _relative(evidence, "mean", energy) for energy in (*LOW, 65536.0)}
    low = mean([ratios[energy] for energy in LOW])
    return Value(1 - low.value, low.error), {"low": low, "high": ratios[65536.0]}


def _energy_spread(evidence: Evidence) -> tuple[Value, dict[str, Value]]:
    low = mean([_relative(evidence, "spread", energy) for energy in LOW])
    high = mean([_relative(evidence, "spread", energy) for energy in HIGH])
    evidences = [Value(1 - low.value, low.error), Value(high.value - 1, high.error)]
    return min(evidences, key=significance), {"low": low, "high": high}


def _interpolation(evidence: Evidence) -> tuple[Value, dict[str, Value]]:
    names = ("total_energy", "shower_depth", "r_eta", "r_phi")
    between = evidence.mean_excess((INTERPOLATED,), names)
    neighbours = [evidence.mean_excess((energy,), names) for energy in NEIGHBOURS]
    worst = max(neighbours, key=lambda value: value.value)
    limit = Value(1.25 * worst.value, 1.25 * worst.error)
    return difference(limit, between), {"between": between, "below": neighbours[0], "above": neighbours[1]}


def _extrapolation(evidence: Evidence) -> tuple[Value, dict[str, Value]]:
    beyond = evidence.mean_excess((EXTRAPOLATED,), ("total_energy",))
    highest = evidence.mean_excess((SHOWN[-1],), ("total_energy",))
    ratio = evidence.metric(EXTRAPOLATED, "total_energy", "mean_ratio").measured
    near = Value(0.1 - abs(ratio.value - 1), ratio.error)
    worse = difference(beyond, highest)
    figures = {"beyond": beyond, "highest": highest, "ratio": ratio}
    return min((near, worse), key=significance), figures


def _extrapolation_shapes(evidence: Evidence) -> tuple[Value, dict[str, Value]]:
    beyond = evidence.mean_excess((EXTRAPOLATED,), ("r_eta", "r_phi"))
    highest = evidence.mean_excess((SHOWN[-1],), ("r_eta", "r_phi"))
    limit = Value(1.25 * highest.value, 1.25 * highest.error)
    return difference(limit, beyond), {"beyond": beyond, "highest": highest}


def _best_epoch(evidence: Evidence) -> tuple[Value, dict[str, Value]]:
    best = evidence.epoch_distances[evidence.best_epoch]
    others = [value for epoch, value in evidence.epoch_distances.items() if epoch != evidence.best_epoch]
    # The same validation showers judge all epochs, and against the best of several the chosen one would lose by
    # chance: it is held against their mean, with the error of one.
    mean = Value(float(np.mean([value.value for value in others])), best.error)
    least = min(others, key=lambda value: value.value)
    figures = {"best": best, "mean": mean, "least": least, "epoch": Value(evidence.best_epoch, 0.0)}
    return Value(mean.value - best.value, best.error), figures


_RULES: dict[str, tuple[Rule, str]] = {
    "absolute_inputs": (
        _absolute_inputs,
        "mean KS distance at 4, 65, 262 GeV, absolute inputs: total energy {total_absolute}, shapes {shapes_absolute}; "
        "reparametrised: {total_ours}, {shapes_ours}",
    ),
    "absolute_inputs_spread": (
        _absolute_inputs_spread,
        "RMS of the total energy over Geant4's, mean of 4, 65, 262 GeV: {absolute} (reparametrised: {ours}; "
        "holds above 2 and the latter)",
    ),
    "front_middle_energy": (
        _front_middle,
        "KS distance at 65 GeV: front and middle {good} (holds below 0.2 and the others'), presampler and back {poor}",
    ),
    "presampler_back_energy": (
        _presampler_back,
        "mean energy over Geant4's at 65 GeV: presampler {presampler}, back {back}",
    ),
    "depth_trend": (
        _depth_trend,
        "mean depth grows from 1 to 262 GeV by {ours} mm, Geant4 {geant4} mm (holds within 20 %)",
    ),
    "lambda_moment": (
        _lambda_moment,
        "KS distance at 4 and 65 GeV {low} (holds below 0.2), at 262 GeV {high}",
    ),
    "mean_response": (_mean_response, "mean energy over Geant4's: {low} at 1-4 GeV, {high} at 65 GeV"),
    "energy_spread": (_energy_spread, "RMS of the energy over Geant4's: {low} at 1-4 GeV, {high} at 131-262 GeV"),
    "interpolation": (
        _interpolation,
        "mean KS distance of energy, depth, R_eta, R_phi above the Geant4 floor: {between} at 25 GeV, {below} at 16, "
        "{above} at 33 GeV (holds up to 1.25 times the larger)",
    ),
    "extrapolation": (
        _extrapolation,
        "total energy at 524 GeV: KS distance above the Geant4 floor {beyond} (262 GeV: {highest}), mean over Geant4's "
        "{ratio} (close: within 10 %)",
    ),
    "extrapolation_shapes": (
        _extrapolation_shapes,
        "mean KS distance of R_eta and R_phi above the Geant4 floor: {beyond} at 524 GeV, {highest} at 262 GeV "
        "(holds up to 1.25 times that)",
    ),
    "best_epoch": (
        _best_epoch,
        "mean KS distance on validation showers: {best} at the smallest loss (epoch {epoch}), other epochs {mean} in "
        "the mean, {least} at least",
    ),
}


def _claim(name: str, value: Value, ours: str) -> Claim:
    published = ATLAS_VAE_CLAIMS[name]
    return Claim(published.claim, published.source, published.words, ours, judge(value))


def _relative(evidence: Evidence, attribute: str, energy: float) -> Value:
    expected, received = _at(evidence.geant4, attribute, energy), _at(evidence.vae, attribute, energy)
    ratio = received.value / expected.value
    return Value(ratio, float(np.hypot(received.error, ratio * expected.error) / expected.value))


def _at(curve: ResponseCurve, attribute: str, energy: float) -> Value:
    return getattr(curve, attribute)[int(np.flatnonzero(curve.energies == energy)[0])]
