"""The command `calogen train`."""

import json
import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from calogen.cli.options import TolerantOption
from calogen.command import StrategyOption
from calogen.config import config_from_json, config_to_json, require
from calogen.files import require_writable_file
from calogen.process import export_step, show, tell, tell_next


def train_command(
    model: Annotated[str, typer.Argument(help="A model that calogen inspect lists, e.g. atlas-vae.")],
    output: Annotated[Path, typer.Option(help="Directory of the run; an interrupted training in it goes on.")],
    train_data: Annotated[
        list[Path] | None,
        typer.Option(help="Showers that train, by default the bundled ones; repeated, several files are read as one."),
    ] = None,
    config: Annotated[str | None, typer.Option(help="Name of the model's configuration; by default its first.")] = None,
    geometry: Annotated[Path | None, typer.Option(help="Binning file (XML) of other voxels than the paper's.")] = None,
    eta: Annotated[
        int | None, typer.Option(help="Lower edge of the slice, times 100, where --geometry holds several.")
    ] = None,
    values: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Another value of the configuration, e.g. epochs=20."),
    ] = None,
    bfloat16: Annotated[
        bool, typer.Option("--bfloat16", help="Compute the critics' matrix products in bfloat16, for new processors.")
    ] = False,
    start: Annotated[
        str | None,
        typer.Option(
            metavar="RUN", help="Trained run, or name of one that ships, whose weights are the first; again to resume."
        ),
    ] = None,
    tolerant: TolerantOption = False,
    strategy: StrategyOption = "one",
) -> None:
    """Train one model, without the reproduction of its paper around it.

    The run can be given to calogen generate and calogen export. Every value of a model's configuration, and where it
    comes from, is what calogen inspect MODEL prints; --set replaces any of them and may be repeated:

    calogen train atlas-vae --set epochs=20 --set latent_dim=8 --output runs/mine

    --start begins from the weights of another training, e.g. on other showers. What that run lacks starts anew: the
    networks that ship have no critic.

    The same command with more iterations makes a finished training longer, where it has one stage, its learning rate is
    constant, and all its iterations draw from all showers.

    Files of 297 stored cells are cut to the model's window. Files may be larger than memory. They are refused as not in
    MeV if their median shower has under 100 MeV, or leaves less than 1 % of it (in grids 0.1 %) or 100 times as much.
    """
    from calogen.athena.interface import PIDS
    from calogen.generation.load import model_module
    from calogen.generation.pretrained import load_all
    from calogen.locks import directory_lock
    from calogen.reproduction.study_options import read_slice
    from calogen.showers.bundled import bundled_for
    from calogen.showers.files import Reading, ShowerFile
    from calogen.showers.labels import within
    from calogen.showers.voxels import VoxelGeometry
    from calogen.training.devices import training_devices
    from calogen.training.fit import fit
    from calogen.training.trainer import Draws, Epochs

    module = model_module(model.replace("-", "_"))
    name = next(iter(module.CONFIGS)) if config is None else config
    require(name in module.CONFIGS, f"--config must be one of {', '.join(module.CONFIGS)}. Received: {name}")
    chosen, grid = module.CONFIGS[name]
    if geometry is not None:
        require(isinstance(grid, VoxelGeometry), f"--geometry is of voxels. Received: {geometry}, for {grid.name}")
        require(bool(train_data), "--geometry needs --train-data of these voxels. Received: none")
        grid = read_slice(geometry, None if eta is None else PIDS.get(str(getattr(chosen, "particle", ""))), eta)
    require(
        eta is None or geometry is not None, "--eta chooses a slice in the file of --geometry. Received: no --geometry"
    )
    require(not bfloat16 or hasattr(module, "CRITICS"), f"--bfloat16 is for critics. Received: {model}, which has none")
    known, given = config_to_json(chosen), parse_values(values or [])
    unknown = ", ".join(sorted(set(given) - set(known)))
    require(not unknown, f"--set knows the values {', '.join(known)}. Received: {unknown}")
    chosen = config_from_json(type(chosen), known | given)
    first = [] if start is None else load_all(start)
    require(len(first) <= 1, f"--start must be a run of one training. Received: {start}, which has {len(first)}")
    if first:
        tell(f"first weights: those of {start} ({', '.join(first[0].networks)})")
    require_writable_file(output / "config.json")
    files = train_data or [bundled_for(grid)]
    with ShowerFile(files, grid, reading=Reading(tolerant)) as showers, directory_lock(output):
        showers.require_mev()
        schedules = module.build_schedule(chosen, showers.given.incident_energies)
        stages = [schedules] if isinstance(schedules, Epochs | Draws) else schedules
        tell(
            f"training {model} ({name}): {', then '.join(f'{item.length:,} {item.unit}s' for item in stages)} on up to "
            f"{len(showers):,} showers of {', '.join(path.name for path in files)}, into {output}; the first steps "
            "tell how long it takes; what was interrupted goes on"
        )
        with training_devices(strategy):
            run = fit(module, chosen, grid, showers, output, bfloat16=bfloat16, start=first[0] if first else None)
        energies = showers.given.incident_energies
        inside = sorted(energies[within(energies, *(run.momentum_range or (0.0, math.inf)))])
        energy = f"{inside[len(inside) // 2]:.10g}"
    show(str(output))
    conditions = ["--like", str(files[0])] if run.transform.needs else ["--energies", energy]
    tell_next(
        shlex.join(["calogen", "generate", str(output), *conditions, "--output", "generated.h5"]),
        f"{export_step(output, eta)}    # for C++",
    )


def parse_values(texts: Sequence[str]) -> dict[str, object]:
    """Values by name, from texts `name=value` whose values are JSON or else plain texts.

    >>> parse_values(["epochs=20", "decoder_units=[50, 100]", "keep=last"])
    {'epochs': 20, 'decoder_units': [50, 100], 'keep': 'last'}

    Raises:
        ConfigError: a text has no name or no value.
    """
    values: dict[str, object] = {}
    for text in texts:
        name, _, value = text.partition("=")
        require(bool(name and value), f"--set needs NAME=VALUE, e.g. epochs=20. Received: {text}")
        try:
            values[name] = json.loads(value)
        except ValueError:
            values[name] = value
    return values
