"""The work of a scan: trials are taken and measured, in this process or in several."""

import math
import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from time import monotonic

import numpy as np

from calogen.command import clean_exit
from calogen.errors import CalogenError, ConfigError, DataFormatError, DivergedError, TemporaryError
from calogen.locks import directory_lock
from calogen.parallel import num_cores
from calogen.process import Terminated, prepare_worker, tell
from calogen.progress import clock
from calogen.reproduction.scan_criteria import TITLES, directory_of, figure_text, measure_point
from calogen.reproduction.scan_grid import Grid
from calogen.reproduction.scan_study import Outcome, ScanStudy
from calogen.reproduction.study_data import snap_showers
from calogen.showers.bundled import bundled_for, choose_edition, read_window
from calogen.showers.sample import Showers
from calogen.training.fit import digest

MAX_DEATHS = 3
"""Number of workers that a trial may cost before it counts as failed."""

_POLL = 1.0  # seconds between two looks at the journal
_WAIT = 30 * 86400.0  # seconds for a training that another study of the same journal is at
_MOST = 20  # trainings of a worker process, as each leaves 10 MB behind
_FAULTS: Mapping[int, type[Exception]] = {kind.exit_code: kind for kind in (CalogenError, TemporaryError)}
_THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


@dataclass(frozen=True, kw_only=True)
class Data:
    """Where the showers of a scan come from.

    Args:
        train: the user's file; None: the bundled one.
        tolerant: as for `Showers.read`.
        first_edition: whether to take the first edition of the bundled showers only.
        every: take every so-manieth bundled shower only.
    """

    train: Path | None = None
    tolerant: bool = False
    first_edition: bool = False
    every: int = 1

    def path(self, grid: Grid) -> Path:
        """The file."""
        return self.train or bundled_for(grid.geometry)

    def read(self, grid: Grid) -> tuple[Showers, str]:
        """The showers of the grid's energies, and the note on them.

        Raises:
            DataFormatError: the file has no showers of these energies; and as `Showers.read`.
        """
        path = self.path(grid)
        showers, note = read_window(path, grid.geometry, self.tolerant), path.name
        if self.train is None:
            showers, note = choose_edition(path.stem, showers, self.first_edition)
        showers, changes = snap_showers(path, showers, grid.energies, self.tolerant)
        if grid.energies:
            inside = np.isin(showers.incident_energies, grid.energies)
            if not inside.any():
                wanted = ", ".join(f"{energy:g}" for energy in grid.energies)
                raise DataFormatError(f"{path} must hold showers of some of {wanted} MeV. Received: none")
            showers = showers[inside]
        return (showers if self.train else showers[:: self.every]), note + changes


@dataclass(frozen=True, kw_only=True)
class Task:
    """Everything that a worker needs.

    Args:
        root: folder of the journal and of all trainings.
        folder: folder of the study.
        grid: what the scan visits.
        data: where the showers come from.
    """

    root: Path
    folder: Path
    grid: Grid
    data: Data

    def open(self) -> tuple[ScanStudy, Showers, str]:
        """The study, its showers and the note on them."""
        showers, note = self.data.read(self.grid)
        identity = digest(showers, np.arange(len(showers)), sorted(showers.conditions))
        return ScanStudy(self.root / "journal.log", self.folder, self.grid, identity), showers, note


def work(
    task: Task,
    study: ScanStudy,
    showers: Showers,
    most: float = math.inf,
    told: Callable[[], None] = lambda: None,
) -> None:
    """Takes trials and measures them until there are none.

    Args:
        task: what is scanned.
        study: its study, as this process has opened it.
        showers: its showers.
        most: number of trainings after which no further trial is taken.
        told: called after every trial.

    Raises:
        CalogenError: a fault that is not a trial's own.
    """
    done = 0
    while done < most:
        with study.take() as taken:
            if taken is None:
                return
            try:
                config = task.grid.config_of(taken.point)
                directory = directory_of(task.root / "trainings", config, task.grid.criterion, showers)
                with directory_lock(directory, _WAIT):
                    measured = measure_point(config, task.grid.criterion, showers, directory)
            except (ConfigError, DivergedError) as error:
                study.fail(taken.number, " ".join(str(error).split()))
            else:
                study.complete(taken.number, measured)
        done += task.grid.criterion.seeds * task.grid.criterion.folds
        told()


def run_trials(task: Task, study: ScanStudy, showers: Showers, workers: int) -> None:
    """Runs all trials that no other job is at.

    Args:
        task: what is scanned.
        study: its study, as this process has opened it.
        showers: its showers.
        workers: number of processes; 0: this one.

    Raises:
        CalogenError: a fault that is not a trial's own, also of a worker.
        TemporaryError: workers die before they take a trial.
    """
    study.fill()
    study.recover()
    lines = _Lines(study)
    while study.has_work():
        if workers == 0:
            work(task, study, showers, told=lines.show)
        else:
            _Workers(task, study, workers, lines).run()
        study.recover()
    for directory in study.unseen():
        tell(
            f"{directory} is a running trial's of another machine, on a file system without locks: if its job is gone, "
            f"remove {directory / '.lock'} and run this command again"
        )


