"""One engine for all comparisons of showers: tables of named observables, their histograms, metrics and floors.

A table has a column for each observable: features of voxels, kept by `streaming`, or a paper's observables of any
showers. All results are plain data: `calogen.plots` and `calogen.reports` draw and tell them, and compute nothing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from calogen.errors import DataFormatError
from calogen.metrics.distributions import METRICS, Bins, Floor, Value, json_number
from calogen.metrics.features import Feature, Features
from calogen.metrics.histograms import Histogram, logarithmic_edges, reference_edges
from calogen.metrics.resampling import Resampling, bootstrap_floors, dealt_floor, measure
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
Table = Features | Observed
"""Named observables of some showers, NaN where they are not defined."""


@dataclass(frozen=True)
class Scored:
    """One observable of a sample beside the reference.

    Args:
        feature: which.
        incident_energy: MeV, or `ALL_ENERGIES`.
        histograms: of `reference` and of all samples that are compared with it, with the same edges.
        measured: metrics of the sample, of the showers for which the observable is defined.
        floor: those of the second reference against the reference; empty without one.
        expected: by sample, the `challenge_separation_power` that it would have if it were of the reference's kind
            (`dealt_floor`); empty in evaluations of earlier versions.
        coarse: number of the challenge's bins that the reference reaches over where they are too few: histograms and
            all metrics but `challenge_separation_power` are then in calogen's own bins; None elsewhere.
        bootstrap: floors by bootstrap of the reference; empty where a second reference gives the floor.
    """

    feature: Feature
    incident_energy: float
    histograms: Mapping[str, Histogram]
    measured: Values
    floor: Values
    expected: Values = field(default_factory=dict)
    coarse: int | None = None
    bootstrap: Mapping[str, Floor] = field(default_factory=dict)

    @property
    def undefined(self) -> dict[str, float]:
        """Share of showers without a value, by sample; the metrics do not see them."""
        return {name: item.undefined / max(item.entries + item.undefined, 1) for name, item in self.histograms.items()}

    def to_json(self) -> list[dict[str, Any]]:
        """One row per metric, of plain JSON values; a number that is not defined becomes None."""
        place = {
            "quantity": self.feature.quantity,
            "layer": self.feature.layer_id,
            "incident_energy": self.incident_energy or None,
            "undefined": self.undefined,
        }
        return [score_row(place, metric, value, self.floor.get(metric)) for metric, value in self.measured.items()]


def score_row(place: Mapping[str, Any], metric: str, value: Value, floor: Value | None) -> dict[str, Any]:
    """A number and its floor at their place, as plain JSON values."""
    numbers = {"value": value.value, "error": value.error}
    if floor is not None:
        numbers |= {"floor": floor.value, "floor_error": floor.error}
    return {**place, "metric": metric} | {name: json_number(number) for name, number in numbers.items()}


def compare(
    reference: Table,
    generated: Mapping[str, Table],
    binning: Binning,
    resampling: Resampling = "showers",
    floor: Literal["bootstrap", "second"] = "bootstrap",
    energies: Mapping[str, Sequence[float]] = MappingProxyType({}),
    seed: int = 0,
) -> Iterator[Mapping[str, Scored]]:
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
        Of each column, first of all incident energies together: by sample, the reference among them.
    """
    tables = {"reference": reference, **generated}
    how = partial(measure, resampling=resampling, seed=seed)

    def work(task: tuple[Feature, float]) -> dict[str, Scored]:
        feature, energy = task
        columns = {name: _column(table, feature, energy) for name, table in tables.items()}
        given = columns["reference"]
        bins = binning(feature, given, energy)
        histograms = {name: Histogram.fill(column, bins.edges) for name, column in columns.items()}
        measured: dict[str, Values] = {name: how(given, columns[name], bins) for name in generated}
        if floor == "second":
            second = measured.get("second_reference", {})
            expected = {name: dealt_floor(given, columns[name], bins, seed) for name in generated}
            more = second, expected, bins.coarse
            return {name: Scored(feature, energy, histograms, measured.get(name, {}), *more) for name in tables}
        floors = cache(lambda size: bootstrap_floors(given, size, bins, seed))
        return {
            name: Scored(
                feature, energy, histograms, measured.get(name, {}), {}, bootstrap=floors(histograms[name].entries)
            )
            for name in tables
        }

    tasks = [(item, ALL_ENERGIES) for item in reference.features]
    tasks = [(item, energy) for item, whole in tasks for energy in (whole, *energies.get(item.quantity, ()))]
    return in_threads(work, tasks, num_workers(_WORKERS))


def _column(table: Table, feature: Feature, energy: float) -> np.ndarray:
    column = table[feature.name]
    return column[table.incident_energies == energy] if energy else column


@dataclass(frozen=True)
class Measurement:
    """One metric of a sample beside its Geant4-against-Geant4 floor: a row of the table.

    The energy is in MeV or `ALL_ENERGIES`; `num_reference` and `num_generated` showers have a value, `undefined`
    generated ones have none.
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

    The energy is in MeV or `ALL_ENERGIES`; the generated samples' histograms are by label, with the same edges.
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
    """Compare generated samples, by label, with the reference at one incident energy.

    Raises:
        DataFormatError: the samples do not all have one and the same incident energy.
    """
    samples = {reference_label: reference, **generated}
    energies = np.unique(np.concatenate([np.unique(item.incident_energies) for item in samples.values()]))
    if len(energies) != 1:
        raise DataFormatError(
            "samples to compare must all have the same incident energy (select one with Showers.at). "
            f"Received: {', '.join(f'{energy:g}' for energy in energies[:10])} MeV"
        )
    energy = float(energies[0])
    found = _compare_observables(reference, generated, observables, seed, energy)
    return Comparison(energy, found, average_showers(samples, energy))


def compare_together(
    reference: Showers, generated: Mapping[str, Showers], observables: Sequence[Observable], seed: int = 0
) -> dict[str, ObservableComparison]:
    """Compare generated samples with the reference as `compare_at`, all incident energies together.

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
    pairs = zip(named.items(), found, strict=True)
    return {name: _observable_comparison(observable, energy, scored) for (name, observable), scored in pairs}


def _observable_comparison(observable: Observable, energy: float, scored: Mapping[str, Scored]) -> ObservableComparison:
    histograms, rows = dict(scored["reference"].histograms), []
    reference = histograms.pop("reference")
    for label, item in histograms.items():
        counts = reference.entries, item.entries, item.undefined
        for metric, value in scored[label].measured.items():
            floor = scored[label].bootstrap[metric]
            rows.append(Measurement(energy, observable.name, label, metric, value, floor, *counts))
    return ObservableComparison(observable, energy, reference, histograms, tuple(rows))
