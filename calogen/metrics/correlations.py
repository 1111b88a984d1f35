"""Correlations of observables: coefficients with errors, differences, pairs in 2-D.

Showers for which an observable is undefined (NaN) are left out of its own pairs only. `challenge.layer_correlation`
gives the coefficients of the layers' energies alone, as the challenge does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from calogen.errors import DataFormatError
from calogen.metrics.distributions import Value, json_matrix
from calogen.metrics.features import Features
from calogen.metrics.histograms import logarithmic_edges, reference_edges

INCIDENT_ENERGY = "incident_energy"
"""Name of the incident energies, beside those of the features."""
FIGURE_10 = (("num_hits", "total_energy"), ("longitudinal_centre", "total_energy"))
"""Pairs of Fig. 10 of arXiv:2005.05334: hits and centre of gravity against the visible energy."""

_ENERGY = "_energy"  # in the names of those with logarithmic bins
_ROUNDS = 100
_GROUPS = 256  # of showers, which are resampled: sums of them are kept, not of showers
_COLUMNS = 16  # whose pairs with all others are worked on at a time
_ROUNDING = 1e-12  # of <x^2>: a variance below is none


@dataclass(frozen=True)
class Correlations:
    """Correlation coefficients of observables, or differences of two samples' coefficients.

    Args:
        names: of the observables.
        values: `[f, f]`; NaN where one of the two is constant or never defined with the other.
        errors: `[f, f]`, standard errors; NaN where a resampled sample has no coefficient.
    """

    names: tuple[str, ...]
    values: np.ndarray
    errors: np.ndarray

    @property
    def significances(self) -> np.ndarray:
        """Values / errors, `[f, f]`; 0 / 0 is 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where((self.values == 0) & (self.errors == 0), 0.0, self.values / self.errors)

    @property
    def mean_absolute(self) -> float:
        """Mean of the absolute values that are defined, diagonal included; NaN without any.

        Source: the caption of Fig. 9 of arXiv:2005.05334; that the diagonal counts is ours.
        """
        known = self.values[np.isfinite(self.values)]
        return float(np.abs(known).mean()) if len(known) else np.nan

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; what is not defined becomes None."""
        matrices = {"values": self.values, "errors": self.errors, "significances": self.significances}
        return {"names": list(self.names)} | {name: json_matrix(matrix) for name, matrix in matrices.items()}


@dataclass(frozen=True)
class PairHistograms:
    """Two observables against each other, for several samples in the same bins.

    Args:
        names: of the horizontal and the vertical observable.
        edges: of both, `[a + 1]` and `[b + 1]`.
        counts: showers by sample, `[a + 2, b + 2]`, with underflow and overflow.
        undefined: showers by sample that lack one of the two.
    """

    names: tuple[str, str]
    edges: tuple[np.ndarray, np.ndarray]
    counts: Mapping[str, np.ndarray]
    undefined: Mapping[str, int]

    @property
    def logarithmic(self) -> tuple[bool, bool]:
        """Which of the two has logarithmic bins: energies."""
        return _ENERGY in self.names[0], _ENERGY in self.names[1]

    def shares(self, sample: str) -> np.ndarray:
        """Share of all showers of a sample by bin, `[a, b]`."""
        return self.counts[sample][1:-1, 1:-1] / (self.counts[sample].sum() + self.undefined[sample])

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "names": list(self.names),
            "edges": [edges.tolist() for edges in self.edges],
            "counts": {name: counts.tolist() for name, counts in self.counts.items()},
            "undefined": dict(self.undefined),
        }


def joined(first: Features, second: Features) -> Features:
    """The columns of both, e.g. the challenge's features and the shapes of the same showers.

    Raises:
        DataFormatError: they are not of the same showers.
    """
    if not np.array_equal(first.incident_energies, second.incident_energies):
        raise DataFormatError("features to join must be of the same showers. Received: other incident energies")
    values = np.hstack([first.values, second.values])
    return Features(first.features + second.features, values, first.incident_energies)


def correlate(features: Features, names: Sequence[str] | None = None, seed: int = 0) -> Correlations:
    """Pearson's correlation coefficient of each pair of observables, with its error.

    The error is the spread under resampling of the showers, which go together in up to 256 groups.

    Args:
        features: of a sample.
        names: which of them, `incident_energy` among them or not; None: all features.
        seed: of the resampling.

    Raises:
        DataFormatError: there is no such feature.

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
    found = np.concatenate([_coefficients(*groups, weights, slice(i, i + _COLUMNS)) for i in starts], axis=1)
    found[:, range(len(names)), range(len(names))] = np.where(np.isnan(np.diagonal(found, 0, 1, 2)), np.nan, 1.0)
    return Correlations(names, found[0], found[1:].std(axis=0))


