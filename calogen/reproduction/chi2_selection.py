"""What experiments share whose iterations are chosen by a chi2 of the total energy.

Budgets, options and figures of merit of trainings on the CaloChallenge's data set 1.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from calogen.config import require
from calogen.evaluation.iterations import ALL, SHAPES
from calogen.evaluation.merits import Chi2Merit, Merit
from calogen.generation.generate import generate_like
from calogen.metrics.chi2 import RULES
from calogen.reproduction.experiment import OwnOption, OwnOptions
from calogen.reproduction.networks import Network
from calogen.reproduction.study import Selection
from calogen.showers.labels import within
from calogen.showers.sample import Showers

# Share of the paper's iterations, and largest batch: 1/500 of the paper's showers on a laptop.
BUDGETS = {"smoke": (1e-5, 32), "laptop": (8e-3, 256), "paper": (1.0, 10**9)}
OPTIONS: OwnOptions = {
    "--ablation": OwnOption("Train the paper's other variants, too (first seed only)."),
    "--merit": OwnOption(
        "What chooses the iteration: chi2 of the total energy, as published, or of layers and shapes, too.",
        Literal["energy", "shapes"],
        "energy",
    ),
    "--rule": OwnOption(
        "Whose published bins the chi2 has: 29 around the median, or 30 around the mode.",
        Literal["caloshowergan", "fastcalogan"],
        "caloshowergan",
    ),
    "--bfloat16": OwnOption("Critic's matrix products in bfloat16: 1.5 times faster where the processor has them."),
}
"""Options of an experiment by chi2, beside those of every experiment."""
MIN_ENERGY = 1.0
"""Voxels with less are zero in figures and their metrics, in Geant4's showers and ours, MeV (CaloChallenge)."""
_FEWER_SHOWERS = {2.0**19: 5000, 2.0**20: 3000, 2.0**21: 2000, 2.0**22: 1000}


def challenge_showers(momentum: float) -> int:
    """Number of showers of a momentum, MeV, in the CaloChallenge's data set 1."""
    return _FEWER_SHOWERS.get(momentum, 10_000)


def scaled(config: Any, preset: str, seed: int) -> Any:
    """A paper's configuration at a preset's budget."""
    share, batch_size = BUDGETS[preset]
    iterations = max(1, round(share * config.iterations))
    return replace(config, iterations=iterations, batch_size=min(batch_size, config.batch_size), seed=seed)


def rule_name(options: Mapping[str, Any], particle: str) -> str:
    """Key of `RULES` for the values of `OPTIONS` and a particle.

    Raises:
        ConfigError: a figure of merit that the rule does not have.
    """
    given = options["rule"]
    name = given if given in RULES else f"{given}-{'photons' if particle == 'photon' else 'hadrons'}"
    able = ", ".join(other for other, rule in RULES.items() if not rule.energies_only)
    fits = not RULES[name].energies_only or options["merit"] == "energy"
    require(fits, f"--merit shapes goes with --rule {able}. Received: {given}")
    return name


def check_momenta(options: Mapping[str, Any], particle: str) -> Callable[[Showers], object]:
    """What `read_data` asks of showers: that the chi2 has bins at each of their momenta."""
    merit = Chi2Merit(rule_name(options, particle))
    return lambda showers: merit(showers, showers)


def selection(options: Mapping[str, Any]) -> Callable[[Any], Selection]:
    """By what iterations are chosen, for the values of `OPTIONS`: a study's `select`."""

    def select(config: Any) -> Selection:
        rule = rule_name(options, config.particle)
        merits: dict[str, Merit] = {ALL: Chi2Merit(rule)}
        merits |= {} if RULES[rule].energies_only else {SHAPES: Chi2Merit(rule, shapes=True)}
        chosen_by = {"energy": ALL, "shapes": SHAPES}[options["merit"]]
        return Selection(merits=merits, chosen_by=chosen_by, statistics=challenge_showers)

    return select


def seed_scatter(network: Network, reference: Showers, merit: Merit, num_seeds: int = 10) -> float:
    """Standard deviation of a figure of merit over seeds of generation."""
    low, high = network.run.momentum_range or (0.0, np.inf)
    reference = reference[within(reference.incident_energies, low, high)]
    seeds = range(1, num_seeds + 1)
    return float(
        np.std([merit(reference, generate_like(network.run, reference, seed)).value for seed in seeds], ddof=1)
    )
