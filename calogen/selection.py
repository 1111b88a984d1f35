"""Choosing models and epochs by one physics distance, on validation, never test showers."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from calogen.evaluation.comparison import Observable
from calogen.evaluation.metrics import Value, ks_distance
from calogen.generation import TrainedRun, generate, load_network
from calogen.showers import Showers


def physics_distance(reference: Showers, generated: Showers, observables: Sequence[Observable]) -> Value:
    """Mean KS distance over energies and observables: 0 for equal samples, 1 for disjoint.

    An observable that fewer than two reference showers have is left out; one that only the generated showers lack
    counts as disjoint. NaN if nothing is left.

    Args:
        reference, generated: showers of the same incident energies.
        observables: what to compare.
    """
    found = []
    for energy in np.unique(reference.incident_energies):
        samples = reference.at(energy), generated.at(energy)
        for item in observables:
            expected, received = (item.values(showers) for showers in samples)
            if np.isfinite(expected).sum() < 2:
                continue
            found.append(ks_distance(expected, received) if np.isfinite(received).sum() > 1 else Value(1.0, 0.0))
    if not found:
        return Value(np.nan, np.nan)
    errors = np.array([value.error for value in found])
    return Value(float(np.mean([value.value for value in found])), float(np.sqrt((errors**2).sum()) / len(found)))


def validation_distance(
    run: TrainedRun, validation: Showers, observables: Sequence[Observable], seed: int = 0, copies: int = 5
) -> Value:
    """`physics_distance` of a trained run: `copies` generated showers per validation shower."""
    generated = generate(run, np.repeat(validation.incident_energies, copies), seed)
    return physics_distance(validation, generated, observables)


def epoch_distances(
    run: TrainedRun, snapshots: Path, validation: Showers, observables: Sequence[Observable], seed: int = 0
) -> dict[int, Value]:
    """`validation_distance` of the decoder after each epoch saved as `epoch-<number>.keras`."""
    found = {}
    for path in sorted(snapshots.glob("epoch-*.keras")):
        networks = {**run.networks, "decoder": load_network(path)}
        epoch = int(path.stem.removeprefix("epoch-"))
        found[epoch] = validation_distance(replace(run, networks=networks), validation, observables, seed)
    return found
