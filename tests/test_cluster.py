"""Workers by dask: the same files on any of them, whatever dies meanwhile."""

import os
import re
import subprocess
import sys
import time
from concurrent.futures import as_completed
from pathlib import Path

import dask
import h5py
import numpy as np
import pytest
from killing import run_with_deaths
from toy_gan import RANGES, make_gan

from calogen.cluster import worker_pool
from calogen.errors import ConfigError, DataFormatError, TemporaryError
from calogen.training.latent import BLOCK_SHOWERS
from calogen.training.run import save_run

COMMAND = [sys.executable, "-m", "calogen"]
SHORT = ("cpu_seconds",)  # which no two runs share


def datasets(path: Path) -> dict[str, np.ndarray]:
    with h5py.File(path) as file:
        return {name: item[:] for name, item in file.items() if isinstance(item, h5py.Dataset) and name not in SHORT}


def assert_equal(one: Path, other: Path) -> None:
    found, expected = datasets(one), datasets(other)
    assert list(found) == list(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("local:0", "local:N needs a number. Received: local:0"),
        ("local", "local:N needs a number"),
        ("many", "must be local:N, tcp://host:port or a YAML file. Received: many"),
    ],
)
def test_a_place_that_is_none_is_refused(where: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message), worker_pool(where):
        pytest.fail("the block must not run")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("slurm: [1", "must be a YAML file of a cluster"),
        ("[1, 2]", "must have a table slurm, htcondor, pbs or lsf .* Received: list"),
        ("jobs: 3", "Received: jobs"),
        ("slurm: {cores: 1}\npbs: {cores: 1}", "Received: slurm, pbs"),
        ("slurm: {cores: 1}\njobs: many", "must have a table"),
        ("slurm: {cores: 2, processes: 3}", r"processes must be 1\.\.cores. Received: 3 and 2"),
        ("!!python/object/apply:os.system [exit 1]", "must be a YAML file of a cluster"),
    ],
)
def test_a_file_that_is_no_cluster_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(text)
    with pytest.raises(DataFormatError, match=message), worker_pool(str(path)):
        pytest.fail("the block must not run")


def test_a_key_that_dask_does_not_know_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text("slurm: {cores: 1, memory: 1GB, cpus: 4}\n")
    with pytest.raises(ConfigError, match="dask-jobqueue knows no key cpus of slurm"), worker_pool(str(path)):
        pytest.fail("the block must not run")


def test_workers_compute_alone_and_their_errors_arrive() -> None:
    with worker_pool("local:2") as pool:
        tasks = [pool.submit(os.getpid) for _ in range(4)]
        assert os.getpid() not in {task.result() for task in as_completed(tasks)}
        assert pool.submit(os.getenv, "CALOGEN_CORES").result() == "1"
        assert [*pool.map(abs, range(-3, 0))] == [3, 2, 1]
        with pytest.raises(ConfigError, match="workers at"):
            pool.submit(_refuse).result()
        with pytest.raises(ValueError, match="invalid literal"):
            pool.submit(int, "a").result()


def _refuse() -> None:
    raise ConfigError("workers at work")


def test_a_scheduler_that_is_gone_is_worth_another_try() -> None:
    patience = dask.config.set({"distributed.comm.timeouts.connect": "1s"})
    with (
        patience,
        pytest.raises(TemporaryError, match="the workers of tcp://127.0.0.1:9 are gone"),
        worker_pool("tcp://127.0.0.1:9"),
    ):
        pytest.fail("the block must not run")


def test_a_scheduler_that_dies_at_work_is_worth_another_try_and_a_fault_of_a_task_is_its_own() -> None:
    command = [
        sys.executable,
        "-m",
        "distributed.cli.dask_scheduler",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--no-dashboard",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as scheduler:
        assert scheduler.stderr is not None
        address = next(match[0] for line in scheduler.stderr if (match := re.search(r"tcp://127\.0\.0\.1:\d+", line)))
        words = [
            sys.executable,
            "-m",
            "distributed.cli.dask_worker",
            address,
            "--nthreads",
            "1",
            "--no-dashboard",
            "--no-nanny",
        ]
        with subprocess.Popen([*words, "--death-timeout", "5"], stderr=subprocess.DEVNULL):
            with pytest.raises(FileNotFoundError), worker_pool(address) as pool:
                pool.submit(os.stat, "/nowhere").result()
            with pytest.raises(TemporaryError, match="are gone"), worker_pool(address) as pool:
                task = pool.submit(time.sleep, 60)
                time.sleep(0.5)
                scheduler.kill()
                task.result()


def simulate(folder: Path, deaths: int, seed: int, showers: int) -> None:
    options = ["--energies", "256,1024", "--showers", str(showers), "--output"]
    command = [*COMMAND, "simulate", *options, str(folder / "a.h5"), "--cluster", "local:2"]
    code, killed, text = run_with_deaths(command, deaths, seed, "geant4_pybind")
    assert (code, killed > 0) == (0, True), text
    subprocess.run([*COMMAND, "simulate", *options, str(folder / "b.h5")], check=True, capture_output=True)
    assert_equal(folder / "a.h5", folder / "b.h5")
    assert sorted(path.name for path in folder.iterdir()) == ["a.h5", "b.h5"]


def generate(folder: Path, deaths: int, seed: int, blocks: int) -> None:
    save_run(folder / "gan", make_gan(*RANGES[1], 1.0))
    options = [str(folder / "gan"), "--energies", "8192", "--showers", str(blocks * BLOCK_SHOWERS - 5), "--output"]
    command = [*COMMAND, "generate", *options, str(folder / "a.h5"), "--cluster", "local:2"]
    code, killed, text = run_with_deaths(command, deaths, seed, "libtensorflow_framework")
    assert (code, killed > 0) == (0, True), text
    subprocess.run([*COMMAND, "generate", *options, str(folder / "b.h5")], check=True, capture_output=True)
    assert (folder / "a.h5").read_bytes() == (folder / "b.h5").read_bytes()


def test_simulation_survives_killed_workers(tmp_path: Path) -> None:
    simulate(tmp_path, 3, 1, 150)


def test_generation_survives_killed_workers(tmp_path: Path) -> None:
    generate(tmp_path, 3, 1, 4)


@pytest.mark.slow
def test_commands_survive_twenty_killed_workers(tmp_path: Path) -> None:
    simulate(tmp_path, 20, 2, 4000)
    (tmp_path / "more").mkdir()
    generate(tmp_path / "more", 20, 2, 40)
