"""Scans: their studies and criteria."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_scan import GRID, counted, end, grid_of, measured, study_of, toy_showers

from calogen.errors import ConfigError, DataFormatError, DivergedError, TemporaryError
from calogen.metrics.distributions import Value
from calogen.reproduction import scan_criteria, scan_report
from calogen.reproduction.scan_criteria import Measured, fold_of, measure_point, parts_of
from calogen.reproduction.scan_study import DIED
from calogen.training.fit import validation_split


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
