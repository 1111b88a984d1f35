"""Reading trained runs from their files, none of which is executed."""

import pkgutil
import re
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import cast

import numpy as np

from calogen import models
from calogen.backend import keras
from calogen.config import Config, config_from_json
from calogen.errors import DataFormatError
from calogen.features.transforms import Chain
from calogen.files import listed, read_json
from calogen.generation.consistency import require_consistent
from calogen.showers.geometry import Geometry
from calogen.showers.kinds import geometry_from_json
from calogen.training.latent import EncodedLatent
from calogen.training.module import ModelModule
from calogen.training.residuals import has_residuals
from calogen.training.run import TrainedRun, assemble_run, snapshot_paths
from calogen.training.state import read_arrays


def load_run(directory: Path) -> TrainedRun:
    """Reads a trained run, as a training or `pretrained.write_compact` wrote it.

    Raises:
        DataFormatError: the directory holds no run, or one of its files is damaged or does not fit the others.
    """
    if not (directory / "config.json").is_file():
        raise DataFormatError(f"{directory} must hold a trained run (config.json). Received: none: train it first")
    weights = directory / "weights.npz"
    compact = weights.is_file()
    about, history = read_json(directory / "config.json"), [] if compact else read_json(directory / "history.json")
    try:
        if not isinstance(about, dict) or not isinstance(history, list):
            raise TypeError(f"config {about!r:.100}, history {history!r:.100}")
        model, names, config, geometry = (about[key] for key in ("model", "networks", "config", "geometry"))
        plain = all(isinstance(name, str) and re.fullmatch(r"\w+", name) for name in names)
        if not plain or not isinstance(model, str) or not all(isinstance(epoch, dict) for epoch in history):
            raise TypeError(f"model {model!r:.100}, networks {names!r:.100}, history {history!r:.100}")
    except (KeyError, TypeError) as error:
        raise DataFormatError(
            f"{directory} must hold config.json with model, networks (by name), config and geometry, and history.json "
            f"with a table for each epoch. Received: {error!s:.300}"
        ) from error
    module = model_module(model)
    configured = config_from_json(type(next(iter(module.CONFIGS.values()))[0]), config)
    grid = geometry_from_json(geometry)
    if compact:
        try:
            built = module.build(configured, grid)
        except ValueError as error:  # Keras does not know an activation or initializer
            raise DataFormatError(
                f"{directory}/config.json must have values that Keras knows: {error!s:.300}"
            ) from error
        networks = _networks_of(weights, built, names)
    else:
        networks = {name: load_network(directory / f"{name}.keras") for name in names}
    run = assemble_run(
        module,
        configured,
        grid,
        networks,
        Chain.from_json(read_json(directory / "transform.json")),
        history,
        _read_latent(directory / "latent.npz"),
    )
    require_consistent(directory, module, run.config, run.geometry, run.networks, run.transform)
    _require_latent(directory, run, module.build_latent(run.config).dim)
    return run


def _networks_of(path: Path, networks: dict[str, keras.Model], names: list[str]) -> dict[str, keras.Model]:
    """Gives some of a model's networks the weights of a compact run.

    Raises:
        DataFormatError: the file is damaged, or holds the weights of other networks.
    """
    try:
        arrays = {name: values.astype(np.float32) for name, values in read_arrays(path).items()}
    except Exception as error:  # the parsers of such files raise many
        raise DataFormatError(f"{path} must hold the weights of networks. Received: {error!r:.200}") from error
    chosen = {name: networks[name] for name in names if name in networks}
    keys = {f"{name}/{at:03d}": w for name, item in chosen.items() for at, w in enumerate(item.weights)}
    expected, received = ({key: tuple(values.shape) for key, values in given.items()} for given in (keys, arrays))
    if (
        expected != received
        or len(chosen) != len(names)
        or not all(np.isfinite(item).all() for item in arrays.values())
    ):
        raise DataFormatError(
            f"{path} must hold the finite weights of {', '.join(names)}, {expected!s:.200}. Received: {received!s:.200}"
        )
    for key, variable in keys.items():
        variable.assign(arrays[key])
    return chosen


