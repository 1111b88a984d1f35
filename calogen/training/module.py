"""The parts of a paper's model, its file in `calogen.models`, that the suite uses."""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np

from calogen.backend import keras
from calogen.config import Config, Paper
from calogen.features.moments import Moments
from calogen.features.transforms import Chain
from calogen.showers.geometry import GeometryT
from calogen.training.latent import Sampler
from calogen.training.trainer import Schedule, Trainer

ConfigT = TypeVar("ConfigT", bound=Config)


@runtime_checkable
class ModelModule(Protocol[ConfigT, GeometryT]):
    """A module of `calogen.models`, with the types of its configurations and geometries.

    It may also have `CRITICS`, the names of its critics, and `SPLITS`, names in `CONFIGS` that share the momenta. Where
    a configuration's `latent_sampler` is "posterior", points are drawn among the codes of training showers (`encoded`).
    """

    __name__: str

    @property
    def PAPER(self) -> Paper:  # noqa: N802
        """The paper that describes the model."""

    @property
    def GENERATES(self) -> tuple[str, ...]:  # noqa: N802
        """Names of the networks that generate showers, in the order of their use."""

    @property
    def CONFIGS(self) -> Mapping[str, tuple[ConfigT, GeometryT]]:  # noqa: N802
        """The paper's configurations with their geometries, by name."""

    def build_transform(self, config: ConfigT, geometry: GeometryT) -> Chain:
        """Gives the transform between showers and features, not yet fitted."""

    def build_latent(self, config: ConfigT) -> Sampler:
        """Gives the prior of the latent space."""

    def build(self, config: ConfigT, geometry: GeometryT) -> dict[str, keras.Model]:
        """Gives all networks by name, with their initial weights."""

    def build_trainer(
        self, config: ConfigT, geometry: GeometryT, networks: dict[str, keras.Model], moments: Moments
    ) -> Trainer | Sequence[Trainer]:
        """Gives the trainer of the networks, or one for each stage, for features' moments."""

    def build_schedule(self, config: ConfigT, incident_energies: np.ndarray) -> Schedule | Sequence[Schedule]:
        """Gives the schedule of each trainer, for training showers of these energies, MeV."""


@runtime_checkable
class ChoosesNetworks(Protocol):
    """A module whose configurations generate with different networks."""

    def generates(self, config: Config) -> tuple[str, ...]:
        """Gives the names of the networks that generate showers, instead of `GENERATES`."""


def generates(module: ModelModule[ConfigT, GeometryT], config: Config) -> tuple[str, ...]:
    """Names of the networks with which a configuration generates, in the order of their use."""
    return module.generates(config) if isinstance(module, ChoosesNetworks) else module.GENERATES
