"""Scan of what the VAE paper leaves open, and of its traps, on validation showers.

    python experiments/scans/atlas_vae.py              # 100 epochs each, about 15 minutes on two cores; resumes
    python experiments/scans/atlas_vae.py --epochs 20 --only base
    python experiments/scans/atlas_vae.py --final      # the best few, 400 epochs, three seeds each: about an hour

The first command writes atlas_vae.md beside this file, the last one atlas_vae_final.md, which decided. Every variant of
a starting point has a row: mean KS distance on validation showers (10 observables, 9 energies, never the test showers),
parts of the loss, mean energy at 1-4 GeV over Geant4's, sum of the decoded cell fractions of each layer, and number of
features whose spread is below the floor.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, cast

import numpy as np
import typer

from calogen.claims.atlas_vae import JUDGES, LOW, TRAINED
from calogen.command import clean_exit, parse_command_line
from calogen.config import MAX_SEED, config_from_json, config_to_json
from calogen.features.moments import moments
from calogen.files import write_text
from calogen.generation.generate import generate
from calogen.models import atlas_vae
from calogen.models.atlas_vae import AtlasVaeConfig, build_transform
from calogen.reproduction.selection import validation_distance
from calogen.showers.bundled import bundled, choose_edition, read_window
from calogen.showers.sample import Showers
from calogen.showers.windows import ATLAS_VAE_WINDOW
from calogen.training.fit import fit, validation_split
from calogen.training.losses import inverse_spread
from calogen.training.run import TrainedRun

# Starting point of the scan; the defaults of AtlasVaeConfig are what the scan has chosen.
START: dict[str, object] = {"batch_size": 100, "learning_rate": 1e-3, "kl_weight": 1e-4, "spread_floor": 1e-4}
VARIANTS: dict[str, dict[str, object]] = {
    "base": {},
    "kl_weight 1e-2": {"kl_weight": 1e-2},
    "kl_weight 1e-3": {"kl_weight": 1e-3},
    "kl_weight 1e-5": {"kl_weight": 1e-5},
    "kl_weight 1e-6": {"kl_weight": 1e-6},
    "learning_rate 3e-4": {"learning_rate": 3e-4},
    "learning_rate 3e-3": {"learning_rate": 3e-3},
    "batch_size 50": {"batch_size": 50},
    "batch_size 400": {"batch_size": 400},
    "condition linear": {"condition": "linear"},
    "response_scale 0.5 (trap a)": {"response_scale": 0.5},
    "spread_floor 1e-3 (trap b)": {"spread_floor": 1e-3},
    "spread_floor 1e-5 (trap b)": {"spread_floor": 1e-5},
    "renormalise (trap c)": {"renormalise": True},
    "output_bias zero (trap d)": {"output_bias": "zero"},
    "feature_weights equal": {"feature_weights": "equal"},
    "inputs absolute": {"inputs": "absolute"},
    "batch 400, floor 1e-3": {"batch_size": 400, "spread_floor": 1e-3},
    "batch 400, floor 1e-2": {"batch_size": 400, "spread_floor": 1e-2},
    "batch 400, floor 1e-3, KL 1e-3": {"batch_size": 400, "spread_floor": 1e-3, "kl_weight": 1e-3},
    "batch 400, floor 1e-3, KL 3e-4": {"batch_size": 400, "spread_floor": 1e-3, "kl_weight": 3e-4},
    "batch 1000, floor 1e-3": {"batch_size": 1000, "spread_floor": 1e-3},
    **{
        f"absolute, batch 400, floor 1e-6, KL {weight}": {
            "inputs": "absolute",
            "batch_size": 400,
            "spread_floor": 1e-6,
            "kl_weight": float(weight),
        }
        for weight in ("1e-4", "3e-5", "1e-5", "1e-6", "1e-7")
    },
}
_CHANGES: dict[str, dict[str, object]] = {
    "batch 400, floor 1e-3": {},
    "KL 3e-4": {"kl_weight": 3e-4},
    "KL 1e-3": {"kl_weight": 1e-3},
    "learning_rate 3e-4": {"learning_rate": 3e-4},
    "batch 100": {"batch_size": 100},
    "batch 100, learning_rate 3e-4": {"batch_size": 100, "learning_rate": 3e-4},
    "floor 1e-4": {"spread_floor": 1e-4},
    "floor 1e-2": {"spread_floor": 1e-2},
}
FINALISTS = {name: {"batch_size": 400, "spread_floor": 1e-3, **changes} for name, changes in _CHANGES.items()}
HEADER = ("variant", "mean KS", "best epoch", "reconstruction", "KL", "energy at 1-4 GeV", "decoded sums", "at floor")
FINAL_HEADER = (
    "variant",
    "mean KS",
    "the same, renormalised",
    "best epoch",
    "energy at 1-4 GeV",
    "the same, renormalised",
    "RMS at 131-262 GeV",
)


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What the command line chooses: each field is an option."""

    epochs: Annotated[
        int | None, typer.Option(min=1, max=10**6, help="Of every variant; by default 100, with --final 400.")
    ] = None
    seed: Annotated[int, typer.Option(min=1, max=MAX_SEED - 2, help="Of every variant, with --final the first.")] = 1
    runs: Annotated[Path, typer.Option(help="Where trainings go.")] = Path("runs/scans/atlas_vae")
    only: Annotated[str | None, typer.Option(metavar="VARIANT", help="Train one variant and print its row.")] = None
    final: Annotated[bool, typer.Option("--final", help="Train the finalists with three seeds each.")] = False

    def __post_init__(self) -> None:
        if self.only is not None and self.only not in VARIANTS:
            raise typer.BadParameter(
                f"must be one of {', '.join(VARIANTS)}. Received: {self.only}", param_hint="--only"
            )
        if self.only is not None and self.final:
            raise typer.BadParameter("--only and --final exclude each other")

    @property
    def variants(self) -> dict[str, dict[str, object]]:
        """Changes of the starting point that are to be trained, by name."""
        if self.only is not None:
            return {self.only: VARIANTS[self.only]}
        return FINALISTS if self.final else VARIANTS


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains every variant and writes the table."""
    given = parse_command_line(Choices, __doc__, "", arguments)
    seeds = range(given.seed, given.seed + (3 if given.final else 1))
    epochs = given.epochs or (400 if given.final else 100)
    with clean_exit("atlas_vae scan"):
        showers = read_window(bundled("photons_train"), ATLAS_VAE_WINDOW)
        showers, note = choose_edition("photons_train", showers, all_showers=False)
        showers = showers[np.isin(showers.incident_energies, TRAINED)]
        rows = []
        for name, changes in given.variants.items():
            runs = []
            for seed in seeds:
                plain = config_to_json(AtlasVaeConfig(epochs=epochs, seed=seed))
                config = config_from_json(AtlasVaeConfig, {**plain, **START, **changes})
                directory = given.runs / f"{name.replace(',', '').replace(' ', '-')}-{epochs}-seed{seed}"
                runs.append(fit(atlas_vae, config, ATLAS_VAE_WINDOW, showers, directory))
            rows.append((name, *(measure_seeds(runs, showers) if given.final else measure(runs[0], showers))))
            print(" | ".join(rows[-1]), flush=True)
        if not given.only:
            header, stem = (FINAL_HEADER, "atlas_vae_final") if given.final else (HEADER, "atlas_vae")
            lines = [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]
            about = f"Made by `python experiments/scans/atlas_vae.py{' --final' * given.final} --epochs {epochs} "
            about += f"--seed {given.seed}`{', mean and scatter of three seeds' * given.final}."
            text = "\n".join((f"# Scan of the ATLAS VAE\n\n{about} {note}.\n", *lines)) + "\n"
            write_text(Path(__file__).with_name(f"{stem}.md"), text)


def measure(run: TrainedRun, showers: Showers) -> tuple[str, ...]:
    """Cells of the row of a variant."""
    config = cast(AtlasVaeConfig, run.config)
    training, validation = validation_split(showers, config)
    distance = validation_distance(run, validation, JUDGES, config.seed)
    best = min(run.history, key=lambda row: row["val_loss"])
    floor = "-"
    if config.feature_weights == "inverse_spread":
        floor = str(inverse_spread(moments(run.transform.forward(training)).spread, config.spread_floor)[1])
    return (
        f"{distance.value:.4f} ± {distance.error:.4f}",
        str(1 + run.history.index(best)),
        f"{best['val_reconstruction']:.3g}",
        f"{best['val_kl']:.3g}",
        f"{low_energy_ratio(run, validation):.3f}",
        decoded_sums(run, validation.incident_energies) if config.inputs == "fractions" else "-",
        floor,
    )


def measure_seeds(runs: Sequence[TrainedRun], showers: Showers) -> tuple[str, ...]:
    """Cells of the row of a finalist: means and standard deviations over the seeds."""
    rows = []
    for run in runs:
        training, validation = validation_split(showers, run.config)
        config = cast(AtlasVaeConfig, run.config)
        chain = build_transform(replace(config, renormalise=True), ATLAS_VAE_WINDOW).fit(training)
        pair = run, replace(run, transform=chain)
        distances = [validation_distance(item, validation, JUDGES, run.config.seed).value for item in pair]
        best = 1 + min(range(len(run.history)), key=lambda epoch: run.history[epoch]["val_loss"])
        ratios = [low_energy_ratio(item, validation) for item in pair]
        rows.append((*distances, best, *ratios, high_energy_spread(run, showers)))
    means, scatters = np.mean(rows, axis=0), np.std(rows, axis=0, ddof=1)
    digits = (4, 4, 0, 3, 3, 2)
    return tuple(
        f"{mean:.{places}f} ± {scatter:.{places}f}"
        for mean, scatter, places in zip(means, scatters, digits, strict=True)
    )


def high_energy_spread(run: TrainedRun, showers: Showers) -> float:
    """RMS of the response over Geant4's, mean of 131 and 262 GeV."""
    ratios = []
    for energy in TRAINED[-2:]:
        generated = generate(run, np.full(1000, energy), run.config.seed)
        ratios.append(generated.response.std() / showers.at(energy).response.std())
    return float(np.mean(ratios))


def low_energy_ratio(run: TrainedRun, validation: Showers) -> float:
    """Mean energy of generated showers over Geant4's, averaged over 1, 2 and 4 GeV."""
    ratios = []
    for energy in LOW:
        generated = generate(run, np.full(1000, energy), run.config.seed)
        ratios.append(generated.response.mean() / validation.at(energy).response.mean())
    return float(np.mean(ratios))


def decoded_sums(run: TrainedRun, incident_energies: np.ndarray) -> str:
    """Sum of the decoded cell fractions of each layer, mean over showers; it should be 1."""
    inputs = {
        "latent": run.latent.draw(len(incident_energies), run.config.seed),
        "condition": run.transform.condition(incident_energies),
    }
    sums = ATLAS_VAE_WINDOW.layer_energies(run.generator(inputs).numpy()[:, : ATLAS_VAE_WINDOW.size])
    return ", ".join(f"{value:.2f}" for value in sums.mean(axis=0))


if __name__ == "__main__":
    main()
