"""The experiment script end to end on toy showers, and what was chosen by the scan."""

import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from conftest import make_showers
from toy_runs import EXPERIMENTS, load

from calogen.claims.atlas_vae import COMPARED, TRAINED, claims
from calogen.errors import DataFormatError
from calogen.models.atlas_vae import CONFIGS
from calogen.reproduction.experiment import Arguments
from calogen.reproduction.scan_files import read_grid
from calogen.reproduction.study_data import read_at_energies
from calogen.showers.sample import Showers
from calogen.showers.windows import ATLAS_VAE_WINDOW


def sample(energies: tuple[float, ...], count: int, seed: int) -> Showers:
    """`count` photon-like showers at each energy, with Geant4's time."""
    incident = np.repeat(energies, count)
    showers = make_showers(ATLAS_VAE_WINDOW, len(incident), seed)
    cells = showers.energies * (incident / showers.incident_energies)[:, None].astype(np.float32)
    return Showers(ATLAS_VAE_WINDOW, incident, cells, {"cpu_seconds": 2e-5 * incident})


def launch(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, EXPERIMENTS / "atlas_vae.py", "--smoke", *arguments]
    environment = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)


@dataclass
class Smoke:
    folder: Path
    process: "subprocess.CompletedProcess[str]"

    @property
    def results(self) -> dict:
        return json.loads((self.folder / "runs/atlas_vae/smoke-seed1/report/atlas_vae.json").read_text())


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Smoke:
    folder = tmp_path_factory.mktemp("experiment")
    sample(TRAINED, 100, 1).write(folder / "train.h5")
    sample(tuple(sorted({*TRAINED, *COMPARED})), 12, 2).write(folder / "test.h5")
    files = ("--train-data", folder / "train.h5", "--test-data", folder / "test.h5")
    return Smoke(folder, launch("--runs", folder / "runs", *files))


def test_smoke_run_prints_the_claims_and_where_everything_is(smoke: Smoke) -> None:
    assert smoke.process.returncode == 0, smoke.process.stderr
    for published in claims.statements.values():
        assert f"| {published.claim} |" in smoke.process.stdout
    places = dict(line.split(": ") for line in smoke.process.stdout.splitlines()[-3:])
    assert list(places) == ["report", "results", "decoder"]
    assert Path(places["report"]).is_file()
    assert Path(places["results"]) == smoke.folder / "runs/atlas_vae/smoke-seed1/report/atlas_vae.json"


def test_report_needs_nothing_else(smoke: Smoke) -> None:
    page = (smoke.folder / "runs/atlas_vae/smoke-seed1/report/report.html").read_text()
    links = re.findall(r"""(?:src|href)\s*=\s*["']([^"'\s>]{1,30})""", page)
    assert len(links) > 10
    assert all(link.startswith(("data:image/png;base64,", "#")) for link in links)
    assert "@import" not in page
    assert page.index("<h2>Figures") < page.index("<h2>Claims") < page.index("<h2>Metrics")


def test_results_say_where_they_come_from(smoke: Smoke) -> None:
    results = smoke.results
    assert len(results["claims"]) == len(claims.statements)
    assert all({"claim", "source", "paper", "ours", "verdict"} == set(item) for item in results["claims"])
    assert all({"name", "unit", "paper", "ours", "uncertainty", "data"} <= set(item) for item in results["quantities"])
    provenance = results["provenance"]
    assert (provenance["seed"], provenance["seeds"], provenance["preset"]) == (1, [1], "smoke")
    assert re.fullmatch(r"[0-9a-f]{40}|unknown", provenance["commit"])
    assert {"python", "calogen", "numpy", "keras", "tensorflow"} <= set(provenance["versions"])
    assert provenance["device"]
    assert provenance["wall_time"] > 0
    for name, data in provenance["data"].items():
        content = (smoke.folder / data["file"]).read_bytes()
        assert (data["file"], data["sha256"]) == (f"{name}.h5", hashlib.sha256(content).hexdigest())
    assert set(provenance["data"]) == {"train", "test"}


