"""The experiment script end to end on toy showers in the CaloChallenge's format."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import make_showers

from calogen.geometry import PHOTONS_DATASET1, PIONS_DATASET1
from calogen.showers import Showers

SCRIPT = Path(__file__).parents[2] / "experiments" / "caloshowergan.py"


def launch(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    environment = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, SCRIPT, "--smoke", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("caloshowergan")
    momenta = np.repeat(2.0 ** np.arange(10, 13), 60)
    showers = make_showers(PHOTONS_DATASET1, len(momenta), 1)
    energies = showers.energies * (momenta / showers.incident_energies)[:, None].astype(np.float32)
    energies[7] = 0.0
    Showers(PHOTONS_DATASET1, momenta, energies).write(folder / "photons.hdf5")
    make_showers(PIONS_DATASET1, 50).write(folder / "pions.hdf5")
    return folder


def test_smoke_run_shows_total_and_layer_energies(folder: Path) -> None:
    done = launch("--runs", folder / "runs", "--train-data", folder / "photons.hdf5")
    assert done.returncode == 0, done.stderr
    run = folder / "runs/caloshowergan/smoke-seed1"
    results = json.loads((run / "report/caloshowergan.json").read_text())
    found = {row["name"]: row for row in results["quantities"]}
    assert found["chi2/NDF of the total energy, all momenta"]["ours"] > 1  # hardly trained
    assert {f"KS distance of the energy in layer {layer}, all momenta" for layer in (0, 1, 2, 3, 12)} <= set(found)
    assert {row["data"] for row in found.values()} == {"photons.hdf5, photons.hdf5"}
    metrics = json.loads((run / "report/metrics.json").read_text())
    assert {row["incident_energy"] for row in metrics} == {0.0, 1024.0, 2048.0, 4096.0}
    page = (run / "report/report.html").read_text()
    assert "Fig. 5: total energy, by momentum" in page
    assert "all energies" in page
    provenance = json.loads((run / "photon/provenance.json").read_text())
    assert (provenance["showers"], provenance["showers_without_energy"]) == (179, 1)
    assert len(list((run / "photon/snapshots").iterdir())) == 30
    again = launch("--runs", folder / "runs", "--train-data", folder / "photons.hdf5")
    assert again.returncode == 0, again.stderr
    assert "training" not in again.stderr  # what was trained before is not trained again


def test_the_pion_file_is_refused(folder: Path) -> None:
    done = launch("--runs", folder / "pion-runs", "--train-data", folder / "pions.hdf5")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("caloshowergan: error:")
    assert "photons_dataset1 must have shape [n, 368]. Received: [50, 533]" in done.stderr
    assert not (folder / "pion-runs").exists()
