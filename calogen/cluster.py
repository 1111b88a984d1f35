"""Workers of this machine or of a cluster; no other module knows dask.

Where work is done is one word, the option `--cluster` of commands and experiments: nothing (processes of this one),
`local:4`, `tcp://host:8786` (a running scheduler) or a YAML file for a batch system. Tasks are functions of calogen
with arguments that can be pickled; what they make lies in files that all machines see. A worker that is killed is
replaced, and its task is done anew.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calogen.config import require
from calogen.errors import ConfigError, DataFormatError, TemporaryError
from calogen.parallel import num_cores, process_pool
from calogen.process import tell

if TYPE_CHECKING:
    from distributed import Client

KINDS = {"slurm": "SLURMCluster", "htcondor": "HTCondorCluster", "pbs": "PBSCluster", "lsf": "LSFCluster"}
"""Classes of dask-jobqueue by the name of the batch system, the first key of a YAML file."""
JOBS = "jobs"
"""Key of a YAML file with the number of jobs, each of which has the `processes` of the batch system's table."""
_DEATHS = 10  # workers that a task may cost before it counts as deadly
_ONE_TASK = ["--nthreads", "1"]  # of a worker at a time: neither Geant4 nor TensorFlow shares its process

_common: Executor | None = None


def _nothing() -> None:
    """Before a task that needs no preparation."""


@contextmanager
def worker_pool(
    where: str | None,
    workers: int = 1,
    initializer: Callable[..., None] = _nothing,
    arguments: tuple[object, ...] = (),
) -> Iterator[Executor]:
    """Workers, as an executor of `concurrent.futures`; waiting tasks end with the block.

    Args:
        where: `local:N`, `tcp://host:port` or the path of a YAML file; None: processes of this one.
        workers: number of processes, where `where` does not say it.
        initializer: function that is called in a worker before its tasks: once in a process of this one, before each
            task on a cluster, whose workers may serve several commands.
        arguments: arguments of the initializer.

    Raises:
        ConfigError: `where` is no such word, or dask is missing.
        DataFormatError: the file is none of these.
        TemporaryError: a worker died, or the scheduler did.
    """
    if where is None:
        with process_pool(workers, initializer, arguments) as pool:
            yield pool
        return
    with _connected(where) as client:
        yield _Workers(client, initializer, arguments)


@contextmanager
def common_pool(where: str | None) -> Iterator[None]:
    """Workers that all parts of a block share, as `common_workers` gives them.

    Args:
        where: as for `worker_pool`; None: there are none.
    """
    global _common  # noqa: PLW0603 (parts are deep in the work, and do not know where it is done)
    if where is None:
        yield
        return
    with worker_pool(where) as pool:
        _common = pool
        try:
            yield
        finally:
            _common = None


def common_workers() -> Executor | None:
    """The workers of the `common_pool` around; None: there are none."""
    return _common


class _Workers(Executor):
    """The workers of a scheduler; each of their tasks begins with the initializer."""

    def __init__(self, client: "Client", initializer: Callable[..., None], arguments: tuple[object, ...]) -> None:
        self._executor = client.get_executor(pure=False)
        self._before = initializer, arguments

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:  # noqa: ANN401
        """Hands a task to the scheduler."""
        return self._executor.submit(_begin_and_run, *self._before, function, *arguments, **options)


def _begin_and_run(
    initializer: Callable[..., None],
    before: tuple[object, ...],
    function: Callable[..., object],
    *arguments: object,
    **options: object,
) -> object:
    """A task of a worker."""
    initializer(*before)
    return function(*arguments, **options)


@contextmanager
def _connected(where: str) -> Iterator["Client"]:
    """A client of the workers; those that are started here end with the block."""
    try:
        import dask
        from distributed import Client, KilledWorker
        from distributed.comm import CommClosedError
    except ImportError as error:
        raise ConfigError("--cluster needs dask: pip install 'calogen[cluster]'") from error
    with dask.config.set({"distributed.scheduler.allowed-failures": _DEATHS}), _started(where) as cluster:
        try:
            client = Client(cluster, set_as_default=False)
        except OSError as error:
            raise _gone(where, error) from error
        with client:
            tell(f"workers: {where}; dashboard: {client.dashboard_link}")
            try:
                yield client
            except (KilledWorker, CommClosedError, CancelledError) as error:
                raise _gone(where, error) from error


def _gone(where: str, error: BaseException) -> TemporaryError:
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    return TemporaryError(f"the workers of {where} are gone ({reason}): run the same command again")


