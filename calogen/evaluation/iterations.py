"""chi2 of a training's saved iterations, and the test of the iteration that was chosen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from calogen.errors import DataFormatError
from calogen.metrics.chi2 import ROUNDS, Chi2, Rule, energy_chi2, total
from calogen.observables.cells import total_energy
from calogen.observables.shape_quantities import ShowerQuantity
from calogen.showers.sample import Showers

ALL, TRAIN, HELD_OUT = "all", "training", "held-out"
"""Names of references: all Geant4 showers, those of the training, those held out of it."""
VALIDATION = "validation"
"""Name of the reference that the training's validation showers are."""
WITH_SHAPES = "shapes"
"""Name of the figure of merit that adds layer energies, centres and widths to the total energy."""
SHORTLIST = "shortlist"
"""Name of the scan of those iterations that one figure of merit leaves to the choice by others."""


def chi2_by_momentum(
    reference: Showers,
    generated: Showers,
    rule: Rule,
    quantities: Sequence[ShowerQuantity] = (total_energy,),
    rounds: int = ROUNDS,
) -> dict[float, Chi2]:
    """chi2 of each incident energy, summed over quantities.

    Where a quantity's reference values do not spread around their median, as in a layer that most showers do not reach,
    it is left out of the sum.

    Args:
        reference, generated: showers of the same incident energies.
        rule: one of `RULES`.
        quantities: functions of showers that give `[n]` values, NaN where a shower has none.
        rounds: how often showers are resampled for the error, as for `energy_chi2`.
    """
    sums: dict[float, Chi2] = {}
    for energy in np.unique(reference.incident_energies).tolist():
        samples, parts = (reference.at(energy), generated.at(energy)), []
        for quantity in quantities:
            expected, received = (values[np.isfinite(values)] for values in map(quantity, samples))
            try:
                edges = rule.edges(expected, energy)
            except (DataFormatError, IndexError) as error:
                if quantity is total_energy:
                    raise DataFormatError(f"at {energy:.10g} MeV {error}") from error
                continue
            parts.append(energy_chi2(expected, received, edges, rule.clip, rounds))
        sums[energy] = total(parts)
    return sums


