import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import TINY_VOXELS, make_grid, make_showers
from toy_gan import CONFIG, make_conditioned, toy_showers, train

from calogen.athena import account, cells
from calogen.athena import export as deployment
from calogen.athena.closure import Agreement
from calogen.athena.export import export_runs, export_set, find_sets
from calogen.athena.interface import V2
from calogen.errors import DataFormatError, ExportError
from calogen.evaluation.iterations import ALL
from calogen.evaluation.merits import Chi2Merit
from calogen.generation.load import load_run
from calogen.lwtnn.convert import convert
from calogen.lwtnn.graph import read_graph
from calogen.models import atlas_vae, caloshowergan
from calogen.models.atlas_vae import AtlasVaeConfig, build, build_transform
from calogen.reproduction.selection import Judge, scan, select
from calogen.showers.voxels import VoxelGeometry
from calogen.training.run import assemble_run, save_run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """runs/caloshowergan/smoke-seed1 with two networks that share the momenta, and a third one."""
    folder = tmp_path_factory.mktemp("all") / "runs"
    momenta = (1024.0, 4096.0, 16384.0)
    for name, low, high in (
        ("photon-low", 2.0**10, 2.0**12),
        ("photon-upper", 2.0**12, 2.0**14),
        ("photon", 2.0**10, 2.0**14),
    ):
        directory = folder / "caloshowergan" / "smoke-seed1" / name
        showers = toy_showers(30, momenta=momenta)
        train(directory, showers, replace(CONFIG, lowest_momentum=low, highest_momentum=high))
        here = showers[(showers.incident_energies >= low) & (showers.incident_energies <= high)]
        select(directory, scan(directory, Judge(reference=here, merits={ALL: Chi2Merit("caloshowergan")}))[ALL])
    return folder


def _write_decoder(directory: Path) -> None:
    grid = make_grid((2, 1), (3, 2))
    showers = make_showers(grid, 50)
    config = AtlasVaeConfig(encoder_units=(6,), decoder_units=(6,))
    transform = build_transform(config, grid).fit(showers)
    save_run(directory, assemble_run(atlas_vae, config, grid, build(config, grid), transform))


def test_networks_that_share_the_momenta_go_together(runs: Path) -> None:
    found = {item.name: [path.parent.name for path in item.directories] for item in find_sets(runs)}
    assert found == {
        "caloshowergan/smoke-seed1/photon": ["photon"],
        "caloshowergan/smoke-seed1/photon-2-gans": ["photon-low", "photon-upper"],
    }
    assert [item.name for item in find_sets(runs / "caloshowergan" / "smoke-seed1")] == sorted(found)
    (alone,) = find_sets(runs / "caloshowergan" / "smoke-seed1" / "photon")
    assert alone.name == "caloshowergan/smoke-seed1/photon"


def test_a_network_of_a_study_of_which_nothing_was_selected_keeps_its_papers_name(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "caloshowergan", tmp_path / "caloshowergan")
    shutil.copytree(runs / "caloshowergan" / "smoke-seed1" / "photon" / "selected", tmp_path / "b" / "c" / "d")
    shutil.copytree(tmp_path / "b" / "c" / "d", tmp_path / "caloshowergan" / "smoke-seed1" / "vae")
    names = [item.name for item in find_sets(tmp_path)]
    assert names == ["b/c/d", *(f"caloshowergan/smoke-seed1/{name}" for name in ("photon", "photon-2-gans", "vae"))]


