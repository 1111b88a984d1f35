import ast
import multiprocessing
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController, threadpool_info

from calogen import parallel
from calogen.errors import ConfigError, TemporaryError
from calogen.evaluation import streaming
from calogen.metrics import distances
from calogen.parallel import blas_threads, free_memory, in_threads, num_cores, num_workers, process_pool

ROOT = Path(__file__).parents[1]
GIB = 2**30
NO_LIMIT = 9223372036854771712  # what the first version of control groups says instead of "max"


@pytest.fixture(autouse=True)
def node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A node of 128 cores with 200 GiB free, no limits, this process holding 1000 pages."""
    for name in tuple(os.environ):
        if name.startswith(("SLURM_", "CALOGEN_", "TF_NUM_")) or name == "OMP_THREAD_LIMIT":
            monkeypatch.delenv(name)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(128)), raising=False)
    monkeypatch.setattr(parallel, "_ROOT", tmp_path)
    write(tmp_path / "proc/meminfo", f"MemTotal: {2**28} kB\nMemAvailable: {200 * 2**20} kB\n")
    write(tmp_path / "proc/self/statm", "5000 1000 10 1 0 20 0")
    return tmp_path


def write(path: Path, text: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


def test_the_cores_are_those_that_the_process_may_run_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 256)
    assert num_cores() == 128
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {3, 5, 8}, raising=False)
    assert num_cores() == 3
    monkeypatch.delattr("os.sched_getaffinity", raising=False)  # as on macOS
    assert num_cores() == 256


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "max 100000"}, 128),
        ({"job/cpu.max": "400000 100000"}, 4),
        ({"job/cpu.max": "max 100000", "cpu.max": "250000 100000"}, 3),
        ({"job/step/cpu.max": "50000 100000", "job/cpu.max": "400000 100000"}, 1),
    ],
)
def test_a_control_group_limits_the_cores(node: Path, files: dict[str, str], expected: int) -> None:
    write(node / "proc/self/cgroup", "0::/job/step")
    for name, text in files.items():
        write(node / "sys/fs/cgroup" / name, text)
    assert num_cores() == expected


@pytest.mark.parametrize("folder", ["cpu/docker/box", "cpu"])  # in a container the first is not there
def test_control_groups_of_the_first_version_limit_the_cores(node: Path, folder: str) -> None:
    write(node / "proc/self/cgroup", "4:memory:/docker/box\n3:cpu,cpuacct:/docker/box\n2:cpuset:/\n0::/")
    group = node / "sys/fs/cgroup" / folder
    write(group / "cpu.cfs_period_us", 100000)
    write(group / "cpu.cfs_quota_us", -1)
    assert num_cores() == 128
    write(group / "cpu.cfs_quota_us", 200000)
    assert num_cores() == 2


def test_a_batch_system_limits_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "16")
    assert num_cores() == 16
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "4")
    assert num_cores() == 4
    monkeypatch.setenv("OMP_THREAD_LIMIT", "2")
    assert num_cores() == 2
    monkeypatch.setenv("OMP_THREAD_LIMIT", "many")
    assert num_cores() == 4


def test_the_users_own_number_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "4")
    monkeypatch.setenv("CALOGEN_CORES", "6")
    assert num_cores() == 6
    for wrong in ("0", "-1", "two", ""):
        monkeypatch.setenv("CALOGEN_CORES", wrong)
        with pytest.raises(ConfigError, match=f"CALOGEN_CORES must be a whole number above 0. Received: '{wrong}'"):
            num_cores()


def test_memory_is_the_least_of_what_is_free_and_what_is_granted(node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = 1000 * os.sysconf("SC_PAGE_SIZE")
    assert free_memory() == 200 * GIB
    write(node / "proc/self/cgroup", "4:memory:/job\n0::/job")
    write(node / "sys/fs/cgroup/memory/job/memory.limit_in_bytes", NO_LIMIT)
    write(node / "sys/fs/cgroup/job/memory.max", "max")
    assert free_memory() == 200 * GIB
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "16384")
    assert free_memory() == 16 * GIB - held
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "0")  # all of the node's
    monkeypatch.setenv("SLURM_MEM_PER_CPU", "2048")
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "4")
    assert free_memory() == 8 * GIB - held
    write(node / "sys/fs/cgroup/job/memory.max", 4 * GIB)
    assert free_memory() == 4 * GIB - held
    write(node / "sys/fs/cgroup/memory/job/memory.limit_in_bytes", 2 * GIB)
    assert free_memory() == 2 * GIB - held
    write(node / "proc/meminfo", f"MemAvailable: {2**20} kB")
    assert free_memory() == GIB
    write(node / "sys/fs/cgroup/job/memory.max", 1000)
    assert free_memory() == 0


def test_without_the_systems_files_memory_is_the_machines(node: Path) -> None:
    shutil.rmtree(node / "proc")
    assert free_memory() == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_workers_fit_tasks_cores_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    assert num_workers(3) == 3
    assert num_workers(1000) == 128
    assert num_workers(0) == 1
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "4")
    assert num_workers(61, worker_bytes=600_000_000) == 4  # were 61 by the node's number
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "2000")
    assert num_workers(61, worker_bytes=600_000_000) == 3
    assert num_workers(61, worker_bytes=2**40) == 1


def test_a_pool_ends_with_its_block() -> None:
    with process_pool(2, int, ()) as pool:
        assert [*pool.map(abs, range(-3, 0))] == [3, 2, 1]
    with pytest.raises(KeyError), process_pool(1, int, ()) as pool:
        tasks = [pool.submit(time.sleep, 60) for _ in range(5)]
        while not tasks[0].running():
            time.sleep(0.01)
        raise KeyError
    assert isinstance(tasks[0].exception(), BrokenProcessPool)  # it was not waited for
    assert tasks[-1].cancelled()
    assert multiprocessing.active_children() == []


def test_a_worker_that_died_is_worth_another_try() -> None:
    with pytest.raises(TemporaryError, match="a worker died"), process_pool(1, int, ()) as pool:
        pool.submit(os._exit, 1).result()


@pytest.mark.parametrize("path", [*(ROOT / "calogen").rglob("*.py")], ids=lambda path: path.stem)
def test_processes_come_from_one_pool(path: Path) -> None:
    """Which ends them in order."""
    assert ("ProcessPoolExecutor" in path.read_text(encoding="utf-8")) == (path.name == "parallel.py")


def blas() -> set[int]:
    """Threads of the libraries of linear algebra."""
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def test_libraries_are_looked_for_again_only_as_modules_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking takes 8 ms: 200 distances of a few showers took seconds."""
    made: list[ThreadpoolController] = []

    class Counted(ThreadpoolController):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    monkeypatch.setattr(parallel, "ThreadpoolController", Counted)
    parallel._libraries.cache_clear()
    for _ in range(5):
        assert list(in_threads(lambda _: threading.get_ident(), range(3), 1)) == [threading.get_ident()] * 3
    assert len(made) == 1
    monkeypatch.setitem(sys.modules, "another_module", sys)
    with blas_threads(1):
        assert len(made) == 2
    parallel._libraries.cache_clear()


