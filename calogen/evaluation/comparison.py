"""Generated showers against a reference at one energy: histograms, profiles, metrics.

All are plain data: `calogen.plots` turns them into figures, `calogen.reports.reproduction` into tables; neither
computes anything.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any

import numpy as np

from calogen.errors import DataFormatError
from calogen.metrics.distributions import METRICS, Floor, Value, floor, standard_deviation
from calogen.metrics.histograms import Histogram, Profile, joined_edges, logarithmic_edges, reference_edges
from calogen.observables.cells import AXES, Axis, average_cells, average_profile, response
from calogen.showers.sample import Showers
from calogen.units import GeV

ALL_ENERGIES = 0.0
"""What stands for the incident energy where all of them are taken together."""


@dataclass(frozen=True)
class Observable:
    """A shower observable and how a paper shows it.

    Args:
        name: e.g. `shower_depth`.
        function: showers -> `[n]`.
        label: of the axis, without unit (mathtext).
        unit: of the axis; empty for a pure number.
        scale: the axis shows function / scale, e.g. `GeV`.
        figures: the paper's figure by incident energy in MeV, e.g. `{65536.0: "5a"}`; empty: the paper shows none.
        noise_free: those of the figures that have noise and cross-talk in the paper; ours have none.
        log_axis: whether bins are equidistant in the logarithm; values of 0 are then underflow.
        tail: the share of the reference that, on either side, may lie in the two outermost bins or beyond.
        metrics: names of the `METRICS` that compare it; each draws the whole sample a few hundred times.
        counted: what `function` has a value for.
    """

    name: str
    function: Callable[[Showers], np.ndarray]
    label: str
    unit: str = ""
    scale: float = 1.0
    figures: Mapping[float, str] = field(default_factory=dict)
    noise_free: frozenset[str] = frozenset()
    log_axis: bool = False
    tail: float = 0.01
    metrics: tuple[str, ...] = tuple(METRICS)
    counted: str = "showers"

    def values(self, showers: Showers) -> np.ndarray:
        """The observable in the axis' unit, `[n]`; NaN where it is not defined.

        It may be a view of the showers' energies: not to be changed.
        """
        values = self.function(showers)
        return values if self.scale == 1.0 else values / self.scale

    @property
    def axis_label(self) -> str:
        """Label with unit."""
        return f"{self.label} [{self.unit}]" if self.unit else self.label


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
            values[key] = {name: x if np.isfinite(x) else None for name, x in values[key].items()}
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
class AverageShower:
    """The average shower in one layer, in all samples.

    Args:
        layer: name of the layer.
        incident_energy: MeV.
        profiles: sample -> axis (`eta`, `phi`) -> average energy, MeV.
        cells: sample -> `[num_eta, num_phi]`, average energy of each cell, MeV.
    """

    layer: str
    incident_energy: float
    profiles: Mapping[str, Mapping[Axis, Profile]]
    cells: Mapping[str, np.ndarray]


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


def compare(
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
        seed: of the bootstrap errors and of the floor's random halves.
        reference_label: what to call the reference in the average showers.

    Raises:
        DataFormatError: the samples do not all have one and the same incident energy.
    """
    energy = _common_energy([reference, *generated.values()])
    found = {item.name: _compare_observable(reference, generated, item, seed, energy) for item in observables}
    average = _average_showers({reference_label: reference, **generated}, energy)
    return Comparison(energy, found, average)


