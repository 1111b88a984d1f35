"""What figures of judged showers need.

Averages at several energies, single showers, response, features.
"""

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
"""Incident energies, or ranges of them, at which showers are averaged: of more, so many are taken, evenly spread."""
_CURVE_BINS = 12  # of the response, where the incident energies are continuous


@dataclass(frozen=True)
class Average:
    """Mean showers at an incident energy or in a range, of as many of each sample.

    Args:
        low, high: of the incident energies, MeV; equal where it is one energy.
        number: of showers that each mean is of.
        showers: the means by sample, `[v]`, MeV, the reference first.
    """

    low: float
    high: float
    number: int
    showers: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Pictures:
    """What figures need beyond the assessment; all by sample, the reference first.

    Args:
        geometry: of the showers.
        averages: mean showers, by increasing energy.
        energy: of `single`, MeV.
        single: one shower, `[v]`, MeV.
        curves: response and resolution.
        features: of all showers, with their shapes.
    """

    geometry: VoxelGeometry
    averages: tuple[Average, ...]
    energy: float
    single: Mapping[str, np.ndarray]
    curves: Mapping[str, ResponseCurve]
    features: Mapping[str, Features]


def take_pictures(geometry: VoxelGeometry, samples: Mapping[str, Sample], showers: Mapping[str, Showers]) -> Pictures:
    """The pictures of some samples.

    Args:
        geometry: of the showers.
        samples: features of all showers, by name, the reference first.
        showers: all of them, or some.
    """
    features = {name: item.features for name, item in samples.items()}
    shapes = {name: item.shapes for name, item in samples.items()}
    together = {name: joined(features[name], shape) if shape else features[name] for name, shape in shapes.items()}
    energies = next(iter(showers.values())).incident_energies
    middle = float(np.sort(energies)[len(energies) // 2])
    nearest = {name: np.abs(np.log(item.incident_energies / middle)).argmin() for name, item in showers.items()}
    single = {name: item.energies[nearest[name]] for name, item in showers.items()}
    discrete = bool(len(discrete_energies(next(iter(features.values())).incident_energies)))
    curves = {name: _curve(item, discrete) for name, item in features.items()}
    return Pictures(geometry, tuple(average_at_energies(showers)), middle, single, curves, together)


def average_at_energies(showers: Mapping[str, Showers]) -> Iterator[Average]:
    """Mean showers at each incident energy, or in ranges of continuous ones.

    The ranges are equal in the logarithm. The first sample chooses the energies. In a range, the showers of each sample
    are taken evenly spread over its energies. Where one of the samples has no shower, there is no average.
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
    """First and last incident energy, MeV, of what is averaged."""
    found = discrete_energies(energies) if len(energies) > 1 else energies
    if not len(found):
        edges = np.geomspace(energies.min(), energies.max(), MOST_ENERGIES + 1).tolist()
        return list(pairwise(edges))
    chosen = found[_spread(np.arange(len(found)), min(len(found), MOST_ENERGIES))]
    return [(energy, energy) for energy in chosen.tolist()]


def _rows(energies: np.ndarray, low: float, high: float) -> np.ndarray:
    """Numbers of the showers with these incident energies, in their order."""
    chosen = np.flatnonzero(within(energies, low, high))
    return chosen[np.argsort(energies[chosen], kind="stable")]


def _spread(items: np.ndarray, number: int) -> np.ndarray:
    """So many of the items, evenly spread from the first to the last."""
    return items[np.linspace(0, len(items) - 1, number).round().astype(np.intp)]


def _curve(features: Features, discrete: bool) -> ResponseCurve:
    """Response by incident energy; continuous energies in equal steps of the logarithm."""
    energies = features.incident_energies
    if not discrete:
        edges = np.geomspace(energies.min(), energies.max() * (1 + 1e-9), _CURVE_BINS + 1)
        centres = np.sqrt(edges[1:] * edges[:-1])
        energies = centres[np.clip(np.searchsorted(edges, energies, side="right") - 1, 0, _CURVE_BINS - 1)]
    return curve_of(energies, features["response"])
