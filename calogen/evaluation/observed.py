"""Distances and classifier scores that compare all observables of two samples together.

The Fréchet and the kernel physics distance (FPD, KPD) and classifiers that tell the samples apart see what figures show
one observable at a time, and the correlations as well.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from calogen.errors import DataFormatError
from calogen.evaluation.compare import ShowerTable
from calogen.evaluation.summary import energy_text
from calogen.metrics.distances import MIN_SHOWERS, physics_distances
from calogen.metrics.distributions import Value, defined
from calogen.observables.observable import Observable
from calogen.showers.labels import discrete_energies, energy_places, match_shares

SECOND = "second reference"
"""What pages call the second reference, another sample of Geant4."""
NUMBERS_FILE = "numbers.json"
"""File of the numbers of cells' observables together, by sample."""

_FEWEST = 10  # reference values at an energy: the standard deviation of so many is known to a quarter
_FLAT = 1e-9  # of the largest value: a smaller range comes from rounding
_NAMED = 5  # names at most in a remark


class ObservedTable(ShowerTable, Protocol):
    """A table that knows its observables."""

    @property
    def observables(self) -> Sequence[Observable]:
        """Observables with one value for each shower."""


def observed_numbers(
    reference: ObservedTable, generated: ObservedTable, repetitions: int, seed: int = 1, trainings: Path | None = None
) -> tuple[dict[str, Value], tuple[str, ...]]:
    """`fpd`, `kpd`, `auc` and `jsd` of `standardised` observables, and remarks on them.

    Args:
        reference, generated: tables of the same observables.
        repetitions: how often the classifier is trained; 0: no classifier.
        seed: of all random numbers.
        trainings: file that keeps the result of each training for the next call; None: nothing is kept.
    """
    numbers: dict[str, Value] = {}
    try:
        first, second, remarks = standardised(reference, generated, seed)
    except DataFormatError as error:
        return numbers, (f"distances and classifiers left out: {error}",)
    try:
        numbers |= physics_distances(first, second, seed)
        size = min(len(first), len(second))
        if size < MIN_SHOWERS:
            remarks.append(
                f"FPD and KPD are of {size:,} showers; as they grow with fewer showers, compare only with as many"
            )
    except DataFormatError as error:
        remarks.append(f"distances left out: {error}")
    if repetitions:
        from calogen.metrics.classifier import classify

        try:
            score = classify(first, second, repetitions=repetitions, seed=seed, trainings=trainings)
            numbers |= {"auc": score.auc, "jsd": score.jsd}
        except DataFormatError as error:
            remarks.append(f"classifiers left out: {error}")
    return numbers, tuple(remarks)


def standardised(
    reference: ObservedTable, generated: ObservedTable, seed: int = 1
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Inputs of classifier and distances, `[n, f]` and `[m, f]`, and remarks on omissions.

    The columns are the logarithm of the incident energy, and each observable minus the reference's mean at this energy,
    divided by the reference's standard deviation; undefined values count as the mean. Some reference showers are left
    out, so that their incident energies have the generated sample's shares.

    Continuous incident energies are grouped in the bins of `energy_places`, which stand for one energy each.

    Incident energies with fewer than ten reference showers are left out. So are observables that have, at one of the
    other energies, fewer than ten values or no spread in the reference: they cannot be standardised.

    Raises:
        DataFormatError: no energy or no observable is left.

    Source: ours.
    """
    samples, labels = (reference, generated), (reference.incident_energies, generated.incident_energies)
    if not len(discrete_energies(labels[0])):
        labels = _binned(*labels)
    energies, counts = np.unique(labels[0][np.isin(labels[0], labels[1])], return_counts=True)
    few, energies = energies[counts < _FEWEST], energies[counts >= _FEWEST]
    inputs, flat = [[np.log10(item)] for item in labels], []
    for observable in reference.observables:
        columns = [np.array(item[observable.name], np.float64) for item in samples]
        for energy in energies:
            values = defined(columns[0][labels[0] == energy])
            if len(values) < _FEWEST or np.ptp(values) <= _FLAT * np.abs(values).max():
                flat.append(f"{observable.name} ({energy_text(energy)})")
                break
            for column, label in zip(columns, labels, strict=True):
                column[label == energy] -= values.mean()
                column[label == energy] /= values.std()
        else:
            for kept, column in zip(inputs, columns, strict=True):
                kept.append(np.nan_to_num(column))
    if not len(energies) or len(inputs[0]) == 1:
        raise DataFormatError(
            f"the reference needs {_FEWEST} showers or more at an incident energy of the generated showers, and an "
            f"observable with a spread there. Received: "
            + (f"no spread of {_listed(flat)}" if flat else f"at most {counts.max(initial=0)} showers")
        )
    remarks = []
    if len(few):
        remarks.append(f"showers of {_listed(list(map(energy_text, few)))} left out: too few in the reference")
    if flat:
        remarks.append(f"observables without a spread in the reference left out: {_listed(flat)}")
    rows = [np.flatnonzero(np.isin(label, energies)) for label in labels]
    rows[0] = rows[0][match_shares(labels[1][rows[1]], labels[0][rows[0]], seed)]
    first, second = (np.stack(kept, axis=1)[chosen] for kept, chosen in zip(inputs, rows, strict=True))
    return first, second, remarks


def _binned(reference: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Continuous labels replaced by the median of the reference's labels in their bin."""
    places = [energy_places(reference, item) for item in (reference, labels)]
    medians = np.array([np.median(reference[places[0] == number]) for number in range(places[0].max() + 1)])
    binned = (np.where(at >= 0, medians[at], item) for at, item in zip(places, (reference, labels), strict=True))
    return tuple(binned)  # type: ignore[return-value]


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if names[_NAMED:] else "")
