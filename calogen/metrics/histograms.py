"""Histograms and profiles as plain data, and edges of bins that the reference decides."""

from dataclasses import dataclass

import numpy as np

from calogen.errors import ConfigError, DataFormatError

FINE = 20
"""Number of bins over a feature's central 98 %; fewer bins show little of a distribution's form."""
_MIN_BINS, _MAX_BINS = 5, 40  # between the quantiles
_MARGIN_BINS = 2  # on each side of them
_TINY = 1e-300  # smaller numbers count as equal: bins between them would have no width
_BLOCK = 2**16  # number of values that are counted at a time, so that millions need little memory


@dataclass(frozen=True)
class Histogram:
    """Numbers of showers by bin, and outside the bins.

    Args:
        edges: increasing edges of the bins, `[b + 1]`.
        counts: numbers of showers, `[b + 2]`: underflow, bins, overflow.
        undefined: number of showers for which the observable has no value (NaN).
    """

    edges: np.ndarray
    counts: np.ndarray
    undefined: int = 0

    def __post_init__(self) -> None:
        if self.edges.ndim != 1 or len(self.counts) != len(self.edges) + 1 or np.any(np.diff(self.edges) <= 0):
            raise DataFormatError(
                "a histogram needs increasing edges [b + 1] and counts [b + 2] with underflow and overflow. "
                f"Received: {len(self.edges)} edges, {len(self.counts)} counts"
            )

    @classmethod
    def fill(cls, values: np.ndarray, edges: np.ndarray) -> "Histogram":
        """Counts values `[n]`; an edge belongs to the bin above it, the last edge to the last.

        Example:
            >>> Histogram.fill(np.array([-1.0, 0.5, 0.5, 9.0]), np.array([0.0, 1.0, 2.0])).counts.tolist()
            [1, 2, 0, 1]
        """
        values, edges = np.asarray(values), np.asarray(edges, np.float64)
        counts = np.zeros(len(edges) + 1, np.int64)
        for start in range(0, len(values), _BLOCK):
            finite = _finite(np.asarray(values[start : start + _BLOCK], np.float64))
            bins = np.searchsorted(edges, finite, side="right")
            bins[finite == edges[-1]] -= 1
            counts += np.bincount(bins, minlength=len(counts))
        return cls(edges, counts, len(values) - int(counts.sum()))

    @property
    def entries(self) -> int:
        """Number of showers that have a value, outside the bins, too."""
        return int(self.counts.sum())

    @property
    def fractions(self) -> np.ndarray:
        """Share of the showers in each bin, `[b]`; the outer bins include under- and overflow."""
        return self._folded() / max(self.entries, 1)

    @property
    def errors(self) -> np.ndarray:
        """Poisson error of `fractions`, `[b]`."""
        return np.sqrt(self._folded()) / max(self.entries, 1)

    def _folded(self) -> np.ndarray:
        folded = self.counts[1:-1].astype(np.float64)
        folded[0] += self.counts[0]
        folded[-1] += self.counts[-1]
        return folded


@dataclass(frozen=True)
class Profile:
    """Means in bins along an axis.

    Args:
        edges: increasing edges of the bins, `[b + 1]`.
        mean: mean in each bin, `[b]`.
        error: standard error of each mean, `[b]`.
    """

    edges: np.ndarray
    mean: np.ndarray
    error: np.ndarray

    @classmethod
    def of_rows(cls, edges: np.ndarray, rows: np.ndarray) -> "Profile":
        """Means over rows `[n, b]` that have a value in every bin; errors of a single row are 0."""
        error = rows.std(axis=0, ddof=1) / np.sqrt(len(rows)) if len(rows) > 1 else np.zeros(rows.shape[1])
        return cls(edges, rows.mean(axis=0), error)


def profile(places: np.ndarray, values: np.ndarray, edges: np.ndarray) -> Profile:
    """Means of values in bins of their places, with errors.

    The mean of a bin without values is NaN, and so is the error of one with a single value.

    Args:
        places: `[n]`; places outside the edges are left out.
        values: `[n]`; NaN are left out.
        edges: increasing edges of the bins, `[b + 1]`.
    """
    bins = np.where(np.isfinite(values), np.digitize(places, edges) - 1, -1)
    groups = [values[bins == number] for number in range(len(edges) - 1)]
    means = [group.mean() if len(group) else np.nan for group in groups]
    errors = [group.std(ddof=1) / np.sqrt(len(group)) if len(group) > 1 else np.nan for group in groups]
    return Profile(edges, np.array(means), np.array(errors))


def reference_edges(reference: np.ndarray, tail: float = 0.01, min_bins: int = _MIN_BINS) -> np.ndarray:
    """Bin edges for an observable, chosen from the reference sample alone.

    There are 2 n^(1/3) bins (Rice's rule; `min_bins` to 40) between two quantiles, and two more on each side: 13 + 4
    bins for 250 showers, 7 + 4 for 30. If the reference has no negative value, no edge is negative.

    Args:
        reference: values of the reference, `[n]`; NaN are left out.
        tail: the quantiles are `tail` and 1 - `tail`.
        min_bins: least number of bins between the quantiles.

    Returns:
        The edges, `[b + 1]`.
    """
    return _edges(_finite(_floats(reference)), tail, min_bins)


