"""Samplers of the latent space of a model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from calogen.config import require

SeedLike = int | np.random.SeedSequence | np.random.Generator
"""A number, a stream of random numbers (see `block_seed`), or a generator whose stream continues with each call."""
BLOCK_SHOWERS = 65_536
"""Number of showers whose noise comes from one stream: the first 65,536 of a file, the next 65,536 and so on."""


def block_seed(seed: int, block: int) -> np.random.SeedSequence:
    """The seed of a block of showers: the first has the seed itself, others spawned ones.

    >>> int(block_seed(7, 0).generate_state(1)[0]) == int(np.random.SeedSequence(7).generate_state(1)[0])
    True
    """
    return np.random.SeedSequence(seed, spawn_key=(block,) if block else ())


class Sampler(Protocol):
    """A distribution of latent points: a prior, or a fit to encoded showers."""

    @property
    def dim(self) -> int:
        """Size `z` of the latent space."""

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """The fitted arrays, by name, which are saved with a run; a prior has none."""

    def draw(self, num_showers: int, seed: SeedLike, condition: np.ndarray | None = None) -> np.ndarray:
        """Draws points `[n, z]`, float32, a function of the seed and the condition `[n, c]`."""


@dataclass(frozen=True, kw_only=True)
class Latent:
    """A prior with independent dimensions of equal distribution.

    Args:
        dim: size `z` of the latent space.
        distribution: `normal` or `uniform`.
        mean: mean of the distribution.
        spread: standard deviation of the normal, half-width of the uniform distribution.
    """

    dim: int
    distribution: str = "normal"
    mean: float = 0.0
    spread: float = 1.0

    def __post_init__(self) -> None:
        require(self.dim >= 1, f"the latent space needs a dimension of at least 1. Received: {self.dim}")
        known = ("normal", "uniform")
        require(self.distribution in known, f"distribution must be one of {known}. Received: {self.distribution!r}")
        require(self.spread > 0, f"the latent space's spread must be above 0. Received: {self.spread}")

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """An empty table: the configuration describes the prior."""
        return {}

    def draw(self, num_showers: int, seed: SeedLike, condition: np.ndarray | None = None) -> np.ndarray:
        """Draws points `[n, z]`, float32, a function of the seed; it ignores the condition."""
        random = np.random.default_rng(seed)
        if self.distribution == "normal":
            unit = random.standard_normal((num_showers, self.dim), np.float32)
        else:
            unit = 2 * random.random((num_showers, self.dim), np.float32) - 1
        return np.float32(self.mean) + np.float32(self.spread) * unit