@contextmanager
def _started(where: str) -> Iterator[object]:
    """A new cluster, or the address of one that runs."""
    if where.startswith("tcp://"):
        yield where
        return
    kind, _, number = where.partition(":")
    if kind == "local":
        require(number.isdecimal() and int(number) >= 1, f"--cluster local:N needs a number. Received: {where}")
        with _local(int(number)) as cluster:
            yield cluster
        return
    require(
        where.endswith((".yaml", ".yml")),
        f"--cluster must be local:N, tcp://host:port or a YAML file. Received: {where}",
    )
    with _jobs(Path(where)) as cluster:
        yield cluster


def _local(number: int) -> Any:  # noqa: ANN401 - a class of an optional library
    from distributed import LocalCluster

    threads = max(1, num_cores() // number)
    try:
        return LocalCluster(
            n_workers=number,
            threads_per_worker=1,
            processes=True,
            memory_limit=None,
            dashboard_address=":0",
            host="127.0.0.1",
            silence_logs="ERROR",
            env=_environment(threads),
        )
    except (RuntimeError, OSError) as error:  # as on an overloaded machine, or when the clock jumps
        raise _gone(f"local:{number}", error) from error


def _jobs(path: Path) -> Any:  # noqa: ANN401 - a class of an optional library
    """Jobs of a batch system, from a file.

    It has a table of dask-jobqueue's own keys, and a number of jobs.

    Raises:
        ConfigError: dask-jobqueue is missing, or does not know a key.
        DataFormatError: the file cannot be read, or is of another kind.
    """
    try:
        import dask_jobqueue
        import yaml
    except ImportError as error:
        raise ConfigError("--cluster FILE needs dask-jobqueue: pip install 'calogen[cluster]'") from error
    try:
        table = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise DataFormatError(f"{path} must be a YAML file of a cluster. Received: {reason}") from error
    known = [name for name in KINDS if isinstance(table, dict) and isinstance(table.get(name), dict)]
    if len(known) != 1 or set(table) - {JOBS} != set(known) or type(table.get(JOBS, 1)) is not int:
        raise DataFormatError(
            f"{path} must have a table slurm, htcondor, pbs or lsf with dask-jobqueue's keys, and jobs: N. "
            f"Received: {', '.join(map(str, table)) if isinstance(table, dict) else type(table).__name__}"
        )
    options: dict[str, Any] = dict(table[known[0]])
    cores = options.get("cores", 1)
    processes = options.setdefault("processes", cores)
    if not (isinstance(cores, int) and isinstance(processes, int) and 1 <= processes <= cores):
        raise DataFormatError(f"{path}: processes must be 1..cores. Received: {processes!r} and {cores!r}")
    threads = cores // processes
    require(table.get(JOBS, 1) >= 1, f"{path}: jobs must be 1 or more. Received: {table.get(JOBS)}")
    lines = [f"export {name}={value}" for name, value in _environment(threads).items()]
    options["job_script_prologue"] = [*(options.get("job_script_prologue") or ()), *lines]
    options["worker_extra_args"] = [*(options.get("worker_extra_args") or ()), *_ONE_TASK]
    free_port = {"dashboard_address": ":0"}
    options["scheduler_options"] = free_port | (options.get("scheduler_options") or {})
    batch_system = getattr(dask_jobqueue, KINDS[known[0]])
    classes = (batch_system, dask_jobqueue.JobQueueCluster, dask_jobqueue.core.Job, batch_system.job_cls)
    unknown = set(options).difference(*(signature(item).parameters for item in classes))
    require(not unknown, f"{path}: dask-jobqueue knows no key {', '.join(sorted(unknown))} of {known[0]}")
    program = batch_system.job_cls.submit_command.split()[0]
    require(shutil.which(program) is not None, f"{path} needs the command {program}. Received: none in PATH")
    try:
        cluster = batch_system(**options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{path}: dask-jobqueue refuses the table {known[0]}: {error}") from error
    except (RuntimeError, OSError) as error:
        raise _gone(str(path), error) from error
    number = table.get(JOBS, 1)
    cluster.adapt(minimum_jobs=number, maximum_jobs=number)  # a job that meets its time limit is submitted again
    return cluster


def _environment(threads: int) -> dict[str, str]:
    """Variables of a worker: cores of its libraries."""
    libraries = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
    here = {"CALOGEN_CORES": str(threads), "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2")}
    return here | dict.fromkeys(libraries, "1") | {"TF_FORCE_GPU_ALLOW_GROWTH": "true"}
