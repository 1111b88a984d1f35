"""Kills worker processes of commands at random moments."""

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np


def children_of(number: int) -> list[int]:
    """Numbers of all processes below a process."""
    found, left = [], [number]
    while left:
        one = left.pop()
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                left += map(int, (task / "children").read_text().split())
        found.append(one)
    return found[1:]


def runs(number: int) -> bool:
    """Whether a process runs; a dead one whose parent has not asked for its exit code does not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def workers_of(number: int, word: str) -> list[int]:
    """Numbers of the processes below a process that hold a library."""

    def holds(one: int) -> bool:
        with contextlib.suppress(OSError):
            return word in Path(f"/proc/{one}/maps").read_text()
        return False

    return [one for one in children_of(number) if holds(one)]


def kill_workers(number: int, deaths: int, seed: int, word: str, wait: float, ended: Callable[[], bool]) -> int:
    """Kills workers of a process (kill -9) until so many are dead or it has ended; gives their number.

    Args:
        number: the process.
        deaths: number of workers to kill.
        seed: seed of the moments.
        word: part of the name of a library that a worker holds once it works.
        wait: mean number of seconds between two deaths.
        ended: whether the work has ended.
    """
    random, killed = np.random.default_rng(seed), 0
    while not ended() and killed < deaths:
        workers = workers_of(number, word)
        if workers:
            time.sleep(random.exponential(wait))
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(random.choice(workers)), signal.SIGKILL)
                killed += 1
        time.sleep(0.05)
    return killed


def run_with_deaths(command: list[str], deaths: int, seed: int, word: str, wait: float = 1.0) -> tuple[int, int, str]:
    """Runs a command, some of whose workers are killed; see `kill_workers`.

    Returns:
        The exit code, the number of killed workers, and stderr.
    """
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, text=True) as process,
    ):
        killed = kill_workers(process.pid, deaths, seed, word, wait, lambda: process.poll() is not None)
        process.wait()
        errors.seek(0)
        return process.returncode, killed, errors.read()
