"""Generation of showers in MeV with a trained run, under the conditions of showers."""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, count, repeat
from operator import index
from pathlib import Path
from typing import SupportsIndex

import numpy as np

from calogen.config import require, require_seed
from calogen.errors import DataFormatError, checked
from calogen.generation.engines import LiteRTBlock, engine, to_litert
from calogen.generation.folding import fold
from calogen.generation.load import load_run
from calogen.generation.merging import in_order
from calogen.showers.conditions import Conditions
from calogen.showers.labels import within
from calogen.showers.sample import Showers
from calogen.training.latent import BLOCK_SHOWERS, block_seed
from calogen.training.run import TrainedRun


@checked
def generate(
    run: TrainedRun | str | Path | Sequence[TrainedRun | str | Path],
    conditions: Conditions | np.ndarray | Sequence[float],
    seed: SupportsIndex = 0,
    batch_size: SupportsIndex = 10_000,
    once: bool = False,
) -> Showers:
    """Generates one shower for each of the conditions, all in memory.

    Args:
        run, conditions, seed, batch_size, once: as for `generate_blocks`.
    """
    conditions = Conditions.of(conditions)
    sources = [run] if isinstance(run, TrainedRun | str | Path) else run
    runs = [Path(item) if isinstance(item, str) else item for item in sources]
    blocks = generate_blocks(runs, conditions, index(seed), index(batch_size), once)
    first, start = next(blocks), 0
    if len(first) == len(conditions):
        return first
    energies = np.empty((len(conditions), first.geometry.size), np.float32)
    for block in chain((first,), blocks):
        energies[start : start + len(block)] = block.energies
        start += len(block)
    return Showers(first.geometry, conditions.incident_energies, energies, conditions.others, first.attributes)


def generate_like(
    run: TrainedRun | Sequence[TrainedRun], reference: Showers, seed: int = 0, *, once: bool = False, copies: int = 1
) -> Showers:
    """Generates showers under the conditions of a reference's showers, to compare them.

    Args:
        run: a trained run, or several that share the momenta between them.
        reference: Geant4's showers, with the conditions that the model needs.
        seed, once: as for `generate_blocks`.
        copies: number of showers for each shower of the reference; they follow one another.
    """
    runs = [run] if isinstance(run, TrainedRun) else run
    conditions = reference.given.only(needs_of(runs))
    return generate(runs, conditions[np.repeat(np.arange(len(reference)), copies)], seed, once=once)


