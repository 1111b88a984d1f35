"""What Athena's classes for GAN showers in voxels expect of a network and its files.

Names, noise, condition and order of the voxels differ between three interfaces:

- `TFCSEnergyAndHitGANV2` (FastCaloGAN version 2): normal noise 0.5 +- 0.5, and the logarithm of the kinetic energy
  between momenta that are written into the class;
- `TFCSEnergyAndHitGAN` (version 1): uniform noise, and momentum / 2^22;
- `calogen-selector`, for networks that neither class can load: the program in export/athena/ takes momenta, noise and
  condition from the manifest.

Where a network was trained with other constants, the difference goes into offset and scale of its inputs, exactly. A
network whose noise or condition is no affine function of Athena's is refused.

Source: `TFCSGANEtaSlice`, `TFCSEnergyAndHitGANV2` and `TFCSGANLWTNNHandler` of FastCaloSim (Athena's classes).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any  # the values of a manifest, which are JSON

import numpy as np

from calogen.backend import keras
from calogen.errors import ExportError
from calogen.features.conditions import Constant, LinearEnergy, LogEnergy
from calogen.features.transforms import Chain, KineticFractions, LayerFractions, Mask
from calogen.generation.folding import split_heads
from calogen.lwtnn.convert import convert
from calogen.lwtnn.graph import Graph, GraphInput, GraphOutput, Node, Variable
from calogen.lwtnn.heads import denormalise
from calogen.lwtnn.layers import Activation, Dense
from calogen.showers.voxels import VoxelGeometry
from calogen.training.latent import Latent
from calogen.units import MASSES, kinetic_energy

V1, V2, SELECTOR = "TFCSEnergyAndHitGAN", "TFCSEnergyAndHitGANV2", "calogen-selector"
PIDS = {"photon": 22, "electron": 11, "pion": 211, "proton": 2212}
NAMES = {"latent": "node_0", "condition": "node_1"}
"""Names of the graph's inputs, by the names of the Keras model's inputs."""
NOISE = {
    V1: Latent(dim=1, distribution="uniform", mean=0.0, spread=1.0),
    V2: Latent(dim=1, distribution="normal", mean=0.5, spread=0.5),
}
"""Noise that the classes draw for each dimension; the selector draws the noise of the network's training."""
_HIGHEST = 2.0**22  # momentum, MeV
_LATENT_V1 = 50  # dimensions of the noise that version 1 of the class draws
_XML_PIDS = {2212: 211}  # for protons the class reads the voxels of pions


@dataclass(frozen=True, kw_only=True)
class VoxelGenerator:
    """A trained network that generates voxels.

    Args:
        model: network with the inputs `latent` and `condition`, whose output is the transform's features.
        transform: transform between features and energies, with the encodings of the condition.
        latent: prior of the latent space.
        particle: one of `PIDS`.
        momentum_range: lowest and highest momentum for which the network was trained, MeV.
        trained_range: lowest and highest momentum of its training showers, MeV; None: not known.
    """

    model: keras.Model
    transform: Chain
    latent: Latent
    geometry: VoxelGeometry
    particle: str
    momentum_range: tuple[float, float]
    trained_range: tuple[float, float] | None = None


@dataclass(frozen=True)
class Slot:
    """A place for a network in an interface: its range of momenta and its condition.

    Args:
        range: name of the range in the file's name; empty in version 1.
        above, up_to: the network generates showers of momenta P with above < P <= up_to, MeV.
        kind: the condition: `log-kinetic`, which is log(E / E_lowest) / log(E_highest / E_lowest) of kinetic energies,
            or `momentum`, which is P / highest.
        lowest, highest: momenta in the condition, MeV.
    """

    range: str
    above: float
    up_to: float
    kind: str
    lowest: float
    highest: float


