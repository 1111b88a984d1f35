"""The judgement of voxel showers: metrics of all features, with errors and floors.

The floor of a metric is its value for Geant4 against Geant4, with the second reference in place of the generated
showers and with its number of showers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain

import numpy as np

from calogen.errors import ConfigError, DataFormatError
from calogen.evaluation.compare import ALL_ENERGIES, Scored, compare
from calogen.metrics.distributions import FEATURE_METRICS, Bins
from calogen.metrics.features import Feature, Features
from calogen.metrics.histograms import FINE, logarithmic_edges, num_bins_filled, reference_edges
from calogen.metrics.resampling import Spectrum, dealt_spectra, measure_spectra
from calogen.observables.challenge import BINNINGS, layer_correlation
from calogen.observables.shapes import ALL_SHAPES
from calogen.progress import progress
from calogen.showers.labels import discrete_energies, require_energies

OWN_BINNING = "reference"
"""Name of calogen's own bins, which lie between quantiles of the reference."""


@dataclass(frozen=True)
class Sample:
    """What is kept of a file of showers.

    Args:
        features: of all showers.
        spectrum: numbers of all voxels by energy, in bins that the reference chose.
        min_energy: voxels below it count as empty, MeV.
        shapes: of all showers (`calogen.observables.shapes`), NaN where undefined; None: not computed.
        hashes: of all showers (`copies.hash_showers`); None: not computed.
        notes: sentences that say what was changed or left out when the file was read.
    """

    features: Features
    spectrum: Spectrum
    min_energy: float
    shapes: Features | None = None
    hashes: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    @property
    def incident_energies(self) -> np.ndarray:
        """Incident energies, `[n]`, MeV."""
        return self.features.incident_energies

    def __getitem__(self, name: str) -> np.ndarray:
        """A feature or shape by its name, `[n]`."""
        table = self.features if self.shapes is None or name in self.features.names else self.shapes
        return table[name]


@dataclass(frozen=True)
class Judgement:
    """The comparison of generated showers with a reference.

    Args:
        binning: name of the bins.
        min_energy: voxels below it count as empty, MeV.
        num_showers: numbers of showers of `reference`, `generated` and, if there is one, `second_reference`.
        scored: the features, the voxels' energies and, if the samples have them, the shapes (in calogen's own bins),
            at all incident energies together; the response also at each energy, if energies are discrete.
        correlations: Pearson correlation of the layers' energies, `[l, l]`, by sample.
    """

    binning: str
    min_energy: float
    num_showers: Mapping[str, int]
    scored: tuple[Scored[Feature], ...]
    correlations: Mapping[str, np.ndarray]

    def find(self, name: str, incident_energy: float = ALL_ENERGIES) -> Scored[Feature]:
        """One feature by its name, e.g. `width_eta_2`.

        Raises:
            DataFormatError: the feature was not judged at that energy.
        """
        for item in self.scored:
            if (item.feature.name, item.incident_energy) == (name, incident_energy):
                return item
        known = ", ".join(item.feature.name for item in self.scored if item.incident_energy == ALL_ENERGIES)
        raise DataFormatError(f"judged features are {known}, and response at some energies. Received: {name}")


def default_min_energy(binning: str) -> float:
    """A binning's energy below which voxels count as empty, MeV; refuses unknown binnings."""
    if binning not in (*BINNINGS, OWN_BINNING):
        raise ConfigError(f"binning must be one of {', '.join((*BINNINGS, OWN_BINNING))}. Received: {binning}")
    return BINNINGS[binning].min_energy if binning in BINNINGS else 1.0


def judge_samples(
    reference: Sample,
    generated: Sample,
    second_reference: Sample | None = None,
    binning: str = "1-photons",
    seed: int = 1,
) -> Judgement:
    """Judge generated showers by all features; a second reference gives the floor.

    Raises:
        ConfigError: the binning is neither in `BINNINGS` nor `OWN_BINNING`.
        DataFormatError: a sample has other incident energies, features or thresholds than the reference.
    """
    default_min_energy(binning)
    others = {"generated": generated} | ({"second_reference": second_reference} if second_reference else {})
    for name, sample in others.items():
        require_comparable(name, reference, sample)
    samples = {"reference": reference, **others}
    energies = {"response": discrete_energies(reference.incident_energies).tolist()}
    names = reference.features.features
    features = [(item, energy) for item in names for energy in (ALL_ENERGIES, *energies.get(item.name, ()))]
    shapes = [(item, ALL_ENERGIES) for item in (reference.shapes.features if reference.shapes else ())]
    bins = partial(_bins, binning, reference.min_energy)
    first, last = (compare(columns, reference, others, bins, "cells", seed) for columns in (features, shapes))
    scored: list[Scored[Feature]] = []
    with progress("comparing", len(features) + 1 + len(shapes), "features") as shown:
        for item in chain(first, [_score_spectra(reference, others, seed)], last):
            scored.append(item)
            shown.advance()
    sizes = {name: len(sample.features) for name, sample in samples.items()}
    correlations = {name: layer_correlation(sample.features) for name, sample in samples.items()}
    return Judgement(binning, reference.min_energy, sizes, tuple(scored), correlations)


def _score_spectra(reference: Sample, others: Mapping[str, Sample], seed: int) -> Scored[Feature]:
    """Compare the energies of all voxels of all showers; empty voxels are underflow."""
    first, size = reference.spectrum, len(reference.features)
    histograms = {name: item.spectrum.histogram for name, item in {"reference": reference, **others}.items()}
    numbers = {name: measure_spectra(first, item.spectrum, seed) for name, item in others.items()}
    expected = {
        name: dealt_spectra(first, item.spectrum, (size, len(item.features)), seed) for name, item in others.items()
    }
    return Scored(Feature("voxel_energy"), ALL_ENERGIES, histograms, numbers, expected=expected)


def _bins(binning: str, min_energy: float, feature: Feature, reference: np.ndarray, energy: float) -> Bins:
    """Bins of a feature: the challenge's, or calogen's own if too few of these are filled."""
    values = reference[~np.isnan(reference)]
    own = logarithmic_edges if feature.quantity.endswith("_energy") else reference_edges
    edges = own(values, min_bins=FINE)
    if binning == OWN_BINNING or feature.quantity in ALL_SHAPES:
        return Bins(edges, FEATURE_METRICS, join=False)
    axis = BINNINGS[binning].edges(feature, float(values.max()), min_energy, energy)
    filled = num_bins_filled(values, axis)
    coarse = filled < FINE <= num_bins_filled(values, edges)
    return Bins(edges if coarse else axis, FEATURE_METRICS, False, axis, filled if coarse else None)


def require_comparable(name: str, reference: Sample, sample: Sample) -> None:
    """Refuse a sample whose incident energies, features or threshold are not the reference's."""
    if sample.features.features != reference.features.features or sample.min_energy != reference.min_energy:
        raise DataFormatError(f"{name} must have the reference's geometry and min_energy")
    if (sample.shapes is None) != (reference.shapes is None):
        raise DataFormatError(f"{name} must have shapes exactly if the reference does. Received: one of them has them")
    if not np.array_equal(sample.spectrum.cells, reference.spectrum.cells):
        raise DataFormatError(f"{name} must have its voxels counted in the reference's cells")
    require_energies(name, reference.incident_energies, sample.incident_energies)
