"""A trained run: its networks and all that generating needs, in memory and as files.

A run is a folder: every network as `.keras`, `config.json` (model, configuration, geometry), `transform.json` and
`history.json`; further `latent.npz` where the latent space was fitted to encoded showers.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from calogen.backend import keras
from calogen.config import config_to_json
from calogen.errors import CalogenError
from calogen.features.transforms import Chain
from calogen.files import atomic_path, write_json
from calogen.showers.geometry import Geometry
from calogen.training.callbacks import save_network
from calogen.training.latent import Sampler


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
        latent: where the latent space is drawn from.
        generates: names of the networks that make a shower of a point of the latent space, one after another.
    """

    model: str
    config: Any
    geometry: Geometry
    networks: Mapping[str, keras.Model]
    transform: Chain
    history: list[dict[str, float]]
    latent: Sampler
    generates: tuple[str, ...]

    @cached_property
    def generator(self) -> keras.Model:
        """The network that generates; of several the chain of them."""
        missing = [name for name in self.generates if name not in self.networks]
        if missing or not self.generates:
            raise CalogenError(f"{self.model} generates with {self.generates}. Received: {sorted(self.networks)}")
        return chain_of([self.networks[name] for name in self.generates])

    @property
    def momentum_range(self) -> tuple[float, float] | None:
        """Lowest and highest momentum, MeV, that the model is made for; None: any."""
        return getattr(self.config, "momentum_range", None)


def assemble_run(
    module: ModuleType,
    config: Any,
    geometry: Geometry,
    networks: Mapping[str, keras.Model],
    transform: Chain,
    history: list[dict[str, float]] | None = None,
    latent: Sampler | None = None,
) -> TrainedRun:
    """Gives the run of a model's networks; the module says what generates.

    Args:
        module: of `calogen.models`.
        config, geometry, networks, transform, history: of the run.
        latent: what was fitted to encoded showers; None: the module's prior.
    """
    name = module.__name__.rpartition(".")[2]
    latent = module.build_latent(config) if latent is None else latent
    return TrainedRun(name, config, geometry, networks, transform, history or [], latent, module.GENERATES)


def chain_of(networks: Sequence[keras.Model]) -> keras.Model:
    """One network out of several.

    The first has the input `latent`, each other gets `shower` from the one before. All may have further inputs, which
    are shared by name, as the condition is.
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
    """Writes a trained run; `config.json` comes last and marks it as whole."""
    for name, network in run.networks.items():
        save_network(network, directory / f"{name}.keras")
    write_json(directory / "transform.json", run.transform.to_json())
    write_json(directory / "history.json", run.history)
    if run.latent.arrays:
        with atomic_path(directory / "latent.npz") as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **run.latent.arrays)
    description = {
        "model": run.model,
        "config": config_to_json(run.config),
        "geometry": run.geometry.to_json(),
        "networks": sorted(run.networks),
    }
    write_json(directory / "config.json", description)


def snapshot_paths(directory: Path, unit: str, number: int, names: Collection[str]) -> dict[str, Path]:
    """Files with the networks that generate, as they were after some round, by their names.

    A file's name ends in the network's where several generate.

    Args:
        directory: of the run.
        unit: "epoch" or "iteration".
        number: how many of them were trained.
        names: of the networks that generate.
    """
    start = f"{unit}-{number:0{4 if unit == 'epoch' else 7}d}"
    return {name: directory / "snapshots" / f"{start}{f'-{name}' if len(names) > 1 else ''}.keras" for name in names}
