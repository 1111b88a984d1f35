"""What a reproduction says before it begins: networks, places, and about how long."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from calogen.config import Config
from calogen.errors import DataFormatError
from calogen.files import read_json_table
from calogen.process import tell
from calogen.progress import duration
from calogen.reproduction.experiment import Arguments, run_directory

_NAMED = 6  # networks at most that a line names


def announce(name: str, arguments: Arguments, networks: Mapping[str, Config], variants: int = 0) -> None:
    """Say what will be trained, where it goes, and about how long it takes.

    Args:
        name: name of the runs' folder and of the results.
        arguments: command line of the experiment.
        networks: configurations that train, by name.
        variants: how many of the networks only the first seed trains.
    """
    folders = [run_directory(name, arguments.preset, seed, arguments.runs) for seed in arguments.seeds]
    listed = [f"{title}, {_length(config)}" for title, config in networks.items()]
    more = f"; and {len(listed) - _NAMED} more" if len(listed) > _NAMED else ""
    only = f", {variants} of them with the first seed only" if variants and len(folders) > 1 else ""
    seeds = f"{len(folders)} seeds" if len(folders) > 1 else f"seed {arguments.seeds[0]}"
    tell(
        f"{name}, preset {arguments.preset}, {seeds}: {len(networks)} networks{only} ({'; '.join(listed[:_NAMED])}"
        f"{more}), then a comparison with Geant4"
    )
    known = recorded_seconds(name, arguments.preset)
    found = [known[title] for title in networks if title in known] or [*known.values()]
    expected = ""
    if found and arguments.train_data is None:
        total = sum(found) / len(found) * (len(networks) * len(folders) - variants * (len(folders) - 1))
        expected = f"trainings take about {duration(total)}, as recorded with the published results on a CPU; "
    tell(
        f"{expected}runs go to {folders[0]}{' and others beside it' * (len(folders) > 1)}; what was interrupted goes on"
    )


def recorded_seconds(name: str, preset: str) -> dict[str, float]:
    """Seconds that each network has trained for the results beside the script, by name.

    Empty where there are none, or of another preset or device.
    """
    path = Path(sys.argv[0]).parent / "results" / f"{name}.json"
    try:
        about: Mapping[str, Any] = read_json_table(path)["provenance"]
        if (about["preset"], about["device"]) != (preset, "CPU"):
            return {}
        first = next(iter(about["training"].values()))
        networks = {"": first} if "training_seconds" in first else first
        return {title: float(one["training_seconds"]) for title, one in networks.items() if one}
    except (DataFormatError, KeyError, TypeError, ValueError, AttributeError, StopIteration):
        return {}


def _length(config: Config) -> str:
    """How long a configuration trains, e.g. `8,000 iterations`."""
    lengths = [f"{getattr(config, unit):,} {unit}" for unit in ("iterations", "epochs") if hasattr(config, unit)]
    return " and ".join(lengths)
