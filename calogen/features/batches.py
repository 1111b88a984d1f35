"""Features of training showers, and batches of them, for every model.

A batch is {"shower": [b, f], "condition": [b, c]}. Features are computed once, in blocks of rows, and kept in memory
(`Resident`) or in a file beside the run (`OnDisk`): both give the same batches. `dataset` makes a tf.data.Dataset of
either, for Keras' own `fit` and for `tf.distribute`.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

import numpy as np

from calogen.backend import tf
from calogen.errors import ConfigError, DataFormatError
from calogen.features.moments import ROWS_PER_BLOCK, Moments, fitting_rows, moments_of_blocks
from calogen.features.transforms import Chain
from calogen.files import atomic_path, read_error, require_space
from calogen.progress import progress
from calogen.showers.files import ShowerFile
from calogen.showers.sample import Showers

Batch = dict[str, tf.Tensor]
ShowerSource = Showers | ShowerFile
"""Showers in memory or in files."""
BLOCK_ROWS = 65_536
"""Showers in each block when all showers of a sample are processed; fewer with more than 640 features."""
_CHUNK_BYTES = 2**24  # bytes of features that are read from a file together


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

    @property
    def num_features(self) -> int:
        """Number `f` of the features of a shower."""
        return self.shower.shape[1]

    def batch(self, rows: tf.Tensor | np.ndarray) -> Batch:
        """Gives the showers of some rows `[b]`."""
        return {"shower": tf.gather(self.shower, rows), "condition": tf.gather(self.condition, rows)}

    def chunks(self, rows: np.ndarray) -> Iterator[tf.Tensor]:
        """Gives the arguments of compiled calls for steps `[s, k, b]`: one chunk, the rows."""
        yield tf.constant(rows)

    def batch_of(self, chunk: tf.Tensor, step: tf.Tensor, number: tf.Tensor) -> Batch:
        """Gives batch `number` of a step in a chunk."""
        return self.batch(chunk[step, number])


@dataclass(frozen=True)
class OnDisk:
    """All features of a sample in a file of float32, read when they are needed.

    The file is not mapped into memory, because every page that was read would count as the process's own memory.

    Args:
        path: path of the file, `[n, f]`, row after row.
        num_features: number `f` of the features of a shower.
        condition: `[n, c]`, in memory.
    """

    path: Path
    num_features: int
    condition: np.ndarray

    def __len__(self) -> int:
        return len(self.condition)

    def batch(self, rows: np.ndarray) -> Batch:
        """Gives the showers of some rows, an array of any shape, e.g. `[s, k, b]`.

        Raises:
            CalogenError: the file cannot be read, or has become too short.
        """
        shower = self._read(rows.reshape(-1)).reshape(*rows.shape, self.num_features)
        return {"shower": tf.constant(shower), "condition": tf.constant(self.condition[rows])}

    def chunks(self, rows: np.ndarray) -> Iterator[Batch]:
        """Gives the arguments of compiled calls for steps `[s, k, b]`, some steps at a time.

        While a chunk is used, the next one is read.
        """
        num_steps = max(1, _CHUNK_BYTES // (4 * rows[0].size * self.num_features))
        parts = [rows[first : first + num_steps] for first in range(0, len(rows), num_steps)]
        with ThreadPoolExecutor(1) as reader:
            waiting = reader.submit(self.batch, parts[0])
            for part in (*parts[1:], None):
                chunk = waiting.result()
                if part is not None:
                    waiting = reader.submit(self.batch, part)
                yield chunk

    def batch_of(self, chunk: Batch, step: tf.Tensor, number: tf.Tensor) -> Batch:
        """Gives batch `number` of a step in a chunk."""
        return {name: values[step, number] for name, values in chunk.items()}

    def _read(self, rows: np.ndarray) -> np.ndarray:
        """Features `[b, f]` of some rows `[b]`, read in the order of the file."""
        shower = np.empty((len(rows), self.num_features), np.float32)
        order, size, num_read = np.argsort(rows), 4 * self.num_features, 0
        try:
            with self.path.open("rb", buffering=0) as file:
                for place, row in zip(order.tolist(), rows[order].tolist(), strict=True):
                    file.seek(size * row)
                    num_read += file.readinto(shower[place])
        except OSError as error:
            raise read_error(self.path, error) from error
        if num_read != shower.nbytes:
            raise DataFormatError(
                f"{self.path} must hold the features of {len(self)} showers, {size * len(self)} bytes, while the "
                f"training lasts. Received: {self.path.stat().st_size} bytes (start again: they are computed anew)"
            )
        return shower


FeatureTable = Resident | OnDisk
"""Features of a sample, in memory or in a file, from which compiled calls gather batches."""


def blocks_of(features: FeatureTable, num_rows: int = BLOCK_ROWS, every: int = 1) -> Iterator[Batch]:
    """All showers in their order, or each `every`-th, in blocks.

    A block has `num_rows`, or fewer (`fitting_rows`).
    """
    step = every * fitting_rows(num_rows, features.num_features)
    for first in range(0, len(features), step):
        yield features.batch(np.arange(first, min(first + step, len(features)), every))


def moments_of(features: FeatureTable) -> Moments:
    """Mean and spread of all features, which are equal in memory and in a file."""
    return moments_of_blocks(block["shower"].numpy() for block in blocks_of(features, ROWS_PER_BLOCK))


def split(num_showers: int, validation_fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Splits rows at random into those that train and those that validate, both in order.

    Raises:
        ConfigError: one of the two would be empty.
    """
    num_validation = round(validation_fraction * num_showers)
    if not 0 < num_validation < num_showers:
        raise ConfigError(
            f"the split of {num_showers} showers must leave showers on both sides. "
            f"Received: validation_fraction={validation_fraction}"
        )
    rows = np.random.default_rng(seed).permutation(num_showers)
    return np.sort(rows[num_validation:]), np.sort(rows[:num_validation])


