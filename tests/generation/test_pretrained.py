import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import make_showers
from toy_commands import load_script
from typer.testing import CliRunner

import calogen
from calogen.cli.main import app
from calogen.errors import DataFormatError
from calogen.generation import pretrained
from calogen.generation.generate import generate
from calogen.generation.load import load_run
from calogen.generation.pretrained import (
    FIGURES,
    PRETRAINED,
    exported_folders,
    folders_of,
    names,
    read_card,
    write_compact,
)
from calogen.models import atlas_vae, caloshowergan
from calogen.models.atlas_vae import AtlasVaeConfig
from calogen.reproduction.cards import card_figures
from calogen.showers.bundled import bundled, read_window
from calogen.showers.sample import Showers
from calogen.showers.voxels import PHOTONS_DATASET1
from calogen.showers.windows import ATLAS_VAE_WINDOW
from calogen.training.fit import fit
from calogen.training.run import TrainedRun, assemble_run, save_run

SMALL = AtlasVaeConfig(
    encoder_units=(24, 12),
    decoder_units=(12, 150),
    latent_dim=2,
    epochs=2,
    batch_size=20,
    decode="sample",
    noise_dim=6,
    renormalise=True,
    latent_sampler="posterior",
)
MOST_BYTES = 8_000_000
SAMPLES = {"ild_": "ild_photons_steps", "pions_": "pions_test", "photons_": "photons_test"}


@pytest.fixture
def run(tiny_showers: Showers, tmp_path: Path) -> TrainedRun:
    return fit(atlas_vae, SMALL, tiny_showers.geometry, tiny_showers, tmp_path / "run")  # type: ignore[arg-type]


def test_a_compact_run_generates_as_the_run_does(run: TrainedRun, tmp_path: Path) -> None:
    write_compact(tmp_path / "compact", run)
    again = load_run(tmp_path / "compact")
    assert set(again.networks) == {"decoder"}
    energies = np.repeat([1024.0, 4096.0], 50)
    ours, theirs = (generate(item, energies, 3).energies for item in (again, run))
    np.testing.assert_allclose(ours.sum(axis=1), theirs.sum(axis=1), rtol=2e-2)
    for array, original in zip(
        again.networks["decoder"].get_weights(), run.networks["decoder"].get_weights(), strict=True
    ):
        np.testing.assert_allclose(array, original, rtol=1e-3, atol=1e-6)
    sizes = [sum(path.stat().st_size for path in (tmp_path / name).glob("*")) for name in ("compact", "run")]
    assert sizes[0] < sizes[1] / 4


def test_many_codes_are_thinned(run: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "_CODES", 30)
    write_compact(tmp_path / "compact", run)
    kept, every = load_run(tmp_path / "compact").latent.arrays["codes"], run.latent.arrays["codes"]
    assert len(kept) == 30 < len(every)
    assert {*map(tuple, kept.tolist())} <= {*map(tuple, every.tolist())}


def damage_shape(path: Path) -> None:
    with np.load(path) as file:
        arrays = dict(file)
    arrays["decoder/000"] = arrays["decoder/000"][:-1]
    np.savez(path, **arrays)


def damage_value(path: Path) -> None:
    with np.load(path) as file:
        arrays = dict(file)
    arrays["decoder/001"][:] = np.nan
    np.savez(path, **arrays)


def damage_pickle(path: Path) -> None:
    np.savez(path, allow_pickle=True, **{"decoder/000": np.array([{}], dtype=object)})


