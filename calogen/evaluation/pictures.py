"""Data of the figures of judged showers: averages, single showers, response, features."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from calogen.evaluation.judgement import Sample
from calogen.evaluation.summary import ResponseCurve, curve_of
from calogen.metrics.correlations import joined
from calogen.metrics.features import Features
from calogen.showers.labels import discrete_energies, within
from calogen.showers.sample import Showers
from calogen.showers.voxels import VoxelGeometry

MOST_ENERGIES = 6
"""At most so many incident energies, or ranges of them, have average showers; if there are more, some are chosen."""
_CURVE_BINS = 12  # of the response curve, if incident energies are continuous


@dataclass(frozen=True)
class Average:
    """Mean showers of several samples at an incident energy, or in a range of energies.

    Args:
        low, high: limits of the incident energies, MeV; equal if there is one energy.
        number: of showers in each mean; the same for all samples.
        showers: mean shower by sample, `[v]`, MeV, the reference first.
    """

    low: float
    high: float
    number: int
    showers: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Pictures:
    """What figures show beside the assessment; mappings are by sample, the reference first.

    Args:
        geometry: of the showers.
        averages: mean showers at increasing energies.
        energy: incident energy of the showers in `single`, MeV.
        single: one shower of each sample, `[v]`, MeV.
        curves: response and resolution.
        features: features and shapes of all showers.
    """

    geometry: VoxelGeometry
    averages: tuple[Average, ...]
    energy: float
    single: Mapping[str, np.ndarray]
    curves: Mapping[str, ResponseCurve]
    features: Mapping[str, Features]


def take_pictures(geometry: VoxelGeometry, samples: Mapping[str, Sample], showers: Mapping[str, Showers]) -> Pictures:
    """The data of the figures of several samples.

    Args:
        geometry: of the showers.
        samples: features of all showers, by sample, the reference first.
        showers: all or some of the showers, by sample in the same order.
    """
    features = {name: item.features for name, item in samples.items()}
    shapes = {name: item.shapes for name, item in samples.items()}
    columns = {name: joined(features[name], shape) if shape else features[name] for name, shape in shapes.items()}
    energies = next(iter(showers.values())).incident_energies
    middle = float(np.sort(energies)[len(energies) // 2])
    nearest = {name: np.abs(np.log(item.incident_energies / middle)).argmin() for name, item in showers.items()}
    single = {name: item.energies[nearest[name]] for name, item in showers.items()}
    discrete = bool(len(discrete_energies(next(iter(features.values())).incident_energies)))
    edges = None if discrete else _curve_edges(next(iter(features.values())).incident_energies)
    curves = {name: _curve(item, edges) for name, item in features.items()}
    return Pictures(geometry, tuple(average_at_energies(showers)), middle, single, curves, columns)


def average_at_energies(showers: Mapping[str, Showers]) -> Iterator[Average]:
    """Mean showers at each incident energy, or in ranges of continuous energies.

    The first sample chooses the energies, or the ranges, which have equal widths in the logarithm. In a range, showers
    are chosen so that they spread evenly over its energies. Where a sample has no showers, there is no average.
    """
    for low, high in _ranges(next(iter(showers.values())).incident_energies):
        rows = {name: _rows(item.incident_energies, low, high) for name, item in showers.items()}
        number = min(map(len, rows.values()))
        if number:
            means = {
                name: item.energies[_spread(rows[name], number)].mean(axis=0, dtype=np.float64)
                for name, item in showers.items()
            }
            yield Average(low, high, number, means)


def _ranges(energies: np.ndarray) -> list[tuple[float, float]]:
    """Lowest and highest incident energy, MeV, of each average."""
    discrete = discrete_energies(energies) if len(energies) > 1 else energies
    if not len(discrete):
        edges = np.geomspace(energies.min(), energies.max(), MOST_ENERGIES + 1).tolist()
        return list(pairwise(edges))
    chosen = discrete[_spread(np.arange(len(discrete)), min(len(discrete), MOST_ENERGIES))]
    return [(energy, energy) for energy in chosen.tolist()]


def _rows(energies: np.ndarray, low: float, high: float) -> np.ndarray:
    """Rows of the showers from `low` to `high`, MeV, in the order of their incident energies."""
    chosen = np.flatnonzero(within(energies, low, high))
    return chosen[np.argsort(energies[chosen], kind="stable")]


def _spread(items: np.ndarray, number: int) -> np.ndarray:
    """A number of items, chosen at even distances from the first to the last."""
    return items[np.linspace(0, len(items) - 1, number).round().astype(np.intp)]


def _curve_edges(energies: np.ndarray) -> np.ndarray:
    """Edges of the bins of continuous energies, equidistant in their logarithm."""
    return np.geomspace(energies.min(), energies.max() * (1 + 1e-9), _CURVE_BINS + 1)


def _curve(features: Features, edges: np.ndarray | None) -> ResponseCurve:
    """Response by incident energy, or in bins of it; the outermost ones have no end."""
    energies = features.incident_energies
    if edges is not None:
        centres = np.sqrt(edges[1:] * edges[:-1])
        energies = centres[np.clip(np.searchsorted(edges, energies, side="right") - 1, 0, _CURVE_BINS - 1)]
    return curve_of(energies, features["response"])
