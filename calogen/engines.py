"""Engines: points of the latent space -> showers in MeV, faster than Keras.

They give what Keras and the transform give, to rounding: some 1e-6 of a shower's energy. Few showers, or one core:
NumPy. Many, and more cores or a GPU: one compiled TensorFlow function (a GPU may round products to ten bits, which is
TensorFlow's default: 1e-3). Both compute the folded generator (`folding`).
What cannot be folded is left to Keras itself.

Figures of benchmarks/generation.py are behind it: one vector meets the matrices as fast as memory is read; blocks of
some hundred showers keep everything between the matrix products in the cache, and each activation is one to three
passes; the call of a compiled TensorFlow function costs about as much as a hundred showers; XLA is no faster.
"""

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache, partial
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import keras
import numpy as np
import tensorflow as tf

from calogen.errors import ExportError
from calogen.folding import FoldedGenerator, fold
from calogen.preprocessing import Chain

MANY = 200
"""Showers at once from which on TensorFlow is faster where it has a GPU or more than two cores."""
BLOCK = 512
"""Showers at once in NumPy: more leave the cache, with fewer the matrix products are slower."""

_SMALL = 1_000_000  # multiplications up to which OpenBLAS takes a matrix as it lies, without packing it first
_SAFE = 1e-30, 1e30  # a softmax whose sum of exponentials lies between them has lost nothing in float32
_Steps = list[Callable[[], object]]


class Engine(Protocol):
    """What makes showers of points of the latent space."""

    def __call__(
        self, latent: np.ndarray, condition: np.ndarray, incident_energies: np.ndarray, energies: np.ndarray
    ) -> None:
        """Computes showers.

        Args:
            latent: `[n, z]`.
            condition: `[n, c]`.
            incident_energies: `[n]`, MeV.
            energies: `[n, v]`, float32, receives the showers, MeV.
        """


def engine(generator: keras.Model, transform: Chain, num_showers: int) -> Engine:
    """Gives the fastest engine for so many showers at once.

    It is kept together with the network, and made anew once a weight has changed.

    Args:
        generator: with the inputs `latent` and `condition`.
        transform: fitted.
        num_showers: of each call.
    """
    made = _made(generator, transform)
    if made.folded is None:
        return KerasEngine(generator, transform)
    kind = TensorflowEngine if num_showers >= MANY and _tensorflow_is_wide() else NumpyEngine
    if kind not in made.engines:
        made.engines[kind] = kind(made.folded)
    return made.engines[kind]


class NumpyEngine:
    """NumPy alone, block after block, in buffers that are kept.

    Threads wait for one another. One BLAS thread is best (OPENBLAS_NUM_THREADS=1 before NumPy is imported).
    """

    def __init__(self, folded: FoldedGenerator) -> None:
        self._block = lru_cache(maxsize=4)(partial(Block, folded))
        self._lock = threading.Lock()

    def __call__(
        self, latent: np.ndarray, condition: np.ndarray, incident_energies: np.ndarray, energies: np.ndarray
    ) -> None:
        """Computes showers; see `Engine`."""
        with self._lock:
            for start in range(0, len(latent), BLOCK):
                rows = slice(start, start + BLOCK)
                compute = self._block(len(latent[rows]))
                compute(latent[rows], condition[rows], incident_energies[rows], energies[rows])


class TensorflowEngine:
    """A compiled function of an architecture; a network's weights are its arguments."""

    def __init__(self, folded: FoldedGenerator) -> None:
        self._folded = folded
        self._compute = _compiled(folded.activations, folded.heads.layer_sizes if folded.heads else ())
        self._weights = [tf.constant(matrix[:-1]) for matrix in folded.matrices]
        self._biases = [tf.constant(matrix[-1]) for matrix in folded.matrices]

    def __call__(
        self, latent: np.ndarray, condition: np.ndarray, incident_energies: np.ndarray, energies: np.ndarray
    ) -> None:
        """Computes showers; see `Engine`."""
        inputs = np.concatenate([latent, condition], axis=1)
        factor = self._folded.factor(incident_energies).astype(np.float32)[:, None]
        values = self._compute(inputs, factor, self._weights, self._biases).numpy()
        energies[:] = self._folded.rest.energies(values, incident_energies)


class KerasEngine:
    """The network as it is, for what cannot be folded.

    That is: layers other than dense, rarer activations, several branches.
    """

    def __init__(self, generator: keras.Model, transform: Chain) -> None:
        self._generator, self._transform = generator, transform

    def __call__(
        self, latent: np.ndarray, condition: np.ndarray, incident_energies: np.ndarray, energies: np.ndarray
    ) -> None:
        """Computes showers; see `Engine`."""
        features = self._generator({"latent": latent, "condition": condition}).numpy()
        energies[:] = self._transform.energies(features, incident_energies)


