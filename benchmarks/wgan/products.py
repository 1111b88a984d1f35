"""The matrix products of one iteration, and nothing else, in the training's shapes.

The second argument names the library.
"""

import sys
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
from serve import serve

from calogen.backend import tf

Call = Callable[[], object]


def make(settings: SimpleNamespace) -> Call:
    """Makes a call that computes all products one after the other."""
    rng = np.random.default_rng(0)
    calls: dict[tuple[int, int, int], Call] = {}
    for m, k, n in map(tuple, settings.products):
        if (m, k, n) not in calls:
            calls[m, k, n] = LIBRARIES[sys.argv[2]](rng.random((m, k), np.float32), rng.random((k, n), np.float32))
    order = [calls[tuple(shape)] for shape in settings.products]
    return lambda: [call() for call in order]


def by_numpy(left: np.ndarray, right: np.ndarray) -> Call:
    """A product into an array of its own."""
    output = np.empty((len(left), right.shape[1]), np.float32)
    return lambda: np.dot(left, right, out=output)


def by_tensorflow(left: np.ndarray, right: np.ndarray) -> Call:
    """TensorFlow's product, oneDNN's on x86."""
    first, second = tf.constant(left), tf.constant(right)
    return lambda: tf.matmul(first, second)


LIBRARIES = {"NumPy": by_numpy, "TensorFlow": by_tensorflow}


if __name__ == "__main__":
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    serve(make)
