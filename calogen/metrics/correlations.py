"""Correlations of observables: coefficients with errors, differences, 2-D histograms.

A shower for which an observable is undefined (NaN) is left out of the pairs of this observable only. The challenge's
own coefficients, those of the layers' energies, are in `challenge.layer_correlation`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from calogen.errors import DataFormatError
from calogen.metrics.distributions import Value, json_matrix
from calogen.metrics.features import Features
from calogen.metrics.histograms import logarithmic_edges, reference_edges

INCIDENT_ENERGY = "incident_energy"
"""Name under which the incident energies are used like a feature."""
FIGURE_10 = (("num_hits", "total_energy"), ("longitudinal_centre", "total_energy"))
"""Pairs in Fig. 10 of arXiv:2005.05334: hits, and centre of gravity, against the visible energy."""

_ENERGY = "_energy"  # observables with this in their names have logarithmic bins
_ROUNDS = 100  # of resampling
_GROUPS = 256  # groups of showers that are resampled, so that sums over groups suffice
_COLUMNS = 16  # observables whose pairs with all observables are computed at a time
_ROUNDING = 1e-12  # a variance below this share of <x^2> is rounding


@dataclass(frozen=True)
class Correlations:
    """Correlation coefficients of observables, or differences of two samples' coefficients.

    Args:
        names: names of the observables.
        values: coefficients, `[f, f]`; NaN if an observable is constant, or undefined wherever the other is defined.
        errors: standard errors, `[f, f]`; NaN if a resampled sample has no coefficient.
        resampled: the coefficients, or their differences, of resampled showers, `[k, f, f]`.
    """

    names: tuple[str, ...]
    values: np.ndarray
    errors: np.ndarray
    resampled: np.ndarray

    @property
    def significances(self) -> np.ndarray:
        """Coefficients / errors, `[f, f]`, where 0 / 0 counts as 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where((self.values == 0) & (self.errors == 0), 0.0, self.values / self.errors)

    @property
    def mean_absolute(self) -> Value:
        """Mean absolute value of the defined coefficients off the diagonal; NaN for none.

        Its error is the spread under resampling, since coefficients that share an observable go together.

        Source: caption of Fig. 9 of arXiv:2005.05334. Ours: the diagonal, where all samples have 1, does not count.
        """
        known = np.isfinite(self.values) & ~np.eye(len(self.names), dtype=bool)
        if not known.any():
            return Value(np.nan, np.nan)
        drawn = np.abs(self.resampled[:, known])
        drawn = drawn[np.isfinite(drawn).any(axis=1)]  # a few showers may all be one
        error = float(np.nanmean(drawn, axis=1).std()) if len(drawn) else np.nan
        return Value(float(np.abs(self.values[known]).mean()), error)

    def to_json(self) -> dict[str, object]:
        """JSON values; undefined numbers become None."""
        matrices = {"values": self.values, "errors": self.errors, "significances": self.significances}
        return {"names": list(self.names), **{name: json_matrix(matrix) for name, matrix in matrices.items()}}


@dataclass(frozen=True)
class PairHistograms:
    """2-D histograms of two observables for several samples, in equal bins.

    Args:
        names: names of the horizontal and the vertical observable.
        edges: edges of their bins, `[a + 1]` and `[b + 1]`.
        counts: numbers of showers with underflow and overflow, `[a + 2, b + 2]`, by sample.
        undefined: number of showers for which one of the two is undefined, by sample.
    """

    names: tuple[str, str]
    edges: tuple[np.ndarray, np.ndarray]
    counts: Mapping[str, np.ndarray]
    undefined: Mapping[str, int]

    @property
    def logarithmic(self) -> tuple[bool, bool]:
        """Whether each of the observables has logarithmic bins, as energies have."""
        return _ENERGY in self.names[0], _ENERGY in self.names[1]

    def shares(self, sample: str) -> np.ndarray:
        """Share of all showers of a sample that lie in each bin, `[a, b]`."""
        return self.counts[sample][1:-1, 1:-1] / (self.counts[sample].sum() + self.undefined[sample])

    def to_json(self) -> dict[str, object]:
        """JSON values."""
        return {
            "names": list(self.names),
            "edges": [edges.tolist() for edges in self.edges],
            "counts": {name: counts.tolist() for name, counts in self.counts.items()},
            "undefined": dict(self.undefined),
        }


