"""Comparison of shower samples: histograms, metrics and floors of named observables.

Each sample is a table with a column for each observable: features of voxels, which `streaming` computes, or the
observables that a paper looks at. A floor is what a metric gives for two samples of Geant4. All results are plain data.
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
from calogen.showers.labels import discrete_energies, require_energies
from calogen.showers.sample import Showers

ALL_ENERGIES = 0.0
"""Stands for the incident energy where showers of all energies are compared together."""

_WORKERS = 2  # threads at most: more of them would wait for Python's global interpreter lock

Compared = TypeVar("Compared", Feature, Observable)


class ShowerTable(Protocol):
    """Named observables of the showers of a sample, NaN where an observable is undefined."""

    @property
    def incident_energies(self) -> np.ndarray:
        """Incident energies, `[n]`, MeV."""

    def __getitem__(self, name: str) -> np.ndarray:
        """Values of the observable of that name, `[n]`."""


@dataclass(frozen=True)
class Measurement:
    """One metric of a sample beside its floor, Geant4 against Geant4: a row of a table.

    The incident energy is in MeV, or `ALL_ENERGIES`. The observable has a value for `num_reference` reference showers
    and for `num_generated` generated ones; it has none for `undefined` generated ones. The `label` is that of the
    observable's axis, with its unit (mathtext).
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
    label: str = ""

    @property
    def within_floor(self) -> bool:
        """Whether the metric is within the limit that 1 in 20 pairs of Geant4 samples exceeds."""
        return not METRICS[self.metric].excess(self.measured.value) > self.floor.limit

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; a number that is not defined becomes None."""
        values = asdict(self)
        for key in ("measured", "floor"):
            values[key] = {name: json_number(number) for name, number in values[key].items()}
        return values


@dataclass(frozen=True)
class Scored(Generic[Compared]):
    """One observable of several samples, compared with the reference.

    Args:
        feature: the observable or feature.
        incident_energy: of the showers, MeV, or `ALL_ENERGIES`.
        histograms: by sample, the `reference` among them; all have the same edges.
        numbers: by sample, the metrics, computed from the showers for which the observable is defined.
        floors: by sample, the floors of the metrics, from bootstrap; empty with resampling `cells` (see `compare`).
        expected: by sample, the `challenge_separation_power` that two Geant4 samples of these sizes have
            (`dealt_floor`); empty with resampling `showers`, and in evaluations of earlier versions.
        coarse: how many of the challenge's bins the reference spans, if these are too few: the histograms and all
            metrics but `challenge_separation_power` then have calogen's own bins. None: they are not too few.
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
            DataFormatError: the sample was not compared.
        """
        if sample not in self.numbers:
            known = ", ".join(self.numbers) or "none"
            raise DataFormatError(f"metrics of {self.feature.name} exist for samples {known}. Received: {sample}")
        return self.numbers[sample]

    @property
    def second_reference(self) -> Mapping[str, Value]:
        """Metrics of the second Geant4 sample, a floor for all others; empty if there is none."""
        return self.numbers.get("second_reference", {})

    @property
    def undefined(self) -> dict[str, float]:
        """By sample, the share of showers with an undefined observable; metrics omit them."""
        return {name: item.undefined / max(item.entries + item.undefined, 1) for name, item in self.histograms.items()}

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        """All metrics of all samples, each beside its floor from bootstrap.

        Raises:
            DataFormatError: there are no such floors (`compare` had resampling `cells`).
        """
        if lacking := self.numbers.keys() - self.floors.keys():
            raise DataFormatError(
                f"{self.feature.name} needs floors by bootstrap, which `compare` computes with resampling 'showers'. "
                f"Received: none for {', '.join(lacking)}"
            )
        rows, key = [], (self.incident_energy, self.feature.name)
        label = getattr(self.feature, "axis_label", "")
        for sample, values in self.numbers.items():
            reference, generated = self.histograms["reference"], self.histograms[sample]
            counts = reference.entries, generated.entries, generated.undefined
            for metric, value in values.items():
                rows.append(Measurement(*key, sample, metric, value, self.floors[sample][metric], *counts, label))
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
        columns: (column of the tables, incident energy in MeV of the showers to compare, or `ALL_ENERGIES`).
        reference, generated: tables that have these columns; the generated ones by sample.
        binning: function of a column, its values in the reference and the energy that gives bins and metrics.
        resampling: how `measure` estimates errors. With `showers`, `Scored.floors` are computed by bootstrap; with
            `cells`, for large samples, `Scored.expected` by shuffling the showers of each sample and the reference.
        seed: of all random numbers.
    """
    tables = {"reference": reference, **generated}

    def work(column: tuple[Compared, float]) -> Scored[Compared]:
        feature, energy = column
        values = {name: table[feature.name] for name, table in tables.items()}
        if energy != ALL_ENERGIES:
            values = {name: items[tables[name].incident_energies == energy] for name, items in values.items()}
        if resampling == "cells":
            values = {name: np.sort(items) for name, items in values.items()}  # sorted values are counted quickly
        bins = binning(feature, values["reference"], energy)
        histograms = {name: Histogram.fill(items, bins.edges) for name, items in values.items()}
        expected_values = values.pop("reference")
        numbers = {name: measure(expected_values, items, bins, resampling, seed) for name, items in values.items()}
        expected, floors = {}, {}
        if resampling == "cells":
            expected = {name: dealt_floor(expected_values, items, bins, seed) for name, items in values.items()}
        else:
            floors_for_size = cache(lambda size: bootstrap_floors(expected_values, size, bins, seed))
            sizes = {name: (histograms[name].entries, histograms[name].undefined) for name in values}
            floors = {name: floors_for_size(size if size > 1 else size + lost) for name, (size, lost) in sizes.items()}
        return Scored(feature, energy, histograms, numbers, floors, expected, bins.coarse)

    return in_threads(work, columns, num_workers(_WORKERS))


