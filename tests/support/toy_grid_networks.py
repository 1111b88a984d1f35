"""Toy networks of regular grids: those of the models, narrow, whose cells are not empty."""

from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np

from calogen.models import bib_ae, getting_high_gan, getting_high_wgan
from calogen.showers.grid import RegularGrid
from calogen.showers.grids import build_grid
from calogen.training.run import TrainedRun, assemble_run

SMALL_GRID = build_grid("small", (8, 7), 5.0, (6.0,) * 5, (3.0,) * 5)
"""Five layers of 8 x 7 cells, no two of these numbers the same."""
SMALL_GENERATORS: dict[str, tuple[ModuleType, Any]] = {
    "gan": (getting_high_gan, {"latent_dim": 5, "generator_filters": (4, 3, 2)}),
    "wgan": (getting_high_wgan, {"latent_dim": 5, "first_filters": 3, "generator_filters": (4, 3), "post_filters": 4}),
    "bib-ae": (
        bib_ae,
        {
            **{"code_dim": 3, "noise_dim": 2, "encoder_filters": (2, 3), "encoder_units": (8,), "decoder_units": (8,)},
            **{"grown_filters": (2, 2, 3, 2), "decoder_filters": (2, 3), "post_filters": 4},
            **{"critic_filters": (2, 3), "stream_units": 4, "critic_units": (5,)},
        },
    ),
}
"""Model and narrow widths by name."""


def small_grid_run(name: str, grid: RegularGrid = SMALL_GRID, seed: int = 1, **values: object) -> TrainedRun:
    """A run of narrow networks with random weights, also in their normalisations.

    Args:
        name: one of `SMALL_GENERATORS`.
        values: fields of the configuration.
    """
    module, widths = SMALL_GENERATORS[name]
    config = replace(next(iter(module.CONFIGS.values()))[0], **widths | values)
    return random_grid_run(module, config, grid, seed)


def random_grid_run(module: ModuleType, config: Any, grid: RegularGrid, seed: int = 1) -> TrainedRun:
    """A run of networks with random weights, also in their normalisations."""
    networks, rng = module.build(config, grid), np.random.default_rng(seed)
    for variable in (item for network in networks.values() for item in network.variables):
        noise = 0.3 * rng.standard_normal(variable.shape)
        if variable.name in ("gamma", "moving_variance"):
            variable.assign(1.0 + np.abs(noise))
        elif variable.name == "kernel":
            values = (0.5 + 5 * noise) / np.sqrt(np.prod(variable.shape[:-1]))
            variable.assign(np.abs(values) if values.shape[-1] == 1 else values)  # energies above 0
        else:
            variable.assign(noise)
    return assemble_run(module, config, grid, networks, module.build_transform(config, grid))
