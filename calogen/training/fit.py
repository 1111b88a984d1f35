"""From a model's module and training showers to a trained run, without training it twice."""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from calogen import provenance
from calogen.backend import keras
from calogen.config import config_to_json
from calogen.errors import DataFormatError, checked
from calogen.features.batches import Features, Source, chosen_blocks, moments_of, on_disk, resident, split
from calogen.features.transforms import Chain
from calogen.files import write_json
from calogen.parallel import free_memory
from calogen.provenance import named_seed
from calogen.showers.conditions import Conditions
from calogen.showers.geometry import Geometry
from calogen.showers.labels import within
from calogen.showers.sample import Showers
from calogen.training.callbacks import ScalarLog
from calogen.training.run import TrainedRun, assemble_run, save_run
from calogen.training.state import TrainingState, read_identity
from calogen.training.train import Keeper, is_finished, stages_of, train

_SHARE = 4  # of the free memory, its inverse: what features may take


@checked
def fit(
    module: ModuleType,
    config: Any,
    geometry: Geometry,
    showers: Source,
    directory: Path,
    *,
    snapshots: Collection[int] = (),
    bfloat16: bool = False,
) -> TrainedRun:
    """Trains a model, from its last checkpoint if there is one.

    Of showers with a momentum range those in it train that have energy. Where the configuration has a
    `validation_fraction`, a part of them validates. Epochs write a checkpoint every 20 seconds, iterations one every
    1000 of them (or every thirtieth of a shorter training), each with what generates as
    `snapshots/iteration-<number>.keras`, to choose from later. Features that would take more than a quarter of the
    free memory lie in a file of the directory while the training lasts: the weights are the same.

    Args:
        module: of `calogen.models`, with `build_transform`, `build`, `build_trainer` and `build_schedule`.
        config: that module's configuration.
        geometry: of the showers.
        showers: what trains, in memory or in files (`showers.files.ShowerFile`).
        directory: of the run: networks, configuration, transform, history, checkpoint, TensorBoard logs, and in
            `provenance.json` the code, versions, device and threads of the training.
        snapshots: numbers of finished epochs after which what generates is saved as `snapshots/epoch-<number>.keras`.
        bfloat16: whether the critics' matrix products are in bfloat16; their variables are float32 in either case.

    Raises:
        DataFormatError: no showers in the momentum range.
        CalogenError: the directory holds another training, or a loss is not finite.
    """
    chosen, num_empty = choose_rows(showers, config)
    parts = [chosen[part] for part in split_rows(len(chosen), config)]
    given = showers.given[parts[0]]
    chain = module.build_transform(config, geometry).fit(given)
    networks = module.build(config, geometry)
    critics = getattr(module, "CRITICS", ())
    trained = networks | (_in_bfloat16(module, config, geometry, critics) if bfloat16 else {})
    schedules = module.build_schedule(config, given.incident_energies)
    identity = _identity(
        module, config, geometry, digest(showers, chosen, chain.needs), {"bfloat16": bfloat16} if critics else {}
    )
    keeper = Keeper(
        directory=directory,
        identity=identity,
        networks={name: networks[name] for name in module.GENERATES},
        snapshots=snapshots,
    )
    about = provenance.collect(config.seed, {})
    with _features(showers, chain, parts, directory, identity) as (features, *judged):
        trainers = module.build_trainer(config, trained, moments_of(features))
        stages = stages_of(trainers, schedules)
        finished = is_finished(stages, keeper.read())
        log = [] if finished else [ScalarLog(directory / "tensorboard")]
        state = train(stages, features, judged[0] if judged else None, keeper, log)
        latent = module.fit_latent(config, networks, features) if hasattr(module, "fit_latent") else None
    for name in critics if bfloat16 else ():
        networks[name].set_weights(trained[name].get_weights())
    run = assemble_run(module, config, geometry, networks, chain, state.history, latent)
    if not finished or not (directory / "provenance.json").exists():
        _write_provenance(directory, about, state, given, num_empty)
    save_run(directory, run)
    return run


@contextmanager
def _features(
    showers: Source, chain: Chain, parts: Sequence[np.ndarray], directory: Path, identity: str
) -> Iterator[list[Features]]:
    """Features of the rows of each part, in memory or in files.

    Files go at the end; an interrupted training finds them again.
    """
    size = 4 * sum(map(len, parts)) * chain.num_features(showers.geometry)
    if size <= free_memory() // _SHARE:
        yield [resident(showers, chain, rows) for rows in parts]
        return
    name = hashlib.sha256(identity.encode()).hexdigest()[:16]
    paths = [directory / f"features-{name}-{number}.f32" for number in range(len(parts))]
    yield [on_disk(showers, chain, path, rows) for path, rows in zip(paths, parts, strict=True)]
    for path in paths:
        path.unlink(missing_ok=True)


