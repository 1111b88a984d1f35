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

Find = Callable[[int], list[int]]


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
    return _state_and_parent(number)[0] not in ("", "Z")


def _state_and_parent(number: int) -> list[str]:
    """State of a process and its parent's number; empty texts where there is none."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[:2]
    return ["", ""]


def holders(word: str) -> Find:
    """A function that gives the processes below a process that hold a library, by a part of its name."""

    def holds(one: int) -> bool:
        with contextlib.suppress(OSError):
            return word in Path(f"/proc/{one}/maps").read_text()
        return False

    return lambda number: [one for one in children_of(number) if holds(one)]


def employers(word: str) -> Find:
    """As `holders`, but the workers of dask (they hold msgpack) of which a child holds the library."""

    def parents(number: int) -> list[int]:
        found = {_state_and_parent(one)[1] for one in holders(word)(number)}
        return [one for one in holders("_cmsgpack")(number) if str(one) in found]

    return parents


def kill_workers(number: int, deaths: int, seed: int, find: Find, wait: float, ended: Callable[[], bool]) -> int:
    """Kills workers of a process (kill -9) until so many are dead or it has ended; gives their number.

    Args:
        number: the process.
        deaths: number of workers to kill.
        seed: seed of the moments.
        find: function that gives the workers below a process that are at work.
        wait: mean number of seconds between two deaths.
        ended: whether the work has ended.
    """
    random, killed = np.random.default_rng(seed), 0
    while not ended() and killed < deaths:
        workers = find(number)
        if workers:
            time.sleep(random.exponential(wait))
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(random.choice(workers)), signal.SIGKILL)
                killed += 1
        time.sleep(0.05)
    return killed


def run_with_deaths(command: list[str], deaths: int, seed: int, find: Find, wait: float = 1.0) -> tuple[int, int, str]:
    """Runs a command, some of whose workers are killed; see `kill_workers`.

    Returns:
        The exit code, the number of killed workers, and stderr.
    """
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, text=True) as process,
    ):
        killed = kill_workers(process.pid, deaths, seed, find, wait, lambda: process.poll() is not None)
        process.wait()
        errors.seek(0)
        return process.returncode, killed, errors.read()
