"""The matrix products of a network, and nothing else, by one library.

NumPy's process also times reading the weights once. The products have the shapes of the network's layers, with all
showers at once or in blocks, whichever takes less time: no way of generation can be faster than the fastest library.
"""

from collections.abc import Callable

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from serve import draw_inputs, median_seconds, read_layers, serve, settings

from calogen.backend import tf
from calogen.generation.engines import BLOCK

GIVEN = settings()
READING = -1  # stands for a number of showers
Call = Callable[[], object]


def make(network: str, showers: int) -> Call:
    """Makes the call of the products for some showers (0: one), or of reading the weights."""
    layers, _ = read_layers(GIVEN.folder, network)
    if showers == READING:
        return reading(np.concatenate([array.ravel() for kernel, bias, _ in layers for array in (kernel, bias)]))
    kernels, inputs = [kernel for kernel, _, _ in layers], draw_inputs(layers, max(showers, 1))
    parts = [inputs[start : start + BLOCK] for start in range(0, len(inputs), BLOCK)]
    ways = [in_turn([LIBRARIES[GIVEN.way](kernels, part) for part in rows]) for rows in ([inputs], parts)]
    return min(ways, key=lambda way: median_seconds(way, 0.1))


def in_turn(calls: list[Call]) -> Call:
    """A call that makes several calls one after the other."""
    return lambda: [call() for call in calls]


def reading(numbers: np.ndarray) -> Call:
    """The fastest of several ways in which NumPy reads an array."""
    rows = numbers[: len(numbers) // 400 * 400].reshape(-1, 400)
    columns, vector = np.ascontiguousarray(rows.T), np.ones(400, np.float32)
    ways = (
        lambda: np.dot(numbers, numbers),
        lambda: np.dot(rows, vector),
        lambda: np.dot(vector, columns),
        numbers.max,
    )
    return min(ways, key=lambda way: median_seconds(way, 0.1))


def by_numpy(kernels: list[np.ndarray], inputs: np.ndarray) -> Call:
    """One product after the other, each into an array of its own."""
    outputs = [np.empty((len(inputs), kernel.shape[1]), np.float32) for kernel in kernels]
    given = [inputs, *outputs[:-1]]
    return lambda: [np.dot(*operands, out=out) for *operands, out in zip(given, kernels, outputs, strict=True)]


def by_tensorflow(kernels: list[np.ndarray], inputs: np.ndarray) -> Call:
    """One function of all products, whose kernels are constants."""
    constant, compute = tf.constant(inputs), tf.function(lambda values: chain(values, kernels), autograph=False)
    return lambda: compute(constant).numpy()


def by_litert(kernels: list[np.ndarray], inputs: np.ndarray) -> Call:
    """LiteRT, which keeps the kernels in the order in which it reads them."""
    module = tf.Module()
    signature = [tf.TensorSpec(inputs.shape)]
    module.compute = tf.function(lambda values: chain(values, kernels), input_signature=signature, autograph=False)
    concrete = module.compute.get_concrete_function()
    content = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module).convert()
    interpreter = Interpreter(model_content=content, num_threads=GIVEN.threads)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], inputs)
    return interpreter.invoke


def chain(values: tf.Tensor, kernels: list[np.ndarray]) -> tf.Tensor:
    """The products of one network in TensorFlow."""
    for kernel in kernels:
        values = tf.matmul(values, kernel)
    return values


LIBRARIES = {"products by NumPy": by_numpy, "products by TensorFlow": by_tensorflow, "products by LiteRT": by_litert}


if __name__ == "__main__":
    tf.config.threading.set_intra_op_parallelism_threads(GIVEN.threads)
    tf.config.threading.set_inter_op_parallelism_threads(GIVEN.threads)
    serve(make, [(network, showers) for network, showers in GIVEN.tasks])