_ALL = Slot("All", 0.0, _HIGHEST, "log-kinetic", 2.0**8, _HIGHEST)
_SPLIT = (
    Slot("UltraLow12", 0.0, 2.0**12, "log-kinetic", 2.0**6, 2.0**12),
    Slot("High12", 2.0**12, _HIGHEST, "log-kinetic", 2.0**12, _HIGHEST),
)
SLOTS = {22: _SPLIT, 11: _SPLIT, 211: (_ALL,), 2212: (replace(_ALL, range="High10", lowest=2.0**10),)}
"""Slots of version 2, by the particle's number in `PIDS`."""


def choose_interface(generators: Sequence[VoxelGenerator]) -> str:
    """Gives the interface that can load a set of generators, ordered by momentum."""
    kinds = {type(_encoding(generator)) for generator in generators}
    noise = {generator.latent.distribution for generator in generators}
    if noise == {"uniform"} and kinds == {LinearEnergy} and len(generators) == 1:
        return V1 if generators[0].latent.dim <= _LATENT_V1 else SELECTOR
    if noise != {"normal"} or kinds != {LogEnergy} or len(generators) > len(SLOTS[PIDS[generators[0].particle]]):
        return SELECTOR
    pairs = slots_of(generators, V2)
    filled = [
        generator.momentum_range[0] < slot.up_to and generator.momentum_range[1] > slot.above
        for slot, generator in pairs
    ]
    gaps = [slot.up_to > generator.momentum_range[1] for slot, generator in pairs[:-1]]
    gaps += [slot.above < generator.momentum_range[0] for slot, generator in pairs[1:]]
    return V2 if all(filled) and not any(gaps) else SELECTOR


def slots_of(generators: Sequence[VoxelGenerator], interface: str) -> list[tuple[Slot, VoxelGenerator]]:
    """Gives the slots of an interface, each with the generator that fills it.

    A single generator, trained on all momenta, fills both of the photon's slots.
    """
    if interface == V1:
        return [(Slot("", 0.0, _HIGHEST, "momentum", 0.0, _HIGHEST), generators[0])]
    if interface == V2:
        slots = SLOTS[PIDS[generators[0].particle]]
        chosen = generators if len(generators) == len(slots) else [generators[0]] * len(slots)
        return list(zip(slots, chosen, strict=True))
    slots_of_selector, above = [], 0.0
    for generator in generators:
        encoding, (lowest, highest) = _encoding(generator), generator.momentum_range
        condition = ("log-kinetic", encoding.lowest) if isinstance(encoding, LogEnergy) else ("momentum", 0.0)
        name = f"{lowest:.10g}_{highest:.10g}"
        slots_of_selector.append((Slot(name, above, highest, *condition, encoding.highest), generator))
        above = highest
    return slots_of_selector


def file_stem(particle: str, slot: Slot, eta: int) -> str:
    """Gives a network's file name without suffix; `eta` is 100 times the slice's lower edge."""
    return "_".join(
        ["neural_net", str(PIDS[particle]), "eta", str(eta), str(eta + 5), *([slot.range] * bool(slot.range))]
    )


def voxel_order(geometry: VoxelGeometry, interface: str) -> np.ndarray:
    """Gives for each output of an interface the index of its voxel in the geometry, `[v]`.

    Alpha runs fastest in the outputs; in version 1, and in the geometry, it is r.

    Raises:
        ExportError: the layers are not in the order of their ids.
    """
    if list(geometry.layer_ids) != sorted(geometry.layer_ids):
        raise ExportError(f"Athena takes layers in the order of their ids. Received: {geometry.layer_ids}")
    if interface == V1:
        return np.arange(geometry.size)
    parts = zip(geometry.layers, geometry.slices, strict=True)
    return np.concatenate(
        [np.arange(part.start, part.stop).reshape(layer.num_alpha, layer.num_r).T.ravel() for layer, part in parts]
    )


def lwtnn_graph(generator: VoxelGenerator, slot: Slot, interface: str) -> Graph:
    """Gives the network as the interface wants it: voxel energies / kinetic energy.

    Raises:
        ExportError: the constants or the transform of the network cannot be absorbed by the graph.
    """
    fractions = _fractions(generator)
    graph = convert(split_heads(generator.model)[0], NAMES)
    match fractions:
        case LayerFractions(layer_sizes=sizes):
            graph = denormalise(graph, sizes)
        case _:
            graph = rectified(graph)
    return fitted(relabelled(graph, generator.geometry, interface), generator, slot, interface)


