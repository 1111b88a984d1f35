"""Time and memory by numbers of showers and of workers, and a schedule for 1e9 showers.

    python benchmarks/scaling.py                                         # up to 1e6 showers, 1 and 2 workers
    python benchmarks/scaling.py --part generation --part evaluation --showers 10000000 --directory /scratch
    python benchmarks/scaling.py --part schedule --cores 10000           # where would it break?

Every line is a command of its own, which loads the run, generates, compresses and writes, or judges such a file against
another one without classifiers. By default the run is CaloShowerGAN's photon network with random weights, 368 voxels; a
trained one's file, with its many empty voxels, is smaller and compressed faster. Memory is that of the largest process.
Other jobs on the machine disturb: stop them.

The schedule is simulated task by task from what is measured here: the time of a block of 65,536 showers, the
scheduler's own time for a task, the bytes of a task and of its answer, and the speed at which blocks are joined.
"""

import argparse
import heapq
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from calogen.cluster import worker_pool
from calogen.command import clean_exit
from calogen.errors import CalogenError
from calogen.files import require_space
from calogen.generation.production import Order, blocks_per_task
from calogen.hdf5_writing import join_hdf5
from calogen.models import caloshowergan
from calogen.parallel import num_cores
from calogen.showers.conditions import Conditions
from calogen.showers.voxels import PHOTONS_DATASET1
from calogen.training.latent import BLOCK_SHOWERS
from calogen.training.run import assemble_run, save_run

PARTS = ("generation", "workers", "evaluation", "schedule")
_ENERGY = "65536"  # MeV
_NOTHING_TASKS = 2000


@dataclass(frozen=True)
class Cost:
    """What a command took: seconds, CPU seconds, bytes of the largest of its processes."""

    seconds: float
    cpu_seconds: float
    peak: int

    def row(self, showers: int, path: Path) -> dict[str, float]:
        """A row of a table."""
        return {
            "showers": showers,
            "seconds": self.seconds,
            "showers per second": showers / self.seconds,
            "CPU us per shower": 1e6 * self.cpu_seconds / showers,
            "peak MiB": self.peak / 2**20,
            "file MB": path.stat().st_size / 1e6,
        }


def main() -> None:
    """Measures and prints everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, action="append", help="of these only")
    parser.add_argument("--showers", type=int, nargs="+", default=[10**4, 10**5, 10**6], help="of each file")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="that share the largest file")
    parser.add_argument("--cores", type=int, default=1000, help="of the schedule (default: %(default)s)")
    parser.add_argument("--total", type=int, default=10**9, help="showers of the schedule (default: 1e9)")
    parser.add_argument("--run", type=Path, help="a trained run (default: random weights)")
    parser.add_argument("--directory", type=Path, help="where files go for a while (default: the system's)")
    arguments = parser.parse_args()
    parts = arguments.part or PARTS
    with clean_exit("scaling.py"), tempfile.TemporaryDirectory(dir=arguments.directory) as text:
        folder = Path(text)
        run = arguments.run or random_run(folder / "run")
        largest = max(arguments.showers)
        require_space(folder / "showers.h5", 8 * largest * PHOTONS_DATASET1.size)
        if "generation" in parts:
            show("generation", [generation(run, number, folder) for number in arguments.showers])
        if "workers" in parts:
            show("generation by workers", [generation(run, largest, folder, at=n) for n in arguments.workers])
        if "evaluation" in parts:
            show("evaluation", [evaluation(run, number, folder) for number in arguments.showers])
        if "schedule" in parts:
            print(f"\n# {arguments.total:,} showers on {arguments.cores:,} cores")
            for line in schedule(measured(run, folder), arguments.total, arguments.cores):
                print(line)


def show(title: str, rows: Sequence[dict[str, float]]) -> None:
    """Prints a table."""
    numbers = pd.DataFrame(rows).to_string(index=False, float_format=lambda value: f"{value:.4g}")
    print(f"\n# {title}, {num_cores()} cores\n{numbers}", flush=True)


def random_run(directory: Path) -> Path:
    """Writes CaloShowerGAN's photon network as it is before any training."""
    config, geometry = caloshowergan.CONFIGS["photon"]
    networks, transform = caloshowergan.build(config, geometry), caloshowergan.build_transform(config, geometry)
    save_run(directory, assemble_run(caloshowergan, config, geometry, networks, transform))
    return directory


