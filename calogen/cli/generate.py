"""The command `calogen generate`."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from calogen.cli.options import EnergiesOption, OutputOption, SeedOption, parse_energies
from calogen.command import ClusterOption
from calogen.config import require
from calogen.files import require_writable_file
from calogen.process import show, tell, tell_next


def generate_command(
    run: Annotated[
        list[Path],
        typer.Argument(
            help="Directory of a trained run, or pretrained networks by name (calogen inspect --pretrained); several "
            "directories, by rising momentum, share the momenta between them."
        ),
    ],
    output: OutputOption,
    energies: EnergiesOption = "",
    like: Annotated[Path | None, typer.Option(help="Instead: a file of showers whose conditions are taken.")] = None,
    showers: Annotated[int | None, typer.Option(min=1, help="Of each energy: 1000; of each of --like: 1.")] = None,
    seed: SeedOption = 1,
    cluster: ClusterOption = None,
    files: Annotated[
        int, typer.Option(min=1, help="Write so many files beside the output, which then only refers to them.")
    ] = 1,
) -> None:
    """Generate showers with a trained run, or with several that share the momenta.

    What a model knows besides the incident energy (impact position, angle ...) it takes from the datasets of --like. A
    file may be larger than memory: at most 10,000 showers at a time are made and written. A second call goes on where
    an interrupted one stopped, in blocks of 65,536 showers.
    """
    from calogen.generation.pretrained import folders_of
    from calogen.generation.production import write_generated

    number = bool(energies) + (like is not None)
    require(number == 1, f"generate needs either --energies or --like. Received: {number} of them")
    require_writable_file(output)
    source, copies = like or parse_energies(energies), showers or (1 if like else 1000)
    given = f"for each shower of {like}" if like else f"at each energy of {energies}"
    tell(f"generating with {', '.join(map(str, run))}: {copies:,} showers {given}, into {output}")
    write_generated(
        output, [folder for item in run for folder in folders_of(item)], source, copies, seed, cluster, files
    )
    show(str(output))
    reference = like or "GEANT4_FILE"
    words = ["--reference", str(reference), "--generated", f"MODEL={output}", "--output", "report"]
    tell_next(shlex.join(["calogen", "evaluate", *words]))
