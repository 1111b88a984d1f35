"""Cores and memory of this job, and how many workers and threads may share them.

A batch job, a container or `taskset` often grants a few cores of a large node, of which the node's own numbers tell
nothing. Every pool of workers and every library with threads gets its limits from this module.
"""

import math
import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TypeVar

from threadpoolctl import ThreadpoolController, threadpool_limits

from calogen.errors import ConfigError, TemporaryError
from calogen.process import prepare_worker

_ROOT = Path("/")  # the folder of /proc and /sys, which tests replace
_TENSORFLOW = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
_LINEAR_ALGEBRA = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_MEBIBYTE = 2**20  # Slurm's unit

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


def num_cores() -> int:
    """Number of cores that this job may use, at least 1.

    The environment variable `CALOGEN_CORES` sets it. Without this variable it is the smallest of three numbers: the
    cores on which the process may run; the processor time that its control groups grant (containers, systemd,
    Kubernetes; a part of a core counts as one); and the cores that a batch system grants (`SLURM_CPUS_PER_TASK`, else
    `SLURM_CPUS_ON_NODE`, and `OMP_THREAD_LIMIT`, which HTCondor sets).

    Raises:
        ConfigError: `CALOGEN_CORES` is no whole number above 0.
    """
    wanted = os.environ.get("CALOGEN_CORES")
    if wanted is not None:
        if not _number("CALOGEN_CORES"):
            raise ConfigError(f"CALOGEN_CORES must be a whole number above 0. Received: {wanted!r}")
        return _number("CALOGEN_CORES")
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    slurm = _number("SLURM_CPUS_PER_TASK") or _number("SLURM_CPUS_ON_NODE")
    granted = [number for number in (slurm, _number("OMP_THREAD_LIMIT")) if number]
    return max(1, min([allowed, *granted, *_quotas()]))


def free_memory() -> int:
    """Bytes of memory that this job may still take: the smallest of free and granted memory.

    Memory is granted by the limits of the job's control groups and by Slurm (`SLURM_MEM_PER_NODE`, or
    `SLURM_MEM_PER_CPU` for every core); the memory that this process holds already is subtracted.
    """
    per_cpu = _number("SLURM_MEM_PER_CPU") * (_number("SLURM_CPUS_ON_NODE") or num_cores())
    limits = [size * _MEBIBYTE for size in (_number("SLURM_MEM_PER_NODE"), per_cpu) if size]
    for group in _groups("memory"):
        words = _words(group / "memory.max") or _words(group / "memory.limit_in_bytes")
        limits += [int(word) for word in words if word != "max"]
    resident = _words(_ROOT / "proc/self/statm")[1:2]  # pages
    held = int(resident[0]) * os.sysconf("SC_PAGE_SIZE") if resident else 0
    return max(0, min([_available(), *(limit - held for limit in limits)]))


def num_workers(num_tasks: int, worker_bytes: int = 0) -> int:
    """Number of workers, at least 1: limited by tasks, cores and memory.

    Args:
        num_tasks: number of tasks.
        worker_bytes: memory that each worker needs for itself; 0: memory sets no limit.
    """
    if num_tasks <= 1:
        return 1
    fitting = free_memory() // worker_bytes if worker_bytes else num_tasks
    return max(1, min(num_tasks, num_cores(), fitting))


def in_threads(function: Callable[[ItemT], ResultT], items: Iterable[ItemT], workers: int) -> Iterator[ResultT]:
    """Results in the order of the items, from threads with one thread of linear algebra.

    At most twice as many items as there are workers wait at a time. A single worker is the calling thread itself.
    """
    if workers == 1:  # to start a thread takes longer than to compare few showers
        with blas_threads(1):
            yield from map(function, items)
        return
    with blas_threads(1), ThreadPoolExecutor(workers) as pool:
        yield from in_order(pool, function, items, 2 * workers)


def in_order(
    pool: Executor, function: Callable[[ItemT], ResultT], items: Iterable[ItemT], most: int
) -> Iterator[ResultT]:
    """Results of workers in the order of the items, of which at most so many wait at a time."""
    waiting: deque[Future[ResultT]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) == most:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def in_any_order(
    pool: Executor, function: Callable[[ItemT], ResultT], items: Iterable[ItemT], most: int
) -> Iterator[tuple[int, ResultT]]:
    """Numbers of items, from 0, and results as workers finish; at most so many items wait."""
    waiting: dict[Future[ResultT], int] = {}
    numbered = enumerate(items)
    try:
        while True:
            for number, item in islice(numbered, most - len(waiting)):
                waiting[pool.submit(function, item)] = number
            if not waiting:
                return
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                yield waiting.pop(future), future.result()
    finally:
        for future in waiting:
            future.cancel()


