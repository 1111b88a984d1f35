"""Scans: their studies, criteria, workers that die, tables and reports."""

import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from toy_scan import GRID, grid_of, measured, study_of, task_of, toy_showers

from calogen.errors import CalogenError, ConfigError, DataFormatError, DivergedError, TemporaryError
from calogen.files import read_json_table
from calogen.metrics.distributions import Value
from calogen.reproduction import scan_criteria, scan_report, scan_workers
from calogen.reproduction.scan import scan
from calogen.reproduction.scan_criteria import Measured, fold_of, measure_point, parts_of
from calogen.reproduction.scan_study import DIED, Outcome, ScanStudy
from calogen.reproduction.scan_workers import MAX_DEATHS, run_trials
from calogen.training.fit import validation_split


def end(study: ScanStudy, value: float) -> str | None:
    """Ends the next trial; gives its point's name."""
    with study.take() as taken:
        if taken is None:
            return None
        study.complete(taken.number, measured(value))
        return taken.point.name


def counted(outcomes: list[Outcome]) -> list[Outcome]:
    return [outcome for outcome in outcomes if outcome.counts]


def test_every_point_is_taken_once_in_order(tmp_path: Path) -> None:
    """By two processes that share a journal, too, and from any working directory."""
    study = study_of(tmp_path, grid_of(tmp_path))
    study.fill()
    other = study_of(Path(os.path.relpath(tmp_path)), study.grid)
    other.fill()
    with study.take() as first, other.take() as second:
        assert first is not None
        assert second is not None
        assert (first.point.name, second.point.name) == ("start", "learning_rate 0.001")
        assert [outcome.state for outcome in study.outcomes()] == ["running", "running", "waiting", "waiting"]
        study.complete(first.number, measured(3.0))
        other.fail(second.number, "it is hopeless")
    assert [end(study, 2.0), end(other, 1.0), end(study, 0.0)] == ["critic_steps 1", "both", None]
    assert not study.has_work()
    found = other.outcomes()
    assert [outcome.state for outcome in found] == ["complete", "failed", "complete", "complete"]
    assert [outcome.reason for outcome in found] == ["", "it is hopeless", "", ""]
    assert found[3].measured == measured(1.0)
    assert scan_report.best_of(found) == found[3]


def test_more_trials_go_on_and_another_criterion_is_another_study(tmp_path: Path) -> None:
    study = study_of(tmp_path, grid_of(tmp_path, trials=1))
    study.fill()
    assert [end(study, 1.0), end(study, 1.0)] == ["start", None]
    more = study_of(tmp_path, grid_of(tmp_path))
    more.fill()
    assert [end(more, 1.0) for _ in range(4)] == ["learning_rate 0.001", "critic_steps 1", "both", None]
    assert more.identity == study.identity
    other = study_of(tmp_path, grid_of(tmp_path, seeds=2))
    assert other.identity != study.identity
    assert not other.outcomes()


def test_trial_of_a_worker_that_is_gone_runs_again(tmp_path: Path) -> None:
    study = study_of(tmp_path, grid_of(tmp_path))
    study.fill()
    study.study.ask()  # a worker that died before it had the lock of its trial
    with study.take() as alive:
        assert alive is not None
        assert study.recover() == ["start"]
        assert study.recover() == []
        study.complete(alive.number, measured(2.0))
    found = study.outcomes()
    assert (found[0].state, found[0].reason, found[0].counts) == ("failed", f"{DIED}; run again as trial 4", False)
    assert [end(study, 1.0) for _ in range(4)] == ["critic_steps 1", "both", "start", None]
    assert [outcome.point.name for outcome in counted(study.outcomes())][-1] == "start"
    assert len(counted(study.outcomes())) == study.grid.num_points


