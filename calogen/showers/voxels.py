"""Voxels of the CaloChallenge and of Athena: layers, alpha and r, and their XML files."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from calogen.errors import GeometryError
from calogen.files import write_text
from calogen.showers.geometry import Geometry, Layer

# Attributes that the readers of each dialect need; Athena's reader finds some on the Particle, the others on its Bin.
_REQUIRED = {
    "calochallenge": ("pid", "etaMin", "etaMax"),
    "athena": ("pid", "etaMin", "etaMax", "regionId", "latentDim", "ganVersion", "symmetriseAlpha"),
}
_ON_PARTICLE = ("pid", "latentDim", "symmetriseAlpha")
# Attributes of the whole file; with any other value a layer would not have num_alpha x num_r voxels.
_BINS = {"isPolar": "true", "optimisedAlphaBins": "false", "mergeAlphaBinsInFirstRBin": "false"}
_LARGEST_ID, _MAX_VOXELS = 9999, 10**7  # limits for a layer: a shower of more voxels would take 80 MB
_NUM_LAYERS = 24  # layers of ATLAS: readers find a layer by its place in the file, which must list all of them


@dataclass(frozen=True)
class VoxelLayer(Layer):
    """Voxels of one layer: `num_alpha` x `num_r`, r running fastest.

    Args:
        id: the layer's number in ATLAS (12, 13, 14 are the tile calorimeter's).
        r_edges: edges of the radial bins, mm.
        num_alpha: number of equal angular bins, starting at -pi.
    """

    id: int
    r_edges: tuple[float, ...]
    num_alpha: int

    def __post_init__(self) -> None:
        rising = np.all(np.isfinite(self.r_edges)) and np.all(np.diff(self.r_edges) > 0)
        if len(self.r_edges) < 2 or not rising or self.num_alpha < 1 or self.size > _MAX_VOXELS:
            raise GeometryError(
                f"layer {self.id} needs at least two finite, increasing r_edges, num_alpha >= 1 and at most "
                f"{_MAX_VOXELS} voxels. Received: r_edges={self.r_edges!s:.300}, num_alpha={self.num_alpha}"
            )

    @property
    def name(self) -> str:
        """Name of the layer in plots."""
        return f"layer {self.id}"

    @property
    def num_r(self) -> int:
        """Number of radial bins."""
        return len(self.r_edges) - 1

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of bins in alpha and r."""
        return self.num_alpha, self.num_r


@dataclass(frozen=True)
class VoxelGeometry(Geometry):
    """Voxels around a particle's extrapolated track: by layer, then alpha, then r (fastest).

    Args:
        attributes: further attributes of the XML's `Bin` and `Particle`, kept as they were read.
    """

    name: str
    layers: tuple[VoxelLayer, ...]
    attributes: tuple[tuple[str, str], ...] = field(default=(), compare=False)

    @property
    def turned_layers(self) -> tuple[int, ...]:
        """Ids of the layers with several bins in alpha."""
        return tuple(layer.id for layer in self.layers if layer.num_alpha > 1)

    @classmethod
    def read_xml(
        cls, path: str | Path, name: str | None = None, *, pid: int | None = None, eta: float | None = None
    ) -> "VoxelGeometry":
        """Reads a binning file of the CaloChallenge, or of Athena with its `Particle` elements.

        Layers with a single value in `r_edges` have no voxels. An attribute of a `Bin` replaces its `Particle`'s. With
        symmetriseAlpha the alpha bins divide 0 to pi; their number is the same, and the attribute is kept.

        Args:
            name: name of the geometry; None: the file's name without suffix.
            pid: number of the particle, where the file holds several.
            eta: pseudorapidity, where the file holds several slices; etaMin <= 100 |eta| < etaMax.

        Raises:
            GeometryError: the file is missing or no binning file, it holds none or several bins for `pid` and `eta`, or
                its voxels are not num_alpha x num_r.
        """
        path = Path(path)
        try:
            root = read_root(path)
            attributes, element = _choose(str(path), root, pid, eta)
        except (OSError, ElementTree.ParseError, ValueError, LookupError) as error:
            raise GeometryError(f"{path} is not a readable binning file: {error}") from error
        layers = _read_layers(str(path), element)
        _require_layers(str(path), layers, "calochallenge" if root.find("Particle") is None else "athena")
        return cls(name or path.stem, layers, tuple(attributes.items()))

    def write_xml(
        self, path: str | Path, dialect: str = "calochallenge", attributes: Mapping[str, str] | None = None
    ) -> None:
        """Writes a binning file, whole or not at all; `read_xml` is the inverse.

        The file does not tell the order of the voxels; in Athena's newer class alpha runs fastest.

        Args:
            dialect: `calochallenge` or `athena`.
            attributes: attributes that the geometry lacks, or new values, e.g. `{"latentDim": "50"}`.

        Raises:
            GeometryError: the dialect is unknown, or cannot hold the layers; attributes are missing or no XML text.
            CalogenError: the file cannot be written.
        """
        if dialect not in _REQUIRED:
            raise GeometryError(f"dialect must be one of {', '.join(_REQUIRED)}. Received: {dialect}")
        values = dict(self.attributes) | dict(attributes or {})
        missing = [key for key in _REQUIRED[dialect] if key not in values]
        if missing:
            raise GeometryError(
                f"a binning file of dialect {dialect} needs {', '.join(_REQUIRED[dialect])}: pass them as attributes. "
                f"Received: no {', '.join(missing)}"
            )
        _require_layers(self.name, self.layers, dialect)
        root = _element(self.layers, values, dialect)
        try:
            text = ElementTree.tostring(root, encoding="unicode")
            sound = _choose(self.name, ElementTree.fromstring(text), None, None)[0] == values
        except (ElementTree.ParseError, TypeError, ValueError, GeometryError):
            sound = False
        if not sound:
            raise GeometryError(f"attributes must be XML names with plain text, numbers as eta. Received: {values}")
        write_text(path, text + "\n")