@dataclass(frozen=True, eq=False)
class _Made:
    """The engines of a network with certain weights; `folded` is None: only Keras can."""

    weights: list[np.ndarray]
    transform: Chain
    folded: FoldedGenerator | None
    engines: dict[type, Engine] = field(default_factory=dict)


_KEPT: WeakKeyDictionary[keras.Model, _Made] = WeakKeyDictionary()


def _made(generator: keras.Model, transform: Chain) -> _Made:
    weights, kept = generator.get_weights(), _KEPT.get(generator)
    if kept and kept.transform == transform and all(map(np.array_equal, kept.weights, weights)):
        return kept
    try:
        folded = fold(generator, transform)
    except ExportError:
        folded = None
    _KEPT[generator] = _Made(weights, transform, folded)
    return _KEPT[generator]


@cache
def _tensorflow_is_wide() -> bool:
    """Whether TensorFlow has a GPU or more than two threads: two may share one core."""
    threads = tf.config.threading.get_intra_op_parallelism_threads() or os.cpu_count() or 1
    return threads > 2 or bool(tf.config.list_logical_devices("GPU"))


class Block:
    """An engine for a fixed number of showers: buffers, and NumPy calls that fill them.

    A thread needs its own.
    """

    def __init__(self, folded: FoldedGenerator, num_showers: int) -> None:
        self._folded = folded
        self._inputs = source = _buffer(num_showers, len(folded.matrices[0]))
        self._steps: _Steps = []
        for matrix, activation in zip(folded.matrices, folded.activations, strict=True):
            target = _buffer(num_showers, matrix.shape[1] + 1)  # its last column, of ones, meets the biases
            self._values = target[:, :-1]
            product = _product(source, matrix, self._values)
            self._steps += [*product, *_ACTIVATIONS[activation].numpy(self._values)]
            source = target
        kind = _Heads if num_showers > 1 else _HeadsOfOne
        self._heads = kind(self._values, folded.heads.layer_sizes, product) if folded.heads else None

    def __call__(
        self, latent: np.ndarray, condition: np.ndarray, incident_energies: np.ndarray, energies: np.ndarray
    ) -> None:
        """Computes showers; see `Engine`."""
        self._inputs[:, : latent.shape[1]] = latent
        self._inputs[:, latent.shape[1] : -1] = condition
        with np.errstate(over="ignore"):  # of exponentials: 1 / inf is right, a sum of inf is seen
            for step in self._steps:
                step()
            if self._heads:
                self._heads(self._folded.factor(incident_energies), energies)
        if self._heads is None:
            energies[:] = self._folded.rest.energies(self._values, incident_energies)
        elif self._folded.rest.steps:
            energies[:] = self._folded.rest.energies(energies, incident_energies)


class _Heads:
    """`ShowerHeads` and the inverse of `LayerFractions` in one.

    One pass for all exponentials, one for the energies: a voxel's is its exponential times a number of its layer.

    Args:
        values: `[n, v + l + 1]`, the buffer of the heads' arguments, which is overwritten.
        layer_sizes: number of voxels of each detector layer.
        product: what fills the buffer.
    """

    def __init__(self, values: np.ndarray, layer_sizes: tuple[int, ...], product: _Steps) -> None:
        num_showers, num_layers, num_voxels = len(values), len(layer_sizes), sum(layer_sizes)
        self._product, self._exponentials, self._total = product, values[:, :-1], values[:, -1:]
        self._voxels, self._layers = values[:, :num_voxels], values[:, num_voxels:-1]
        self._sizes, self._starts = (*layer_sizes, num_layers), np.cumsum((0, *layer_sizes))
        self._sums = np.empty((num_showers, num_layers + 1), np.float32)
        self._sums_of_voxels, self._sum_of_layers = self._sums[:, :-1], self._sums[:, -1:]
        self._scales = np.empty((num_showers, num_layers), np.float32)
        self._spread = np.repeat(np.eye(num_layers, dtype=np.float32), layer_sizes, axis=1)
        self._scale = np.empty((num_showers, num_voxels), np.float32)

    def __call__(self, factor: np.ndarray, energies: np.ndarray) -> None:
        """Computes energies `[n, v]`, MeV, with what 1 as total stands for, `[n]`, MeV."""
        self._exponentiate()
        if not self._is_exact():
            for step in self._product:
                step()
            largest = np.maximum.reduceat(self._exponentials, self._starts, axis=1)
            self._exponentials -= np.repeat(largest, self._sizes, axis=1)
            self._exponentiate()
        self._find_scales(factor)
        np.dot(self._scales, self._spread, out=self._scale)  # to the layers' voxels, faster than np.repeat
        np.multiply(self._voxels, self._scale, out=energies)

    def _is_exact(self) -> bool:
        smallest, largest = (function.reduce(self._sums, axis=None) for function in (np.minimum, np.maximum))
        return bool(_SAFE[0] < smallest <= largest < _SAFE[1])

    def _find_scales(self, factor: np.ndarray) -> None:
        np.maximum(self._total, 0.0, out=self._total)
        np.multiply(self._total, factor[:, None], out=self._total)
        np.divide(self._total, self._sum_of_layers, out=self._total)
        np.divide(self._layers, self._sums_of_voxels, out=self._scales)
        np.multiply(self._scales, self._total, out=self._scales)

    def _exponentiate(self) -> None:
        np.exp(self._exponentials, out=self._exponentials)
        np.add.reduceat(self._exponentials, self._starts, axis=1, out=self._sums)


