"""What a training seed gave, and what cannot be said without a part of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from calogen.evaluation.compare import Comparison, Measurement
from calogen.evaluation.iterations import ALL, NetworkTest
from calogen.metrics.chi2 import total
from calogen.metrics.distributions import Value
from calogen.metrics.histograms import Histogram


class NotDecidedError(Exception):
    """Says what a claim needs that this run does not have.

    Args:
        message: what is missing.
        network: that was not trained, if that is it.
    """

    def __init__(self, message: str, network: str = "") -> None:
        super().__init__(message)
        self.network = network


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What one training seed gave.

    Methods raise NotDecidedError of what is missing or did not learn.

    Args:
        comparisons: with Geant4, by incident energy, MeV.
        networks: tests by name.
        others: tests of other papers' networks on the same showers, by paper; None: not trained.
        alone: whether there is no other training seed: then the scatter between late iterations stands for theirs.
        values: what claims look at beyond the tests, by name.
        chi2: chi2/NDF of what the claim at hand needs, by its names there; the judge fills it in.
    """

    comparisons: Mapping[float, Comparison]
    networks: Mapping[str, NetworkTest] = field(default_factory=dict)
    others: Mapping[str, NetworkTest | None] = field(default_factory=dict)
    alone: bool = False
    values: Mapping[str, Any] = field(default_factory=dict)
    chi2: Mapping[str, Value] = field(default_factory=dict)

    def value(self, name: str, missing: str) -> Any:  # noqa: ANN401 - a claim knows what its experiment has put there
        """One of the values; where it is None, the error says what is missing."""
        if self.values.get(name) is None:
            raise NotDecidedError(missing)
        return self.values[name]

    def network(self, name: str) -> NetworkTest:
        """The test of a network that learned."""
        test, other = {**self.networks, **self.others}.get(name), name in self.others
        if test is None:
            raise NotDecidedError(f"{name} was not trained{' on these showers' if other else ''}", name)
        if test.idle:
            raise NotDecidedError(f"{name}'s {test.idle}" if other else test.idle)
        return test

    def per_ndf(self, *names: str) -> Value:
        """chi2/NDF of networks together, with its error."""
        tests = [self.network(name) for name in names]
        found = total(part for test in tests for part in test.chi2.values())
        scatter = [total(test.chi2.values()).ndf * test.scans[ALL].late_scatter for test in tests]
        late = float(np.sqrt(np.sum(np.square(scatter)))) / max(found.ndf, 1)
        return found.reduced + Value(0.0, late * self.alone)

    def at(self, name: str, momentum: float) -> Value:
        """chi2/NDF of a network at one momentum."""
        test = self.network(name)
        return test.chi2[momentum].reduced + Value(0.0, test.scans[ALL].at(momentum).late_scatter * self.alone)

    def within(self, name: str, iterations: int) -> Value:
        """chi2/NDF of a network, had its training ended after so many iterations."""
        test = self.network(name)
        return test.within(iterations).reduced + Value(0.0, test.scans[ALL].late_scatter * self.alone)

    def needed(self, groups: Mapping[str, Sequence[str]], others: bool = False) -> dict[str, Value]:
        """`per_ndf` of groups of networks; `others` shows them beside one that did not learn."""
        found, problem = {}, None
        for label, names in groups.items():
            try:
                found[label] = self.per_ndf(*names)
            except NotDecidedError as error:
                problem = problem or error
        if problem is None:
            return found
        shown = ", ".join(f"{label.replace('_', ' ')} {item.value:.3g}" for label, item in found.items())
        known = f"; of the others: {shown}" if others and shown and not problem.network else ""
        raise NotDecidedError(f"{problem}{known}", problem.network)

    def metric(self, energy: float, observable: str, metric: str, sample: str) -> Measurement:
        """One entry of the metrics tables."""
        found = self.comparisons.get(energy)
        for row in found[observable].measurements if found else ():
            if (row.metric, row.sample) == (metric, sample):
                return row
        raise NotDecidedError(f"there is no {sample} with showers of {energy:.10g} MeV")

    def histograms(self, energy: float, observable: str, sample: str) -> tuple[Histogram, Histogram]:
        """The reference's and a sample's distribution."""
        if energy not in self.comparisons:
            raise NotDecidedError(f"there are no showers of {energy:.10g} MeV")
        found = self.comparisons[energy][observable].histograms
        return found["reference"], found[sample]
