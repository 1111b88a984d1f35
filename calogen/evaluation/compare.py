"""One engine for all comparisons of showers: tables of named observables, their histograms, metrics and floors.

A table has a column for each observable: features of voxels, kept by `streaming`, or a paper's observables of any
showers. All results are plain data: `calogen.plots` and `calogen.reports` draw and tell them, and compute nothing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Literal, Protocol

import numpy as np

from calogen.errors import DataFormatError
from calogen.metrics.distributions import METRICS, Bins, Floor, Value, json_number
from calogen.metrics.features import Feature
from calogen.metrics.histograms import Histogram, logarithmic_edges, reference_edges
from calogen.metrics.resampling import Chi2Error, Resampling, bootstrap_floors, dealt_floor, measure
from calogen.observables.cells import AverageShower, average_showers
from calogen.observables.observable import Observable, Observed
from calogen.parallel import in_threads, num_workers
from calogen.showers.sample import Showers

ALL_ENERGIES = 0.0
"""What stands for the incident energy where all of them are taken together."""

_WORKERS = 2  # at most: more would wait for Python's lock

Values = Mapping[str, Value]
Binning = Callable[[Feature, np.ndarray, float], Bins]
"""(observable, its values in the reference, incident energy or `ALL_ENERGIES`) -> its bins and metrics."""


class Table(Protocol):
    """Named observables of some showers."""

    @property
    def features(self) -> tuple[Feature, ...]:
        """What the columns are."""

    @property
    def incident_energies(self) -> np.ndarray:
        """Of each shower, `[n]`, MeV."""

    def __getitem__(self, name: str) -> np.ndarray:
        """One column by its name, NaN where it is not defined."""


@dataclass(frozen=True)
class Compared:
    """One observable of the reference and of what is compared with it.

    Args:
        feature: which.
        incident_energy: MeV, or `ALL_ENERGIES`.
        bins: of the histograms and of what is binned.
        histograms: by sample, first of `reference`.
        measured: metrics by sample.
        floors: of the metrics, by sample, by bootstrap of the reference; empty where a second one gives the floor.
        expected: by sample, the `dealt_floor`; empty without a second reference's floor.
    """

    feature: Feature
    incident_energy: float
    bins: Bins
    histograms: Mapping[str, Histogram]
    measured: Mapping[str, Values]
    floors: Mapping[str, Mapping[str, Floor]]
    expected: Values


def compare(
    reference: Table,
    generated: Mapping[str, Table],
    binning: Binning,
    resampling: Resampling = "showers",
    floor: Literal["bootstrap", "second"] = "bootstrap",
    energies: Mapping[str, Sequence[float]] = MappingProxyType({}),
    seed: int = 0,
) -> Iterator[Compared]:
    """Compare samples with the reference, observable by observable.

    Args:
        reference, generated: tables with the same columns.
        binning: gives each observable its bins and metrics.
        resampling: for the errors, as `measure` has it; with cells, the error of chi2/NDF is by resampling, too.
        floor: `bootstrap` draws both samples from the reference. `second` takes what the sample `second_reference`
            gives, and what samples that are dealt out again give.
        energies: by quantity, the incident energies at which it is also compared alone.
        seed: of everything random.

    Returns:
        Of each column, first all incident energies together.
    """
    tables = {"reference": reference, **generated}
    chi2_error: Chi2Error = "resampling" if resampling == "cells" else "ndf"

    def work(task: tuple[Feature, float]) -> Compared:
        feature, energy = task
        columns = {name: _column(table, feature, energy, resampling == "cells") for name, table in tables.items()}
        given = columns["reference"]
        bins = binning(feature, given, energy)
        histograms = {name: Histogram.fill(column, bins.edges) for name, column in columns.items()}
        measured = {
            name: measure(given, columns[name], bins, resampling=resampling, chi2_error=chi2_error, seed=seed)
            for name in generated
        }
        if floor == "second":
            expected = {name: dealt_floor(given, columns[name], bins, seed) for name in generated}
            return Compared(feature, energy, bins, histograms, measured, {}, expected)
        sizes = {name: histograms[name].entries for name in generated}
        found = {size: bootstrap_floors(given, size, bins, seed) for size in set(sizes.values())}
        floors = {name: found[size] for name, size in sizes.items()}
        return Compared(feature, energy, bins, histograms, measured, floors, {})

    return in_threads(work, list_tasks(reference, energies), num_workers(_WORKERS))


def list_tasks(table: Table, energies: Mapping[str, Sequence[float]]) -> list[tuple[Feature, float]]:
    """Columns, each with `ALL_ENERGIES` and the energies of its quantity."""
    return [
        (feature, energy)
        for feature in table.features
        for energy in (ALL_ENERGIES, *energies.get(feature.quantity, ()))
    ]


def _column(table: Table, feature: Feature, energy: float, in_order: bool) -> np.ndarray:
    column = table[feature.name]
    column = column[table.incident_energies == energy] if energy else column
    return np.sort(column) if in_order else column  # NaN at the end


@dataclass(frozen=True)
class Measurement:
    """One metric of a sample beside its Geant4-against-Geant4 floor: a row of the table.

    Args:
        incident_energy: MeV, or `ALL_ENERGIES`.
        observable, sample, metric: names; `metric` is a key of `METRICS`.
        measured: the metric, generated against reference.
        floor: the same for two independent Geant4 samples of these sizes.
        num_reference, num_generated: showers that have a value.
        undefined: generated showers that have none (they are in no metric).
    """

    incident_energy: float
    observable: str
    sample: str
    metric: str
    measured: Value
    floor: Floor
    num_reference: int
    num_generated: int
    undefined: int

    @property
    def within_floor(self) -> bool:
        """False where two Geant4 samples of these sizes differ as much in under 1 of 20 cases."""
        return not METRICS[self.metric].excess(self.measured.value) > self.floor.limit

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; a number that is not defined becomes None."""
        values = asdict(self)
        for key in ("measured", "floor"):
            values[key] = {name: json_number(number) for name, number in values[key].items()}
        return values


