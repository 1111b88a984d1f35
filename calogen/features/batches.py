"""The tf.data layer that every model shares: Showers + Chain -> batches.

A batch is {"shower": [b, f], "condition": [b, c]}. `dataset` works with plain `model.fit` and `tf.distribute` and
streams files larger than memory; `resident` holds the same features as two tensors for compiled epochs. Both follow
`permutation`, so (seed, epoch) gives the same batches.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from calogen.backend import tf
from calogen.errors import ConfigError
from calogen.features.transforms import Chain
from calogen.hdf5 import damage_named, dataset_shape, open_file
from calogen.showers.geometry import Geometry
from calogen.showers.sample import Showers, concatenate

Batch = dict[str, tf.Tensor]
BLOCK_ROWS = 65_536
"""Showers of a sample that are looked at together where all of them are."""


@dataclass(frozen=True)
class ShowerFile:
    """A file of showers to be read block by block.

    Args:
        path: HDF5 file.
        geometry: of the file.
        select: applied to every block, e.g. `windows.select_window`.
        rows_per_block: showers read at once.
        blocks_per_pool: blocks, drawn from the whole file, that are shuffled together in memory.
    """

    path: Path
    geometry: Geometry
    select: Callable[[Showers], Showers] = lambda showers: showers
    rows_per_block: int = 4096
    blocks_per_pool: int = 16

    def __len__(self) -> int:
        with open_file(self.path) as file, damage_named(self.path):
            return next(iter(dataset_shape(file, "incident_energies")), 0)

    def pools(self, rng: np.random.Generator | None) -> Iterator[Showers]:
        """Gives the whole file in pools of several blocks, in random order if there is an `rng`."""
        starts = np.arange(0, len(self), self.rows_per_block)
        if rng is not None:
            starts = rng.permutation(starts)
        for first in range(0, len(starts), self.blocks_per_pool):
            yield concatenate([self._block(start) for start in starts[first : first + self.blocks_per_pool]])

    def _block(self, start: int) -> Showers:
        return self.select(Showers.read(self.path, self.geometry, slice(start, start + self.rows_per_block)))


class Features(Protocol):
    """Features of a sample, wherever they are: what compiled calls gather batches from."""

    def __len__(self) -> int:
        """Number of showers."""

    def chunks(self, rows: np.ndarray) -> Iterator[Any]:
        """Gives what compiled calls take for the steps of rows `[s, k, b]`, some steps at a time."""

    def batch_of(self, chunk: Any, step: tf.Tensor, number: tf.Tensor) -> Batch:
        """Gives one of the batches of a step in a chunk."""

    def blocks(self) -> Iterator[Batch]:
        """Gives all showers in their order, `BLOCK_ROWS` at a time."""


@dataclass(frozen=True)
class Resident:
    """All features of a sample as tensors on the device.

    Args:
        shower: `[n, f]`.
        condition: `[n, c]`.
    """

    shower: tf.Tensor
    condition: tf.Tensor

    def __len__(self) -> int:
        return self.shower.shape[0]

    def batch(self, rows: tf.Tensor) -> Batch:
        """Gives the showers of some rows `[b]`."""
        return {"shower": tf.gather(self.shower, rows), "condition": tf.gather(self.condition, rows)}

    def chunks(self, rows: np.ndarray) -> Iterator[tf.Tensor]:
        """Gives the rows themselves: the calls gather."""
        yield tf.constant(rows)

    def batch_of(self, chunk: tf.Tensor, step: tf.Tensor, number: tf.Tensor) -> Batch:
        """Gives the showers of one of a step's batches."""
        return self.batch(chunk[step, number])

    def blocks(self) -> Iterator[Batch]:
        """Gives all showers, `BLOCK_ROWS` at a time."""
        for first in range(0, len(self), BLOCK_ROWS):
            part = slice(first, first + BLOCK_ROWS)
            yield {"shower": self.shower[part], "condition": self.condition[part]}


