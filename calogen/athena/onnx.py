"""LWTNN graphs as ONNX models in float32, for FastCaloSim's ONNX handler.

Unlike LWTNN, ONNX has products, so that fractions and total become voxels inside the model, and it computes a shared
node once. The handler takes a symbolic batch dimension as 1 and one element type for all inputs, and it fills `mycond`
with two numbers: inputs may therefore be wider than the network needs.

Source: FastCaloSim's TFCSONNXHandler and TFCSGANEtaSlice; operators: ONNX's operator set 13.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

import calogen
from calogen.errors import DataFormatError, ExportError
from calogen.lwtnn.graph import Graph, GraphInput, GraphOutput
from calogen.lwtnn.layers import Activation, Affine, Dense, Highway, Maxout, NetworkLayer, Normalization

if TYPE_CHECKING:
    import onnx

OPSET = 13
"""Version of the operators: it has all that a graph needs, and more programs read it than a later one."""
IR_VERSION = 8
"""Version of the file format, that of ONNX 1.10 to 1.13: FastCaloSim's onnxruntime 1.15 refuses versions above 9."""

Attribute = float | Sequence[int]
"""An attribute of an operator."""


def to_onnx(
    graph: Graph,
    *,
    inputs: Mapping[str, tuple[str, int]],
    layer_sizes: Sequence[int] | None = None,
    order: ArrayLike | None = None,
    clip: bool = False,
    output: str = "out",
) -> "onnx.ModelProto":
    """Converts a graph to an ONNX model.

    Args:
        graph: a graph with exactly one output that can be computed in float32, as those of `convert` can; those of
            `heads.denormalise` need float64.
        inputs: name and width of the ONNX input, `[batch, width]`, float32, for every input of the graph. Elements
            beyond the size of the graph's input are ignored.
        layer_sizes: number of voxels of each detector layer, `l` of them, `v` in all: the graph gives voxel/layer (v),
            layer/total (l) and total/kinetic energy (1), the model their products, voxel/kinetic energy.
        order: a permutation: element i of the model's output is element `order[i]` of the graph's; None: no change.
        clip: whether negative numbers, also those before the products, become 0, as the production code skips them.
        output: name of the ONNX output, `[batch, labels]`, or `[batch, v]` with `layer_sizes`.

    Raises:
        ExportError: inputs, sizes or order do not fit the graph, a number is beyond float32, or ONNX is not installed.
    """
    operators = Operators(package("onnx"))
    _require_inputs(graph, inputs, output)
    values: dict[int, str] = {}
    for index in graph.sizes:
        node = graph.nodes[index]
        if node.type == "input":
            given = graph.inputs[node.sources[0]]
            values[index] = _input_vector(operators, given, *inputs[given.name])
        elif node.type == "concatenate":
            values[index] = operators("Concat", *(values[source] for source in node.sources), axis=-1)
        elif node.type == "add":
            values[index] = operators("Sum", *(values[source] for source in node.sources))
        else:
            (source,) = node.sources
            values[index] = _apply(operators, graph.layer(node), values[source], graph.sizes[source])
    wanted = graph.output()
    size = _num_voxels(wanted, layer_sizes)
    result = operators("Relu", values[wanted.node_index]) if clip else values[wanted.node_index]
    result = _elements(operators, result, _permutation(order, size), layer_sizes)
    operators("Identity", result, name=output)
    return assemble(operators, dict(inputs.values()), (output, size))


def assemble(
    operators: "Operators", inputs: Mapping[str, int], output: tuple[str, int], opset: int = OPSET
) -> "onnx.ModelProto":
    """Gives the model of operators, with a symbolic size of the batch.

    Args:
        operators: all operators; the last of them gives the output.
        inputs: widths of the inputs, `[batch, width]`, float32, by name.
        output: name and width of the output.
        opset: version of the operators.
    """
    onnx = package("onnx")
    tensor = partial(onnx.helper.make_tensor_value_info, elem_type=onnx.TensorProto.FLOAT)
    model = onnx.helper.make_graph(
        operators.nodes,
        "calogen",
        [tensor(name, shape=["batch", width]) for name, width in inputs.items()],
        [tensor(output[0], shape=["batch", output[1]])],
        list(operators.constants.values()),
    )
    about = {"producer_name": "calogen", "producer_version": calogen.__version__}
    imports = [onnx.helper.make_opsetid("", opset)]
    return onnx.helper.make_model(model, opset_imports=imports, ir_version=IR_VERSION, **about)


