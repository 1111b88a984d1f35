"""Workers of scans that die, stop or find a fault."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from toy_scan import GRID, counted, grid_of, task_of

from calogen.errors import CalogenError, TemporaryError
from calogen.files import read_json_table
from calogen.reproduction import scan_criteria, scan_workers
from calogen.reproduction.scan_study import DIED, Outcome
from calogen.reproduction.scan_workers import MAX_DEATHS, run_trials

DIVERGING = GRID.replace("[1e-4, 1e-3]", "[1e-4, 1e30]")


def run(task: scan_workers.Task, workers: int) -> list[Outcome]:
    """The trials of a scan."""
    study, showers, _ = task.open()
    run_trials(task, study, showers, workers)
    return study.outcomes()


def by_name(outcomes: list[Outcome]) -> dict[str, float | str]:
    """The figure of every point, or why there is none."""
    return {
        item.point.name: item.measured.value.value if item.measured else item.reason for item in outcomes if item.counts
    }


@contextmanager
def killing(root: Path) -> Iterator[list[int]]:
    """Kills the first worker that has written a checkpoint before its training ends."""
    killed: list[int] = []
    over = threading.Event()

    def look() -> None:
        while not killed and not over.is_set():
            time.sleep(0.01)
            for checkpoint in root.glob("trainings/*/seed1/checkpoint.npz"):
                lock = checkpoint.parents[1] / ".lock"
                if not (checkpoint.parent / "config.json").exists() and lock.stat().st_size:
                    killed.append(read_json_table(lock)["process"])
                    os.kill(killed[0], signal.SIGKILL)
                    return

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


def test_trial_of_a_killed_worker_goes_on_and_nothing_differs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A training that diverges is a failed trial, with its reason."""
    grid = grid_of(tmp_path, DIVERGING, preset="laptop", trials=3)
    expected = by_name(run(task_of(tmp_path / "undisturbed", grid), 0))
    assert {name for name, value in expected.items() if isinstance(value, float)} == {"start", "critic_steps 1"}
    assert "losses and weights must stay finite" in str(expected["learning_rate 1e+30"])
    disturbed = task_of(tmp_path / "disturbed", grid)
    with killing(disturbed.root) as killed:
        outcomes = run(disturbed, 2)
    assert killed
    (lost,) = [outcome for outcome in outcomes if not outcome.counts]
    assert lost.reason == f"{DIED}; run again as trial {len(outcomes) - 1}"
    found = by_name(outcomes)
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-4) if isinstance(value, float) else str(found[name])
    told = capsys.readouterr().err
    assert f"was killed; its trial was {lost.point.name}" in told
    assert "3 of 3 trials" in told
    directory = scan_criteria.directory_of(
        disturbed.root / "trainings", grid.config_of(lost.point), grid.criterion, disturbed.data.read(grid)[0]
    )
    assert len(list(directory.glob("seed1/tensorboard/*"))) == 2, "two processes have trained it"
    again = {path: path.stat().st_mtime_ns for path in disturbed.root.rglob("checkpoint.npz")}
    assert by_name(run(disturbed, 0)) == found
    assert {path: path.stat().st_mtime_ns for path in disturbed.root.rglob("checkpoint.npz")} == again


def test_worker_that_dies_thrice_on_a_trial_gives_it_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand-ins for the processes, which take a trial and are gone."""
    grid = grid_of(tmp_path, trials=1)
    task, started = task_of(tmp_path, grid), []
    study, showers, _ = task.open()

    def start(self: Any, slot: int) -> None:
        started.append(slot)
        self._study.study.ask()
        self._running[slot] = Gone()

    monkeypatch.setattr(scan_workers._Workers, "_start", start)
    monkeypatch.setattr(scan_workers, "wait", lambda *_: None)
    run_trials(task, study, showers, 1)
    assert len(started) == MAX_DEATHS
    (outcome,) = counted(study.outcomes())
    assert (outcome.state, outcome.reason) == ("failed", DIED)


class Gone:
    """A process that was killed, or has ended with another code."""

    sentinel = 0

    def __init__(self, exitcode: int = -signal.SIGKILL) -> None:
        self.exitcode = exitcode

    def terminate(self) -> None:
        """As of a process."""

    def join(self) -> None:
        """As of a process."""


@pytest.mark.parametrize(("code", "kind"), [(1, RuntimeError), (2, CalogenError), (75, TemporaryError)])
def test_fault_of_a_worker_is_the_scans(
    code: int, kind: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = task_of(tmp_path, grid_of(tmp_path))
    study, showers, _ = task.open()

    def start(self: Any, slot: int) -> None:
        self._log(slot).write_text("something\nscan: error: no space\n")
        self._running[slot] = Gone(code)

    monkeypatch.setattr(scan_workers._Workers, "_start", start)
    monkeypatch.setattr(scan_workers, "wait", lambda *_: None)
    with pytest.raises(kind, match=rf"worker 1 ended with code {code}: scan: error: no space \(.*worker-1\.log\)$"):
        run_trials(task, study, showers, 2)


def test_workers_that_die_before_they_take_a_trial_end_the_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = task_of(tmp_path, grid_of(tmp_path))
    study, showers, _ = task.open()
    monkeypatch.setattr(scan_workers._Workers, "_start", lambda self, slot: self._running.update({slot: Gone()}))
    monkeypatch.setattr(scan_workers, "wait", lambda *_: None)
    with pytest.raises(TemporaryError, match="3 workers were killed before they took a trial"):
        run_trials(task, study, showers, 1)