def split(showers: Showers, validation_fraction: float, seed: int) -> tuple[Showers, Showers]:
    """Splits showers at random into training and validation showers.

    Raises:
        ConfigError: one of the two would be empty.
    """
    num_validation = round(validation_fraction * len(showers))
    if not 0 < num_validation < len(showers):
        raise ConfigError(
            f"the split of {len(showers)} showers must leave showers on both sides. "
            f"Received: validation_fraction={validation_fraction}"
        )
    rows = np.random.default_rng(seed).permutation(len(showers))
    return showers[np.sort(rows[num_validation:])], showers[np.sort(rows[:num_validation])]


def permutation(num_showers: int, seed: int, epoch: int) -> np.ndarray:
    """Order of the showers in one epoch, `[n]`: a function of (seed, epoch) alone."""
    return np.random.default_rng((seed, epoch)).permutation(num_showers).astype(np.int32)


def resident(showers: Showers, chain: Chain) -> Resident:
    """Transforms all showers once and keeps them on the device."""
    with tf.init_scope():
        condition = chain.condition(showers.given)
        return Resident(tf.constant(chain.forward(showers)), tf.constant(condition))


def dataset(
    source: Showers | ShowerFile,
    chain: Chain,
    batch_size: int,
    *,
    seed: int = 0,
    shuffle: bool = True,
    epochs: int | None = 1,
) -> tf.data.Dataset:
    """Batches for `model.fit`; each batch is transformed as a whole.

    With `shuffle` (training) every epoch has an order of its own and its incomplete last batch is left out; without
    (validation) the order is the source's and every shower is kept. For several epochs of `fit` take `epochs=None`,
    an endless dataset, with `steps_per_epoch=len(source) // batch_size`.

    Args:
        source: showers in memory, or a file that is streamed.
        chain: fitted transform.
        batch_size: showers per batch.
        seed: of the order.
        shuffle: see above.
        epochs: how many epochs the dataset holds; `None`: without end.

    Raises:
        ConfigError: not one batch could be filled.
    """
    _require_batch(len(source), batch_size)

    def batches() -> Iterator[Batch]:
        for epoch in islice(count(), epochs):
            for showers in _epoch(source, batch_size, (seed, epoch) if shuffle else None):
                condition = chain.condition(showers.given)
                yield {"shower": chain.forward(showers), "condition": condition}

    first = next(source.pools(None)) if isinstance(source, ShowerFile) else source
    num_features = chain.forward(first[:1]).shape[1]
    signature = {
        "shower": tf.TensorSpec((None, num_features), tf.float32),
        "condition": tf.TensorSpec((None, chain.condition_dim), tf.float32),
    }
    steps = len(source) // batch_size if shuffle else -(-len(source) // batch_size)
    total = tf.data.INFINITE_CARDINALITY if epochs is None else steps * epochs
    options = tf.data.Options()
    options.autotune.enabled = False  # its threads delay the end of every epoch of `fit` by 0.4 s and more
    generated = tf.data.Dataset.from_generator(batches, output_signature=signature)
    return generated.apply(tf.data.experimental.assert_cardinality(total)).prefetch(4).with_options(options)


def _epoch(source: Showers | ShowerFile, batch_size: int, seed: tuple[int, int] | None) -> Iterator[Showers]:
    """Batches of one epoch; `seed` (of the run, epoch) shuffles and omits an incomplete last."""
    if isinstance(source, Showers):
        rows = np.arange(len(source)) if seed is None else permutation(len(source), *seed)
        for start in range(0, len(rows) if seed is None else len(rows) - batch_size + 1, batch_size):
            yield source[rows[start : start + batch_size]]
        return
    rng = None if seed is None else np.random.default_rng(seed)
    rest: list[Showers] = []
    for pool in source.pools(rng):
        shuffled = pool if rng is None else pool[rng.permutation(len(pool))]
        showers = concatenate([*rest, shuffled])
        whole = len(showers) // batch_size * batch_size
        for start in range(0, whole, batch_size):
            yield showers[start : start + batch_size]
        rest = [showers[whole:]] if whole < len(showers) else []
    if rest and rng is None:
        yield rest[0]


def _require_batch(num_showers: int, batch_size: int) -> None:
    if not 0 < batch_size <= num_showers:
        raise ConfigError(f"batch_size must be 1..{num_showers}, the number of showers. Received: {batch_size}")
