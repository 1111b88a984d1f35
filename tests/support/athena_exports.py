"""Exports made by hand, for the tests of what runs them."""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from toy_commands import load_script

from calogen.lwtnn.graph import Graph, GraphInput, GraphOutput, Node, Variable, format_graph
from calogen.lwtnn.layers import Activation, Dense

ATHENA = Path(__file__).parents[2] / "export" / "athena"
V1, V2, SELECTOR = "TFCSEnergyAndHitGAN", "TFCSEnergyAndHitGANV2", "calogen-selector"
PION_MASS = 139.57039
NOISE: dict[str, dict[str, Any]] = {
    V1: {"distribution": "uniform", "mean": 0.0, "spread": 1.0},
    V2: {"distribution": "normal", "mean": 0.5, "spread": 0.5},
    SELECTOR: {"distribution": "uniform", "mean": 2.0, "spread": 0.25},
}
LOW = {"file": "low.json", "above": 0.0, "up_to": 4096.0}
HIGH = {"file": "high.json", "above": 4096.0, "up_to": 4194304.0}
LOG = {"kind": "log-kinetic", "lowest": 64.0, "highest": 4096.0}
LINEAR = {"kind": "momentum", "lowest": 0.0, "highest": 4194304.0}


def affine(weights: Sequence[Sequence[float]], bias: Sequence[float], prefix: str = "variable_") -> Graph:
    """out = W (noise, condition) + b of two random numbers, the shortest network of all."""
    matrix = np.array(weights, np.float64)
    sizes = (2, matrix.shape[1] - 2)
    inputs = [GraphInput(f"node_{i}", tuple(Variable(f"{prefix}{k}") for k in range(n))) for i, n in enumerate(sizes)]
    nodes = [Node("input", (i,), size=n) for i, n in enumerate(sizes)]
    nodes += [Node("concatenate", (0, 1)), Node("feed_forward", (2,), layer_index=0)]
    layer = Dense(matrix, np.array(bias, np.float64), Activation())
    labels = tuple(f"out_{i}" for i in range(len(matrix)))
    return Graph(tuple(inputs), tuple(nodes), (layer,), {"out": GraphOutput(3, labels)})


def constant(*outputs: float, prefix: str = "variable_") -> Graph:
    """The same outputs for everyone."""
    return affine(np.zeros((len(outputs), 3)).tolist(), outputs, prefix=prefix)


def deep(seed: int, prefix: str = "variable_") -> Graph:
    """A hidden layer, and twelve voxels that are fractions."""
    rng, first = np.random.default_rng(seed), constant(0, prefix=prefix)
    layers = (
        Dense(rng.normal(size=(16, 3)), rng.normal(size=16), Activation("swish", 1.0)),
        Dense(rng.normal(size=(12, 16)) / 4, rng.normal(size=12) / 4, Activation("softmax")),
    )
    nodes = (*first.nodes, Node("feed_forward", (3,), layer_index=1))
    return Graph(first.inputs, nodes, layers, {"out": GraphOutput(4, tuple(f"out_{i}" for i in range(12)))})


def write(path: Path, interface: str, networks: Sequence[tuple[dict[str, Any], Graph]], **changes: Any) -> Path:
    """A folder with networks and manifest."""
    path.mkdir(exist_ok=True)
    for slot, graph in networks:
        (path / slot["file"]).write_text(format_graph(graph))
    size = len(next(iter(networks[0][1].outputs.values())).labels)
    manifest = {
        "interface": interface,
        "pid": 22,
        "mass": 0.0,
        "latent": {**NOISE[interface], "dim": 2},
        "variable_prefix": "" if interface == V1 else "variable_",
        "num_voxels": size,
        "networks": [slot for slot, _ in networks],
    }
    (path / "manifest.json").write_text(json.dumps(manifest | changes))
    return path


def make_export(path: Path, interface: str) -> Path:
    """An export as it usually is: one network in version 1, else two."""
    if interface == V1:
        slot = {"file": "all.json", "above": 0.0, "up_to": 4194304.0, "condition": LINEAR}
        return write(path, V1, [(slot, deep(1, ""))])
    high = LOG | {"lowest": 4096.0, "highest": 4194304.0}
    slots = (LOW | {"condition": LOG}, HIGH | {"condition": high if interface == V2 else LINEAR})
    return write(path, interface, [(slot, deep(seed)) for seed, slot in enumerate(slots)], mass=PION_MASS)


def call(*command: str | Path, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """A command that has run, whatever came of it."""
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, timeout=600, env=os.environ)


def load_compare() -> ModuleType:
    """compare.py as a module."""
    return load_script(ATHENA / "compare.py")


def build_programs(build: Path) -> Path:
    """The folder with the programs of export/athena, built with warnings as errors, if all that they need is there."""
    cmake = shutil.which("cmake")
    if cmake is None:
        pytest.skip("cmake is not installed")
    configured = call(cmake, "-S", ATHENA, "-B", build, "-DCMAKE_CXX_FLAGS=-Werror")
    if "lwtnnConfig.cmake" in configured.stderr:
        pytest.skip("cmake finds no lwtnn (CMAKE_PREFIX_PATH may say where it is)")
    if "No CMAKE_CXX_COMPILER" in configured.stderr:
        pytest.skip("cmake finds no C++ compiler")
    assert configured.returncode == 0, configured.stderr
    built = call(cmake, "--build", build)
    assert built.returncode == 0, built.stdout + built.stderr
    return build
