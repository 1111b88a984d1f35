"""The judgement of showers: every metric of every feature, its error, and the floor.

The metrics are those of `calogen.metrics.scores`. The floor is the second reference in place of the generated
showers: Geant4 against Geant4, at its own number of showers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from calogen.errors import ConfigError, DataFormatError
from calogen.metrics.distributions import Value, json_number
from calogen.metrics.features import Feature, Features
from calogen.metrics.histograms import FINE, Histogram, logarithmic_edges, num_bins_filled, reference_edges
from calogen.metrics.scores import (
    Spectrum,
    compare_spectra,
    compare_values,
    dealt_spectra,
    dealt_values,
    ks_statistic,
)
from calogen.observables.challenge import BINNINGS, layer_correlation
from calogen.observables.shapes import SHAPES
from calogen.parallel import in_threads, num_workers
from calogen.progress import progress
from calogen.showers.labels import discrete_energies, require_known

OWN_BINNING = "reference"
"""Name of calogen's own bins, between quantiles of the reference."""
ALL_ENERGIES = 0.0
"""What stands for the incident energy where all of them are taken together."""
VOXEL_ENERGY = Feature("voxel_energy")
"""All voxels of all showers; the empty ones are its underflow."""

_SAME_ENERGIES = 3.0  # KS distance / sqrt(1/n + 1/m): two samples of one distribution exceed it once in 3e7 pairs
_WORKERS = 2  # at most: more would wait for Python's lock

Values = Mapping[str, Value]


@dataclass(frozen=True)
class Sample:
    """What is kept of a file of showers.

    Args:
        features: of all showers.
        spectrum: of their voxels, in bins that the reference chose.
        min_energy: voxels below are empty, MeV.
        shapes: of all showers (`calogen.observables.shapes`), NaN where undefined; None: not computed.
        hashes: of all showers (`copies.hash_showers`); None: not computed.
        notes: what was changed or left out as the file was read, a sentence each.
    """

    features: Features
    spectrum: Spectrum
    min_energy: float
    shapes: Features | None = None
    hashes: np.ndarray | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scored:
    """One feature, judged.

    Args:
        feature: which.
        incident_energy: MeV, or `ALL_ENERGIES`.
        histograms: of `reference`, `generated` and, if there is one, `second_reference`, with the same edges.
        measured: the `scores.METRICS` of generated against reference, of the showers for which the feature is defined.
        floor: those of the second reference against the reference; empty without one.
        expected: by sample, the `challenge_separation_power` that it would have if it were of the reference's kind
            (`scores.dealt_values`); empty in evaluations of earlier versions.
        coarse: number of the challenge's bins that the reference reaches over where they are too few: histograms and
            all metrics but `challenge_separation_power` are then in calogen's own bins; None elsewhere.
    """

    feature: Feature
    incident_energy: float
    histograms: Mapping[str, Histogram]
    measured: Values
    floor: Values
    expected: Values = field(default_factory=dict)
    coarse: int | None = None

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


@dataclass(frozen=True)
class Judgement:
    """Generated showers against a reference.

    Args:
        binning: the bins' name.
        min_energy: voxels below are empty, MeV.
        num_showers: of `reference`, `generated` and, if there is one, `second_reference`.
        scored: all features, all incident energies together; the response also at each, if they are discrete; the
            voxels' energies; the shapes, if the samples have them, between quantiles of the reference.
        correlations: Pearson correlation of the layers' energies, `[l, l]`, by sample.
    """

    binning: str
    min_energy: float
    num_showers: Mapping[str, int]
    scored: tuple[Scored, ...]
    correlations: Mapping[str, np.ndarray]

    def find(self, name: str, incident_energy: float = ALL_ENERGIES) -> Scored:
        """One feature by its name, e.g. `width_eta_2`.

        Raises:
            DataFormatError: it was not judged at that energy.
        """
        for item in self.scored:
            if (item.feature.name, item.incident_energy) == (name, incident_energy):
                return item
        known = ", ".join(item.feature.name for item in self.scored if item.incident_energy == ALL_ENERGIES)
        raise DataFormatError(f"judged were {known}, the response at some energies. Received: {name}")

    def over_layers(self, metric: str, floor: bool = False) -> dict[str, tuple[float, float]]:
        """Mean and maximum of a metric over the layers, by quantity.

        Args:
            metric: one of `scores.METRICS`.
            floor: the floor's instead.

        Source: the tables of arXiv:2410.21611.
        """
        found: dict[str, list[float]] = {}
        for item in self.scored:
            if item.incident_energy == ALL_ENERGIES and (item.floor or not floor):
                found.setdefault(item.feature.quantity, []).append(
                    (item.floor if floor else item.measured)[metric].value
                )
        return {quantity: (float(np.mean(values)), float(np.max(values))) for quantity, values in found.items()}


