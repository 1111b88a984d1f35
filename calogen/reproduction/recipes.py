"""Recipes of trainings on voxels: changes of a paper's configuration by name.

docs/recipes.md compares them. A recipe holds for every model whose configuration has its fields; the paper's own
recipe changes nothing.
"""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, cast

from calogen.config import Config, require

PAPER = "paper"
"""Name of the recipe that changes nothing."""


def _fast(critic_steps: int, learning_rate: float) -> dict[str, Any]:
    """Few critic steps, an average of the weights, a large rate that falls to a twentieth."""
    return {"critic_steps": critic_steps, "average": 0.99, "learning_rate": learning_rate, "last_rate": 0.05}


# FastCaloGAN with what keeps its voxels alive: nearly version 2's network of photons at high momenta
_LIVE = {"generator_activation": "swish", "batch_normalization": "hidden", "condition": "log", "schedule": "all"}

RECIPES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        PAPER: {},
        "average": {"average": 0.99},
        "ratio-3": {"critic_steps": 3},
        "ratio-3-average": {"critic_steps": 3, "average": 0.99},
        "ratio-2-average": {"critic_steps": 2, "average": 0.99},
        "ratio-1-average": {"critic_steps": 1, "average": 0.99},
        "ratio-3-slow-average": {"critic_steps": 3, "average": 0.999},
        "ratio-3-average-falling": {"critic_steps": 3, "average": 0.99, "last_rate": 0.1},
        "ratio-3-average-rate-2": {"critic_steps": 3, "average": 0.99, "learning_rate": 2e-4},
        "ratio-3-average-rate-5-falling": _fast(3, 5e-4),
        "ratio-2-average-rate-5-falling": _fast(2, 5e-4),
        "ratio-1-average-rate-5-falling": _fast(1, 5e-4),
        "ratio-2-average-rate-10-falling": _fast(2, 1e-3),
        "ratio-3-average-batch-128": {"critic_steps": 3, "average": 0.99, "batch_size": 128},
        "ratio-3-average-batch-512": {"critic_steps": 3, "average": 0.99, "batch_size": 512},
        "ratio-3-average-batch-1024": {"critic_steps": 3, "average": 0.99, "batch_size": 1024},
        "moving-statistics": {"batch_statistics": "moving"},
        "start-at-zero": {"output_start": "zero"},
        "moving-and-zero": {"batch_statistics": "moving", "output_start": "zero"},
        "all-momenta": {"schedule": "all"},
        "normalised": {"batch_normalization": "hidden"},
        "normalised-all-momenta": {"batch_normalization": "hidden", "schedule": "all"},
        "swish": {"generator_activation": "swish"},
        "swish-normalised-label-log": _LIVE,
        "swish-normalised-label-log-fast": {**_LIVE, **_fast(2, 5e-4)},
        "swish-all-normalised-label-log": {**_LIVE, "batch_normalization": "all"},
        "swish-all-normalised-label-log-fast": {**_LIVE, "batch_normalization": "all", **_fast(2, 5e-4)},
        "label-log": {"condition": "log"},
        "label-logarithm": {"condition": "logarithm"},
    }
)
"""Changes of the configuration by the recipe's name."""


def by_recipe(config: Config, recipe: str) -> Config:
    """A configuration with the changes of a recipe.

    Raises:
        ConfigError: there is no such recipe, or the model has no such choice.
    """
    require(recipe in RECIPES, f"recipe must be one of {', '.join(RECIPES)}. Received: {recipe}")
    missing = [name for name in RECIPES[recipe] if not hasattr(config, name)]
    model = type(config).__name__.removesuffix("Config")
    require(not missing, f"recipe {recipe} needs a model with {', '.join(missing)}. Received: {model}")
    return cast(Config, replace(cast(Any, config), **RECIPES[recipe]))