def joined(first: Features, second: Features) -> Features:
    """Joins two tables of the same showers, e.g. the challenge's features and shapes.

    Raises:
        DataFormatError: the tables have different incident energies, so they are not of the same showers.
    """
    if not np.array_equal(first.incident_energies, second.incident_energies):
        raise DataFormatError("features to join must be of the same showers. Received: other incident energies")
    values = np.hstack([first.values, second.values])
    return Features(first.features + second.features, values, first.incident_energies)


def correlate(features: Features, names: Sequence[str] | None = None, seed: int = 0) -> Correlations:
    """Pearson's correlation coefficient of each pair of observables, with its error.

    The error is the spread under resampling of up to 256 groups of showers.

    Args:
        features: features of a sample.
        names: names of the features to use, which may include `incident_energy`; None: all features.
        seed: seed of the resampling.

    Raises:
        DataFormatError: there is no feature of such a name.

    Source: Fig. 9 of arXiv:2005.05334; the errors are ours.
    """
    names = features.names if names is None else tuple(names)
    columns = np.stack([_column(features, name) for name in names], axis=1)
    defined = np.isfinite(columns)
    groups = _grouped(_standardised(columns, defined)), _grouped(defined.astype(np.float64))
    rng, number = np.random.default_rng(seed), len(groups[0])
    drawn = rng.multinomial(number, np.full(number, 1 / number), _ROUNDS)
    weights = np.vstack([np.ones(number), drawn])
    starts = range(0, len(names), _COLUMNS)
    coefficients = np.concatenate([_coefficients(*groups, weights, slice(i, i + _COLUMNS)) for i in starts], axis=1)
    diagonal = np.diagonal(coefficients, 0, 1, 2)
    coefficients[:, range(len(names)), range(len(names))] = np.where(np.isnan(diagonal), np.nan, 1.0)
    return Correlations(names, coefficients[0], coefficients[1:].std(axis=0), coefficients[1:])


def difference(reference: Correlations, generated: Correlations) -> Correlations:
    """Coefficients of the generated sample minus the reference's, with both errors.

    Raises:
        DataFormatError: the two are of different observables.

    Source: Fig. 9 of arXiv:2005.05334; the errors are ours.
    """
    if reference.names != generated.names:
        raise DataFormatError(
            "both samples must have the same observables. "
            f"Received: {', '.join(generated.names)}, the reference {', '.join(reference.names)}"
        )
    errors = np.hypot(reference.errors, generated.errors)
    others = np.roll(reference.resampled, 1, axis=0)  # drawn apart, whereas both may have been drawn with one seed
    resampled = generated.resampled - others
    return Correlations(reference.names, generated.values - reference.values, errors, resampled)


def rank_correlation(first: np.ndarray, second: np.ndarray) -> Value:
    """Spearman's rank correlation, with the error that holds for independent values.

    It is NaN if one of the two is constant.
    """
    if len(first) < 3 or not (np.ptp(first) and np.ptp(second)):
        return Value(np.nan, np.nan)
    return Value(float(stats.spearmanr(first, second).statistic), 1 / float(np.sqrt(len(first) - 1)))