def _in_bfloat16(module: ModuleType, config: Any, geometry: Geometry, names: Collection[str]) -> dict[str, keras.Model]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        networks = module.build(config, geometry)
    finally:
        keras.config.set_dtype_policy(before)
    return {name: networks[name] for name in names}


def choose_rows(showers: Source, config: Any) -> tuple[np.ndarray, int]:
    """Rows of the showers that train, and how many in the momentum range have no energy.

    All showers, where the configuration has no momentum range.

    Raises:
        DataFormatError: none trains.
    """
    if not hasattr(config, "momentum_range"):
        return np.arange(len(showers)), 0
    low, high = config.momentum_range
    incident_energies = showers.given.incident_energies
    inside = within(incident_energies, low, high)
    filled = np.concatenate([part.energies.any(axis=1) for _, part in showers.blocks()])
    if not (inside & filled).any():
        present = ", ".join(f"{energy:.10g}" for energy in np.unique(incident_energies)[:30])
        raise DataFormatError(
            f"training needs showers with energy at {low:.10g}..{high:.10g} MeV. Received: showers at {present} MeV"
        )
    return np.flatnonzero(inside & filled), int((inside & ~filled).sum())


def select_training(showers: Showers, config: Any) -> tuple[Showers, int]:
    """Gives the showers that train, and how many of the momentum range have no energy.

    Raises:
        DataFormatError: none trains.
    """
    rows, num_empty = choose_rows(showers, config)
    return showers[rows], num_empty


def can_train(showers: Showers, config: Any) -> bool:
    """Whether `select_training` finds any."""
    inside = within(showers.incident_energies, *getattr(config, "momentum_range", (0.0, np.inf)))
    return bool(inside[showers.energies.any(axis=1)].any())


def was_trained_on(directory: Path, showers: Showers, run: TrainedRun) -> bool:
    """Whether a run's checkpoint is of a training on these showers, those of its momenta."""
    if not can_train(showers, run.config):
        return False
    expected = read_identity(directory / "checkpoint.npz").get("showers")
    return expected == digest(showers, choose_rows(showers, run.config)[0], run.transform.needs)


def split_rows(num_showers: int, config: Any) -> tuple[np.ndarray, ...]:
    """Rows that train and, with a `validation_fraction`, rows that validate."""
    if not hasattr(config, "validation_fraction"):
        return (np.arange(num_showers),)
    seed = named_seed(config.seed, "split")
    return split(num_showers, config.validation_fraction, seed)


def validation_split(showers: Showers, config: Any) -> tuple[Showers, Showers]:
    """Training and validation showers of a configuration: the same for every caller."""
    training, validation = split_rows(len(showers), config)
    return showers[training], showers[validation]


def _write_provenance(
    directory: Path, about: dict[str, Any], state: TrainingState, training: Conditions, num_empty: int
) -> None:
    energies = training.incident_energies
    more = {
        "device": provenance.device(),
        "threads": state.threads,
        "training_seconds": round(sum(row["seconds"] for row in state.history), 1),
        "showers": len(training),
        "showers_without_energy": num_empty,
        "incident_energies": [float(energies.min()), float(energies.max())],
    }
    write_json(directory / "provenance.json", about | more)


def _identity(module: ModuleType, config: Any, geometry: Geometry, showers: str, more: Mapping[str, Any]) -> str:
    """What decides every weight, as text."""
    parts = {"model": module.__name__.rpartition(".")[2], "config": config_to_json(config), "showers": showers}
    grid = hashlib.sha256(json.dumps(geometry.to_json()).encode()).hexdigest()[:16]
    return json.dumps({**parts, "geometry": grid, **more}, sort_keys=True)


def digest(showers: Source, rows: np.ndarray, needs: Sequence[str] = ()) -> str:
    """Hash of some rows: incident energies, energies, conditions that a model knows."""
    found = hashlib.sha256()
    found.update(np.ascontiguousarray(showers.given.incident_energies[rows]).tobytes())
    for _, part in chosen_blocks(showers, rows):
        found.update(np.ascontiguousarray(part.energies).tobytes())
    for name in needs:
        found.update(np.ascontiguousarray(showers.given.others[name][rows]).tobytes())
    return found.hexdigest()[:16]
