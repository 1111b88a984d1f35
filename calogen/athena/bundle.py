"""The files of a set of generators for Athena, all checked before they are written."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from calogen import files
from calogen.athena import interface as athena
from calogen.athena.closure import TOLERANCE, closure, draw_noise, energies_of, onnx_deviation
from calogen.athena.interface import V1, Generator, Slot
from calogen.athena.onnx import to_onnx
from calogen.errors import ExportError
from calogen.features.transforms import LayerFractions
from calogen.lwtnn.graph import Graph, format_graph, parse_graph
from calogen.showers.sample import Showers

if TYPE_CHECKING:
    import onnx

ONNX_TOLERANCE = 1e-4
"""Largest allowed deviation of a voxel of an ONNX model from Keras, of the shower's energy: both are float32."""


@dataclass(frozen=True)
class Network:
    """A network in its slot, as it comes back from its file."""

    slot: Slot
    generator: Generator
    graph: Graph


@dataclass(frozen=True)
class Bundle:
    """Networks that together generate one particle's showers.

    Args:
        interface: one of `athena.V1`, `athena.V2`, `athena.SELECTOR`.
        networks: ordered by momentum.
        files: what to write, by path in the bundle's folder.
        manifest: written last.
    """

    interface: str
    networks: tuple[Network, ...]
    files: Mapping[str, bytes]
    manifest: Mapping[str, Any]

    def write(self, directory: Path, about: Mapping[str, Any]) -> None:
        """Writes all files, each whole or not at all, the manifest last, with `about` in it.

        Networks of an earlier export that are not in this one are removed: Athena would load them.
        """
        for stale in (*files.listed(directory, "neural_net_*"), *files.listed(directory, "onnx/neural_net_*")):
            if stale.relative_to(directory).as_posix() not in self.files:
                stale.unlink()
        for name, content in self.files.items():
            with files.atomic_path(directory / name) as temporary:
                temporary.write_bytes(content)
        digests = {name: hashlib.sha256(content).hexdigest() for name, content in self.files.items()}
        files.write_json(directory / "manifest.json", {**self.manifest, **about, "sha256": digests})

    def generate(self, momenta: np.ndarray, seed: int) -> Showers:
        """Generates showers through the interpreter, as a program with the interface does.

        Args:
            momenta: `[n]`, MeV, each of a network's slot.
            seed: of the noise.
        """
        geometry = self.networks[0].generator.geometry
        energies = np.zeros((len(momenta), geometry.size), np.float32)
        for position, item in enumerate(self.networks):
            rows = np.flatnonzero((momenta > item.slot.above) & (momenta <= item.slot.up_to))
            noise = draw_noise(item.generator.latent, self.interface, len(rows), seed + position)
            energies[rows] = energies_of(item.graph, item.generator, item.slot, self.interface, momenta[rows], noise)
        return Showers(geometry, momenta, energies)


def build_bundle(generators: Sequence[Generator], eta: int = 20) -> Bundle:
    """Converts a set of generators and compares each network with Keras.

    Args:
        generators: of one particle and geometry; together they span the momenta.
        eta: 100 times the lower edge of the slice in pseudorapidity.

    Raises:
        ExportError: a network cannot be expressed, its constants cannot be absorbed, or it deviates from Keras.
        GeometryError: the voxels are none that the interface's binning file can hold.
    """
    generators = sorted(generators, key=lambda generator: generator.momentum_range)
    interface = athena.choose_interface(generators)
    manifest = athena.manifest(generators, interface, eta)
    networks, contents = [], {}
    for (slot, generator), about in zip(athena.slots_of(generators, interface), manifest["networks"], strict=True):
        text = format_graph(athena.lwtnn_graph(generator, slot, interface))
        graph = parse_graph(text)
        found = closure(graph, generator, slot, interface)
        if not found.float64 <= TOLERANCE:
            raise ExportError(
                f"{about['file']} must agree with Keras in float64 to {TOLERANCE:g} of the shower's energy. "
                f"Received: {found.float64:.2e}"
            )
        networks.append(Network(slot, generator, graph))
        contents[about["file"]] = text.encode()
        about["closure"] = found.to_json()
        if interface != V1 and _has_onnx():  # version 1 knows no ONNX
            # where both are, FastCaloSim takes it
            about["onnx"] = "onnx/" + about["file"].removesuffix("json") + "onnx"
            model = _onnx(generator, slot, interface, manifest["latent"]["dim"])
            about["closure"]["onnx"] = _checked(model, generator, slot, interface)
            contents[about["onnx"]] = model.SerializeToString()
    contents["binning.xml"] = _binning(generators, interface, eta)
    return Bundle(interface, tuple(networks), contents, manifest)


def _binning(generators: Sequence[Generator], interface: str, eta: int) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder, "binning.xml")
        attributes = athena.binning_attributes(generators, interface, eta)
        generators[0].geometry.write_xml(path, "calochallenge" if interface == V1 else "athena", attributes)
        return path.read_bytes()


def _has_onnx() -> bool:
    return all(find_spec(name) is not None for name in ("onnx", "onnxruntime"))


def _checked(model: "onnx.ModelProto", generator: Generator, slot: Slot, interface: str) -> float:
    deviation = onnx_deviation(model, generator, slot, interface)
    if not deviation <= ONNX_TOLERANCE:
        raise ExportError(
            f"ONNX must agree with Keras to {ONNX_TOLERANCE:g} of the shower's energy. Received: {deviation:.2e}"
        )
    return deviation


def _onnx(generator: Generator, slot: Slot, interface: str, latent_dim: int) -> "onnx.ModelProto":
    """The network with its product; inputs as wide as FastCaloSim's handler fills them."""
    last = generator.transform.steps[-1]
    return to_onnx(
        athena.features_graph(generator, slot, interface),
        inputs={"node_0": ("Noise", latent_dim), "node_1": ("mycond", 2)},
        layer_sizes=last.layer_sizes if isinstance(last, LayerFractions) else None,
        order=athena.voxel_order(generator.geometry, interface),
        clip=True,
    )