def damage_header(path: Path) -> None:
    """An array whose header asks for ten thousand billion numbers."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**13,)})
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("decoder/000.npy", header.getvalue())


def damage_member(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("note.txt", "no array")


@pytest.mark.parametrize(
    "damage",
    [
        damage_header,
        damage_member,
        lambda path: path.write_bytes(b""),
        damage_shape,
        damage_value,
        damage_pickle,
        lambda path: path.write_bytes(path.read_bytes()[:200]),
    ],
)
def test_damaged_weights_are_refused(run: TrainedRun, tmp_path: Path, damage: object) -> None:
    write_compact(tmp_path, run)
    damage(tmp_path / "weights.npz")  # type: ignore[operator]
    with pytest.raises(DataFormatError, match=r"weights.npz must hold the"):
        load_run(tmp_path)


def test_an_activation_that_keras_does_not_know_is_refused(run: TrainedRun, tmp_path: Path) -> None:
    write_compact(tmp_path, run)
    text = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(text.replace('"tanh"', '"tanhh"'))
    with pytest.raises(DataFormatError, match="config.json must have values that Keras knows"):
        load_run(tmp_path)


def test_names_are_those_of_cards_and_folders_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert names() == sorted(path.name for path in PRETRAINED.iterdir() if path.is_dir())
    name = names()[0]
    assert all(folder.is_relative_to(PRETRAINED / name) for folder in folders_of(name))
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir()
    assert folders_of(name) == (Path(name),)
    with pytest.raises(DataFormatError, match=rf"pretrained networks are .*{name}"):
        calogen.load("no-such-network")
    with pytest.raises(DataFormatError, match=rf"pretrained networks are .*{name}.*Received: 'no-such-network'"):
        read_card("no-such-network")


def test_without_runs_the_pretrained_networks_are_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    every = [PRETRAINED / name for name in names() if read_card(name).lwtnn]
    assert exported_folders(None) == every != []
    assert exported_folders(Path(names()[0])) == [PRETRAINED / names()[0]]
    assert exported_folders(Path("other")) == [Path("other")]
    Path("runs/scans/one").mkdir(parents=True)
    Path("runs/scans/one/config.json").touch()
    assert exported_folders(None) == every, "a folder without runs"
    Path("runs/mine").mkdir()
    Path("runs/mine/config.json").touch()
    assert exported_folders(None) == [Path("runs")]


def test_a_damaged_card_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = json.loads((PRETRAINED / names()[0] / "card.json").read_text())
    (tmp_path / "some").mkdir()
    (tmp_path / "some/card.json").write_text(json.dumps(card | {"seed": "one"}))
    monkeypatch.setattr(pretrained, "PRETRAINED", tmp_path)
    with pytest.raises(DataFormatError, match=r"card.json must hold a card"):
        read_card("some")


def test_all_of_them_are_small_and_complete() -> None:
    sizes = [path.stat().st_size for path in PRETRAINED.rglob("*") if path.is_file()]
    assert sum(sizes) <= MOST_BYTES
    for name in names():
        card = read_card(name)
        assert card.name == name
        assert "Geant4" in card.data
        assert "not an experiment's" in card.limits
        assert all(len(row) == 1 + len(FIGURES) for row in card.figures)
        assert {path.parent for path in (PRETRAINED / name).rglob("weights.npz")} == {
            path.resolve() for path in card.directories
        }
        for directory in card.directories:
            with zipfile.ZipFile(directory / "weights.npz") as file:
                assert file.testzip() is None


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_a_card_has_all_figures_of_its_networks(name: str) -> None:
    require_figures(name, every=True)


@pytest.mark.parametrize("name", names())
def test_a_card_has_the_figures_of_its_networks(name: str) -> None:
    require_figures(name, every=False)


def require_figures(name: str, *, every: bool) -> None:
    """The card's figures, or the last row of them, agree with a fresh evaluation."""
    card, loaded = read_card(name), calogen.load(name)
    runs = loaded if isinstance(loaded, list) else [loaded]
    sample = next(value for key, value in SAMPLES.items() if key in card.data)
    rows = card.figures if every else card.figures[-1:]
    found = card_figures(runs, read_window(bundled(sample), runs[0].geometry), [row[0] for row in rows])
    np.testing.assert_allclose(found, rows, rtol=2e-3, atol=2e-3)


def test_commands_take_a_name(tmp_path: Path) -> None:
    name, output = names()[0], tmp_path / "g.h5"
    energy = f"{read_card(name).figures[0][0]:g}"
    ended = CliRunner().invoke(app, ["generate", name, "--energies", energy, "--showers", "3", "--output", str(output)])
    assert ended.exit_code == 0, ended.output
    geometry = (calogen.load(name) if len(read_card(name).runs) == 1 else calogen.load(name)[0]).geometry  # type: ignore[index]
    assert len(Showers.read(output, geometry)) == 3
    listed = CliRunner().invoke(app, ["inspect", "--pretrained"])
    assert all(f"{item}: {read_card(item).title}" in listed.output for item in names())
    as_json = CliRunner().invoke(app, ["inspect", name, "--pretrained", "--json"])
    (card,) = json.loads(as_json.output[as_json.output.index("[") :])
    assert card["figures"] == [list(row) for row in read_card(name).figures]


def test_pretrained_networks_are_exported_by_name(tmp_path: Path) -> None:
    name = next(item for item in names() if read_card(item).lwtnn)
    ended = CliRunner().invoke(app, ["export", name, "--output", str(tmp_path)])
    assert ended.exit_code == 0, ended.output
    assert f"calogen inspect --pretrained {name}" in ended.output
    manifest = json.loads((tmp_path / "pretrained" / name / "manifest.json").read_text())
    (source,) = manifest["sources"]
    assert {"weights.npz", "config.json", "transform.json"} <= set(source["sha256"])
    assert source["training"]["commit"]


