"""How good the networks of an export are, and what its folder lacks, in words.

That distributions agree with Keras' says nothing of the physics: a network of ten iterations is exported as exactly as
one of a million.
"""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from calogen import files
from calogen.athena import depths, radial
from calogen.athena.bundle import Bundle
from calogen.athena.folder import WIDTH, Part, parts_in
from calogen.athena.interface import PIDS, SELECTOR, V2
from calogen.config import Config
from calogen.generation.load import model_module
from calogen.training.run import TrainedRun

_UNITS = "iteration", "epoch"
_MERITS = {"chi2_per_ndf": "chi2/NDF", "merit": "figure of merit"}
_NAMES = {pid: name for name, pid in PIDS.items()}


def training_note(run: TrainedRun, directory: Path) -> str:
    """Says how long a run was trained, and how far its showers are from Geant4's.

    Args:
        run: the run.
        directory: its folder, with `selection.json` if its epoch or iteration was chosen by a figure of merit.
    """
    if (directory / "weights.npz").is_file():
        cards = (part.name for part in (directory, *directory.parents) if (part / "card.json").is_file())
        name = next(cards, "")
        told = f"calogen inspect --pretrained {name}" if name else "calogen generate, then calogen evaluate"
        return f"{name or directory.name}: in the form in which networks ship; how good it is: {told}"
    unit, length = _length(run)
    every = (config for config, _ in model_module(run.model).CONFIGS.values())
    configs = [config for config in every if _particle(config) == _particle(run.config)]
    published = getattr(configs[0], f"{unit}s", None) if configs else None
    papers = "" if published is None else f" (the paper: {published:,})"
    name = directory.parent.name if directory.name == "selected" else directory.name
    return f"{name}: trained {length:,} {unit}s{papers}, {_quality(directory)}"


def folder_notes(bundle: Bundle, directory: Path, kept: Sequence[str]) -> Iterator[str]:
    """Says what a folder of networks in voxels holds, and what it lacks.

    Args:
        bundle: the networks that were written.
        directory: their folder.
        kept: files that were left as they are (`folder.write_part`).
    """
    if bundle.interface == SELECTOR:
        yield "lacks: a class of Athena that loads such networks; the program in export/athena runs them"
        return
    yield f"holds: {', '.join(map(_part_text, parts_in(directory)))}; a simulation asks for every slice and particle"
    for network in bundle.manifest["networks"]:
        trained = network["trained"]
        if trained and (network["above"] < trained[0] or network["up_to"] > trained[1]):
            yield (
                f"lacks: training at some momenta: {network['file']} is used for {network['above']:.10g} to "
                f"{network['up_to']:.10g} MeV, and was trained at {trained[0]:.10g} to {trained[1]:.10g} MeV"
            )
    if bundle.interface != V2:
        return
    for name in root_files(bundle.part):
        if not (directory / name).exists():
            yield f"lacks: {name}, without which the class does not start: pip install 'calogen[export]', export again"
        elif name in kept:
            yield f"kept: {name}, which is not from an export"
        elif name == depths.file_name(bundle.part.pid, bundle.part.eta):
            yield f"placeholder: {name} (depths of a simplified detector): put the experiment's in its place"


def root_files(part: Part) -> tuple[str, str]:
    """Gives the paths of the ROOT files without which version 2 of the class does not start."""
    return radial.file_name(part.pid, part.eta), depths.file_name(part.pid, part.eta)


def can_write_root() -> bool:
    """Whether uproot is installed."""
    return find_spec("uproot") is not None


def _length(run: TrainedRun) -> tuple[str, int]:
    """What a training counts, and up to where it went."""
    counted = [row["iteration"] for row in run.history if "iteration" in row]
    return (_UNITS[0], int(max(counted))) if counted else (_UNITS[1], len(run.history))


def _particle(config: Config) -> object:
    return getattr(config, "particle", None)


def _quality(directory: Path) -> str:
    path = directory / "selection.json"
    if not path.exists():
        return "no figure of merit beside the run (calogen generate, then calogen evaluate)"
    about = files.read_json_table(path)
    chosen = [f"{unit} {about[unit]:,} chosen" for unit in _UNITS if type(about.get(unit)) is int]
    merits = [
        f"{text} {about[key]:.3g} against Geant4" for key, text in _MERITS.items() if type(about.get(key)) is float
    ]
    return ", ".join([*chosen, *(merits or ["no figure of merit recorded"])])


def _part_text(part: Part) -> str:
    return f"{_NAMES.get(part.pid, part.pid)} at eta {part.eta / 100:.2f} to {(part.eta + WIDTH) / 100:.2f}"