def test_trial_that_kills_its_workers_is_given_up_and_tried_again_by_the_next_command(tmp_path: Path) -> None:
    study = study_of(tmp_path, grid_of(tmp_path, trials=1))
    study.fill()
    study.study.ask()
    assert study.recover(["start"]) == ["start"]
    assert not study.has_work()
    assert [(item.state, item.reason, item.counts) for item in study.outcomes()] == [("failed", DIED, True)]
    study.fill()
    study.fill()
    assert [end(study, 1.0), end(study, 1.0)] == ["start", None]
    assert [outcome.counts for outcome in study.outcomes()] == [False, True]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError, TemporaryError])
def test_trial_of_a_worker_that_is_stopped_is_given_back(error: type[BaseException], tmp_path: Path) -> None:
    study = study_of(tmp_path, grid_of(tmp_path, trials=1))
    study.fill()
    with pytest.raises(error), study.take():
        raise error
    assert study.outcomes()[0].reason == f"interrupted: {error.__name__}; run again as trial 1"
    assert study.recover() == []
    assert [end(study, 1.0), end(study, 1.0)] == ["start", None]


def test_trial_that_may_still_run_elsewhere_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system without locks a holder on another machine cannot be seen."""
    study = study_of(tmp_path, grid_of(tmp_path))
    study.fill()
    study.study.ask()
    monkeypatch.setattr("calogen.reproduction.scan_study.is_held", lambda _: None)
    assert study.recover() == []
    assert [path.name for path in study.unseen()] == [f"{study.identity}-0"]


def test_tpe_begins_at_the_start_and_repeats_nothing_while_there_is_something_new(tmp_path: Path) -> None:
    values = [float(number) for number in range(1, 40)]
    text = GRID.replace("[1e-4, 1e-3]", str(values))
    numbers = {}
    for name in ("a", "b"):
        study = study_of(tmp_path / name, grid_of(tmp_path, text, sampler="tpe", trials=15))
        study.fill()
        while (point := end(study, 1.0)) is not None:
            numbers.setdefault(name, []).append(point)
            study = study_of(tmp_path / name, study.grid)  # another process suggests the same
            study.fill()
    assert numbers["a"] == numbers["b"]
    assert numbers["a"][0] == "start"
    assert len({*numbers["a"]}) == 15
    assert len(counted(study.outcomes())) == 15


def test_tpe_ends_where_everything_is_known(tmp_path: Path) -> None:
    study = study_of(tmp_path, grid_of(tmp_path, sampler="tpe", trials=9))
    study.fill()
    while end(study, 1.0):
        pass
    found = counted(study.outcomes())
    assert len({tuple(outcome.params.values()) for outcome in found}) == len(found) == 4
    assert all("repeats trial" in outcome.reason for outcome in study.outcomes() if not outcome.counts)


def test_journal_that_a_full_disk_has_cut_off_is_mended_and_a_damaged_one_refused(tmp_path: Path) -> None:
    study = study_of(tmp_path, grid_of(tmp_path))
    study.fill()
    journal = tmp_path / "journal.log"
    with journal.open("a") as file:
        file.write('{"op_code": 4, "worker')
    again = study_of(tmp_path, study.grid)
    again.fill()
    assert [end(again, 1.0) for _ in range(5)][-2:] == ["both", None]
    journal.write_text("no journal\n" + journal.read_text())
    with pytest.raises(DataFormatError, match=r"journal\.log must be the journal of a scan: remove it \(trainings and"):
        study_of(tmp_path, study.grid)


@pytest.mark.filterwarnings("ignore:The existing lock file has not been released:UserWarning")  # optuna 4 warns
def test_journal_whose_lock_a_killed_process_has_left_is_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("calogen.reproduction.scan_study._GRACE", 3)
    (tmp_path / "journal.log").touch()
    (tmp_path / "journal.log.lock").symlink_to(tmp_path / "journal.log")
    study = study_of(tmp_path, grid_of(tmp_path, trials=1))
    study.fill()
    assert end(study, 1.0) == "start"


@pytest.mark.parametrize("folds", [1, 2, 5])
def test_every_shower_judges_once_and_trains_in_the_other_folds(folds: int, tmp_path: Path) -> None:
    showers = toy_showers()
    grid = grid_of(tmp_path)
    parts = parts_of(showers, replace(grid.criterion, folds=folds), grid.start)
    totals = [sorted(part.validation.energies.sum(axis=1)) for part in parts]
    if folds == 1:
        assert totals == [sorted(validation_split(showers, grid.start)[1].energies.sum(axis=1))]
        return
    assert sorted(np.concatenate(totals)) == sorted(showers.energies.sum(axis=1))
    for part in parts:
        assert len(part.training) + len(part.validation) == len(showers)
        assert not {*part.training.energies.sum(axis=1)} & {*part.validation.energies.sum(axis=1)}
        assert set(part.validation.counts.values()) == {120 // folds}


def test_held_out_showers_do_not_train(tmp_path: Path) -> None:
    grid = grid_of(tmp_path)
    (part,) = parts_of(toy_showers(), replace(grid.criterion, held_out=0.25), grid.start)
    assert (len(part.training), len(part.validation)) == (180, 60)
    assert not {*part.training.energies.sum(axis=1)} & {*part.validation.energies.sum(axis=1)}


def test_folds_need_showers() -> None:
    with pytest.raises(ConfigError, match="each of 3 folds needs showers of 2 MeV. Received: 2"):
        fold_of(np.array([1.0, 1.0, 1.0, 2.0, 2.0]), 3)


class Fits:
    """A stand-in for `fit` and generation that counts what is trained."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, value: float = 0.25) -> None:
        self.trained: list[tuple[str, int, int]] = []
        self.value = value
        monkeypatch.setattr(scan_criteria, "fit", self.fit)
        monkeypatch.setattr(scan_criteria, "generate_like", lambda run, reference, seed, copies: reference)
        monkeypatch.setitem(scan_criteria.CRITERIA, "ks", lambda *_: self.merit)  # type: ignore[index]

    def fit(self, _module: object, config: Any, _geometry: object, showers: Any, directory: Path) -> Any:
        self.trained.append((directory.name, config.seed, len(showers)))
        return type("Run", (), {"history": [{"seconds": 1.5}, {"seconds": 0.5}]})

    def merit(self, *_: object) -> Value:
        self.value += 0.25
        return Value(self.value, 0.1)


