"""Evaluation of LWTNN graphs in NumPy, without TensorFlow.

`evaluate_graph` does lwtnn's arithmetic in float64, for one vector or a batch. `Forward` prepares a network for one
vector at a time: it allocates no memory, folds affine maps, and computes in float32 where that is enough. Use one BLAS
thread with it (OMP_NUM_THREADS=1 before NumPy is imported): matrices of this size gain nothing from two, and on a busy
machine two threads wait for each other for milliseconds.
"""

from collections.abc import Callable, Mapping
from functools import partial, reduce

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from calogen.errors import DataFormatError
from calogen.lwtnn.graph import Graph, GraphInput
from calogen.lwtnn.layers import Activation, Affine, Dense, Highway, Maxout, NetworkLayer, Normalization

Inputs = Mapping[str, ArrayLike | Mapping[str, ArrayLike]]


def evaluate_graph(graph: Graph, inputs: Inputs, output: str | None = None) -> np.ndarray:
    """The output of a graph, computed in float64 as lwtnn's LightweightGraph does it.

    Args:
        inputs: for each input its vector `[..., size]`, or, as lwtnn takes it, a mapping from the variables' names to
            their values `[...]`; surplus names are ignored.
        output: name of the output; needed where the graph has several.

    Returns:
        `[..., labels]`, in the order of the output's labels.

    Raises:
        DataFormatError: an input or variable is missing, a vector has the wrong length, or the shapes of the inputs
            differ before the last axis.
        ExportError: the graph has no such output.
    """
    wanted = graph.output(output)
    values: dict[int, np.ndarray] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    with np.errstate(over="ignore", invalid="ignore"):  # lwtnn too gives infinity or NaN without a word
        for index in graph.order(output):
            node = graph.nodes[index]
            if node.type == "input":
                given = graph.inputs[node.sources[0]]
                values[index] = _input_vector(given, inputs)
                shapes[given.name] = values[index].shape[:-1]
                if len(set(shapes.values())) > 1:
                    raise DataFormatError(f"inputs must have one shape before the last axis. Received: {shapes}")
            elif node.type == "concatenate":
                values[index] = np.concatenate([values[source] for source in node.sources], axis=-1)
            elif node.type == "add":
                values[index] = reduce(np.add, [values[source] for source in node.sources])
            else:
                values[index] = _apply(graph.layer(node), values[node.sources[0]])
    return values[wanted.node_index][..., : len(wanted.labels)]


