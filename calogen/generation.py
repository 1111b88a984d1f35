"""From a trained run and incident energies to showers in MeV, and a trained run's files.

A run is a folder: every network as `.keras`, `config.json` (model, configuration, geometry), `transform.json` and
`history.json`. The network with an input named `latent` generates.
"""

import pkgutil
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from importlib import import_module
from itertools import chain, count, repeat
from pathlib import Path
from typing import Any

import numpy as np

from calogen import models
from calogen.backend import keras
from calogen.config import config_from_json, config_to_json, plain_from_json, require_seed
from calogen.consistency import require_consistent
from calogen.engines import Block, engine, to_litert
from calogen.errors import CalogenError, DataFormatError
from calogen.files import read_json, require_space, write_json
from calogen.folding import fold
from calogen.geometry import CellGrid, CellLayer, VoxelGeometry, VoxelLayer
from calogen.labels import within
from calogen.latent import BLOCK_SHOWERS, Latent, block_seed
from calogen.layouts import MAX_DEFLATE
from calogen.merging import in_order
from calogen.preprocessing import Chain
from calogen.progress import progress
from calogen.showers import Geometry, Showers, write_blocks
from calogen.training.callbacks import save_network

_MAX_SIZE = 10**7  # of a shower: it would take 80 MB
_GEOMETRIES: Mapping[str, tuple[Any, Any]] = {
    "CellGrid": (CellGrid, CellLayer),
    "VoxelGeometry": (VoxelGeometry, VoxelLayer),
}


@dataclass(frozen=True)
class TrainedRun:
    """Everything needed to generate showers, and how it was trained.

    Args:
        model: name of the module in `calogen.models`.
        config: that module's configuration.
        geometry: of the showers.
        networks: by name.
        transform: fitted.
        history: one table of numbers per epoch.
    """

    model: str
    config: Any
    geometry: Geometry
    networks: Mapping[str, keras.Model]
    transform: Chain
    history: list[dict[str, float]]

    @property
    def generator(self) -> keras.Model:
        """The network that generates."""
        found = [net for net in self.networks.values() if any(tensor.name == "latent" for tensor in net.inputs)]
        if len(found) != 1:
            raise CalogenError(f"one network must have an input named 'latent'. Received: {len(found)} such networks")
        return found[0]

    @property
    def latent(self) -> Latent:
        """Where the latent space is drawn from."""
        return model_module(self.model).build_latent(self.config)

    @property
    def momentum_range(self) -> tuple[float, float] | None:
        """Lowest and highest momentum, MeV, that the model is made for; None: any."""
        return getattr(self.config, "momentum_range", None)


def generate(
    run: TrainedRun | Path | Sequence[TrainedRun | Path],
    incident_energies: np.ndarray,
    seed: int = 0,
    conditions: Mapping[str, np.ndarray] | None = None,
    batch_size: int = 10_000,
    once: bool = False,
) -> Showers:
    """Generates one shower for each incident energy, all in memory at once.

    Args:
        run, incident_energies, seed, conditions, batch_size, once: as for `generate_blocks`.

    Raises:
        DataFormatError: as `generate_blocks`.
    """
    blocks = generate_blocks(run, incident_energies, seed, conditions, batch_size, once)
    first, start = next(blocks), 0
    if len(first) == len(incident_energies):
        return first
    energies = np.empty((len(incident_energies), first.geometry.size), np.float32)
    for block in chain((first,), blocks):
        energies[start : start + len(block)] = block.energies
        start += len(block)
    incident_energies = np.asarray(incident_energies, np.float64)
    return Showers(first.geometry, incident_energies, energies, conditions or {}, first.attributes)


