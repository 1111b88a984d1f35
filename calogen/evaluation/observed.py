"""Single numbers of all observables together: distances, classifiers.

They are the Fréchet and the kernel distance and how well classifiers tell samples apart. They see what the figures show
one by one, with the correlations.
"""

from pathlib import Path

import numpy as np

from calogen.errors import DataFormatError
from calogen.metrics.distances import frechet_physics_distance, kernel_physics_distance
from calogen.metrics.distributions import Value, defined
from calogen.observables.observable import Observed
from calogen.showers.labels import match_shares


def observed_numbers(
    reference: Observed, generated: Observed, repetitions: int, seed: int = 1, trainings: Path | None = None
) -> tuple[dict[str, Value], tuple[str, ...]]:
    """`fpd`, `kpd`, `auc` and `jsd` of `standardised` observables; and why some are missing.

    Reference showers are left out so that their incident energies have the generated sample's shares.

    Args:
        reference, generated: tables of the same observables.
        repetitions: trainings of the classifier; 0: no classifier.
        seed: of everything random.
        trainings: as `classify` has it.
    """
    rows = match_shares(generated.incident_energies, reference.incident_energies, seed)
    pair = standardised(Observed(reference.showers[rows], reference.observables), generated)
    found: dict[str, Value] = {}
    missing: list[str] = []
    try:
        found["fpd"] = frechet_physics_distance(*pair, seed=seed)
        found["kpd"] = kernel_physics_distance(*pair, seed=seed)
    except DataFormatError as error:
        missing.append(f"distances left out: {error}")
    if repetitions:
        from calogen.metrics.classifier import classify

        try:
            score = classify(*pair, repetitions=repetitions, seed=seed, trainings=trainings)
            found |= {"auc": score.auc, "jsd": score.jsd}
        except DataFormatError as error:
            missing.append(f"classifiers left out: {error}")
    return found, tuple(missing)


def standardised(reference: Observed, generated: Observed) -> tuple[np.ndarray, np.ndarray]:
    """Inputs of the classifier and of the distances, `[n, f]` and `[m, f]`.

    The logarithm of the incident energy, then all observables less the reference's mean at that energy, in its standard
    deviations; one that is not defined counts as the mean.

    Source: ours.
    """
    samples = reference, generated
    inputs = [np.empty((len(item.incident_energies), 1 + len(reference.observables))) for item in samples]
    for found, item in zip(inputs, samples, strict=True):
        found[:, 0] = np.log10(item.incident_energies)
    for number, observable in enumerate(reference.observables, 1):
        columns = [np.asarray(observable.values(item.showers), np.float64) for item in samples]
        for energy in np.unique(generated.incident_energies):
            chosen = [item.incident_energies == energy for item in samples]
            values = defined(columns[0][chosen[0]])
            centre, spread = (values.mean(), values.std()) if len(values) else (0.0, 0.0)
            for found, column, rows in zip(inputs, columns, chosen, strict=True):
                found[rows, number] = np.nan_to_num((column[rows] - centre) / (spread or 1.0))
    return inputs[0], inputs[1]