def read_root(path: Path) -> ElementTree.Element:
    """Gives the root element of a file of XML; a DOCTYPE is a `ValueError`."""
    return ElementTree.fromstring(path.read_bytes(), ElementTree.XMLParser(target=_SafeBuilder()))


class _SafeBuilder(ElementTree.TreeBuilder):
    """Refuses a DOCTYPE: it may declare entities, which can fill the memory."""

    def doctype(self, *names: str | None) -> None:
        raise ValueError("it must be without DOCTYPE: remove it")


def _choose(
    where: str, root: ElementTree.Element, pid: int | None, eta: float | None
) -> tuple[dict[str, str], ElementTree.Element]:
    """Attributes and element of the only `Bin` for a particle and a slice (None: any)."""
    other = [f"{key}={root.get(key, ''):.20}" for key, value in _BINS.items() if root.get(key, value) != value]
    if other:
        raise GeometryError(f"{where} must have polar bins, as many in alpha for each r. Received: {', '.join(other)}")
    bins = [(element.attrib, element) for element in root.findall("Bin")]
    for particle in root.findall("Particle"):
        bins += [(particle.attrib | element.attrib, element) for element in particle.findall("Bin")]
    chosen = [(attributes, element) for attributes, element in bins if _is_for(attributes, pid, eta)]
    if len(chosen) != 1:
        every = [[f"{values.get(key)!s:.20}" for key in _REQUIRED["calochallenge"]] for values, _ in bins[:20]]
        held = ["pid {}, eta {} to {}".format(*texts) for texts in every]
        raise GeometryError(
            f"{where} must hold one <Bin> for pid {pid} and eta {eta}: choose one by its pid, and by an eta with "
            f"etaMin <= 100 |eta| < etaMax. Received: {'; '.join(held) or 'none'}"
        )
    return chosen[0]


def _is_for(attributes: Mapping[str, str], pid: int | None, eta: float | None) -> bool:
    low, high = (float(attributes.get(key, "nan")) for key in ("etaMin", "etaMax"))
    inside = eta is None or low <= round(100 * abs(eta), 6) < high
    return inside and (pid is None or attributes.get("pid", "").strip() == str(pid))


def _read_layers(where: str, element: ElementTree.Element) -> tuple[VoxelLayer, ...]:
    layers = []
    for layer in element.findall("Layer"):
        try:
            edges = tuple(float(edge) for edge in layer.attrib["r_edges"].split(","))
            if len(edges) > 1:
                layers.append(VoxelLayer(int(layer.attrib["id"]), edges, int(layer.attrib["n_bin_alpha"])))
        except (KeyError, ValueError, GeometryError) as error:
            raise GeometryError(
                f"{where}: a Layer must have id, increasing r_edges and n_bin_alpha. Received: {layer.attrib!s:.300}"
            ) from error
    return tuple(layers)


def _require_layers(where: str, layers: tuple[VoxelLayer, ...], dialect: str) -> None:
    """Refuse layers that the readers of a dialect would misunderstand."""
    ids = [layer.id for layer in layers]
    if not ids or ids != sorted(set(ids)) or ids[0] < 0 or ids[-1] > _LARGEST_ID:
        text = f"layers with voxels, each once, in order of their ids, 0 to {_LARGEST_ID}"
        raise GeometryError(f"{where} must hold {text}. Received: {ids!s:.300}")
    wrong = [layer.id for layer in layers if layer.num_r == 1 or layer.num_alpha == 32]
    if dialect == "athena" and wrong:
        raise GeometryError(
            f"{where} must have two or more radial bins in a layer, else Athena skips it, and not 32 in alpha, which "
            f"to Athena means a number that depends on r. Received: others in layers {wrong}"
        )


def _element(layers: tuple[VoxelLayer, ...], attributes: Mapping[str, str], dialect: str) -> ElementTree.Element:
    if dialect == "athena":
        root = ElementTree.Element("Bins", _BINS)
        parent = ElementTree.SubElement(root, "Particle", {key: attributes[key] for key in _ON_PARTICLE})
        # symmetriseAlpha stays on the Bin as well: Athena read it from the Particle until 2026, and now from the Bin.
        attributes = {key: value for key, value in attributes.items() if key not in ("pid", "latentDim")}
    else:
        root = parent = ElementTree.Element("Bins")
    element = ElementTree.SubElement(parent, "Bin", dict(attributes))
    edges = {layer.id: ",".join(str(float(edge)).removesuffix(".0") for edge in layer.r_edges) for layer in layers}
    num_alpha = {layer.id: str(layer.num_alpha) for layer in layers}
    for number in range(max(_NUM_LAYERS, layers[-1].id + 1)):
        values = {"id": str(number), "r_edges": edges.get(number, "0"), "n_bin_alpha": num_alpha.get(number, "1")}
        ElementTree.SubElement(element, "Layer", values)
    ElementTree.indent(root)
    return root


def _bundled(name: str, file: str) -> VoxelGeometry:
    return VoxelGeometry.read_xml(Path(__file__).parents[1] / "data" / file, name)


PHOTONS_DATASET1 = _bundled("photons_dataset1", "binning_photons_dataset1.xml")
PIONS_DATASET1 = _bundled("pions_dataset1", "binning_pions_dataset1.xml")
