"""The frame of an experiment script: its command line, its run directories, their logs.

def run(arguments: Arguments) -> None:
    for seed in arguments.seeds:
        with open_run("atlas_vae", arguments.preset, seed, arguments.runs) as run: ...

if __name__ == "__main__":
    execute(run, __doc__)
"""

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from calogen.config import MAX_SEED, require
from calogen.errors import CalogenError, ConfigError, TemporaryError
from calogen.files import TEMPORARY, require_writable_file, sha256, write_json
from calogen.locks import directory_lock
from calogen.parallel import limit_libraries
from calogen.process import Terminated, orderly, tell

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from calogen.claims.judge import Results

# smoke: seconds, for tests; laptop: minutes to an hour on two cores; paper: the paper's budget, for a GPU.
PRESETS = ("smoke", "laptop", "paper")
EXIT_CODES = """exit codes: 0 done; 1 a fault of the program's own; 2 a fault to mend, which the last line names; 75 a
fault that another try may not meet (a lock that another process holds, the network, a disk's error, a worker that
died); 130 interrupted; 143 terminated. After 75, 130 and 143 the same command goes on where it stopped."""
_MAX_SEEDS = 1000


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What an experiment was asked for.

    Args:
        preset: one of `PRESETS`.
        seeds: one run is trained for each.
        runs: directory of all runs.
        results: directory to publish the results JSON in; None: it stays with the report.
        train_data, test_data: the user's own files; None: the bundled showers.
        all_showers: train on all bundled showers instead of the first edition's.
        tolerant: whether slightly negative energies in them are set to 0, and incident energies rounded by up to 0.1 %.
        options: values of the experiment's own options, by name.
    """

    preset: str
    seeds: tuple[int, ...]
    runs: Path
    results: Path | None = None
    train_data: Path | None = None
    test_data: Path | None = None
    all_showers: bool = False
    tolerant: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    def report_directory(self, paper: str) -> Path:
        """Where a paper's report goes: beside its run for one seed, beside all runs for more."""
        if len(self.seeds) == 1:
            return run_directory(paper, self.preset, self.seeds[0], self.runs) / "report"
        return self.runs / paper / f"{self.preset}-report"


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training with one seed, in a directory of its own; made by `open_run`.

    Args:
        directory: holds everything that the run writes.
        preset, seed: what the run was asked for.
    """

    directory: Path
    preset: str
    seed: int
    _start: float = field(default_factory=monotonic, repr=False)

    @property
    def wall_time(self) -> float:
        """Seconds since the run was opened, by this process."""
        return monotonic() - self._start

    def log(self, event: str, **values: Any) -> None:
        """Append one line to `log.jsonl`: time, event and JSON values."""
        line = json.dumps({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event} | values)
        path = self.directory / "log.jsonl"
        try:
            with open(path, "a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise CalogenError(f"cannot append to {path}: {error.strerror}") from error


def run_directory(paper: str, preset: str, seed: int, runs: str | Path = "runs") -> Path:
    """Directory of one run: `runs/<paper>/<preset>-seed<k>`.

    Raises:
        ConfigError: an unknown preset.
    """
    if preset not in PRESETS:
        raise ConfigError(f"preset must be one of {', '.join(PRESETS)}. Received: {preset}")
    return Path(runs) / paper / f"{preset}-seed{seed}"


@contextmanager
def open_run(paper: str, preset: str, seed: int, runs: str | Path = "runs") -> Iterator[Run]:
    """Hold the directory of one run, made if need be, and log how the run went.

    Raises:
        TemporaryError: another process holds the directory.
        CalogenError: it cannot be written.
        ConfigError: an unknown preset.
    """
    directory = run_directory(paper, preset, seed, runs)
    with directory_lock(directory):
        run = Run(directory=directory, preset=preset, seed=seed)
        run.log("started", preset=preset, seed=seed)
        try:
            yield run
        except BaseException as error:
            event = "terminated" if isinstance(error, Terminated) else "failed"
            with suppress(CalogenError):  # a full disk must not hide what happened
                run.log(event, error=f"{type(error).__name__}: {error}", wall_time=run.wall_time)
            raise
        run.log("finished", wall_time=run.wall_time)


def parse_arguments(
    description: str,
    arguments: Sequence[str] | None = None,
    options: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> Arguments:
    """Read an experiment's command line.

    Args:
        description: the script's docstring, shown by `--help`.
        arguments: the command line; None: this process's.
        options: the experiment's own options: flag -> arguments of `ArgumentParser.add_argument`.
    """
    parser = argparse.ArgumentParser(
        description=description, epilog=EXIT_CODES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", choices=PRESETS, default="laptop", help="how large a training (default: laptop)")
    parser.add_argument("--smoke", action="store_const", const="smoke", dest="preset", help="short for --preset smoke")
    parser.add_argument(
        "--seeds", type=whole_number(_MAX_SEEDS), default=1, metavar="N", help="train N runs, seeds 1..N (default: 1)"
    )
    parser.add_argument("--seed", type=whole_number(MAX_SEED), metavar="K", help="train this one run only")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="where runs go (default: runs)")
    parser.add_argument("--results", type=Path, metavar="DIR", help="publish results and figure there, too")
    parser.add_argument("--train-data", type=Path, metavar="FILE", help="your own showers (default: the bundled ones)")
    parser.add_argument("--test-data", type=Path, metavar="FILE", help="showers to compare with (goes with the other)")
    parser.add_argument(
        "--all-showers",
        action="store_true",
        help="train on all bundled showers, not only the first edition's 1,000 of each energy",
    )
    parser.add_argument(
        "--tolerant",
        action="store_true",
        help="in your showers, set slightly negative energies to 0 and round incident energies that are 0.1 %% off",
    )
    parser.add_argument(
        "--options",
        action=_Options,
        metavar="TEXT",
        help="more of these in one text, split and unquoted as by a shell; nothing is expanded (make's OPTIONS)",
    )
    own = [parser.add_argument(flag, **settings).dest for flag, settings in options.items()]
    given = parser.parse_args(arguments)
    if given.train_data is None and given.test_data is not None:
        parser.error("--test-data goes with --train-data")
    if given.train_data is not None and given.all_showers:
        parser.error("--all-showers is about the bundled showers: your own --train-data is taken whole")
    seeds = (given.seed,) if given.seed else tuple(range(1, given.seeds + 1))
    names = ("runs", "results", "train_data", "test_data", "all_showers", "tolerant")
    paths = {name: getattr(given, name) for name in names}
    return Arguments(preset=given.preset, seeds=seeds, options={name: getattr(given, name) for name in own}, **paths)


def execute(
    experiment: Callable[[Arguments], None],
    description: str | None,
    options: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> None:
    """Run an experiment from the command line; faults end as `clean_exit` says.

    Args:
        experiment: does it.
        description, options: as for `parse_arguments`.
    """
    with clean_exit(Path(sys.argv[0]).stem):
        arguments = parse_arguments(description or "", options=options)
        _require_held_out(arguments)
        if arguments.results:
            require_writable_file(arguments.results / "results.json")  # before hours of training
        experiment(arguments)


def _require_held_out(arguments: Arguments) -> None:
    """Refuse a test file that is the training file, by another name or as a copy, too.

    Raises:
        ConfigError: it is.
    """
    train, test = arguments.train_data, arguments.test_data
    if train is None or test is None or not (train.is_file() and test.is_file()):
        return  # a file that is missing is refused where it is read
    same = train.samefile(test) or (train.stat().st_size == test.stat().st_size and sha256(train) == sha256(test))
    require(
        not same,
        "--test-data must hold other showers than --train-data, since only those are held out: give another file, or "
        f"divide this one. Received: {test}, which is {train}",
    )


def publish(arguments: Arguments, results: "Results", figures: Mapping[str, "Figure"], headline: str) -> None:
    """Write report and results, for README too with `--results`; print the table.

    Args:
        arguments: what the experiment was asked for.
        results: what it found.
        figures: of the report, by caption.
        headline: caption of README's figure.
    """
    from calogen.plots.style import write_figure  # matplotlib: every command imports this module
    from calogen.reports.reproduction import write_report
    from calogen.reports.results import results_table

    page = write_report(arguments.report_directory(results.name), results, figures)
    path = page.with_name(f"{results.name}.json")
    if arguments.results:
        path = arguments.results / f"{results.name}.json"
        write_json(path, results.to_json())
        write_figure(figures[headline], path.with_suffix(".png"))
    print(results_table(results.to_json()))
    print(f"report: {page}\nresults: {path}")


@contextmanager
def clean_exit(program: str) -> Iterator[None]:
    """Run the block as a command: `orderly`, its faults a line and an exit code.

    The line goes to stderr; the code is one of `EXIT_CODES`. A fault to mend is a `CalogenError`, too little memory, or
    a file that the operating system refuses. TensorFlow gets the cores of this job, linear algebra one.
    """
    with orderly():
        try:
            limit_libraries()
            yield
        except CalogenError as error:
            tell(f"{program}: error: {' '.join(str(error).split())}")
            sys.exit(error.exit_code)
        except KeyboardInterrupt:
            tell(f"{program}: interrupted")
            sys.exit(130)
        except Terminated:
            tell(f"{program}: terminated")
            raise
        except Exception as error:
            if (fault := _fault(error)) is None:
                raise
            tell(f"{program}: error: {fault}")
            again = isinstance(error, OSError) and error.errno in TEMPORARY
            sys.exit(TemporaryError.exit_code if again else CalogenError.exit_code)


class _Options(argparse.Action):
    """Reads options out of one text."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, _: str | None = None) -> None:
        """Splits the text into words, which may themselves be quoted, and parses them."""
        try:
            words = shlex.split(values)
        except ValueError as error:
            parser.error(f"--options must be words as in a shell ({error}). Received: {values}")
        parser.parse_args(words, namespace)


def whole_number(highest: int) -> Callable[[str], int]:
    """The type of a command line's argument: a whole number, 1 to the highest."""

    def number(text: str) -> int:
        try:
            found = int(text)
        except ValueError:
            found = 0
        if not 1 <= found <= highest:
            raise argparse.ArgumentTypeError(f"must be a whole number, 1 to {highest}, is {text:.40}")
        return found

    return number


def _fault(error: Exception) -> str | None:
    """What the user can mend, in one line; None for a fault of the program."""
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":  # TensorFlow's
        reason = (str(error).splitlines() or [""])[0]
        return f"out of memory: ask for less at once, or for more memory ({reason or type(error).__name__:.200})"
    if isinstance(error, OSError) and error.filename is not None:
        return f"cannot use {error.filename!s:.400}: {error.strerror}"
    return None
