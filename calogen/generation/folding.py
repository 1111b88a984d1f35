"""Folding of a generator and its transform into a chain of dense layers."""

from dataclasses import dataclass, replace

import numpy as np

from calogen.backend import keras
from calogen.errors import ExportError
from calogen.features.transforms import Chain, LayerFractions
from calogen.lwtnn.convert import convert
from calogen.lwtnn.graph import Graph
from calogen.lwtnn.layers import Activation, Dense
from calogen.training.layers import ShowerHeads
from calogen.units import kinetic_energy

FOLDABLE_ACTIVATIONS = ("linear", "rectified", "tanh", "sigmoid", "swish")
"""Activations that can be folded, by lwtnn's names."""


@dataclass(frozen=True, eq=False)
class FoldedGenerator:
    """Dense layers on the joined latent point and condition, then heads, then a transform.

    The factor b of a trained swish, x sigmoid(b x), is absorbed by the kernels: with y = b x the activation is
    y sigmoid(y), which is b times the swish.

    Args:
        kernels: `[inputs, units]` of each layer, float32.
        biases: `[units]` of each layer, float32.
        activations: activation of each layer, one of `FOLDABLE_ACTIVATIONS`.
        heads: for a generator that ends in `ShowerHeads`, the step of the transform that turns their fractions into
            energies, as both are computed together; None: the generator has no heads.
        rest: the transform without `heads`.
    """

    kernels: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]
    activations: tuple[str, ...]
    heads: LayerFractions | None
    rest: Chain

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """Number of voxels of each layer that has a head of its own; empty without heads."""
        return self.heads.layer_sizes if self.heads else ()

    def energy_scales(self, incident_energies: np.ndarray) -> np.ndarray:
        """Gives the energies, MeV, `[n, 1]`, for which a total of 1 stands; without heads ones."""
        if self.heads is None:
            return np.ones((len(incident_energies), 1), np.float32)
        scales = kinetic_energy(incident_energies, self.heads.mass) / self.heads.response_scale
        return scales.astype(np.float32)[:, None]

    def finish(self, values: np.ndarray, incident_energies: np.ndarray) -> np.ndarray:
        """Gives energies `[n, v]`, MeV, for the values `[n, f]` of layers and heads."""
        return self.rest.energies(values, incident_energies) if self.rest.steps or not self.heads else values


def split_heads(generator: keras.Model) -> tuple[keras.Model, ShowerHeads | None]:
    """Gives a generator without the `ShowerHeads` at its end, and these heads, if any."""
    last, node_index, _ = generator.outputs[0]._keras_history
    if not isinstance(last, ShowerHeads):
        return generator, None
    return keras.Model(generator.input, last._inbound_nodes[node_index].input_tensors[0]), last


def fold(generator: keras.Model, transform: Chain) -> FoldedGenerator:
    """Folds a generator that is a chain of dense layers, and its transform.

    Args:
        generator: network with the inputs `latent` and `condition`.

    Raises:
        ExportError: the generator is no such chain, an activation is not among `FOLDABLE_ACTIVATIONS`, a weight is not
            finite, or the transform does not invert the fractions of the generator's heads.
    """
    generator, last = split_heads(generator)
    heads, rest = _undone(last, transform) if last else (None, transform)
    layers, scale = _chain(convert(generator, ["latent", "condition"])), 1.0
    kernels, biases = [], []
    for layer in layers:
        factor = _factor(layer.activation)
        bias = layer.bias if layer.bias.size else np.zeros(len(layer.weights))
        kernels.append((layer.weights.T * (factor / scale)).astype(np.float32))
        biases.append((bias * factor).astype(np.float32))
        scale = factor
    if scale != 1.0:
        raise ExportError(f"the last layer's swish must have the factor 1 in its sigmoid. Received: {scale}")
    activations = tuple(layer.activation.function for layer in layers)
    return FoldedGenerator(tuple(kernels), tuple(biases), activations, heads, rest)


def _undone(heads: ShowerHeads, transform: Chain) -> tuple[LayerFractions, Chain]:
    """The step that inverts the heads' fractions, and the transform without it."""
    for step in transform.steps[-1:]:
        if isinstance(step, LayerFractions) and step.layer_sizes == heads.layer_sizes:
            return step, replace(transform, steps=transform.steps[:-1])
    raise ExportError(f"the transform must end in LayerFractions of {heads.layer_sizes}. Received: {transform.steps}")


def _chain(graph: Graph) -> list[Dense]:
    """The dense layers of a graph, from the joined inputs to the output."""
    layers: list[Dense] = []
    node = graph.nodes[graph.output().node_index]
    while node.type == "feed_forward":
        layer = graph.layer(node)
        if not isinstance(layer, Dense) or not layer.weights.size:
            raise ExportError(f"only dense layers can be folded. Received: {type(layer).__name__} {layer}")
        layers.insert(0, layer)
        node = graph.nodes[node.sources[0]]
    inputs = [graph.nodes[source] for source in node.sources]
    if node.type != "concatenate" or [(one.type, one.sources) for one in inputs] != [("input", (0,)), ("input", (1,))]:
        raise ExportError(f"the chain must begin with latent and condition joined. Received: {node}")
    return layers


def _factor(activation: Activation) -> float:
    """The factor b of a swish, x sigmoid(b x), which must not be 0; 1 for other activations."""
    if activation.function not in FOLDABLE_ACTIVATIONS:
        raise ExportError(
            f"activations must be among {', '.join(FOLDABLE_ACTIVATIONS)}. Received: {activation.function}"
        )
    if activation.function != "swish":
        return 1.0
    if not activation.alpha:
        raise ExportError("a swish needs a factor in its sigmoid that is not 0. Received: 0")
    return activation.alpha