@dataclass(frozen=True)
class IterationScan:
    """chi2 and NDF of a training's saved iterations.

    Args:
        iterations: `[k]`, increasing.
        momenta: `[m]`, MeV, increasing.
        chi2, ndf: `[k, m]`.
    """

    iterations: np.ndarray
    momenta: np.ndarray
    chi2: np.ndarray
    ndf: np.ndarray

    @property
    def merit(self) -> str:
        """Name of what `total` is: `chi2_per_ndf`, or `merit` if it is no sum over energies."""
        return "chi2_per_ndf" if self.momenta.all() else "merit"

    @property
    def total(self) -> np.ndarray:
        """chi2/NDF of all momenta together, `[k]`."""
        return self.chi2.sum(axis=1) / np.maximum(self.ndf.sum(axis=1), 1)

    @property
    def best(self) -> int:
        """Index of the iteration with the smallest `total`."""
        return int(np.argmin(self.total))

    def choice(self, unit: str) -> dict[str, float]:
        """The best iteration (or epoch, as `unit` says) and its figure of merit, by name."""
        return {unit: int(self.iterations[self.best]), self.merit: float(self.total[self.best])}

    @property
    def best_by_momentum(self) -> np.ndarray:
        """Index of the iteration with the smallest chi2/NDF, for each momentum, `[m]`."""
        return np.argmin(self.chi2 / np.maximum(self.ndf, 1), axis=0)

    @property
    def late(self) -> float:
        """Median of `total` over the last third of the iterations."""
        return float(np.median(self.total[-max(1, len(self.total) // 3) :]))

    @property
    def late_scatter(self) -> float:
        """Standard deviation of `total` over the last third of the iterations."""
        late = self.total[-max(2, len(self.total) // 3) :]
        return float(np.std(late, ddof=1)) if len(late) > 1 else 0.0

    def to_frame(self) -> pd.DataFrame:
        """A table with a row for each iteration and incident energy (MeV): chi2 and NDF."""
        places = pd.MultiIndex.from_product([self.iterations, self.momenta], names=["iteration", "incident_energy"])
        return pd.DataFrame({"chi2": self.chi2.ravel(), "ndf": self.ndf.ravel()}, index=places).reset_index()

    def at(self, momentum: float) -> "IterationScan":
        """The scan at one momentum, MeV."""
        column = self.momenta == momentum
        return replace(self, momenta=self.momenta[column], chi2=self.chi2[:, column], ndf=self.ndf[:, column])


def shortlisted(first: IterationScan, further: Sequence[IterationScan], share: float) -> IterationScan:
    """The iterations that one figure of merit shortlists, with their summed ranks in others.

    Ranks count from 1, among the shortlisted iterations; of equal sums, the one with the smaller first figure of merit
    wins by a little.

    Args:
        first: scan that shortlists the `share` of the iterations with its smallest totals, at least one.
        further: scans that rank these.
        share: above 0, up to 1.
    """
    count = max(1, round(share * len(first.iterations)))
    rows = np.sort(np.argsort(first.total, kind="stable")[:count])
    ranks = [rankdata(scan.total[rows]) for scan in further]
    sums = np.sum(ranks, axis=0) + 1e-6 * rankdata(first.total[rows])
    return IterationScan(first.iterations[rows], np.zeros(1), sums[:, None], np.ones((count, 1)))


@dataclass(frozen=True, kw_only=True)
class NetworkTest:
    """The test of the iteration that was chosen from a network's training.

    Args:
        name: what texts call the network.
        scans: by name, scans of the iterations: with all showers as reference (`ALL`), with only those of the training
            (`TRAIN`) or those held out (`HELD_OUT`), and with shapes (`WITH_SHAPES`).
        chi2: by momentum in MeV, of the chosen iteration with all showers as reference.
        floor: by momentum, of Geant4 against Geant4: held-out against training showers; empty if none are held out.
        num_showers: by momentum, the number of reference showers.
        num_held_out: by momentum, how many of these are held out.
        chosen_by: name of the scan whose smallest value chose the iteration.
        statistics: by momentum in MeV, the paper's number of showers; if it is not known, our number is used.
        untrained: figures of merit before the first iteration, by the name of their scan; empty: the first saved
            iteration counts.
    """

    name: str
    scans: Mapping[str, IterationScan]
    chi2: Mapping[float, Chi2]
    floor: Mapping[float, Chi2]
    num_showers: Mapping[float, int]
    num_held_out: Mapping[float, int] = field(default_factory=dict)
    chosen_by: str = ALL
    statistics: Mapping[float, int] = field(default_factory=dict)
    untrained: Mapping[str, float] = field(default_factory=dict)

    @property
    def iteration(self) -> int:
        """The chosen iteration."""
        scan = self.scans[self.chosen_by]
        return int(scan.iterations[scan.best])

    @property
    def last_iteration(self) -> int:
        """The last saved iteration."""
        return int(self.scans[ALL].iterations[-1])

    @property
    def idle(self) -> str:
        """A sentence that the network did not learn; empty if it did.

        It did not if neither the figure of merit nor the one with shapes is better over the last third of its
        iterations than before its training (`untrained`), by more than it scatters there: then noise chooses among
        them.
        """
        scan = self.scans[ALL]
        before = self.untrained or {ALL: float(scan.total[0])}
        found = [(self.scans[name], before[name]) for name in (ALL, WITH_SHAPES) if name in before]
        margins = [first - item.late - item.late_scatter for item, first in found]
        if len(scan.total) < 2 or max(margins) > 0:
            return ""
        merit = {"chi2_per_ndf": "chi2/NDF", "merit": "figure of merit"}[scan.merit]
        begun = "before" if self.untrained else f"after the first {scan.iterations[0]:,}"
        return (
            f"{self.name} did not learn in {scan.iterations[-1]:,} iterations: {merit} {before[ALL]:.1f} {begun}, "
            f"{scan.late:.1f} over the last third"
        )

    @property
    def at_papers_statistics(self) -> dict[float, Chi2]:
        """`chi2` scaled to the paper's numbers of showers, by momentum."""
        return {momentum: self._scaled(part, momentum, self.num_showers) for momentum, part in self.chi2.items()}

    @property
    def held_out_at_papers_statistics(self) -> Chi2 | None:
        """`held_out_within` the whole training, scaled to the paper's numbers of showers."""
        if HELD_OUT not in self.scans:
            return None
        scan, chosen = self.scans[HELD_OUT], self.scans[TRAIN].best
        parts = zip(scan.momenta.tolist(), scan.chi2[chosen].tolist(), scan.ndf[chosen].tolist(), strict=True)
        return total(
            self._scaled(_noncentral(value, ndf), momentum, self.num_held_out) for momentum, value, ndf in parts
        )

    def held_out_within(self, iterations: int | None) -> Chi2 | None:
        """chi2 of held-out showers; those of the training choose among the first `iterations`."""
        if HELD_OUT not in self.scans:
            return None
        return _best_within(self.scans[TRAIN], self.scans[HELD_OUT], iterations)

    def within(self, iterations: int) -> Chi2:
        """chi2 of all momenta, had the training ended after `iterations`."""
        return _best_within(self.scans[self.chosen_by], self.scans[ALL], iterations)

    def _scaled(self, part: Chi2, momentum: float, num_showers: Mapping[float, int]) -> Chi2:
        number = num_showers[momentum]
        return part.at_statistics(number, self.statistics.get(momentum, number))


def _best_within(judge: IterationScan, scan: IterationScan, iterations: int | None) -> Chi2:
    """A scan's chi2 where `judge` has its minimum among the first `iterations`.

    If none is so early, the first one is taken. The variance is that of a noncentral chi2: 2 NDF + 4 excess.
    """
    allowed = np.ones(len(scan.iterations), bool) if iterations is None else scan.iterations <= iterations
    chosen = int(np.argmin(np.where(allowed, judge.total, np.inf)))
    return _noncentral(float(scan.chi2[chosen].sum()), int(scan.ndf[chosen].sum()))


def _noncentral(value: float, ndf: int) -> Chi2:
    return Chi2(value, ndf, 2 * ndf + 4 * max(value - ndf, 0.0))