def test_mean_and_error_over_seeds_and_folds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fits, grid = Fits(monkeypatch), grid_of(tmp_path)
    found = measure_point(grid.start, replace(grid.criterion, folds=2, seeds=2), toy_showers(), tmp_path / "a")
    assert fits.trained == [
        *(("seed1-fold1", 1, 120), ("seed1-fold2", 1, 120), ("seed2-fold1", 2, 120), ("seed2-fold2", 2, 120))
    ]
    values = [0.5, 0.75, 1.0, 1.25]
    assert found.value.value == np.mean(values)
    assert found.value.error == pytest.approx(np.std(values, ddof=1) / 2)
    assert (found.response, found.seconds) == (1.0, 8.0)


def test_what_is_known_is_read_and_another_criterion_judges_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits, grid = Fits(monkeypatch), grid_of(tmp_path)
    first = measure_point(grid.start, grid.criterion, toy_showers(), tmp_path / "a")
    assert first == Measured(value=Value(0.5, 0.1), response=1.0, seconds=2.0)
    assert measure_point(grid.start, grid.criterion, toy_showers(), tmp_path / "a") == first
    assert len(fits.trained) == 1
    more = measure_point(grid.start, replace(grid.criterion, seeds=2), toy_showers(), tmp_path / "a")
    assert (more.value.value, len(fits.trained)) == ((0.5 + 0.75) / 2, 2)
    measure_point(grid.start, replace(grid.criterion, copies=2), toy_showers(), tmp_path / "a")
    assert len(fits.trained) == 3
    record = tmp_path / "a" / "seed1" / "criterion.json"
    record.write_text(record.read_text().replace('"value"', '"worth"'))
    with pytest.raises(DataFormatError, match=r"criterion\.json.*delete it to judge anew"):
        measure_point(grid.start, replace(grid.criterion, copies=2), toy_showers(), tmp_path / "a")


