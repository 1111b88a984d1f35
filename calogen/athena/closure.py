"""Do an exported network and the Keras model that it was made of give the same showers?

With the same noise voxel by voxel, against the model in float64 and against it as it is trained; with noise of their
own as distributions of observables.

Source: ours.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import ks_2samp

from calogen.athena.interface import NOISE, Generator, Slot, condition_of, voxel_order
from calogen.athena.onnx import evaluate_onnx
from calogen.backend import keras
from calogen.features.transforms import Chain
from calogen.lwtnn.graph import Graph
from calogen.lwtnn.runtime import evaluate
from calogen.showers.conditions import Conditions
from calogen.showers.sample import Showers
from calogen.training.latent import Latent
from calogen.units import MASSES, kinetic_energy

if TYPE_CHECKING:
    import onnx

TOLERANCE = 1e-6
"""Largest allowed deviation of a voxel from the model in float64, of the shower's energy."""
FALSE_ALARM = 1e-3
"""Probability that an exact copy of the model fails the test of its distributions."""


@dataclass(frozen=True)
class Closure:
    """Largest deviation of a voxel, in units of the shower's energy.

    Showers with less than a hundredth of the kinetic energy are compared with that: theirs is a small difference of
    large numbers.

    Args:
        num_showers: compared, of momenta log-uniform in what the network was trained for.
        float64: from the Keras model evaluated in float64.
        float32: from the Keras model as it is.
    """

    num_showers: int
    float64: float
    float32: float

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""
        return asdict(self)


def closure(
    graph: Graph, generator: Generator, slot: Slot, interface: str, num_showers: int = 1000, seed: int = 0
) -> Closure:
    """Compares a graph with the Keras model, voxel by voxel, from the same noise.

    Args:
        graph: of `athena.lwtnn_graph`, as it comes back from its file.
        generator: what it was made of.
        slot, interface: what it was made for.
        num_showers: of random momenta.
        seed: of momenta and noise.
    """
    momenta, noise, latent = _draw(generator, slot, interface, num_showers, seed)
    kinetic = kinetic_energy(momenta, MASSES[generator.particle])[:, None]
    found = energies_of(graph, generator, slot, interface, momenta, noise)
    deviations = {}
    for precision in ("float64", "float32"):
        model = in_float64(generator.model) if precision == "float64" else generator.model
        expected = keras_energies(model, generator.transform, latent.astype(precision), momenta)
        deviations[precision] = float((np.abs(found - expected) / deviation_scale(expected, kinetic)).max())
    return Closure(num_showers, **deviations)


def onnx_deviation(
    model: "onnx.ModelProto", generator: Generator, slot: Slot, interface: str, num_showers: int = 200, seed: int = 0
) -> float:
    """Largest deviation of an ONNX model from Keras, in units as of `Closure`.

    Args:
        model: inputs `Noise` and `mycond`, outputs in the interface's order.
        generator, slot, interface: what it was made of and for.
        num_showers, seed: of random momenta and noise.
    """
    momenta, noise, latent = _draw(generator, slot, interface, num_showers, seed)
    condition = condition_of(momenta, slot, MASSES[generator.particle])
    width = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    padded = np.pad(noise, ((0, 0), (0, width - noise.shape[1])))
    given = {"Noise": padded, "mycond": np.stack([condition, np.zeros_like(condition)], axis=1)}
    expected = keras_energies(generator.model, generator.transform, latent.astype(np.float32), momenta)
    found, kinetic = np.empty_like(expected), kinetic_energy(momenta, MASSES[generator.particle])[:, None]
    found[:, voxel_order(generator.geometry, interface)] = evaluate_onnx(model, given) * kinetic
    return float((np.abs(found - expected) / deviation_scale(expected, kinetic)).max())


def draw_noise(latent: Latent, interface: str, num_showers: int, seed: int) -> np.ndarray:
    """Draws what the interface hands to a network, `[n, z]`, float64."""
    rng, given = np.random.default_rng(seed), NOISE.get(interface, latent)
    draw = rng.standard_normal if given.distribution == "normal" else lambda shape: rng.uniform(-1, 1, shape)
    return given.mean + given.spread * draw((num_showers, latent.dim))


