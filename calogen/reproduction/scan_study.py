"""The study of a scan: a journal that processes and jobs share, and who works on what.

Optuna's journal has no heartbeat. Instead the worker of a trial holds the lock of the trial's directory: a trial that
the journal calls running while nobody holds that lock has lost its worker. It counts as failed, and its values are put
into the queue again. Whoever takes a trial or looks for lost ones holds the lock of the study's folder meanwhile. The
points of a grid are put into the queue once, so that no two workers take the same one, as with Optuna's `GridSampler`.
"""

import hashlib
import json
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import FrozenTrial, Trial, TrialState

from calogen.config import identity_of
from calogen.errors import DataFormatError
from calogen.files import refusal
from calogen.locks import directory_lock, is_held
from calogen.provenance import named_seed
from calogen.reproduction.scan_criteria import Measured
from calogen.reproduction.scan_grid import Choice, Grid, Point, encode, shuffled, value_of

DIED = "its worker died"
State = Literal["complete", "failed", "running", "waiting"]

_WAIT = 3600.0  # seconds for the lock of the study's folder, which is held for a moment
_GRACE = 30  # seconds after which Optuna takes the journal's lock from a process that was killed in the midst of a line
_TRIES = 3  # of tpe to suggest something new; then it is drawn
_STATES: Mapping[TrialState, State] = {
    TrialState.COMPLETE: "complete",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


@dataclass(frozen=True)
class Taken:
    """A trial on which this process works.

    Args:
        number: number of the trial in the study.
        point: the trial's place in the grid.
    """

    number: int
    point: Point


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A trial as the journal knows it.

    Args:
        number: number of the trial in the study.
        point: the trial's place in the grid.
        params: the value of every name of the grid.
        state: how far it is.
        reason: why it failed.
        measured: what came of it; None: nothing yet.
        counts: whether it is one of the scan's trials; one that was run again under another number is not.
    """

    number: int
    point: Point
    params: Mapping[str, Choice]
    state: State
    reason: str = ""
    measured: Measured | None = None
    counts: bool = True


class ScanStudy:
    """The study of a scan.

    Args:
        journal: file of the journal, which may hold several studies.
        folder: folder of the study, with `trials/`.
        grid: what the scan visits; another grid, or another criterion, is another study.
        showers: text that identifies the showers.

    Raises:
        DataFormatError: the journal is damaged.
        CalogenError: the journal cannot be read or written.
    """

    def __init__(self, journal: Path, folder: Path, grid: Grid, showers: str) -> None:
        self.grid, self.folder, self.journal = grid, folder, journal
        about = {"choices": grid.choices, "start": identity_of(grid.start), "showers": showers}
        text = json.dumps(about | {"criterion": asdict(grid.criterion)}, sort_keys=True)
        self.identity = hashlib.sha256(text.encode()).hexdigest()[:8]
        self._distributions: dict[str, BaseDistribution] = {
            name: CategoricalDistribution(values) for name, values in grid.choices.items()
        }
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with self._changing():
            self.study = optuna.create_study(
                storage=_open_journal(journal),
                sampler=RandomSampler(seed=0),
                study_name=f"{folder.name}-{self.identity}",
                load_if_exists=True,
            )

    def fill(self) -> None:
        """Puts into the queue what was never there, and what was given up as workers died."""
        with self._changing():
            trials = self._trials()
            known = {_key(_params(trial)) for trial in trials}
            for point in self.grid.points():
                params = self.grid.params_of(point)
                if _key(params) not in known:
                    known.add(_key(params))
                    self.study.enqueue_trial(params, user_attrs={"point": point.name})
            died = [number for number, notes in self._notes().items() if notes.get("reason") == DIED]
            for number in died:
                self._again(trials[number])

    @contextmanager
    def take(self) -> Iterator[Taken | None]:
        """Takes the next trial; None: there is nothing to do.

        The block ends the trial by `complete` or `fail`; after an exception the trial is in the queue again.
        """
        with ExitStack() as held:
            with self._changing():
                trial = self._next()
                if trial is not None:
                    held.enter_context(directory_lock(self._directory(trial.number), _WAIT, sweep=False))
            if trial is None:
                yield None
                return
            try:
                yield Taken(trial.number, self._point(self._trials()[trial.number]))
            except BaseException as error:
                with self._changing():
                    self._end(trial.number, f"interrupted: {type(error).__name__}", again=True)
                raise

    def complete(self, number: int, measured: Measured) -> None:
        """Ends a trial with what came of it."""
        with self._changing():
            self._note(number, measured=measured.to_json())
            self.study.tell(number, measured.value.value, skip_if_finished=True)

    def fail(self, number: int, reason: str) -> None:
        """Ends a trial that would fail again."""
        with self._changing():
            self._end(number, reason, again=False)

    def recover(self, given_up: Collection[str] = ()) -> list[str]:
        """Puts trials into the queue again whose workers are gone.

        Args:
            given_up: names of points that are not tried again.

        Returns:
            Names of the points whose workers are gone.
        """
        with self._changing():
            running = [trial for trial in self._trials() if trial.state is TrialState.RUNNING]
            lost = [trial for trial in running if is_held(self._directory(trial.number)) is False]
            names = [self._point(trial).name for trial in lost]
            for trial, name in zip(lost, names, strict=True):
                self._end(trial.number, DIED, again=name not in given_up)
        return names

    def outcomes(self) -> list[Outcome]:
        """All trials, in their order."""
        with self._errors_named():
            trials, notes = self._trials(), self._notes()
            replaced = _replaced(trials)
            return [self._outcome(trial, notes.get(trial.number, {}), replaced) for trial in trials]

    def has_work(self) -> bool:
        """Whether a worker would find a trial."""
        outcomes = self.outcomes()
        if any(outcome.state == "waiting" for outcome in outcomes):
            return True
        return self.grid.sampler == "tpe" and sum(item.counts for item in outcomes) < self.grid.num_points

    def unseen(self) -> list[Path]:
        """Directories of running trials of which it cannot be seen whether they still run."""
        running = [trial.number for trial in self._trials() if trial.state is TrialState.RUNNING]
        return [self._directory(number) for number in running if is_held(self._directory(number)) is None]

    def _next(self) -> Trial | None:
        """The next trial, of the queue or the sampler's; the caller holds the folder's lock."""
        if not self.has_work():
            return None
        counted = [item for item in self.outcomes() if item.counts]
        if any(item.state == "waiting" for item in counted):
            return self.study.ask(self._distributions)
        known = {_key(item.params): item.number for item in counted}
        for _ in range(_TRIES):
            trial = self._suggest()
            repeated = known.get(_key(trial.params))
            if repeated is None:
                return trial
            self._note(trial.number, reason=f"repeats trial {repeated}", repeats=repeated)
            self.study.tell(trial.number, state=TrialState.FAIL)
        self.study.enqueue_trial(next(item for item in shuffled(self.grid.choices) if _key(item) not in known))
        return self.study.ask(self._distributions)

    def _suggest(self) -> Trial:
        """A trial of a sampler made for it, so that it depends on the trials before alone."""
        seed, before = named_seed(len(self._trials()), "scan"), self.study.sampler
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # both have been there for years
            self.study.sampler = TPESampler(seed=seed, multivariate=True, constant_liar=True)
        try:
            return self.study.ask(self._distributions)
        finally:
            self.study.sampler = before

    def _end(self, number: int, reason: str, *, again: bool) -> None:
        """Ends a running trial as failed, `again` after its values are in the queue."""
        if again:
            self._again(self._trials()[number])
        self._note(number, reason=reason)
        self.study.tell(number, state=TrialState.FAIL, skip_if_finished=True)

    def _again(self, trial: FrozenTrial) -> None:
        if trial.number not in _replaced(self._trials()):
            about = {"point": self._point(trial).name, "instead_of": trial.number}
            self.study.enqueue_trial(_params(trial), user_attrs=about)

    def _note(self, number: int, **values: object) -> None:
        """Notes about a trial, which the study holds: only its worker could write into it."""
        self.study.set_user_attr(f"trial {number}", values)

    def _notes(self) -> dict[int, dict[str, object]]:
        return {int(key.split()[1]): values for key, values in self.study.user_attrs.items() if key.startswith("trial")}

    def _outcome(self, trial: FrozenTrial, notes: Mapping[str, object], replaced: Mapping[int, int]) -> Outcome:
        measured = notes.get("measured") if trial.state is TrialState.COMPLETE else None
        again = f"; run again as trial {replaced[trial.number]}" if trial.number in replaced else ""
        return Outcome(
            number=trial.number,
            point=self._point(trial),
            params=self._all_params(trial),
            state=_STATES.get(trial.state, "failed"),
            reason=str(notes.get("reason", "")) + again,
            measured=Measured.from_json(measured) if isinstance(measured, dict) else None,
            counts=trial.number not in replaced and "repeats" not in notes,
        )

    def _point(self, trial: FrozenTrial) -> Point:
        point = self.grid.point_of(self._all_params(trial))
        return Point(str(trial.user_attrs.get("point", point.name)), point.changes)

    def _all_params(self, trial: FrozenTrial) -> dict[str, Choice]:
        """Values of all names, also of a trial whose worker died before it had them all."""
        known = _params(trial)
        return {name: known.get(name, encode(value_of(self.grid.start, name))) for name in self.grid.names}

    def _directory(self, number: int) -> Path:
        return self.folder / "trials" / f"{self.identity}-{number}"

    def _trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        with self._errors_named(), directory_lock(self.folder, _WAIT, sweep=False):
            yield

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        """Names the journal where it cannot be read or written, e.g. on a full disk."""
        try:
            yield
        except OSError as error:
            raise refusal(f"use {self.journal}", error.errno) from error


def _open_journal(path: Path) -> JournalStorage:
    """The storage; the end of a line that a full disk has cut off is removed.

    Raises:
        DataFormatError: another line is damaged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Optuna's lock is a link to the path, which it must find from every working directory.
    lock = JournalFileSymlinkLock(str(path.absolute()), grace_period=_GRACE)
    backend = JournalFileBackend(str(path.absolute()), lock_obj=lock)
    lock.acquire()
    try:
        with path.open("r+b") as file:
            whole = file.read()
            if not whole.endswith(b"\n"):
                file.truncate(whole.rfind(b"\n") + 1)
    finally:
        lock.release()
    try:
        return JournalStorage(backend)
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
        raise DataFormatError(
            f"{path} must be the journal of a scan: remove it (trainings and their figures are kept, and read again). "
            f"Received: {error!r:.200}"
        ) from error


def _params(trial: FrozenTrial) -> dict[str, Choice]:
    """Values that a trial has, or is to have."""
    return {**trial.params, **trial.system_attrs.get("fixed_params", {})}


def _key(params: Mapping[str, Choice]) -> str:
    return json.dumps(dict(params), sort_keys=True)


def _replaced(trials: Collection[FrozenTrial]) -> dict[int, int]:
    """Trials that were put into the queue again, each with its new number."""
    return {trial.user_attrs["instead_of"]: trial.number for trial in trials if "instead_of" in trial.user_attrs}
