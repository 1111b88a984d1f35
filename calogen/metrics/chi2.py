"""The chi2/NDF of total energies by which the iterations of ATLAS's GANs are chosen.

`RULES` has the two published ways to bin the energies. Other observables than the total energy can be tested as well.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType

import numpy as np

from calogen.errors import DataFormatError
from calogen.metrics.distributions import Value

_NUM_EDGES = 30
ROUNDS = 200
"""Number of resamplings for the variance of a chi2."""


@dataclass(frozen=True)
class Chi2:
    """A chi2 and its number of degrees of freedom.

    Args:
        value: the chi2.
        ndf: number of degrees of freedom.
        variance: variance of the chi2 under resampling of both samples, up to twice that of new samples.
    """

    value: float
    ndf: int
    variance: float = 0.0

    @property
    def per_ndf(self) -> float:
        """chi2/NDF; NaN without degrees of freedom."""
        return self.value / self.ndf if self.ndf else float("nan")

    @property
    def error(self) -> float:
        """Standard error of chi2/NDF; NaN without degrees of freedom."""
        return float(np.sqrt(self.variance)) / self.ndf if self.ndf else float("nan")

    @property
    def reduced(self) -> Value:
        """chi2/NDF with its error."""
        return Value(self.per_ndf, self.error)

    def at_statistics(self, num_showers: float, other: float = 10_000) -> "Chi2":
        """The chi2 to expect of samples with `other` showers each: the excess over NDF is scaled.

        >>> Chi2(56.0, 28).at_statistics(250).per_ndf
        41.0
        """
        factor = other / num_showers
        return replace(self, value=self.ndf + (self.value - self.ndf) * factor, variance=self.variance * factor**2)


@dataclass(frozen=True)
class Rule:
    """How a paper bins the values of showers of one momentum.

    Args:
        edges: function from the reference `[n]` and the incident energy, both MeV, to increasing edges.
        clip: whether values outside the edges count in the outermost bins; otherwise they do not count.
        energies_only: whether the bins make sense for energies alone.
    """

    edges: Callable[[np.ndarray, float], np.ndarray]
    clip: bool
    energies_only: bool = False


def energy_edges(reference: np.ndarray, incident_energy: float = 0.0) -> np.ndarray:
    """CaloShowerGAN's bin edges for the total energies at one momentum, `[30]`, MeV.

    On each side of the median the edges reach over the smallest of these distances: the maximum's from the median,
    twice that of the 5 % or the 95 % quantile, ten times that of the 84 % quantile. The incident energy is not used.

    Raises:
        DataFormatError: the 5 % or 95 % quantile or the maximum is equal to the median.

    Source: public evaluation code of arXiv:2309.06515.
    """
    low, median, one_sigma, high = np.quantile(reference, (0.05, 0.5, 0.84, 0.95))
    most = min(reference.max() - median, 10 * (one_sigma - median))
    down, up = min(most, 2 * (median - low)), min(most, 2 * (high - median))
    if not (down > 0 and up > 0):
        raise DataFormatError(
            f"the energies must spread around their median. Received: {low:g}, {median:g}, {high:g} MeV at 5, 50, 95 %"
        )
    return np.linspace(median - down, median + up, _NUM_EDGES)


def mode_edges(reference: np.ndarray, incident_energy: float, below: float, above: float) -> np.ndarray:
    """FastCaloGAN's bin edges for total energies at one momentum, `[31]`, around the mode.

    The mode is the centre of the fullest of 100 bins from 0 to twice the incident energy; the RMS is that of the
    energies in these bins.

    Args:
        reference: total energies, `[n]`, MeV.
        incident_energy: incident energy, MeV.
        below, above: how many times the RMS the edges reach below and above the mode; no edge is below 0.

    Raises:
        DataFormatError: all energies are equal.

    Source: public selection code of FastCaloGAN (doi:10.5281/zenodo.5589623).
    """
    counts, bins = np.histogram(reference, 100, (0.0, 2 * incident_energy))
    inside = reference[(reference >= 0) & (reference < 2 * incident_energy)]
    mode, spread = (bins[:-1] + bins[1:])[counts.argmax()] / 2, inside.std() if len(inside) else 0.0
    if not spread > 0:
        raise DataFormatError(f"a histogram needs energies that differ. Received: {np.unique(reference)[:3]} MeV")
    return np.linspace(max(0.0, mode - below * spread), mode + above * spread, 31)


RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "caloshowergan": Rule(energy_edges, clip=True),
        "fastcalogan-photons": Rule(partial(mode_edges, below=3.0, above=3.0), clip=False, energies_only=True),
        "fastcalogan-hadrons": Rule(partial(mode_edges, below=4.0, above=3.5), clip=False, energies_only=True),
    }
)
"""The published rules by name."""


def energy_chi2(
    reference: np.ndarray,
    generated: np.ndarray,
    edges: np.ndarray | None = None,
    clip: bool = True,
    rounds: int = ROUNDS,
) -> Chi2:
    """Two-sample chi2 of the total energies at one momentum.

    chi2 = sum (n g_i - m r_i)^2 / (n^2 g_i + m^2 r_i) for counts r (sum n) and g (sum m), NDF = filled bins - 1: the
    weighted-weighted chi2 of two histograms scaled to one.

    Args:
        reference, generated: total energies, MeV; for the published values both samples have equal sizes.
        edges: edges of the bins; None: those of `energy_edges`.
        clip: whether values outside the edges count in the outermost bins.
        rounds: number of resamplings for the variance, which take most of the time; 0: the variance stays 0.

    Returns:
        The chi2; that of disjoint samples if no generated energy lies in a bin.

    Source: public evaluation code of arXiv:2309.06515; NDF without bins that are empty in both: section 5.1.
    """
    edges = energy_edges(reference) if edges is None else edges
    counts = np.stack([_counts(sample, edges, clip) for sample in (reference, generated)]).astype(np.float64)
    ndf = int(counts.any(axis=0).sum()) - 1
    if not counts.sum(axis=1).all():
        return Chi2(float(len(reference) + len(generated)), ndf)
    value, rng = float(_chi2(counts)), np.random.default_rng(0)
    if not rounds:
        return Chi2(value, ndf)
    drawn = np.stack([rng.multinomial(int(row.sum()), row / row.sum(), rounds) for row in counts], axis=1)
    return Chi2(value, ndf, float(np.var(_chi2(drawn.astype(np.float64)))))


def total(parts: Iterable[Chi2]) -> Chi2:
    """Sum over momenta, as in the paper's tables; momenta that two GANs share count twice."""
    terms = list(parts)
    return Chi2(*(sum(getattr(term, name) for term in terms) for name in ("value", "ndf", "variance")))


def _counts(values: np.ndarray, edges: np.ndarray, clip: bool) -> np.ndarray:
    return np.histogram(np.clip(values, edges[0], edges[-1]) if clip else values, edges)[0]


def _chi2(counts: np.ndarray) -> np.ndarray:
    """The chi2 of pairs of histograms, `[..., 2, b]` -> `[...]`."""
    expected, received = counts[..., 0, :], counts[..., 1, :]
    n, m = expected.sum(axis=-1, keepdims=True), received.sum(axis=-1, keepdims=True)
    width = n**2 * received + m**2 * expected
    return np.divide((n * received - m * expected) ** 2, width, out=np.zeros_like(width), where=width > 0).sum(axis=-1)