def energies_of(
    graph: Graph, generator: Generator, slot: Slot, interface: str, momenta: np.ndarray, noise: np.ndarray
) -> np.ndarray:
    """Gives energies `[n, v]`, MeV, in our order of voxels, by way of an interface.

    Args:
        graph: of `athena.lwtnn_graph`.
        generator, slot, interface: what it was made of and for.
        momenta: `[n]`, MeV.
        noise: `[n, z]`, of `draw_noise`.
    """
    mass = MASSES[generator.particle]
    condition = condition_of(momenta, slot, mass)[:, None]
    width = len(graph.inputs[1].variables)
    outputs = evaluate(graph, {"node_0": noise, "node_1": np.pad(condition, ((0, 0), (0, width - 1)))})
    places = [int(label.removeprefix("out_")) for label in graph.output().labels]
    energies = np.empty_like(outputs)
    energies[:, voxel_order(generator.geometry, interface)[places]] = np.maximum(outputs, 0.0)
    return energies * kinetic_energy(momenta, mass)[:, None]


def keras_energies(
    model: keras.Model, transform: Chain, latent: np.ndarray, given: Conditions | np.ndarray
) -> np.ndarray:
    """Gives energies `[n, v]`, MeV, of a Keras model, in the precision of `latent` `[n, z]`.

    Negative features count as zero and nothing makes up for them, as in the production code: `transforms` keeps the
    network's total energy.

    Args:
        model: inputs `latent` and `condition`.
        transform: of its features.
        latent: points of the latent space.
        given: what the model knows of the showers: incident energies or momenta `[n]`, MeV, alone or with others.
    """
    known = Conditions.of(given)
    with keras.device("cpu"):  # GPUs may round products to ten bits
        inputs = {"latent": latent, "condition": transform.columns(known).astype(latent.dtype)}
        features = keras.ops.convert_to_numpy(model(inputs, training=False))
    return transform.energies(np.maximum(features, 0.0), known.incident_energies)


def deviation_scale(energies: np.ndarray, kinetic: np.ndarray) -> np.ndarray:
    """What deviations are divided by, `[n, 1]`, MeV; see `Closure`."""
    return np.maximum(energies.sum(axis=1, keepdims=True), kinetic / 100)


def in_float64(model: keras.Model) -> keras.Model:
    """Gives a copy of a model that computes in float64."""

    def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
        return type(layer).from_config({**layer.get_config(), "dtype": "float64"})

    inputs = keras.tree.map_structure(lambda t: keras.Input(t.shape[1:], name=t.name, dtype="float64"), model.input)
    clone = keras.models.clone_model(model, input_tensors=inputs, clone_function=copy)
    clone.set_weights([np.asarray(weight, np.float64) for weight in model.get_weights()])
    return clone


@dataclass(frozen=True)
class Agreement:
    """Distributions of two samples of showers, by Kolmogorov's and Smirnov's test.

    Args:
        num_tests: observables times momenta.
        smallest: p-value; `where` says of which observable and momentum.
        below: share of the p-values below 0.05.
        where: of the smallest p-value.
    """

    num_tests: int
    smallest: float
    below: float
    where: str

    @property
    def agrees(self) -> bool:
        """Whether the smallest p-value is no surprise; not for `FALSE_ALARM` of exact copies."""
        return self.smallest > 1 - (1 - FALSE_ALARM) ** (1 / self.num_tests)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "agrees": self.agrees, "false_alarm": FALSE_ALARM}


def agreement(first: Showers, second: Showers, quantities: dict[str, Callable[[Showers], np.ndarray]]) -> Agreement:
    """Compares two samples of the same momenta, by observable and momentum.

    Args:
        first, second: showers; those without a value, NaN, do not count.
        quantities: functions of showers, `[n]`, by name.
    """
    found: list[tuple[float, str]] = []
    for momentum in np.unique(first.incident_energies):
        samples = first.at(momentum), second.at(momentum)
        for name, quantity in quantities.items():
            values = [_defined(quantity(sample)) for sample in samples]
            if min(map(len, values)) and np.ptp(np.concatenate(values)):
                found.append((float(ks_2samp(*values).pvalue), f"{name} at {momentum:g} MeV"))
    smallest, where = min(found)
    return Agreement(len(found), smallest, float(np.mean([value < 0.05 for value, _ in found])), where)


def _draw(
    generator: Generator, slot: Slot, interface: str, num_showers: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Momenta `[n]`, MeV, noise `[n, z]`, and the points of the latent space that it is."""
    lowest, highest = max(generator.momentum_range[0], slot.above), min(generator.momentum_range[1], slot.up_to)
    momenta = lowest * (highest / lowest) ** np.random.default_rng(seed).random(num_showers)
    noise, wanted = draw_noise(generator.latent, interface, num_showers, seed + 1), generator.latent
    given = NOISE.get(interface, wanted)
    return momenta, noise, wanted.mean + wanted.spread * (noise - given.mean) / given.spread


def _defined(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values)]