def pair_histograms(
    samples: Mapping[str, Features], pairs: Sequence[tuple[str, str]] = FIGURE_10
) -> tuple[PairHistograms, ...]:
    """2-D histograms of pairs of observables.

    The bins follow from the first sample; those of energies are logarithmic.

    Args:
        samples: features of samples by name, the reference first.
        pairs: names of the horizontal and the vertical observable, which may be `incident_energy`.

    Raises:
        DataFormatError: there is no sample, or a sample has no feature of such a name.

    Source: Fig. 10 of arXiv:2005.05334, where each shower is a point.
    """
    if not samples:
        raise DataFormatError("pair_histograms needs the reference and samples beside it. Received: none")
    histograms = []
    for names in pairs:
        columns = {name: [_column(features, each) for each in names] for name, features in samples.items()}
        first, second = zip(names, next(iter(columns.values())), strict=True)
        edges = _edges(*first), _edges(*second)
        counts = {name: _count(pair, edges) for name, pair in columns.items()}
        undefined = {name: len(samples[name]) - int(item.sum()) for name, item in counts.items()}
        histograms.append(PairHistograms(names, edges, counts, undefined))
    return tuple(histograms)


def _column(features: Features, name: str) -> np.ndarray:
    return features.incident_energies if name == INCIDENT_ENERGY else features[name]


def _edges(name: str, reference: np.ndarray) -> np.ndarray:
    return (logarithmic_edges if _ENERGY in name else reference_edges)(reference)


def _standardised(columns: np.ndarray, defined: np.ndarray) -> np.ndarray:
    """Columns `[n, f]` with mean 0 and standard deviation 1; 0 where undefined or constant."""
    number = np.maximum(defined.sum(axis=0), 1)
    filled = np.where(defined, columns, 0.0)
    constant = np.where(defined, columns, -np.inf).max(axis=0) <= np.where(defined, columns, np.inf).min(axis=0)
    filled = np.where(defined & ~constant, filled - filled.sum(axis=0) / number, 0.0)
    deviation = np.sqrt((filled**2).sum(axis=0) / number)
    return filled / np.where(deviation > 0, deviation, 1.0)


def _grouped(columns: np.ndarray) -> np.ndarray:
    """Rows `[n, f]` in groups of equal size, `[g, m, f]`; rows of zeros fill the groups up."""
    groups = min(_GROUPS, len(columns))
    rows = -(-len(columns) // groups)
    padded = np.zeros((rows * groups, columns.shape[1]))
    padded[: len(columns)] = columns
    return padded.reshape(rows, groups, -1).swapaxes(0, 1)


def _coefficients(values: np.ndarray, defined: np.ndarray, weights: np.ndarray, chosen: slice) -> np.ndarray:
    """Coefficients of some columns with all columns, `[k, c, f]`.

    Args:
        values: standardised values, `[g, m, f]`, 0 where undefined.
        defined: 1 where values are defined, else 0, `[g, m, f]`.
        weights: weights of the groups in each round of resampling, `[k, g]`.
        chosen: the columns of which the coefficients are wanted.
    """

    def sums(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Weighted sums of products of the showers' numbers, `[k, c, f]`."""
        return np.tensordot(weights, first[..., chosen].swapaxes(1, 2) @ second, 1)

    with np.errstate(divide="ignore", invalid="ignore"):
        number = sums(defined, defined)
        means = sums(values, defined) / number, sums(defined, values) / number
        squares = sums(values**2, defined) / number, sums(defined, values**2) / number
        variances = [square - mean**2 for mean, square in zip(means, squares, strict=True)]
        known = [item > _ROUNDING * square for item, square in zip(variances, squares, strict=True)]
        coefficients = (sums(values, values) / number - means[0] * means[1]) / np.sqrt(variances[0] * variances[1])
    return np.where(known[0] & known[1], np.clip(coefficients, -1, 1), np.nan)


def _count(columns: Sequence[np.ndarray], edges: Sequence[np.ndarray]) -> np.ndarray:
    """Numbers of showers with under- and overflow, `[a + 2, b + 2]`, without undefined ones."""
    defined = np.isfinite(columns).all(axis=0)
    places = []
    for values, ends in zip(columns, edges, strict=True):
        places.append(np.searchsorted(ends, values[defined], side="right") - (values[defined] == ends[-1]))
    counts = np.zeros([len(ends) + 1 for ends in edges], np.int64)
    np.add.at(counts, tuple(places), 1)
    return counts
