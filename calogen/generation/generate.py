"""From a trained run and what is given of showers to showers in MeV."""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, count, repeat
from pathlib import Path

import numpy as np

from calogen.config import require_seed
from calogen.errors import DataFormatError
from calogen.files import require_space
from calogen.generation.engines import LiteRTBlock, engine, to_litert
from calogen.generation.folding import fold
from calogen.generation.load import load_run
from calogen.generation.merging import in_order
from calogen.progress import progress
from calogen.showers.conditions import Conditions
from calogen.showers.files import read_given
from calogen.showers.labels import within
from calogen.showers.layouts import MAX_DEFLATE
from calogen.showers.sample import Showers, write_blocks
from calogen.training.latent import BLOCK_SHOWERS, block_seed
from calogen.training.run import TrainedRun


def generate(
    run: TrainedRun | Path | Sequence[TrainedRun | Path],
    given: Conditions | np.ndarray,
    seed: int = 0,
    batch_size: int = 10_000,
    once: bool = False,
) -> Showers:
    """Generates one shower for each that is given, all in memory at once.

    Args:
        run, given, seed, batch_size, once: as for `generate_blocks`.

    Raises:
        DataFormatError: as `generate_blocks`.
    """
    given = Conditions.of(given)
    blocks = generate_blocks(run, given, seed, batch_size, once)
    first, start = next(blocks), 0
    if len(first) == len(given):
        return first
    energies = np.empty((len(given), first.geometry.size), np.float32)
    for block in chain((first,), blocks):
        energies[start : start + len(block)] = block.energies
        start += len(block)
    return Showers(first.geometry, given.incident_energies, energies, given.others, first.attributes)


def generate_like(
    run: TrainedRun | Sequence[TrainedRun], reference: Showers, seed: int = 0, *, once: bool = False, copies: int = 1
) -> Showers:
    """Generates showers at the conditions of a reference's: what can be compared with it.

    Args:
        run: a trained run; or several that share the momenta between them.
        reference: Geant4's showers, with the conditions that the model knows.
        seed, once: as for `generate_blocks`.
        copies: showers for each of the reference, one after another.

    Raises:
        DataFormatError: as `generate_blocks`; a condition that the model knows and the reference lacks.
    """
    runs = [run] if isinstance(run, TrainedRun) else run
    given = reference.given.only(_needs(runs))
    return generate(runs, given[np.repeat(np.arange(len(reference)), copies)], seed, once=once)


