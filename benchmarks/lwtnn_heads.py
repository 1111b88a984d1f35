"""CaloShowerGAN's heads in an LWTNN graph, several ways: accuracy, size, speed.

    python benchmarks/lwtnn_heads.py                                          without lwtnn: its work is counted
    python benchmarks/lwtnn_heads.py --program build/calogen_athena           and measured (export/athena/)

The networks are those of the paper's Table 2, photons and pions, with random weights. Ways:

  features      one softmax for each head, no product: the least that is possible, but not what Athena can use
  swish         one softmax for each head, products as differences of swishes
  highway       one softmax for each head, a highway layer computes the product
  joined        softmaxes over few numbers are joined into one, a highway layer computes the product: the exported graph

Deviations are those from float64 over 1000 showers, in units of the shower's energy.
"""

import argparse
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from calogen.athena import interface as athena
from calogen.athena.closure import closure
from calogen.athena.interface import V2, Slot, VoxelGenerator
from calogen.backend import keras
from calogen.errors import ExportError
from calogen.files import write_json
from calogen.generation.folding import split_heads
from calogen.lwtnn.convert import convert
from calogen.lwtnn.graph import Graph, GraphOutput, Node, format_graph, parse_graph
from calogen.lwtnn.heads import denormalise
from calogen.lwtnn.layers import Activation, Affine, Dense, Highway, NetworkLayer
from calogen.models.caloshowergan import CONFIGS, build_generator, build_latent, build_transform

ALPHA = 1e-3
"""Slope of the swishes: `(sw(x + y) - sw(x - y) - y) / ALPHA` is x y up to a share (3 x^2 + y^2) ALPHA^2."""


def trained(name: str) -> VoxelGenerator:
    """A generator with random weights whose showers have energy."""
    config, geometry = CONFIGS[name]
    model, rng = build_generator(config, geometry), np.random.default_rng(1)
    for variable in model.weights:
        if "moving_mean" in variable.path or "beta" in variable.path:
            variable.assign(rng.normal(0.0, 0.3, variable.shape))
    last = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)][-1]
    last.bias.assign(np.append(rng.normal(0.0, 2.0, last.units - 1), 1.0))
    return VoxelGenerator(
        model=model,
        transform=build_transform(config, geometry),
        latent=build_latent(config),
        geometry=geometry,
        particle=config.particle,
        momentum_range=config.momentum_range,
    )


def with_swishes(graph: Graph, layer_sizes: tuple[int, ...]) -> Graph:
    """Graph of the features with products by swishes: layer x total, then voxel x layer."""
    num_voxels, num_layers = sum(layer_sizes), len(layer_sizes)
    nodes, layers = list(graph.nodes), list(graph.layers)
    *voxels, fractions, total = nodes[graph.output().node_index].sources

    def add(kind: str, sources: list[int], layer: Dense | None = None) -> int:
        if layer is not None:
            layers.append(layer)
        nodes.append(Node(kind, tuple(sources), layer_index=None if layer is None else len(layers) - 1))
        return len(nodes) - 1

    def multiplied(sources: list[int], left: np.ndarray, right: np.ndarray) -> int:
        """Elementwise product of two combinations of sources; y = sw(y) - sw(-y) exactly."""
        joined, one = add("concatenate", sources), np.eye(len(left))
        parts, activation = np.vstack([left + right, left - right, right, -right]), Activation("swish", ALPHA)
        swishes = add("feed_forward", [joined], Dense(parts, np.empty(0), activation))
        return add("feed_forward", [swishes], Dense(np.hstack([one, -one, -one, one]) / ALPHA, np.empty(0)))

    given = np.eye(num_layers + 1)
    energies = multiplied([fractions, total], given[:-1], np.repeat(given[-1:], num_layers, axis=0))
    given = np.eye(num_voxels + num_layers)
    layer_of = num_voxels + np.repeat(np.arange(num_layers), layer_sizes)
    final = multiplied([*voxels, energies], given[:num_voxels], given[layer_of])
    labels = tuple(f"out_{i}" for i in range(num_voxels))
    return Graph(graph.inputs, tuple(nodes), tuple(layers), {"out": GraphOutput(final, labels)})


def ways(generator: VoxelGenerator, slot: Slot) -> dict[str, Graph]:
    """The graphs of all ways, as they are read from their files."""
    sizes = tuple(layer.size for layer in generator.geometry.layers)
    features = athena.features_graph(generator, slot, V2)
    logits = convert(split_heads(generator.model)[0], athena.NAMES)

    def exported(graph: Graph) -> Graph:
        return athena.fitted(athena.relabelled(graph, generator.geometry, V2), generator, slot, V2)

    build: dict[str, Callable[[], Graph]] = {
        "features": lambda: features,
        "swish": lambda: exported(with_swishes(features, sizes)),
        "highway": lambda: exported(denormalise(logits, sizes, join=False)),
        "joined": lambda: exported(denormalise(logits, sizes)),
    }
    return {name: parse_graph(format_graph(function())) for name, function in build.items()}


def num_weights(layer: NetworkLayer) -> int:
    """Number of weights in the matrices of a layer."""
    if isinstance(layer, Highway):
        return layer.transform.weights.size + layer.carry.weights.size
    return layer.weights.size if isinstance(layer, Affine) else 0


def work(graph: Graph) -> int:
    """Multiplications that lwtnn does for a shower, as it keeps no results of nodes."""
    total = 0
    for index, times in graph.evaluations.items():
        node = graph.nodes[index]
        if node.type == "feed_forward":
            total += times * num_weights(graph.layer(node))
    return total


def microseconds(graph: Graph, generator: VoxelGenerator, slot: Slot, program: Path, showers: int) -> float:
    """Median time of a shower in the C++ program."""
    with TemporaryDirectory() as folder:
        about = athena.manifest([generator], V2, 20)
        about["networks"] = [{**about["networks"][0], "file": "network.json", "above": 0.0, "up_to": slot.up_to}]
        about["num_voxels"] = len(graph.output().labels)
        Path(folder, "network.json").write_text(format_graph(graph))
        write_json(Path(folder, "manifest.json"), about)
        arguments = ["--momentum", "16384", "--showers", str(showers), "--time", "--output", f"{folder}/showers.csv"]
        done = subprocess.run([program, folder, *arguments], capture_output=True, text=True, check=True)
    found = re.search(r": ([\d.e+]+) microseconds", done.stderr)
    if found is None:
        raise ExportError(f"{program} must say its time. Received: {done.stderr}")
    return float(found[1])


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table for each particle."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, help="calogen_athena, built as export/athena/ says: measures lwtnn")
    parser.add_argument("--showers", type=int, default=2000, help="for each time (default: 2000)")
    given = parser.parse_args(arguments)
    for name in ("photon", "pion"):
        generator = trained(name)
        slot = athena.SLOTS[athena.PIDS[generator.particle]][-1]
        print(f"{name}: trunk runs, multiplications, JSON, deviation{', time in lwtnn' if given.program else ''}")
        for way, graph in ways(generator, slot).items():
            runs = max(times for index, times in graph.evaluations.items() if graph.nodes[index].type != "input")
            size = len(format_graph(graph)) / 1e6
            line = f"  {way:10}{runs:4}{work(graph) / 1e6:8.2f} M{size:8.2f} MB"
            line += f"{closure(graph, generator, slot, V2).float64:10.1e}" if way != "features" else "         -"
            if given.program:
                line += f"{microseconds(graph, generator, slot, given.program, given.showers):9.0f} us"
            print(line, flush=True)


if __name__ == "__main__":
    main()