class _HeadsOfOne(_Heads):
    """The same for one shower: Python's numbers instead of arrays of one, in half the time."""

    def _is_exact(self) -> bool:
        sums = self._sums[0].tolist()
        return _SAFE[0] < min(sums) <= max(sums) < _SAFE[1]

    def _find_scales(self, factor: np.ndarray) -> None:
        scale = max(self._total.item(), 0.0) * factor.item() / self._sum_of_layers.item()
        np.multiply(self._layers, scale, out=self._scales)
        np.divide(self._scales, self._sums_of_voxels, out=self._scales)


def _product(left: np.ndarray, right: np.ndarray, out: np.ndarray) -> _Steps:
    """The matrix product; for few showers some columns of the right matrix after the other."""
    if len(left) == 1:
        return [partial(np.dot, left, right, out=out)]
    width = _SMALL // left.size // 16 * 16
    if width < 32:
        width = right.shape[1]
    parts = (slice(start, start + width) for start in range(0, right.shape[1], width))
    return [partial(np.matmul, left, right[:, part], out=out[:, part]) for part in parts]


def _buffer(num_showers: int, width: int) -> np.ndarray:
    """Ones, `[n, width]`, float32; every row begins with a cache line."""
    length = -(-width // 16) * 16
    memory = np.ones(num_showers * length + 16, np.float32)
    first = -(memory.ctypes.data // 4) % 16
    return memory[first : first + num_showers * length].reshape(num_showers, length)[:, :width]


@cache
def _compiled(activations: tuple[str, ...], layer_sizes: tuple[int, ...]) -> Any:
    """The TensorFlow function of all networks with these activations and heads."""
    matrix, vector = tf.TensorSpec((None, None)), tf.TensorSpec((None,))
    signature = (matrix, tf.TensorSpec((None, 1)), [matrix] * len(activations), [vector] * len(activations))

    def compute(values: tf.Tensor, factor: tf.Tensor, weights: list[tf.Tensor], biases: list[tf.Tensor]) -> tf.Tensor:
        for weight, bias, activation in zip(weights, biases, activations, strict=True):
            values = _ACTIVATIONS[activation].tensorflow(tf.nn.bias_add(tf.matmul(values, weight), bias))
        if not layer_sizes:
            return values
        *voxels, layers, total = tf.split(values, (*layer_sizes, len(layer_sizes), 1), axis=-1)
        scales = tf.split(tf.nn.softmax(layers) * (tf.nn.relu(total) * factor), len(layer_sizes), axis=-1)
        return tf.concat([tf.nn.softmax(part) * scale for part, scale in zip(voxels, scales, strict=True)], axis=-1)

    return tf.function(compute, input_signature=signature, autograph=False)


@dataclass(frozen=True)
class _Function:
    """A folded activation: NumPy calls that overwrite `[n, units]`, TensorFlow function."""

    numpy: Callable[[np.ndarray], _Steps]
    tensorflow: Callable[[tf.Tensor], tf.Tensor]


def _rectified(values: np.ndarray) -> _Steps:
    zeros = np.zeros(values.shape[1], np.float32)  # the maximum with a single number takes twice the time
    return [partial(np.maximum, values, zeros, out=values)]


def _sigmoid(values: np.ndarray) -> _Steps:
    steps = partial(np.exp, values, out=values), partial(np.add, values, 1.0, out=values)
    return [*steps, partial(np.reciprocal, values, out=values)]


def _swish(values: np.ndarray) -> _Steps:
    tanh = np.empty(values.shape, np.float32)
    steps = partial(np.tanh, values, out=tanh), partial(np.multiply, values, tanh, out=tanh)
    return [*steps, partial(np.add, values, tanh, out=values)]


# What `FoldedGenerator` says they are.
_ACTIVATIONS: Mapping[str, _Function] = {
    "linear": _Function(lambda values: [], tf.identity),
    "rectified": _Function(_rectified, tf.nn.relu),
    "tanh": _Function(lambda values: [partial(np.tanh, values, out=values)], tf.tanh),
    "sigmoid": _Function(_sigmoid, lambda values: tf.sigmoid(-values)),
    "swish": _Function(_swish, lambda values: values + values * tf.tanh(values)),
}
