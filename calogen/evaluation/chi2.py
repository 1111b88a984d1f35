"""The chi2/NDF of total energies by which GANs of CaloShowerGAN's kind are chosen."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from calogen.errors import DataFormatError

_NUM_EDGES = 30


@dataclass(frozen=True)
class Chi2:
    """A chi2 and its number of degrees of freedom."""

    value: float
    ndf: int

    @property
    def per_ndf(self) -> float:
        """chi2/NDF; NaN without degrees of freedom."""
        return self.value / self.ndf if self.ndf else float("nan")

    def at_statistics(self, num_showers: float, other: float = 10_000) -> float:
        """chi2/NDF as `other` showers per sample would give it: the excess over 1 is scaled.

        >>> Chi2(56.0, 28).at_statistics(250)
        41.0
        """
        return 1 + (self.per_ndf - 1) * other / num_showers


def energy_edges(reference: np.ndarray) -> np.ndarray:
    """Bin edges of one momentum's total energies, `[30]`, around their median.

    Each side reaches to the nearest of: the distance of the maximum, twice that of the 5 % or 95 % quantile, ten times
    that of the 84 % quantile.

    Args:
        reference: total energies `[n]`, MeV.

    Raises:
        DataFormatError: fewer than two different energies.

    Source: public evaluation code of arXiv:2309.06515.
    """
    low, median, one_sigma, high = np.quantile(reference, (0.05, 0.5, 0.84, 0.95))
    most = min(reference.max() - median, 10 * (one_sigma - median))
    down, up = min(most, 2 * (median - low)), min(most, 2 * (high - median))
    if not (down > 0 and up > 0):
        raise DataFormatError(f"a histogram needs energies that differ. Received: {np.unique(reference)[:3]} MeV")
    return np.linspace(median - down, median + up, _NUM_EDGES)


def energy_chi2(reference: np.ndarray, generated: np.ndarray, edges: np.ndarray | None = None) -> Chi2:
    """Two-sample chi2 of one momentum's total energies.

    chi2 = sum (n g_i - m r_i)^2 / (n^2 g_i + m^2 r_i) for counts r (sum n) and g (sum m), NDF = filled bins - 1. What
    lies outside the edges counts in the outermost bins.

    Args:
        reference, generated: total energies, MeV; the published values have as many of one as of the other.
        edges: of the bins; those of `energy_edges` by default.

    Source: public evaluation code of arXiv:2309.06515; NDF without bins that are empty in both: section 5.1.
    """
    edges = energy_edges(reference) if edges is None else edges
    counts = [np.histogram(np.clip(sample, edges[0], edges[-1]), edges)[0] for sample in (reference, generated)]
    expected, received = (row.astype(np.float64) for row in counts)
    filled = expected + received > 0
    n, m = expected.sum(), received.sum()
    terms = (n * received - m * expected)[filled] ** 2 / (n**2 * received + m**2 * expected)[filled]
    return Chi2(float(terms.sum()), int(filled.sum()) - 1)


def total(parts: Iterable[Chi2]) -> Chi2:
    """Sum over momenta, as the paper's tables have it."""
    found = list(parts)
    return Chi2(sum(part.value for part in found), sum(part.ndf for part in found))
