"""Quality of a GAN's showers by recipe at equal CPU time, beside the paper's own recipe.

    python benchmarks/recipes.py --network photon --seconds 180              # every recipe, one seed
    python benchmarks/recipes.py --network pion --seconds 1200 --seeds 3 --recipe paper --recipe ratio-3-average
    python benchmarks/recipes.py --network photon --seconds 180 --classifiers  # AUCs, too: a minute for each training

Four recipes are of the benchmark alone: float32 (the critic's products are not in bfloat16), spectral (normalisation as
in the paper), late-spectral (after half the time) and from-medium (photon-high starts with photon-medium's weights,
trained by the paper's recipe for as long, which does not count).
A recipe is a change of a configuration of CaloShowerGAN (Table 2 at batch 256, no spectral normalisation) or of
FastCaloGAN; the critic's products are in bfloat16 where the recipe does not say otherwise. What a model does not know
is left out with a line. How many iterations the time pays for is measured first.
The iteration is chosen by the chi2 of the total energy over the training showers; all figures are those of held-out
showers, which neither train nor choose. Trainings lie in runs/recipes/; what is finished is read, what was interrupted
goes on, and several processes share the work.

Of voxels after the last iteration, filled is the share above 1 MeV over Geant4's, and dead how many are above it in
Geant4's showers alone.
The ratio is the excess of chi2/NDF over the Geant4 floor, divided by that of the recipe "paper" with the same seeds.
"""

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from calogen.config import config_to_json, require
from calogen.errors import CalogenError
from calogen.evaluation.iterations import ALL, HELD_OUT, TRAIN
from calogen.evaluation.judging import Options, assess_showers, reference_of
from calogen.evaluation.merits import Chi2Merit, mean_ks_distance
from calogen.evaluation.streaming import sample_of
from calogen.files import read_json_table, write_json
from calogen.generation.generate import generate_like
from calogen.generation.load import load_run
from calogen.locks import directory_lock
from calogen.metrics.chi2 import total
from calogen.metrics.distances import physics_distances
from calogen.models import caloshowergan, fastcalogan
from calogen.observables.challenge import high_level_inputs
from calogen.observables.voxels import voxel_observables
from calogen.process import tell
from calogen.reproduction.chi2_selection import MIN_ENERGY
from calogen.reproduction.recipes import PAPER, RECIPES, by_recipe
from calogen.reproduction.study import Data, Selection, choose_and_test
from calogen.showers.bundled import bundled, choose_edition, read_window
from calogen.showers.labels import within
from calogen.showers.sample import Showers
from calogen.showers.voxels import VoxelGeometry
from calogen.training.fit import fit

FLOAT32, LATE, SPECTRAL, WARM = "float32", "late-spectral", "spectral", "from-medium"
OWN = (FLOAT32, LATE, SPECTRAL, WARM)
"""Recipes of the benchmark alone, which are no changes of the configuration, or undo that of the benchmark."""
NAMES = (PAPER, *OWN, *(name for name in RECIPES if name != PAPER))
MODELS: dict[str, ModuleType] = {"caloshowergan": caloshowergan, "fastcalogan": fastcalogan}
RULE = "caloshowergan"
_PROBE = 60  # iterations by which the time of one is measured
_SNAPSHOTS = 30
_BORDER = 2.0**16  # MeV: a factor 4 below the highest momentum of the bundled showers


@dataclass(frozen=True)
class Trial:
    """A training with a recipe.

    Args:
        model: name of the model.
        network: name of the configuration.
        recipe: name of the recipe.
        seed: seed of the training.
        directory: folder of the training.
    """

    model: str
    network: str
    recipe: str
    seed: int
    directory: Path

    @property
    def start(self) -> tuple[Any, VoxelGeometry]:
        """The paper's configuration, and its voxels."""
        return network_of(self.model, self.network)

    @property
    def config(self) -> Any:  # noqa: ANN401 - one of two classes
        """The configuration, with a number of iterations that does not count."""
        config = replace(self.start[0], seed=self.seed, batch_size=min(256, self.start[0].batch_size))
        if hasattr(config, "spectral_normalization") and self.recipe not in (LATE, SPECTRAL):
            config = replace(config, spectral_normalization="none")
        return config if self.recipe in OWN else by_recipe(config, self.recipe)

    @property
    def bfloat16(self) -> bool:
        """Whether the critic's products are in bfloat16."""
        return self.recipe != FLOAT32


