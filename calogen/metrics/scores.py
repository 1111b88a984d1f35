"""All metrics of two samples at once, with errors that do not take minutes.

All are 0 for equal samples but chi2/NDF, which is about 1 for two samples of one distribution:

  ks                          largest difference of the cumulative distributions
  wasserstein                 area between them, in the reference's standard deviations
  chi2_per_ndf                two-sample chi2 in bins that are joined until each can expect five showers
  separation_power            triangular discrimination; what lies outside the axis counts as two more bins
  challenge_separation_power  the same without those: what lies outside is dropped before normalising

They are those of `calogen.metrics.distributions` (and of the CaloChallenge), which resamples the showers themselves:
that takes minutes for 100,000 of them. Errors are the spread under resampling of both samples, larger than that of new
samples by up to sqrt(3) where the two agree.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from calogen.metrics.distributions import Value
from calogen.metrics.histograms import Histogram, energy_edges, joined_edges, triangular_discrimination

METRICS = ("ks", "wasserstein", "chi2_per_ndf", "separation_power", "challenge_separation_power")
_ROUNDS = 100
_QUANTILES, _STEPS = 96, 32  # cells in which samples are resampled: of equal content, and of equal width
_CELLS_PER_BIN = 8  # of the voxel spectrum


@dataclass(frozen=True)
class Spectrum:
    """Voxels of all showers, counted by energy.

    Args:
        edges: `[b + 1]`, MeV: the challenge's bins.
        cells: `[c]`, MeV: 0, the edges, and finer ones in between.
        counts: `[g, c + 1]`: voxels below, between and above `cells`, in groups of showers: voxels of one shower are
            not independent, showers are.
    """

    edges: np.ndarray
    cells: np.ndarray
    counts: np.ndarray

    @property
    def histogram(self) -> Histogram:
        """All showers' voxels in `edges`; the empty ones are underflow."""
        return Histogram(self.edges, _binned(self.counts.sum(axis=0), self.cells, self.edges))


def spectrum_cells(min_energy: float, maximum: float) -> tuple[np.ndarray, np.ndarray]:
    """Edges `[b + 1]` and cells `[c]` of the voxel spectrum, MeV.

    Args:
        min_energy: where it begins, MeV.
        maximum: the reference's largest voxel.
    """
    edges = energy_edges(min_energy, maximum, 50)
    parts = [np.geomspace(low, high, _CELLS_PER_BIN + 1)[1:-1] for low, high in pairwise(edges)]
    return edges, np.unique(np.concatenate([[0.0], _half_open(edges), *parts]))


def compare_values(
    reference: np.ndarray,
    generated: np.ndarray,
    edges: np.ndarray,
    seed: int = 0,
    challenge_edges: np.ndarray | None = None,
) -> dict[str, Value]:
    """All `METRICS` of two samples.

    The values are exact. For the errors the samples are resampled as counts in about 200 cells, which hold the edges
    of the bins, so that a hundred rounds take less than the sorting.

    Args:
        reference, generated: `[n]`, `[m]`, finite; quickest if they are in order.
        edges: of the bins, `[b + 1]`.
        seed: of the resampling.
        challenge_edges: of the bins of `challenge_separation_power`; None: the same.

    Returns:
        by metric; NaN with fewer than two showers in a sample.
    """
    if min(len(reference), len(generated)) < 2:
        return dict.fromkeys(METRICS, Value(np.nan, np.nan))
    first, second = (np.sort(item, kind="stable") for item in (reference, generated))  # quick where they are in order
    places, heights = _distances(first, second)
    axis = edges if challenge_edges is None else challenge_edges
    cells = _resampling_cells(places, edges, axis)
    counts = np.stack([np.diff(np.searchsorted(item, cells), prepend=0, append=len(item)) for item in (first, second)])
    rng = np.random.default_rng(seed)
    drawn = np.stack([rng.multinomial(row.sum(), row / row.sum(), _ROUNDS) for row in counts], axis=1)
    found = _values(np.concatenate([counts[None], drawn]), cells, edges, axis)
    area = _in_deviations(heights[:-1] @ np.diff(places), float(first.std()))
    exact = {"ks": float(heights.max()), "wasserstein": float(area)}
    return {name: Value(exact.get(name, value.value), value.error) for name, value in found.items()}


