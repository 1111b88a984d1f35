"""Workers by dask: the same files on any of them, whatever dies meanwhile."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import as_completed
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import dask
import dask_jobqueue
import distributed  # noqa: F401 (its defaults are what dask.config.set goes back to)
import h5py
import numpy as np
import pytest
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


def test_workers_that_do_not_start_are_worth_another_try(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise RuntimeError("Cluster failed to start")

    monkeypatch.setattr("distributed.LocalCluster", fail)
    with (
        pytest.raises(TemporaryError, match=r"workers of local:2 are gone \(Cluster failed to start\)"),
        worker_pool("local:2"),
    ):
        pytest.fail("there are none")


@contextmanager
def scheduler_with_worker() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address and the process of a scheduler that has one worker."""
    quiet = ["--no-dashboard"]
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", *quiet]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as scheduler:
        assert scheduler.stderr is not None
        address = next(match[0] for line in scheduler.stderr if (match := re.search(r"tcp://127\.0\.0\.1:\d+", line)))
        words = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny", *quiet]
        with subprocess.Popen(words, stderr=subprocess.DEVNULL) as worker, ExitStack() as ending:
            ending.callback(worker.kill)
            ending.callback(scheduler.kill)
            yield address, scheduler


def test_a_scheduler_that_dies_at_work_is_worth_another_try_and_a_fault_of_a_task_is_its_own() -> None:
    with scheduler_with_worker() as (address, scheduler):
        with pytest.raises(FileNotFoundError), worker_pool(address) as pool:
            pool.submit(os.stat, "/nowhere").result()
        with pytest.raises(TemporaryError, match="are gone"), worker_pool(address) as pool:
            task = pool.submit(time.sleep, 60)
            time.sleep(0.5)
            scheduler.kill()
            task.result()


def generation(folder: Path, blocks: int) -> list[str]:
    """A command that generates blocks of showers; its output is left to name."""
    save_run(folder / "gan", make_gan(*RANGES[1], 1.0))
    showers = str(blocks * BLOCK_SHOWERS - 5)
    return [*COMMAND, "generate", str(folder / "gan"), "--energies", "8192", "--showers", showers, "--output"]


@pytest.mark.slow
def test_a_generation_goes_on_after_the_death_of_its_scheduler(tmp_path: Path) -> None:
    command, parts = generation(tmp_path, 12), tmp_path / "a.h5.parts"
    with (
        scheduler_with_worker() as (address, scheduler),
        subprocess.Popen([*command, str(tmp_path / "a.h5"), "--cluster", address], stderr=subprocess.PIPE) as process,
    ):
        while process.poll() is None and not (parts.is_dir() and any(parts.glob("*.h5"))):
            time.sleep(0.01)
        scheduler.kill()
        told = process.communicate(timeout=120)[1].decode()
    assert process.returncode == TemporaryError.exit_code, told
    assert f"the workers of {address} are gone" in told.splitlines()[-1]
    assert any(parts.glob("*.h5"))
    subprocess.run([*command, str(tmp_path / "a.h5"), "--cluster", "local:1"], check=True, capture_output=True)
    subprocess.run([*command, str(tmp_path / "b.h5")], check=True, capture_output=True)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


@pytest.mark.slow
def test_any_number_of_workers_gives_the_same_showers(tmp_path: Path) -> None:
    command = generation(tmp_path, 10)
    subprocess.run([*command, str(tmp_path / "alone.h5")], check=True, capture_output=True)
    for workers, files in ((1, 1), (2, 3), (8, 1)):
        words = [str(tmp_path / "a.h5"), "--cluster", f"local:{workers}", "--files", str(files)]
        done = subprocess.run([*command, *words], check=True, capture_output=True, text=True)
        assert f"workers: local:{workers}; dashboard: http://127.0.0.1:" in done.stderr
        assert_equal(tmp_path / "a.h5", tmp_path / "alone.h5")
        assert files > 1 or (tmp_path / "a.h5").read_bytes() == (tmp_path / "alone.h5").read_bytes()
        for path in tmp_path.glob("a*.h5"):
            path.unlink()


def test_the_documented_slurm_jobs_have_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are written, and not submitted."""
    text = (Path(__file__).parents[1] / "docs" / "clusters.md").read_text(encoding="utf-8")
    example = re.search(r"^    slurm:.*?^    jobs: \d+$", text, re.MULTILINE | re.DOTALL)
    assert example is not None
    (tmp_path / "cluster.yaml").write_text(re.sub("^    ", "", example[0], flags=re.MULTILINE))
    scripts = []

    def adapt(cluster: Any, minimum_jobs: int, maximum_jobs: int) -> None:
        scripts.append((minimum_jobs, maximum_jobs, cluster.job_script().splitlines()))

    monkeypatch.setattr(dask_jobqueue.SLURMCluster, "adapt", adapt)
    monkeypatch.setattr("shutil.which", lambda program: f"/usr/bin/{program}")
    with worker_pool(str(tmp_path / "cluster.yaml")):
        pass
    ((least, most, script),) = scripts
    assert least == most == 6
    expected = {"#SBATCH -p gpu", "#SBATCH --cpus-per-task=4", "#SBATCH --gres=gpu:1", "export CALOGEN_CORES=4"}
    assert expected <= set(script)