def score_row(place: Mapping[str, Any], metric: str, value: Value, floor: Value | None) -> dict[str, Any]:
    """A number and its floor at their place, as plain JSON values."""
    numbers = {"value": value.value, "error": value.error}
    if floor is not None:
        numbers |= {"floor": floor.value, "floor_error": floor.error}
    return {**place, "metric": metric} | {name: json_number(number) for name, number in numbers.items()}


def default_min_energy(binning: str) -> float:
    """The energy below which voxels are empty, MeV: 1 for `OWN_BINNING`.

    Raises:
        ConfigError: no such binning.
    """
    if binning not in (*BINNINGS, OWN_BINNING):
        raise ConfigError(f"binning must be one of {', '.join((*BINNINGS, OWN_BINNING))}. Received: {binning}")
    return BINNINGS[binning].min_energy if binning in BINNINGS else 1.0


def judge(
    reference: Sample,
    generated: Sample,
    second_reference: Sample | None = None,
    binning: str = "1-photons",
    seed: int = 1,
) -> Judgement:
    """Judge generated showers by everything that is kept of them.

    Args:
        reference, generated: the samples; their spectra in the reference's bins.
        second_reference: for the floor.
        binning: one of the challenge's data sets in `BINNINGS`, or `OWN_BINNING`.
        seed: of the resampling.

    Raises:
        ConfigError: no such binning.
        DataFormatError: samples with other incident energies, features or thresholds than the reference.
    """
    default_min_energy(binning)
    samples = {"reference": reference, "generated": generated}
    samples |= {"second_reference": second_reference} if second_reference else {}
    for name, sample in samples.items():
        require_comparable(name, reference, sample)
    features = {name: sample.features for name, sample in samples.items()}
    shapes = {name: sample.shapes for name, sample in samples.items() if sample.shapes is not None}
    bins = reference.min_energy, binning, seed
    energies = discrete_energies(reference.features.incident_energies).tolist()
    tasks: list[Callable[[], Scored]] = [
        _task(features, feature, energy, *bins)
        for feature in reference.features.features
        for energy in (
            ALL_ENERGIES,
            *(energies if feature.quantity == "response" else []),
        )
    ]
    sizes = {name: len(sample.features) for name, sample in samples.items()}
    tasks.append(lambda: _score_spectra({name: sample.spectrum for name, sample in samples.items()}, sizes, seed))
    if reference.shapes is not None:
        tasks += [_task(shapes, shape, ALL_ENERGIES, *bins) for shape in reference.shapes.features]
    scored = []
    with progress("comparing", len(tasks), "features") as shown:
        for item in in_threads(lambda task: task(), tasks, num_workers(_WORKERS)):
            scored.append(item)
            shown.advance()
    correlations = {name: layer_correlation(sample.features) for name, sample in samples.items()}
    return Judgement(binning, reference.min_energy, sizes, tuple(scored), correlations)