def num_bins_filled(reference: np.ndarray, edges: np.ndarray, tail: float = 0.01) -> int:
    """Number of bins over which the reference's values reach, from one quantile to another.

    Args:
        reference: values of the reference, `[n]`, finite and not empty.
        edges: edges of the bins, `[b + 1]`.
        tail: the quantiles are `tail` and 1 - `tail`.

    Example:
        >>> num_bins_filled(np.linspace(0, 42, 1000), np.linspace(0, 500, 101))
        9
    """
    low, high = np.quantile(reference, tail, method="lower"), np.quantile(reference, 1 - tail, method="higher")
    if high < edges[0] or low > edges[-1]:
        return 0
    first, last = np.clip(np.searchsorted(edges, [low, high], side="right") - 1, 0, len(edges) - 2)
    return int(last - first) + 1


def logarithmic_edges(reference: np.ndarray, tail: float = 0.01, min_bins: int = _MIN_BINS) -> np.ndarray:
    """Bin edges as from `reference_edges`, but in the logarithm of the values above 0.

    >>> logarithmic_edges(np.array([0.0, 1.0, 10.0, 100.0]))[[2, -3]].round(2).tolist()
    [1.05, 95.5]
    """
    values = _floats(reference)
    logarithms = values[(values > 0) & (values < np.inf)]
    if len(logarithms) == 0:
        return np.geomspace(0.1, 10.0, min_bins + 1)
    np.log10(logarithms, out=logarithms)
    offset = float(logarithms.min()) - 1  # so that all are positive, and no negative edge is left out
    logarithms -= offset
    return 10.0 ** (offset + _edges(logarithms, tail, min_bins))


def joined_edges(reference: Histogram, num_generated: int, min_expected: float = 5.0) -> np.ndarray:
    """Edges of joined bins, e.g. for a chi2: both samples expect `min_expected` in each.

    Neighbouring bins, underflow and overflow included, are joined from the left until the reference has `min_expected`
    max(1, n/m) showers in each; remaining bins join the last one. This depends on the reference and on the samples'
    sizes n and m alone. If there are fewer than three such bins, only the outermost edges are kept.

    Example:
        >>> joined_edges(Histogram(np.arange(5.0), np.array([0, 2, 8, 9, 6, 1])), 1000).tolist()
        [2.0, 3.0]
    """
    needed = min_expected * max(1.0, reference.entries / max(num_generated, 1))
    chosen: list[float] = []
    current = 0
    for edge, content in zip(reference.edges, reference.counts[:-1], strict=True):
        current += content
        if current >= needed:
            chosen.append(float(edge))
            current = 0
    if chosen and current + reference.counts[-1] < needed:
        chosen.pop()
    return np.array(chosen) if len(chosen) > 1 else reference.edges[[0, -1]]


def _edges(values: np.ndarray, tail: float, min_bins: int) -> np.ndarray:
    """Edges of `reference_edges` for finite values, which it may reorder."""
    if len(values) == 0:
        return np.linspace(0.0, 1.0, min_bins + 1)
    low, high = np.quantile(values, [tail, 1 - tail], overwrite_input=True).tolist()
    largest = max(abs(low), abs(high))
    if high - low <= max(1e-9 * largest, _TINY):
        margin = 0.5 * largest if largest > _TINY else 0.5
        low, high = low - margin, high + margin
    bins = int(np.clip(np.ceil(2 * np.cbrt(len(values))), min_bins, _MAX_BINS))
    step = (high - low) / bins
    edges = low + step * np.arange(-_MARGIN_BINS, bins + _MARGIN_BINS + 1)
    return edges[edges >= 0] if values.min() >= 0 else edges


def _floats(values: np.ndarray) -> np.ndarray:
    """Values in their own floating-point type, or else in float64."""
    values = np.asarray(values)  # kept in float32, millions of values need half the memory
    return values if values.dtype.kind == "f" else values.astype(np.float64)


def _finite(values: np.ndarray) -> np.ndarray:
    """A copy of the values without NaN and infinities."""
    return values[np.isfinite(values)]


def energy_axis(min_energy: float, maximum: float, num_edges: int) -> np.ndarray:
    """Edges of the challenge's energy bins, equidistant in the logarithm, `[num_edges]`, MeV.

    The outermost edges are exact; in the challenge's script rounding decides whether the largest energy lies inside.

    Args:
        min_energy: the first edge.
        maximum: the reference's largest value, the last edge; if it is not above the first edge, ten times that is.
        num_edges: number of edges; 40 for energies of layers, 50 for those of voxels.
    """
    if not min_energy > 0:
        raise ConfigError(f"min_energy must be above 0 MeV for bins of energy. Received: {min_energy:g}")
    last = maximum if maximum > min_energy * (1 + 1e-6) else 10 * min_energy
    edges = np.logspace(np.log10(min_energy), np.log10(last), num_edges)
    edges[[0, -1]] = min_energy, last
    return edges
