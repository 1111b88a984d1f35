"""The frame of an experiment script: its command line, its run directories, their logs.

def run(arguments: Arguments) -> None:
    for seed in arguments.seeds:
        with open_run("atlas_vae", arguments.preset, seed, arguments.runs) as run: ...

if __name__ == "__main__":
    execute(run, __doc__)
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from calogen.errors import CalogenError, ConfigError
from calogen.files import directory_lock, write_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from calogen.report import Results

# smoke: seconds, for tests; laptop: minutes to an hour on two cores; paper: the paper's budget, for a GPU.
PRESETS = ("smoke", "laptop", "paper")


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What an experiment was asked for.

    Args:
        preset: one of `PRESETS`.
        seeds: one run is trained for each.
        runs: directory of all runs.
        results: directory to publish the results JSON in; None: it stays with the report.
        train_data, test_data: the user's own files; None: the bundled showers.
        tolerant: whether slightly negative energies in them are set to 0.
        options: values of the experiment's own options, by name.
    """

    preset: str
    seeds: tuple[int, ...]
    runs: Path
    results: Path | None = None
    train_data: Path | None = None
    test_data: Path | None = None
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
        CalogenError: another process holds the directory, or it cannot be written.
        ConfigError: an unknown preset.
    """
    directory = run_directory(paper, preset, seed, runs)
    with directory_lock(directory):
        run = Run(directory=directory, preset=preset, seed=seed)
        run.log("started", preset=preset, seed=seed)
        try:
            yield run
        except BaseException as error:
            run.log("failed", error=f"{type(error).__name__}: {error}", wall_time=run.wall_time)
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
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, default="laptop", help="how large a training (default: laptop)")
    parser.add_argument("--smoke", action="store_const", const="smoke", dest="preset", help="short for --preset smoke")
    parser.add_argument("--seeds", type=_positive, default=1, metavar="N", help="train N runs, seeds 1..N (default: 1)")
    parser.add_argument("--seed", type=_positive, metavar="K", help="train this one run only")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="where runs go (default: runs)")
    parser.add_argument("--results", type=Path, metavar="DIR", help="publish results and figure there, too")
    parser.add_argument("--train-data", type=Path, metavar="FILE", help="your own showers (default: the bundled ones)")
    parser.add_argument("--test-data", type=Path, metavar="FILE", help="showers to compare with (goes with the other)")
    parser.add_argument("--tolerant", action="store_true", help="set slightly negative energies in them to 0")
    own = [parser.add_argument(flag, **settings).dest for flag, settings in options.items()]
    given = parser.parse_args(arguments)
    if given.train_data is None and given.test_data is not None:
        parser.error("--test-data goes with --train-data")
    seeds = (given.seed,) if given.seed else tuple(range(1, given.seeds + 1))
    paths = {name: getattr(given, name) for name in ("runs", "results", "train_data", "test_data", "tolerant")}
    return Arguments(preset=given.preset, seeds=seeds, options={name: getattr(given, name) for name in own}, **paths)


def execute(
    experiment: Callable[[Arguments], None],
    description: str | None,
    options: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> None:
    """Run an experiment from the command line; mendable faults end in one line, exit code 2.

    Args:
        experiment: does it.
        description, options: as for `parse_arguments`.
    """
    with clean_exit(Path(sys.argv[0]).stem):
        experiment(parse_arguments(description or "", options=options))


def publish(arguments: Arguments, results: "Results", figures: Mapping[str, "Figure"], headline: str) -> None:
    """Write report and results, for README too with `--results`; print the table.

    Args:
        arguments: what the experiment was asked for.
        results: what it found.
        figures: of the report, by caption.
        headline: caption of README's figure.
    """
    from calogen.plots.style import write_figure  # matplotlib: every command imports this module
    from calogen.report import write_report
    from calogen.results_files import results_table

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
    """Turn a `CalogenError` into a line on stderr and exit code 2, an interrupt into 130."""
    try:
        yield
    except CalogenError as error:
        print(f"{program}: error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        sys.exit(130)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, is {text}")
    return number
