"""Experiment scripts on toy showers: what their tests share."""

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import make_showers
from toy_commands import load_script
from toy_gan import GAN_VALUES

from calogen.reproduction import chi2_selection
from calogen.showers.cells import CellGrid
from calogen.showers.geometry import Geometry
from calogen.showers.sample import Showers

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def showers_of(geometry: Geometry, momenta: Sequence[float], counts: Sequence[int], seed: int = 1) -> Showers:
    """Photon-like showers, so many of each momentum, MeV; one of them is empty. In cells they have impact points."""
    incident = np.repeat(momenta, counts)
    showers = make_showers(geometry, len(incident), seed)
    energies = showers.energies * (incident / showers.incident_energies)[:, None].astype(np.float32)
    energies[1] = 0.0
    rng, count = np.random.default_rng(seed), len(incident)
    impact = {"impact_eta": rng.uniform(0.2, 0.25, count), "impact_phi": rng.uniform(-np.pi, np.pi, count)}
    return Showers(geometry, incident, energies, impact if isinstance(geometry, CellGrid) else {})


_START = """
import runpy, sys
from calogen.reproduction import networks as study_networks
study_networks.generation_time.__defaults__ = (1, 3)  # a hundred batches of 10,000 pions take minutes
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def launch(script: str, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """A script as a process of its own, preset smoke; calls are timed three times only."""
    environment = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", _START, EXPERIMENTS / f"{script}.py", "--smoke", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)


def write_showers(folder: Path, geometry: Geometry, momenta: Sequence[float]) -> tuple[str | Path, ...]:
    """30 training showers of each momentum and 20 of each to test with, as options of a script."""
    files: tuple[str | Path, ...] = ()
    for name, number, seed in (("train", 30, 1), ("test", 20, 2)):
        showers_of(geometry, momenta, (number,) * len(momenta), seed).write(folder / f"{name}.h5")
        files += (f"--{name}-data", folder / f"{name}.h5")
    return files


def load(script: str) -> ModuleType:
    """A script as a module: its path below `experiments/`, without suffix."""
    return load_script(EXPERIMENTS / f"{script}.py")


@dataclass
class Smoke:
    """A finished smoke run on `folder / "train.h5"` and perhaps `folder / "test.h5"`."""

    script: str
    folder: Path
    process: "subprocess.CompletedProcess[str]"

    @property
    def directory(self) -> Path:
        """Of the run with seed 1."""
        return self.folder / "runs" / self.script / "smoke-seed1"

    def read(self, name: str) -> Any:
        """A JSON file of the report."""
        return json.loads((self.directory / "report" / name).read_text(encoding="utf-8"))

    @property
    def results(self) -> dict[str, Any]:
        """The results file."""
        return self.read(f"{self.script}.json")

    @property
    def quantities(self) -> dict[str, dict[str, Any]]:
        """By name."""
        return {row["name"]: row for row in self.results["quantities"]}

    @property
    def captions(self) -> list[str]:
        """Of the report's figures."""
        page = (self.directory / "report" / "report.html").read_text(encoding="utf-8")
        return re.findall("<figcaption>(.*?)</figcaption>", page)


def check_provenance(
    smoke: Smoke, files: dict[str, str], trained: int, options: Mapping[str, object] = GAN_VALUES, **more: object
) -> None:
    """The results say where they come from and what was asked.

    Args:
        smoke: of the script that ran.
        files: of showers, by their name in the results.
        trained: number of networks.
        options: the script's own, with their values; `more` are those that have others.
    """
    about = smoke.results["provenance"]
    assert (about["seed"], about["seeds"], about["preset"]) == (1, [1], "smoke")
    assert {name: about[name] for name in options} == {**options, **more}
    assert re.fullmatch(r"[0-9a-f]{40}|unknown", about["commit"])
    assert {"python", "calogen", "numpy", "keras", "tensorflow"} <= set(about["versions"])
    assert about["device"]
    found = {name: (row["file"], row["sha256"]) for name, row in about["data"].items()}
    hashes = {name: hashlib.sha256((smoke.folder / file).read_bytes()).hexdigest() for name, file in files.items()}
    assert found == {name: (file, hashes[name]) for name, file in files.items()}
    assert len(re.findall("'training_seconds'", str(about["training"]))) == trained


def check_report(smoke: Smoke) -> None:
    """The page needs nothing else; results and metrics stand beside it."""
    page = (smoke.directory / "report" / "report.html").read_text(encoding="utf-8")
    links = re.findall(r"""(?:src|href)\s*=\s*["']([^"'\s>]{1,30})""", page)
    images = [link for link in links if not link.startswith("#")]
    assert len(images) == len(smoke.captions)
    assert all(link.startswith("data:image/png;base64,") for link in images)
    places = dict(line.split(": ") for line in smoke.process.stdout.splitlines()[-2:])
    report = smoke.directory / "report"
    assert places == {"report": str(report / "report.html"), "results": str(report / f"{smoke.script}.json")}
    assert {"title", "paper", "claims", "quantities", "tables", "provenance", "deviations", "remarks"} <= set(
        smoke.results
    )
    for caption, table in smoke.results["tables"].items():
        assert caption.replace("'", "&#39;") in page
        assert {len(row) for row in table["rows"]} == {len(table["header"])}, caption


def refusal(
    script: str, folder: Path, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A script refuses `folder / "wrong.h5"` in one line, with exit code 2, and trains nothing."""
    files = ["--train-data", str(folder / "wrong.h5")]
    monkeypatch.setattr("sys.argv", [f"{script}.py", "--smoke", "--runs", str(folder / "runs"), *files])
    module = load(script)
    with pytest.raises(SystemExit, match="2"):
        module.execute(module.main, "", chi2_selection.OPTIONS)
    (line,) = capsys.readouterr().err.splitlines()
    assert re.fullmatch(rf"{script}: error: .*{message}.*", line), line
    written = {path.name for path in (folder / "runs").rglob("*") if path.is_file()}
    assert written <= {".lock", "log.jsonl"}, "the log of a run that failed, and no more"
