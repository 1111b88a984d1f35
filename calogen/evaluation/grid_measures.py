"""Numbers of samples in regular grids that claims look at, with their errors."""

import numpy as np

from calogen.evaluation.grids import GridTable
from calogen.metrics.correlations import INCIDENT_ENERGY, Correlations, correlate
from calogen.metrics.distributions import Value, mean, standard_deviation
from calogen.metrics.features import Feature, Features
from calogen.metrics.resampling import ks_statistic

_CORE = 0.9  # share of the showers in a core
_PEAK, _SHIFTS = 1.15, (0.87, 0.93, 1.0, 1.07, 1.15)  # half width of a window, and where the peak may lie, as factors
_BESIDE = np.array([1 / 3, 1 / 1.8, 1.8, 3.0])  # windows beside the peak, as factors
_INTERCEPT = np.linalg.pinv(np.vander(np.log(_BESIDE), 3))[-1]  # of a parabola through them, at the peak
_ROUNDS = 100  # of resampling for the errors of a core
_GROUPS = 50  # groups of showers that are resampled for errors


def core(energies: np.ndarray, seed: int = 0) -> tuple[Value, Value]:
    """Mean and relative width of the smallest interval with 90 % of some energies `[n]`.

    The errors are the spread over resampled showers, as the interval follows from them.

    Source: section 4.1 and Fig. 8 of arXiv:2005.05334; mu90 and sigma90 / mu90.
    """
    rng, centre, width = np.random.default_rng(seed), *_core(energies)
    drawn = [_core(rng.choice(energies, len(energies))) for _ in range(_ROUNDS)]
    errors = np.std(drawn, axis=0)
    return Value(centre, float(errors[0])), Value(width, float(errors[1]))


def _core(energies: np.ndarray) -> tuple[float, float]:
    """Mean and relative width of the smallest interval with 90 %; NaN below two energies."""
    ordered = np.sort(energies)
    kept = min(max(2, round(_CORE * len(ordered))), len(ordered))
    first = int(np.argmin(ordered[kept - 1 :] - ordered[: len(ordered) - kept + 1]))
    chosen = ordered[first : first + kept]
    return mean(chosen).value, (standard_deviation(chosen) / mean(chosen).value).value


def peak_height(table: GridTable, peak: float, seed: int = 0) -> Value:
    """Excess of the spectrum near an energy, MeV, over a smooth one with its neighbourhood.

    Cells are counted within factors of 1.15 around the energy and around 1.8 and 3 times less and more. What a smooth
    spectrum would have at the energy comes from a parabola through the logarithms of the other counts, so that power
    laws, exponentials and log-normals have no peak: 0. An empty window counts as half a cell. The peak may lie up to
    15 % beside the energy.
    """
    group = np.repeat(np.arange(len(table)) % _GROUPS, table.cells)
    drawn = np.random.default_rng(seed).multinomial(_GROUPS, np.full(_GROUPS, 1 / _GROUPS), 100)
    weights = np.vstack([np.ones(_GROUPS), drawn])
    heights = np.stack([_height(table.spectrum, group, weights, peak * shift) for shift in _SHIFTS]).max(axis=0)
    return Value(float(heights[0]), float(heights[1:].std()))


def _height(energies: np.ndarray, group: np.ndarray, weights: np.ndarray, energy: float) -> np.ndarray:
    """Excess at one energy, MeV, for each row of weights."""
    centres = energy * np.array([1.0, *_BESIDE])
    counts = np.stack(
        [
            np.bincount(group[(energies > low) & (energies <= high)], minlength=_GROUPS)
            for low, high in zip(centres / _PEAK, centres * _PEAK, strict=True)
        ],
        axis=1,
    )
    at, *beside = np.log(np.maximum(weights @ counts, 0.5)).T
    return np.exp(at - _INTERCEPT @ np.stack(beside)) - 1


def edges_of(reference: GridTable, table: GridTable) -> tuple[Value, Value]:
    """Mean energy in two first and last layers, and in outer rings, over the reference's."""
    return _edge_layers(table) / _edge_layers(reference), _outer_rings(table) / _outer_rings(reference)


def correlation_of(table: GridTable, seed: int = 0) -> Correlations:
    """Correlation coefficients of the observables and the incident energy.

    Source: Fig. 9 of arXiv:2005.05334.
    """
    features = features_of(table)
    return correlate(features, (*features.names, INCIDENT_ENERGY), seed)


def features_of(table: GridTable) -> Features:
    """The observables as features, whose correlations can be looked at."""
    names = [item.name for item in table.observables]
    values = np.stack([table[name] for name in names], axis=1)
    return Features(tuple(map(Feature, names)), values, table.incident_energies)


def _edge_layers(table: GridTable) -> Value:
    return mean(table.layers[:, [0, 1, -2, -1]].sum(axis=1))


def _outer_rings(table: GridTable) -> Value:
    return mean(table.rings[:, 2 * table.rings.shape[1] // 3 :].sum(axis=1))


def observable_distance(reference: GridTable, table: GridTable, name: str, seed: int = 0) -> Value:
    """KS distance of an observable with its resampled spread; 1 without showers.

    Showers for which the observable is undefined count as above all others, so that their share counts.
    """
    samples = [np.where(np.isfinite(item[name]), item[name], np.inf) for item in (reference, table)]
    if min(map(len, samples)) < 2:
        return Value(1.0, 0.0)
    rng = np.random.default_rng(seed)
    drawn = [ks_statistic(*(rng.choice(item, len(item)) for item in samples)) for _ in range(50)]
    return Value(ks_statistic(*samples), float(np.std(drawn)))


def distance_floor(reference: GridTable, table: GridTable) -> Value:
    """Mean KS distance of two samples of one distribution and of these sizes, or NaN.

    Source: the mean of Kolmogorov's distribution, sqrt(pi / 2) ln 2.
    """
    if not (len(reference) and len(table)):
        return Value(np.nan, np.nan)
    return Value(float(np.sqrt(np.pi / 2) * np.log(2) * np.sqrt(1 / len(reference) + 1 / len(table))), 0.0)


def profile_deviation(reference: np.ndarray, generated: np.ndarray, seed: int = 0) -> Value:
    """Sum of absolute differences of two mean profiles, as a share of the reference's sum.

    Args:
        reference, generated: energies along a direction, `[n, k]` and `[m, k]`, MeV, a row for each shower.
        seed: of the resampling of showers, whose spread is the error.
    """
    rng, found = np.random.default_rng(seed), []
    for number in range(51):
        rows = [item if number == 0 else rng.choice(item, len(item)) for item in (reference, generated)]
        expected, profile = (item.mean(axis=0, dtype=np.float64) for item in rows)
        found.append(float(np.abs(profile - expected).sum() / expected.sum()))
    return Value(found[0], float(np.std(found[1:])))
