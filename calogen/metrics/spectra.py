"""All voxels of all showers, counted by energy, with errors that know that voxels of a shower go together."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from calogen.metrics.distributions import (
    FEATURE_METRICS,
    ROUNDS,
    Bins,
    Pairs,
    Value,
    dealt,
    half_open,
    resampled,
    spread,
)
from calogen.metrics.histograms import Histogram, energy_edges

_CELLS_PER_BIN = 8


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
        return Histogram(self.edges, self.binned(self.counts.sum(axis=0)))

    def binned(self, counts: np.ndarray) -> np.ndarray:
        """Counts in `edges`, `[..., b + 2]`, from those in cells, `[..., c + 1]`."""
        return np.add.reduceat(counts, [0, *(np.searchsorted(self.cells, half_open(self.edges)) + 1)], axis=-1)

    @property
    def groups(self) -> np.ndarray:
        """Counts of the groups that have showers, `[h, c + 1]`: whole numbers, multiplied faster in float64."""
        return self.counts[self.counts.any(axis=1)].astype(np.float64)


def spectrum_cells(min_energy: float, maximum: float) -> tuple[np.ndarray, np.ndarray]:
    """Edges `[b + 1]` and cells `[c]` of the voxel spectrum, MeV.

    Args:
        min_energy: where it begins, MeV.
        maximum: the reference's largest voxel.
    """
    edges = energy_edges(min_energy, maximum, 50)
    parts = [np.geomspace(low, high, _CELLS_PER_BIN + 1)[1:-1] for low, high in pairwise(edges)]
    return edges, np.unique(np.concatenate([[0.0], half_open(edges), *parts]))


def measure_spectra(reference: Spectrum, generated: Spectrum, seed: int = 0) -> dict[str, Value]:
    """The `FEATURE_METRICS` of two voxel spectra.

    KS and Wasserstein distance are those of the counts in cells (8 per bin). The errors come from resampling groups of
    showers. Voxels of a shower go together: chi2/NDF is far above 1 even for two samples of one distribution.
    """
    rng, sides = np.random.default_rng(seed), []
    for groups in (reference.groups, generated.groups):
        weights = rng.multinomial(len(groups), np.full(len(groups), 1 / len(groups)), ROUNDS).astype(np.float64)
        sides.append(np.vstack([groups.sum(axis=0), np.einsum("rg,gc->rc", weights, groups)]))
    counts, bins = np.stack(sides, axis=1), Bins(reference.edges, FEATURE_METRICS, join=False)
    joined = bins.joined(reference.binned(counts[0, 0]), int(counts[0, 1].sum()))
    pairs = Pairs(counts, np.append(-np.inf, reference.cells), bins, joined)
    found = {name: resampled(name, pairs) for name in FEATURE_METRICS}
    return {name: Value(float(items[0]), spread(items[1:])) for name, items in found.items()}


def dealt_spectra(reference: Spectrum, generated: Spectrum, sizes: tuple[int, int], seed: int = 0) -> Value:
    """As `dealt_floor`, of two voxel spectra: groups of showers are dealt out.

    Where the samples, of so many showers, have groups of other sizes, the mixed ones are of other sizes than these:
    the value is scaled by the sum of their inverse, with which it falls.
    """
    groups = reference.groups, generated.groups
    pooled, (first, second) = np.concatenate(groups), map(len, groups)
    chosen = np.random.default_rng(seed).permuted(np.tile(np.arange(len(pooled)) < first, (ROUNDS, 1)), axis=1)
    found = dealt(reference.binned(chosen.astype(np.float64) @ pooled), reference.binned(pooled.sum(axis=0)))
    mean_group = sum(sizes) / len(pooled)
    factor = (1 / sizes[0] + 1 / sizes[1]) * mean_group / (1 / first + 1 / second)
    return Value(factor * found.value, factor * found.error)
