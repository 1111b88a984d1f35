"""Pack trained runs, with a card each, into what `calogen inspect --pretrained` lists.

    python export/pretrained.py --runs runs                          # packs what of the table below has been trained
    python export/pretrained.py --runs runs --only atlas-vae         # packs this one

Each entry takes the run of one seed. Its figures compare generated showers with the bundled test showers, which did not
train. The weights are rounded to float16 first, so that the figures are those of what ships.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from calogen.command import clean_exit, parse_command_line
from calogen.config import config_to_json, require
from calogen.files import read_json_table, sha256
from calogen.generation.load import load_run, model_module
from calogen.generation.pretrained import Card, write_card, write_compact
from calogen.process import tell
from calogen.reproduction.cards import card_figures
from calogen.showers.bundled import HONEST_NOTE, bundled, read_window
from calogen.training.run import TrainedRun

LICENCE = "that of calogen (LICENSE)"
LIMITS = (
    "These showers are not an experiment's: the networks learned {note}, in a short training. They show what the "
    "software does and are a start for tests; they are no calibrated simulation of any detector."
)
VAE, GRIDS = (1024.0, 4096.0, 16384.0, 65536.0, 131072.0, 262144.0), (20_000.0, 50_000.0, 90_000.0)
PHOTONS = tuple(2.0**power for power in (8, 10, 12, 14, 16, 18))
PIONS = tuple(2.0**power for power in (8, 10, 12, 14, 16))
FAST, LIVE = "ratio-2-average-rate-10-falling", "swish-normalised-label-log-fast"  # the best recipes of docs/recipes.md


@dataclass(frozen=True)
class Entry:
    """Networks that are to ship.

    Args:
        title: what they generate.
        runs: folders of their runs below that of all runs, by rising momentum.
        sample: the bundled sample whose showers they are compared with.
        energies: at which they are compared, MeV.
        command: command that trains them.
        lwtnn: whether LWTNN can hold them.
    """

    title: str
    runs: tuple[str, ...]
    sample: str
    energies: tuple[float, ...]
    command: str
    lwtnn: bool = True


def _voxels(
    paper: str,
    title: str,
    recipe: str,
    networks: tuple[str, ...],
    preset: str = "laptop",
    given: tuple[str, ...] = ("--bfloat16",),
) -> Entry:
    """Networks of voxels by a recipe of docs/recipes.md, at their selected iterations.

    `given` are the options of their training besides recipe and names.
    """
    pions = networks == ("pion",)
    variant = ("--ablation",) if "photon-upper" in networks else ()
    options = " ".join((*given, *variant, f"--recipe {recipe}", *(f"--only {name}" for name in networks)))
    return Entry(
        title,
        tuple(f"{paper}-{recipe}/{preset}-seed1/{name}/selected" for name in networks),
        "pions_test" if pions else "photons_test",
        PIONS if pions else PHOTONS,
        f'make reproduce-{paper.replace("_", "-")} PRESET={preset} OPTIONS="{options}"',
    )


ENTRIES = {
    "atlas-vae": Entry(
        "photon showers in 276 cells of an ATLAS-like barrel, as the VAE decodes means",
        ("atlas_vae/laptop-seed1",),
        "photons_test",
        VAE,
        "make reproduce-atlas-vae",
    ),
    "atlas-vae-drawn": Entry(
        "photon showers in 276 cells of an ATLAS-like barrel, drawn from p(x|z)",
        ("atlas_vae/laptop-seed1/drawn",),
        "photons_test",
        VAE,
        "make reproduce-atlas-vae",
        lwtnn=False,
    ),
    "caloshowergan-photon": _voxels(
        "caloshowergan", "photon showers in 368 voxels, one GAN", FAST, ("photon",), preset="long"
    ),
    "caloshowergan-photon-2-gans": _voxels(
        "caloshowergan", "photon showers in 368 voxels, two GANs", FAST, ("photon-low", "photon-upper")
    ),
    "caloshowergan-photon-3-gans": _voxels(
        "caloshowergan",
        "photon showers in 368 voxels, three GANs",
        FAST,
        ("photon-low", "photon-medium", "photon-high"),
    ),
    "caloshowergan-pion": _voxels(
        "caloshowergan_pions", "charged-pion showers in 533 voxels", FAST, ("pion",), preset="long"
    ),
    "fastcalogan-photon": _voxels(
        "fastcalogan", "photon showers in 368 voxels, version 1", LIVE, ("photon",), given=()
    ),
    "fastcalogan-pion": _voxels("fastcalogan", "charged-pion showers in 533 voxels, version 1", LIVE, ("pion",)),
    "getting-high-gan": Entry(
        "photon showers in 30 x 30 x 30 cells of an ILD-like calorimeter, narrow GAN",
        ("getting_high/laptop-seed1/gan",),
        "ild_photons_steps",
        GRIDS,
        "make reproduce-getting-high",
        lwtnn=False,
    ),
}
"""What ships, by name.

