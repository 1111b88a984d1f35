"""Incident energies as labels of showers, which files may round differently.

Programs that train on the logarithm of the energy write its float32 exponential: 1024.0001 for 1024. Wherever labels
are compared, those within `SAME_LABEL` of one another count as one energy; exact labels are never changed.
"""

import numpy as np

from calogen.errors import DataFormatError
from calogen.metrics.resampling import ks_statistic
from calogen.units import GeV

SAME_LABEL = 1e-5
"""Largest relative difference of labels of one energy; the float32 logarithm of 4 TeV changes it by 1e-6."""
TOLERANT_LABEL = 1e-3
"""Largest relative difference with `--tolerant`: the precision of half floats; known energies lie factors apart."""
_MAX_ENERGIES = 50  # a sample with more different labels has continuous incident energies
_SAME_ENERGIES = 3.0  # KS distance / sqrt(1/n + 1/m): two samples of one distribution exceed it once in 3e7 pairs
_MATCHED_BINS = 50  # bins of continuous energies in which `match_shares` makes the shares equal


def discrete_energies(labels: np.ndarray) -> np.ndarray:
    """The energies of labels `[n]`, sorted, if they are discrete; empty if continuous."""
    energies = np.unique(labels)
    return energies if len(energies) <= min(_MAX_ENERGIES, len(labels) // 2) else energies[:0]


def snap(labels: np.ndarray, known: np.ndarray | None = None, tolerance: float = SAME_LABEL) -> np.ndarray:
    """Labels in which each label close to a known energy is replaced by this energy.

    >>> snap(np.array([1023.9999, 1024.0001, 700.0]), np.array([1024.0, 1024.0])).tolist()
    [1024.0, 1024.0, 700.0]

    Args:
        labels: `[n]`, MeV.
        known: labels of another sample, `[m]`, MeV; None: the energies at which the labels of this sample gather. More
            than 50 different ones count only if they lie at least 2e-5 apart and most labels are close to one of them.
        tolerance: largest relative difference between a label and its known energy.

    Returns:
        `[n]`, MeV; the array `labels` itself if no label changes, as with continuous energies.
    """
    if not len(labels) or not np.isfinite(labels).all() or labels.min() <= 0:
        return labels  # `Showers` refuses them with a message
    energies, share = _gathered(labels) if known is None else discrete_energies(known), 0.0
    if known is not None and not len(energies):
        energies, share = np.unique(known), 0.5  # continuous labels meet some energies by chance
        tolerance = min(tolerance, (np.diff(energies) / energies[1:]).min(initial=np.inf) / 2)
    if not len(energies) or tolerance < SAME_LABEL:
        return labels
    nearest = nearest_energy(labels, energies)
    close = np.abs(labels - nearest) <= tolerance * nearest
    moved = close & (labels != nearest)
    return np.where(moved, nearest, labels) if moved.any() and close.mean() > share else labels


def moved_note(name: str, given: np.ndarray, labels: np.ndarray) -> str:
    """A note on the number of labels that `snap` has changed; empty if there are none."""
    moved = int((labels != given).sum())
    return f"; {name}: {moved:,} incident energies were close to known ones and count as equal" if moved else ""


def nearest_energy(labels: np.ndarray, energies: np.ndarray) -> np.ndarray:
    """For each label the nearest of some sorted energies `[k]`, `[n]`."""
    above = np.searchsorted(energies, labels).clip(1, max(1, len(energies) - 1))
    low, high = energies[above - 1], energies[np.minimum(above, len(energies) - 1)]
    return np.where(np.abs(labels - low) <= np.abs(high - labels), low, high).astype(np.float64)


def has_energy(labels: np.ndarray, energy: float) -> np.ndarray:
    """Mask of the labels of one energy, `[n]`: exact ones, or else those close to it."""
    exact = labels == energy
    return exact if exact.any() else np.abs(labels - energy) <= SAME_LABEL * energy


def require_label_unit(name: str, reference: np.ndarray, labels: np.ndarray) -> None:
    """Refuse, with a `DataFormatError`, labels in GeV where the reference's are in MeV.

    Args:
        reference, labels: incident energies of the reference and of the sample.
    """
    energies = discrete_energies(reference)
    if len(energies):
        as_given, as_mev = (snap(values, reference, TOLERANT_LABEL) for values in (labels, GeV * labels))
        in_gev = bool(np.isin(as_mev, energies).mean() > 0.5 > np.isin(as_given, energies).mean())
    else:
        in_gev = bool(0.5 * GeV < np.median(reference) / np.median(labels) < 2 * GeV)
    if in_gev:
        raise DataFormatError(
            f"{name} must have incident energies in MeV. Received: {labels.min():g} to {labels.max():g}, the "
            "reference's in GeV (multiply by 1000 what is in GeV, the deposited energies, too)"
        )


def require_known_energies(name: str, reference: np.ndarray, labels: np.ndarray, energies: np.ndarray) -> None:
    """Refuse, with a `DataFormatError`, labels of energies that the reference lacks.

    Args:
        reference, labels: incident energies of the reference and of the sample, MeV.
        energies: the different energies of the reference, sorted; an empty array if they are continuous.
    """
    require_label_unit(name, reference, labels)
    foreign = ~np.isin(labels, energies)
    if not len(energies) or not foreign.any():
        return
    others = np.unique(labels[foreign])
    close = (snap(others, energies.repeat(2), TOLERANT_LABEL) != others).all()
    remedy = "; --tolerant takes those within 0.1 % of the reference's" if close else ""
    raise DataFormatError(
        f"{name} must have the reference's {len(energies)} incident energies. Received: {foreign.sum():,} showers at "
        f"{len(others)} others, as {float(others[0])!r} MeV{remedy}"
    )


def require_energies(name: str, first: np.ndarray, second: np.ndarray) -> None:
    """Refuse, with a `DataFormatError`, other incident energies, or other shares of them.

    Args:
        first, second: incident energies of the reference and of the sample, MeV.
    """
    require_known_energies(name, first, second, discrete_energies(first))
    sizes = (len(first), len(second))
    distance = ks_statistic(first, second)
    if min(sizes) < 2 or distance > _SAME_ENERGIES * np.sqrt(1 / sizes[0] + 1 / sizes[1]):
        raise DataFormatError(
            f"{name} must have two showers or more, with the reference's incident energies in the same shares. "
            f"Received: {len(second)} of {second.min():g} to {second.max():g} MeV, the reference {len(first)} of "
            f"{first.min():g} to {first.max():g} MeV; cumulative shares differ by up to {distance:.3f} "
            "(--match-energies leaves out showers of the energies that are too frequent)"
        )


def within(labels: np.ndarray, low: float, high: float) -> np.ndarray:
    """Mask of the labels from one energy to another, `[n]`, including those close to them."""
    return (labels >= low * (1 - SAME_LABEL)) & (labels <= high * (1 + SAME_LABEL))


def energy_places(reference: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Position of each label's energy among the reference's energies, `[n]`, or -1.

    For continuous energies it is the position of the label's bin; up to 50 bins lie between quantiles of the reference.
    """
    edges = discrete_energies(reference)
    if len(edges):
        fits = np.isin(labels, edges)
    else:
        bins = min(_MATCHED_BINS, max(1, len(reference) // 20))
        edges = np.quantile(reference, np.linspace(0, 1, bins + 1))
        fits = within(labels, edges[0], edges[-1])
        edges = edges[:-1] * (1 - SAME_LABEL)
    return np.where(fits, np.searchsorted(edges, labels, side="right") - 1, -1)


def match_shares(reference: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
    """Chooses as many showers as possible with the reference's shares of energies.

    Args:
        reference: incident energies of the reference, `[m]`, MeV.
        labels: incident energies of the showers, `[n]`, MeV; showers of energies that the reference lacks are left out.

    Returns:
        the rows of the chosen showers, in order. For continuous energies the shares are those of `energy_places`' bins.

    Raises:
        DataFormatError: no shower has one of the reference's energies, or the labels are in GeV.
    """
    require_label_unit("the showers", reference, labels)
    places, expected = energy_places(reference, labels), energy_places(reference, reference)
    number = int(expected.max()) + 1
    shares = np.bincount(expected, minlength=number) / len(reference)
    counts = np.bincount(places[places >= 0], minlength=number)
    if not counts[shares > 0].all():
        lacking = reference[np.isin(expected, np.flatnonzero((shares > 0) & (counts == 0)))]
        raise DataFormatError(
            "--match-energies leaves showers out and cannot add any: showers are needed at the reference's "
            f"{lacking.min():g} MeV. Received: none"
        )
    total = (counts[shares > 0] / shares[shares > 0]).min()
    wanted = np.floor(total * shares + 1e-9).astype(int)
    rng = np.random.default_rng(seed)
    chosen = [rng.permutation(np.flatnonzero(places == place))[:number] for place, number in enumerate(wanted)]
    return np.sort(np.concatenate(chosen))


def _gathered(labels: np.ndarray) -> np.ndarray:
    """The energies (whole MeV, if close) at which labels gather; empty if there are none."""
    values = np.unique(labels)
    starts = np.flatnonzero(np.diff(values) > SAME_LABEL * values[:-1]) + 1
    groups = np.split(values, starts)
    few = len(groups) < len(values) and len(groups) <= min(_MAX_ENERGIES, len(labels) // 2)
    if not few or any(group[-1] - group[0] > 2 * SAME_LABEL * group[0] for group in groups):
        return values[:0]
    energies = []
    for group in groups:
        inside = labels[(labels >= group[0]) & (labels <= group[-1])]
        middle = float(np.sort(inside)[len(inside) // 2])
        whole, reach = round(middle), SAME_LABEL * middle
        sure = len(group) > 1 and min(reach, group[-1] - group[0]) < 0.5
        energies.append(whole if sure and abs(whole - middle) <= reach else middle)
    return np.array(energies, np.float64)