def features_graph(generator: VoxelGenerator, slot: Slot, interface: str) -> Graph:
    """Gives the network with the interface's inputs and the transform's features."""
    _fractions(generator)
    return fitted(convert(generator.model, NAMES), generator, slot, interface)


def rectified(graph: Graph) -> Graph:
    """Gives the graph with zeros in place of negative outputs, which Athena would not keep."""
    output = graph.output()
    node = graph.nodes[output.node_index]
    layer = graph.layer(node) if node.type == "feed_forward" else None
    if isinstance(layer, Dense) and layer.activation.function in ("rectified", "sigmoid", "softmax", "hard_sigmoid"):
        return graph
    node = Node("feed_forward", (output.node_index,), layer_index=len(graph.layers))
    layers = (*graph.layers, Dense(np.empty(0), np.empty(0), Activation("rectified")))
    outputs = {name: GraphOutput(len(graph.nodes), output.labels) for name in graph.outputs}
    return replace(graph, nodes=(*graph.nodes, node), layers=layers, outputs=outputs)


def relabelled(graph: Graph, geometry: VoxelGeometry, interface: str) -> Graph:
    """Gives a graph with labels `out_i` of the geometry's voxels in the interface's order."""
    (name, output), order = next(iter(graph.outputs.items())), voxel_order(geometry, interface)
    place = {f"out_{voxel}": f"out_{position}" for position, voxel in enumerate(order)}
    labels = tuple(place[label] for label in output.labels)
    return replace(graph, outputs={name: GraphOutput(output.node_index, labels)})


def fitted(graph: Graph, generator: VoxelGenerator, slot: Slot, interface: str) -> Graph:
    """Gives a graph with inputs that take the interface's noise and condition.

    Raises:
        ExportError: noise or condition of the training are no affine functions of the interface's.
    """
    prefix = _prefix(interface)
    noise = noise_variable(generator.latent, NOISE.get(interface, generator.latent), interface)
    latent = GraphInput("node_0", tuple(replace(noise, name=f"{prefix}{i}") for i in range(generator.latent.dim)))
    others = generator.transform.encodings[1:]
    variables = [_condition_variable(_encoding(generator), slot, interface)]
    variables += [Variable("", offset=float(item.value)) for item in others if isinstance(item, Constant)]
    most = 1 if interface == V1 else 2
    if len(variables) > most:
        raise ExportError(
            f"{interface} gives {most} numbers as condition. Received: a network that needs {len(variables)}"
        )
    condition = GraphInput("node_1", tuple(replace(item, name=f"{prefix}{i}") for i, item in enumerate(variables)))
    return replace(graph, inputs=(latent, condition))


def manifest(generators: Sequence[VoxelGenerator], interface: str, eta: int) -> dict[str, Any]:
    """Gives the table that describes a set of networks; export/README.md explains it."""
    first, dim = generators[0], max(generator.latent.dim for generator in generators)
    latent = NOISE.get(interface, first.latent)
    return {
        "interface": interface,
        "pid": PIDS[first.particle],
        "mass": MASSES[first.particle],
        "eta": [eta, eta + 5],
        "latent": {"distribution": latent.distribution, "mean": latent.mean, "spread": latent.spread, "dim": dim},
        "variable_prefix": _prefix(interface),
        "num_voxels": first.geometry.size,
        "networks": [
            {
                "file": file_stem(first.particle, slot, eta) + ".json",
                "above": slot.above,
                "up_to": slot.up_to,
                "condition": {"kind": slot.kind, "lowest": slot.lowest, "highest": slot.highest},
                "made_for": list(generator.momentum_range),
                "trained": generator.trained_range,
                "latent_dim": generator.latent.dim,
            }
            for slot, generator in slots_of(generators, interface)
        ],
    }