def test_a_criterion_that_is_no_number_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Fits(monkeypatch, value=float("nan"))
    grid = grid_of(tmp_path)
    with pytest.raises(DivergedError, match="the criterion must be a number. Received: nan for seed 1"):
        measure_point(grid.start, grid.criterion, toy_showers(), tmp_path / "a")


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


class Values:
    """A stand-in for `measure_point`, by the values of the configuration."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, diverging: float = 1e-3) -> None:
        self.measured: list[tuple[float, int]] = []
        self.diverging = diverging
        monkeypatch.setattr(scan_workers, "measure_point", self.measure)

    def measure(self, config: Any, _criterion: object, _showers: object, _directory: Path) -> Measured:
        self.measured.append((config.learning_rate, config.critic_steps))
        if config.learning_rate == self.diverging:
            raise DivergedError("losses and weights must stay finite.\nReceived: {'loss': nan}")
        return measured(config.critic_steps / 8)


def command(folder: Path, *options: str) -> None:
    """The command line of a scan of the toy showers, in this process."""
    grid_of(folder)
    task_of(folder, grid_of(folder))
    files = (
        "--train-data",
        str(folder / "train.h5"),
        "--grid",
        str(folder / "toy.toml"),
        "--runs",
        str(folder / "runs"),
    )
    scan("A scan.", folder / "scans", ["atlas-gan", "--smoke", "--workers", "0", *files, *options])


def test_command_writes_table_plots_and_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    values = Values(monkeypatch)
    command(tmp_path, "--trials", "2", "--results", str(tmp_path / "results"))
    assert values.measured == [(1e-4, 5), (1e-3, 5)]
    command(tmp_path, "--results", str(tmp_path / "results"))
    assert values.measured == [(1e-4, 5), (1e-3, 5), (1e-4, 1), (1e-3, 1)]
    folder = tmp_path / "runs" / "scans" / "atlas_gan" / "smoke" / "one-at-a-time"
    table = pd.read_csv(folder / "scan.csv")
    assert list(table) == [
        *("trial", "point", "learning_rate", "critic_steps", "criterion", "error", "response", "seeds", "folds"),
        *("seconds", "state", "reason"),
    ]
    assert table.point.tolist() == ["start", "learning_rate 0.001", "critic_steps 1", "both"]
    assert table.criterion.tolist()[::2] == [0.625, 0.125]
    assert table.state.tolist() == ["complete", "failed", "complete", "failed"]
    assert table.reason[1] == "losses and weights must stay finite. Received: {'loss': nan}"
    assert {path.name for path in folder.glob("*.*g")} >= {
        f"{name}.{suffix}"
        for name in ("optimisation-history", "parallel-coordinates", "slices")
        for suffix in ("png", "svg")
    }
    page = (folder / "report" / "report.html").read_text(encoding="utf-8")
    assert "mean KS distance 0.125 ± 0.1: critic_steps 1" in page
    assert page.count("<figure") == 3
    published = (tmp_path / "results" / "atlas_gan.md").read_text(encoding="utf-8")
    assert "| critic_steps 1 | 0.125 ± 0.1 | 1 |" in published
    assert "| both | failed | - |" in published
    assert pd.read_csv(tmp_path / "results" / "atlas_gan.csv").equals(table)
    output = capsys.readouterr()
    assert output.out.splitlines()[-2:] == [f"table: {folder / 'scan.csv'}", f"report: {folder / 'report/report.html'}"]
    assert "trial 2, critic_steps 1: mean KS distance 0.125 ± 0.1, 0:00:02; 3 of 4 trials, 0:00:0" in output.err


def test_optunas_plots_of_every_hyperparameter_that_varies(tmp_path: Path) -> None:
    values = {
        "batch_size": "[8, 4]",
        "activity_weight": "[1e-5, 0.0]",
        "latent_dim": "[4, 2]",
        "critic_slope": "[0.3, 0.1]",
    }
    values |= {"learning_rate": "[1.0, 2.0]", "critic_steps": "[1, 5]", "critic_units": "[[8], [4]]"}
    tables = [f'[parameters.{name}]\nvalues = {listed}\nsource = "a toy"' for name, listed in values.items()]
    grid = grid_of(tmp_path, GRID[: GRID.index("[parameters")] + "\n".join(tables))
    study = study_of(tmp_path, grid)
    study.fill()
    for number in range(grid.num_points):
        end(study, 1.0 + number)
    rc = dict(mpl.rcParams)
    figures = scan_report.draw_study(study.study, grid)
    assert dict(mpl.rcParams) == rc
    assert [caption.partition(":")[0] for caption in figures] == [
        *("Optimisation history", "Parallel coordinates", "Slices, 1 of 2", "Slices, 2 of 2", "Importances"),
    ]
    history, parallel, slices, rest, importances = figures.values()
    assert len(history.axes[0].collections[0].get_offsets()) == grid.num_points == 9
    assert {text.get_text() for text in parallel.axes[0].get_xticklabels()} == {"mean KS distance", *grid.names}
    labels = {axes.get_xlabel() for figure in (slices, rest) for axes in figure.axes}
    assert labels >= set(grid.names)
    assert {text.get_text() for text in importances.axes[0].get_yticklabels()} == set(grid.names)


def test_table_as_parquet_where_it_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []
    monkeypatch.setattr(scan_report, "find_spec", lambda _: True)
    monkeypatch.setattr(pd.DataFrame, "to_parquet", lambda self, path, index: written.append(path) or path.touch())
    scan_report.write_frame(tmp_path, pd.DataFrame({"a": [1]}))
    assert written
    assert (tmp_path / "scan.parquet").exists()


def test_scan_without_a_complete_trial_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Values(monkeypatch, diverging=1e-4)
    with pytest.raises(SystemExit) as ended:
        command(tmp_path, "--trials", "1")
    assert ended.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("scan: error: all 1 trials failed; the first: losses and weights must stay finite.")
    assert "No trial is complete" in next(tmp_path.rglob("report.md")).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["atlas"], 2, "PAPER must be one of atlas_gan, .*or have a --grid. Received: atlas"),
        (["atlas-vae", "--sampler", "random"], 2, "Invalid value for '--sampler'"),
        (["atlas-vae", "--trials", "0"], 2, "Invalid value for '--trials'"),
        (["atlas-vae", "--grid", "nowhere.toml"], 2, "cannot read nowhere.toml"),
        (["atlas-vae", "--train-data", "nowhere.h5"], 2, "nowhere.h5"),
        (["atlas-vae", "--results", "/dev/null/x"], 2, "cannot write /dev/null/x/atlas_vae.md"),
        (["atlas-vae", "--options", "'"], 2, "--options must be words as in a shell"),
        ([], 2, "Missing argument 'PAPER'"),
    ],
)
def test_wrong_command_lines_are_refused(
    options: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    grids = Path(__file__).parents[2] / "experiments" / "scans"
    with pytest.raises(SystemExit) as ended:
        scan("A scan.", grids, options)
    assert ended.value.code == code
    assert re.search(message, " ".join(capsys.readouterr().err.split()))
    assert not list(tmp_path.rglob("journal.log"))


def test_showers_of_other_energies_are_refused(tmp_path: Path) -> None:
    grid = replace(grid_of(tmp_path), energies=(2048.0,))
    with pytest.raises(DataFormatError, match="train.h5 must hold showers of some of 2048 MeV. Received: none"):
        task_of(tmp_path, grid).open()
    assert len(task_of(tmp_path, replace(grid, energies=(4096.0,))).open()[1]) == 120


def test_bundled_showers_are_read_where_no_others_are_given(tmp_path: Path) -> None:
    data = scan_workers.Data(every=100)
    showers, note = data.read(grid_of(tmp_path))
    assert (showers.geometry.name, note) == (
        "atlas_gan_window",
        "Geant4 11.4 with data-free models, simplified stack, no noise",
    )
    assert len(showers) < 200