class Forward:
    """A network with one output, prepared for one shower at a time.

    It owns its buffers, so each thread needs an instance of its own. In float32 the result differs from that of
    `evaluate_graph` by rounding, about 1e-6 of the output's scale.

    Args:
        dtype: float32, or float64, which takes twice the time; None: float64 for a graph with a highway layer, whose
            products are small differences, else float32.
    """

    def __init__(self, graph: Graph, dtype: DTypeLike | None = None) -> None:
        wanted = graph.output()
        highway = any(isinstance(layer, Highway) for layer in graph.layers)
        self._dtype = np.dtype(dtype or (np.float64 if highway else np.float32))
        self._steps: list[Callable[[], object]] = []
        self._slots: list[tuple[str, slice, np.ndarray]] = []
        self._size = sum(len(given.variables) for given in graph.inputs)
        values: dict[int, _Value] = {}
        for index in graph.sizes:
            values[index] = self._compile_node(graph, index, values)
        self._result = self._settled(values[wanted.node_index]).vector[: len(wanted.labels)]

    def __call__(self, inputs: Mapping[str, np.ndarray] | np.ndarray) -> np.ndarray:
        """Compute the output for one shower.

        Args:
            inputs: each input's vector by name, or one vector with all inputs one after another, in the graph's order.

        Returns:
            `[labels]`, a new array.

        Raises:
            DataFormatError: an input is missing or has the wrong shape.
        """
        if isinstance(inputs, Mapping):
            for name, _, buffer in self._slots:
                if name not in inputs or np.shape(inputs[name]) != buffer.shape:
                    received = {name: np.shape(value) for name, value in inputs.items()}
                    raise DataFormatError(f"inputs must hold {name!r} of shape {buffer.shape}. Received: {received}")
                buffer[:] = inputs[name]
        else:
            if np.shape(inputs) != (self._size,):
                raise DataFormatError(f"inputs must have shape {(self._size,)}. Received: {np.shape(inputs)}")
            for _, part, buffer in self._slots:
                buffer[:] = inputs[part]
        for step in self._steps:
            step()
        return self._result.copy()

    def _compile_node(self, graph: Graph, index: int, values: Mapping[int, "_Value"]) -> "_Value":
        node = graph.nodes[index]
        result = _Value.allocate(graph.sizes[index], self._dtype)
        if node.type == "input":
            given = graph.inputs[node.sources[0]]
            start = sum(len(before.variables) for before in graph.inputs[: node.sources[0]])
            self._slots.append((given.name, slice(start, start + len(given.variables)), result.vector))
            offset, scale = _preprocessing(given)
            return result.after(scale, scale * offset)
        sources = [values[source] for source in node.sources]
        if node.type == "concatenate":
            self._steps.append(partial(np.concatenate, [source.vector for source in sources], out=result.vector))
            scale = np.concatenate([source.scale for source in sources])
            return result.after(scale, np.concatenate([source.shift for source in sources]))
        if node.type == "add":
            first, *others = (self._settled(source).vector for source in sources)
            self._steps.append(partial(np.copyto, result.vector, first))
            self._steps += [partial(np.add, result.vector, other, out=result.vector) for other in others]
            return result
        layer = graph.layer(node)
        if isinstance(layer, Normalization):
            return sources[0].after(layer.weights, layer.weights * layer.bias)
        self._compile_layer(layer, sources[0], result)
        return result

    def _compile_layer(self, layer: NetworkLayer, source: "_Value", result: "_Value") -> None:
        if isinstance(layer, Dense) and layer.weights.size:
            matrix = layer.matrix(len(source.vector))
            bias = matrix @ source.shift + (layer.bias if layer.bias.size else 0.0)
            folded = np.vstack([(matrix * source.scale).T, bias])  # the row of biases meets the 1 that ends the vector
            self._steps.append(partial(np.dot, source.extended, folded.astype(self._dtype), out=result.vector))
            self._steps += _activation_steps(layer.activation, result.vector)
        else:
            vector, target = self._settled(source).vector, result.vector
            self._steps.append(lambda: np.copyto(target, _apply(layer, vector)))

    def _settled(self, value: "_Value") -> "_Value":
        """A value whose scale and shift have been applied to its vector."""
        if (value.scale == 1.0).all() and (value.shift == 0.0).all():
            return value
        result = _Value.allocate(len(value.vector), self._dtype)
        scale, shift = value.scale.astype(self._dtype), value.shift.astype(self._dtype)
        self._steps.append(partial(np.multiply, value.vector, scale, out=result.vector))
        self._steps.append(partial(np.add, result.vector, shift, out=result.vector))
        return result


class _Value:
    """A node's value, `scale * vector + shift`; the next matrix absorbs scale and shift."""

    def __init__(self, extended: np.ndarray, scale: np.ndarray, shift: np.ndarray) -> None:
        self.extended, self.vector = extended, extended[:-1]
        self.scale, self.shift = scale, shift

    @classmethod
    def allocate(cls, size: int, dtype: np.dtype) -> "_Value":
        """A value in a new buffer, which is followed by a 1 that is never overwritten."""
        return cls(np.ones(size + 1, dtype), np.ones(size), np.zeros(size))

    def after(self, scale: np.ndarray, shift: np.ndarray) -> "_Value":
        """The value `scale * self + shift`, in the same buffer."""
        return _Value(self.extended, scale * self.scale, scale * self.shift + shift)


def _input_vector(given: GraphInput, inputs: Inputs) -> np.ndarray:
    if given.name not in inputs:
        raise DataFormatError(f"inputs must hold {given.name!r}. Received: {', '.join(inputs) or 'nothing'}")
    value = inputs[given.name]
    try:
        if isinstance(value, Mapping):
            missing = [variable.name for variable in given.variables if variable.name not in value]
            if missing:
                raise DataFormatError(f"input {given.name!r} must hold the variables {', '.join(missing)}")
            value = np.stack([np.asarray(value[variable.name], np.float64) for variable in given.variables], axis=-1)
        vector = np.asarray(value, np.float64)
    except (TypeError, ValueError) as error:
        raise DataFormatError(f"input {given.name!r} must hold numbers, variables of one shape ({error})") from error
    if vector.shape[-1:] != (len(given.variables),):
        shape = list(vector.shape)
        raise DataFormatError(f"input {given.name!r} must have shape [..., {len(given.variables)}]. Received: {shape}")
    offset, scale = _preprocessing(given)
    return (vector + offset) * scale