Absent: Getting High's WGAN and BIB-AE, whose short trainings do not follow the incident energy yet.
"""


def main() -> None:
    """Packs what has been trained, and says what has not."""
    runs, only = parse_command_line(_read_options, __doc__, "")
    with clean_exit("pretrained"):
        for name in only or ENTRIES:
            require(name in ENTRIES, f"--only must be one of {', '.join(ENTRIES)}. Received: {name}")
            ship(name, runs)


def _read_options(
    runs: Annotated[Path, typer.Option(metavar="DIR", help="Where the trained runs are.")] = Path("runs"),
    only: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Of these only; repeatable.")] = None,
) -> tuple[Path, list[str]]:
    return runs, only or []


def ship(name: str, runs: Path) -> None:
    """Packs the networks of a name, if they are trained."""
    entry = ENTRIES[name]
    folders = [runs / folder for folder in entry.runs]
    missing = [folder for folder in folders if not (folder / "config.json").is_file()]
    if missing:
        tell(f"{name}: left out, {missing[0]} has no trained run ({entry.command})")
        return
    card, members, abouts = pack(name, entry, folders)
    write_card(card, members, abouts)
    tell(f"{name}: {card.figures}")


def pack(name: str, entry: Entry, folders: list[Path]) -> tuple[Card, list[TrainedRun], list[dict[str, Any]]]:
    """Gives the card of trained runs, the runs as they ship, and their provenances."""
    originals, members = [load_run(folder) for folder in folders], []
    first = originals[0]
    trained = [folder.parent if folder.name in ("selected", "drawn") else folder for folder in folders]
    abouts = [read_json_table(folder / "provenance.json") for folder in trained]
    with TemporaryDirectory() as place:
        for number, original in enumerate(originals):
            write_compact(Path(place) / str(number), original)
            members.append(load_run(Path(place) / str(number)))
    reference = read_window(bundled(entry.sample), first.geometry)
    train = bundled(f"{entry.sample.split('_test')[0].split('_steps')[0]}_train")
    names = [folder.name if len(folders) > 1 else "" for folder in trained]
    each = zip(names, trained, folders, originals, abouts, strict=True)
    showers = each_of(names, [f"{about.get('showers', 0):,} showers" for about in abouts])
    card = Card(
        name=name,
        title=entry.title,
        paper=str(model_module(first.model).PAPER),
        runs=tuple(f"{folder.parent.name}/selected" for folder in folders) if len(folders) > 1 else (".",),
        data=f"{train.name} (sha256 {sha256(train)[:16]}), {showers}; {HONEST_NOTE}",
        recipe=each_of(names, [recipe_of(*item[1:]) for item in each]),
        seed=int(getattr(first.config, "seed", 0)),
        command=entry.command,
        figures=card_figures(members, reference, entry.energies),
        licence=LICENCE,
        limits=LIMITS.format(note=HONEST_NOTE),
        lwtnn=entry.lwtnn,
    )
    return card, members, abouts


def each_of(names: Sequence[str], texts: Sequence[str]) -> str:
    """One text if all are the same, or a text for each name."""
    if len(set(texts)) == 1:
        return texts[0]
    return "; ".join(f"{name}: {text}" for name, text in zip(names, texts, strict=True))


def recipe_of(trained: Path, folder: Path, run: TrainedRun, about: Mapping[str, Any]) -> str:
    """The chosen iteration, the code, and all values that are not the paper's."""
    configs = model_module(run.model).CONFIGS
    papers = config_to_json(configs.get(trained.name, next(iter(configs.values())))[0])
    changed = [
        f"{name}={value}"
        for name, value in config_to_json(run.config).items()
        if name != "seed" and value != papers[name]
    ]
    record = folder / "selection.json"
    choice = read_json_table(record) if record.exists() else {}
    chosen = [f"{unit} {choice[unit]:,} chosen" for unit in ("iteration", "epoch") if unit in choice]
    code = f"commit {about.get('commit', 'unknown')}"
    return ", ".join([*chosen, code, f"other than in the paper: {', '.join(changed) or 'nothing'}"])


if __name__ == "__main__":
    main()
