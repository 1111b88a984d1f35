"""The command line of scans, and a scan from its grid to its report."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from calogen import provenance
from calogen.command import EXIT_CODES, ClusterOption, clean_exit, parse_command_line
from calogen.config import require
from calogen.errors import CalogenError
from calogen.files import listed, require_writable_file
from calogen.process import show, tell, tell_next
from calogen.reproduction.elsewhere import own_words, run_elsewhere
from calogen.reproduction.experiment import Preset, expand_options
from calogen.reproduction.scan_files import read_grid
from calogen.reproduction.scan_grid import Grid, with_choices
from calogen.reproduction.scan_report import (
    best_of,
    draw_study,
    publish_table,
    scan_frame,
    summary_text,
    write_frame,
    write_report,
)
from calogen.reproduction.scan_workers import Data, Task, run_trials

_SMOKE_EVERY = 8  # of the bundled showers, one in so many

Sampler = Literal["one-at-a-time", "grid", "tpe"]


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What the command line of a scan chooses: each field is an option."""

    paper: Annotated[str, typer.Argument(metavar="PAPER", help="A model with a grid, e.g. atlas_vae.")]
    preset: Annotated[Preset, typer.Option(help="How long every trial trains: a budget of the grid's file.")] = "laptop"
    smoke: Annotated[bool, typer.Option("--smoke", help="Short for --preset smoke.")] = False
    sampler: Annotated[
        Sampler | None, typer.Option(help="Which points are visited; by default what the file says.")
    ] = None
    trials: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Visit N points; the next call may ask for more.")
    ] = None
    seeds: Annotated[
        int | None, typer.Option(min=1, max=1000, metavar="N", help="Trainings at every point, seeds 1..N.")
    ] = None
    workers: Annotated[
        int,
        typer.Option(min=0, max=1000, metavar="N", help="Processes that train, or workers of --cluster; 0: this one."),
    ] = 1
    cluster: ClusterOption = None
    finalists: Annotated[bool, typer.Option("--finalists", help="Take the file's second grid, of the best few.")] = (
        False
    )
    grid: Annotated[Path | None, typer.Option(metavar="FILE", help="Your own grid instead of the paper's.")] = None
    runs: Annotated[Path, typer.Option(metavar="DIR", help="Where trainings go, in scans/PAPER/.")] = Path("runs")
    results: Annotated[Path | None, typer.Option(metavar="DIR", help="Publish the table there, too.")] = None
    train_data: Annotated[Path | None, typer.Option(metavar="FILE", help="Your showers instead of bundled ones.")] = (
        None
    )
    first_edition: Annotated[
        bool, typer.Option("--first-edition", help="Take 1,000 bundled showers of each energy, as older results.")
    ] = False
    tolerant: Annotated[
        bool, typer.Option("--tolerant", help="Clip your voxels down to -0.1 % of a shower, round energies 0.1 % off.")
    ] = False
    verbose: Annotated[bool, typer.Option("--verbose", help="Show what TensorFlow prints of itself, too.")] = False
    options: Annotated[
        str, typer.Option(metavar="TEXT", help="More options, split as by a shell; nothing is expanded.")
    ] = ""

    @property
    def model(self) -> str:
        """Name of the model's module."""
        return self.paper.replace("-", "_")

    @property
    def name(self) -> str:
        """Name of the published files."""
        return self.model + ("_final" if self.finalists else "")


def scan(description: str | None, grids: Path, arguments: Sequence[str] | None = None) -> None:
    """Runs a scan from the command line; faults end it as `clean_exit` says.

    Args:
        description: the script's docstring, shown by `--help`.
        grids: folder of the grids, `<model>.toml` each.
        arguments: the command line; None: that of this process.

    Raises:
        SystemExit: after a fault, a wrong option or `--help`.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    with clean_exit("scan"):
        given = parse_command_line(Choices, description, EXIT_CODES, expand_options(words))
        grid = choose_grid(given, grids)
        if given.results:
            for suffix in ("md", "csv"):
                require_writable_file(given.results / f"{given.name}.{suffix}")
        run_scan(given, grid, f"python experiments/scan.py {shlex.join(words)}")


def choose_grid(given: Choices, grids: Path) -> Grid:
    """The grid that a command line asks for.

    Raises:
        ConfigError: there is no grid for the paper; and as `read_grid`.
    """
    path = given.grid or grids / f"{given.model}.toml"
    if given.grid is None:
        known = [item.stem for item in listed(grids, "*.toml")]
        require(
            given.model in known, f"PAPER must be one of {', '.join(known)}, or have a --grid. Received: {given.paper}"
        )
    grid = read_grid(path, given.model, given.preset, finalists=given.finalists)
    return with_choices(grid, sampler=given.sampler, trials=given.trials, seeds=given.seeds)


def run_scan(given: Choices, grid: Grid, command: str) -> None:
    """Runs the trials that are left, and writes what came of all.

    Args:
        given: the command line.
        grid: what is scanned.
        command: the command line as text.

    Raises:
        CalogenError: no trial is complete, and none is at work.
    """
    root = given.runs / "scans" / given.model / given.preset
    folder = root / (("finalists-" if given.finalists else "") + grid.sampler)
    every = _SMOKE_EVERY if given.preset == "smoke" else 1
    first = given.first_edition or given.preset == "smoke"
    data = Data(train=given.train_data, tolerant=given.tolerant, first_edition=first, every=every)
    task = Task(root=root, folder=folder, grid=grid, data=data)
    about = provenance.collect(1, {"train": data.path(grid)})
    study, showers, note = task.open()
    ended = sum(outcome.state in ("complete", "failed") for outcome in study.outcomes())
    tell(
        f"scan of {given.model}, preset {given.preset}, {grid.sampler}: {grid.num_points} trials, {ended} done, "
        f"into {folder}; every trial that ends tells the time that is left"
    )
    if given.cluster:
        study.fill()
        words = [*own_words("--workers", "--results"), "--workers", "0"]
        logs = [folder.absolute() / f"worker-{number}.log" for number in range(1, max(1, given.workers) + 1)]
        run_elsewhere(given.cluster, dict.fromkeys(logs, words), "workers")  # what one leaves is done here
    run_trials(task, study, showers, given.workers)
    outcomes = study.outcomes()
    about |= {"command": command, "note": note, "device": provenance.device(), "showers": len(showers)}
    write_frame(folder, scan_frame(grid, outcomes))
    page = write_report(folder, grid, outcomes, draw_study(study.study, grid), about)
    if given.results:
        publish_table(given.results / f"{given.name}.md", grid, outcomes, about)
    show(f"{summary_text(grid, outcomes)}\ntable: {folder / 'scan.csv'}\nreport: {page}")
    tell_next(f"open {shlex.quote(str(page))} in a browser")
    if best_of(outcomes) is None and not any(outcome.state == "running" for outcome in outcomes):
        raise CalogenError(f"all {len(outcomes)} trials failed; the first: {outcomes[0].reason}")
