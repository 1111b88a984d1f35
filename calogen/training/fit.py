"""From a model's module and training showers to a trained run, without training it twice."""

import hashlib
import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from calogen import provenance
from calogen.backend import keras
from calogen.config import config_to_json
from calogen.errors import DataFormatError
from calogen.features.batches import resident, split
from calogen.features.moments import moments
from calogen.files import write_json
from calogen.provenance import seed_streams, stream_seed
from calogen.showers.geometry import Geometry
from calogen.showers.labels import within
from calogen.showers.sample import Showers
from calogen.training.callbacks import ScalarLog
from calogen.training.run import TrainedRun, assemble_run, save_run
from calogen.training.state import TrainingState, read_identity
from calogen.training.train import Keeper, reached, train

_SECONDS = 20.0  # between two checkpoints of short epochs


def fit(
    module: ModuleType,
    config: Any,
    geometry: Geometry,
    showers: Showers,
    directory: Path,
    *,
    snapshots: Collection[int] = (),
    bfloat16: bool = False,
) -> TrainedRun:
    """Trains a model, from its last checkpoint if there is one.

    Of showers with a momentum range those in it train that have energy. Where the configuration has a
    `validation_fraction`, a part of them validates. Epochs write a checkpoint every 20 seconds, iterations one every
    1000 of them (or every thirtieth of a shorter training), each with what generates as
    `snapshots/iteration-<number>.keras`, to choose from later.

    Args:
        module: of `calogen.models`, with `build_transform`, `build`, `build_trainer` and `build_schedule`.
        config: that module's configuration.
        geometry: of the showers.
        showers: what trains.
        directory: of the run: networks, configuration, transform, history, checkpoint, TensorBoard logs, and in
            `provenance.json` the code, versions, device and threads of the training.
        snapshots: numbers of finished epochs after which what generates is saved as `snapshots/epoch-<number>.keras`.
        bfloat16: whether the critics' matrix products are in bfloat16; their variables are float32 in either case.

    Raises:
        DataFormatError: no showers in the momentum range.
        CalogenError: the directory holds another training, or a loss is not finite.
    """
    chosen, num_empty = select_training(showers, config)
    training, validation = chosen, None
    if hasattr(config, "validation_fraction"):
        training, validation = validation_split(chosen, config)
    chain = module.build_transform(config, geometry).fit(training)
    networks = module.build(config, geometry)
    critics = getattr(module, "CRITICS", ())
    trained = networks | (_in_bfloat16(module, config, geometry, critics) if bfloat16 else {})
    features = resident(training, chain)
    trainer = module.build_trainer(config, trained, moments(features.shower.numpy()))
    schedule = module.build_schedule(config, training.incident_energies)
    precision = {"bfloat16": bfloat16} if critics else {}
    keeper = Keeper(
        directory=directory,
        identity=_identity(module, config, geometry, chosen, **precision),
        seconds=_SECONDS if schedule.unit == "epoch" else 0.0,
        networks={name: networks[name] for name in module.GENERATES},
        snapshots=snapshots if schedule.unit == "epoch" else None,
    )
    finished = reached(schedule, keeper.read()) == schedule.length
    about = provenance.collect(config.seed, {})
    log = [] if finished else [ScalarLog(directory / "tensorboard")]
    judged = None if validation is None else resident(validation, chain)
    state = train(trainer, features, judged, schedule, keeper, log)
    for name in critics if bfloat16 else ():
        networks[name].set_weights(trained[name].get_weights())
    run = assemble_run(module, config, geometry, networks, chain, state.history)
    if not finished or not (directory / "provenance.json").exists():
        _write_provenance(directory, about, state, training, num_empty)
    save_run(directory, run)
    return run


def _in_bfloat16(module: ModuleType, config: Any, geometry: Geometry, names: Collection[str]) -> dict[str, keras.Model]:
    with _dtype_policy("mixed_bfloat16"):
        networks = module.build(config, geometry)
    return {name: networks[name] for name in names}


def select_training(showers: Showers, config: Any) -> tuple[Showers, int]:
    """Gives the showers of the momentum range that have energy, and how many have none.

    All showers, where the configuration has no momentum range.

    Raises:
        DataFormatError: there is none.
    """
    if not hasattr(config, "momentum_range"):
        return showers, 0
    low, high = config.momentum_range
    inside = _inside(showers, config)
    filled = showers.energies.any(axis=1)
    if not (inside & filled).any():
        present = ", ".join(f"{energy:.10g}" for energy in np.unique(showers.incident_energies)[:30])
        raise DataFormatError(
            f"training needs showers with energy at {low:.10g}..{high:.10g} MeV. Received: showers at {present} MeV"
        )
    return showers[inside & filled], int((inside & ~filled).sum())


def can_train(showers: Showers, config: Any) -> bool:
    """Whether `select_training` finds any."""
    return bool(_inside(showers, config)[showers.energies.any(axis=1)].any())


def was_trained_on(directory: Path, showers: Showers, config: Any) -> bool:
    """Whether a run's checkpoint is of a training on these showers, those of its momenta."""
    if not can_train(showers, config):
        return False
    return read_identity(directory / "checkpoint.npz").get("showers") == _digest(select_training(showers, config)[0])


def validation_split(showers: Showers, config: Any) -> tuple[Showers, Showers]:
    """Training and validation showers of a configuration: the same for every caller."""
    seed = stream_seed(seed_streams(config.seed, "split")["split"])
    return split(showers, config.validation_fraction, seed)


def _write_provenance(
    directory: Path, about: dict[str, Any], state: TrainingState, training: Showers, num_empty: int
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


@contextmanager
def _dtype_policy(name: str) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _identity(module: ModuleType, config: Any, geometry: Geometry, showers: Showers, **more: Any) -> str:
    """What decides every weight, as text."""
    parts = {"model": module.__name__.rpartition(".")[2], "config": config_to_json(config), "showers": _digest(showers)}
    grid = hashlib.sha256(json.dumps(geometry.to_json()).encode()).hexdigest()[:16]
    return json.dumps(parts | {"geometry": grid} | more, sort_keys=True)


def _inside(showers: Showers, config: Any) -> np.ndarray:
    return within(showers.incident_energies, *config.momentum_range)


def _digest(showers: Showers) -> str:
    digest = hashlib.sha256()
    for array in (showers.incident_energies, showers.energies):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