def binning_attributes(generators: Sequence[VoxelGenerator], interface: str, eta: int) -> dict[str, str]:
    """Gives the attributes of the set's binning file, for `VoxelGeometry.write_xml`."""
    first = generators[0]
    pid = PIDS[first.particle]
    attributes = {
        "pid": str(pid if interface == V1 else _XML_PIDS.get(pid, pid)),
        "etaMin": str(eta),
        "etaMax": str(eta + 5),
    }
    if interface == V1:
        return attributes | {"name": first.particle}
    dim = str(max(generator.latent.dim for generator in generators))
    return attributes | {"latentDim": dim, "symmetriseAlpha": "false", "regionId": "1", "ganVersion": "2"}


def condition_of(momenta: np.ndarray, slot: Slot, mass: float) -> np.ndarray:
    """Gives the condition of a slot's network, `[n]`, for momenta `[n]`, MeV."""
    if slot.kind == "momentum":
        return momenta / slot.highest
    energies = [kinetic_energy(np.asarray(value, np.float64), mass) for value in (momenta, slot.lowest, slot.highest)]
    return np.log(energies[0] / energies[1]) / np.log(energies[2] / energies[1])


def _prefix(interface: str) -> str:
    return "" if interface == V1 else "variable_"


def _encoding(generator: VoxelGenerator) -> LogEnergy | LinearEnergy:
    encoding, *others = generator.transform.encodings
    if not isinstance(encoding, LogEnergy | LinearEnergy) or not all(isinstance(item, Constant) for item in others):
        names = [type(item).__name__ for item in generator.transform.encodings]
        raise ExportError(f"the condition must be the energy, or the energy and a constant. Received: {names}")
    if isinstance(encoding, LogEnergy) and encoding.mass != MASSES[generator.particle]:
        raise ExportError(f"the condition must have the mass of a {generator.particle}. Received: {encoding.mass} MeV")
    return encoding


def _fractions(generator: VoxelGenerator) -> LayerFractions | KineticFractions:
    """The single step of the transform, masks left out, whose inverse the graph computes."""
    steps, mass = [step for step in generator.transform.steps if not isinstance(step, Mask)], MASSES[generator.particle]
    match steps:
        case [KineticFractions() as step] if step.mass == mass:
            return step
        case [LayerFractions(renormalise=False, response_scale=1.0) as step] if step.mass == mass:
            return step
    raise ExportError(
        f"Athena multiplies by the {generator.particle}'s kinetic energy and nothing else: the transform must be "
        "KineticFractions or LayerFractions of it, without renormalisation, noise or scale. "
        f"Received: {', '.join(map(str, steps))} (undo it outside the network)"
    )


def noise_variable(wanted: Latent, drawn: Latent, interface: str) -> Variable:
    """Gives an input whose offset and scale turn Athena's noise into the network's."""
    if wanted.distribution != drawn.distribution:
        raise ExportError(
            f"{interface} draws {drawn.distribution} noise. Received: a network for {wanted.distribution} noise"
        )
    scale = wanted.spread / drawn.spread
    return Variable("", offset=wanted.mean / scale - drawn.mean, scale=scale)


def _condition_variable(encoding: LogEnergy | LinearEnergy, slot: Slot, interface: str) -> Variable:
    """An input whose offset and scale turn Athena's condition into the network's."""
    if isinstance(encoding, LinearEnergy) != (slot.kind == "momentum"):
        raise ExportError(
            f"{interface} gives {slot.kind}, and {type(encoding).__name__} is no affine function of it "
            "(export it for the selector)"
        )
    if isinstance(encoding, LinearEnergy):
        return Variable("", scale=slot.highest / encoding.highest)
    values = np.array([slot.lowest, slot.highest, encoding.lowest, encoding.highest])
    lowest, highest, own_lowest, own_highest = np.log(kinetic_energy(values, encoding.mass)).tolist()
    scale = (highest - lowest) / (own_highest - own_lowest)
    return Variable("", offset=(lowest - own_lowest) / (highest - lowest), scale=scale)
