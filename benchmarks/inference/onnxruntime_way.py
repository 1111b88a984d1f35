"""The folded network in onnxruntime: Gemm, activations, the heads."""

from collections.abc import Callable

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from serve import check, draw_inputs, read_layers, serve, settings

GIVEN = settings()


def make(network: str, showers: int) -> Callable[[], object]:
    """Makes a call of an onnxruntime session."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = GIVEN.threads
    session = onnxruntime.InferenceSession(build(network), options, providers=["CPUExecutionProvider"])
    inputs = {"x": draw_inputs(read_layers(GIVEN.folder, network)[0], showers)}
    check(GIVEN.folder, network, lambda values: session.run(None, {"x": values})[0])
    return lambda: session.run(None, inputs)[0]


def build(network: str) -> bytes:
    """The network as an ONNX model of `x` `[n, z + 1]`, with the output `y` `[n, v + l + 1]`."""
    layers, layer_sizes = read_layers(GIVEN.folder, network)
    nodes, weights, value = [], [], "x"
    for number, (kernel, bias, activation) in enumerate(layers):
        names = [f"kernel_{number}", f"bias_{number}"]
        weights += [numpy_helper.from_array(array, name) for array, name in zip((kernel, bias), names, strict=True)]
        nodes.append(helper.make_node("Gemm", [value, *names], [value := f"dense_{number}"]))
        if activation == "swish":
            nodes.append(helper.make_node("Sigmoid", [value], [f"sigmoid_{number}"]))
            nodes.append(helper.make_node("Mul", [value, f"sigmoid_{number}"], [value := f"swish_{number}"]))
        elif activation == "rectified":
            nodes.append(helper.make_node("Relu", [value], [value := f"relu_{number}"]))
    sizes = [*layer_sizes, len(layer_sizes), 1]
    weights.append(numpy_helper.from_array(np.array(sizes, np.int64), "sizes"))
    parts = [f"part_{number}" for number in range(len(sizes))]
    nodes.append(helper.make_node("Split", [value, "sizes"], parts, axis=1))
    heads = [f"head_{number}" for number in range(len(sizes))]
    kinds = ["Softmax"] * (len(sizes) - 1) + ["Relu"]
    nodes += [helper.make_node(kind, [part], [head]) for kind, part, head in zip(kinds, parts, heads, strict=True)]
    nodes.append(helper.make_node("Concat", heads, ["y"], axis=1))
    shapes = (("x", len(layers[0][0])), ("y", sum(sizes)))
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, width]) for name, width in shapes)
    graph = helper.make_graph(nodes, "generator", [x], [y], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


if __name__ == "__main__":
    serve(make, [(network, showers) for network, showers in GIVEN.tasks])
