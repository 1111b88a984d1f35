"""What the ways of `getting_high.py` compute: networks, showers, latent points."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

from calogen.backend import keras
from calogen.showers.grid import RegularGrid


@dataclass(frozen=True)
class Case:
    """What a process computes.

    Args:
        name: what is trained.
        model: the module of its networks.
        config: configuration of its networks.
        grid: their cells.
        batch_size: showers of a step.
        threads: number of threads.
    """

    name: str
    model: ModuleType
    config: Any
    grid: RegularGrid
    batch_size: int
    threads: int

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Case":
        """The case of a name, a model's preset, a batch size and a number of threads."""
        model = import_module(f"calogen.models.{settings['model']}")
        config, grid = model.CONFIGS[settings["preset"]]
        config = replace(config, batch_size=settings["batch_size"])
        return cls(settings["name"], model, config, grid, settings["batch_size"], settings["threads"])

    def networks(self) -> dict[str, keras.Model]:
        """The networks, new."""
        return self.model.build(self.config, self.grid)

    def showers(self, number: int = 64) -> tuple[np.ndarray, np.ndarray]:
        """Random showers `[n, v]`, MeV, one cell in thirty hit; energies `[n, 1]`, GeV."""
        random = np.random.default_rng(1)
        energies = random.exponential(1.0, (number, self.grid.size)) * (random.random((number, self.grid.size)) < 0.03)
        return energies.astype(np.float32), random.uniform(10, 100, (number, 1)).astype(np.float32)

    def latent(self, number: int) -> np.ndarray:
        """Random latent points, `[n, z]`."""
        dim = self.model.build_latent(self.config).dim
        return np.random.default_rng(2).normal(size=(number, dim)).astype(np.float32)
