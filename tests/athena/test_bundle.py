import hashlib
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY_VOXELS
from toy_gan import CONFIG
from toy_generators import tiny_generator

from calogen.athena import bundle as module
from calogen.athena.bundle import Bundle, build_bundle
from calogen.athena.interface import SELECTOR, V1, V2, VoxelGenerator, voxel_order
from calogen.errors import CalogenError, ExportError, GeometryError
from calogen.lwtnn.graph import read_graph
from calogen.models import fastcalogan
from calogen.showers.voxels import VoxelGeometry, VoxelLayer


@pytest.fixture(scope="module")
def two() -> Bundle:
    return build_bundle(
        [tiny_generator(2.0**12, 2.0**18), tiny_generator(2.0**8, 2.0**12, replace(CONFIG, latent_dim=5))]
    )


def test_a_bundle_is_what_the_class_loads(two: Bundle, tmp_path: Path) -> None:
    two.write(tmp_path, {"paper": "x"})
    low, high = "neural_net_22_eta_20_25_UltraLow12", "neural_net_22_eta_20_25_High12"
    networks = {f"{name}.json" for name in (low, high)} | {f"onnx/{name}.onnx" for name in (low, high)}
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("[!.]*") if path.is_file()}
    assert found == networks | {"binning.xml", two.part.manifest}
    manifest = json.loads((tmp_path / two.part.manifest).read_text())
    assert (manifest["interface"], manifest["paper"], manifest["latent"]["dim"]) == (V2, "x", 5)
    assert [item["file"] for item in manifest["networks"]] == [f"{low}.json", f"{high}.json"]
    assert [item["made_for"] for item in manifest["networks"]] == [[2.0**8, 2.0**12], [2.0**12, 2.0**18]]
    assert all(item["closure"]["float64"] < 1e-7 for item in manifest["networks"])
    assert all(item["closure"]["onnx"] < 1e-5 for item in manifest["networks"])
    digests = {name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in networks}
    assert manifest["sha256"] == digests
    assert [len(read_graph(tmp_path / f"{name}.json").inputs[0].variables) for name in (low, high)] == [5, 3]


def test_the_binning_is_of_athenas_dialect(two: Bundle, tmp_path: Path) -> None:
    two.write(tmp_path, {})
    geometry = VoxelGeometry.read_xml(tmp_path / "binning.xml", pid=22, eta=0.22)
    assert geometry.layers == TINY_VOXELS.layers
    attributes = dict(geometry.attributes)
    assert (attributes["latentDim"], attributes["ganVersion"], attributes["symmetriseAlpha"]) == ("5", "2", "false")
    text = (tmp_path / "binning.xml").read_text()
    assert text.count("symmetriseAlpha") == 2  # on Particle and Bin: Athena has read either


def test_noise_of_the_onnx_model_is_as_wide_as_the_particles(two: Bundle, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    two.write(tmp_path, {})
    session = onnxruntime.InferenceSession(str(tmp_path / "onnx" / "neural_net_22_eta_20_25_High12.onnx"))
    assert [(item.name, item.shape[1]) for item in session.get_inputs()] == [("Noise", 5), ("mycond", 2)]


def test_showers_come_from_the_network_of_their_momentum(two: Bundle) -> None:
    momenta = np.array([4096.0, 4096.5, 300.0, 2.0**17])
    both = two.generate(momenta, seed=1)
    lower = replace(two, networks=two.networks[:1]).generate(momenta, seed=1)
    upper = replace(two, networks=two.networks[1:]).generate(momenta, seed=2)
    assert (both.energies.sum(axis=1) > 0).all()
    assert (lower.energies.sum(axis=1) > 0).tolist() == [True, False, True, False]
    np.testing.assert_array_equal(both.energies, lower.energies + upper.energies)


def test_three_networks_are_marked_for_the_selector(tmp_path: Path) -> None:
    borders = [2.0**8, 2.0**12, 2.0**16, 2.0**18]
    found = build_bundle([tiny_generator(low, high) for low, high in pairwise(borders)])
    assert (found.interface, len(found.networks)) == (SELECTOR, 3)
    found.write(tmp_path, {})
    assert len(list(tmp_path.glob("*.json"))) == 4


def test_version_1_has_one_file_and_the_old_binning(tmp_path: Path) -> None:
    config = replace(fastcalogan.CONFIGS["photon"][0], latent_dim=3, generator_units=(4,), critic_units=(4,))
    generator = VoxelGenerator(
        model=fastcalogan.build_generator(config, TINY_VOXELS),
        transform=fastcalogan.build_transform(config, TINY_VOXELS),
        latent=fastcalogan.build_latent(config),
        geometry=TINY_VOXELS,
        particle="photon",
        momentum_range=config.momentum_range,
    )
    found = build_bundle([generator], eta=120)
    assert found.interface == V1
    found.write(tmp_path, {})
    names = {"neural_net_22_eta_120_125.json", "binning.xml", "manifest_22_eta_120_125.json"}
    assert {path.name for path in tmp_path.glob("[!.]*")} == names
    assert "<Particle" not in (tmp_path / "binning.xml").read_text()
    assert dict(VoxelGeometry.read_xml(tmp_path / "binning.xml").attributes)["etaMin"] == "120"
    assert voxel_order(TINY_VOXELS, V1).tolist() == list(range(TINY_VOXELS.size))


def test_a_network_that_deviates_is_no_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    generators = [tiny_generator(2.0**8, 2.0**18)]
    monkeypatch.setattr(module, "TOLERANCE", 1e-16)
    with pytest.raises(ExportError, match="High12.json must agree|UltraLow12.json must agree"):
        build_bundle(generators)
    monkeypatch.setattr(module, "TOLERANCE", 1e-6)
    monkeypatch.setattr(module, "ONNX_TOLERANCE", 1e-12)
    with pytest.raises(ExportError, match="ONNX must agree"):
        build_bundle(generators)


def test_without_onnx_there_are_the_other_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    found = build_bundle([tiny_generator(2.0**8, 2.0**18)])
    assert all("onnx" not in item for item in found.manifest["networks"])
    assert not any(name.endswith("onnx") for name in found.files)


def test_networks_of_an_earlier_export_are_removed_and_other_files_kept(two: Bundle, tmp_path: Path) -> None:
    two.write(tmp_path, {})
    (tmp_path / "rootFiles").mkdir()
    (tmp_path / "rootFiles" / "own.root").write_text("mine")
    kept = {name: content for name, content in two.files.items() if "High12" not in name}
    replace(two, files=kept).write(tmp_path, {})
    assert sorted(path.name for path in tmp_path.rglob("neural_net_*")) == sorted(
        ["neural_net_22_eta_20_25_UltraLow12.json", "neural_net_22_eta_20_25_UltraLow12.onnx"]
    )
    assert (tmp_path / "rootFiles" / "own.root").exists()


def test_voxels_that_the_class_would_skip_are_refused_before_anything_is_written() -> None:
    generator = tiny_generator(2.0**8, 2.0**18)
    layers = (VoxelLayer(0, (0.0, 10.0), 2), TINY_VOXELS.layers[1])
    with pytest.raises(GeometryError, match="two or more radial bins"):
        build_bundle([replace(generator, geometry=VoxelGeometry("one", layers))])


def test_a_folder_that_cannot_be_written_is_a_clear_error(two: Bundle, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CalogenError, match="cannot write"):
        two.write(tmp_path / "file" / "folder", {})
