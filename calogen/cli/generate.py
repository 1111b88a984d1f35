"""The command `calogen generate`."""

from pathlib import Path
from typing import Annotated

import typer

from calogen.cli.options import Energies, Output, Seed, parse_energies
from calogen.files import require_writable_file


def generate(
    run: Annotated[
        list[Path],
        typer.Argument(help="Directory of a trained run; several, by rising momentum, share the momenta between them."),
    ],
    output: Output,
    energies: Energies,
    showers: Annotated[int, typer.Option(min=1, help="Showers of each energy.")] = 1000,
    seed: Seed = 1,
) -> None:
    """Generate showers with a trained run, or with several that share the momenta.

    A file may be larger than memory: at most 10,000 showers at a time are made and written.
    """
    from calogen.generation.generate import write_generated

    require_writable_file(output)
    write_generated(output, run, parse_energies(energies), showers, seed)
    typer.echo(output)
