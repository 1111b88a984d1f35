"""Trainings of an experiment or a scan on workers: each is a command of its own."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import as_completed
from pathlib import Path

from calogen.cluster import worker_pool
from calogen.errors import CalogenError, TemporaryError
from calogen.process import tell
from calogen.progress import progress
from calogen.reproduction.experiment import Arguments, expand_options, run_directory

_AGAIN = (TemporaryError.exit_code, 128 + signal.SIGINT, 128 + signal.SIGTERM)


def train_elsewhere(name: str, arguments: Arguments, networks: Iterable[tuple[int, str]]) -> None:
    """Trains networks on the workers of `--cluster`; a trained one ends at once.

    Args:
        name: name of the runs' folder.
        arguments: command line of the experiment, whose words this process has in `sys.argv`.
        networks: seed and name of each network; an empty name stands for everything of the seed.

    Raises:
        CalogenError: as for `run_elsewhere`.
    """
    words = own_words("--only", "--seed", "--seeds")
    commands = {}
    for seed, network in networks:
        log = run_directory(name, arguments.preset, seed, arguments.runs.absolute()) / f"{network or 'experiment'}.log"
        commands[log] = [*words, "--seed", str(seed), *(["--only", network] if network else [])]
    run_elsewhere(arguments.cluster, commands, "networks")


def run_elsewhere(where: str | None, commands: Mapping[Path, Sequence[str]], unit: str) -> None:
    """Runs commands on workers.

    Args:
        where: as for `cluster.worker_pool`.
        commands: each with the file of its texts.
        unit: what they are, in the plural.

    Raises:
        CalogenError: a command failed; its last line is named.
    """
    folder = Path.cwd()
    with progress("working elsewhere", len(commands), unit) as bar, worker_pool(where) as pool:
        tasks = {pool.submit(run_command, command, folder, log): log for log, command in commands.items()}
        for task in as_completed(tasks):
            task.result()
            tell(f"{tasks[task].stem} of {tasks[task].parent.name} is done: {tasks[task]}")
            bar.advance()


def own_words(*left_out: str) -> list[str]:
    """The command of this process without `--cluster` and other options, which have values."""
    kept, words = [sys.executable, str(Path(sys.argv[0]).absolute())], iter(expand_options(sys.argv[1:]))
    for word in words:
        if word in ("--cluster", *left_out):
            next(words, None)
        elif word.partition("=")[0] not in ("--cluster", *left_out):
            kept.append(word)
    return kept


def run_command(words: Sequence[str], folder: Path, log: Path) -> None:
    """Runs a command whose texts go to a file, and which ends with this process.

    Raises:
        TemporaryError: it ended with a code after which the same command goes on.
        CalogenError: it failed.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as file:
        done = subprocess.run(
            words, cwd=folder, stdout=file, stderr=subprocess.STDOUT, check=False, preexec_fn=_end_with_parent
        )
    if done.returncode:
        said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        kind = TemporaryError if done.returncode < 0 or done.returncode in _AGAIN else CalogenError
        raise kind(f"{log.stem} ended with code {done.returncode}: {said[-1] if said else 'nothing was said'} ({log})")


def _end_with_parent() -> None:
    """Ask Linux to end this process with its worker, which a lock would outlive."""
    os.setpgid(0, 0)  # a worker's own signals are not this process's
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
