"""Samplers of the latent space of a model."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from scipy.spatial import cKDTree
from scipy.special import ndtr

from calogen.config import require
from calogen.errors import DataFormatError

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


@dataclass(frozen=True, eq=False)
class EncodedLatent:
    """A kernel density of the codes of training showers under their conditions.

    A point is the code of a training shower with nearly the condition that is asked for, moved by a normal kernel; the
    moves are such that mean and covariance of all codes stay. Numbers of the latent space that no code has are standard
    normal.

    Args:
        codes: codes of training showers, drawn from their posterior distributions, `[m, k]`.
        conditions: conditions of these showers, `[m, c]`.
        dim: size `z` of the latent space, whose first `k` numbers are the code.
        width: width of the kernel, as a share of the codes' own spread in every direction.
        condition_width: distance between conditions that counts as none, as a share of their spread.

    Source: the KDE of arXiv:2112.09709, in the form of a smoothed bootstrap that keeps the variance (Silverman, Density
    Estimation, 1986, section 6.4); the widths, and the conditions, are ours.
    """

    codes: np.ndarray
    conditions: np.ndarray
    dim: int
    width: float = 0.2
    condition_width: float = 0.05

    def __post_init__(self) -> None:
        codes, conditions = self.codes, self.conditions
        fits = codes.ndim == conditions.ndim == 2 and len(codes) == len(conditions) >= 1
        if not fits or not 1 <= codes.shape[1] <= self.dim or not all(map(_finite, (codes, conditions))):
            raise DataFormatError(
                f"an EncodedLatent needs finite codes [m, k] and conditions [m, c], k up to {self.dim}. "
                f"Received: {list(codes.shape)} and {list(conditions.shape)}"
            )
        widths = self.width, self.condition_width
        require(min(widths) >= 0 and self.width <= 1, f"widths must be 0..1. Received: {widths}")

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "EncodedLatent":
        """Gives the sampler that `arrays` describe.

        Raises:
            KeyError: an array is missing.
            DataFormatError: the arrays do not fit together.
        """
        width, condition_width = arrays["widths"].astype(float).tolist()
        return cls(arrays["codes"], arrays["conditions"], int(arrays["dim"]), width, condition_width)

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Codes and conditions, the size of the latent space and the widths."""
        sizes = {"dim": np.array(self.dim), "widths": np.array([self.width, self.condition_width])}
        return {"codes": self.codes, "conditions": self.conditions, **sizes}

    def draw(self, num_showers: int, seed: SeedLike, condition: np.ndarray | None = None) -> np.ndarray:
        """Draws points `[n, z]`, float32, a function of the seed and the condition `[n, c]`."""
        shape = (num_showers, self.conditions.shape[1])
        received = None if condition is None else condition.shape
        require(received == shape, f"codes need conditions of shape {shape}. Received: {received}")
        random, code_dim = np.random.default_rng(seed), self.codes.shape[1]
        columns = [shape[1], shape[1] + 1, shape[1] + 1 + code_dim]
        # one array of normal numbers, so that showers that are drawn one by one are the same
        unit = random.standard_normal((num_showers, columns[-1] + self.dim - code_dim), np.float32)
        near, share, moves, noise = np.split(unit, columns, axis=1)
        centres = self.codes[self._rows(condition, near, ndtr(share[:, 0].astype(np.float64)))]
        mean, root = self._moments
        codes = mean + np.sqrt(1 - self.width**2) * (centres - mean) + self.width * moves @ root
        return np.concatenate([codes, noise], axis=1).astype(np.float32)

    def _rows(self, condition: np.ndarray | None, near: np.ndarray, share: np.ndarray) -> np.ndarray:
        """Rows of training showers whose conditions are next to those that are asked for."""
        tree, order, starts = self._groups
        _, group = tree.query(condition / self._spread + self.condition_width * near)
        sizes = np.diff(starts)[group]
        return order[starts[group] + np.minimum((share * sizes).astype(np.int64), sizes - 1)]

    @cached_property
    def _spread(self) -> np.ndarray:
        """Standard deviation of each column of the conditions; 1 where they are all equal."""
        spread = self.conditions.std(axis=0, dtype=np.float64)
        return np.where(np.ptp(self.conditions, axis=0) > 0, spread, 1.0)

    @cached_property
    def _groups(self) -> tuple[cKDTree, np.ndarray, np.ndarray]:
        """Different conditions, the rows in their order, and the start of each one's rows."""
        different, place = np.unique(self.conditions / self._spread, axis=0, return_inverse=True)
        place = place.reshape(-1)
        order = np.argsort(place, kind="stable")
        return cKDTree(different), order, np.searchsorted(place[order], np.arange(len(different) + 1))

    @cached_property
    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean of the codes, and a root of their covariance `[k, k]`."""
        codes = self.codes.astype(np.float64)
        mean = codes.mean(axis=0)
        values, vectors = np.linalg.eigh((codes - mean).T @ (codes - mean) / len(codes))
        return mean, np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T


def _finite(values: np.ndarray) -> bool:
    return values.dtype.kind == "f" and bool(np.isfinite(values).all())