def compare_together(
    reference: Showers, generated: Mapping[str, Showers], observables: Sequence[Observable], seed: int = 0
) -> dict[str, ObservableComparison]:
    """Compare generated samples with the reference, all incident energies together.

    Their energy is `ALL_ENERGIES`.

    Args:
        reference: showers of several incident energies.
        generated: samples with the same shares of the same energies, by label.
        observables: what to compare.
        seed: of the bootstrap errors and of the floor's random halves.

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
    return {
        item.name: _compare_observable(reference, generated, item, seed, energy=ALL_ENERGIES) for item in observables
    }


@dataclass(frozen=True)
class ResponseCurve:
    """Mean response and resolution against incident energy, one entry per energy.

    Args:
        energies: `[k]`, MeV, increasing.
        mean: mean of total energy / incident energy.
        spread: standard deviation of the same.
        resolution: spread / mean.
    """

    energies: np.ndarray
    mean: tuple[Value, ...]
    spread: tuple[Value, ...]
    resolution: tuple[Value, ...]


def response_curve(samples: Iterable[Showers]) -> ResponseCurve:
    """Mean response and resolution of each incident energy in the samples.

    Source: Fig. 9a of arXiv:2210.06204; the resolution is the standard deviation of the energy divided by its mean.
    """
    given = list(samples)
    energies = np.concatenate([showers.incident_energies for showers in given])
    return curve_of(energies, np.concatenate([response(showers) for showers in given]))


def curve_of(incident_energies: np.ndarray, responses: np.ndarray) -> ResponseCurve:
    """The same for responses `[n]` of incident energies `[n]`, MeV."""
    points = {float(energy): responses[incident_energies == energy] for energy in np.unique(incident_energies)}
    spread = tuple(standard_deviation(item) for item in points.values())
    mean = tuple(
        Value(float(item.mean()), width.value / float(np.sqrt(len(item))))
        for item, width in zip(points.values(), spread, strict=True)
    )
    resolution = tuple(_relative(width, centre) for width, centre in zip(spread, mean, strict=True))
    return ResponseCurve(np.array(list(points)), mean, spread, resolution)


def energy_text(incident_energy: float) -> str:
    """What titles call an incident energy, MeV.

    >>> energy_text(2.0**20), energy_text(65536.0), energy_text(256.0), energy_text(ALL_ENERGIES)
    ('1.05 TeV', '65.5 GeV', '256 MeV', 'all energies')
    """
    if incident_energy == ALL_ENERGIES:
        return "all energies"
    name, unit = ("TeV", 1000 * GeV) if incident_energy >= 1000 * GeV else ("GeV", GeV)
    return f"{incident_energy / unit:.3g} {name}" if incident_energy >= GeV else f"{incident_energy:.3g} MeV"


def _common_energy(samples: Sequence[Showers]) -> float:
    energies = np.unique(np.concatenate([np.unique(showers.incident_energies) for showers in samples]))
    if len(energies) != 1:
        raise DataFormatError(
            "samples to compare must all have the same incident energy (select one with Showers.at). "
            f"Received: {', '.join(f'{energy:g}' for energy in energies[:10])} MeV"
        )
    return float(energies[0])


def _compare_observable(
    reference: Showers, generated: Mapping[str, Showers], observable: Observable, seed: int, energy: float
) -> ObservableComparison:
    """Histograms in the reference's bins; chi2/NDF and separation power join sparse bins."""
    expected = observable.values(reference)
    edges = (logarithmic_edges if observable.log_axis else reference_edges)(expected, observable.tail)
    histogram = Histogram.fill(expected, edges)
    histograms: dict[str, Histogram] = {}
    rows: list[Measurement] = []
    floors = cache(lambda name, size: floor(METRICS[name], expected, size, joined_edges(histogram, size), seed))
    for label, showers in generated.items():
        received = observable.values(showers)
        histograms[label] = Histogram.fill(received, histogram.edges)
        size, undefined = histograms[label].entries, histograms[label].undefined
        for name in observable.metrics:
            measured = METRICS[name].measure(expected, received, joined_edges(histogram, size), seed)
            counted = histogram.entries, size, undefined
            rows.append(Measurement(energy, observable.name, label, name, measured, floors(name, size), *counted))
    return ObservableComparison(observable, energy, histogram, histograms, tuple(rows))


def _average_showers(samples: Mapping[str, Showers], energy: float) -> tuple[AverageShower, ...]:
    grid = next(iter(samples.values())).geometry
    if grid.kind != "CellGrid":
        return ()
    return tuple(
        AverageShower(
            layer.name,
            energy,
            {label: {axis: average_profile(item, layer.id, axis) for axis in AXES} for label, item in samples.items()},
            {label: average_cells(item, layer.id) for label, item in samples.items()},
        )
        for layer in grid.layers
    )


def _relative(width: Value, mean: Value) -> Value:
    """Width / mean; the two errors are taken as independent."""
    if not mean.value:
        return Value(np.nan, np.nan)
    ratio = width.value / mean.value
    return Value(ratio, float(np.hypot(width.error, ratio * mean.error) / mean.value))