class _Lines:
    """A line on stderr for every trial that ends, with the time that is left."""

    def __init__(self, study: ScanStudy) -> None:
        self._study, self._start = study, monotonic()
        self._title = TITLES[study.grid.criterion.name]
        ended = [outcome.number for outcome in study.outcomes() if outcome.state in ("complete", "failed")]
        self._shown, self._before = set(ended), len(ended)

    def show(self) -> None:
        """Tells of the trials that have ended since the last call."""
        outcomes = self._study.outcomes()
        counted = [outcome for outcome in outcomes if outcome.counts]
        done = sum(outcome.state in ("complete", "failed") for outcome in counted)
        total = max(self._study.grid.num_points, len(counted))
        for outcome in outcomes:
            if outcome.state in ("complete", "failed") and outcome.number not in self._shown:
                self._shown.add(outcome.number)
                tell(f"trial {outcome.number}, {outcome.point.name}: {self._text(outcome)}; {self._left(done, total)}")

    def _text(self, outcome: Outcome) -> str:
        if outcome.measured is None:
            return f"failed: {outcome.reason}"
        return f"{self._title} {figure_text(outcome.measured.value)}, {clock(outcome.measured.seconds)}"

    def _left(self, done: int, total: int) -> str:
        new = len(self._shown) - self._before
        left = clock((monotonic() - self._start) / new * (total - done)) if new and total > done else ""
        return f"{done} of {total} trials" + (f", {left} left" if left else "")


class _Workers:
    """Processes that work on the trials, and are replaced when they die."""

    def __init__(self, task: Task, study: ScanStudy, number: int, lines: _Lines) -> None:
        self._task, self._study, self._number, self._lines = task, study, number, lines
        self._deaths: Counter[str] = Counter()
        self._early = 0  # workers in a row that died without a trial
        self._running: dict[int, SpawnProcess] = {}

    def run(self) -> None:
        """Runs until every worker finds nothing to do."""
        try:
            for slot in range(1, self._number + 1):
                self._start(slot)
            while self._running:
                wait([process.sentinel for process in self._running.values()], _POLL)
                for slot, process in list(self._running.items()):
                    if process.exitcode is not None:
                        del self._running[slot]
                        self._ended(slot, process.exitcode)
                self._lines.show()
        finally:
            for process in self._running.values():
                process.terminate()
            for process in self._running.values():
                process.join()

    def _start(self, slot: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._running[slot] = context.Process(target=_work_alone, args=(self._task, self._log(slot), self._number))
        self._running[slot].start()

    def _ended(self, slot: int, code: int) -> None:
        """Replaces a worker that is used up or was killed; the fault of another is raised."""
        if code == 0:
            if self._study.has_work():
                self._start(slot)
            return
        if code > 0 and code != Terminated().code:
            raise _FAULTS.get(code, RuntimeError)(f"worker {slot} ended with code {code}: {self._last_words(slot)}")
        lost = self._study.recover([name for name, deaths in self._deaths.items() if deaths >= MAX_DEATHS - 1])
        self._deaths.update(lost)
        self._early = 0 if lost else self._early + 1
        tell(f"worker {slot} was killed" + "".join(f"; its trial was {name}" for name in lost))
        if self._early >= MAX_DEATHS:
            raise TemporaryError(f"{self._early} workers were killed before they took a trial (out of memory?)")
        if self._study.has_work():
            self._start(slot)

    def _last_words(self, slot: int) -> str:
        """The last line that a worker has written, and where."""
        if self._number == 1:
            return "the line above says why"
        text = self._log(slot).read_text(encoding="utf-8", errors="replace").strip()
        return f"{text.splitlines()[-1] if text else 'nothing was said'} ({self._log(slot)})"

    def _log(self, slot: int) -> Path:
        return self._task.folder / f"worker-{slot}.log"


def _work_alone(task: Task, log: Path, workers: int) -> None:
    """A worker process; the texts of one among several go to a file."""
    prepare_worker()
    if workers > 1:
        with log.open("w", encoding="utf-8") as file:
            for number in (1, 2):
                os.dup2(file.fileno(), number)
    share = max(1, num_cores() // workers)
    for name in _THREADS:
        given = os.environ.get(name, "")
        os.environ[name] = str(min(int(given), share) if given.isdecimal() and int(given) else share)
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # several workers share a GPU
    with clean_exit("scan"):
        study, showers, _ = task.open()
        work(task, study, showers, _MOST)