def test_runs_of_different_papers_and_data_have_folders_of_their_own(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    names = [
        "getting_high/laptop-seed1/bib_ae",
        "getting_high_angular/laptop-seed1/bib_ae",
        "own/atlas_vae/laptop-seed1",
        "own/getting_high/laptop-seed1/bib_ae",
        "runs/atlas_vae",
    ]
    for name in names:
        _write_decoder(runs / name.removeprefix("runs/"))
    assert [item.name for item in find_sets(runs)] == names
    for folder in ("getting_high_angular/laptop-seed1", "getting_high_angular/laptop-seed1/bib_ae"):
        assert [item.name for item in find_sets(runs / folder)] == ["getting_high_angular/laptop-seed1/bib_ae"]


def test_runs_that_would_share_a_folder_are_refused(tmp_path: Path) -> None:
    for name in ("mine", "runs/mine"):
        _write_decoder(tmp_path / "runs" / name)
    with pytest.raises(ExportError, match=r"into another\. Received: runs/mine for .*/mine and .*/mine$"):
        export_runs(tmp_path / "runs", tmp_path / "out")


@pytest.mark.parametrize("text", ["[]", "{}", '{"model": 5}', '{"model": "os"}', "{"])
def test_a_damaged_configuration_is_named(runs: Path, tmp_path: Path, text: str) -> None:
    shutil.copytree(runs / "caloshowergan", tmp_path / "runs")
    for name in ("photon", "photon-low", "photon-upper"):
        (tmp_path / "runs" / "smoke-seed1" / name / "selected" / "config.json").write_text(text)
    with pytest.raises(DataFormatError, match=r"config.json must name a model|model must be one of|is not a JSON file"):
        find_sets(tmp_path / "runs")


def test_variants_go_together_too_and_others_alone() -> None:
    splits = {1: ("photon",), 2: ("photon-low", "photon-upper"), 3: ("photon-low", "photon-medium", "photon-high")}
    names = ["photon", "photon-kinetic", "photon-low", "photon-low-kinetic", "photon-upper", "photon-upper-kinetic"]
    assert deployment._together([*names, "photon-high"], splits) == {
        "photon-high": ("photon-high",),
        "photon-2-gans": ("photon-low", "photon-upper"),
        "photon-kinetic-2-gans": ("photon-low-kinetic", "photon-upper-kinetic"),
        "photon": ("photon",),
        "photon-kinetic": ("photon-kinetic",),
    }
    assert deployment._together(["pion", "photon"], {}) == {"pion": ("pion",), "photon": ("photon",)}


def test_files_manifest_and_closure(runs: Path, tmp_path: Path) -> None:
    item = find_sets(runs)[1]
    done = export_set(item, tmp_path, eta=80)
    folder = tmp_path / item.name
    assert done.line.startswith(f"{folder} ({V2}): largest deviation ")
    assert done.line.endswith("distributions agree with Keras'")
    assert done.agrees
    manifest = json.loads((folder / "manifest_22_eta_80_85.json").read_text())
    assert [network["file"] for network in manifest["networks"]] == [
        "neural_net_22_eta_80_85_UltraLow12.json",
        "neural_net_22_eta_80_85_High12.json",
    ]
    assert [network["trained"] for network in manifest["networks"]] == [[1024.0, 4096.0], [4096.0, 16384.0]]
    assert manifest["paper"]["arxiv"] == "2309.06515"
    first = manifest["sources"][0]
    assert first["run"] == "smoke-seed1/photon-low/selected"
    digest = hashlib.sha256((item.directories[0] / "generator.keras").read_bytes()).hexdigest()
    assert first["sha256"]["generator.keras"] == digest
    assert first["training"]["showers"] > 0
    assert manifest["exported"]["versions"]["keras"]
    assert manifest["distributions"]["agrees"] is True
    assert manifest["radial"] == {
        "file": "rootFiles/pid22_E1048576_eta_80_85.root",
        "momentum": 16384.0,
        "within_training": True,
    }
    assert (folder / manifest["radial"]["file"]).stat().st_size > 1000
    page = (folder / "closure_22_eta_80_85.md").read_text()
    assert "| `neural_net_22_eta_80_85_High12.json` | 4096 to 4194304 | 4096 to 16384 | 4096 to 16384 |" in page
    assert f"{manifest['distributions']['num_tests']} Kolmogorov-Smirnov tests" in page
    *trained, holds, low, high, placeholder = done.notes
    assert [note.split(": trained ")[0] for note in trained] == ["photon-low", "photon-upper"]
    assert all(re.search(r"iterations \(the paper: .* chosen, chi2/NDF \S+ against Geant4$", note) for note in trained)
    assert holds.startswith("holds: photon at eta 0.80 to 0.85; ")
    assert low.startswith("lacks: training at some momenta: neural_net_22_eta_80_85_UltraLow12.json is used ")
    assert low.endswith(" MeV, and was trained at 1024 to 4096 MeV")
    assert " is used for 4096 to 4194304 MeV, " in high
    assert placeholder.startswith("placeholder: rootFiles/pid22_E65536_eta_80_85_validation.root ")


def test_slices_accumulate_in_a_runs_folder(runs: Path, tmp_path: Path) -> None:
    item = find_sets(runs)[0]
    first = export_set(item, tmp_path, eta=20)
    before = {path: path.read_bytes() for path in (tmp_path / item.name).rglob("*_20_25*")}
    assert len(before) == 8  # two networks, twice, two ROOT files, manifest, page
    second = export_set(item, tmp_path, eta=25)
    assert before == {path: path.read_bytes() for path in (tmp_path / item.name).rglob("*_20_25*")}
    assert "holds: photon at eta 0.20 to 0.25; " in " ".join(first.notes)
    assert "holds: photon at eta 0.20 to 0.25, photon at eta 0.25 to 0.30; " in " ".join(second.notes)
    for eta in (0.22, 0.27):
        assert VoxelGeometry.read_xml(tmp_path / item.name / "binning.xml", eta=eta)


def test_a_slice_without_showers_is_refused_before_anything_is_loaded(runs: Path, tmp_path: Path) -> None:
    for eta in (-25, 500):
        with pytest.raises(ExportError, match=f"a slice: .*Received: {eta}"):
            export_runs(runs, tmp_path / "out", eta)
    assert not (tmp_path / "out").exists()


def test_networks_of_several_runs_go_into_one_folder(runs: Path, tmp_path: Path) -> None:
    into = tmp_path / "all"
    with pytest.raises(
        ExportError, match=r"one set of networks of each particle.*--only. Received: .*photon, .*2-gans"
    ):
        export_runs(runs, tmp_path / "out", into=into)
    with pytest.raises(ExportError, match=r"--only must be among photon, photon-2-gans. Received: pion"):
        export_runs(runs, tmp_path / "out", only=["pion"])
    ((text, fault),) = export_runs(runs, tmp_path / "out", into=into, only=["photon-2-gans"])
    assert fault == ""
    assert text.startswith(f"{into} ({V2}): ")
    assert "\n  photon-low: trained " in text
    assert not (tmp_path / "out").exists()
    assert (into / "manifest_22_eta_20_25.json").exists()


def test_a_range_between_the_momenta_of_the_class_is_compared_inside_it(tmp_path: Path) -> None:
    config = replace(CONFIG, lowest_momentum=300.0, highest_momentum=900.0)
    networks = caloshowergan.build(config, TINY_VOXELS)
    transform = caloshowergan.build_transform(config, TINY_VOXELS)
    save_run(tmp_path / "run", assemble_run(caloshowergan, config, TINY_VOXELS, networks, transform))
    assert export_set(find_sets(tmp_path)[0], tmp_path / "out").agrees


def test_cells_have_a_folder_of_their_own(tmp_path: Path) -> None:
    _write_decoder(tmp_path / "runs" / "atlas_vae" / "smoke-seed1")
    ((text, fault),) = export_runs(tmp_path / "runs", tmp_path / "out", into=tmp_path / "all")
    assert text == f"not exported: {fault}"
    assert "--into is for networks of voxels" in fault


def test_without_uproot_the_missing_files_are_named(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account, "find_spec", lambda name: None)
    done = export_set(find_sets(runs)[0], tmp_path)
    lacking = [note.split(",")[0] for note in done.notes if "does not start" in note]
    assert lacking == [
        "lacks: rootFiles/pid22_E1048576_eta_20_25.root",
        "lacks: rootFiles/pid22_E65536_eta_20_25_validation.root",
    ]


def test_a_file_of_the_experiment_is_no_placeholder(runs: Path, tmp_path: Path) -> None:
    item, name = find_sets(runs)[0], "rootFiles/pid22_E65536_eta_20_25_validation.root"
    (tmp_path / item.name / "rootFiles").mkdir(parents=True)
    (tmp_path / item.name / name).write_bytes(b"ATLAS's")
    notes = export_set(item, tmp_path).notes
    assert f"kept: {name}, which is not from an export" in notes
    assert "placeholder" not in " ".join(notes)
    assert (tmp_path / item.name / name).read_bytes() == b"ATLAS's"


def test_how_good_a_network_is(runs: Path, tmp_path: Path) -> None:
    run = load_run(runs / "caloshowergan" / "smoke-seed1" / "photon" / "selected")
    alone = tmp_path / "photon"
    alone.mkdir()
    never = account.training_note(run, alone)
    assert re.fullmatch(r"photon: trained \d+ iterations \(the paper: 1,000,000\), no figure of merit .*", never)
    for about, text in (
        ({"iteration": 7000, "chi2_per_ndf": 12.345}, "iteration 7,000 chosen, chi2/NDF 12.3 against Geant4"),
        ({"epoch": 3, "merit": 0.5}, "epoch 3 chosen, figure of merit 0.5 against Geant4"),
        ({"epoch": "x"}, "no figure of merit recorded"),
    ):
        (alone / "selection.json").write_text(json.dumps(about))
        assert account.training_note(run, alone).endswith(f"), {text}")
    assert ": trained 2 epochs, no figure" in account.training_note(replace(run, history=[{}, {}]), tmp_path)


def test_what_a_killed_writer_left_is_no_source(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "atlas_vae" / "smoke-seed1"
    _write_decoder(run)
    _write_decoder(tmp_path / "runs" / "atlas_vae" / ".smoke-seed2")
    (run / ".decoder.0123456789abcdef01234567.partial.keras").write_bytes(b"half")
    (item,) = find_sets(tmp_path / "runs")
    (source,) = deployment._origin(item, [load_run(run)])["sources"]
    assert sorted(source["sha256"]) == ["config.json", "decoder.keras", "encoder.keras", "transform.json"]


def test_writing_again_gives_the_same_bytes(runs: Path, tmp_path: Path) -> None:
    item = find_sets(runs)[0]
    written = []
    for _ in range(2):
        export_set(item, tmp_path)
        files = [path for path in (tmp_path / item.name).iterdir() if path.is_file()]
        written.append({path.name: path.read_bytes() for path in files})
    assert written[0] == written[1]
    assert len(written[0]) == 6


def test_distributions_that_differ_are_said(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    item = find_sets(runs)[0]
    monkeypatch.setattr(deployment, "agreement", lambda *_: Agreement(10, 1e-9, 0.5, "energy at 1024 MeV"))
    done = export_set(item, tmp_path)
    assert done.line.endswith("distributions DIFFER from Keras'")
    assert not done.agrees
    assert "The distributions DIFFER" in (tmp_path / item.name / "closure_22_eta_20_25.md").read_text()


def test_a_decoder_of_cells_is_exported_with_its_transform(tmp_path: Path) -> None:
    _write_decoder(tmp_path / "runs" / "atlas_vae" / "smoke-seed1")
    _write_decoder(tmp_path / "runs" / "atlas_vae" / "smoke-seed1" / "absolute")  # part of another run
    _write_decoder(tmp_path / "runs" / "scans" / "atlas_vae" / "base-seed1")
    (item,) = find_sets(tmp_path / "runs")
    assert item.name == "atlas_vae/smoke-seed1"
    done = export_set(item, tmp_path / "out")
    folder = tmp_path / "out" / item.name
    assert done.line.startswith(f"{folder} (decoder): largest deviation ")
    assert done.agrees
    assert sorted(path.name for path in folder.glob("[!.]*")) == ["closure.md", "decoder.json", "manifest.json"]
    assert re.fullmatch(r"smoke-seed1: trained 0 epochs.*, no figure of merit .*", done.notes[0])
    assert done.notes[1].startswith("lacks: a class of Athena that loads it (")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["closure"]["float64"] < 1e-8
    assert manifest["distributions"]["num_tests"] >= 10
    assert "The distributions agree" in (folder / "closure.md").read_text()
    assert manifest["output"]["size"] == len(read_graph(folder / "decoder.json").output().labels) == 8 + 2 + 1
    assert manifest["latent"]["distribution"] == "normal"
    assert manifest["condition"][0].startswith("LogEnergy: ")
    assert manifest["output"]["features"][0].startswith("LayerFractions: ")
    assert manifest["transform"] == json.loads((item.directories[0] / "transform.json").read_text())


def test_a_manifest_removes_networks_of_its_folder_alone(tmp_path: Path) -> None:
    _write_decoder(tmp_path / "runs" / "atlas_vae" / "smoke-seed1")
    (item,) = find_sets(tmp_path / "runs")
    folder = tmp_path / "out" / item.name
    (folder / "folder.json").mkdir(parents=True)
    for name in ("generator.json", "latent.npz", "notes.txt", "../neighbour.json"):
        (folder / name).write_text("written before")
    named = [
        "generator.json",
        "latent.npz",
        "notes.txt",
        "../neighbour.json",
        "..",
        "folder.json",
        "gone.onnx",
        300 * "x",
    ]
    (folder / "manifest.json").write_text(json.dumps({"sha256": dict.fromkeys(named, "")}))
    export_set(item, tmp_path / "out")
    names = ["closure.md", "decoder.json", "folder.json", "manifest.json", "notes.txt"]
    assert sorted(path.name for path in folder.glob("[!.]*")) == names
    assert (folder / "../neighbour.json").exists()


def test_a_decoder_that_disagrees_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write_decoder(tmp_path / "runs" / "atlas_vae" / "smoke-seed1")
    monkeypatch.setattr(cells, "TOLERANCE", 1e-16)
    with pytest.raises(ExportError, match="must agree with Keras in float64 to 1e-16"):
        export_set(find_sets(tmp_path)[0], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_wrong_decoder_does_not_close(tmp_path: Path) -> None:
    _write_decoder(tmp_path / "run")
    run = load_run(tmp_path / "run")
    graph = convert(run.generator, ["latent", "condition"])
    assert cells.network_closure(graph, run) < 1e-8
    run.generator.weights[0].assign(run.generator.weights[0].numpy() * 1.001)
    assert cells.network_closure(graph, run) > 1e-6


def test_a_decoder_with_conditions_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "PER_ENERGY", 20)
    run = make_conditioned()
    graph = convert(run.generator, ["latent", "condition"])
    assert cells.network_closure(graph, run) < 1e-8
    assert cells.distributions(graph, run).agrees
    run.generator.weights[0].assign(run.generator.weights[0].numpy() * 1.001)
    assert cells.network_closure(graph, run) > 1e-6


def test_where_there_is_no_run_is_a_clear_error(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(ExportError, match="must hold a trained run. Received: none: train one first"):
            find_sets(path)