def permutation(num_showers: int, seed: int, epoch: int) -> np.ndarray:
    """Order of the showers in one epoch, `[n]`: a function of (seed, epoch) alone."""
    return np.random.default_rng((seed, epoch)).permutation(num_showers).astype(np.int32)


def resident(source: ShowerSource, chain: Chain, rows: np.ndarray | None = None) -> Resident:
    """Transforms showers once and keeps them on the device.

    Args:
        rows: rows of the showers to transform, rising; None: all.
    """
    rows = np.arange(len(source)) if rows is None else rows
    shower = np.empty((len(rows), chain.num_features(source.geometry)), np.float32)
    for place, block in _transformed(source, chain, rows):
        shower[place] = block
    with tf.init_scope():
        return Resident(tf.constant(shower), tf.constant(chain.condition(source.given[rows])))


def on_disk(source: ShowerSource, chain: Chain, path: Path, rows: np.ndarray | None = None) -> OnDisk:
    """Transforms showers once into a file, unless it exists already.

    Args:
        path: path of the file, whose name must identify its content.
        rows: rows of the showers to transform, rising; None: all.

    Raises:
        CalogenError: the file cannot be written, or there is no space for it.
    """
    rows = np.arange(len(source)) if rows is None else rows
    features = OnDisk(path, chain.num_features(source.geometry), chain.condition(source.given[rows]))
    size = 4 * len(features) * features.num_features
    if not path.is_file() or path.stat().st_size != size:
        require_space(path, size)
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            for _, block in _transformed(source, chain, rows):
                file.write(np.ascontiguousarray(block).data)
    return features


def chosen_blocks(source: ShowerSource, rows: np.ndarray) -> Iterator[tuple[slice, Showers]]:
    """The showers in some rising rows, block by block, with their places among these rows."""
    for place, showers in source.blocks():
        first, end = np.searchsorted(rows, (place.start, place.start + len(showers))).tolist()
        if first < end:
            yield slice(first, end), showers[rows[first:end] - place.start]


def _transformed(source: ShowerSource, chain: Chain, rows: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Features `[b, f]` of some rising rows, block by block, with their places among them."""
    with progress("preparing showers", len(rows), "showers") as bar:
        for place, showers in chosen_blocks(source, rows):
            yield place, chain.forward(showers, place.start)
            bar.advance(len(showers))


def dataset(
    features: FeatureTable, batch_size: int, *, seed: int = 0, shuffle: bool = True, epochs: int | None = 1
) -> tf.data.Dataset:
    """Batches for Keras' `fit`.

    With `shuffle`, for training, every epoch has an order of its own and its incomplete last batch is left out; without
    it, for validation, the order is the source's and every shower is kept. For several epochs of `fit` use
    `epochs=None`, an endless dataset, with `steps_per_epoch=len(features) // batch_size`.

    Args:
        batch_size: number of showers per batch.
        shuffle: whether every epoch has an order of its own.
        epochs: number of epochs in the dataset; None: it has no end.

    Raises:
        ConfigError: there are too few showers to fill a batch.
    """
    if not 0 < batch_size <= len(features):
        raise ConfigError(f"batch_size must be 1..{len(features)}, the number of showers. Received: {batch_size}")
    steps = len(features) // batch_size if shuffle else -(-len(features) // batch_size)

    def batches() -> Iterator[Batch]:
        for epoch in islice(count(), epochs):
            order = permutation(len(features), seed, epoch) if shuffle else np.arange(len(features))
            for step in range(steps):
                rows = order[step * batch_size : (step + 1) * batch_size]
                yield features.batch(rows)

    widths = {"shower": features.num_features, "condition": features.condition.shape[1]}
    signature = {name: tf.TensorSpec((None, width), tf.float32) for name, width in widths.items()}
    options = tf.data.Options()
    options.autotune.enabled = False  # its threads delay the end of every epoch of `fit` by 0.4 s and more
    generated = tf.data.Dataset.from_generator(batches, output_signature=signature)
    total = tf.data.INFINITE_CARDINALITY if epochs is None else steps * epochs
    return generated.apply(tf.data.experimental.assert_cardinality(total)).prefetch(4).with_options(options)
