"""The program `calogen`, whose commands have a module each.

A command imports the rest of the suite inside its function, so that `calogen --help` starts without TensorFlow.
"""

from typing import Annotated

import typer

import calogen
from calogen.cli.download import download_command
from calogen.cli.evaluate import SeveralValues, evaluate_command
from calogen.cli.export import export_command
from calogen.cli.generate import generate_command
from calogen.cli.inspect import inspect_command
from calogen.cli.report import report_command
from calogen.cli.simulate import simulate_command
from calogen.cli.train import train_command
from calogen.command import EXIT_CODES, clean_exit

app = typer.Typer(
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Generative fast calorimeter simulation: simulate, train, generate, judge, export. Energies are in MeV.",
    epilog=EXIT_CODES,
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"calogen {calogen.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show what TensorFlow prints of itself, too.")] = False,
) -> None:
    """Options in front of a command; `calogen.backend` reads `--verbose`."""


app.command("simulate")(simulate_command)
app.command("download")(download_command)
app.command("train")(train_command)
app.command("generate")(generate_command)
app.command("evaluate", cls=SeveralValues)(evaluate_command)
app.command("export")(export_command)
app.command("report")(report_command)
app.command("inspect")(inspect_command)


def main() -> None:
    """Runs the command line; a fault ends it with one line and an exit code of `EXIT_CODES`."""
    with clean_exit("calogen"):
        app()
