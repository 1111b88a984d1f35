"""The FastCaloGAN script end to end on toy showers in the CaloChallenge's format, version 2 included."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import Refused
from toy_gan import GAN_VALUES
from toy_runs import Smoke, check_provenance, check_report, launch, load, showers_of, write_showers
from typer.testing import CliRunner

from calogen.cli.main import app
from calogen.generation import load as loading
from calogen.models.fastcalogan import CONFIGS
from calogen.reproduction import chi2_selection
from calogen.reproduction.chi2_selection import selection
from calogen.reproduction.experiment import Arguments
from calogen.reproduction.study import Data, other_test, read_data
from calogen.showers.cells import ATLAS_BARREL_STORED
from calogen.showers.sample import Showers
from calogen.showers.voxels import PHOTONS_DATASET1, PIONS_DATASET1

SCRIPT = "fastcalogan"
MOMENTA = (1024.0, 4096.0, 8192.0)  # version 2 has a GAN up to 4 GeV and one from there on
TABLE = "chi2 of the total energy"
NETWORKS = ("photon", "photon-low-v2", "photon-high-v2")


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Smoke:
    folder = tmp_path_factory.mktemp(SCRIPT)
    files = write_showers(folder, PHOTONS_DATASET1, MOMENTA)
    return Smoke(SCRIPT, folder, launch(SCRIPT, "--runs", folder / "runs", "--ablation", *files))


def test_both_versions_are_compared_with_geant4(smoke: Smoke) -> None:
    assert smoke.process.returncode == 0, smoke.process.stderr
    assert smoke.results["claims"] == []
    found = smoke.quantities
    for title in ("version 1, photons", "version 2, photons"):
        assert 0.5 < found[f"chi2/NDF of the total energy, {title}"]["ours"] < 1000
        assert found[f"chi2/NDF of the total energy, {title}"]["headline"]
    assert len(found) == 8
    tables = smoke.results["tables"]
    assert list(tables)[:3] == [
        "Hyperparameters",
        TABLE,
        "Size of the generator (CaloShowerGAN's section 5.7)",
    ]
    hyperparameters, chi2, sizes, *_ = tables.values()
    assert [row[0] for row in chi2["rows"]] == [*NETWORKS, "version 2, photons", "Geant4 against Geant4"]
    assert hyperparameters["header"][1:-1] == list(NETWORKS)
    (size,) = sizes["rows"]
    assert (size[0], size[2]) == ("photons", "3")
    assert 1 < float(size[1]) < 5


def test_report_and_provenance(smoke: Smoke) -> None:
    check_report(smoke)
    check_provenance(smoke, {"train": "train.h5", "test": "test.h5"}, trained=3, ablation=True)
    assert [caption for caption in smoke.captions if "iteration" in caption] == [
        "chi2/NDF by iteration, photon, photons"
    ]
    assert "Energy in the layers, all momenta, photons" in smoke.captions
    assert {row["sample"] for row in smoke.read("metrics.json")} == {"version 1, photons", "version 2, photons"}


def test_calogen_generates_with_the_selected_runs(smoke: Smoke, tmp_path: Path) -> None:
    runs = [str(smoke.directory / name / "selected") for name in NETWORKS[1:]]
    output = tmp_path / "showers.h5"
    arguments = ["generate", *runs, "--output", str(output), "--energies", "256:4194304:x2", "--showers", "3"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert len(Showers.read(output, PHOTONS_DATASET1)) == 15 * 3


def test_a_second_launch_trains_nothing(smoke: Smoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(smoke.folder / "runs", tmp_path / "runs")
    files = ["--train-data", str(smoke.folder / "train.h5"), "--test-data", str(smoke.folder / "test.h5")]
    places = ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "published")]
    monkeypatch.setattr("sys.argv", ["fastcalogan.py", "--smoke", *places, *files])
    monkeypatch.setattr("calogen.training.train.write_state", None)  # no checkpoint is written
    loaded: list[Path] = []
    original = loading._load_as

    def load_snapshot(path: Path, own: Any) -> Any:
        loaded.append(path)
        return original(path, own)

    monkeypatch.setattr(loading, "_load_as", load_snapshot)
    script = load(SCRIPT)
    script.execute(script.main, "", chi2_selection.OPTIONS)
    assert len(loaded) == 1, "only what was selected: nothing is judged again"
    published = json.loads((tmp_path / "published" / "fastcalogan.json").read_text(encoding="utf-8"))
    assert published["quantities"] == [row for row in smoke.results["quantities"] if "version 1" in row["name"]]
    assert len(published["quantities"]) == 4
    before, after = (about["provenance"]["training"]["1"] for about in (smoke.results, published))
    assert after == {"photon": before["photon"]}
    assert (tmp_path / "published" / "fastcalogan.png").read_bytes().startswith(b"\x89PNG")


def test_the_other_papers_experiment_finds_the_network(smoke: Smoke) -> None:
    paths = {"train_data": smoke.folder / "train.h5", "test_data": smoke.folder / "test.h5"}
    given = Arguments(preset="smoke", seeds=(1,), runs=smoke.folder / "runs", options=GAN_VALUES, **paths)
    data = read_data(given, "photons", PHOTONS_DATASET1, len)
    found = other_test(SCRIPT, "photon", 1, given, data, selection(GAN_VALUES))
    assert found is not None
    row = smoke.results["tables"][TABLE]["rows"][0]
    assert row[2:5] == [
        f"{found.iteration}",
        f"{sum(part.value for part in found.chi2.values()):.0f}",
        f"{sum(part.ndf for part in found.chi2.values())}",
    ]
    assert other_test(SCRIPT, "pion", 1, given, data, selection(GAN_VALUES)) is None
    given = replace(given, train_data=smoke.folder / "test.h5")
    data = read_data(given, "photons", PHOTONS_DATASET1, len)
    assert other_test(SCRIPT, "photon", 1, given, data, selection(GAN_VALUES)) is None, "other showers"


def test_what_is_trained() -> None:
    """The label is momentum over maximum: the bundled showers' own."""
    script, smaller = load(SCRIPT), showers_of(PHOTONS_DATASET1, MOMENTA, (5, 5, 5))
    data = Data(train=smaller, held_out=None, files={}, note="")
    ensembles = {"version 1": ("photon",), "version 2": NETWORKS[1:]}
    assert script.networks(ensembles, data, own=True) == {name: CONFIGS[name] for name in NETWORKS}
    bundled = script.networks(ensembles, data, own=False)
    assert list(bundled) == list(NETWORKS)
    for name, (config, geometry) in bundled.items():
        assert geometry is CONFIGS[name][1]
        highest = min(8192.0, CONFIGS[name][0].highest_momentum)
        assert config == replace(CONFIGS[name][0], highest_momentum=highest)
    assert bundled["photon-low-v2"] == CONFIGS["photon-low-v2"], "it ends below"


def test_cells_beside_the_voxels_do_not_hide_the_particle(tmp_path: Path, refused: Refused) -> None:
    """Refused as pions, not as photons of another shape."""
    showers_of(PIONS_DATASET1, MOMENTA, (5, 1, 5)).write(tmp_path / "wrong.h5")
    with h5py.File(tmp_path / "wrong.h5", "a") as file:
        file["cells"] = np.zeros((11, ATLAS_BARREL_STORED.size), np.float32)
    refused(SCRIPT, "several different showers of each momentum; at 4096 MeV")


def test_files_that_are_none_are_refused(tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "wrong.h5").write_bytes(b"nothing")
    refused(SCRIPT, r"wrong\.h5 is not a whole HDF5 file")
    incident = np.repeat(1024.0, 5)
    Showers(PHOTONS_DATASET1, incident, np.ones((5, 368), np.float32)).write(tmp_path / "wrong.h5")
    refused(SCRIPT, "several different showers of each momentum; at 1024 MeV the energies must spread")