def test_cards_tell_good_showers_from_bad() -> None:
    showers = make_showers(ATLAS_VAE_WINDOW, 120)
    energy = float(showers.incident_energies[0])
    config = AtlasVaeConfig()
    networks = atlas_vae.build(config, ATLAS_VAE_WINDOW)
    chain = atlas_vae.build_transform(config, ATLAS_VAE_WINDOW).fit(showers)
    untrained = assemble_run(atlas_vae, config, ATLAS_VAE_WINDOW, networks, chain)
    ((_, mean, spread, distance, floor),) = card_figures([untrained], showers, [energy], copies=1)
    assert mean > 0
    assert spread >= 0
    assert distance > 3 * floor > 0
    larger = replace(showers, energies=3 * showers.energies)
    assert card_figures([untrained], larger, [energy], copies=1)[0][1] == pytest.approx(mean / 3, rel=1e-3)


SCRIPT = Path(__file__).parents[2] / "export" / "pretrained.py"


def write_untrained(folder: Path, showers: int) -> None:
    """A run of CaloShowerGAN's voxels as an experiment leaves it, and the iteration that it has chosen."""
    paper = caloshowergan.CONFIGS[folder.name][0]
    config = replace(paper, latent_dim=3, generator_units=(8,), critic_units=(8,), average=0.99, seed=4)
    networks = caloshowergan.build(config, PHOTONS_DATASET1)
    chain = caloshowergan.build_transform(config, PHOTONS_DATASET1)
    untrained = assemble_run(caloshowergan, config, PHOTONS_DATASET1, networks, chain, [{"iteration": 70.0}])
    save_run(folder / "selected", untrained)
    (folder / "selected" / "selection.json").write_text(json.dumps({"iteration": 1488 + showers, "chi2_per_ndf": 2.0}))
    (folder / "provenance.json").write_text(json.dumps({"commit": "abc", "showers": showers, "cpu": "not kept"}))


def test_trained_networks_are_packed_with_their_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = load_script(SCRIPT)
    entry = replace(script.ENTRIES["caloshowergan-photon-2-gans"], energies=(1024.0, 65536.0))
    folders = [tmp_path / "runs" / run for run in entry.runs]
    write_untrained(folders[0].parent, 12)
    write_untrained(folders[1].parent, 1345)
    monkeypatch.setattr(pretrained, "PRETRAINED", tmp_path / "pretrained")
    monkeypatch.setitem(script.ENTRIES, "two", entry)
    monkeypatch.setattr("sys.argv", ["pretrained.py", "--runs", str(tmp_path / "runs"), "--only", "two"])
    script.main()
    assert names() == ["two"]
    card, runs = read_card("two"), calogen.load("two")
    assert card.runs == ("photon-low/selected", "photon-upper/selected")
    assert [run.momentum_range for run in runs] == [(256.0, 4096.0), (4096.0, 4194304.0)]  # type: ignore[union-attr]
    assert [row[0] for row in card.figures] == [1024.0, 65536.0]
    reference = read_window(bundled("photons_test"), PHOTONS_DATASET1)
    assert (*map(tuple, card.figures),) == card_figures(runs, reference, entry.energies)  # type: ignore[arg-type]
    low, upper = card.recipe.split("; ")
    assert low == (
        "photon-low: iteration 1,500 chosen, commit abc, other than in the paper: latent_dim=3, generator_units=[8], "
        "critic_units=[8], average=0.99"
    )
    assert upper.startswith("photon-upper: iteration 2,833 chosen")
    assert "photon-low: 12 showers; photon-upper: 1,345 showers; " in card.data
    assert card.seed == 4
    assert card.data.startswith("photons_train.h5 (sha256 ")
    assert json.loads((card.directories[0] / "provenance.json").read_text()) == {"commit": "abc", "showers": 12}


def test_what_is_not_trained_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = load_script(SCRIPT)
    monkeypatch.setattr(pretrained, "PRETRAINED", tmp_path / "pretrained")
    script.ship("caloshowergan-pion", tmp_path)
    told = capsys.readouterr().err
    assert f"caloshowergan-pion: left out, {tmp_path / script.ENTRIES['caloshowergan-pion'].runs[0]} has no" in told
    assert "(make reproduce-caloshowergan-pions PRESET=long OPTIONS=" in told
    assert not (tmp_path / "pretrained").exists()


def test_every_name_is_in_the_table_of_what_ships() -> None:
    entries = load_script(SCRIPT).ENTRIES
    assert set(names()) <= set(entries)
    for name in names():
        assert (read_card(name).title, read_card(name).command) == (entries[name].title, entries[name].command)