def generate_blocks(
    run: TrainedRun | Path | Sequence[TrainedRun | Path],
    given: Conditions | np.ndarray,
    seed: int = 0,
    batch_size: int = 10_000,
    once: bool = False,
    copies: int = 1,
) -> Iterator[Showers]:
    """Generates showers in pieces of `batch_size` or less, in order.

    Each block of `BLOCK_SHOWERS` has noise of its own, a function of the seed and of the block's number: a shower does
    not depend on how many come after it. A block of many voxels would not fit into memory; its noise does.

    Args:
        run: a trained run, or its folder; or several that share the momenta between them (see `route`).
        given: what the model knows of the showers: incident energies `[n]`, MeV, alone or with other conditions.
        seed: of the latent space; the same seed gives the same showers, whatever the batch size: float32 rounds
            differently then, by less than 1e-5 of a shower's energy.
        batch_size: showers per call of an engine: it decides which one computes, and bounds the memory.
        once: spare half a second of preparation, for networks of which nothing more is wanted; rounds differently.
        copies: showers of each that is given, one after another.

    Raises:
        ConfigError: a seed below 0 or above `MAX_SEED`, at once.
        DataFormatError: no trained run there, incident energies that are not above 0 or that no run is made for, a
            condition that the model knows and that is not given; at once.
    """
    require_seed(seed)
    sources = [run] if isinstance(run, TrainedRun | Path) else run
    runs = [item if isinstance(item, TrainedRun) else load_run(item) for item in sources]
    given = Conditions.of(given)
    given.only(_needs(runs))  # refuses what lacks one
    chosen, total = route(runs, given.incident_energies), len(given) * copies
    batches = [min(copies * number, batch_size) for number in np.bincount(chosen, minlength=len(runs)).tolist()]

    def pieces(number: int) -> Iterator[Showers]:
        start = number * BLOCK_SHOWERS
        source = np.arange(start, min(start + BLOCK_SHOWERS, total)) // copies  # each shower's place in what was given
        known, which = given[source], chosen[source]
        makers = {}
        for position in np.unique(which).tolist():
            stream, sizes = block_seed(seed + position, number), (batch_size, batches[position])
            makers[position] = _batches(runs[position], stream, known[which == position], sizes, once)
        for rows, energies in in_order(which, makers, batch_size):
            here, attributes = known[rows], {"model": runs[0].model, "seed": seed}
            yield Showers(runs[0].geometry, here.incident_energies, energies, here.others, attributes)
            del energies  # large, as the next ones are

    return chain.from_iterable(map(pieces, range(-(-total // BLOCK_SHOWERS))))


def _batches(
    run: TrainedRun, stream: np.random.SeedSequence | int, given: Conditions, sizes: tuple[int, int], once: bool
) -> Iterator[np.ndarray]:
    """Energies of a run's showers of one block, batch by batch.

    Args:
        run, stream: what makes them, and their noise.
        given: of these showers.
        sizes: of a batch, at most, and of the largest of all blocks, for which the engine is chosen.
        once: as for `generate_blocks`.
    """
    compute, condition = engine(run.generator, run.transform, sizes[1], once), run.transform.condition(given)
    latent, labels = run.latent.draw(len(given), stream, condition), given.incident_energies
    for first in range(0, len(given), sizes[0]):
        batch = slice(first, first + sizes[0])
        made = np.empty((len(labels[batch]), run.geometry.size), np.float32)
        compute(latent[batch], condition[batch], labels[batch], made)
        yield made
        del made  # large, as the next one is


def write_generated(
    path: Path, runs: Sequence[Path], given: Path | Conditions | Sequence[float], copies: int, seed: int
) -> None:
    """Generates showers into a file, piece by piece; see `generate_blocks`.

    Args:
        path: the file to write, whole or not at all.
        runs: folders of trained runs that share the momenta.
        given: incident energies, MeV, alone or with other conditions; or a file of showers that has them.
        copies: showers of each that is given, one after another.
        seed: of the latent space.

    Raises:
        CalogenError: as `generate_blocks`; the file cannot be written, or more showers than the disk can hold.
    """
    loaded = [load_run(directory) for directory in runs]
    known = read_given(given).only(_needs(loaded)) if isinstance(given, Path) else Conditions.of(given)
    total = copies * len(known)
    pieces = generate_blocks(loaded, known, seed, copies=copies)
    require_space(path, 4 * total * loaded[0].geometry.size // MAX_DEFLATE)

    def counted() -> Iterator[Showers]:
        for piece in pieces:
            number = len(piece)
            yield piece
            del piece
            bar.advance(number)

    with progress("generating", total, "showers") as bar:
        write_blocks(path, counted(), total, min(BLOCK_SHOWERS, total))


def _needs(runs: Sequence[TrainedRun]) -> tuple[str, ...]:
    """Names of the conditions that the models know, besides the incident energy."""
    return tuple(dict.fromkeys(name for item in runs for name in item.transform.needs))


def route(runs: Sequence[TrainedRun], incident_energies: np.ndarray) -> np.ndarray:
    """Gives the position of the run that generates each shower, `[n]`.

    A momentum that two ranges share belongs to the first of their runs: ordered by momentum, as ATLAS's production
    code has it, to the one below. Between trained momenta the networks interpolate.

    Raises:
        DataFormatError: a momentum that is in no run's range, or runs of different geometries.
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
    """Makes a fast function for one shower at a time.

    The weights are those of now. A random generator is made once for each `BLOCK_SHOWERS` of them: making one takes as
    long as reading a small network's weights.

    Args:
        run: a trained run.
        seed: of the noise.

    Returns:
        `one_shower(incident_energy, latent=None, **others)`: of an incident energy, MeV, a point of the latent space
        `[z]` and the other conditions by name energies `[v]`, MeV. Without a point it draws the noise itself; call
        after call then gives, to rounding, shower after shower of `generate` with the same seed.

    Raises:
        ExportError: the network is not one that can be folded (`folding`).
    """
    folded, latent_space = fold(run.generator, run.transform), run.latent
    compute = LiteRTBlock(to_litert(folded), 1)
    streams = map(partial(block_seed, seed), count())
    energy = np.ones(1)  # making conditions takes as long as a small network
    alone = Conditions(energy)
    noise = chain.from_iterable(repeat(np.random.default_rng(stream), BLOCK_SHOWERS) for stream in streams)

    def one_shower(incident_energy: float, latent: np.ndarray | None = None, **others: float) -> np.ndarray:
        energy[0] = incident_energy
        known = Conditions(energy, {name: np.array([value]) for name, value in others.items()}) if others else alone
        columns = [encoding.forward(known) for encoding in run.transform.encodings]  # `condition` takes 3 us more
        condition = columns[0] if len(columns) == 1 else np.concatenate(columns, axis=1)
        points = latent_space.draw(1, next(noise), condition) if latent is None else latent
        return folded.finish(compute(points.reshape(1, -1), condition, folded.energy_scales(energy)), energy)[0]

    return one_shower


def seconds_per_call(call: Callable[[], object], repeats: int = 200) -> float:
    """Median duration of a call, after one that does not count."""
    call()
    durations = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        durations.append(time.perf_counter() - start)
    return float(np.median(durations))