def main() -> None:
    """Trains and prints everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="caloshowergan", choices=MODELS, help="(default: %(default)s)")
    parser.add_argument("--network", default="photon", metavar="NAME", help="a configuration (default: %(default)s)")
    parser.add_argument("--recipe", choices=NAMES, action="append", metavar="NAME", help="of these only")
    parser.add_argument("--seconds", type=float, default=180, help="CPU time of a training (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each recipe (default: %(default)s)")
    parser.add_argument("--first-edition", action="store_true", help="train on 1,000 bundled showers of each energy")
    parser.add_argument("--classifiers", action="store_true", help="train classifiers, too")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where trainings go (default: %(default)s)")
    parser.add_argument("--csv", type=Path, help="write the table to this file")
    arguments = parser.parse_args()
    try:
        table = run(arguments)
    except CalogenError as error:
        sys.exit(str(error))
    if arguments.csv:
        table.to_csv(arguments.csv, index=False)


def run(arguments: argparse.Namespace) -> pd.DataFrame:
    """Trains what is not trained, and gives and prints the table."""
    configs = MODELS[arguments.model].CONFIGS
    require(arguments.network in configs, f"--network must be of {', '.join(configs)}. Received: {arguments.network}")
    data = showers_of(network_of(arguments.model, arguments.network), arguments.first_edition)
    edition = "first" if arguments.first_edition else "all"
    root = arguments.runs / "recipes" / f"{arguments.model}-{arguments.network}" / f"{arguments.seconds:g}s-{edition}"
    rows = []
    for seed in range(1, arguments.seeds + 1):
        for recipe in arguments.recipe or NAMES:
            trial = Trial(arguments.model, arguments.network, recipe, seed, root / f"{recipe}-seed{seed}")
            try:
                with directory_lock(trial.directory, wait=0):
                    rows.append(measure(trial, data, arguments.seconds, arguments.classifiers))
            except CalogenError as error:
                tell(f"{recipe}, seed {seed}: {error}")
    table = pd.DataFrame(rows)
    print(data.note)
    print(summary(table).to_string())
    return table


def network_of(model: str, name: str) -> tuple[Any, VoxelGeometry]:
    """A configuration and its voxels; GANs meet at 2^16 MeV instead of 2^18 MeV."""
    config, geometry = MODELS[model].CONFIGS[name]
    limits = [limit for limit in ("lowest_momentum", "highest_momentum") if getattr(config, limit) == 2.0**18]
    return replace(config, **dict.fromkeys(limits, _BORDER)), geometry


def showers_of(network: tuple[Any, VoxelGeometry], first: bool) -> Data:
    """The bundled showers of a configuration's momenta."""
    config, geometry = network
    low, high = config.momentum_range
    parts, note = [], ""
    for part in ("train", "test"):
        name = f"{config.particle}s_{part}"
        showers = read_window(bundled(name), geometry)
        if part == "train":
            showers, note = choose_edition(name, showers, first)
        parts.append(showers[within(showers.incident_energies, low, high) & showers.energies.any(axis=1)])
    train, test = parts
    test = test[np.isin(test.incident_energies, train.incident_energies)]
    return Data(train=train, held_out=test, files={}, note=note)


def measure(trial: Trial, data: Data, seconds: float, classifiers: bool) -> dict[str, Any]:
    """Trains with a recipe, chooses the iteration, and measures held-out showers."""
    record = trial.directory / f"measured{'-classifiers' * classifiers}.json"
    if record.exists():
        return read_json_table(record)
    geometry = trial.start[1]
    last, spent, iterations = train(trial, data.train, seconds)
    selection = Selection(merits={ALL: Chi2Merit(RULE)}, chosen_by=TRAIN)
    network = choose_and_test(trial.network, last.config, data, trial.directory, selection)
    assert network.test is not None
    assert data.held_out is not None
    scan, chosen = network.test.scans[HELD_OUT], network.test.scans[TRAIN].best
    generated = generate_like(network.run, data.held_out, seed=trial.seed, copies=4)
    row = {
        "recipe": trial.recipe,
        "seed": trial.seed,
        "iterations": iterations,
        "cpu_seconds": spent,
        "chi2_per_ndf": float(scan.chi2[chosen].sum() / scan.ndf[chosen].sum()),
        "floor": total(network.test.floor.values()).per_ndf,
        "mean_ks": mean_ks_distance(data.held_out, generated, layer_observables(geometry)).value,
        **dead_voxels(data.held_out, generate_like(last, data.held_out, trial.seed, copies=4)),
        **distances(data.held_out, generate_like(network.run, data.held_out, trial.seed), classifiers),
    }
    write_json(record, row)
    return row