def generate_blocks(
    run: TrainedRun | Path | Sequence[TrainedRun | Path],
    conditions: Conditions | np.ndarray,
    seed: int = 0,
    batch_size: int = 10_000,
    once: bool = False,
    copies: int = 1,
    blocks: Sequence[int] | None = None,
) -> Iterator[Showers]:
    """Generates showers in pieces of `batch_size` or less, in the order of their conditions.

    Each block of `BLOCK_SHOWERS` has noise of its own, a function of the seed and of the block's number, so that a
    shower does not depend on the number of showers after it. A block with many voxels would not fit into memory, but
    its noise does.

    Args:
        run: a trained run, or its folder; or several that share the momenta between them (see `route`).
        conditions: conditions of the showers, or their incident energies `[n]`, MeV, alone.
        seed: seed of the latent points. It fixes the showers, whatever the batch size, up to the rounding of float32,
            which is less than 1e-5 of a shower's energy.
        batch_size: showers per call of an engine; it decides which engine computes, and limits the memory.
        once: whether the networks generate only this once; half a second of preparation is saved then.
        copies: number of showers for each of the conditions; they follow one another.
        blocks: numbers of the blocks that are generated; None: all.

    Raises:
        ConfigError: the seed is below 0 or above `MAX_SEED`.
        DataFormatError: there is no trained run, an incident energy is not above 0 or in no run's range, or a condition
            that the model needs is missing. As the other error it is raised before the first piece is asked for.
    """
    require_seed(seed)
    require(batch_size >= 1, f"batch_size must be 1 or more. Received: {batch_size}")
    sources = [run] if isinstance(run, TrainedRun | Path) else run
    runs = [item if isinstance(item, TrainedRun) else load_run(item) for item in sources]
    conditions = Conditions.of(conditions)
    conditions.only(needs_of(runs))  # refuses conditions of which one is missing
    chosen, total = route(runs, conditions.incident_energies), len(conditions) * copies
    batches = [min(copies * number, batch_size) for number in np.bincount(chosen, minlength=len(runs)).tolist()]

    def pieces(number: int) -> Iterator[Showers]:
        start = number * BLOCK_SHOWERS
        source = np.arange(start, min(start + BLOCK_SHOWERS, total)) // copies  # position of each shower's conditions
        in_block, which = conditions[source], chosen[source]
        batches_of = {}
        for position in np.unique(which).tolist():
            stream, sizes = block_seed(seed + position, number), (batch_size, batches[position])
            batches_of[position] = _batches(runs[position], stream, in_block[which == position], sizes, once)
        for rows, energies in in_order(which, batches_of, batch_size):
            own, attributes = in_block[rows], {"model": runs[0].model, "seed": seed}
            yield Showers(runs[0].geometry, own.incident_energies, energies, own.others, attributes)
            del energies  # frees the memory before the next piece is computed

    return chain.from_iterable(map(pieces, range(-(-total // BLOCK_SHOWERS)) if blocks is None else blocks))


def _batches(
    run: TrainedRun, stream: np.random.SeedSequence | int, conditions: Conditions, sizes: tuple[int, int], once: bool
) -> Iterator[np.ndarray]:
    """Energies of a run's showers in one block, batch by batch, with noise from a stream.

    `sizes` are the largest size of a batch in this block, and in all blocks, for which the engine is chosen.
    """
    compute, condition = engine(run.generator, run.transform, sizes[1], once), run.transform.condition(conditions)
    latent, labels = run.latent.draw(len(conditions), stream, condition), conditions.incident_energies
    for first in range(0, len(conditions), sizes[0]):
        batch = slice(first, first + sizes[0])
        energies = np.empty((len(labels[batch]), run.geometry.size), np.float32)
        compute(latent[batch], condition[batch], labels[batch], energies)
        yield energies
        del energies  # frees the memory before the next batch is computed


def needs_of(runs: Sequence[TrainedRun]) -> tuple[str, ...]:
    """Names of the conditions that models need besides the incident energy."""
    return tuple(dict.fromkeys(name for item in runs for name in item.transform.needs))


def route(runs: Sequence[TrainedRun], incident_energies: np.ndarray) -> np.ndarray:
    """Gives the position of the run that generates each shower, `[n]`.

    A momentum on the limit of two ranges belongs to the first of the two runs: with runs ordered by momentum this is
    the lower range, as in ATLAS's production code. Between the momenta of its training a network interpolates.

    Raises:
        DataFormatError: a momentum is in no run's range, or the runs have different geometries.
    """
    if any(item.geometry != runs[0].geometry for item in runs):
        raise DataFormatError(f"runs must be of one geometry. Received: {[item.geometry.name for item in runs]}")
    ranges, chosen = [item.momentum_range or (0.0, np.inf) for item in runs], np.full(len(incident_energies), -1)
    for position, (low, high) in reversed(list(enumerate(ranges))):
        chosen[within(incident_energies, low, high)] = position
    if (chosen < 0).any():
        known = ", ".join(f"{low:.10g}..{high:.10g}" for low, high in ranges)
        raise DataFormatError(
            f"incident energies must be within {known} MeV, what the networks are made for. "
            f"Received: {incident_energies[chosen < 0][0]:.10g} MeV"
        )
    return chosen


def compile_one_shower(run: TrainedRun, seed: int = 0) -> Callable[..., np.ndarray]:
    """Makes a fast function that generates one shower at a time, with the present weights.

    Each random generator serves `BLOCK_SHOWERS` showers, since making one takes as long as reading the weights of a
    small network.

    Returns:
        a function `one_shower(incident_energy, latent=None, **others)` that gives energies `[v]`, MeV, for an incident
        energy, MeV, a latent point `[z]` and the other conditions by name. Without a point it draws the noise itself;
        successive calls then give, up to rounding, the successive showers of `generate` with this seed.

    Raises:
        ExportError: the network cannot be folded (`folding`).
    """
    folded, latent_space = fold(run.generator, run.transform), run.latent
    compute = LiteRTBlock(to_litert(folded), 1)
    streams = map(partial(block_seed, seed), count())
    energy = np.ones(1)  # shared by all calls: to make new conditions takes as long as to evaluate a small network
    alone = Conditions(energy)
    noise = chain.from_iterable(repeat(np.random.default_rng(stream), BLOCK_SHOWERS) for stream in streams)

    def one_shower(incident_energy: float, latent: np.ndarray | None = None, **others: float) -> np.ndarray:
        energy[0] = incident_energy
        known = Conditions(energy, {name: np.array([value]) for name, value in others.items()}) if others else alone
        columns = [encoding.forward(known) for encoding in run.transform.encodings]  # 3 us faster than `condition`
        condition = columns[0] if len(columns) == 1 else np.concatenate(columns, axis=1)
        points = latent_space.draw(1, next(noise), condition) if latent is None else latent
        return folded.finish(compute(points.reshape(1, -1), condition, folded.energy_scales(energy)), energy)[0]

    return one_shower


def seconds_per_call(call: Callable[[], object], repeats: int = 200) -> float:
    """Median duration of a call, without the first one."""
    call()
    durations = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        durations.append(time.perf_counter() - start)
    return float(np.median(durations))