@dataclass(frozen=True)
class ObservableComparison:
    """One observable of all samples at one energy.

    Args:
        observable: which.
        incident_energy: MeV, or `ALL_ENERGIES`.
        reference: histogram of the reference sample.
        generated: histograms of the generated samples by label, with the same edges.
        measurements: the metrics of each generated sample.
    """

    observable: Observable
    incident_energy: float
    reference: Histogram
    generated: Mapping[str, Histogram]
    measurements: tuple[Measurement, ...]


@dataclass(frozen=True)
class Comparison:
    """All of one incident energy: observables by name, and the average shower layer by layer."""

    incident_energy: float
    observables: Mapping[str, ObservableComparison]
    average: tuple[AverageShower, ...]

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        """The metrics table."""
        return tuple(row for item in self.observables.values() for row in item.measurements)


def compare_at(
    reference: Showers,
    generated: Mapping[str, Showers],
    observables: Sequence[Observable],
    seed: int = 0,
    reference_label: str = "Geant4",
) -> Comparison:
    """Compare generated samples with the reference at one incident energy.

    Args:
        reference: showers of one incident energy.
        generated: samples of the same energy and geometry, by label.
        observables: what to compare.
        seed: of the bootstrap.
        reference_label: what to call the reference in the average showers.

    Raises:
        DataFormatError: the samples do not all have one and the same incident energy.
    """
    energies = np.unique(
        np.concatenate([np.unique(item.incident_energies) for item in (reference, *generated.values())])
    )
    if len(energies) != 1:
        raise DataFormatError(
            "samples to compare must all have the same incident energy (select one with Showers.at). "
            f"Received: {', '.join(f'{energy:g}' for energy in energies[:10])} MeV"
        )
    energy = float(energies[0])
    average = average_showers({reference_label: reference, **generated}, energy)
    return Comparison(energy, _compare_observables(reference, generated, observables, seed, energy), average)


def compare_together(
    reference: Showers, generated: Mapping[str, Showers], observables: Sequence[Observable], seed: int = 0
) -> dict[str, ObservableComparison]:
    """Compare generated samples with the reference, all incident energies together.

    Their energy is `ALL_ENERGIES`.

    Args:
        reference: showers of several incident energies.
        generated: samples with the same shares of the same energies, by label.
        observables: what to compare.
        seed: of the bootstrap.

    Raises:
        DataFormatError: a sample has other energies, or other shares of them.
    """
    for label, showers in generated.items():
        (energies, counts), (others, numbers) = (
            np.unique(sample.incident_energies, return_counts=True) for sample in (reference, showers)
        )
        if not np.array_equal(energies, others) or (counts * len(showers) != numbers * len(reference)).any():
            raise DataFormatError(
                f"{label} must have the reference's shares of its {len(energies)} incident energies to be compared "
                f"with all of them together. Received: {len(others)} energies, {numbers.tolist()} of {counts.tolist()}"
            )
    return _compare_observables(reference, generated, observables, seed, ALL_ENERGIES)


def _compare_observables(
    reference: Showers, generated: Mapping[str, Showers], observables: Sequence[Observable], seed: int, energy: float
) -> dict[str, ObservableComparison]:
    """Histograms in the reference's bins; chi2/NDF and separation power join sparse bins."""
    named = {item.name: item for item in observables}

    def binning(feature: Feature, values: np.ndarray, _: float) -> Bins:
        item = named[feature.name]
        return Bins((logarithmic_edges if item.log_axis else reference_edges)(values, item.tail), item.metrics)

    tables = {label: Observed(showers, named) for label, showers in generated.items()}
    found = compare(Observed(reference, named), tables, binning, seed=seed)
    return {item.feature.name: _observable_comparison(item, named[item.feature.name], energy) for item in found}


def _observable_comparison(found: Compared, observable: Observable, energy: float) -> ObservableComparison:
    generated = {name: item for name, item in found.histograms.items() if name in found.measured}
    reference = found.histograms["reference"]
    rows = (
        Measurement(energy, observable.name, label, metric, value, found.floors[label][metric], *counts)
        for label, histogram in generated.items()
        for counts in [(reference.entries, histogram.entries, histogram.undefined)]
        for metric, value in found.measured[label].items()
    )
    return ObservableComparison(observable, energy, reference, generated, tuple(rows))