def train(trial: Trial, showers: Showers, seconds: float) -> tuple[Any, float, int]:
    """Trains with a recipe, and gives the run, its CPU seconds and its iterations."""
    before, done, earlier = 0.0, 0, None
    spectral = hasattr(trial.config, "spectral_normalization")
    require(spectral or trial.recipe not in (LATE, SPECTRAL), "its critic knows no spectral normalisation")
    require(trial.recipe != WARM or trial.network == "photon-high", "it is a start of photon-high")
    if trial.recipe == LATE:
        earlier, seconds = replace(trial, recipe=PAPER, directory=trial.directory / "first"), seconds / 2
        _, before, done = train(earlier, showers, seconds)
    elif trial.recipe == WARM:
        folder = trial.directory.parents[1].with_name(f"{trial.model}-photon-medium") / trial.directory.parent.name
        earlier = replace(trial, recipe=PAPER, network="photon-medium", directory=folder / f"{PAPER}-seed{trial.seed}")
    config = replace(trial.config, iterations=affordable(trial, showers, seconds))
    tell(f"{trial.recipe}, seed {trial.seed}: {config.iterations:,} iterations")
    run = fit(
        MODELS[trial.model],
        config,
        trial.start[1],
        showers,
        trial.directory,
        bfloat16=trial.bfloat16,
        start=load_run(earlier.directory) if earlier else None,
    )
    return run, before + sum(item["cpu_seconds"] for item in run.history), done + config.iterations


def affordable(trial: Trial, showers: Showers, seconds: float) -> int:
    """Number of iterations that a CPU time pays for, measured once for each training."""
    record = trial.directory / "iterations.json"
    if not record.exists():
        with TemporaryDirectory() as folder:
            config = replace(trial.config, iterations=_PROBE)
            probe = fit(MODELS[trial.model], config, trial.start[1], showers, folder, bfloat16=trial.bfloat16)
        rows = probe.history[len(probe.history) // 2 :]
        counts = np.diff([item["iteration"] for item in probe.history])[-len(rows) :]
        each = float(np.median([item["cpu_seconds"] / count for item, count in zip(rows, counts, strict=True)]))
        write_json(record, {"iterations": max(_SNAPSHOTS, round(seconds / each)), "config": config_to_json(config)})
    return int(read_json_table(record)["iterations"])


def layer_observables(geometry: VoxelGeometry) -> list[Any]:
    """Energies of the layers and the total energy."""
    return [item for item in voxel_observables(geometry) if item.name.endswith("_energy") and item.counted == "showers"]


def dead_voxels(reference: Showers, generated: Showers) -> dict[str, float]:
    """Share of voxels with energy over Geant4's, and how many have energy in Geant4's alone."""
    ours, theirs = (item.energies > MIN_ENERGY for item in (generated, reference))
    return {"filled": float(ours.mean() / theirs.mean()), "dead": int((theirs.any(axis=0) & ~ours.any(axis=0)).sum())}


def distances(reference: Showers, generated: Showers, classifiers: bool) -> dict[str, float]:
    """FPD, and AUCs of classifiers of high-level features and of voxels."""
    ours, theirs = (high_level_inputs(sample_of(item, MIN_ENERGY).features) for item in (reference, generated))
    found = {"fpd": physics_distances(ours, theirs)["fpd"].value}
    if classifiers:
        judged = assess_showers(reference_of(reference, Options(repetitions=3)), generated, "generated", {})[0].numbers
        found |= {name: judged[name].value for name in ("auc_high", "auc_low")}
    return found


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds by recipe, and the excess of chi2/NDF over that of the paper's recipe."""
    if table.empty:
        return table
    table = table.assign(excess=table["chi2_per_ndf"] - table["floor"])
    means = table.drop(columns=["seed"]).groupby("recipe", sort=False).mean()
    if PAPER in means.index:
        own = table[table["recipe"] == PAPER].set_index("seed")["excess"]
        table["ratio"] = table["excess"] / table["seed"].map(own)
        means["ratio"] = table.groupby("recipe", sort=False)["ratio"].mean()
    return means.round(4)


if __name__ == "__main__":
    main()