def timed(*words: object) -> Cost:
    """What a command of calogen takes."""
    start = time.monotonic()
    with subprocess.Popen([sys.executable, "-m", "calogen", *map(str, words)], stdout=subprocess.DEVNULL) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:  # the command has said why
        raise CalogenError(f"calogen {' '.join(map(str, words))} ended with {process.returncode}")
    return Cost(time.monotonic() - start, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


def generation(run: Path, number: int, folder: Path, at: int = 0, seed: int = 1) -> dict[str, float]:
    """A row for a file of showers, which stays; `at`: number of workers, 0 for the command."""
    path = folder / f"showers-{seed}.h5"
    where = ["--cluster", f"local:{at}"] if at else []
    words = ["--energies", _ENERGY, "--showers", number, "--seed", seed, "--output", path, *where]
    cost = timed("generate", run, *words)
    return ({"workers": at} if at else {}) | cost.row(number, path)


def evaluation(run: Path, number: int, folder: Path) -> dict[str, float]:
    """A row for the judgement of a new file of showers by another one."""
    paths = [folder / f"showers-{seed}.h5" for seed in (1, 2)]
    for seed in (1, 2):
        generation(run, number, folder, seed=seed)
    report = folder / "report"
    words = ["--reference", paths[0], "--generated", f"A={paths[1]}", "--classifiers", 0, "--output", report]
    row = timed("evaluate", *words).row(number, paths[1])
    for path in paths:
        path.unlink()
    return row


@dataclass(frozen=True)
class Measured:
    """What decides a schedule.

    Args:
        block: seconds of a core for a block of showers.
        task: seconds of the scheduler, and of the client, for a task that does nothing.
        messages: messages of the scheduler for a task.
        sent: bytes of a task and of its answer.
        stored: bytes of a block's file.
        joined: bytes that are joined in a second.
    """

    block: float
    task: float
    messages: int
    sent: int
    stored: int
    joined: float


def measured(run: Path, folder: Path) -> Measured:
    """Measures what decides a schedule, on this machine."""
    paths = [folder / f"block-{number}.h5" for number in range(4)]
    costs = [timed("generate", run, "--energies", _ENERGY, "--showers", n, "--output", paths[0]) for n in (1, 2**16)]
    for path in paths[1:]:
        os.link(paths[0], path)
    start = time.monotonic()
    join_hdf5(folder / "joined.h5", paths)
    joining = time.monotonic() - start
    with worker_pool("local:1") as pool:
        list(pool.map(abs, range(100)))
        start = time.monotonic()
        list(pool.map(abs, range(_NOTHING_TASKS)))
        task = (time.monotonic() - start) / _NOTHING_TASKS
    order = Order(runs=(run,), source=Conditions.of([float(_ENERGY)]), copies=1, seed=1, identity=" " * 300)
    size = paths[0].stat().st_size
    return Measured(
        block=costs[1].cpu_seconds - costs[0].cpu_seconds,
        task=task,
        messages=6,  # client to scheduler to worker and back, and the ends of task and future
        sent=len(pickle.dumps((order, BLOCK_SHOWERS, BLOCK_SHOWERS, paths[0]))) + len(pickle.dumps(None)),
        stored=size,
        joined=len(paths) * size / joining,
    )


def schedule(known: Measured, total: int, cores: int, seed: int = 1) -> list[str]:
    """Lines on a simulated generation.

    Workers take one task at a time from a scheduler that serves one at a time. Blocks take a time that varies by a
    fifth, as on machines that others use, too.
    """
    random, number = np.random.default_rng(seed), -(-total // BLOCK_SHOWERS)
    size = blocks_per_task(number)
    tasks = -(-number // size)
    free = [0.0] * cores  # when each core asks for its next task
    scheduler = end = 0.0
    for _ in range(tasks):
        asked = heapq.heappop(free)
        scheduler = max(scheduler, asked) + known.task
        done = scheduler + known.block * float(random.normal(1, 0.2, size).clip(0.2).sum())
        heapq.heappush(free, done)
        end = max(end, done)
    joining = number * known.stored / known.joined
    return [
        f"tasks: {tasks:,} of {size} blocks of {BLOCK_SHOWERS:,} showers, {size * known.block:.1f} s of a core each",
        f"time: {end:,.0f} s ({number * known.block / cores:,.0f} s if cores never waited)",
        f"use of the cores: {number * known.block / cores / end:.0%}; of the scheduler: {tasks * known.task / end:.0%}",
        f"the scheduler: {1e3 * known.task:.2f} ms for a task, {tasks * known.messages / end:,.0f} messages a second",
        f"bytes through the client: {tasks * size * known.sent / 1e6:,.0f} MB; showers go to the disks",
        f"the disks: {number * known.stored / 1e9:,.0f} GB in blocks, {number * known.stored / end / 1e6:,.0f} MB/s",
        f"joining at {known.joined / 1e6:,.0f} MB/s: {joining:,.0f} s more; {joining / 100:,.0f} s with --files 100",
        f"it would break at {size * known.block / known.task:,.0f} cores, where the scheduler is always busy",
    ]


if __name__ == "__main__":
    main()