def compare_showers(
    reference: Showers,
    generated: Mapping[str, Showers],
    observables: Sequence[Observable],
    seed: int = 0,
    energy: float = ALL_ENERGIES,
) -> Comparison:
    """Compare observables of generated showers, by sample, with those of reference showers.

    They are showers of one incident energy, MeV, or of all energies together. The reference chooses the bins.

    Raises:
        DataFormatError: a sample has no shower of that energy; or, where all energies are compared together, its
            showers are not distributed over the same energies in the same shares as the reference's.
    """
    if energy != ALL_ENERGIES:
        reference, generated = reference.at(energy), {label: item.at(energy) for label, item in generated.items()}
    tables = {label: Observed(showers, observables) for label, showers in generated.items()}
    return compare_tables(Observed(reference, observables), tables, observables, seed, energy)


def compare_tables(
    reference: ShowerTable,
    generated: Mapping[str, ShowerTable],
    observables: Sequence[Observable],
    seed: int = 0,
    energy: float = ALL_ENERGIES,
) -> Comparison:
    """Compare tables of observables, by sample, as `compare_showers` does.

    They are of one incident energy, MeV, or of all energies together, which may be continuous: the energies of two
    samples then need not be the same, but of one distribution.

    Raises:
        DataFormatError: where all energies are compared together, those of a sample are distributed differently.
    """
    continuous = not len(discrete_energies(reference.incident_energies))
    energies, counts = np.unique(reference.incident_energies, return_counts=True)
    for label, table in generated.items():
        if continuous and energy == ALL_ENERGIES:
            require_energies(label, reference.incident_energies, table.incident_energies)
            continue
        its_energies, its_counts = np.unique(table.incident_energies, return_counts=True)
        if not np.array_equal(energies, its_energies) or (counts * its_counts.sum() != its_counts * counts.sum()).any():
            raise DataFormatError(
                f"{label} must have the reference's {len(energies)} incident energies in the same shares, if all are "
                f"compared together. Received: {its_counts.tolist()} showers at {len(its_energies)} energies, the "
                f"reference has {counts.tolist()}"
            )
    columns = [(item, ALL_ENERGIES) for item in observables]
    compared = compare(columns, reference, generated, _reference_bins, seed=seed)
    return {item.feature.name: replace(item, incident_energy=energy) for item in compared}


def _reference_bins(observable: Observable, reference: np.ndarray, energy: float) -> Bins:
    if observable.edges:
        return Bins(np.array(observable.edges), observable.metrics)
    edges = logarithmic_edges if observable.log_axis else reference_edges
    return Bins(edges(reference, observable.tail), observable.metrics)
