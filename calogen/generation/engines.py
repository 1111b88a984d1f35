"""Engines, which compute showers in MeV from latent points, faster than Keras.

Their showers are those of Keras and the transform up to rounding, some 1e-6 of a shower's energy. On processors LiteRT
computes the folded generator (`folding`), for one shower as for ten thousand. On a GPU it is a compiled TensorFlow
function. Keras itself computes networks that cannot be folded. On a GPU neither rounds products to ten bits
(TensorFloat-32), as TensorFlow does by default and trainings may: 1e-3.

The choice rests on benchmarks/generation.py. LiteRT keeps the weights in the order in which its kernels read them;
TensorFlow, onnxruntime and PyTorch are slower from 1000 showers on, and below 100 the calls in Python dominate.
Conversion for LiteRT takes half a second for each set of weights, so that TensorFlow computes networks that generate
only once, such as the saved iterations of a training.
"""

import math
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, lru_cache, partial
from typing import Protocol, cast
from weakref import WeakKeyDictionary, ref

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from calogen.backend import keras, tf
from calogen.errors import ExportError
from calogen.features.transforms import Chain
from calogen.generation.folding import FoldedGenerator, fold
from calogen.parallel import tensorflow_threads

MANY = 200
"""Least number of showers per call for which a GPU is used."""
BLOCK = 256
"""Number of showers that LiteRT computes together; with more, the values between two layers leave the cache."""
_BLOCK_BYTES = 2**28  # bytes of a layer's output up to which Keras computes showers together
_ALONE = 64  # least number of showers for which LiteRT uses several threads


class Engine(Protocol):
    """A function that computes showers from latent points and conditions."""

    def __call__(
        self, latent: np.ndarray, condition: np.ndarray, incident_energies: np.ndarray, energies: np.ndarray
    ) -> None:
        """Computes showers.

        Args:
            latent: `[n, z]`.
            condition: `[n, c]`.
            incident_energies: `[n]`, MeV.
            energies: `[n, v]`, float32, MeV: the array into which the showers are written.
        """


def engine(generator: keras.Model, transform: Chain, num_showers: int, once: bool = False) -> Engine:
    """Gives the fastest engine for a number of showers per call.

    The engine is kept as long as the network, and made anew when a weight has changed.

    Args:
        generator: network with the inputs `latent` and `condition`.
        num_showers: number of showers in each call.
        once: whether these weights generate only once, so that a conversion for LiteRT would take longer than it saves.
    """
    kept = _kept_engines(generator, transform)
    if kept.folded is None:
        return KerasEngine(generator, transform)
    kind = TensorflowEngine if once or (num_showers >= MANY and _has_gpu()) else LiteRTEngine
    if kind not in kept.engines:
        kept.engines[kind] = kind(kept.folded)
    return kept.engines[kind]


class LiteRTEngine:
    """An engine that computes one block after another with LiteRT."""

    def __init__(self, folded: FoldedGenerator) -> None:
        self._folded = folded
        self._block = lru_cache(maxsize=4)(partial(LiteRTBlock, to_litert(folded)))

    def __call__(
        self, latent: np.ndarray, condition: np.ndarray, incident_energies: np.ndarray, energies: np.ndarray
    ) -> None:
        """Computes showers; see `Engine`."""
        scales = self._folded.energy_scales(incident_energies)
        for start in range(0, len(latent), BLOCK):
            rows = slice(start, start + BLOCK)
            values = self._block(len(latent[rows]))(latent[rows], condition[rows], scales[rows])
            energies[rows] = self._folded.finish(values, incident_energies[rows])


class TensorflowEngine:
    """An engine with a compiled TensorFlow function, whose arguments are the weights."""

    def __init__(self, folded: FoldedGenerator) -> None:
        self._folded = folded
        self._compute = _compiled(folded.activations, folded.layer_sizes)
        self._weights = [[tf.constant(array) for array in arrays] for arrays in (folded.kernels, folded.biases)]

    def __call__(
        self, latent: np.ndarray, condition: np.ndarray, incident_energies: np.ndarray, energies: np.ndarray
    ) -> None:
        """Computes showers; see `Engine`."""
        inputs = np.concatenate([latent, condition], axis=1, dtype=np.float32)
        with _whole_products():
            values = self._compute(inputs, self._folded.energy_scales(incident_energies), *self._weights).numpy()
        energies[:] = self._folded.finish(values, incident_energies)


