"""Evidence for claims: the results of one training seed, and an error for missing ones."""

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
    """A claim needs results that this run does not have.

    Args:
        message: what is missing.
        network: name of the network that was not trained, if this is the reason.
    """

    def __init__(self, message: str, network: str = "") -> None:
        super().__init__(message)
        self.network = network


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The results of one training seed, from which claims are judged.

    Methods raise NotDecidedError if results are missing; those that take names of networks, if one did not learn.

    Args:
        comparisons: of generated showers with Geant4, by incident energy, MeV.
        networks: tests of the networks by name.
        others: tests of other papers' networks on the same showers, by paper; None: the network was not trained.
        alone: whether this is the only training seed. If so, errors include the scatter of chi2 between late
            iterations, which stands for the unknown scatter between seeds.
        values: further results that claims look at, by name.
        chi2: chi2/NDF of the networks that the claim at hand needs, by its names for them; the judge sets it.
    """

    comparisons: Mapping[float, Comparison]
    networks: Mapping[str, NetworkTest] = field(default_factory=dict)
    others: Mapping[str, NetworkTest | None] = field(default_factory=dict)
    alone: bool = False
    values: Mapping[str, Any] = field(default_factory=dict)
    chi2: Mapping[str, Value] = field(default_factory=dict)

    def value(self, name: str, missing: str) -> Any:  # noqa: ANN401 - a claim knows what its experiment has put there
        """One of `values`; if it is None, an error says what is missing."""
        if self.values.get(name) is None:
            raise NotDecidedError(missing)
        return self.values[name]

    def samples(self, name: str, *labels: str) -> list[Any]:
        """What one of `values` has of some samples; a claim about others is undecided."""
        known = self.values[name]
        for label in labels:
            if label not in known:
                raise NotDecidedError(f"{label} was not trained", label)
        return [known[label] for label in labels]

    def network(self, name: str) -> NetworkTest:
        """The test of a network that learned."""
        test, other = {**self.networks, **self.others}.get(name), name in self.others
        if test is None:
            raise NotDecidedError(f"{name} was not trained{' on these showers' if other else ''}", name)
        if test.idle:
            raise NotDecidedError(f"{name}'s {test.idle}" if other else test.idle)
        return test

    def per_ndf(self, *names: str) -> Value:
        """chi2/NDF of several networks together, with its error."""
        tests = [self.network(name) for name in names]
        chi2 = total(part for test in tests for part in test.chi2.values())
        scatter = [total(test.chi2.values()).ndf * test.scans[ALL].late_scatter for test in tests]
        late = float(np.sqrt(np.sum(np.square(scatter)))) / max(chi2.ndf, 1)
        return chi2.reduced + Value(0.0, late * self.alone)

    def at(self, name: str, momentum: float) -> Value:
        """chi2/NDF of a network at one momentum."""
        test = self.network(name)
        return test.chi2[momentum].reduced + Value(0.0, test.scans[ALL].at(momentum).late_scatter * self.alone)

    def within(self, name: str, iterations: int) -> Value:
        """chi2/NDF of a network, had its training ended after `iterations` iterations."""
        test = self.network(name)
        return test.within(iterations).reduced + Value(0.0, test.scans[ALL].late_scatter * self.alone)

    def needed(self, groups: Mapping[str, Sequence[str]], others: bool = False) -> dict[str, Value]:
        """`per_ndf` of groups of networks; with `others`, an error tells what else is known."""
        values, problem = {}, None
        for label, names in groups.items():
            try:
                values[label] = self.per_ndf(*names)
            except NotDecidedError as error:
                problem = problem or error
        if problem is None:
            return values
        shown = ", ".join(f"{label.replace('_', ' ')} {item.value:.3g}" for label, item in values.items())
        known = f"; of the others: {shown}" if others and shown and not problem.network else ""
        raise NotDecidedError(f"{problem}{known}", problem.network)

    def metric(self, energy: float, observable: str, metric: str, sample: str) -> Measurement:
        """One entry of the table of metrics at an incident energy, MeV."""
        comparison = self.comparisons.get(energy)
        for row in comparison[observable].measurements if comparison else ():
            if (row.metric, row.sample) == (metric, sample):
                return row
        missing = sample if comparison else ""
        raise NotDecidedError(f"there is no {sample} with showers of {energy:.10g} MeV", missing)

    def histograms(self, energy: float, observable: str, sample: str) -> tuple[Histogram, Histogram]:
        """Histograms of the reference and of a sample at an incident energy, MeV."""
        if energy not in self.comparisons:
            raise NotDecidedError(f"there are no showers of {energy:.10g} MeV")
        histograms = self.comparisons[energy][observable].histograms
        return histograms["reference"], histograms[sample]
