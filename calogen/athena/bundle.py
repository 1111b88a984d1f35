"""The files of a set of generators for Athena, all checked before they are written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import TYPE_CHECKING, Any  # Any: the values of a manifest, which are JSON

import numpy as np

from calogen.athena import interface as athena
from calogen.athena.closure import TOLERANCE, closure, draw_noise, energies_of, onnx_deviation
from calogen.athena.folder import BINNING, Part, require_slice, write_part
from calogen.athena.interface import V1, Slot, VoxelGenerator
from calogen.athena.onnx import to_onnx
from calogen.errors import ExportError
from calogen.features.transforms import LayerFractions
from calogen.lwtnn.graph import Graph, format_graph, parse_graph
from calogen.showers.sample import Showers

if TYPE_CHECKING:
    import onnx

ONNX_TOLERANCE = 1e-4
"""Largest allowed deviation of a voxel of an ONNX model from Keras, both in float32, by the shower's energy."""


@dataclass(frozen=True)
class BundledNetwork:
    """A network in its slot, with its graph as read from its file."""

    slot: Slot
    generator: VoxelGenerator
    graph: Graph


@dataclass(frozen=True)
class Bundle:
    """Networks that together generate one particle's showers, and their files.

    Args:
        interface: one of `athena.V1`, `athena.V2`, `athena.SELECTOR`.
        networks: the networks, ordered by momentum.
        files: contents of the files, by their paths in the bundle's folder.
        manifest: content of the manifest, which is written last.
    """

    interface: str
    networks: tuple[BundledNetwork, ...]
    files: Mapping[str, bytes]
    manifest: Mapping[str, Any]

    @property
    def part(self) -> Part:
        """The particle and the slice of pseudorapidity."""
        return Part(self.manifest["pid"], self.manifest["eta"][0])

    def write(
        self, directory: Path, about: Mapping[str, Any], more: Mapping[str, bytes] = MappingProxyType({})
    ) -> tuple[str, ...]:
        """Writes all files, in place of those of an earlier export of this particle and slice.

        Args:
            directory: folder that may hold other particles and slices.
            about: further content of the manifest.
            more: contents of further files, by their paths in the folder.

        Returns:
            as `write_part`, which raises errors, too.
        """
        return write_part(directory, self.part, {**self.files, **more}, {**self.manifest, **about})

    def generate(self, momenta: np.ndarray, seed: int) -> Showers:
        """Generates showers with the graphs' interpreter, as a program with the interface does.

        Args:
            momenta: `[n]`, MeV, each in the slot of a network.
        """
        geometry = self.networks[0].generator.geometry
        energies = np.zeros((len(momenta), geometry.size), np.float32)
        for position, item in enumerate(self.networks):
            rows = np.flatnonzero((momenta > item.slot.above) & (momenta <= item.slot.up_to))
            noise = draw_noise(item.generator.latent, self.interface, len(rows), seed + position)
            energies[rows] = energies_of(item.graph, item.generator, item.slot, self.interface, momenta[rows], noise)
        return Showers(geometry, momenta, energies)


def build_bundle(generators: Sequence[VoxelGenerator], eta: int = 20) -> Bundle:
    """Converts a set of generators and compares each network with Keras.

    Args:
        generators: generators of one particle and geometry, which together span the momenta.
        eta: 100 times the lower edge of the slice in pseudorapidity.

    Raises:
        ExportError: a network cannot be expressed, its constants cannot be absorbed, it deviates from Keras, or there
            is no such slice.
        GeometryError: the interface's binning file cannot hold the voxels.
    """
    require_slice(eta)
    generators = sorted(generators, key=lambda generator: generator.momentum_range)
    interface = athena.choose_interface(generators)
    manifest = athena.manifest(generators, interface, eta)
    networks, contents = [], {}
    for (slot, generator), about in zip(athena.slots_of(generators, interface), manifest["networks"], strict=True):
        text = format_graph(athena.lwtnn_graph(generator, slot, interface))
        graph = parse_graph(text)
        deviation = closure(graph, generator, slot, interface)
        if not deviation.float64 <= TOLERANCE:
            raise ExportError(
                f"{about['file']} must agree with Keras in float64 to {TOLERANCE:g} of the shower's energy. "
                f"Received: {deviation.float64:.2e}"
            )
        networks.append(BundledNetwork(slot, generator, graph))
        contents[about["file"]] = text.encode()
        about["closure"] = deviation.to_json()
        if interface != V1 and _has_onnx():  # version 1 of the class reads no ONNX; version 2 prefers it to LWTNN
            about["onnx"] = "onnx/" + about["file"].removesuffix("json") + "onnx"
            model = _onnx(generator, slot, interface, manifest["latent"]["dim"])
            about["closure"]["onnx"] = _checked(model, generator, slot, interface)
            contents[about["onnx"]] = model.SerializeToString()
    contents[BINNING] = _binning(generators, interface, eta)
    return Bundle(interface, tuple(networks), contents, manifest)


def _binning(generators: Sequence[VoxelGenerator], interface: str, eta: int) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder, BINNING)
        attributes = athena.binning_attributes(generators, interface, eta)
        generators[0].geometry.write_xml(path, "calochallenge" if interface == V1 else "athena", attributes)
        return path.read_bytes()


def _has_onnx() -> bool:
    return all(find_spec(name) is not None for name in ("onnx", "onnxruntime"))


def _checked(model: "onnx.ModelProto", generator: VoxelGenerator, slot: Slot, interface: str) -> float:
    deviation = onnx_deviation(model, generator, slot, interface)
    if not deviation <= ONNX_TOLERANCE:
        raise ExportError(
            f"ONNX must agree with Keras to {ONNX_TOLERANCE:g} of the shower's energy. Received: {deviation:.2e}"
        )
    return deviation


def _onnx(generator: VoxelGenerator, slot: Slot, interface: str, latent_dim: int) -> "onnx.ModelProto":
    """The network with the product of its fractions, and inputs as wide as FastCaloSim's."""
    last = generator.transform.steps[-1]
    return to_onnx(
        athena.features_graph(generator, slot, interface),
        inputs={"node_0": ("Noise", latent_dim), "node_1": ("mycond", 2)},
        layer_sizes=last.layer_sizes if isinstance(last, LayerFractions) else None,
        order=athena.voxel_order(generator.geometry, interface),
        clip=True,
    )
