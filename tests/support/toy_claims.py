"""Evidence that makes every claim of CaloShowerGAN hold, and what it is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from toy_gan import network_test

from calogen.claims import caloshowergan
from calogen.claims.caloshowergan import KINETIC, PION
from calogen.claims.judge import Claim
from calogen.evaluation.compare import Comparison, Scored
from calogen.evaluation.iterations import ALL, HELD_OUT, TRAIN, WITH_SHAPES, IterationScan, NetworkTest
from calogen.evaluation.trainings import Evidence
from calogen.metrics.chi2 import Chi2
from calogen.metrics.distributions import Floor, Value
from calogen.metrics.histograms import Histogram
from calogen.observables.observable import Observable

LOW, MEDIUM, HIGH = (8, 12), (12, 16), (16, 18)
Numbers = float | Mapping[float, float]


def late_for_low(momenta: Sequence[float], first: int = 0) -> IterationScan:
    """Every momentum reaches its best earlier than the one below it; the best total is the last iteration."""
    number = len(momenta)
    step, column = np.indices((number, number))
    chi2 = np.where(step >= number - 1 - column, 28.0, 140.0)
    return IterationScan(1000 * (first + 1 + np.arange(number)), np.array(momenta), chi2, np.full(chi2.shape, 28))


def steps(momenta: Sequence[float], sign: int) -> dict[str, IterationScan]:
    """`late_for_low`, in unequal steps; chi2 of the shapes does as much in steps of its own, or the contrary."""
    scan = late_for_low(momenta)
    number = 12 - len(momenta)  # more saved iterations, before anything changes
    chi2 = np.concatenate([np.repeat(scan.chi2[:1], number, axis=0), scan.chi2])
    chi2 = chi2 + np.where(chi2 > 100, np.arange(len(momenta)), 0) * 10.0
    every = replace(scan, iterations=1000 * (1 + np.arange(12)), chi2=chi2, ndf=np.full(chi2.shape, 28))
    return {ALL: every, WITH_SHAPES: replace(every, chi2=chi2 + 5000.0 + sign * 2 * chi2, ndf=3 * every.ndf)}


def flat(momenta: Sequence[float], totals: Sequence[float]) -> IterationScan:
    """The same chi2/NDF at all momenta: the best iteration of each is the best one of all."""
    chi2 = np.repeat(28.0 * np.array(totals)[:, None], len(momenta), axis=1)
    return IterationScan(1000 * np.arange(1, len(totals) + 1), np.array(momenta), chi2, np.full(chi2.shape, 28))


def made(powers: tuple[int, int], per_ndf: Numbers, error: float = 0.02, **scans: IterationScan) -> NetworkTest:
    """chi2/NDF of every momentum, or by momentum, with its error; 28 degrees of freedom, 10,000 showers each."""
    momenta = [2.0**power for power in range(powers[0], powers[1] + 1)]
    values = {m: per_ndf[m] if isinstance(per_ndf, Mapping) else per_ndf for m in momenta}
    return network_test(
        {**steps(momenta, 1), **scans},
        chi2={m: Chi2(28 * value, 28, (28 * error) ** 2) for m, value in values.items()},
        untrained={ALL: 100.0},
        num_showers=dict.fromkeys(momenta, 10_000),
    )


def at_top(top: float, rest: float) -> dict[float, float]:
    """At 2^17..2^19 MeV, and below, at the paper's statistics: half of our showers at 2^19 MeV."""
    return {2.0**power: top if power >= 17 else rest for power in range(8, 19)} | {2.0**19: 2 * top - 1}


def at_4_gev(last: float, below: float) -> dict[float, float]:
    return {2.0**power: last if power == 12 else below for power in range(8, 13)}


PHOTONS = {
    "photon": made((8, 18), 2.7), "photon-kinetic": made((8, 19), at_top(6.0, 3.0)),
    "photon-low": made(LOW, 1.4), "photon-low-kinetic": made(LOW, at_4_gev(5.0, 2.0)),
    "photon-upper": made((12, 18), 2.3), "photon-upper-kinetic": made((12, 18), 3.5),
    "photon-medium": made(MEDIUM, 1.8), "photon-medium-kinetic": made(MEDIUM, 3.0),
    "photon-high": made(HIGH, 1.9), "photon-high-kinetic": made(HIGH, 3.0), "photon-maximum": made((8, 18), 5.0),
    "photon-noise-1kev": made((8, 18), 2.7), "photon-noise-1mev": made((8, 18), 3.5),
    "photon-mask-1kev": made((8, 18), 2.6), "photon-mask-1mev": made((8, 18), 2.9),
}  # fmt: skip
PION_RANGE = (8, 16)
PION_MOMENTA = [2.0**power for power in range(8, 17)]