def evaluate_onnx(model: "onnx.ModelProto | Path | bytes", inputs: Mapping[str, ArrayLike]) -> np.ndarray:
    """The output of a model, computed by onnxruntime on one thread, as FastCaloSim runs it.

    Args:
        model: a model with one output, its file, or the file's content.
        inputs: arrays `[n, width]`, by the names of the ONNX inputs.

    Returns:
        `[n, size]`, float32.

    Raises:
        DataFormatError: the inputs have other names or shapes than the model's.
        ExportError: onnxruntime is not installed, or cannot load the model.
    """
    runtime = package("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    errors = runtime.capi.onnxruntime_pybind11_state
    content = str(model) if isinstance(model, Path) else model
    if not isinstance(content, str | bytes):
        content = content.SerializeToString()
    try:
        session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except (errors.Fail, errors.InvalidGraph, errors.InvalidProtobuf, errors.NoSuchFile) as error:
        raise ExportError(f"onnxruntime cannot load the model: {error}") from error
    try:
        (result,) = session.run(None, {name: np.asarray(value, np.float32) for name, value in inputs.items()})
    except (ValueError, errors.InvalidArgument) as error:
        wanted = {item.name: item.shape for item in session.get_inputs()}
        received = {name: np.shape(value) for name, value in inputs.items()}
        raise DataFormatError(f"inputs must be {wanted}. Received: {received}") from error
    return result


class Operators:
    """The operators of a model, in order, and its constants, without repetition."""

    def __init__(self, package: ModuleType) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[tuple[str, tuple[int, ...], bytes], onnx.TensorProto] = {}
        self._onnx = package

    def __call__(self, operator: str, *sources: str | np.ndarray, name: str = "", **attributes: Attribute) -> str:
        """Appends an operator and gives its result's name; arrays become constants."""
        names = [source if isinstance(source, str) else self._constant(source) for source in sources]
        result = name or f"{operator.lower()}/{len(self.nodes)}"
        self.nodes.append(self._onnx.helper.make_node(operator, names, [result], name=f"node/{result}", **attributes))
        return result

    def _constant(self, array: np.ndarray) -> str:
        if array.dtype.kind == "f":
            with np.errstate(over="ignore"):
                array = array.astype(np.float32)
            if not np.isfinite(array).all():
                raise ExportError("ONNX models here are float32. Received: a number beyond 3.4e38")
        key = array.dtype.str, array.shape, hashlib.sha256(array.tobytes()).digest()
        if key not in self.constants:
            self.constants[key] = self._onnx.numpy_helper.from_array(array, f"constant/{len(self.constants)}")
        return self.constants[key].name


def _input_vector(operators: Operators, given: GraphInput, name: str, width: int) -> str:
    value, size = name, len(given.variables)
    if width > size:
        value = operators("Slice", value, np.array([0]), np.array([size]), np.array([-1]))
    offset, scale = (np.array([getattr(v, field) for v in given.variables]) for field in ("offset", "scale"))
    if offset.any():
        value = operators("Add", value, offset)
    return operators("Mul", value, scale) if (scale != 1.0).any() else value


def _apply(operators: Operators, layer: NetworkLayer, x: str, size: int) -> str:
    match layer:
        case Normalization(weights, bias):
            return operators("Mul", operators("Add", x, bias), weights)
        case Highway(transform, carry, activation):
            gate = operators("Sigmoid", _affine(operators, carry, x, size))
            new = _activate(operators, activation, _affine(operators, transform, x, size))
            kept = operators("Mul", operators("Sub", np.array([1.0]), gate), x)
            return operators("Add", operators("Mul", gate, new), kept)
        case Maxout(sublayers):
            return operators("Max", *(_affine(operators, sublayer, x, size) for sublayer in sublayers))
        case Dense(activation=activation):
            return _activate(operators, activation, _affine(operators, layer, x, size))


def _affine(operators: Operators, layer: Affine, x: str, size: int) -> str:
    if layer.weights.size:
        bias = [layer.bias] if layer.bias.size else []
        return operators("Gemm", x, layer.matrix(size), *bias, transB=1)
    return operators("Add", x, layer.bias) if layer.bias.size else x


# LWTNN's sigmoid is exactly 0 or 1 beyond +-30, 1e-13 away from ONNX's
_ACTIVATIONS: dict[str, Callable[[Operators, str, float], str]] = {
    "linear": lambda operators, x, alpha: x,
    "rectified": lambda operators, x, alpha: operators("Relu", x),
    "sigmoid": lambda operators, x, alpha: operators("Sigmoid", x),
    "hard_sigmoid": lambda operators, x, alpha: operators("HardSigmoid", x, alpha=0.2, beta=0.5),
    "softmax": lambda operators, x, alpha: operators("Softmax", x, axis=-1),
    "tanh": lambda operators, x, alpha: operators("Tanh", x),
    "abs": lambda operators, x, alpha: operators("Abs", x),
    "elu": lambda operators, x, alpha: operators("Elu", x, alpha=alpha),
    "leakyrelu": lambda operators, x, alpha: operators("LeakyRelu", x, alpha=alpha),
    "swish": lambda operators, x, alpha: operators("Mul", x, operators("Sigmoid", _times(operators, x, alpha))),
}


def _activate(operators: Operators, activation: Activation, x: str) -> str:
    return _ACTIVATIONS[activation.function](operators, x, activation.alpha or 0.0)


def _times(operators: Operators, x: str, factor: float) -> str:
    return x if factor == 1.0 else operators("Mul", x, np.array([factor]))


def _elements(operators: Operators, x: str, order: np.ndarray, layer_sizes: Sequence[int] | None) -> str:
    """The elements of the output in their order; with layers the products of the fractions."""
    voxels = operators("Gather", x, order, axis=-1)
    if layer_sizes is None:
        return voxels
    layer_of_voxel = np.repeat(np.arange(len(layer_sizes)), layer_sizes)
    layers = operators("Gather", x, len(order) + layer_of_voxel[order], axis=-1)
    total = operators("Gather", x, np.array([len(order) + len(layer_sizes)]), axis=-1)
    return operators("Mul", voxels, operators("Mul", layers, total))


def _num_voxels(wanted: GraphOutput, layer_sizes: Sequence[int] | None) -> int:
    size = len(wanted.labels)
    if layer_sizes is None:
        return size
    voxels = sum(layer_sizes)
    if min(layer_sizes, default=0) < 1 or size != voxels + len(layer_sizes) + 1:
        raise ExportError(
            f"layer_sizes must be those of an output of {size} = v voxels + l layers + 1. "
            f"Received: {tuple(layer_sizes)}: {voxels} + {len(layer_sizes)} + 1"
        )
    return voxels


def _permutation(order: ArrayLike | None, size: int) -> np.ndarray:
    if order is None:
        return np.arange(size)
    permutation = np.asarray(order)
    if permutation.dtype.kind not in "iu" or sorted(permutation.ravel().tolist()) != list(range(size)):
        raise ExportError(f"order must hold each of 0..{size - 1} once. Received: {permutation.ravel()[:5]} ...")
    return permutation.ravel().astype(np.int64)


def _require_inputs(graph: Graph, inputs: Mapping[str, tuple[str, int]], output: str) -> None:
    wanted = {given.name: len(given.variables) for given in graph.inputs}
    names = [name for name, _ in inputs.values()]
    if set(inputs) != set(wanted) or len({*names, output}) != len(names) + 1:
        raise ExportError(
            f"inputs must give {sorted(wanted)} an ONNX name each, all different and not {output!r}. "
            f"Received: {dict(inputs)}"
        )
    for key, (name, width) in inputs.items():
        if width < wanted[key]:
            raise ExportError(f"{name} must be at least as wide as {key}, {wanted[key]}. Received: {width}")


def package(name: str) -> ModuleType:
    """Gives a package that only exports need.

    Raises:
        ExportError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ExportError(f"{name} is needed: pip install 'calogen[export]' ({error})") from error
