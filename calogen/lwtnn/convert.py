"""Conversion of Keras 3 models in memory to LWTNN graphs.

The graph is read from the history of the tensors (`keras_trace`); the official converter, which reads files, fails on
every Keras 3 model. Batch normalisation and activations are folded into the dense layer before them (`keras_layers`).
Layers and operations that lwtnn cannot express, or that this converter does not know, are refused by name.
"""

from collections.abc import Mapping, Sequence

from calogen.backend import keras
from calogen.errors import ExportError
from calogen.lwtnn.graph import Graph, GraphInput, GraphOutput, Node, Variable
from calogen.lwtnn.keras_activations import conversion_error, named
from calogen.lwtnn.keras_layers import Operand, Vertex, vertex_of
from calogen.lwtnn.keras_trace import key_of, trace
from calogen.lwtnn.layers import NetworkLayer
from calogen.training.residuals import Residuals

InputNames = Sequence[str] | Mapping[str, str]


def convert(model: keras.Model, input_names: InputNames | None = None) -> Graph:
    """Convert a functional or sequential Keras model with one output.

    Variables are called `variable_0`, ..., labels `out_0`, ...: the names that Athena uses.

    Args:
        model: a model whose inputs and output are vectors, `[b, size]`.
        input_names: names of the Keras inputs in the order that the graph shall have, or a mapping from them to the
            graph's names: Athena's generators need `{"latent": "node_0", "condition": "node_1"}`. By default the
            order of `model.inputs`, which is alphabetical for a model built from a dictionary.

    Returns:
        the network at inference; it needs lwtnn 2.13, or 2.14 where the model adds tensors.

    Raises:
        ExportError: the model has several outputs or none, a part of it is unknown or has no counterpart in lwtnn, it
            computes in half precision or is quantised, or weights are not finite.
    """
    inputs, outputs = getattr(model, "inputs", None), getattr(model, "outputs", None)
    if not inputs or not outputs:
        raise ExportError(f"only functional models can be exported: build {model.name!r} from keras.Input tensors")
    if len(outputs) != 1:
        raise ExportError(
            f"Athena's class of GANs takes a network with exactly one output. Received: {len(outputs)} outputs of "
            f"{model.name!r} (join them with keras.layers.Concatenate)"
        )
    _require_expressible(model)
    for tensor in inputs:
        _require_single_precision(tensor._keras_history.operation, tensor)
    names = _graph_names(model, input_names)
    by_name = {tensor.name: tensor for tensor in inputs}
    vertices = [Vertex("input", _width(by_name[name], "an input"), index=i) for i, name in enumerate(names)]
    known = {key_of(by_name[name]): vertex for name, vertex in zip(names, vertices, strict=True)}
    given = [
        GraphInput(name, tuple(Variable(f"variable_{i}") for i in range(vertex.size)))
        for name, vertex in zip(names.values(), vertices, strict=True)
    ]
    return _graph(trace(outputs[0], known, _require_vector, _vertex), given)


def _require_vector(operation: keras.Operation, tensor: keras.KerasTensor) -> None:
    """Refuse an operation whose result is no vector in full precision."""
    _require_single_precision(operation, tensor)
    _width(tensor, named(operation))


def _vertex(operation: keras.Operation, operands: list[Operand], tensor: keras.KerasTensor) -> Vertex:
    return vertex_of(operation, operands)


def _require_single_precision(operation: keras.Operation, tensor: keras.KerasTensor) -> None:
    """Refuse an operation that computes with rounded or quantised numbers."""
    policy: keras.DTypePolicy | None = getattr(operation, "dtype_policy", None)
    remedy = "build the model anew under the dtype policy float32"
    if policy is not None and policy.quantization_mode:
        raise conversion_error(
            operation, f"its dtype policy {policy.name} has quantised weights", f"{remedy}, and train it"
        )
    if tensor.dtype not in ("float32", "float64"):
        name = f"dtype policy {policy.name}" if policy is not None else "dtype"
        raise conversion_error(
            operation,
            f"its {name} rounds to {tensor.dtype}, where lwtnn computes in double precision: outputs would differ by "
            "about as much (bfloat16: 4e-3, float16: 5e-4)",
            f"{remedy} and give it these weights (set_weights), then see that its showers are still good",
        )


def _graph(result: Vertex, inputs: list[GraphInput]) -> Graph:
    """The graph of a vertex and of all vertices that it needs, sources first."""
    numbers: dict[int, int] = {}
    nodes: list[Node] = []
    layers: list[NetworkLayer] = []

    def number(vertex: Vertex) -> int:
        if id(vertex) not in numbers:
            sources = tuple(number(source) for source in vertex.sources)
            if vertex.type == "input":
                nodes.append(Node("input", (vertex.index,), size=vertex.size))
            elif vertex.layer is None:
                nodes.append(Node(vertex.type, sources))
            else:
                nodes.append(Node(vertex.type, sources, layer_index=len(layers)))
                layers.append(vertex.layer)
            numbers[id(vertex)] = len(nodes) - 1
        return numbers[id(vertex)]

    output = GraphOutput(number(result), tuple(f"out_{i}" for i in range(result.size)))
    return Graph(tuple(inputs), tuple(nodes), tuple(layers), {"out": output})


def _graph_names(model: keras.Model, input_names: InputNames | None) -> dict[str, str]:
    """The graph's name of every Keras input, in the graph's order."""
    keras_names = [tensor.name for tensor in model.inputs]
    wanted = keras_names if input_names is None else input_names
    names = dict(wanted) if isinstance(wanted, Mapping) else {name: name for name in wanted}
    if sorted(names) != sorted(keras_names) or len(set(names.values())) != len(wanted):
        raise ExportError(f"input_names must name the inputs {keras_names}, each once. Received: {wanted}")
    return names


def _require_expressible(model: keras.Model) -> None:
    """Refuse convolutions of volumes and noise of p(x|z), also in models inside the model."""
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Conv3D | keras.layers.Conv3DTranspose):
            reason = f"lwtnn has no 3-D convolution, of which {model.name!r} is made"
            remedy = "write the network as ONNX instead, as `calogen export` does for regular grids"
            raise conversion_error(layer, reason, remedy)
        if isinstance(layer, Residuals):
            reason = "lwtnn has no product of tensors, and noise of p(x|z) is multiplied by what depends on the energy"
            raise conversion_error(layer, reason, "export a run that decodes means (decode='mean')")


def _width(tensor: keras.KerasTensor, where: str) -> int:
    if len(tensor.shape) != 2 or tensor.shape[1] is None:
        raise ExportError(
            f"this converter works on vectors of fixed length, [b, size]. Received: {tensor.shape} in {where}"
        )
    return int(tensor.shape[1])
