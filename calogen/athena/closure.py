"""Closure tests: does an exported network give the showers of its Keras model?

From the same noise, voxels are compared one by one, with the model in float64 and in float32, in which it was trained.
From independent noise, distributions of observables are compared.

Source: ours.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import ks_2samp

from calogen.athena.interface import NOISE, Slot, VoxelGenerator, condition_of, voxel_order
from calogen.athena.onnx import evaluate_onnx
from calogen.backend import keras
from calogen.errors import ExportError
from calogen.features.transforms import Chain
from calogen.lwtnn.graph import Graph
from calogen.lwtnn.runtime import evaluate_graph
from calogen.showers.conditions import Conditions
from calogen.showers.sample import Showers
from calogen.training.latent import Latent
from calogen.units import MASSES, kinetic_energy

if TYPE_CHECKING:
    import onnx

TOLERANCE = 1e-6
"""Largest allowed deviation of a voxel from the model in float64, as a share of the shower's energy."""
NUM_SHOWERS = 1000
"""Number of showers, from the same noise, to measure deviations."""
PER_ENERGY = 500
"""Number of showers of each energy, from independent noise, to compare distributions."""
FALSE_ALARM = 1e-3
"""Probability that an exact copy of the model fails the test of its distributions."""


@dataclass(frozen=True)
class Closure:
    """Largest deviation of a voxel from the Keras model, as a share of the shower's energy.

    Deviations of a shower with less than a hundredth of the kinetic energy are divided by this hundredth: so small an
    energy is a small difference of large numbers.

    Args:
        num_showers: number of compared showers, with log-uniform momenta in the range of the network.
        float64: largest deviation from the Keras model evaluated in float64.
        float32: largest deviation from the Keras model in its own precision.
    """

    num_showers: int
    float64: float
    float32: float

    def to_json(self) -> dict[str, float]:
        """The numbers as a JSON table."""
        return asdict(self)


def closure(
    graph: Graph, generator: VoxelGenerator, slot: Slot, interface: str, num_showers: int = NUM_SHOWERS, seed: int = 0
) -> Closure:
    """Compares a graph with the Keras model, voxel by voxel, from the same noise.

    Args:
        graph: the result of `athena.lwtnn_graph`, as read from its file.
        generator: the generator that was converted.
        slot, interface: the slot and the interface for which it was converted.
        num_showers: number of showers, at random momenta.
    """
    momenta, noise, latent = _draw(generator, slot, interface, num_showers, seed)
    kinetic = kinetic_energy(momenta, MASSES[generator.particle])[:, None]
    energies = energies_of(graph, generator, slot, interface, momenta, noise)
    deviations = {}
    for precision in ("float64", "float32"):
        model = in_float64(generator.model) if precision == "float64" else generator.model
        expected = keras_energies(model, generator.transform, latent.astype(precision), momenta)
        deviations[precision] = float((np.abs(energies - expected) / deviation_scale(expected, kinetic)).max())
    return Closure(num_showers, **deviations)


def onnx_deviation(
    model: "onnx.ModelProto",
    generator: VoxelGenerator,
    slot: Slot,
    interface: str,
    num_showers: int = 200,
    seed: int = 0,
) -> float:
    """Largest deviation of an ONNX model from Keras, divided as in `Closure`.

    Args:
        model: model with the inputs `Noise` and `mycond` and the outputs in the interface's order.
        generator, slot, interface: the generator that was converted, and the slot and interface for which it was.
        num_showers, seed: as for `closure`.
    """
    momenta, noise, latent = _draw(generator, slot, interface, num_showers, seed)
    condition = condition_of(momenta, slot, MASSES[generator.particle])
    width = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    padded = np.pad(noise, ((0, 0), (0, width - noise.shape[1])))
    inputs = {"Noise": padded, "mycond": np.stack([condition, np.zeros_like(condition)], axis=1)}
    expected = keras_energies(generator.model, generator.transform, latent.astype(np.float32), momenta)
    energies, kinetic = np.empty_like(expected), kinetic_energy(momenta, MASSES[generator.particle])[:, None]
    energies[:, voxel_order(generator.geometry, interface)] = evaluate_onnx(model, inputs) * kinetic
    return float((np.abs(energies - expected) / deviation_scale(expected, kinetic)).max())


def draw_noise(latent: Latent, interface: str, num_showers: int, seed: int) -> np.ndarray:
    """Draws the noise that an interface hands to a network, `[n, z]`, float64."""
    rng, prior = np.random.default_rng(seed), NOISE.get(interface, latent)
    draw = rng.standard_normal if prior.distribution == "normal" else lambda shape: rng.uniform(-1, 1, shape)
    return prior.mean + prior.spread * draw((num_showers, latent.dim))


def energies_of(
    graph: Graph, generator: VoxelGenerator, slot: Slot, interface: str, momenta: np.ndarray, noise: np.ndarray
) -> np.ndarray:
    """Gives energies `[n, v]`, MeV, in the geometry's order, computed as an interface does.

    Args:
        graph: the result of `athena.lwtnn_graph`.
        generator, slot, interface: the generator that was converted, and the slot and interface for which it was.
        momenta: `[n]`, MeV.
        noise: `[n, z]`, as `draw_noise` gives it.
    """
    mass = MASSES[generator.particle]
    condition = condition_of(momenta, slot, mass)[:, None]
    width = len(graph.inputs[1].variables)
    outputs = evaluate_graph(graph, {"node_0": noise, "node_1": np.pad(condition, ((0, 0), (0, width - 1)))})
    places = [int(label.removeprefix("out_")) for label in graph.output().labels]
    energies = np.empty_like(outputs)
    energies[:, voxel_order(generator.geometry, interface)[places]] = np.maximum(outputs, 0.0)
    return energies * kinetic_energy(momenta, mass)[:, None]


