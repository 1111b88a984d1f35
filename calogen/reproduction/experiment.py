"""The frame of an experiment script: its command line, directories of runs, their logs.

def run(arguments: Arguments) -> None:
    for seed in arguments.seeds:
        with open_run("atlas_vae", arguments.preset, seed, arguments.runs) as run: ...

if __name__ == "__main__":
    execute(run, __doc__)
"""

import json
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from inspect import Parameter
from pathlib import Path
from time import monotonic
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import typer

from calogen.command import EXIT_CODES, ClusterOption, StrategyOption, clean_exit, parse_command_line
from calogen.config import MAX_SEED, require
from calogen.errors import CalogenError, ConfigError
from calogen.files import FigureFormat, require_writable_file, sha256, write_json
from calogen.locks import directory_lock
from calogen.process import Terminated, export_step, show, tell_next

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from calogen.claims.judge import Results

# smoke: seconds, for tests; laptop: minutes to an hour on two cores; paper: the paper's budget, for a GPU.
Preset = Literal["smoke", "laptop", "paper"]
PRESETS: tuple[str, ...] = get_args(Preset)
LONG = "long"
"""Preset between laptop and paper, which some experiments have: hours on one core."""
_MAX_SEEDS = 1000


@dataclass(frozen=True)
class OwnOption:
    """An option that one experiment has besides those of every experiment.

    Args:
        help: what `--help` says of it.
        kind: type of its value, e.g. `float` or `Literal["energy", "shapes"]`; `bool` makes a flag without a value.
        default: the value where the command line does not give another.
    """

    help: str
    kind: object = bool
    default: object = False

    def parameter(self, flag: str) -> Parameter:
        """The option as a function's parameter, as typer reads it."""
        default = typer.Option(self.default, flag, help=self.help)
        name = flag.lstrip("-").replace("-", "_")
        return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=self.kind)


OwnOptions = Mapping[str, OwnOption]
"""Options of one experiment, by flag, e.g. `--ablation`."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Values of an experiment's command line.

    Args:
        preset: size of the training, one of `PRESETS`, or `LONG`.
        seeds: seeds, for each of which a run is trained.
        runs: directory of all runs.
        results: directory to which the results are published; None: they stay with the report.
        train_data, test_data: the user's own files; None: the bundled showers are used.
        first_edition: whether to train on the first edition of the bundled showers, as older results were.
        figures: format of files of all figures beside the report; None: the report alone holds them.
        tolerant: in the user's files, set slightly negative energies to 0 and round incident energies by up to 0.1 %.
        cluster: where networks train, as for `cluster.worker_pool`; None: in this process, one after another.
        strategy: devices of each training, as for `devices.training_devices`.
        options: values of the experiment's own options, by name: that of `--learning-rate` is `learning_rate`.
    """

    preset: str
    seeds: tuple[int, ...]
    runs: Path
    results: Path | None = None
    train_data: Path | None = None
    test_data: Path | None = None
    first_edition: bool = False
    tolerant: bool = False
    figures: FigureFormat | None = None
    cluster: str | None = None
    strategy: str = "one"
    options: Mapping[str, object] = field(default_factory=dict)

    @property
    def takes_first_edition(self) -> bool:
        """Whether to train on the bundled showers' first edition, as smoke tests do."""
        return self.first_edition or self.preset == "smoke"

    def report_directory(self, paper: str) -> Path:
        """Directory of a paper's report: in the run of a single seed, or beside several runs."""
        if len(self.seeds) == 1:
            return run_directory(paper, self.preset, self.seeds[0], self.runs) / "report"
        return self.runs / paper / f"{self.preset}-report"


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training with one seed, in a directory of its own, from `open_run`.

    Args:
        directory: directory of all files of the run.
        preset, seed: preset and seed of the training.
    """

    directory: Path
    preset: str
    seed: int
    _start: float = field(default_factory=monotonic, repr=False)

    @property
    def wall_time(self) -> float:
        """Seconds since this process opened the run."""
        return monotonic() - self._start

    def log(self, event: str, **values: object) -> None:
        """Appends one line to `log.jsonl`: time, event and JSON values."""
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
        ConfigError: the preset is unknown.
    """
    if preset not in (*PRESETS, LONG):
        raise ConfigError(f"preset must be one of {', '.join((*PRESETS, LONG))}. Received: {preset}")
    return Path(runs) / paper / f"{preset}-seed{seed}"


@contextmanager
def open_run(paper: str, preset: str, seed: int, runs: str | Path = "runs", *, shared: bool = False) -> Iterator[Run]:
    """Locks the directory of a run, which it makes if need be, and logs how the run ends.

    Args:
        paper, preset, seed, runs: as for `run_directory`.
        shared: whether other processes may have the directory open, too: each locks the networks that it trains.

    Raises:
        TemporaryError: another process has locked the directory.
        CalogenError: the directory cannot be written.
        ConfigError: the preset is unknown.
    """
    directory = run_directory(paper, preset, seed, runs)
    with _made(directory) if shared else directory_lock(directory):
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


