"""The command `calogen simulate`."""

import shlex
from pathlib import Path
from typing import Annotated, cast

import typer

from calogen.cli.options import parse_angles, parse_counts, parse_energies, parse_uniform
from calogen.command import ClusterOption
from calogen.config import MAX_SEED, require
from calogen.process import show, tell_next


def simulate_command(
    energies: Annotated[
        str,
        typer.Option(
            help="MeV: values 4096,65536 or ranges first:last:xfactor, first:last:+step; or first:last:uniform."
        ),
    ],
    output: Annotated[
        Path | None, typer.Option(help="The file to write, whole or not at all; by default the file of --extend.")
    ] = None,
    showers: Annotated[
        str, typer.Option(help="Showers at each energy: one number, or one for each value or range.")
    ] = "1000",
    detector: Annotated[
        str | None,
        typer.Option(help="atlas-barrel (the default), atlas-barrel-bare, ild, ild-staggered, ild-angular or ahcal."),
    ] = None,
    particle: Annotated[
        str | None, typer.Option(help="photon, electron, pion ...; by default photon, for ahcal pion.")
    ] = None,
    physics: Annotated[
        str | None, typer.Option(help="Physics list; by default em-datafree, for ahcal ftfp-bert-datafree.")
    ] = None,
    angles: Annotated[
        str | None,
        typer.Option(help="Degrees between particle and layers of a grid: 60, or uniform 40:90; by default its own."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=MAX_SEED, help="The same seed gives the same showers; by default 1.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes, by default one for each core; the showers do not depend on it."),
    ] = None,
    cluster: ClusterOption = None,
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
    from calogen.simulation.production import produce, request_of
    from calogen.simulation.reductions import default_settings
    from calogen.simulation.request import Request

    chosen = output or extend
    require(chosen is not None, "simulate needs --output, or --extend. Received: neither")
    require(not (cluster and workers), "--workers is of this machine: --cluster names its own. Received: both")
    given = {
        "detector": detector,
        "particle": particle,
        "physics": physics,
        "angles": angles and parse_angles(angles),
        "seed": seed,
        "mantissa_bits": mantissa_bits,
    }
    settings = request_of(extend) if extend else default_settings(detector)
    settings |= {name: value for name, value in given.items() if value is not None} | (
        {"depths": True} if depths else {}
    )
    uniform = parse_uniform(energies)
    request = Request(
        output=cast(Path, chosen),
        energies=uniform or parse_energies(energies),
        uniform=uniform is not None,
        showers=parse_counts(showers, energies),
        workers=workers,
        cluster=cluster,
        extend=extend,
        **settings,
    )
    produce(request)
    show(str(chosen))
    tell_next(shlex.join(["calogen", "inspect", str(chosen)]))
