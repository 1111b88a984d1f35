"""Engines: points of the latent space -> showers in MeV, faster than Keras.

They give what Keras and the transform give, to rounding: some 1e-6 of a shower's energy. On processors LiteRT computes
the folded generator (`folding`), one shower as well as ten thousand; on a GPU one compiled TensorFlow function does
(which may round products to ten bits there, TensorFlow's default: 1e-3). What cannot be folded is left to Keras itself.

Figures of benchmarks/generation.py are behind it: LiteRT keeps the weights in the order in which its kernels read them.
TensorFlow, onnxruntime and PyTorch are slower from 1000 showers up; below 100, a few calls in Python are what counts.
Converting a network takes half a second, once for each set of weights: what is judged once, as the saved iterations of
a training are, is left to TensorFlow.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, lru_cache, partial
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from calogen.backend import keras, tf
from calogen.errors import ExportError
from calogen.features.transforms import Chain
from calogen.generation.folding import FoldedGenerator, fold
from calogen.parallel import tensorflow_threads

MANY = 200
"""Showers at once from which on a GPU computes them."""
BLOCK = 256
"""Showers at once in LiteRT: with more the values between two layers leave the cache."""
_ALONE = 64  # showers below which LiteRT has one thread


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


def engine(generator: keras.Model, transform: Chain, num_showers: int, once: bool = False) -> Engine:
    """Gives the fastest engine for so many showers at once.

    It is kept together with the network, and made anew once a weight has changed.

    Args:
        generator: with the inputs `latent` and `condition`.
        transform: fitted.
        num_showers: of each call.
        once: whether these weights are used but once, so that converting them does not pay.
    """
    made = _made(generator, transform)
    if made.folded is None:
        return KerasEngine(generator, transform)
    kind = TensorflowEngine if once or (num_showers >= MANY and _has_gpu()) else LiteRTEngine
    if kind not in made.engines:
        made.engines[kind] = kind(made.folded)
    return made.engines[kind]


class LiteRTEngine:
    """LiteRT, block after block, on as many threads as TensorFlow and the process may use."""

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
    """A compiled function of an architecture; a network's weights are its arguments."""

    def __init__(self, folded: FoldedGenerator) -> None:
        self._folded = folded
        self._compute = _compiled(folded.activations, folded.layer_sizes)
        self._weights = [[tf.constant(array) for array in arrays] for arrays in (folded.kernels, folded.biases)]

    def __call__(
        self, latent: np.ndarray, condition: np.ndarray, incident_energies: np.ndarray, energies: np.ndarray
    ) -> None:
        """Computes showers; see `Engine`."""
        inputs = np.concatenate([latent, condition], axis=1, dtype=np.float32)
        values = self._compute(inputs, self._folded.energy_scales(incident_energies), *self._weights).numpy()
        energies[:] = self._folded.finish(values, incident_energies)


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
def _has_gpu() -> bool:
    return bool(tf.config.list_logical_devices("GPU"))


def _threads(num_showers: int) -> int:
    """Threads for a block: few showers gain nothing from a second one."""
    return 1 if num_showers < _ALONE else tensorflow_threads()


class LiteRTBlock:
    """LiteRT for a fixed number of showers; Python's threads wait for one another.

    Args:
        model: what `to_litert` gives.
        num_showers: of each call.
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
        """Gives what `_network` does, in an array of its own.

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

    Its inputs: points and conditions joined, `[n, z + c]`; energy scales `[n, 1]`.
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
    """Keep C++'s remarks from between progress bars; faults are exceptions."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@cache
def _compiled(activations: tuple[str, ...], layer_sizes: tuple[int, ...]) -> Any:
    """The TensorFlow function of all networks with these activations and heads."""
    matrix, vector, number = tf.TensorSpec((None, None)), tf.TensorSpec((None,)), len(activations)
    signature = (matrix, tf.TensorSpec((None, 1)), [matrix] * number, [vector] * number)
    return tf.function(_network(activations, layer_sizes), input_signature=signature, autograph=False)


def _network(activations: tuple[str, ...], layer_sizes: tuple[int, ...]) -> Callable[..., tf.Tensor]:
    """What both compute: values `[n, f]` times scales `[n, 1]`; with heads energies `[n, v]`."""

    def compute(inputs: tf.Tensor, scales: tf.Tensor, kernels: Sequence[Any], biases: Sequence[Any]) -> tf.Tensor:
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
