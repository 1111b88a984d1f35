"""What the VAE paper leaves open, and its traps, scanned on validation showers; writes atlas_vae.md beside this file.

    python experiments/scans/atlas_vae.py              # 100 epochs each, about 15 minutes on two cores; resumes
    python experiments/scans/atlas_vae.py --epochs 20 --only base

One row per variant of a starting point: mean KS distance on validation showers (10 observables, 9 energies, never the
test showers), the loss's parts, the mean energy at 1-4 GeV over Geant4's, the sum of the decoded cell fractions of each
layer, and the number of features whose spread is below the floor.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from calogen.claims.atlas_vae import JUDGES, LOW, TRAINED
from calogen.datasets import HONEST_NOTE, bundled, read_vae_window
from calogen.experiment import clean_exit
from calogen.files import write_text
from calogen.fitting import fit_vae, validation_split
from calogen.generation import TrainedRun, draw_latent, generate
from calogen.losses import inverse_spread
from calogen.models.atlas_vae import AtlasVaeConfig
from calogen.selection import validation_distance
from calogen.showers import Showers
from calogen.windows import ATLAS_VAE_WINDOW

# Where the scan started; what it chose is the default of AtlasVaeConfig.
START: dict[str, Any] = {"batch_size": 100, "learning_rate": 1e-3, "kl_weight": 1e-4, "spread_floor": 1e-4}
VARIANTS: dict[str, dict[str, Any]] = {
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
HEADER = ("variant", "mean KS", "best epoch", "reconstruction", "KL", "energy at 1-4 GeV", "decoded sums", "at floor")


def main(arguments: Sequence[str] | None = None) -> None:
    """Train every variant and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=100, help="of every variant (default: 100)")
    parser.add_argument("--seed", type=int, default=1, help="of every variant (default: 1)")
    parser.add_argument("--runs", type=Path, default=Path("runs/scans/atlas_vae"), help="where trainings go")
    parser.add_argument("--only", choices=VARIANTS, help="train one variant and print its row")
    given = parser.parse_args(arguments)
    with clean_exit("atlas_vae scan"):
        showers = read_vae_window(bundled("photons_train"))
        showers = showers[np.isin(showers.incident_energies, TRAINED)]
        rows = []
        for name in [given.only] if given.only else VARIANTS:
            config = replace(AtlasVaeConfig(epochs=given.epochs, seed=given.seed), **{**START, **VARIANTS[name]})
            directory = given.runs / f"{name.replace(',', '').replace(' ', '-')}-{given.epochs}-seed{given.seed}"
            run = fit_vae("atlas_vae", config, ATLAS_VAE_WINDOW, showers, directory)
            rows.append((name, *measure(run, showers)))
            print(" | ".join(rows[-1]), flush=True)
        if not given.only:
            lines = [f"| {' | '.join(cells)} |" for cells in (HEADER, ["---"] * len(HEADER), *rows)]
            about = f"Made by `python experiments/scans/atlas_vae.py --epochs {given.epochs} --seed {given.seed}`."
            text = "\n".join((f"# Scan of the ATLAS VAE\n\n{about} {HONEST_NOTE}.\n", *lines)) + "\n"
            write_text(Path(__file__).with_suffix(".md"), text)


def measure(run: TrainedRun, showers: Showers) -> tuple[str, ...]:
    """The cells of a variant's row."""
    config = run.config
    training, validation = validation_split(showers, config)
    distance = validation_distance(run, validation, JUDGES, config.seed)
    best = min(run.history, key=lambda row: row["val_loss"])
    floor = "-"
    if config.feature_weights == "inverse_spread":
        floor = str(inverse_spread(run.transform.forward(training), config.spread_floor)[1])
    return (
        f"{distance.value:.4f} ± {distance.error:.4f}",
        str(1 + run.history.index(best)),
        f"{best['val_reconstruction']:.3g}",
        f"{best['val_kl']:.3g}",
        f"{low_energy_ratio(run, validation):.3f}",
        decoded_sums(run, validation.incident_energies) if config.inputs == "fractions" else "-",
        floor,
    )


def low_energy_ratio(run: TrainedRun, validation: Showers) -> float:
    """Mean energy of generated showers over Geant4's, mean of 1, 2 and 4 GeV."""
    ratios = []
    for energy in LOW:
        generated = generate(run, np.full(1000, energy), run.config.seed)
        ratios.append(generated.response.mean() / validation.at(energy).response.mean())
    return float(np.mean(ratios))


def decoded_sums(run: TrainedRun, incident_energies: np.ndarray) -> str:
    """Mean over showers of each layer's sum of decoded cell fractions: 1 where the decoder is consistent."""
    inputs = {
        "latent": draw_latent(run, len(incident_energies), run.config.seed),
        "condition": run.transform.condition(incident_energies),
    }
    sums = ATLAS_VAE_WINDOW.layer_energies(run.generator(inputs).numpy()[:, : ATLAS_VAE_WINDOW.size])
    return ", ".join(f"{value:.2f}" for value in sums.mean(axis=0))


if __name__ == "__main__":
    main()