def held_out(half: float, whole: float) -> dict[str, IterationScan]:
    """chi2/NDF of held-out showers after half of the iterations and after all of them: the best to train, too."""
    train = flat(PION_MOMENTA, (9.0, 8.0, 3.0, 4.0, 5.0, 2.0))  # iterations 1,000,000 and 2,000,000 are chosen
    found = {TRAIN: train, HELD_OUT: flat(PION_MOMENTA, (0.5, 0.5, half, 0.5, 0.5, whole))}
    return {name: replace(scan, iterations=2_000_000 * np.arange(1, 7) // 6) for name, scan in found.items()}


def late_until(last: int, powers: tuple[int, int]) -> IterationScan:
    """`late_for_low`, up to an iteration; with so many degrees of freedom that 10 % can be told."""
    scan = late_for_low([2.0**power for power in range(powers[0], powers[1] + 1)])
    iterations = np.linspace(last // 5, last, len(scan.iterations)).astype(int)
    return replace(scan, iterations=iterations, chi2=100 * scan.chi2, ndf=100 * scan.ndf)


LONG = late_until(2_000_000, PION_RANGE)  # chi2/NDF: (4 x 1 + 5 x 5) / 9 after half of the iterations
PIONS = {
    "pion": made(PION_RANGE, 1.5, **{ALL: LONG}, **held_out(3.0, 1.5)),
    "pion-kinetic": made(PION_RANGE, 4.0, **{ALL: late_until(1_000_000, PION_RANGE)}),
    "pion-low": made(LOW, 3.2, **{ALL: late_until(1_000_000, LOW)}),
    "pion-upper": made((12, 16), 3.3, **{ALL: late_until(1_000_000, (12, 16))}),
}
TOP = (KINETIC, 2.0**19, "total_energy", "mean_ratio")
METRICS: dict[tuple[str, float, str, str], tuple[Value, float]] = {
    TOP: (Value(0.95, 0.01), 0.01),
}
"""(measured, limit of the floor) by sample, momentum, observable and metric."""
Counts = tuple[Sequence[int], Sequence[int]]
PEAK, NO_PEAK = [300, 10, 250, 220, 20, 200], [300, 300, 60, 40, 200, 100]  # the first bin has the empty layers
WIDTHS, SPURIOUS = [100, 400, 300, 150, 50], [100, 300, 300, 250, 50]
HISTOGRAMS: dict[tuple[float, str], Counts] = {
    **{(512.0, f"layer_{layer}_energy"): (PEAK, NO_PEAK) for layer in (0, 1)},
    **{(512.0, f"layer_{layer}_eta_width"): (WIDTHS, SPURIOUS) for layer in (12, 13)},
    **{(8192.0, f"layer_{layer}_eta_width"): (WIDTHS, WIDTHS) for layer in (12, 13)},
}
"""Numbers of showers in bins, Geant4's and ours, by momentum and observable."""


MEGABYTES = {"single GAN": 6.31, "three GANs": 14.96, "pion GAN (untrained)": 20.0, "slice": 50.0}


def histogram_of(counts: Sequence[int]) -> Histogram:
    return Histogram(np.arange(len(counts) + 1.0), np.array([0, *counts, 0]))


def comparisons(
    metrics: Mapping[tuple[str, float, str, str], tuple[Value, float]], histograms: Mapping[tuple[float, str], Counts]
) -> dict[float, Comparison]:
    histogram = Histogram.fill(np.ones(2), np.array([0.0, 2.0]))
    found: dict[float, dict[str, Scored[Observable]]] = {}
    for (momentum, name), (expected, ours) in histograms.items():
        both = {"reference": histogram_of(expected), PION: histogram_of(ours)}
        found.setdefault(momentum, {})[name] = Scored(Observable(name, np.ones, name), momentum, both)
    for (sample, momentum, name, metric), (measured, limit) in metrics.items():
        numbers, floors = {sample: {metric: measured}}, {sample: {metric: Floor(0.0, 0.0, limit)}}
        both = {"reference": histogram, sample: histogram}
        found.setdefault(momentum, {})[name] = Scored(Observable(name, np.ones, name), momentum, both, numbers, floors)
    return {**found}


def times(*seconds: float) -> dict[float, Value]:
    return {2.0 ** (10 + 3 * position): Value(value, 2e-4) for position, value in enumerate(seconds)}


def evidence(networks: Mapping[str, NetworkTest] | None = None, **fields: Any) -> Evidence:
    """What makes every claim hold, but for the changes; `metrics` and `histograms` change single ones."""
    metrics, histograms = METRICS | fields.pop("metrics", {}), HISTOGRAMS | fields.pop("histograms", {})
    others = {"FastCaloGAN": fields.pop("fastcalogan", made((8, 18), 6.0))}
    given = {name: fields.pop(name) for name in ("comparisons", "alone") if name in fields}
    values: dict[str, Any] = {
        "seed_scatter": 0.1, "seconds": times(5.0e-3, 5.2e-3, 4.9e-3), "overshoot": Value(0.010, 0.001),
        "narrow": (Value(0.05, 0.002), Value(0.01, 0.005)), "megabytes": MEGABYTES,
    }  # fmt: skip
    whole = {"comparisons": comparisons(metrics, histograms), "others": others, "values": values | fields}
    return Evidence(networks={**PHOTONS, **PIONS, **(networks or {})}, **(whole | given))


def shapes(*signs: int) -> dict[str, NetworkTest]:
    """Networks whose shapes improve with the total energy, or do the contrary."""
    every = {"photon": (8, 18), "photon-low": LOW, "photon-medium": MEDIUM, "photon-high": HIGH}
    return {
        name: replace(PHOTONS[name], scans=steps([2.0**power for power in range(low, high + 1)], sign))
        for (name, (low, high)), sign in zip(every.items(), signs, strict=True)
    }


CLAIMS = {"photon": caloshowergan.PHOTONS, "pion": caloshowergan.PIONS}


def claim(particle: str, name: str, *seeds: Evidence) -> Claim:
    """A particle's claim, as the evidence of these seeds judges it."""
    position = list(CLAIMS[particle].statements).index(name)
    return CLAIMS[particle].judge(seeds)[position]
