"""Options of studies: one network alone, and the voxels of another slice."""

from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from toy_gan import GAN_VALUES
from toy_runs import launch, load, write_showers

from calogen.claims.atlas_note_vae import TRAINED
from calogen.errors import ConfigError, ExportError, GeometryError
from calogen.generation.load import load_run
from calogen.reproduction.experiment import Arguments
from calogen.reproduction.study_options import read_slice, voxels_of
from calogen.showers.voxels import PHOTONS_DATASET1, PIONS_DATASET1, VoxelGeometry, VoxelLayer
from calogen.showers.windows import ATLAS_GAN_WINDOW

COARSE = VoxelGeometry(
    "coarse", tuple(replace(layer, num_alpha=layer.num_alpha // 2 or 1) for layer in PHOTONS_DATASET1.layers)
)
ENDCAP = VoxelGeometry("endcap", (VoxelLayer(5, (0.0, 10.0, 40.0), 2), VoxelLayer(6, (0.0, 10.0, 40.0), 2)))


def _binning(path: Path, *slices: tuple[int, int, VoxelGeometry]) -> Path:
    """A file of several particles and slices in the CaloChallenge's dialect."""
    root = ElementTree.Element("Bins")
    for pid, eta, geometry in slices:
        geometry.write_xml(path, attributes={"pid": str(pid), "etaMin": str(eta), "etaMax": str(eta + 5)})
        root.extend(ElementTree.parse(path).getroot())
    ElementTree.ElementTree(root).write(path)
    return path


def _given(**options: Any) -> Arguments:
    data = options.pop("train_data", Path("train.h5"))
    return Arguments(preset="smoke", seeds=(1,), runs=Path("runs"), train_data=data, options=GAN_VALUES | options)


def test_without_a_file_the_voxels_are_the_papers() -> None:
    assert voxels_of(_given(), PHOTONS_DATASET1, 22) is PHOTONS_DATASET1
    with pytest.raises(ConfigError, match="--eta chooses a slice in the file of --geometry"):
        voxels_of(_given(eta=25), PHOTONS_DATASET1, 22)


def test_a_slice_is_chosen_by_particle_and_edge(tmp_path: Path) -> None:
    path = _binning(tmp_path / "b.xml", (22, 20, PHOTONS_DATASET1), (22, 25, COARSE), (211, 25, PIONS_DATASET1))
    assert voxels_of(_given(geometry=path, eta=25), PHOTONS_DATASET1, 22).layers == COARSE.layers
    assert read_slice(path, 211, None).layers == PIONS_DATASET1.layers
    with pytest.raises(GeometryError, match="must hold one <Bin>"):
        voxels_of(_given(geometry=path), PHOTONS_DATASET1, 22)
    with pytest.raises(ExportError, match="Received: 27"):
        voxels_of(_given(geometry=path, eta=27), PHOTONS_DATASET1, 22)
    with pytest.raises(ConfigError, match="--geometry needs --train-data"):
        voxels_of(_given(geometry=path, eta=25, train_data=None), PHOTONS_DATASET1, 22)


def test_other_layers_have_no_claims(tmp_path: Path) -> None:
    path = _binning(tmp_path / "b.xml", (22, 200, ENDCAP))
    with pytest.raises(ConfigError, match=r"of layers \(0, 1, 2, 3, 12\).*--only. Received: layers \(5, 6\)"):
        voxels_of(_given(geometry=path), PHOTONS_DATASET1, 22)
    assert voxels_of(_given(geometry=path, only=["photon"]), PHOTONS_DATASET1, 22).layers == ENDCAP.layers


def test_one_network_is_trained_and_can_be_exported(tmp_path: Path) -> None:
    momenta = (1024.0, 4096.0, 8192.0)
    files = write_showers(tmp_path, COARSE, momenta)
    path = _binning(tmp_path / "b.xml", (22, 20, PHOTONS_DATASET1), (22, 25, COARSE))
    options = f"--only photon --geometry {path} --eta 25"
    for script in ("caloshowergan", "fastcalogan"):
        done = launch(script, "--runs", tmp_path / "runs", "--options", options, *files)
        assert done.returncode == 0, done.stderr
        folder = tmp_path / "runs" / script / "smoke-seed1"
        trained, following = done.stdout.splitlines()
        assert trained.startswith("photon: trained ")
        assert trained.endswith(f" against Geant4: {folder / 'photon' / 'selected'}")
        assert following == f"next: calogen export --eta 25 {folder}"
        assert [item.name for item in folder.iterdir() if item.is_dir()] == ["photon"]
        assert load_run(folder / "photon").geometry.layers == COARSE.layers


@pytest.mark.parametrize(("script", "name"), [("atlas_note_gan", "vae"), ("atlas_note_vae", "kl-1")])
def test_one_network_of_cells_is_trained(script: str, name: str, tmp_path: Path) -> None:
    files = write_showers(tmp_path, ATLAS_GAN_WINDOW, TRAINED)
    done = launch(script, "--runs", tmp_path / "runs", "--options", f"--only {name}", *files)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs" / script / "smoke-seed1"
    trained, following = done.stdout.splitlines()
    assert trained.startswith(f"{name}: trained ")
    assert following == f"next: calogen export {folder}"
    assert [item.name for item in folder.iterdir() if item.is_dir()] == [name]
    assert load_run(folder / name).geometry == ATLAS_GAN_WINDOW


def test_a_network_that_the_study_lacks_is_named(tmp_path: Path) -> None:
    files = write_showers(tmp_path, PHOTONS_DATASET1, (1024.0, 4096.0, 8192.0))
    done = launch("caloshowergan", "--runs", tmp_path / "runs", "--options", "--only photn", *files)
    assert done.returncode == 2
    assert "--only must be among photon, photon-low, photon-medium, photon-high; other options may add" in done.stderr


def test_particles_follow_from_the_options(tmp_path: Path) -> None:
    particles_of = load("fastcalogan").particles_of
    assert particles_of(_given(train_data=None)) == ("photon", "pion")
    assert particles_of(_given(train_data=None, only=["pion-v2"])) == ("pion",)
    assert particles_of(_given(train_data=None, only=["pion", "photon"])) == ("photon", "pion")
    for pid, particle in ((22, "photon"), (211, "pion")):
        path = _binning(tmp_path / "b.xml", (pid, 20, COARSE))
        assert particles_of(_given(geometry=path)) == (particle,)
