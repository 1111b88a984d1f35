"""Trainings of an experiment on workers: each is the experiment's own command, for one network and seed."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import as_completed
from pathlib import Path

from calogen.cluster import worker_pool
from calogen.errors import CalogenError, TemporaryError
from calogen.process import tell
from calogen.progress import progress
from calogen.reproduction.experiment import Arguments, expand_options, run_directory

_REPLACED = ("--cluster", "--only", "--seed", "--seeds")  # options of the command that a training has of its own
_AGAIN = (TemporaryError.exit_code, 128 + signal.SIGINT, 128 + signal.SIGTERM)


def train_elsewhere(name: str, arguments: Arguments, networks: Iterable[tuple[int, str]]) -> None:
    """Trains networks on the workers of `--cluster`; one that is trained already ends at once.

    Args:
        name: name of the runs' folder.
        arguments: command line of the experiment, whose words this process has in `sys.argv`.
        networks: seed and name of each network; an empty name stands for everything of the seed.

    Raises:
        CalogenError: a training failed; its last line is named.
    """
    folder, script = Path.cwd(), Path(sys.argv[0]).absolute()
    words = _without(expand_options(sys.argv[1:]), _REPLACED)
    commands = {}
    for seed, network in networks:
        log = run_directory(name, arguments.preset, seed, arguments.runs.absolute()) / f"{network or 'experiment'}.log"
        own = ["--seed", str(seed), *(["--only", network] if network else [])]
        commands[log] = [sys.executable, str(script), *words, *own]
    with (
        progress("training on workers", len(commands), "networks") as bar,
        worker_pool(arguments.cluster) as pool,
    ):
        tasks = {pool.submit(run_command, command, folder, log): log for log, command in commands.items()}
        for task in as_completed(tasks):
            task.result()
            tell(f"{tasks[task].stem} of {tasks[task].parent.name} is trained: {tasks[task]}")
            bar.advance()


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
    """Ask Linux to end this process with the worker that starts it, which a lock would outlive."""
    os.setpgid(0, 0)  # a worker's own signals are not this process's
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _without(words: Sequence[str], flags: Sequence[str]) -> list[str]:
    """The words of a command line without some options and their values."""
    kept, left = [], iter(words)
    for word in left:
        if word in flags:
            next(left, None)
        elif word.partition("=")[0] not in flags:
            kept.append(word)
    return kept