def _preprocessing(given: GraphInput) -> tuple[np.ndarray, np.ndarray]:
    return np.array([v.offset for v in given.variables]), np.array([v.scale for v in given.variables])


def _apply(layer: NetworkLayer, x: np.ndarray) -> np.ndarray:
    match layer:
        case Normalization(weights, bias):
            return weights * (x + bias)
        case Highway(transform, carry, activation):
            gate = _sigmoid(_affine(carry, x))
            return gate * _activate(activation, _affine(transform, x)) + (1.0 - gate) * x
        case Maxout(sublayers):
            return np.max([_affine(sublayer, x) for sublayer in sublayers], axis=0)
        case Dense(activation=activation):
            return _activate(activation, _affine(layer, x))


def _affine(layer: Affine, x: np.ndarray) -> np.ndarray:
    product = x @ layer.matrix(x.shape[-1]).T if layer.weights.size else x
    return product + layer.bias if layer.bias.size else product


def _sigmoid(x: np.ndarray) -> np.ndarray:
    inside = 1.0 / (1.0 + np.exp(-np.clip(x, -30.0, 30.0)))
    return np.where(x < -30.0, 0.0, np.where(x > 30.0, 1.0, inside))


def _softmax(x: np.ndarray) -> np.ndarray:
    exponential = np.exp(x - x.max(axis=-1, keepdims=True))
    return exponential / exponential.sum(axis=-1, keepdims=True)


_ACTIVATIONS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "linear": lambda x, alpha: x,
    "rectified": lambda x, alpha: np.maximum(x, 0.0),
    "sigmoid": lambda x, alpha: _sigmoid(x),
    "hard_sigmoid": lambda x, alpha: np.clip(0.2 * x + 0.5, 0.0, 1.0),
    "softmax": lambda x, alpha: _softmax(x),
    "tanh": lambda x, alpha: np.tanh(x),
    "abs": lambda x, alpha: np.abs(x),
    "elu": lambda x, alpha: np.where(x >= 0.0, x, alpha * (np.exp(np.minimum(x, 0.0)) - 1.0)),
    "leakyrelu": lambda x, alpha: np.where(x > 0.0, x, alpha * x),
    "swish": lambda x, alpha: x * _sigmoid(alpha * x),
}


def _activate(activation: Activation, x: np.ndarray) -> np.ndarray:
    alpha = float("nan") if activation.alpha is None else activation.alpha
    return _ACTIVATIONS[activation.function](x, alpha)


def _activation_steps(activation: Activation, y: np.ndarray) -> list[Callable[[], object]]:
    """Steps that apply an activation to `y` in place; rare ones allocate memory."""
    match activation:
        case Activation("linear"):
            return []
        case Activation("tanh"):
            return [partial(np.tanh, y, out=y)]
        case Activation("rectified"):
            return [partial(np.maximum, y, 0.0, out=y)]
        case Activation("sigmoid"):
            return [*_one_plus_exponential(-1.0, y, y), partial(np.reciprocal, y, out=y)]
        case Activation("swish", float(alpha)):
            denominator = np.empty_like(y)
            return [*_one_plus_exponential(-alpha, y, denominator), partial(np.divide, y, denominator, out=y)]
        case _:
            return [lambda: np.copyto(y, _activate(activation, y))]


def _one_plus_exponential(factor: float, y: np.ndarray, out: np.ndarray) -> list[Callable[[], object]]:
    """Steps for `1 + exp(factor * y)`, with exponents of at most 80, for float32."""
    return [
        partial(np.multiply, y, factor, out=out),
        partial(np.minimum, out, 80.0, out=out),
        partial(np.exp, out, out=out),
        partial(np.add, out, 1.0, out=out),
    ]
