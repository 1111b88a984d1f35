"""Single numbers of all observables together: distances, classifiers.

They are the Fréchet and the kernel distance and how well classifiers tell samples apart. They see what the figures show
one by one, with the correlations.
"""

from pathlib import Path

import numpy as np

from calogen.errors import DataFormatError
from calogen.evaluation.summary import energy_text
from calogen.metrics.distances import MIN_SHOWERS, physics_distances
from calogen.metrics.distributions import Value, defined
from calogen.observables.observable import Observed
from calogen.showers.labels import match_shares

_FEWEST = 10  # values of the reference at an energy: the spread of so many is known within a quarter
_FLAT = 1e-9  # of the largest value: less is rounding, no spread
_NAMED = 5  # at most, of what was left out


def observed_numbers(
    reference: Observed, generated: Observed, repetitions: int, seed: int = 1, trainings: Path | None = None
) -> tuple[dict[str, Value], tuple[str, ...]]:
    """`fpd`, `kpd`, `auc` and `jsd` of `standardised` observables, and remarks on them.

    Args:
        reference, generated: tables of the same observables.
        repetitions: trainings of the classifier; 0: no classifier.
        seed: of everything random.
        trainings: as `classify` has it.
    """
    found: dict[str, Value] = {}
    try:
        ours, theirs, remarks = standardised(reference, generated, seed)
    except DataFormatError as error:
        return found, (f"distances and classifiers left out: {error}",)
    try:
        found |= physics_distances(ours, theirs, seed)
        number = min(len(ours), len(theirs))
        if number < MIN_SHOWERS:
            remarks.append(
                f"FPD and KPD are of {number:,} showers: of fewer, they are larger; compare those of as many"
            )
    except DataFormatError as error:
        remarks.append(f"distances left out: {error}")
    if repetitions:
        from calogen.metrics.classifier import classify

        try:
            score = classify(ours, theirs, repetitions=repetitions, seed=seed, trainings=trainings)
            found |= {"auc": score.auc, "jsd": score.jsd}
        except DataFormatError as error:
            remarks.append(f"classifiers left out: {error}")
    return found, tuple(remarks)


def standardised(reference: Observed, generated: Observed, seed: int = 1) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Inputs of classifier and distances, `[n, f]` and `[m, f]`, and what is left out.

    The logarithm of the incident energy, then all observables less the mean of the whole reference at that energy, in
    its standard deviations; one that is not defined counts as the mean. Then reference showers are left out, so that
    their incident energies have the generated sample's shares.

    Left out are incident energies of fewer than ten reference showers, and observables that at another energy have
    fewer than ten values or no spread in the reference: they have no mean or no deviation to speak of.

    Raises:
        DataFormatError: nothing is left.

    Source: ours.
    """
    samples, labels = (reference, generated), (reference.incident_energies, generated.incident_energies)
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
            for found, column in zip(inputs, columns, strict=True):
                found.append(np.nan_to_num(column))
    if not len(energies) or len(inputs[0]) == 1:
        raise DataFormatError(
            f"the reference needs {_FEWEST} showers or more at an incident energy of the generated ones, and an "
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
    ours, theirs = (np.stack(found, axis=1)[chosen] for found, chosen in zip(inputs, rows, strict=True))
    return ours, theirs, remarks


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if names[_NAMED:] else "")
