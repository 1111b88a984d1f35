"""Figures of merit that choose an epoch or iteration: the smallest value is the best.

It is a function of reference and generated showers; if it is a sum over energies, its `by_energy` gives the terms.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from calogen.errors import ConfigError
from calogen.evaluation.iterations import chi2_by_momentum
from calogen.features.conditions import CellAlignment
from calogen.metrics.chi2 import ROUNDS, RULES, Chi2, total
from calogen.metrics.distributions import Bins, Value
from calogen.metrics.resampling import ks_statistic, measure
from calogen.observables.cells import total_energy
from calogen.observables.observable import Observable
from calogen.observables.shape_quantities import shape_quantities
from calogen.showers.sample import Showers

_TINY = 1e-30  # instead of an energy or a resolution of 0, which has no logarithm
_UNDEFINED = 10.0  # standard deviations
_KS = Bins(np.array([0.0, 1.0]), ("ks",))  # the KS distance does not depend on bins


class Merit(Protocol):
    """A figure of merit; its `repr` describes it, and it can be pickled for another process."""

    def __call__(self, reference: Showers, generated: Showers) -> Value:
        """How far generated showers are from reference showers of the same incident energies."""


@runtime_checkable
class MeritByEnergy(Merit, Protocol):
    """A figure of merit that is a sum of chi2 over incident energies."""

    def by_energy(self, reference: Showers, generated: Showers, rounds: int = 0) -> dict[float, Chi2]:
        """The terms of the sum, by energy, with errors from `rounds` rounds of resampling."""


@dataclass(frozen=True)
class Chi2Merit:
    """The chi2/NDF of a published rule, summed over incident energies.

    Args:
        rule: name of one of `RULES`.
        shapes: whether layer energies, centres and widths count beside the total energy, as section 6 of
            arXiv:2309.06515 proposes.
    """

    rule: str
    shapes: bool = False

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ConfigError(f"rule must be one of {', '.join(RULES)}. Received: {self.rule!r}")
        if self.shapes and RULES[self.rule].energies_only:
            raise ConfigError(f"shapes need a rule for them. Received: {self.rule!r}, a rule for energies only")

    def by_energy(self, reference: Showers, generated: Showers, rounds: int = 0) -> dict[float, Chi2]:
        """chi2 and NDF of each incident energy, with errors from `rounds` rounds of resampling."""
        quantities = shape_quantities(reference.geometry) if self.shapes else (total_energy,)
        return chi2_by_momentum(reference, generated, RULES[self.rule], quantities, rounds)

    def __call__(self, reference: Showers, generated: Showers) -> Value:
        """chi2/NDF of all incident energies together."""
        return Value(total(self.by_energy(reference, generated).values()).per_ndf, float("nan"))


@dataclass(frozen=True)
class DistanceMerit:
    """`mean_ks_distance` of some observables."""

    observables: tuple[Observable, ...]

    def __call__(self, reference: Showers, generated: Showers) -> Value:
        """The mean KS distance; its error is not estimated, as it takes longer than all else."""
        return mean_ks_distance(reference, generated, self.observables, errors=False)


@dataclass(frozen=True)
class CovarianceMerit:
    """Root mean square difference of two covariance matrices, averaged over energies.

    The matrices are those of the cells' (or voxels') energies over the incident energy.

    Source: arXiv:2210.06204, "Generative Adversarial Networks", and ATL-SOFT-PUB-2018-001, section 4.2; the average
        over energies is ours.
    """

    def __call__(self, reference: Showers, generated: Showers) -> Value:
        """The distance; its error is not estimated."""
        distances = []
        for energy in np.unique(reference.incident_energies).tolist():
            samples = (showers.at(energy).energies.astype(np.float64) / energy for showers in (reference, generated))
            expected, received = (np.cov(sample, rowvar=False, ddof=0) for sample in samples)
            distances.append(float(np.sqrt(np.mean(np.square(received - expected)))))
        return Value(float(np.mean(distances)), float("nan"))


@dataclass(frozen=True)
class ResolutionMerit:
    """Mean distance between the logarithms of two energy resolutions, over incident energies.

    The resolution is the standard deviation of the total energy over its mean.
    """

    def __call__(self, reference: Showers, generated: Showers) -> Value:
        """The distance: 0.1 means resolutions that are 10 % off; its error is not estimated."""
        distances = []
        for energy in np.unique(reference.incident_energies):
            totals = [total_energy(showers.at(energy)) for showers in (reference, generated)]
            expected, received = (max(values.std() / max(values.mean(), _TINY), _TINY) for values in totals)
            distances.append(abs(np.log(received / expected)))
        return Value(float(np.mean(distances)), float("nan"))


@dataclass(frozen=True)
class ConditionalMeanMerit:
    """How badly an observable's mean follows a condition, in the reference's deviations.

    The condition divides the showers of each incident energy into groups; the figure is the root mean square, over
    groups and energies, of the difference of the means. A group without any value among the generated showers is
    `_UNDEFINED` standard deviations off; one with fewer than two among the reference's is left out.

    Args:
        observable: the observable.
        condition: encoding that is 1 in one of its columns: that of the shower's group.
    """

    observable: Observable
    condition: CellAlignment

    def __call__(self, reference: Showers, generated: Showers) -> Value:
        """The distance; its error is not estimated."""
        differences = []
        for energy in np.unique(reference.incident_energies):
            samples = [showers.at(energy) for showers in (reference, generated)]
            values = [self.observable.values(sample) for sample in samples]
            groups = [self.condition.forward(sample.given).argmax(axis=1) for sample in samples]
            spread = float(np.nanstd(values[0])) if np.isfinite(values[0]).sum() > 1 else 0.0
            for group in range(self.condition.dim):
                expected, received = (
                    found[(rows == group) & np.isfinite(found)] for found, rows in zip(values, groups, strict=True)
                )
                if len(expected) > 1 and spread > 0:
                    off = (received.mean() - expected.mean()) / spread if len(received) else _UNDEFINED
                    differences.append(float(off))
        return Value(float(np.sqrt(np.mean(np.square(differences)))) if differences else np.nan, float("nan"))


def mean_ks_distance(
    reference: Showers, generated: Showers, observables: Sequence[Observable], *, errors: bool = True
) -> Value:
    """Mean KS distance over energies and observables: 0 for equal samples, 1 for disjoint.

    Where an observable is defined for fewer than two reference showers, it is left out; where that is so for the
    generated showers only, its distance counts as 1. NaN if no observable is left.

    Args:
        reference, generated: showers of the same incident energies.
        observables: what to compare.
        errors: whether to estimate the error; else it is NaN.
    """
    distances, spreads = list[Value](), list[float]()
    for energy in np.unique(reference.incident_energies):
        samples, before = (reference.at(energy), generated.at(energy)), len(distances)
        for item in observables:
            expected, received = (item.values(showers) for showers in samples)
            if np.isfinite(expected).sum() < 2:
                continue
            if np.isfinite(received).sum() < 2:
                distances.append(Value(1.0, 0.0))
            elif errors:
                distances.append(measure(expected, received, _KS)["ks"])
            else:
                pair = expected[np.isfinite(expected)], received[np.isfinite(received)]
                distances.append(Value(ks_statistic(*pair), np.nan))
        spreads.append(sum(item.error for item in distances[before:]))  # of the same showers: errors go together
    if not distances:
        return Value(np.nan, np.nan)
    error = float(np.sqrt(np.sum(np.square(spreads)))) / len(distances)
    return Value(float(np.mean([item.value for item in distances])), error)


def floor_by_energy(train: Showers, held_out: Showers, merit: MeritByEnergy) -> dict[float, Chi2]:
    """chi2 of held-out showers and as many training showers, by incident energy, MeV.

    Unequal samples give more.
    """
    floor: dict[float, Chi2] = {}
    for energy in np.unique(held_out.incident_energies).tolist():
        first, second = train.at(energy), held_out.at(energy)
        size = min(len(first), len(second))
        floor |= merit.by_energy(first[:size], second[:size], ROUNDS)
    return floor
