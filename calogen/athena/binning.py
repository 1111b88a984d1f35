"""Binning files of several slices and particles, one of which is added or replaced.

Athena's classes read one `binning.xml` in a folder. They take what they find for a particle's number and the middle of
a slice, so that no two bins of a particle may overlap.
"""

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from calogen.errors import DataFormatError, ExportError
from calogen.files import read_error
from calogen.showers.voxels import read_root

_Found = tuple[ElementTree.Element, ElementTree.Element]  # a Bin after its parent


def with_slice(path: Path, new: bytes, *, shared: bool = False) -> bytes:
    """Gives the content of a binning file after a slice was added to it or replaced in it.

    Bins are in the order of particles and slices, whatever the order in which they were added.

    Args:
        path: the file, which need not exist.
        new: a binning file of one slice, as `VoxelGeometry.write_xml` writes it.
        shared: whether another particle's networks need the slice as it is.

    Raises:
        ExportError: the file's bins overlap the slice, are of another class, or may not change.
        DataFormatError: the file cannot be read.
    """
    if not path.exists():
        return new
    root, added = _read(path), ElementTree.fromstring(new)
    ((parent, element),) = _bins(added)
    where = _place(parent, element)
    for holder, there in list(_bins(root)):
        place = _place(holder, there)
        if place == where:
            if shared and _content(holder, there) != _content(parent, element):
                raise ExportError(
                    f"{path}: pions and protons of a slice share its voxels and the size of their noise. Received: "
                    "others; export to another folder"
                )
            holder.remove(there)
        elif place[0] == where[0] and place[1] < where[2] and where[1] < place[2]:
            raise ExportError(
                f"{path} must hold slices that do not overlap. Received: pid {place[0]}, eta {place[1]:g} to "
                f"{place[2]:g}, which is there, and {where[1]:g} to {where[2]:g}: export to another folder"
            )
    if not list(_bins(root)):
        return new
    if (root.attrib, root.find("Particle") is None) != (added.attrib, added.find("Particle") is None):
        raise ExportError(f"{path} is of another class or has other rules for voxels: export to another folder")
    return _joined(root, added)


def _joined(root: ElementTree.Element, added: ElementTree.Element) -> bytes:
    """Both files' bins: those of one particle with equal attributes stand together."""
    joined = ElementTree.Element(root.tag, root.attrib)
    found = sorted([*_bins(root), *_bins(added)], key=lambda pair: _place(*pair))
    parents: dict[tuple[tuple[str, str], ...], ElementTree.Element] = {}
    for parent, element in found:
        if parent.tag != "Particle":
            joined.append(element)
            continue
        key = tuple(sorted(parent.attrib.items()))
        if key not in parents:
            parents[key] = ElementTree.SubElement(joined, parent.tag, parent.attrib)
        parents[key].append(element)
    ElementTree.indent(joined)
    return ElementTree.tostring(joined) + b"\n"


def _read(path: Path) -> ElementTree.Element:
    """The root of a file, whose bins all have numbers for particle and slice."""
    try:
        root = read_root(path)
        for pair in _bins(root):
            _place(*pair)
    except OSError as error:
        raise read_error(path, error) from error
    except (ElementTree.ParseError, ValueError, KeyError) as error:
        raise DataFormatError(f"{path} is not a readable binning file: {error}; move it away") from error
    return root


def _bins(root: ElementTree.Element) -> Iterator[_Found]:
    for parent in (root, *root.findall("Particle")):
        yield from ((parent, element) for element in parent.findall("Bin"))


def _place(parent: ElementTree.Element, element: ElementTree.Element) -> tuple[int, float, float]:
    """Number of the particle, and edges of the slice."""
    values = parent.attrib | element.attrib
    return int(values["pid"]), float(values["etaMin"]), float(values["etaMax"])


def _content(parent: ElementTree.Element, element: ElementTree.Element) -> tuple[object, ...]:
    return parent.attrib, element.attrib, [layer.attrib for layer in element.findall("Layer")]
