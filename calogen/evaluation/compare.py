"""One engine for all comparisons of showers: tables of named observables.

It gives their histograms, metrics and floors as plain data. A table has a column for each observable: features of
voxels, kept by `streaming`, or a paper's observables of any showers.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import pandas as pd

from calogen.errors import DataFormatError
from calogen.metrics.distributions import METRICS, Bins, Floor, Value, json_number
from calogen.metrics.features import Feature
from calogen.metrics.histograms import Histogram, logarithmic_edges, reference_edges
from calogen.metrics.resampling import Resampling, bootstrap_floors, dealt_floor, measure
from calogen.observables.observable import Observable, Observed
from calogen.parallel import in_threads, num_workers
from calogen.showers.sample import Showers

ALL_ENERGIES = 0.0
"""What stands for the incident energy where all of them are taken together."""

_WORKERS = 2  # at most: more would wait for Python's lock

Compared = TypeVar("Compared", Feature, Observable)


class ShowerTable(Protocol):
    """Named observables of some showers, NaN where they are not defined."""

    @property
    def incident_energies(self) -> np.ndarray:
        """Incident energies, `[n]`, MeV."""

    def __getitem__(self, name: str) -> np.ndarray:
        """An observable by its name."""


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
class Scored(Generic[Compared]):
    """One observable of samples beside the reference.

    Args:
        feature: which.
        incident_energy: MeV, or `ALL_ENERGIES`.
        histograms: of `reference` and of all samples that are compared with it, with the same edges.
        numbers: by sample, metrics of the showers for which the observable is defined.
        floors: by sample, the metrics' floors by bootstrap; empty where showers are dealt out instead.
        expected: by sample, the `challenge_separation_power` that it would have if it were of the reference's kind
            (`dealt_floor`); empty in evaluations of earlier versions, and where floors are by bootstrap.
        coarse: number of the challenge's bins that the reference reaches over where they are too few: histograms and
            all metrics but `challenge_separation_power` are then in calogen's own bins; None elsewhere.
    """

    feature: Compared
    incident_energy: float
    histograms: Mapping[str, Histogram]
    numbers: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    floors: Mapping[str, Mapping[str, Floor]] = field(default_factory=dict)
    expected: Mapping[str, Value] = field(default_factory=dict)
    coarse: int | None = None

    def numbers_of(self, sample: str = "generated") -> Mapping[str, Value]:
        """Metrics of one sample.

        Raises:
            DataFormatError: it was not compared.
        """
        if sample not in self.numbers:
            known = ", ".join(self.numbers) or "none"
            raise DataFormatError(f"metrics of {self.feature.name} are known of {known}. Received: {sample}")
        return self.numbers[sample]

    @property
    def second_reference(self) -> Mapping[str, Value]:
        """Metrics of the sample of that name, the floor of the others; empty without one."""
        return self.numbers.get("second_reference", {})

    @property
    def undefined(self) -> dict[str, float]:
        """Share of showers without a value, by sample; the metrics do not see them."""
        return {name: item.undefined / max(item.entries + item.undefined, 1) for name, item in self.histograms.items()}

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        """All metrics of all samples beside their floors by bootstrap.

        Raises:
            DataFormatError: there are no such floors.
        """
        if lacking := self.numbers.keys() - self.floors.keys():
            raise DataFormatError(
                f"{self.feature.name} needs floors by bootstrap, which `compare` finds with resampling 'showers'. "
                f"Received: none for {', '.join(lacking)}"
            )
        rows, place = [], (self.incident_energy, self.feature.name)
        for sample, values in self.numbers.items():
            reference, generated = self.histograms["reference"], self.histograms[sample]
            counts = reference.entries, generated.entries, generated.undefined
            for metric, value in values.items():
                rows.append(Measurement(*place, sample, metric, value, self.floors[sample][metric], *counts))
        return tuple(rows)


def measurement_table(rows: Iterable[Measurement]) -> pd.DataFrame:
    """A table of measurements, with columns such as `measured_value` and `floor_mean`."""
    return pd.json_normalize([row.to_json() for row in rows], sep="_")


Comparison = Mapping[str, Scored[Observable]]
"""Observables by name, at one incident energy or at all of them together."""


def compare(
    columns: Iterable[tuple[Compared, float]],
    reference: ShowerTable,
    generated: Mapping[str, ShowerTable],
    binning: Callable[[Compared, np.ndarray, float], Bins],
    resampling: Resampling = "showers",
    seed: int = 0,
) -> Iterator[Scored[Compared]]:
    """Compare samples with the reference, observable by observable.

    Args:
        columns: what is compared: columns of the tables, and the incident energy at which, or `ALL_ENERGIES`.
        reference, generated: tables with these columns; of the latter by sample.
        binning: (column, its values in the reference, the incident energy) -> its bins and metrics.
        resampling: for the errors, as `measure` has it. With `showers`, `Scored.floors` are found by bootstrap; with
            `cells`, for large samples, `Scored.expected` by dealing out the showers of each sample and the reference.
        seed: of everything random.
    """
    tables = {"reference": reference, **generated}

    def work(column: tuple[Compared, float]) -> Scored[Compared]:
        feature, energy = column
        values = {name: table[feature.name] for name, table in tables.items()}
        if energy != ALL_ENERGIES:
            values = {name: items[tables[name].incident_energies == energy] for name, items in values.items()}
        if resampling == "cells":
            values = {name: np.sort(items) for name, items in values.items()}  # what is in order is counted quickly
        bins = binning(feature, values["reference"], energy)
        histograms = {name: Histogram.fill(items, bins.edges) for name, items in values.items()}
        given = values.pop("reference")
        numbers = {name: measure(given, items, bins, resampling, seed) for name, items in values.items()}
        expected, floors = {}, {}
        if resampling == "cells":
            expected = {name: dealt_floor(given, items, bins, seed) for name, items in values.items()}
        else:
            of_size = cache(lambda size: bootstrap_floors(given, size, bins, seed))
            floors = {name: of_size(histograms[name].entries) for name in values}
        return Scored(feature, energy, histograms, numbers, floors, expected, bins.coarse)

    return in_threads(work, columns, num_workers(_WORKERS))


def compare_showers(
    reference: Showers,
    generated: Mapping[str, Showers],
    observables: Sequence[Observable],
    seed: int = 0,
    energy: float = ALL_ENERGIES,
) -> Comparison:
    """Compare observables of generated showers, by label, with the reference's, in its bins.

    That is at an incident energy, MeV, or for all of them together. chi2/NDF and separation power join sparse bins.

    Raises:
        DataFormatError: a sample has no shower of that energy; for all energies together, it has others than the
            reference, or other shares of them.
    """
    if energy != ALL_ENERGIES:
        reference, generated = reference.at(energy), {label: item.at(energy) for label, item in generated.items()}
    energies, counts = np.unique(reference.incident_energies, return_counts=True)
    for label, showers in generated.items():
        others, numbers = np.unique(showers.incident_energies, return_counts=True)
        if not np.array_equal(energies, others) or (counts * len(showers) != numbers * len(reference)).any():
            raise DataFormatError(
                f"{label} must have the reference's shares of its {len(energies)} incident energies to be compared "
                f"with all of them together. Received: {len(others)} energies, {numbers.tolist()} of {counts.tolist()}"
            )
    tables = {label: Observed(showers, observables) for label, showers in generated.items()}
    columns = [(item, ALL_ENERGIES) for item in observables]
    found = compare(columns, Observed(reference, observables), tables, _reference_bins, seed=seed)
    return {item.feature.name: replace(item, incident_energy=energy) for item in found}


def _reference_bins(observable: Observable, reference: np.ndarray, energy: float) -> Bins:
    edges = logarithmic_edges if observable.log_axis else reference_edges
    return Bins(edges(reference, observable.tail), observable.metrics)
