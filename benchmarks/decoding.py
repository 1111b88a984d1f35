"""Showers of a trained ATLAS VAE by the way in which it decodes, with the same weights.

    make reproduce-atlas-vae && python benchmarks/decoding.py
    python benchmarks/decoding.py runs/atlas_vae/laptop-seed2 --csv decoding.csv

The paper says that showers come "by sampling z [...] and then sampling x from p(x|z)". The rows: what the decoder gives
("mean", as the reproduction has it); fractions that sum to one; x drawn from p(x|z), fitted to the training showers;
latent points drawn among codes of training showers instead of the prior; and all of them together. The columns: spread
of the energy over Geant4's, the smallest and the largest of all training energies; the mean KS distance over the
paper's observables minus that of two samples of Geant4, as a ratio to the first row, at 4, 65 and 262 GeV; CPU seconds
of the fit. Geant4's showers are the held-out ones.
"""

import argparse
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from calogen.claims.atlas_vae import OBSERVABLES, SHOWN, TRAINED, excess
from calogen.errors import CalogenError
from calogen.evaluation.compare import Comparison, compare_showers
from calogen.evaluation.trainings import Evidence
from calogen.generation.generate import generate
from calogen.generation.load import load_run
from calogen.models import atlas_vae
from calogen.showers.bundled import bundled, choose_edition, read_window
from calogen.showers.sample import Showers
from calogen.training.fit import decode_otherwise
from calogen.units import GeV

DRAWN: dict[str, Any] = {"renormalise": True, "decode": "sample"}
WAYS: dict[str, dict[str, Any]] = {
    "mean": {},
    "fractions sum to one": {"renormalise": True},
    "encoded latents": {"latent_sampler": "posterior"},
    "drawn, energies alone": {**DRAWN, "noise_dim": 5},
    "drawn": DRAWN,
    "drawn, encoded latents, energies alone": {**DRAWN, "noise_dim": 5, "latent_sampler": "posterior"},
    "drawn, encoded latents": {**DRAWN, "latent_sampler": "posterior"},
}
"""Changes of the configuration by name."""
NAMES = [item.name for item in OBSERVABLES]
NUMBER = 2000  # generated showers at each energy


def main() -> None:
    """Decodes and prints everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", default=Path("runs/atlas_vae/laptop-seed1"), help="a trained VAE")
    parser.add_argument("--first-edition", action="store_true", help="that it was trained on")
    parser.add_argument("--csv", type=Path, help="write the table to this file")
    arguments = parser.parse_args()
    try:
        table = run(arguments.run, arguments.first_edition)
    except CalogenError as error:
        sys.exit(str(error))
    print(table.to_string(index=False))
    if arguments.csv:
        table.to_csv(arguments.csv, index=False)


def run(directory: Path, first: bool) -> pd.DataFrame:
    """Gives the table of all ways."""
    trained = load_run(directory)
    train, test = (read_window(bundled(f"photons_{part}"), trained.geometry) for part in ("train", "test"))
    train, note = choose_edition("photons_train", train, first)
    train = train[np.isin(train.incident_energies, TRAINED)]
    print(f"{directory}, beside held-out showers of {note}")
    config = cast(atlas_vae.AtlasVaeConfig, trained.config)
    samples: dict[str, Showers] = {}
    seconds: dict[str, float] = {}
    for name, changes in WAYS.items():
        start = time.process_time()
        other = decode_otherwise(atlas_vae, trained, replace(config, **changes), train)
        seconds[name] = time.process_time() - start
        samples[name] = generate(other, np.repeat(TRAINED, NUMBER), 1)
    compared = {energy: compare_showers(test, samples, OBSERVABLES, 1, energy) for energy in TRAINED}
    return pd.DataFrame([row(name, compared, seconds[name]) for name in WAYS]).round(3)


def row(name: str, compared: Mapping[float, Comparison], seconds: float) -> dict[str, object]:
    """The figures of one way."""
    measured = Evidence(comparisons=compared, values={})
    spreads = [item["total_energy"].numbers_of(name)["rms_ratio"].value for item in compared.values()]
    ratios = {
        f"KS at {energy / GeV:.0f} GeV": excess(measured, NAMES, energy, name).value
        / excess(measured, NAMES, energy, next(iter(WAYS))).value
        for energy in SHOWN
    }
    return {"decoding": name, "least spread": min(spreads), "most spread": max(spreads), **ratios, "CPU s": seconds}


if __name__ == "__main__":
    main()
