"""What claims on GANs look at: the tests of a training seed's networks, compared showers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from calogen.evaluation.compare import Comparison, Measurement
from calogen.evaluation.iterations import ALL, NetworkTest
from calogen.metrics.chi2 import Chi2, total
from calogen.metrics.distributions import Value
from calogen.metrics.histograms import Histogram


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the networks of one training seed gave.

    Args:
        networks: tests by name.
        by_momentum: comparisons with the samples of `LABELS`, `KINETIC` or `PION`.
        overshoot: share of the three GANs' showers above the reference's 99.5 % quantile of the energy in layer 0.
        narrow: share of showers narrower than 1 mm in layers 12 and 13, Geant4's and ours.
        seed_scatter: standard deviation of chi2/NDF over generation seeds.
        seconds: time of one shower by incident energy, s: mean and standard deviation of 100 trials.
        fastcalogan: tests of FastCaloGAN's network of the same seed; None: it was not trained.
        alone: whether there is no other training seed: then the scatter between late iterations stands for theirs.
    """

    networks: Mapping[str, NetworkTest]
    by_momentum: Mapping[float, Comparison]
    seed_scatter: float
    seconds: Mapping[float, Value]
    overshoot: Value | None = None
    narrow: tuple[Value, Value] | None = None
    fastcalogan: NetworkTest | None = None
    alone: bool = False

    def per_ndf(self, names: Sequence[str]) -> Value:
        """chi2/NDF of networks together, with its error."""
        return self.of(*(self.network(name) for name in names))

    def network(self, name: str) -> NetworkTest:
        """The test of a network.

        Raises:
            NotDecidedError: this run has none of this name, or it did not learn.
        """
        if name not in self.networks:
            raise NotDecidedError(f"{name} was not trained", "missing")
        if problem := untrained(self.networks[name]):
            raise NotDecidedError(problem)
        return self.networks[name]

    def of(self, *tests: NetworkTest) -> Value:
        """chi2/NDF of tests together, with its error."""
        found = total(part for test in tests for part in test.chi2.values())
        scatter = [total(test.chi2.values()).ndf * late_scatter(test) for test in tests] if self.alone else [0.0]
        return Value(found.per_ndf, float(np.hypot(found.error, np.sqrt(np.sum(np.square(scatter))) / found.ndf)))

    def known(self, groups: Mapping[str, Sequence[str]]) -> dict[str, Value]:
        """`per_ndf` of groups of networks.

        Raises:
            NotDecidedError: names the first network that is missing or did not learn, then with the others' figures.
        """
        found, missing = {}, None
        for label, names in groups.items():
            try:
                found[label] = self.per_ndf(names)
            except NotDecidedError as error:
                missing = missing or error
        if missing is None:
            return found
        shown = ", ".join(f"{label.replace('_', ' ')} {item.value:.3g}" for label, item in found.items())
        others = f"; of the others: {shown}" if shown and missing.remedy == "paper" else ""
        raise NotDecidedError(f"{missing}{others}", missing.remedy)

    def at(self, name: str, momentum: float) -> Value:
        """chi2/NDF of a network at one momentum."""
        test = self.network(name)
        found, scan = test.chi2[momentum], test.scans[ALL]
        column = scan.momenta == momentum
        values = scan.chi2[:, column].sum(axis=1) / np.maximum(scan.ndf[:, column].sum(axis=1), 1)
        return Value(found.per_ndf, float(np.hypot(found.error, _late(values) if self.alone else 0.0)))

    def within(self, name: str, iterations: int) -> Value:
        """chi2/NDF of a network, had its training ended after so many iterations."""
        test = self.network(name)
        found, scatter = test.within(iterations), late_scatter(test) if self.alone else 0.0
        return Value(found.per_ndf, float(np.hypot(found.error, scatter)))

    def metric(self, momentum: float, observable: str, metric: str, sample: str) -> Measurement:
        """One entry of the metrics tables."""
        found = self.by_momentum.get(momentum)
        for row in found.observables[observable].measurements if found else ():
            if (row.metric, row.sample) == (metric, sample):
                return row
        raise NotDecidedError(f"there is no {sample} with showers of {momentum:.10g} MeV")

    def histograms(self, momentum: float, observable: str, sample: str) -> tuple[Histogram, Histogram]:
        """The reference's and a sample's distribution."""
        if momentum not in self.by_momentum:
            raise NotDecidedError(f"there are no showers of {momentum:.10g} MeV")
        found = self.by_momentum[momentum].observables[observable]
        return found.reference, found.generated[sample]


class NotDecidedError(Exception):
    """Says what a claim needs that this run does not have.

    Args:
        message: what is missing.
        remedy: name of the command that would give it, as for `judge_claims`.
    """

    def __init__(self, message: str, remedy: str = "paper") -> None:
        super().__init__(message)
        self.remedy = remedy


def untrained(test: NetworkTest) -> str:
    """Says of a network that it needs a longer training; nothing of others.

    Over the last third of its iterations it is no better than at the first saved one: the best of noise is chosen.
    """
    scan = test.scans[ALL]
    first, late = float(scan.total[0]), float(np.median(scan.total[-max(1, len(scan.total) // 3) :]))
    if len(scan.total) < 2 or late < first:
        return ""
    return (
        f"{test.name} did not learn in {scan.iterations[-1]:,} iterations: chi2/NDF {first:.1f} after the first "
        f"{scan.iterations[0]:,}, {late:.1f} over the last third"
    )


def late_scatter(test: NetworkTest) -> float:
    """Standard deviation of chi2/NDF over the last third of the iterations."""
    return _late(test.scans[ALL].total)


def _late(values: np.ndarray) -> float:
    return float(np.std(values[-max(2, len(values) // 3) :], ddof=1)) if len(values) > 1 else 0.0


Found = tuple[tuple[Value, ...], dict[str, Value]]
Rule = Callable[[Evidence], Found]
"""Evidence -> conditions, positive where they hold (the weakest decides; none: undecided), and figures for the text."""


def value_of(chi2: Chi2) -> Value:
    """chi2/NDF with its error."""
    return Value(chi2.per_ndf, chi2.error)


def share_of(histogram: Histogram, bins: slice) -> Value:
    """Share of the showers in some bins; its error is not below that of one shower."""
    share, number = float(histogram.fractions[bins].sum()), max(int(histogram.counts.sum()), 1)
    return Value(share, float(np.sqrt(max(share * (1 - share), 1 / number) / number)))


def percent(value: Value) -> Value:
    """100 times a value."""
    return Value(100 * value.value, 100 * value.error)