def generate_blocks(
    run: TrainedRun | Path | Sequence[TrainedRun | Path],
    incident_energies: np.ndarray,
    seed: int = 0,
    conditions: Mapping[str, np.ndarray] | None = None,
    batch_size: int = 10_000,
    once: bool = False,
    copies: int = 1,
) -> Iterator[Showers]:
    """Generates showers in pieces of `batch_size` or less, in order.

    Each block of `BLOCK_SHOWERS` has noise of its own, a function of the seed and of the block's number: a shower does
    not depend on how many come after it. A block of many voxels would not fit into memory; its noise does.

    Args:
        run: a trained run, or its folder; or several that share the momenta between them (see `route`).
        incident_energies: `[n]`, MeV.
        seed: of the latent space; the same seed gives the same showers, whatever the batch size: float32 rounds
            differently then, by less than 1e-5 of a shower's energy.
        conditions: what the model knows besides the energy, `[n]` each, by name.
        batch_size: showers per call of an engine: it decides which one computes, and bounds the memory.
        once: spare half a second of preparation, for networks of which nothing more is wanted; rounds differently.
        copies: showers of each incident energy, one after another.

    Raises:
        ConfigError: a seed below 0 or above `MAX_SEED`, at once.
        DataFormatError: no trained run there, incident energies that are not above 0 or that no run is made for, at
            once.
    """
    require_seed(seed)
    given = [run] if isinstance(run, TrainedRun | Path) else run
    runs = [item if isinstance(item, TrainedRun) else load_run(item) for item in given]
    incident_energies = np.asarray(incident_energies, np.float64)
    if incident_energies.ndim != 1 or not len(incident_energies) or not (incident_energies > 0).all():
        raise DataFormatError(
            "incident_energies must be a vector of energies above 0 MeV. "
            f"Received: shape {list(incident_energies.shape)}, {incident_energies.ravel()[:3]} ..."
        )
    chosen, total = route(runs, incident_energies), len(incident_energies) * copies
    batches = [min(copies * number, batch_size) for number in np.bincount(chosen, minlength=len(runs)).tolist()]

    def pieces(number: int) -> Iterator[Showers]:
        start = number * BLOCK_SHOWERS
        source = np.arange(start, min(start + BLOCK_SHOWERS, total)) // copies  # each shower's place in what was given
        labels, which = incident_energies[source], chosen[source]
        known = {name: values[source] for name, values in (conditions or {}).items()}
        makers = {}
        for position in np.unique(which).tolist():
            rows = which == position
            here, stream = {name: values[rows] for name, values in known.items()}, block_seed(seed + position, number)
            sizes = (batch_size, batches[position])
            makers[position] = _batches(runs[position], stream, labels[rows], here, sizes, once)
        for rows, energies in in_order(which, makers, batch_size):
            here = {name: values[rows] for name, values in known.items()}
            yield Showers(runs[0].geometry, labels[rows], energies, here, {"model": runs[0].model, "seed": seed})
            del energies  # large, as the next ones are

    return chain.from_iterable(map(pieces, range(-(-total // BLOCK_SHOWERS))))


def _batches(
    run: TrainedRun,
    stream: np.random.SeedSequence | int,
    labels: np.ndarray,
    known: Mapping[str, np.ndarray],
    sizes: tuple[int, int],
    once: bool,
) -> Iterator[np.ndarray]:
    """Energies of a run's showers of one block, batch by batch.

    Args:
        run, stream: what makes them, and their noise.
        labels, known: incident energies `[n]`, MeV, and further conditions.
        sizes: of a batch, at most, and of the largest of all blocks, for which the engine is chosen.
        once: as for `generate_blocks`.
    """
    latent = run.latent.draw(len(labels), stream)
    compute, condition = engine(run.generator, run.transform, sizes[1], once), run.transform.condition(labels, known)
    for first in range(0, len(labels), sizes[0]):
        batch = slice(first, first + sizes[0])
        made = np.empty((len(labels[batch]), run.geometry.size), np.float32)
        compute(latent[batch], condition[batch], labels[batch], made)
        yield made
        del made  # large, as the next one is


def write_generated(
    path: Path, runs: Sequence[Path], incident_energies: Sequence[float], num_showers: int, seed: int
) -> None:
    """Generates showers into a file, piece by piece; see `generate_blocks`.

    Args:
        path: the file to write, whole or not at all.
        runs: folders of trained runs that share the momenta.
        incident_energies: MeV.
        num_showers: of each incident energy.
        seed: of the latent space.

    Raises:
        CalogenError: as `generate_blocks`; the file cannot be written, or more showers than the disk can hold.
    """
    loaded = [load_run(directory) for directory in runs]
    total = num_showers * len(incident_energies)
    pieces = generate_blocks(loaded, np.asarray(incident_energies), seed, copies=num_showers)
    require_space(path, 4 * total * loaded[0].geometry.size // MAX_DEFLATE)

    def counted() -> Iterator[Showers]:
        for piece in pieces:
            number = len(piece)
            yield piece
            del piece
            bar.advance(number)

    with progress("generating", total, "showers") as bar:
        write_blocks(path, counted(), total, min(BLOCK_SHOWERS, total))


def route(runs: Sequence[TrainedRun], incident_energies: np.ndarray) -> np.ndarray:
    """Gives the position of the run that generates each shower, `[n]`.

    A momentum that two ranges share belongs to the first of their runs: ordered by momentum, as ATLAS's production
    code has it, to the one below. Between trained momenta the networks interpolate.

    Raises:
        DataFormatError: a momentum that is in no run's range, or runs of different geometries.
    """
    if any(item.geometry != runs[0].geometry for item in runs):
        raise DataFormatError(f"runs must be of one geometry. Received: {[item.geometry.name for item in runs]}")
    chosen = np.full(len(incident_energies), -1)
    for position, item in reversed(list(enumerate(runs))):
        low, high = item.momentum_range or (0.0, np.inf)
        chosen[within(incident_energies, low, high)] = position
    if (chosen < 0).any():
        limits = (item.momentum_range or (0, np.inf) for item in runs)
        ranges = ", ".join(f"{low:.10g}..{high:.10g}" for low, high in limits)
        raise DataFormatError(
            f"incident energies must be within {ranges} MeV, what the networks are made for. "
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
        `one_shower(incident_energy, latent=None)`: of an incident energy, MeV, and a point of the latent space `[z]`
        energies `[v]`, MeV. Without a point it draws the noise itself; call after call then gives, to rounding, shower
        after shower of `generate` with the same seed.

    Raises:
        ExportError: the network is not one that can be folded (`folding`).
    """
    folded, latent_space = fold(run.generator, run.transform), run.latent
    compute = Block(to_litert(folded), 1)
    streams = map(partial(block_seed, seed), count())
    noise = chain.from_iterable(repeat(np.random.default_rng(stream), BLOCK_SHOWERS) for stream in streams)

    def one_shower(incident_energy: float, latent: np.ndarray | None = None) -> np.ndarray:
        energy = np.array([incident_energy])
        points = latent_space.draw(1, next(noise)) if latent is None else latent
        columns = [encoding.forward(energy, {}) for encoding in run.transform.encodings]  # `condition` takes 3 us more
        condition = columns[0] if len(columns) == 1 else np.concatenate(columns, axis=1)
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


def save_run(directory: Path, run: TrainedRun) -> None:
    """Writes a trained run; `config.json` comes last and marks it as whole."""
    for name, network in run.networks.items():
        save_network(network, directory / f"{name}.keras")
    write_json(directory / "transform.json", run.transform.to_json())
    write_json(directory / "history.json", run.history)
    description = {
        "model": run.model,
        "config": config_to_json(run.config),
        "geometry": geometry_to_json(run.geometry),
        "networks": sorted(run.networks),
    }
    write_json(directory / "config.json", description)


def load_run(directory: Path) -> TrainedRun:
    """Reads a trained run.

    Raises:
        DataFormatError: there is none, one of its files is damaged, or they do not fit one another.
    """
    if not (directory / "config.json").is_file():
        raise DataFormatError(f"{directory} must hold a trained run (config.json). Received: none: train it first")
    about, history = read_json(directory / "config.json"), read_json(directory / "history.json")
    try:
        model, names, config, geometry = (about[key] for key in ("model", "networks", "config", "geometry"))
        plain = all(isinstance(name, str) and re.fullmatch(r"\w+", name) for name in names)
        listed = isinstance(history, list) and all(isinstance(epoch, dict) for epoch in history)
        if not plain or not isinstance(model, str) or not listed:
            raise TypeError(f"model {model!r:.100}, networks {names!r:.100}, history {history!r:.100}")
    except (KeyError, TypeError) as error:
        raise DataFormatError(
            f"{directory} must hold config.json with model, networks (by name), config and geometry, and history.json "
            f"with a table for each epoch. Received: {error!s:.300}"
        ) from error
    module = model_module(model)
    run = TrainedRun(
        model,
        config_from_json(type(next(iter(module.CONFIGS.values()))[0]), config),
        geometry_from_json(geometry),
        transform=Chain.from_json(read_json(directory / "transform.json")),
        history=history,
        networks={name: load_network(directory / f"{name}.keras") for name in names},
    )
    require_consistent(directory, module, run.config, run.geometry, run.networks, run.transform)
    return run


def load_network(path: Path) -> keras.Model:
    """Reads a `.keras` file; nothing in it is executed.

    Raises:
        DataFormatError: missing or damaged.
    """
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever its files' parsers and its layers do
        reason = f"{(str(error).splitlines() or [repr(error)])[0]:.300}"
        raise DataFormatError(f"{path} must be a Keras model file. Received: {reason}") from error


@cache
def model_module(name: str) -> Any:
    """Gives the module of a model.

    Raises:
        DataFormatError: `calogen.models` has no such module.
    """
    known = [found.name for found in pkgutil.iter_modules(models.__path__)]
    if name not in known:
        raise DataFormatError(f"model must be one of {', '.join(known)}. Received: {name!r}")
    return import_module(f"calogen.models.{name}")


def geometry_to_json(geometry: Geometry) -> dict[str, Any]:
    """Plain tables and lists; `geometry_from_json` gives the same geometry back."""
    layers = [asdict(layer) for layer in geometry.layers]
    return {"kind": type(geometry).__name__, "name": geometry.name, "layers": layers}


def geometry_from_json(value: Mapping[str, Any]) -> Geometry:
    """Gives the geometry that `geometry_to_json` described.

    Raises:
        DataFormatError: an unknown kind, or layers that do not fit it.
    """
    try:
        kind, name, layers = (value[key] for key in ("kind", "name", "layers"))
        geometry_class, layer_class = _GEOMETRIES[kind]
        geometry = geometry_class(str(name), tuple(plain_from_json(layer_class, layer) for layer in layers))
    except (KeyError, TypeError, CalogenError) as error:
        raise DataFormatError(
            f"a geometry needs kind (CellGrid or VoxelGeometry), name and layers. Received: {error!r:.300}"
        ) from error
    sizes = [layer.size for layer in geometry.layers]
    if len(set(geometry.layer_ids)) < max(len(sizes), 1) or min(sizes) < 1 or sum(sizes) > _MAX_SIZE:
        raise DataFormatError(
            f"a geometry needs layers, each once, of 1 to {_MAX_SIZE} cells or voxels in all. "
            f"Received: {geometry.layer_ids!s:.200} with {sizes!s:.200}"
        )
    return geometry