def test_the_decoder_is_exported(smoke: Smoke) -> None:
    exported = smoke.folder / "runs/atlas_vae/smoke-seed1/lwtnn"
    assert sorted(path.name for path in exported.glob("[!.]*")) == ["closure.md", "decoder.json", "manifest.json"]
    manifest = json.loads((exported / "manifest.json").read_text())
    assert manifest["output"]["size"] == 281
    assert manifest["sha256"]["decoder.json"] == hashlib.sha256((exported / "decoder.json").read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("none.h5", "no such file: {}"),
        ("b.h5", "{} must hold showers at 24576, 524288 MeV, at least two. Received: fewer"),
    ],
)
def test_a_fault_of_the_data_is_one_line_and_exit_code_2_before_the_training(
    name: str, error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sample(TRAINED, 2, 1).write(tmp_path / "a.h5")
    sample(TRAINED, 2, 2).write(tmp_path / "b.h5")
    files = ["--train-data", str(tmp_path / "a.h5"), "--test-data", str(tmp_path / name)]
    monkeypatch.setattr("sys.argv", ["atlas_vae.py", "--smoke", "--runs", str(tmp_path / "runs"), *files])
    script = load("atlas_vae")
    with pytest.raises(SystemExit, match="2"):
        script.execute(script.main, "")
    assert capsys.readouterr().err == f"atlas_vae: error: {error.format(tmp_path / name)}\n"
    assert not (tmp_path / "runs").exists()


def test_energies_of_half_precision_need_the_flag_and_are_noted(tmp_path: Path) -> None:
    energies = sorted({*TRAINED, *COMPARED})
    files = {"train": tmp_path / "a.h5", "test": tmp_path / "b.h5"}
    test = sample(tuple(energies), 3, 2)
    sample(TRAINED, 2, 1).write(files["train"])
    replace(test, incident_energies=test.incident_energies * (1 + 4e-4)).write(files["test"])
    given = {"train_data": files["train"], "test_data": files["test"]}
    arguments = Arguments(preset="smoke", seeds=(1,), runs=tmp_path, **given)
    with pytest.raises(DataFormatError, match="b.h5 must hold showers at"):
        read_at_energies(arguments, "photons", ATLAS_VAE_WINDOW, TRAINED, COMPARED)
    found = read_at_energies(replace(arguments, tolerant=True), "photons", ATLAS_VAE_WINDOW, TRAINED, COMPARED)
    assert np.isin(found.reference.incident_energies, energies).all()
    assert found.note == f"a.h5, b.h5; b.h5: {len(test)} incident energies were close to known ones and count as equal"


def test_one_file_is_not_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["atlas_vae.py", "--smoke", "--train-data", str(tmp_path / "a.h5")])
    script = load("atlas_vae")
    with pytest.raises(SystemExit, match="2"):
        script.execute(script.main, "")
    assert "--train-data and --test-data go together" in capsys.readouterr().err


def test_what_was_chosen_was_scanned() -> None:
    path = Path(__file__).parents[2] / "experiments" / "scans" / "atlas_vae.toml"
    first, final = (read_grid(path, "atlas_vae", "paper", finalists=which) for which in (False, True))
    assert CONFIGS["absolute"][0] in [first.config_of(point) for point in first.points()]
    assert CONFIGS["paper"][0] in [final.config_of(point) for point in final.points()]


def test_each_figure_of_the_paper_is_drawn_once() -> None:
    observables, showers = load("atlas_vae").OBSERVABLES, make_showers(ATLAS_VAE_WINDOW, 20)
    for observable in observables:
        assert np.isfinite(observable.values(showers)).all(), observable.name
        assert observable.noise_free <= {"16", "17", "18", "19"} | {f"{n}{p}" for n in range(5, 14) for p in "abc"}
    figures = [figure for observable in observables for figure in observable.figures.values()]
    assert {figure.rstrip("abcd") for figure in figures} == {
        str(n) for n in (5, 6, 7, 8, *range(10, 14), *range(15, 20))
    }
    assert len(figures) == len(set(figures)) + 2, "only Figs. 17 and 19 hold two observables"
