"""Trained networks of a study: their time, their size, and their comparison with Geant4."""

import math
import time
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace

import numpy as np

from calogen import provenance
from calogen.backend import keras
from calogen.evaluation.compare import Comparison, Scored, compare_showers
from calogen.evaluation.grids import GridTable, join_blocks
from calogen.evaluation.iterations import NetworkTest
from calogen.generation.folding import split_heads
from calogen.generation.generate import generate, generate_blocks, generate_like
from calogen.generation.load import model_module
from calogen.lwtnn.convert import convert
from calogen.lwtnn.graph import Graph, format_graph
from calogen.metrics.distributions import Value
from calogen.observables.observable import Observable
from calogen.progress import progress
from calogen.provenance import stream_seed
from calogen.showers.cells import CellGrid
from calogen.showers.conditions import Conditions
from calogen.showers.geometry import require_kind
from calogen.showers.sample import Showers
from calogen.showers.windows import restore_window
from calogen.training.run import TrainedRun

_TOGETHER = 1000  # showers that are in memory together, as in other tables


@dataclass(frozen=True)
class StudyNetwork:
    """A trained network of a study.

    Args:
        run: the run, with the network as it was at the chosen epoch or iteration.
        test: figures of merit of all epochs or iterations, and of the chosen one; None: nothing was chosen.
    """

    run: TrainedRun
    test: NetworkTest | None = None


def generation_time(
    runs: Sequence[TrainedRun], given: Conditions | Sequence[float], batch_size: int = 1, trials: int = 100
) -> dict[float, Value]:
    """Seconds of a call that generates a batch, by incident energy: mean and deviation.

    The calls of the energies take turns, so that other work of the machine slows all of them alike.

    Args:
        runs: trained runs that share the incident energies between them.
        given: conditions of one shower at each energy; all showers of a batch have them.
        batch_size: number of showers of a call.
        trials: number of calls that are timed, after a first one that is not.
    """
    known = Conditions.of(given)
    seconds = np.empty((trials + 1, len(known)))
    for seed, position in np.ndindex(*seconds.shape):
        batch = known[np.full(batch_size, position)]
        start = time.perf_counter()
        generate(runs, batch, seed)
        seconds[seed, position] = time.perf_counter() - start
    values = map(Value, seconds[1:].mean(axis=0).tolist(), seconds[1:].std(axis=0).tolist())
    return dict(zip(known.incident_energies.tolist(), values, strict=True))


def dense_graph(generator: keras.Model) -> Graph:
    """LWTNN graph of a generator without the `ShowerHeads` at its end, which have no weights."""
    return convert(split_heads(generator)[0], ["latent", "condition"])


def json_size(generator: keras.Model) -> int:
    """Size of `dense_graph` as JSON, bytes."""
    return len(format_graph(dense_graph(generator)).encode())


def trainable_parameters(run: TrainedRun) -> dict[str, int]:
    """Number of trainable parameters of each network of the model, by name."""
    networks = model_module(run.model).build(run.config, run.geometry)
    return {name: sum(math.prod(weight.shape) for weight in item.trainable_weights) for name, item in networks.items()}


@dataclass(frozen=True, kw_only=True)
class Comparisons:
    """Comparisons of generated showers with Geant4's.

    Args:
        reference: Geant4's showers; what is below the smallest energy that counts is set to 0.
        generated: generated showers, cut likewise, by the label of the set of networks that generated them.
        by_energy: comparisons at single incident energies, by the energy, MeV.
        together: comparisons of all incident energies together, by observable.
    """

    reference: Showers
    generated: Mapping[str, Showers]
    by_energy: Mapping[float, Comparison]
    together: Comparison


def generated_like(
    samples: Mapping[str, Sequence[TrainedRun]], reference: Showers, seed: int, copies: int = 1
) -> dict[str, Showers]:
    """Showers of several sets of networks in the reference's geometry, under its conditions.

    Networks whose geometry is a window of the reference's cells have showers whose other cells are empty.

    Args:
        samples: sets of networks by label; each set spans all incident energies of the reference.
        reference: Geant4's showers.
        seed: seed of the generation.
        copies: number of showers for each shower of the reference.
    """
    draw = stream_seed(provenance.seed_streams(seed, "generate", "bootstrap")["generate"])
    conditions = {name: np.repeat(values, copies, axis=0) for name, values in reference.conditions.items()}
    found = {}
    for label, runs in samples.items():
        showers = generate_like(runs, reference, draw, copies=copies)
        if showers.geometry != reference.geometry:
            grid = require_kind(reference.geometry, CellGrid, "a window is part of cells")
            showers = restore_window(showers, grid, conditions)
        found[label] = replace(showers, conditions=conditions)  # observables may need more of them than the model
    return found


def generated_table(run: TrainedRun, reference: Showers, seed: int, copies: int = 1) -> GridTable:
    """The table of the showers of `generated_like`, which need not fit into memory."""
    draw = stream_seed(provenance.seed_streams(seed, "generate", "bootstrap")["generate"])
    blocks = generate_blocks(run, reference.given, draw, batch_size=_TOGETHER, copies=copies)
    return join_blocks(blocks, copies * len(reference))


def generate_variants(
    networks: Mapping[str, StudyNetwork], names: Set[str], reference: Showers, seed: int, copies: int = 1
) -> dict[str, Showers]:
    """Showers of single networks, by name, as `generated_like` makes them."""
    runs = {name: [network.run] for name, network in networks.items() if name in names}
    return generated_like(runs, reference, seed, copies)


def compare_networks(
    samples: Mapping[str, Showers],
    reference: Showers,
    observables: Sequence[Observable],
    seed: int,
    *,
    detailed: Sequence[float] = (),
    min_energy: float = 0.0,
) -> Comparisons:
    """Compares the showers of several sets of networks with the reference.

    Cells or voxels below `min_energy` count as empty in both samples, because a softmax never gives the zeros of
    Geant4. The total energy is that of all of them, and is also compared at each incident energy.

    Args:
        samples: showers of sets of networks by label, as `generated_like` gives them.
        reference: Geant4's showers.
        observables: observables to compare for all incident energies together, and at the energies of their figures.
        seed: seed of the bootstrap.
        detailed: incident energies at which all observables are compared.
        min_energy: smallest energy of a cell or voxel that counts, MeV.
    """
    errors = stream_seed(provenance.seed_streams(seed, "generate", "bootstrap")["bootstrap"])

    def cut(showers: Showers) -> Showers:
        empty = showers.energies < min_energy
        return replace(showers, energies=np.where(empty, np.float32(0), showers.energies)) if min_energy else showers

    expected, generated = cut(reference), {label: cut(showers) for label, showers in samples.items()}
    of_all = [item for item in observables if item.name == "total_energy"]
    of_cut = [item for item in observables if item not in of_all]
    by_energy: dict[float, Comparison] = {}
    together: dict[str, Scored[Observable]] = {}
    energies = np.unique(reference.incident_energies).tolist()
    with progress("comparing with Geant4", len(energies) + len(observables)) as bar:
        for energy in energies:
            shown = [item for item in of_cut if energy in item.figures or energy in detailed]
            by_energy[energy] = {
                **compare_showers(reference, samples, of_all, errors, energy),
                **compare_showers(expected, generated, shown, errors, energy),
            }
            bar.advance()
        for item in observables:
            samples_of = (reference, samples) if item in of_all else (expected, generated)
            together |= compare_showers(*samples_of, [item], errors)
            bar.advance()
    return Comparisons(reference=expected, generated=generated, by_energy=by_energy, together=together)