def _require_latent(directory: Path, run: TrainedRun, dim: int) -> None:
    """Refuse a fitted latent space of another model."""
    if isinstance(run.latent, EncodedLatent):
        expected, received = (
            (dim, run.transform.condition_dim),
            (run.latent.dim, run.latent.conditions.shape[1]),
        )
        if expected != received:
            raise DataFormatError(
                f"{directory}/latent.npz must have sizes of latent space and condition {expected}. Received: {received}"
            )


def _read_latent(path: Path) -> EncodedLatent | None:
    """Gives the sampler that was fitted to encoded showers; None: there is no such file."""
    if not path.exists():
        return None
    try:
        return EncodedLatent.from_arrays(read_arrays(path))
    except Exception as error:  # the parsers of such files raise many
        raise DataFormatError(f"{path} must hold a fitted latent space. Received: {error!r:.200}") from error


def load_network(path: Path) -> keras.Model:
    """Reads a `.keras` file; nothing in it is executed.

    Raises:
        DataFormatError: the file is missing or damaged.
    """
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever its files' parsers and its layers do
        reason = f"{(str(error).splitlines() or [repr(error)])[0]:.300}"
        raise DataFormatError(f"{path} must be a Keras model file. Received: {reason}") from error


def list_snapshots(directory: Path, unit: str) -> list[int]:
    """Numbers of the epochs or iterations (`unit`) after which networks were saved."""
    names = (path.stem.split("-") for path in listed(directory, f"snapshots/{unit}-*.keras"))
    return sorted({int(number) for _, number, *_ in names})


def load_snapshot(run: TrainedRun, directory: Path, unit: str, number: int) -> TrainedRun:
    """Gives a run with its generating networks as they were after some epoch or iteration.

    Args:
        run: the run with its final networks.
        unit: `epoch` or `iteration`.
        number: number of the epoch or iteration.

    Raises:
        DataFormatError: a network is missing, damaged, or has other inputs or outputs than the run's; or its showers
            are drawn from p(x|z), which is fitted to the final network only.
    """
    paths = snapshot_paths(directory, unit, number, run.generates)
    networks = {name: _load_as(path, run.networks[name]) for name, path in paths.items()}
    if any(map(has_residuals, networks.values())):
        raise DataFormatError(
            f"{directory}: p(x|z) is fitted at the end of the training only, so that its {unit}s cannot be compared. "
            "Train with decode='mean', and give the chosen run to calogen.training.fit.decode_otherwise"
        )
    return replace(run, networks={**run.networks, **networks})


def _load_as(path: Path, own: keras.Model) -> keras.Model:
    """Reads a saved network, which must have the inputs and outputs of the run's own."""
    network = load_network(path)
    expected, received = (
        [(tensor.name, tuple(tensor.shape)) for tensor in model.inputs] + [tuple(model.output_shape)]
        for model in (own, network)
    )
    if expected != received:
        raise DataFormatError(
            f"{path} must have the inputs and outputs of its run's network, {expected}. Received: {received} "
            "(was it copied from another run?)"
        )
    return network


@cache
def model_module(name: str) -> ModelModule[Config, Geometry]:
    """Gives the module of a model.

    Raises:
        DataFormatError: `calogen.models` has no module of this name.
    """
    known = [module.name for module in pkgutil.iter_modules(models.__path__)]
    if name not in known:
        raise DataFormatError(f"model must be one of {', '.join(known)}. Received: {name!r}")
    return cast(ModelModule[Config, Geometry], import_module(f"calogen.models.{name}"))


def module_of(config: Config) -> ModelModule[Config, Geometry]:
    """Gives the module of the model that a configuration defines.

    Raises:
        DataFormatError: as for `model_module`.
    """
    return model_module(type(config).__module__.rpartition(".")[2])