def compare_spectra(reference: Spectrum, generated: Spectrum, seed: int = 0) -> dict[str, Value]:
    """All `METRICS` of two voxel spectra.

    KS and Wasserstein distance are those of the counts in cells (8 per bin). The errors come from resampling groups of
    showers. Voxels of a shower go together: chi2/NDF is far above 1 even for two samples of one distribution.
    """
    rng = np.random.default_rng(seed)
    pairs = []
    for spectrum in (reference, generated):
        filled = spectrum.counts.any(axis=1)  # with few showers not all groups have one
        counts = spectrum.counts[filled].astype(np.float64)  # whole numbers still, multiplied faster
        weights = rng.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), _ROUNDS).astype(np.float64)
        pairs.append(np.vstack([counts.sum(axis=0), np.einsum("rg,gc->rc", weights, counts)]))
    return _values(np.stack(pairs, axis=1), reference.cells, reference.edges, reference.edges)


def dealt_values(reference: np.ndarray, generated: np.ndarray, edges: np.ndarray, seed: int = 0) -> Value:
    """`challenge_separation_power` of two samples of these sizes and one distribution.

    The showers of both are shuffled and dealt out again, as in a permutation test. That holds for any sizes and bins:
    scaled halves of the reference are too small where bins hold few showers.

    Args:
        reference, generated: `[n]`, `[m]`, finite.
        edges: of the challenge's bins, `[b + 1]`.
        seed: of the shuffling.

    Returns:
        Mean and spread of a hundred deals; NaN where a sample may get no shower inside the axis.

    Source: ours.
    """
    counts = Histogram.fill(reference, edges).counts + Histogram.fill(generated, edges).counts
    rng = np.random.default_rng(seed)
    return _dealt(rng.multivariate_hypergeometric(counts, len(reference), _ROUNDS), counts)


def dealt_spectra(reference: Spectrum, generated: Spectrum, sizes: tuple[int, int], seed: int = 0) -> Value:
    """As `dealt_values`, of two voxel spectra: groups of showers are dealt out.

    Where the samples, of so many showers, have groups of other sizes, the mixed ones are of other sizes than these:
    the value is scaled by the sum of their inverse, with which it falls.
    """
    groups = [item.counts[item.counts.any(axis=1)] for item in (reference, generated)]
    pooled, (first, second) = np.concatenate(groups), map(len, groups)
    chosen = np.random.default_rng(seed).permuted(np.tile(np.arange(len(pooled)) < first, (_ROUNDS, 1)), axis=1)
    counts = _binned(
        np.stack([*(chosen.astype(np.float64) @ pooled), pooled.sum(axis=0)]), reference.cells, reference.edges
    )
    found = _dealt(counts[:-1], counts[-1])
    mean_group = sum(sizes) / len(pooled)
    factor = (1 / sizes[0] + 1 / sizes[1]) * mean_group / (1 / first + 1 / second)
    return Value(factor * found.value, factor * found.error)


def _dealt(first: np.ndarray, counts: np.ndarray) -> Value:
    """Mean and spread for counts `[k, b + 2]` dealt out of those of both, `[b + 2]`."""
    found = triangular_discrimination(np.stack([first, counts - first], axis=1)[..., 1:-1])
    return Value(float(np.mean(found)), float(np.std(found)))


def ks_statistic(reference: np.ndarray, generated: np.ndarray) -> float:
    """Largest difference of cumulative distributions, without error."""
    return float(_distances(np.sort(reference), np.sort(generated))[1].max())