def difference(reference: Correlations, generated: Correlations) -> Correlations:
    """Coefficients of the generated sample minus the reference's, with the errors of both.

    Raises:
        DataFormatError: they are not of the same observables.

    Source: Fig. 9 of arXiv:2005.05334; the errors are ours.
    """
    if reference.names != generated.names:
        raise DataFormatError(
            "both samples must have the same observables. "
            f"Received: {', '.join(generated.names)}, the reference {', '.join(reference.names)}"
        )
    errors = np.hypot(reference.errors, generated.errors)
    return Correlations(reference.names, generated.values - reference.values, errors)


def rank_correlation(first: np.ndarray, second: np.ndarray) -> Value:
    """Spearman's rank correlation and the error that independent values have.

    NaN for a constant.
    """
    if len(first) < 3 or not (np.ptp(first) and np.ptp(second)):
        return Value(np.nan, np.nan)
    return Value(float(stats.spearmanr(first, second).statistic), 1 / float(np.sqrt(len(first) - 1)))


def pair_histograms(
    samples: Mapping[str, Features], pairs: Sequence[tuple[str, str]] = FIGURE_10
) -> tuple[PairHistograms, ...]:
    """Pairs of observables in two dimensions.

    The first sample chooses the bins; those of energies are logarithmic.

    Args:
        samples: features by name, the reference first.
        pairs: names of the horizontal and the vertical observable, `incident_energy` among them or not.

    Raises:
        DataFormatError: no sample, or one without such a feature.

    Source: Fig. 10 of arXiv:2005.05334, where all showers are points.
    """
    if not samples:
        raise DataFormatError("pair_histograms needs the reference and samples beside it. Received: none")
    found = []
    for names in pairs:
        columns = {name: [_column(features, each) for each in names] for name, features in samples.items()}
        first, second = zip(names, next(iter(columns.values())), strict=True)
        edges = _edges(*first), _edges(*second)
        counts = {name: _count(pair, edges) for name, pair in columns.items()}
        undefined = {name: len(samples[name]) - int(item.sum()) for name, item in counts.items()}
        found.append(PairHistograms(names, edges, counts, undefined))
    return tuple(found)


def _column(features: Features, name: str) -> np.ndarray:
    return features.incident_energies if name == INCIDENT_ENERGY else features[name]


def _edges(name: str, reference: np.ndarray) -> np.ndarray:
    return (logarithmic_edges if _ENERGY in name else reference_edges)(reference)


def _standardised(columns: np.ndarray, defined: np.ndarray) -> np.ndarray:
    """Columns `[n, f]` with mean 0, deviation 1; 0 where undefined or constant."""
    number = np.maximum(defined.sum(axis=0), 1)
    filled = np.where(defined, columns, 0.0)
    constant = np.where(defined, columns, -np.inf).max(axis=0) <= np.where(defined, columns, np.inf).min(axis=0)
    filled = np.where(defined & ~constant, filled - filled.sum(axis=0) / number, 0.0)
    deviation = np.sqrt((filled**2).sum(axis=0) / number)
    return filled / np.where(deviation > 0, deviation, 1.0)


def _grouped(columns: np.ndarray) -> np.ndarray:
    """Rows `[n, f]` dealt out to groups, `[g, m, f]`; zeros fill up the last row of some."""
    groups = min(_GROUPS, len(columns))
    rows = -(-len(columns) // groups)
    padded = np.zeros((rows * groups, columns.shape[1]))
    padded[: len(columns)] = columns
    return padded.reshape(rows, groups, -1).swapaxes(0, 1)


def _coefficients(values: np.ndarray, defined: np.ndarray, weights: np.ndarray, chosen: slice) -> np.ndarray:
    """Coefficients of some columns with all, `[k, c, f]`.

    Args:
        values: `[g, m, f]`, about 1 in size, 0 where undefined.
        defined: `[g, m, f]`, 1 where they are defined.
        weights: of the groups, `[k, g]`.
        chosen: the columns.
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
        found = (sums(values, values) / number - means[0] * means[1]) / np.sqrt(variances[0] * variances[1])
    return np.where(known[0] & known[1], np.clip(found, -1, 1), np.nan)


def _count(columns: Sequence[np.ndarray], edges: Sequence[np.ndarray]) -> np.ndarray:
    """Showers by bin as in `Histogram`, `[a + 2, b + 2]`, undefined ones left out."""
    defined = np.isfinite(columns).all(axis=0)
    places = []
    for values, ends in zip(columns, edges, strict=True):
        places.append(np.searchsorted(ends, values[defined], side="right") - (values[defined] == ends[-1]))
    counts = np.zeros([len(ends) + 1 for ends in edges], np.int64)
    np.add.at(counts, tuple(places), 1)
    return counts
