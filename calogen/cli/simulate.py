"""The command `calogen simulate`."""

import shlex
from pathlib import Path
from typing import Annotated, cast

import typer

from calogen.cli.options import EnergiesOption, parse_counts, parse_energies
from calogen.config import MAX_SEED, require
from calogen.process import show, tell_next


def simulate_command(
    energies: EnergiesOption,
    output: Annotated[
        Path | None, typer.Option(help="The file to write, whole or not at all; by default the file of --extend.")
    ] = None,
    showers: Annotated[
        str, typer.Option(help="Showers at each energy: one number, or one for each value or range.")
    ] = "1000",
    detector: Annotated[str | None, typer.Option(help="Name of the detector; by default atlas-barrel.")] = None,
    particle: Annotated[str | None, typer.Option(help="photon (the default), electron, pion ...")] = None,
    physics: Annotated[str | None, typer.Option(help="Physics list; by default em-datafree.")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=MAX_SEED, help="The same seed gives the same showers; by default 1.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes, by default one for each core; the showers do not depend on it."),
    ] = None,
    mantissa_bits: Annotated[int | None, typer.Option(help="Round energies to so many bits: smaller files.")] = None,
    extend: Annotated[
        Path | None,
        typer.Option(help="An earlier output: keep its showers and simulate those that are missing, by its settings."),
    ] = None,
    depths: Annotated[
        bool, typer.Option("--depths", help="Also write the mean depth of the energy in each layer.")
    ] = False,
) -> None:
    """Simulate showers with Geant4; a second call goes on where an interrupted one stopped.

    Showers are numbered at each energy, and each number gives the same shower whenever it is simulated: --extend FILE
    --showers 3000 makes of a file with 1,000 showers the file that --showers 3000 would have written.
    """
    from calogen.simulation.production import Request, produce, request_of

    chosen = output or extend
    require(chosen is not None, "simulate needs --output, or --extend. Received: neither")
    given = {
        "detector": detector,
        "particle": particle,
        "physics": physics,
        "seed": seed,
        "mantissa_bits": mantissa_bits,
    }
    settings = request_of(extend) if extend else {}
    settings |= {name: value for name, value in given.items() if value is not None} | (
        {"depths": True} if depths else {}
    )
    request = Request(
        output=cast(Path, chosen),
        energies=parse_energies(energies),
        showers=parse_counts(showers, energies),
        workers=workers,
        extend=extend,
        **settings,
    )
    produce(request)
    show(str(chosen))
    tell_next(shlex.join(["calogen", "inspect", str(chosen)]))