def _values(counts: np.ndarray, cells: np.ndarray, edges: np.ndarray, challenge_edges: np.ndarray) -> dict[str, Value]:
    """All metrics of pairs of samples counted in cells.

    Args:
        counts: `[k, 2, c + 1]`: the samples and k - 1 that were resampled from them.
        cells: `[c]`, the edges among them.
        edges: `[b + 1]`.
        challenge_edges: `[d + 1]`.
    """
    sizes = counts.sum(axis=-1, keepdims=True)
    shares = np.cumsum(counts[..., :-1], axis=-1) / sizes
    heights = np.abs(shares[:, 0] - shares[:, 1])
    middles = np.concatenate([cells[:1], (cells[:-1] + cells[1:]) / 2, cells[-1:]])
    weights = counts[:, 0] / sizes[:, 0]
    middles -= weights[0] @ middles
    deviations = np.sqrt(np.maximum(weights @ middles**2 - (weights @ middles) ** 2, 0))
    binned = _binned(counts, cells, edges)
    found = {
        "ks": heights.max(axis=-1),
        "wasserstein": _in_deviations((heights[:, :-1] + heights[:, 1:]) @ np.diff(cells) / 2, deviations),
        "chi2_per_ndf": _chi2_per_ndf(binned, edges),
        "separation_power": triangular_discrimination(binned),
        "challenge_separation_power": triangular_discrimination(_binned(counts, cells, challenge_edges)[..., 1:-1]),
    }
    return {
        name: Value(float(values[0]), float(np.std(values[1:])) if np.isfinite(values).all() else np.nan)
        for name, values in found.items()
    }


def _chi2_per_ndf(counts: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Two-sample chi2 / NDF of pairs of histograms, `[k, 2, b + 2]` -> `[k]`.

    See `metrics.chi2_per_ndf`; the first pair chooses the bins and their number.
    """
    joined = np.searchsorted(edges, joined_edges(Histogram(edges, counts[0, 0]), int(counts[0, 1].sum())))
    counts = np.add.reduceat(counts, [0, *(joined + 1)], axis=-1)
    size, other = np.moveaxis(counts.sum(axis=-1, keepdims=True).astype(np.float64), -2, 0)
    first, second, sums = counts[:, 0], counts[:, 1], counts.sum(axis=1)
    terms = (np.sqrt(other / size) * first - np.sqrt(size / other) * second) ** 2 / np.maximum(sums, 1)
    ndf = np.count_nonzero(sums[0]) - 1
    return terms.sum(axis=-1) / ndf if ndf > 0 else np.full(len(counts), np.nan)


def _binned(counts: np.ndarray, cells: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Counts below, in and above bins, `[..., b + 2]`, from those of cells `[..., c + 1]`."""
    return np.add.reduceat(counts, [0, *(np.searchsorted(cells, _half_open(edges)) + 1)], axis=-1)


def _half_open(edges: np.ndarray) -> np.ndarray:
    """Edges of bins that all exclude their upper one: the last edge moves just above."""
    return np.append(edges[:-1], np.nextafter(edges[-1], np.inf))


def _distances(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance of two ordered samples' cumulative distributions at and above each value.

    Returns:
        the values of both, ordered, and the distances; among equal values, those of the last count.
    """
    pooled = np.concatenate([first, second])
    order = np.argsort(pooled, kind="stable")  # merges what is in order
    pooled = pooled[order]
    numbers = np.cumsum(order < len(first))
    heights = np.abs(numbers / len(first) - (np.arange(1, len(pooled) + 1) - numbers) / len(second))
    heights[:-1][pooled[1:] == pooled[:-1]] = 0
    return pooled, heights


def _resampling_cells(pooled: np.ndarray, *edges: np.ndarray) -> np.ndarray:
    """Boundaries of cells, `[c]`: all edges, some values, steps between the outermost.

    Args:
        pooled: values of both samples, ordered.
        edges: `[b + 1]` each.
    """
    chosen = pooled[np.linspace(0, len(pooled) - 1, _QUANTILES + 1).astype(np.intp)]
    steps = np.linspace(pooled[0], pooled[-1], _STEPS + 1)
    return np.unique(np.concatenate([*map(_half_open, edges), chosen, steps, np.nextafter(pooled[-1:], np.inf)]))


def _in_deviations(area: np.ndarray, deviation: np.ndarray | float) -> np.ndarray:
    """Area / standard deviation; 0 / 0 is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(area == 0, 0.0, np.asarray(area) / deviation)