class KerasEngine:
    """An engine with the Keras network itself, for networks that cannot be folded.

    These have layers other than dense ones, rarer activations, or several branches. Showers are computed together as
    long as every layer's output stays small enough, and in numbers that are powers of two, filled up with copies: some
    layers are compiled for each number anew, which takes seconds.
    """

    def __init__(self, generator: keras.Model, transform: Chain) -> None:
        self._generator, self._transform = generator, transform
        self._compute = _compiled_network(generator)
        self._step = 1 << max(1, _BLOCK_BYTES // (4 * _largest_output(generator))).bit_length() - 1

    def __call__(
        self, latent: np.ndarray, condition: np.ndarray, incident_energies: np.ndarray, energies: np.ndarray
    ) -> None:
        """Computes showers; see `Engine`."""
        for start in range(0, len(latent), self._step):
            rows = slice(start, start + self._step)
            number = len(latent[rows])
            filled = start + np.arange(1 << (number - 1).bit_length()) % number
            with _whole_products():
                features = self._compute(
                    tf.constant(latent[filled], tf.float32), tf.constant(condition[filled], tf.float32)
                ).numpy()
            energies[rows] = self._transform.energies(features[:number], incident_energies[rows])


@contextmanager
def _whole_products() -> Iterator[None]:
    """Let a GPU multiply with all bits of float32; afterwards as it was set before."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


_COMPILED: WeakKeyDictionary[keras.Model, Callable[..., tf.Tensor]] = WeakKeyDictionary()


def _compiled_network(network: keras.Model) -> Callable[..., tf.Tensor]:
    """The compiled call of a network, kept as long as the network lives."""
    if network not in _COMPILED:
        find, names = ref(network), ("latent", "condition")

        def compute(*values: tf.Tensor) -> tf.Tensor:
            return cast(keras.Model, find())(dict(zip(names, values, strict=True)))

        signature = [tf.TensorSpec(network.input[name].shape) for name in names]
        _COMPILED[network] = tf.function(compute, input_signature=signature, autograph=False)
    return _COMPILED[network]


def _largest_output(network: keras.Model) -> int:
    """Number of values of a shower in the largest output of a layer, of nested networks too."""
    outputs = [tensor for layer in network.layers for tensor in keras.tree.flatten(layer.output)]
    sizes = [math.prod(size or 1 for size in tensor.shape[1:]) for tensor in outputs]
    return max([*sizes, *(_largest_output(layer) for layer in network.layers if isinstance(layer, keras.Model))])


@dataclass(frozen=True, eq=False)
class _KeptEngines:
    """The engines for a network's present weights; `folded` is None: it cannot be folded."""

    weights: list[np.ndarray]
    transform: Chain
    folded: FoldedGenerator | None
    engines: dict[type, Engine] = field(default_factory=dict)


_KEPT: WeakKeyDictionary[keras.Model, _KeptEngines] = WeakKeyDictionary()


def _kept_engines(generator: keras.Model, transform: Chain) -> _KeptEngines:
    kept = _KEPT.get(generator)
    if kept and kept.folded is None and kept.transform == transform:
        return kept  # nothing is kept of its weights, which may be many
    weights = generator.get_weights()
    if kept and kept.transform == transform and all(map(np.array_equal, kept.weights, weights)):
        return kept
    try:
        folded = fold(generator, transform)
    except ExportError:
        weights, folded = [], None
    _KEPT[generator] = _KeptEngines(weights, transform, folded)
    return _KEPT[generator]


@cache
def _has_gpu() -> bool:
    return bool(tf.config.list_logical_devices("GPU"))


def _threads(num_showers: int) -> int:
    """Number of threads for a block; few showers gain nothing from a second thread."""
    return 1 if num_showers < _ALONE else tensorflow_threads()


class LiteRTBlock:
    """LiteRT for a fixed number of showers; one thread of Python can call it at a time.

    Args:
        model: the result of `to_litert`.
        num_showers: number of showers in each call.
    """

    def __init__(self, model: bytes, num_showers: int) -> None:
        with _quiet():
            self._interpreter = Interpreter(model_content=model, num_threads=_threads(num_showers))
            inputs = sorted(self._interpreter.get_input_details(), key=lambda tensor: tensor["name"])
            for tensor in inputs:
                self._interpreter.resize_tensor_input(tensor["index"], (num_showers, tensor["shape"][1]))
            self._interpreter.allocate_tensors()
        self._inputs, self._scales = (tensor["index"] for tensor in inputs)
        self._output = self._interpreter.get_output_details()[0]["index"]
        self._joined = np.empty((num_showers, inputs[0]["shape"][1]), np.float32)
        self._lock = threading.Lock()

    def __call__(self, latent: np.ndarray, condition: np.ndarray, scales: np.ndarray) -> np.ndarray:
        """Gives the result of `_network` in a new array.

        Raises:
            ValueError: latent and condition together do not have the network's number of columns.
        """
        with self._lock:
            np.concatenate([latent, condition], axis=1, out=self._joined, casting="same_kind")
            self._interpreter.set_tensor(self._inputs, self._joined)
            self._interpreter.set_tensor(self._scales, scales)
            self._interpreter.invoke()
            return self._interpreter.get_tensor(self._output)


def to_litert(folded: FoldedGenerator) -> bytes:
    """Gives the LiteRT model of a folded generator.

    Its inputs are latent points and conditions, joined, `[n, z + c]`, and energy scales `[n, 1]`.
    """
    module, network = tf.Module(), _network(folded.activations, folded.layer_sizes)
    module.compute = tf.function(
        lambda inputs, scales: network(inputs, scales, folded.kernels, folded.biases),
        input_signature=[tf.TensorSpec((None, len(folded.kernels[0]))), tf.TensorSpec((None, 1))],
        autograph=False,
    )
    concrete = module.compute.get_concrete_function()
    with _quiet():
        return tf.lite.TFLiteConverter.from_concrete_functions([concrete], module).convert()


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress what C++ libraries print, which disturbs progress bars."""
    sys.stderr.flush()
    saved = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


@cache
def _compiled(activations: tuple[str, ...], layer_sizes: tuple[int, ...]) -> Callable[..., tf.Tensor]:
    """The compiled function that all networks with these activations and heads share."""
    matrix, vector, number = tf.TensorSpec((None, None)), tf.TensorSpec((None,)), len(activations)
    signature = (matrix, tf.TensorSpec((None, 1)), [matrix] * number, [vector] * number)
    return tf.function(_network(activations, layer_sizes), input_signature=signature, autograph=False)


def _network(activations: tuple[str, ...], layer_sizes: tuple[int, ...]) -> Callable[..., tf.Tensor]:
    """The function of a folded network: values times scales; with heads energies `[n, v]`."""

    def compute(
        inputs: tf.Tensor, scales: tf.Tensor, kernels: Sequence[tf.Tensor], biases: Sequence[tf.Tensor]
    ) -> tf.Tensor:
        values = inputs
        for kernel, bias, activation in zip(kernels, biases, activations, strict=True):
            values = _ACTIVATIONS[activation](tf.nn.bias_add(tf.matmul(values, kernel), bias))
        if not layer_sizes:
            return values * scales
        *voxels, layers, total = tf.split(values, (*layer_sizes, len(layer_sizes), 1), axis=-1)
        energies = tf.split(tf.nn.softmax(layers) * (tf.nn.relu(total) * scales), len(layer_sizes), axis=-1)
        return tf.concat([tf.nn.softmax(part) * energy for part, energy in zip(voxels, energies, strict=True)], axis=-1)

    return compute


_ACTIVATIONS: Mapping[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "linear": tf.identity,
    "rectified": tf.nn.relu,
    "tanh": tf.tanh,
    "sigmoid": tf.sigmoid,
    "swish": lambda values: values * tf.sigmoid(values),
}
