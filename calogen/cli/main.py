"""The command `calogen`: a module for each of its commands.

They import what they need themselves: `calogen --help` starts without TensorFlow.
"""

import typer

from calogen.cli.download import download
from calogen.cli.evaluate import SeveralValues, evaluate
from calogen.cli.export import export
from calogen.cli.generate import generate
from calogen.cli.inspect import inspect
from calogen.cli.report import report
from calogen.cli.simulate import simulate
from calogen.cli.train import train
from calogen.command import EXIT_CODES, clean_exit

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Generative fast calorimeter simulation: simulate, train, generate, judge, export. Energies are in MeV.",
    epilog=EXIT_CODES,
)
app.command()(simulate)
app.command()(download)
app.command()(train)
app.command()(generate)
app.command(cls=SeveralValues)(evaluate)
app.command()(export)
app.command()(report)
app.command()(inspect)


def main() -> None:
    """Run the command line; faults end in one line and an exit code of `EXIT_CODES`."""
    with clean_exit("calogen"):
        app()
