"""Jobs in a real Slurm of one node: arrays, signals, requeues, workers of dask-jobqueue."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import make_grid, make_showers
from test_cluster import assert_equal

from calogen.files import read_json
from calogen.generation.load import load_run
from calogen.training.state import read_identity, read_state

ROOT = Path(__file__).parents[1]
SLURM = ROOT / "tests" / "support" / "slurm.sh"
TOY = '''
"""A toy."""
import time
from dataclasses import replace
from pathlib import Path
from calogen.models import atlas_vae
from calogen.reproduction.experiment import Arguments, execute, open_run
from calogen.showers.sample import Showers
from calogen.training import train
from calogen.training.fit import fit
from conftest import make_grid

config = atlas_vae.AtlasVaeConfig(encoder_units=(8,), decoder_units=(8,), latent_dim=2, epochs=40, batch_size=50)
told = train._told_steps
slow = Path("slow").exists()

def _told(*given):
    time.sleep(2.0 if slow else 0)
    return told(*given)

train._told_steps = _told

def main(arguments: Arguments) -> None:
    showers = Showers.read(Path("train.h5"), make_grid((2, 1), (3, 2), (2, 2)))
    for seed in arguments.seeds:
        with open_run("toy", arguments.preset, seed, arguments.runs) as run:
            fit(atlas_vae, replace(config, seed=seed), showers.geometry, showers, run.directory)

execute(main, __doc__)
'''
Submit = Callable[..., str]


def missing() -> str:
    """Why there can be no Slurm here; empty: there can."""
    if os.geteuid():
        return "Slurm's daemons need root"
    if not shutil.which("slurmctld") and shutil.which("apt-get"):
        packages = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "slurm-wlm", "munge"]
        subprocess.run(packages, capture_output=True, check=False, timeout=300)
    return "" if shutil.which("slurmctld") else "slurm-wlm and munge are not installed (Debian)"


pytestmark = pytest.mark.needs_slurm


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of Slurm's commands."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("slurm")
    subprocess.run(["sh", str(SLURM), "start", str(folder)], check=True)
    yield os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
    subprocess.run(["sh", str(SLURM), "stop", str(folder)], check=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder like the repository, with a toy experiment."""
    for name in ("experiments", ".venv/bin"):
        (tmp_path / name).mkdir(parents=True)
    shutil.copy(ROOT / "experiments" / "slurm.sh", tmp_path / "experiments")
    (tmp_path / "experiments" / "toy.py").write_text(TOY)
    python = tmp_path / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT}:{ROOT}/tests TF_CPP_MIN_LOG_LEVEL=3 exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    make_showers(make_grid((2, 1), (3, 2), (2, 2)), 200).write(tmp_path / "train.h5")
    return tmp_path


@pytest.fixture
def submit(slurm: dict[str, str], checkout: Path) -> Submit:
    """A function that submits the toy and gives the job's number."""

    def run(*options: str, wait: bool = False) -> str:
        words = ["sbatch", "--parsable", "--gres=none", "--mem=1G", "--cpus-per-task=1", *(["--wait"] if wait else [])]
        command = [*words, *options, "experiments/slurm.sh", "toy", "--smoke"]
        done = subprocess.run(command, cwd=checkout, env=slurm, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    return run


def weights(folder: Path) -> list[np.ndarray]:
    networks = load_run(folder).networks
    return [array for name in sorted(networks) for array in networks[name].get_weights()]


def wait_for_training(checkout: Path) -> None:
    """Returns some epochs after the toy's training has begun, long before its end."""
    for _ in range(600):
        if list((checkout / "runs").rglob("*tfevents*")):
            time.sleep(6)
            return
        time.sleep(0.1)
    pytest.fail("no training began")


def wait_for(text: str, log: Path) -> str:
    """The log once it holds a text."""
    for _ in range(600):
        if log.exists() and re.search(text, log.read_text()):
            return log.read_text()
        time.sleep(0.1)
    pytest.fail(f"{log} must hold {text}: {log.read_text() if log.exists() else 'there is none'}")


def run_here(checkout: Path) -> None:
    """The job's script without Slurm."""
    subprocess.run(["sh", "experiments/slurm.sh", "toy", "--smoke"], cwd=checkout, capture_output=True, check=True)


def call(slurm: dict[str, str], *words: str) -> str:
    return subprocess.run(words, env=slurm, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
def test_a_job_that_is_warned_saves_queues_itself_again_and_ends_with_the_same_weights(
    slurm: dict[str, str], checkout: Path, submit: Submit
) -> None:
    """Beside jobs of an array, one for each seed."""
    (checkout / "slow").touch()
    number = submit("--output=one.log")
    wait_for_training(checkout)
    call(slurm, "scancel", "--batch", "--signal=USR1", number)
    wait_for("toy: terminated", checkout / "one.log")
    (checkout / "slow").unlink()
    stopped = checkout / "runs" / "toy" / "smoke-seed1"
    assert (stopped / "checkpoint.npz").exists()
    assert not (stopped / "decoder.keras").exists()
    for _ in range(100):
        if "PENDING" in call(slurm, "squeue", "--job", number, "--noheader", "--format=%T"):
            break
        time.sleep(0.1)
    call(slurm, "scontrol", "update", f"JobId={number}", "StartTime=now")  # it would wait for two minutes
    submit("--array=2-3", "--output=array-%a.log", wait=True)
    for _ in range(600):
        if (stopped / "decoder.keras").exists():
            break
        time.sleep(0.1)
    seeds = [weights(checkout / "runs" / "toy" / f"smoke-seed{seed}") for seed in (1, 2, 3)]
    assert not np.array_equal(seeds[1][0], seeds[2][0])
    shutil.move(stopped, checkout / "stopped")
    run_here(checkout)
    for ours, theirs in zip(weights(checkout / "stopped"), weights(stopped), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_cancelled_job_ends_in_order_and_the_next_one_goes_on(
    slurm: dict[str, str], checkout: Path, submit: Submit
) -> None:
    (checkout / "slow").touch()
    number = submit("--output=one.log")
    wait_for_training(checkout)
    call(slurm, "scancel", number)
    wait_for("toy: terminated", checkout / "one.log")
    (checkout / "slow").unlink()
    folder = checkout / "runs" / "toy" / "smoke-seed1"
    state = read_state(
        folder / "checkpoint.npz", str(json.dumps(read_identity(folder / "checkpoint.npz"), sort_keys=True))
    )
    assert 0 < len(state.history) < 40
    run_here(checkout)
    assert read_json(folder / "history.json")[: len(state.history)] == state.history, "with the very durations"


def test_workers_are_jobs(slurm: dict[str, str], tmp_path: Path) -> None:
    prologue = [f"export PYTHONPATH={ROOT}"]
    (tmp_path / "slurm.yaml").write_text(
        "slurm:\n  cores: 1\n  memory: 1GB\n  walltime: '00:10:00'\n  interface: lo\n"
        f"  python: {sys.executable}\n  job_script_prologue: {prologue}\njobs: 2\n"
    )
    command = [sys.executable, "-m", "calogen", "simulate", "--energies", "256,1024", "--showers", "20", "--output"]
    cluster = ["a.h5", "--cluster", "slurm.yaml"]
    done = subprocess.run([*command, *cluster], cwd=tmp_path, env=slurm, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    subprocess.run([*command, "b.h5"], cwd=tmp_path, check=True, capture_output=True)
    assert_equal(tmp_path / "a.h5", tmp_path / "b.h5")
    assert not call(slurm, "squeue", "--noheader").strip() or "CG" in call(slurm, "squeue")
