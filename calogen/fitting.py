"""From a model's module and training showers to a trained run, without training it twice."""

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import keras
import numpy as np

from calogen import provenance
from calogen.config import config_to_json
from calogen.files import write_json
from calogen.generation import TrainedRun, geometry_to_json, model_module, save_run
from calogen.pipeline import resident, split
from calogen.provenance import seed_streams, stream_seed
from calogen.showers import Geometry, Showers
from calogen.training.callbacks import ProgressReport, ScalarLog, Snapshots
from calogen.training.state import read_state
from calogen.training.vae import Checkpoint, Schedule, train


def fit_vae(
    model: str, config: Any, geometry: Geometry, showers: Showers, directory: Path, snapshots: Collection[int] = ()
) -> TrainedRun:
    """Train a variational autoencoder, from its last checkpoint if there is one.

    Args:
        model: name of a module in `calogen.models` with `build_transform`, `build` and `build_trainer`.
        config: that module's configuration.
        geometry: of the showers.
        showers: training showers; a part of them, `config.validation_fraction`, validates.
        directory: of the run: networks, configuration, transform, history, checkpoint, TensorBoard logs, and in
            `provenance.json` the code, versions and device of the training.
        snapshots: numbers of finished epochs after which the decoder is saved as `snapshots/epoch-<number>.keras`.

    Raises:
        CalogenError: the directory holds another configuration or was trained on other showers; the loss is not finite.
    """
    module = model_module(model)
    training, validation = validation_split(showers, config)
    chain = module.build_transform(config, geometry).fit(training)
    networks = module.build(config, geometry)
    on_device = resident(training, chain)
    trainer = module.build_trainer(config, networks, on_device.shower.numpy())
    checkpoint = Checkpoint(path=directory / "checkpoint.npz", identity=_identity(model, config, geometry, showers))
    missing = config.epochs - read_state(checkpoint.path, checkpoint.identity).epoch
    schedule = Schedule(
        epochs=config.epochs, batch_size=config.batch_size, seed=_seed(config.seed, "order"), keep=config.keep
    )
    callbacks: list[keras.callbacks.Callback] = []
    if missing > 0:
        callbacks = [
            ProgressReport(missing),
            ScalarLog(directory / "tensorboard"),
            Snapshots(networks["decoder"], directory / "snapshots", snapshots),
        ]
    about = provenance.collect(config.seed, {})
    state = train(trainer, on_device, resident(validation, chain), schedule, checkpoint, callbacks)
    run = TrainedRun(model, config, geometry, networks, chain, state.history)
    if missing > 0:
        seconds = round(sum(row["seconds"] for row in state.history), 1)
        write_json(directory / "provenance.json", about | {"device": provenance.device(), "training_seconds": seconds})
    save_run(directory, run)
    return run


def validation_split(showers: Showers, config: Any) -> tuple[Showers, Showers]:
    """Training and validation showers of a configuration: the same for every caller."""
    return split(showers, config.validation_fraction, _seed(config.seed, "split"))


def _seed(seed: int, name: str) -> int:
    return stream_seed(seed_streams(seed, name)[name])


def _identity(model: str, config: Any, geometry: Geometry, showers: Showers) -> str:
    """What decides every weight, as text."""
    digest = hashlib.sha256()
    for array in (showers.incident_energies, showers.energies):
        digest.update(np.ascontiguousarray(array).tobytes())
    parts = {"model": model, "config": config_to_json(config), "showers": digest.hexdigest()[:16]}
    grid = hashlib.sha256(json.dumps(geometry_to_json(geometry)).encode()).hexdigest()[:16]
    return json.dumps(parts | {"geometry": grid}, sort_keys=True)
