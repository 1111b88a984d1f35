from pathlib import Path
from xml.etree import ElementTree

import pytest
from conftest import TINY_VOXELS

from calogen.athena.binning import with_slice
from calogen.errors import DataFormatError, ExportError
from calogen.showers.voxels import VoxelGeometry, VoxelLayer

OTHER = VoxelGeometry("other", (VoxelLayer(0, (0.0, 1.0, 2.0), 3), VoxelLayer(4, (0.0, 5.0, 9.0), 2)))


def _slice(folder: Path, pid: int, eta: int, geometry: VoxelGeometry = TINY_VOXELS, **changes: str) -> bytes:
    path, dialect = folder / "one.xml", changes.pop("dialect", "athena")
    attributes = {"pid": str(pid), "etaMin": str(eta), "etaMax": str(eta + 5)}
    if dialect == "athena":
        attributes |= {"latentDim": "5", "symmetriseAlpha": "false", "regionId": "1", "ganVersion": "2"}
    geometry.write_xml(path, dialect, attributes | changes)
    content = path.read_bytes()
    path.unlink()
    return content


def _seen(path: Path, pid: int, eta_min: int) -> list[dict[str, str]]:
    """What `TFCSGANXMLParameters::InitialiseFromXML` finds: all bins around the slice's middle."""
    middle = (2 * eta_min + 5) // 2
    return [
        particle.attrib | element.attrib
        for particle in ElementTree.parse(path).getroot().findall("Particle")
        if int(particle.attrib["pid"]) == pid
        for element in particle.findall("Bin")
        if int(element.attrib["etaMin"]) < abs(middle) < int(element.attrib["etaMax"])
    ]


def test_slices_and_particles_stand_side_by_side(tmp_path: Path) -> None:
    path = tmp_path / "binning.xml"
    added = [(22, 25, TINY_VOXELS, "5"), (211, 20, OTHER, "7"), (22, 20, OTHER, "5"), (22, 0, TINY_VOXELS, "9")]
    for pid, eta, geometry, dim in added:
        path.write_bytes(with_slice(path, _slice(tmp_path, pid, eta, geometry, latentDim=dim)))
    for pid, eta, geometry, dim in added:
        assert VoxelGeometry.read_xml(path, pid=pid, eta=eta / 100 + 0.02).layers == geometry.layers
        (found,) = _seen(path, pid, eta)
        assert (found["latentDim"], found["etaMin"]) == (dim, str(eta))
    assert path.read_text().count("<Particle") == 3  # photons with 5 and with 9 numbers of noise, pions


def test_the_order_of_the_exports_does_not_matter(tmp_path: Path) -> None:
    path, contents = tmp_path / "binning.xml", []
    slices = [(22, 20), (22, 25), (211, 20)]
    for order in (slices, slices[::-1]):
        path.unlink(missing_ok=True)
        for pid, eta in order:
            path.write_bytes(with_slice(path, _slice(tmp_path, pid, eta)))
        contents.append(path.read_bytes())
    assert contents[0] == contents[1]


def test_the_same_slice_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "binning.xml"
    path.write_bytes(with_slice(path, _slice(tmp_path, 22, 20)))
    alone = _slice(tmp_path, 22, 20, OTHER, latentDim="6")
    assert with_slice(path, alone) == alone
    path.write_bytes(with_slice(path, _slice(tmp_path, 22, 25)))
    path.write_bytes(with_slice(path, alone))
    assert VoxelGeometry.read_xml(path, eta=0.22).layers == OTHER.layers
    assert VoxelGeometry.read_xml(path, eta=0.27).layers == TINY_VOXELS.layers


def test_slices_of_version_1_accumulate_too(tmp_path: Path) -> None:
    path = tmp_path / "binning.xml"
    for eta in (20, 25):
        path.write_bytes(with_slice(path, _slice(tmp_path, 22, eta, dialect="calochallenge", name="photon")))
    assert VoxelGeometry.read_xml(path, eta=0.27).layers == TINY_VOXELS.layers
    assert "<Particle" not in path.read_text()
    with pytest.raises(ExportError, match="of another class"):
        with_slice(path, _slice(tmp_path, 22, 30))
    assert with_slice(path, _slice(tmp_path, 22, 20, dialect="calochallenge")).count(b"<Bin ") == 2


def test_what_would_be_ambiguous_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "binning.xml"
    path.write_bytes(_slice(tmp_path, 22, 0, etaMax="130"))
    with pytest.raises(ExportError, match=r"pid 22, eta 0 to 130, which is there, and 20 to 25"):
        with_slice(path, _slice(tmp_path, 22, 20))
    path.write_bytes(with_slice(path, _slice(tmp_path, 211, 20)))
    with pytest.raises(ExportError, match="pions and protons of a slice share"):
        with_slice(path, _slice(tmp_path, 211, 20, OTHER), shared=True)
    assert with_slice(path, _slice(tmp_path, 211, 20), shared=True) == path.read_bytes()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<Bins>",
        "<Bins><Bin/></Bins>",
        '<Bins><Bin pid="x" etaMin="0" etaMax="5"/></Bins>',
        "<!DOCTYPE x []><Bins/>",
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "binning.xml"
    path.write_text(text)
    with pytest.raises(DataFormatError, match="binning.xml is not a readable binning file"):
        with_slice(path, _slice(tmp_path, 22, 20))
