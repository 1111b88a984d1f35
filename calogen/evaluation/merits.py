"""Figures of merit that choose an epoch or iteration: the smallest value is the best.

It is a function of reference and generated showers; if it is a sum over energies, its `by_energy` gives the terms.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from calogen.errors import ConfigError
from calogen.evaluation.iterations import chi2_by_momentum
from calogen.metrics.chi2 import RULES, Chi2, total
from calogen.metrics.distributions import Bins, Value
from calogen.metrics.resampling import measure
from calogen.observables.cells import total_energy
from calogen.observables.observable import Observable
from calogen.observables.shape_quantities import shape_quantities
from calogen.showers.sample import Showers

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
        """The mean KS distance."""
        return mean_ks_distance(reference, generated, self.observables)


def mean_ks_distance(reference: Showers, generated: Showers, observables: Sequence[Observable]) -> Value:
    """Mean KS distance over energies and observables: 0 for equal samples, 1 for disjoint.

    Where an observable is defined for fewer than two reference showers, it is left out; where that is so for the
    generated showers only, its distance counts as 1. NaN if no observable is left.

    Args:
        reference, generated: showers of the same incident energies.
        observables: what to compare.
    """
    distances = []
    for energy in np.unique(reference.incident_energies):
        samples = reference.at(energy), generated.at(energy)
        for item in observables:
            expected, received = (item.values(showers) for showers in samples)
            if np.isfinite(expected).sum() < 2:
                continue
            defined = np.isfinite(received).sum() > 1
            distances.append(measure(expected, received, _KS)["ks"] if defined else Value(1.0, 0.0))
    if not distances:
        return Value(np.nan, np.nan)
    values, errors = (np.array([getattr(item, part) for item in distances]) for part in ("value", "error"))
    return Value(float(np.mean(values)), float(np.sqrt((errors**2).sum()) / len(distances)))