def keras_energies(
    model: keras.Model,
    transform: Chain,
    latent: np.ndarray,
    conditions: Conditions | np.ndarray,
    *,
    clip: bool = True,
) -> np.ndarray:
    """Gives energies `[n, v]`, MeV, of a Keras model, in the precision of `latent` `[n, z]`.

    Args:
        model: network with the inputs `latent` and `condition`.
        transform: transform of its features.
        conditions: incident energies or momenta `[n]`, MeV, alone or with the other conditions of the showers.
        clip: whether negative features count as zero, as in the production code, and the other features are not scaled
            down in return, as `transforms` does to keep the total energy.
    """
    conditions = Conditions.of(conditions)
    with keras.device("cpu"):  # GPUs may round products to ten bits
        inputs = {"latent": latent, "condition": transform.columns(conditions).astype(latent.dtype)}
        features = keras.ops.convert_to_numpy(model(inputs, training=False))
    return transform.energies(np.maximum(features, 0.0) if clip else features, conditions.incident_energies)


def deviation_scale(energies: np.ndarray, kinetic: np.ndarray) -> np.ndarray:
    """Energies by which deviations are divided, `[n, 1]`, MeV; `Closure` says why."""
    return np.maximum(energies.sum(axis=1, keepdims=True), kinetic / 100)


def in_float64(model: keras.Model) -> keras.Model:
    """Gives a copy of a model that computes in float64, also in models inside it."""

    def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
        if isinstance(layer, keras.Model) and getattr(layer, "outputs", None):
            return in_float64(layer)
        return type(layer).from_config({**layer.get_config(), "dtype": "float64"})

    inputs = keras.tree.map_structure(
        lambda tensor: keras.Input(tensor.shape[1:], name=tensor.name, dtype="float64"), model.input
    )
    clone = keras.models.clone_model(model, input_tensors=inputs, clone_function=copy)
    clone.set_weights([np.asarray(weight, np.float64) for weight in model.get_weights()])
    return clone


@dataclass(frozen=True)
class Agreement:
    """Agreement of two samples' distributions by Kolmogorov's and Smirnov's test.

    Args:
        num_tests: number of tests: observables times momenta.
        smallest: the smallest p-value.
        below: share of the p-values below 0.05.
        where: observable and momentum of the smallest p-value.
    """

    num_tests: int
    smallest: float
    below: float
    where: str

    @property
    def agrees(self) -> bool:
        """Whether the smallest p-value is large enough; exact copies fail with `FALSE_ALARM`."""
        return self.smallest > 1 - (1 - FALSE_ALARM) ** (1 / self.num_tests)

    def to_json(self) -> dict[str, object]:
        """The values as a JSON table."""
        return {**asdict(self), "agrees": self.agrees, "false_alarm": FALSE_ALARM}

    def describe(self) -> str:
        """The values in words."""
        tests = f"{PER_ENERGY} showers per momentum: {self.num_tests} Kolmogorov-Smirnov tests, the"
        return f"""From independent noise, {tests}
smallest p-value {self.smallest:.2g} ({self.where}), {100 * self.below:.0f} % below 0.05.
The distributions {"agree" if self.agrees else "DIFFER"}; exact copies fail this test at most about once in 1000.
"""


def agreement(first: Showers, second: Showers, quantities: dict[str, Callable[[Showers], np.ndarray]]) -> Agreement:
    """Compares two samples of the same momenta, by observable and momentum.

    Args:
        first, second: the samples; showers in which an observable is NaN do not count for it.
        quantities: observables by name, functions that give `[n]` for showers. One whose values at a momentum differ
            by rounding alone, as the total behind a softmax, is not compared there.

    Raises:
        ExportError: no observable differs between showers, as where all are empty.
    """
    results: list[tuple[float, str]] = []  # p-values with their places
    for momentum in np.unique(first.incident_energies):
        samples = first.at(momentum), second.at(momentum)
        for name, quantity in quantities.items():
            values = [_defined(quantity(sample)) for sample in samples]
            if min(map(len, values)) and _spreads(np.concatenate(values)):
                results.append((float(ks_2samp(*values).pvalue), f"{name} at {momentum:g} MeV"))
    if not results:
        raise ExportError("a network must give showers that differ. Received: equal or empty ones; train it longer")
    smallest, where = min(results)
    return Agreement(len(results), smallest, float(np.mean([value < 0.05 for value, _ in results])), where)


def _draw(
    generator: VoxelGenerator, slot: Slot, interface: str, num_showers: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Momenta `[n]`, MeV, the interface's noise `[n, z]`, and the matching latent points."""
    lowest, highest = max(generator.momentum_range[0], slot.above), min(generator.momentum_range[1], slot.up_to)
    momenta = lowest * (highest / lowest) ** np.random.default_rng(seed).random(num_showers)
    noise, prior = draw_noise(generator.latent, interface, num_showers, seed + 1), generator.latent
    drawn = NOISE.get(interface, prior)
    return momenta, noise, prior.mean + prior.spread * (noise - drawn.mean) / drawn.spread


def _spreads(values: np.ndarray) -> bool:
    """Whether values differ by more than rounding in float32."""
    return bool(np.ptp(values) > 1e-5 * np.abs(values).max())


def _defined(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values)]
