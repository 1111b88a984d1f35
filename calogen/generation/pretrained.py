"""Networks that ship with calogen and generate without any training.

They were trained on the bundled showers. Each has a folder in `calogen/pretrained` with a card (`card.json`) and one
trained run, or several that share the momenta, in a compact form: the networks that generate, with weights in float16,
and the transform.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from calogen.config import plain_from_json
from calogen.errors import ConfigError, DataFormatError
from calogen.files import atomic_path, listed, read_json_table, write_json
from calogen.generation.load import load_run
from calogen.training.latent import EncodedLatent
from calogen.training.run import TrainedRun, write_description

PRETRAINED = Path(__file__).parents[1] / "pretrained"
FIGURES = ("mean", "spread", "mean KS", "floor")
"""Mean and spread of the energy over Geant4's, mean KS distance from Geant4, and that of two samples of Geant4."""
_SMALL = 1000  # arrays up to this size stay in float32
_ORIGIN = ("seed", "commit", "versions", "time", "training_seconds", "showers", "incident_energies", "start")
_CODES = 5000  # codes of training showers that a fitted latent space keeps


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a user must know of networks that ship with calogen.

    Args:
        name: their name in commands.
        title: what they generate.
        paper: the paper whose networks they are.
        runs: folders of the runs inside that of the card, by rising momentum.
        data: the showers that trained them.
        recipe: how they were trained, and what differs from the paper's training.
        seed: seed of the training.
        command: command that trains them.
        figures: generated showers beside Geant4's held-out ones: rows of an incident energy, MeV, and `FIGURES`.
        licence: licence of the weights.
        limits: what they are not.
        lwtnn: whether LWTNN can hold them.
    """

    name: str
    title: str
    paper: str
    runs: tuple[str, ...]
    data: str
    recipe: str
    seed: int
    command: str
    figures: tuple[tuple[float, ...], ...]
    licence: str
    limits: str
    lwtnn: bool = True

    @property
    def directories(self) -> tuple[Path, ...]:
        """Folders of the runs, by rising momentum."""
        return tuple(PRETRAINED / self.name / run for run in self.runs)


def names() -> list[str]:
    """Names of the networks that ship with calogen."""
    return sorted(path.parent.name for path in listed(PRETRAINED, "*/card.json"))


def read_card(name: str) -> Card:
    """Gives the card of the networks of a name.

    Raises:
        DataFormatError: there are no such networks, or their card is damaged.
    """
    path = PRETRAINED / name / "card.json"
    if name not in names():
        raise DataFormatError(f"pretrained networks are {', '.join(names())}. Received: {name!r}")
    try:
        return plain_from_json(Card, read_json_table(path))
    except ConfigError as error:
        raise DataFormatError(f"{path} must hold a card. Received: {error}") from error


def folders_of(run: str | Path) -> tuple[Path, ...]:
    """Folders of the runs that a user means, by a folder or a name of pretrained networks."""
    path = Path(run)
    return read_card(str(run)).directories if not path.exists() and str(run) in names() else (path,)


def exported_folders(run: Path | None) -> list[Path]:
    """Folders whose runs are to be exported.

    Args:
        run: a folder of runs, or the name of pretrained networks; None: the folder `runs`, or, where it has no run, all
            pretrained networks that LWTNN can hold.
    """
    if run is not None:
        return [PRETRAINED / run] if not run.exists() and str(run) in names() else [run]
    runs = Path("runs")
    trained = any("scans" not in path.parts for path in listed(runs, "**/config.json"))
    return [runs] if trained else [PRETRAINED / name for name in names() if read_card(name).lwtnn]


def load(run: str | Path) -> TrainedRun | list[TrainedRun]:
    """Gives a trained run, by its folder or by the name of pretrained networks.

    Args:
        run: a folder, or one of `names()`.

    Returns:
        the run; of networks that share the momenta a list of runs. `generate` takes both.

    Raises:
        DataFormatError: there is no such run, or one of its files is damaged.
    """
    runs = load_all(run)
    return runs[0] if len(runs) == 1 else runs


def load_all(run: str | Path) -> list[TrainedRun]:
    """Gives the runs that `load` gives, as a list in any case."""
    if not Path(run).exists():
        read_card(str(run))
    return [load_run(folder) for folder in folders_of(run)]


def write_compact(directory: Path, run: TrainedRun, provenance: Mapping[str, object] | None = None) -> None:
    """Writes a run in the form in which it ships: `load_run` reads it as any other.

    Args:
        provenance: what its training wrote as provenance.json, of which origin, showers and momenta are kept.

    Large arrays are rounded to float16, by 5e-4 of a number or 3e-8, and a fitted latent space keeps 5,000 codes.
    """
    arrays = {}
    for name in run.generates:
        for number, values in enumerate(run.networks[name].get_weights()):
            arrays[f"{name}/{number:03d}"] = values.astype(np.float16 if values.size > _SMALL else np.float32)
    with atomic_path(directory / "weights.npz") as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    (directory / "latent.npz").unlink(missing_ok=True)
    if isinstance(run.latent, EncodedLatent):
        rows = np.sort(np.random.default_rng(0).permutation(len(run.latent.codes))[:_CODES])
        kept = replace(run.latent, codes=run.latent.codes[rows], conditions=run.latent.conditions[rows])
        with atomic_path(directory / "latent.npz") as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **kept.arrays)
    origin = {name: value for name, value in (provenance or {}).items() if name in _ORIGIN}
    write_json(directory / "provenance.json", origin)
    write_description(directory, run, run.generates)


def write_card(card: Card, runs: Sequence[TrainedRun], provenance: Sequence[Mapping[str, object]]) -> None:
    """Writes networks, with the provenance of each, and their card into the package."""
    for run, directory, about in zip(runs, card.directories, provenance, strict=True):
        write_compact(directory, run, about)
    write_json(PRETRAINED / card.name / "card.json", asdict(card))
