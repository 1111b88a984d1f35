"""A trained run, with all that is needed to generate, in memory and as files.

A run is a folder with every network as `.keras`, `config.json` (model, configuration, geometry), `transform.json` and
`history.json`, and with `latent.npz` where the latent space was fitted to encoded showers.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from calogen.backend import keras
from calogen.config import Config, config_to_json
from calogen.errors import CalogenError
from calogen.features.transforms import Chain
from calogen.files import atomic_path, write_json
from calogen.showers.geometry import Geometry
from calogen.training.callbacks import save_network
from calogen.training.latent import Sampler
from calogen.training.module import ConfigT, GeometryT, ModelModule, generates


@dataclass(frozen=True)
class TrainedRun:
    """Everything needed to generate showers, and how it was trained.

    Args:
        model: name of the model's module in `calogen.models`.
        config: configuration with which the model was built and trained.
        networks: all networks of the model, by name.
        transform: the fitted transform between showers and features.
        history: one table of numbers per epoch, or per checkpoint of a training that counts iterations.
        latent: sampler from which the latent points are drawn.
        generates: names of the networks that turn latent points into showers, in the order of their use.
    """

    model: str
    config: Config
    geometry: Geometry
    networks: Mapping[str, keras.Model]
    transform: Chain
    history: list[dict[str, float]]
    latent: Sampler
    generates: tuple[str, ...]

    @cached_property
    def generator(self) -> keras.Model:
        """The network from latent points and conditions to showers, joined of several."""
        missing = [name for name in self.generates if name not in self.networks]
        if missing or not self.generates:
            raise CalogenError(f"{self.model} generates with {self.generates}. Received: {sorted(self.networks)}")
        return chain_of([self.networks[name] for name in self.generates])

    @property
    def momentum_range(self) -> tuple[float, float] | None:
        """Lowest and highest momentum of the training, MeV; None: there are no limits."""
        return momentum_range_of(self.config)


def momentum_range_of(config: Config) -> tuple[float, float] | None:
    """Lowest and highest momentum, MeV, of a configuration, or None if it has no limits."""
    return getattr(config, "momentum_range", None)


def assemble_run(
    module: ModelModule[ConfigT, GeometryT],
    config: ConfigT,
    geometry: GeometryT,
    networks: Mapping[str, keras.Model],
    transform: Chain,
    history: list[dict[str, float]] | None = None,
    latent: Sampler | None = None,
) -> TrainedRun:
    """Makes a run of a model's networks; which of them generate stands in the model's module.

    Args:
        config, geometry, networks, transform, history: attributes of the run.
        latent: a sampler that was fitted to encoded showers; None: the prior of the module.
    """
    name = module.__name__.rpartition(".")[2]
    latent = module.build_latent(config) if latent is None else latent
    return TrainedRun(name, config, geometry, networks, transform, history or [], latent, generates(module, config))


def chain_of(networks: Sequence[keras.Model]) -> keras.Model:
    """Joins networks one behind another into a single network.

    The first network has the input `latent`; each further network gets the output of the one before as its input
    `shower`. All may have further inputs, such as the condition, and share those of equal names.
    """
    first, *rest = networks
    if not rest:
        return first
    inputs = {tensor.name: keras.Input(tuple(tensor.shape[1:]), name=tensor.name) for tensor in first.inputs}
    shower = first(inputs)
    for network in rest:
        inputs |= {
            tensor.name: keras.Input(tuple(tensor.shape[1:]), name=tensor.name)
            for tensor in network.inputs
            if tensor.name not in (*inputs, "shower")
        }
        shower = network({tensor.name: (inputs | {"shower": shower})[tensor.name] for tensor in network.inputs})
    return keras.Model(inputs, shower, name="_then_".join(network.name for network in networks))


def save_run(directory: Path, run: TrainedRun) -> None:
    """Writes a trained run; `config.json` is written last and marks the run as complete."""
    for name, network in run.networks.items():
        save_network(network, directory / f"{name}.keras")
    write_json(directory / "history.json", run.history)
    if run.latent.arrays:
        with atomic_path(directory / "latent.npz") as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **run.latent.arrays)
    write_description(directory, run, run.networks)


def write_description(directory: Path, run: TrainedRun, networks: Collection[str]) -> None:
    """Writes a run's transform, and last its `config.json`, which names its networks."""
    write_json(directory / "transform.json", run.transform.to_json())
    description = {
        "model": run.model,
        "config": config_to_json(run.config),
        "geometry": run.geometry.to_json(),
        "networks": sorted(networks),
    }
    write_json(directory / "config.json", description)


def snapshot_paths(directory: Path, unit: str, number: int, names: Collection[str]) -> dict[str, Path]:
    """Files of the generating networks after some epoch or iteration, by network.

    With several generating networks each file's name ends in the name of its network.

    Args:
        unit: "epoch" or "iteration".
        number: number of epochs or iterations trained before the networks were saved.
        names: names of the generating networks.
    """
    start = f"{unit}-{number:0{4 if unit == 'epoch' else 7}d}"
    return {name: directory / "snapshots" / f"{start}{f'-{name}' if len(names) > 1 else ''}.keras" for name in names}
