"""The trace of the tensors of a Keras 3 model, from the output back to the inputs.

It reads the history of the tensors, never files or the order of `model.layers`: both changed between versions of Keras.
"""

from collections.abc import Callable
from typing import Any, TypeVar  # Any: operands that are no tensors, whatever Keras takes

from calogen.backend import keras
from calogen.lwtnn.keras_activations import conversion_error

_Value = TypeVar("_Value")
Check = Callable[[keras.Operation, keras.KerasTensor], None]
"""A function that refuses an operation or its result."""
Make = Callable[[keras.Operation, list[Any], keras.KerasTensor], _Value]
"""A function that gives the value of an operation's result, for the values of its operands."""


def trace(tensor: keras.KerasTensor, known: dict[tuple, _Value], check: Check, make: Make[_Value]) -> _Value:
    """Gives the value of a tensor, through models inside models.

    Args:
        tensor: the tensor.
        known: values by `key_of` their tensors; it has those of the inputs and gets new ones.
        check: is called for every operation before its operands.
        make: makes the value of a layer or an operation; the latter may have numbers and arrays among its operands.

    Raises:
        ExportError: a layer is called with training=True, or as `check` and `make`.
    """
    key = key_of(tensor)
    if key not in known:
        operation, node_index, tensor_index = tensor._keras_history
        check(operation, tensor)
        call = operation._inbound_nodes[node_index]
        if call.arguments.kwargs.get("training"):
            raise conversion_error(operation, "it is called with training=True", "call it without")
        if isinstance(operation, keras.Model) and getattr(operation, "outputs", None):
            sources = [trace(source, known, check, make) for source in call.input_tensors]
            inner = {key_of(source): value for source, value in zip(operation.inputs, sources, strict=True)}
            known[key] = trace(operation.outputs[tensor_index], inner, check, make)
        elif isinstance(operation, keras.Layer):
            known[key] = make(operation, [trace(item, known, check, make) for item in call.input_tensors], tensor)
        else:
            arguments = keras.tree.flatten((call.arguments.args, call.arguments.kwargs))
            operands = [
                trace(item, known, check, make) if isinstance(item, keras.KerasTensor) else item for item in arguments
            ]
            known[key] = make(operation, operands, tensor)
    return known[key]


def key_of(tensor: keras.KerasTensor) -> tuple:
    """Gives what tells a tensor of a model from all others."""
    operation, node_index, tensor_index = tensor._keras_history
    return id(operation), node_index, tensor_index