def _task(
    samples: Mapping[str, Features], feature: Feature, energy: float, min_energy: float, binning: str, seed: int
) -> Callable[[], Scored]:
    """What computes the scores of one feature at one incident energy or at all of them."""

    def work() -> Scored:
        values = {}
        for name, sample in samples.items():
            column = sample[feature.name]
            chosen = sample.incident_energies == energy if energy else slice(None)
            values[name] = np.sort(column[chosen])  # NaN at the end
        defined = {name: item[: len(item) - np.count_nonzero(np.isnan(item))] for name, item in values.items()}
        reference = defined["reference"]
        edges, axis, coarse = _edges(feature, reference, min_energy, energy, binning)
        histograms = {name: Histogram.fill(item, edges) for name, item in values.items()}
        scores = {name: compare_values(reference, defined[name], edges, seed, axis) for name in list(values)[1:]}
        floor = scores.get("second_reference", {})
        expected = {name: dealt_values(reference, defined[name], axis, seed) for name in scores}
        return Scored(feature, energy, histograms, scores["generated"], floor, expected, coarse)

    return work


def _score_spectra(spectra: Mapping[str, Spectrum], sizes: Mapping[str, int], seed: int) -> Scored:
    scores = {name: compare_spectra(spectra["reference"], spectra[name], seed) for name in list(spectra)[1:]}
    histograms = {name: spectrum.histogram for name, spectrum in spectra.items()}
    expected = {
        name: dealt_spectra(spectra["reference"], spectra[name], (sizes["reference"], sizes[name]), seed)
        for name in scores
    }
    floor = scores.get("second_reference", {})
    return Scored(VOXEL_ENERGY, ALL_ENERGIES, histograms, scores["generated"], floor, expected)


def _edges(
    feature: Feature, reference: np.ndarray, min_energy: float, energy: float, binning: str
) -> tuple[np.ndarray, np.ndarray, int | None]:
    """The bins, those of the challenge, and how few of these are filled.

    The second are for `challenge_separation_power`, the number is `Scored.coarse`.
    """
    own = logarithmic_edges if feature.quantity.endswith("_energy") else reference_edges
    edges = own(reference, min_bins=FINE)
    if binning == OWN_BINNING or feature.quantity in SHAPES:
        return edges, edges, None
    axis = BINNINGS[binning].edges(feature, float(reference.max()), min_energy, energy)
    filled = num_bins_filled(reference, axis)
    if filled < FINE <= num_bins_filled(reference, edges):
        return edges, axis, filled
    return axis, axis, None


def require_comparable(name: str, reference: Sample, sample: Sample) -> None:
    """Refuse a sample that cannot be compared with the reference.

    Args:
        name: what the message calls it.
        reference, sample: features and spectra.

    Raises:
        DataFormatError: other incident energies, in other shares, other features or thresholds.
    """
    if sample.features.features != reference.features.features or sample.min_energy != reference.min_energy:
        raise DataFormatError(f"{name} must have the reference's geometry and min_energy")
    if (sample.shapes is None) != (reference.shapes is None):
        raise DataFormatError(f"{name} must have shapes as the reference has, or neither. Received: one of them has")
    if not np.array_equal(sample.spectrum.cells, reference.spectrum.cells):
        raise DataFormatError(f"{name} must have its voxels counted in the reference's cells")
    require_energies(name, *(item.features.incident_energies for item in (reference, sample)))


def require_energies(name: str, first: np.ndarray, second: np.ndarray) -> None:
    """Refuse incident energies of another kind than the reference's.

    Args:
        name: what the message calls the sample.
        first, second: incident energies of the reference and of the sample, MeV.

    Raises:
        DataFormatError: others, or others in their shares.
    """
    require_known(name, first, second, discrete_energies(first))
    sizes = (len(first), len(second))
    distance = ks_statistic(first, second)
    if min(sizes) < 2 or distance > _SAME_ENERGIES * np.sqrt(1 / sizes[0] + 1 / sizes[1]):
        raise DataFormatError(
            f"{name} must have two showers or more, with the reference's incident energies in the same shares. "
            f"Received: {len(second)} of {second.min():g} to {second.max():g} MeV, the reference {len(first)} of "
            f"{first.min():g} to {first.max():g} MeV; cumulative shares differ by up to {distance:.3f} "
            "(--match-energies leaves out showers of the energies that are too frequent)"
        )
