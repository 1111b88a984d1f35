"""From a model's module and training showers to a trained run, without training it twice."""

import hashlib
import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from calogen import provenance
from calogen.backend import keras
from calogen.config import config_to_json
from calogen.errors import DataFormatError
from calogen.features.batches import resident, split
from calogen.features.moments import moments
from calogen.files import write_json
from calogen.generation.generate import TrainedRun, geometry_to_json, model_module, save_run
from calogen.provenance import seed_streams, stream_seed
from calogen.showers.labels import within
from calogen.showers.sample import Geometry, Showers
from calogen.training import wgan_gp
from calogen.training.callbacks import ProgressReport, ScalarLog, Snapshots
from calogen.training.state import TrainingState, read_identity, read_state
from calogen.training.vae import Checkpoint, Schedule, train
from calogen.training.wgan_gp import Plan


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
            `provenance.json` the code, versions, device and threads of the training.
        snapshots: numbers of finished epochs after which the decoder is saved as `snapshots/epoch-<number>.keras`.

    Raises:
        CalogenError: the directory holds another configuration or was trained on other showers; the loss is not finite.
    """
    module = model_module(model)
    training, validation = validation_split(showers, config)
    chain = module.build_transform(config, geometry).fit(training)
    networks = module.build(config, geometry)
    on_device = resident(training, chain)
    trainer = module.build_trainer(config, networks, moments(on_device.shower.numpy()))
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
    if missing > 0 or not (directory / "provenance.json").exists():
        _write_provenance(directory, about, state)
    save_run(directory, run)
    return run


def fit_wgan(
    model: str, config: Any, geometry: Geometry, showers: Showers, directory: Path, *, bfloat16: bool = False
) -> TrainedRun:
    """Trains a generator against its critic, from the last checkpoint if there is one.

    A checkpoint is written every 1000 iterations, or every thirtieth of a shorter training; with it the generator,
    as `snapshots/iteration-<number>.keras`, to choose from later.

    Args:
        model: name of a module in `calogen.models` with `build_transform`, `build`, `build_trainer` and
            `build_curriculum`.
        config: that module's configuration.
        geometry: of the showers.
        showers: those within the configuration's momentum range train; the ones without any energy do not.
        directory: of the run, as for `fit_vae`.
        bfloat16: whether the critic's matrix products are in bfloat16; its variables are float32 in either case.

    Raises:
        DataFormatError: no showers in the momentum range.
        CalogenError: the directory holds another training, or a loss is not finite.
    """
    module = model_module(model)
    training, num_empty = select_training(showers, config)
    chain = module.build_transform(config, geometry).fit(training)
    networks = module.build(config, geometry)
    trained = networks
    if bfloat16:
        with _dtype_policy("mixed_bfloat16"):
            trained = networks | {"critic": module.build(config, geometry)["critic"]}
    on_device = resident(training, chain)
    trainer = module.build_trainer(config, trained, moments(on_device.shower.numpy()))
    identity = _identity(model, config, geometry, training, bfloat16=bfloat16)
    plan = Plan(
        iterations=config.iterations,
        batch_size=config.batch_size,
        interval=min(1000, -(-config.iterations // 30)),
        directory=directory,
        identity=identity,
    )
    finished = plan.iterations == read_state(plan.checkpoint, identity).reached
    about = provenance.collect(config.seed, {})
    callbacks = [] if finished else [ScalarLog(directory / "tensorboard")]
    curriculum = module.build_curriculum(config, training.incident_energies)
    state = wgan_gp.train(trainer, on_device, curriculum, plan, callbacks)
    networks["critic"].set_weights(trained["critic"].get_weights())
    run = TrainedRun(model, config, geometry, networks, chain, state.history)
    if not finished or not (directory / "provenance.json").exists():
        energies = training.incident_energies
        span = {"incident_energies": [float(energies.min()), float(energies.max())]}
        _write_provenance(directory, about, state, showers=len(training), showers_without_energy=num_empty, **span)
    save_run(directory, run)
    return run


def select_training(showers: Showers, config: Any) -> tuple[Showers, int]:
    """Gives the showers of the momentum range that have energy, and how many have none.

    Raises:
        DataFormatError: there is none.
    """
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
    return split(showers, config.validation_fraction, _seed(config.seed, "split"))


def _seed(seed: int, name: str) -> int:
    return stream_seed(seed_streams(seed, name)[name])


def _write_provenance(directory: Path, about: dict[str, Any], state: TrainingState, **more: Any) -> None:
    seconds = round(sum(row["seconds"] for row in state.history), 1)
    training = {"device": provenance.device(), "threads": state.threads, "training_seconds": seconds}
    write_json(directory / "provenance.json", about | training | more)


@contextmanager
def _dtype_policy(name: str) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _identity(model: str, config: Any, geometry: Geometry, showers: Showers, **more: Any) -> str:
    """What decides every weight, as text."""
    parts = {"model": model, "config": config_to_json(config), "showers": _digest(showers)}
    grid = hashlib.sha256(json.dumps(geometry_to_json(geometry)).encode()).hexdigest()[:16]
    return json.dumps(parts | {"geometry": grid} | more, sort_keys=True)


def _inside(showers: Showers, config: Any) -> np.ndarray:
    return within(showers.incident_energies, *config.momentum_range)


def _digest(showers: Showers) -> str:
    digest = hashlib.sha256()
    for array in (showers.incident_energies, showers.energies):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
