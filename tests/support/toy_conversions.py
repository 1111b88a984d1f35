"""How far an LWTNN graph is from the Keras model that it was made of."""

from collections.abc import Mapping

import keras
import numpy as np

from calogen.lwtnn.graph import Graph
from calogen.lwtnn.runtime import evaluate_graph


def largest_difference(
    model: keras.Model, graph: Graph, num_inputs: int = 1000, input_names: Mapping[str, str] | None = None
) -> float:
    """Largest difference between a Keras model and its graph, relative to the output's scale.

    Args:
        model: the Keras model; it is evaluated on the CPU, since GPUs may round products to ten bits.
        graph: its conversion.
        num_inputs: number of random inputs, each variable from a standard normal distribution.
        input_names: the names that the graph has for the inputs of the model; None: the same.

    Returns:
        max |Keras - LWTNN| / max |Keras|, over all inputs and outputs.
    """
    rng = np.random.default_rng(0)
    names = input_names or {tensor.name: tensor.name for tensor in model.inputs}
    arrays = {t.name: rng.standard_normal((num_inputs, t.shape[1]), np.float32) for t in model.inputs}
    with keras.device("cpu"):
        given = arrays if len(arrays) > 1 else next(iter(arrays.values()))
        (output,) = keras.tree.flatten(model(given, training=False))
        expected = keras.ops.convert_to_numpy(output)
    result = evaluate_graph(graph, {names[name]: array for name, array in arrays.items()})
    return float(np.abs(result - expected).max() / max(np.abs(expected).max(), np.finfo(np.float32).tiny))