def test_linear_algebra_gets_no_more_threads_than_allowed() -> None:
    with blas_threads(2):
        assert blas() == {2}
        with blas_threads(1):
            assert blas() == {1}
        assert blas() == {2}


PAIR = min(2, len(os.sched_getaffinity(0)))  # OpenBLAS takes no more threads than the process has cores


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"CALOGEN_CORES": "3"}, "3 [1, 1]"),
        ({"CALOGEN_CORES": "3", "TF_NUM_INTRAOP_THREADS": "5", "OPENBLAS_NUM_THREADS": "2"}, f"5 [{PAIR}, {PAIR}]"),
    ],
)
def test_libraries_get_the_cores_of_the_job(given: dict[str, str], expected: str) -> None:
    """Not those of the process: a control group or a batch system may grant fewer. SciPy is loaded afterwards."""
    code = """
import numpy as np
from threadpoolctl import threadpool_info
from calogen.parallel import limit_libraries, tensorflow_threads
limit_libraries()
import scipy.linalg
import tensorflow as tf
tf.matmul(tf.eye(2), tf.eye(2))
blas = [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]
print(tensorflow_threads(), blas)
"""
    hidden = ("SLURM_", "CALOGEN_", "TF_NUM_", "OPENBLAS_", "MKL_", "OMP_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment | given, cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == expected


def test_threads_give_results_in_order_and_take_few_items_ahead() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(20):
            taken.append(item)
            yield item

    def slow_at_first(item: int) -> tuple[int, set[int]]:
        time.sleep(0.01 if item % 4 == 0 else 0.0)
        return item, blas()

    ahead = []
    for position, (item, threads) in enumerate(in_threads(slow_at_first, items(), 2)):
        ahead.append(len(taken) - position)
        assert (item, threads) == (position, {1})
    assert position == 19
    assert max(ahead) == 4


def test_distances_ask_for_one_thread_of_linear_algebra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several wait for one another beside other jobs: ten times the processor time."""
    seen: list[set[int]] = []
    product, eigen = distances.squared_distances, np.linalg.eigh
    monkeypatch.setattr(np.linalg, "eigh", lambda matrix: (seen.append(blas()), eigen(matrix))[1])
    reference, generated = np.random.default_rng(1).normal(size=(2, 100, 3))
    distances.frechet_physics_distance(reference, generated, num_sizes=3, num_batches=2)
    assert seen == [{1}] * 12
    for rows, _ in product(reference, generated):
        assert blas() == {1}, rows


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (8, 2)])
def test_judging_takes_two_threads_if_the_job_has_them(
    monkeypatch: pytest.MonkeyPatch, cores: int, threads: int
) -> None:
    def thread(item: int) -> int:
        time.sleep(0.01)
        return threading.get_ident()

    monkeypatch.setenv("CALOGEN_CORES", str(cores))
    assert len(set(streaming._in_threads(thread, range(8), "waiting"))) == threads


def test_only_this_module_asks_the_system_for_cores() -> None:
    """And no pool or library gets a number of its own making."""
    banned = {"cpu_count", "process_cpu_count", "sched_getaffinity"}
    for folder in ("calogen", "experiments", "export", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            if path == ROOT / "calogen/parallel.py":
                continue
            tree = ast.parse(path.read_text(encoding="utf-8"))
            names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
            names |= {node.name for node in ast.walk(tree) if isinstance(node, ast.alias)}
            assert not names & banned, path