@contextmanager
def _made(directory: Path) -> Iterator[None]:
    """A directory, which is made if it is missing."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CalogenError(f"cannot make {directory}: {error.strerror}") from error
    yield


def parse_arguments(
    description: str | None, arguments: Sequence[str] | None = None, options: OwnOptions = MappingProxyType({})
) -> Arguments:
    """Reads the command line of an experiment.

    Args:
        description: the script's docstring, shown by `--help`.
        arguments: the command line; None: that of this process.
        options: options that only this experiment has, also in place of one that every experiment has.

    Raises:
        SystemExit: as `parse_command_line`.
        ConfigError: a shell could not split the text of `--options`.
    """
    words = expand_options(sys.argv[1:] if arguments is None else arguments)
    more = [option.parameter(flag) for flag, option in options.items()]
    return parse_command_line(_read_options, description, EXIT_CODES, words, more)


def _read_options(
    *,
    preset: Annotated[Preset, typer.Option(help="How large a training.")] = "laptop",
    smoke: Annotated[bool, typer.Option("--smoke", help="Short for --preset smoke.")] = False,
    seeds: Annotated[int, typer.Option(min=1, max=_MAX_SEEDS, metavar="N", help="Train N runs, seeds 1..N.")] = 1,
    seed: Annotated[int | None, typer.Option(min=1, max=MAX_SEED, metavar="K", help="Train this one run only.")] = None,
    runs: Annotated[Path, typer.Option(metavar="DIR", help="Where runs go.")] = Path("runs"),
    results: Annotated[Path | None, typer.Option(metavar="DIR", help="Publish results and figure there, too.")] = None,
    train_data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Your showers instead of bundled ones.")
    ] = None,
    test_data: Annotated[Path | None, typer.Option(metavar="FILE", help="Your showers to compare with.")] = None,
    first_edition: Annotated[
        bool, typer.Option("--first-edition", help="Train on 1,000 bundled showers of each energy, as older results.")
    ] = False,
    tolerant: Annotated[
        bool, typer.Option("--tolerant", help="Clip your voxels down to -0.1 % of a shower, round energies 0.1 % off.")
    ] = False,
    figures: Annotated[
        FigureFormat | None,
        typer.Option(help="Write figures to files of this format, too: figures/ beside the report."),
    ] = None,
    cluster: ClusterOption = None,
    strategy: StrategyOption = "one",
    verbose: Annotated[bool, typer.Option("--verbose", help="Show what TensorFlow prints of itself, too.")] = False,
    options: Annotated[
        str, typer.Option(metavar="TEXT", help="More options, split as by a shell; nothing is expanded.")
    ] = "",
    **own: object,
) -> Arguments:
    """Values of a command line after `expand_options`.

    `--smoke` and `--options` are here for `--help` alone, and `--verbose`, which `calogen.backend` reads.
    """
    if train_data is None and test_data is not None:
        raise typer.BadParameter("--test-data goes with --train-data")
    if train_data is not None and first_edition:
        raise typer.BadParameter("--first-edition is about the bundled showers: your own --train-data is taken whole")
    return Arguments(
        preset=preset,
        seeds=(seed,) if seed else tuple(range(1, seeds + 1)),
        runs=runs,
        results=results,
        train_data=train_data,
        test_data=test_data,
        first_edition=first_edition,
        tolerant=tolerant,
        figures=figures,
        cluster=cluster,
        strategy=strategy,
        options=own,
    )


def expand_options(words: Sequence[str]) -> list[str]:
    """A command line with the words that `--smoke` and `--options TEXT` stand for.

    They stand in the place of these options, so that a later option wins over an earlier one.

    Raises:
        ConfigError: a shell could not split the text of `--options`.
    """
    expanded: list[str] = []
    remaining = iter(words)
    for word in remaining:
        flag, equals, value = word.partition("=")
        text = value if equals else next(remaining, None) if flag == "--options" else None
        if word == "--smoke":
            expanded += ["--preset", "smoke"]
        elif flag != "--options" or text is None:
            expanded.append(word)
        else:
            try:
                expanded += expand_options(shlex.split(text))
            except ValueError as error:
                raise ConfigError(f"--options must be words as in a shell ({error}). Received: {text}") from error
    return expanded


def execute(
    experiment: Callable[[Arguments], None], description: str | None, options: OwnOptions = MappingProxyType({})
) -> None:
    """Runs an experiment from the command line; faults end it as `clean_exit` says.

    Args:
        experiment: function that does the experiment.
        description, options: as for `parse_arguments`.
    """
    with clean_exit(Path(sys.argv[0]).stem):
        arguments = parse_arguments(description, options=options)
        _require_held_out(arguments)
        if arguments.results:
            require_writable_file(arguments.results / "results.json")  # before hours of training
        from calogen.training.devices import training_devices

        with training_devices(arguments.strategy):
            experiment(arguments)


def _require_held_out(arguments: Arguments) -> None:
    """Refuse a test file that is the training file, under another name or as a copy, too.

    Raises:
        ConfigError: the files are equal.
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
    """Writes report and results, with `--results` the published ones, and prints tables.

    The claims of the preset smoke get no verdict.

    Args:
        arguments: command line of the experiment.
        results: claims, quantities and tables of the experiment.
        figures: figures of the report by caption.
        headline: caption of the figure beside the published tables.
    """
    from calogen.claims.judge import without_verdict
    from calogen.plots.style import write_figure  # matplotlib takes a while, and --help does not need it
    from calogen.reports.reproduction import write_report
    from calogen.reports.results import results_table

    if arguments.preset == "smoke":
        results = replace(results, claims=tuple(map(without_verdict, results.claims)))
    page = write_report(arguments.report_directory(results.name), results, figures, arguments.figures)
    path = page.with_name(f"{results.name}.json")
    if arguments.results:
        path = arguments.results / f"{results.name}.json"
        write_json(path, results.to_json())
        for suffix in {"png", arguments.figures or "png"}:
            write_figure(figures[headline], path.with_suffix(f".{suffix}"))
    show(results_table(results.to_json(), brief=True))
    show(f"report: {page}\nresults: {path}")
    trained = run_directory(results.name, arguments.preset, arguments.seeds[0], arguments.runs)
    tell_next(
        f"open {shlex.quote(str(page))} in a browser",
        f"{export_step(trained, arguments.options.get('eta'))}    # for C++",
    )