@contextmanager
def process_pool(
    workers: int, initializer: Callable[..., None], arguments: tuple[object, ...]
) -> Iterator[ProcessPoolExecutor]:
    """Processes that end with the block, or with its failure, before their tasks.

    Args:
        workers: number of processes.
        initializer: function that each process calls first, once it is prepared as a worker.
        arguments: arguments of the initializer.

    Raises:
        TemporaryError: a worker died.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _begin, (initializer, arguments)) as pool:
        try:
            yield pool
        except BrokenProcessPool as error:
            raise TemporaryError("a worker died (out of memory, or killed): run the same command again") from error
        except BaseException:
            for worker in multiprocessing.active_children():
                worker.terminate()  # a task may take minutes, but a cluster grants seconds
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def _begin(initializer: Callable[..., None], arguments: tuple[object, ...]) -> None:
    prepare_worker()
    initializer(*arguments)


@contextmanager
def blas_threads(limit: int) -> Iterator[None]:
    """Limits the threads of NumPy's and SciPy's linear algebra.

    Without a limit it uses every core on which the process may run, even for small matrices: beside other jobs its
    threads spend ten times the processor time on waiting for one another.
    """
    with _libraries(len(sys.modules)).limit(limits=limit, user_api="blas"):
        yield


@lru_cache(maxsize=1)
def _libraries(_num_modules: int) -> ThreadpoolController:
    """The loaded libraries with threads; to find them takes 8 ms, new modules may add some."""
    return ThreadpoolController()


def limit_libraries() -> None:
    """Limits TensorFlow to the cores of this job, and linear algebra to one thread.

    By themselves both would use every core on which the process may run, whatever a control group or a batch system
    grants. TensorFlow must not have computed anything before. Processes that this one starts inherit the limits.
    """
    limit_tensorflow()
    if not any(name in os.environ for name in _LINEAR_ALGEBRA):
        threadpool_limits(1, user_api="blas")  # for the libraries that are loaded already
    for name in _LINEAR_ALGEBRA:
        os.environ.setdefault(name, "1")


def limit_tensorflow() -> None:
    """Gives TensorFlow the cores of this job, unless the environment sets their number."""
    for name in _TENSORFLOW:
        os.environ.setdefault(name, str(num_cores()))


def tensorflow_threads() -> int:
    """Number of threads among which TensorFlow divides an operation."""
    tensorflow = sys.modules.get("tensorflow")
    chosen = tensorflow.config.threading.get_intra_op_parallelism_threads() if tensorflow else 0
    return chosen or _number(_TENSORFLOW[0]) or num_cores()


def _number(name: str) -> int:
    """The whole number in an environment variable; 0: there is none."""
    text = os.environ.get(name, "").strip()
    return int(text) if text.isdecimal() else 0


def _quotas() -> list[int]:
    """Numbers of cores that the control groups grant, for each group with a limit."""
    quotas = []
    for group in _groups("cpu"):
        words = _words(group / "cpu.max")
        words = words or _words(group / "cpu.cfs_quota_us") + _words(group / "cpu.cfs_period_us")
        if len(words) == 2 and words[0] not in ("max", "-1"):
            quotas.append(math.ceil(int(words[0]) / int(words[1])))
    return quotas


def _groups(controller: str) -> Iterator[Path]:
    """Folders of this process's control groups; a container's own is mounted as the root."""
    for line in _lines(_ROOT / "proc/self/cgroup"):
        _, names, path = line.split(":", 2)
        if names and controller not in names.split(","):
            continue
        folder = _ROOT / "sys/fs/cgroup" / (controller if names else "")
        yield folder
        for part in path.split("/"):
            if part not in ("", ".."):
                folder = folder / part
                yield folder


def _available() -> int:
    """Bytes of memory that the machine can give without swapping."""
    for line in _lines(_ROOT / "proc/meminfo"):
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _words(path: Path) -> list[str]:
    return [word for line in _lines(path) for word in line.split()]


def _lines(path: Path) -> list[str]:
    """Lines of a file of the system; an empty list if it does not exist."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
