"""Options, budgets and figures of merit of experiments that choose iterations by a chi2.

These are the trainings on the CaloChallenge's data set 1; the chi2 is that of the total energy.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Literal, Protocol, cast

import numpy as np

from calogen.config import Config, require
from calogen.evaluation.iterations import ALL, WITH_SHAPES
from calogen.evaluation.merits import Chi2Merit, Merit
from calogen.generation.generate import generate_like
from calogen.metrics.chi2 import RULES
from calogen.reproduction.experiment import OwnOption, OwnOptions
from calogen.reproduction.networks import StudyNetwork
from calogen.reproduction.recipes import PAPER, by_recipe
from calogen.reproduction.study import Selection
from calogen.reproduction.study_options import ONLY, VOXELS
from calogen.showers.labels import within
from calogen.showers.sample import Showers

# Share of the paper's iterations, and largest batch, by preset: a laptop processes 1/500 of the paper's showers.
BUDGETS = {"smoke": (1e-5, 32), "laptop": (8e-3, 256), "long": (4e-2, 256), "paper": (1.0, 10**9)}
_LONG = 40_000  # most iterations of the preset long: for pions a share of the paper's would be twice as many
OPTIONS: OwnOptions = {
    "--preset": OwnOption(
        "How large a training; long: 40,000 iterations, hours on one core.",
        Literal["smoke", "laptop", "long", "paper"],
        "laptop",
    ),
    "--recipe": OwnOption("Train by a recipe of docs/recipes.md, into runs and results of its own name.", str, PAPER),
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
    **ONLY,
    **VOXELS,
}
"""Options that these experiments have besides those of every experiment."""
MIN_ENERGY = 1.0
"""Voxels below this energy, MeV, are set to zero in figures and metrics, as in the CaloChallenge."""
_FEWER_SHOWERS = {2.0**19: 5000, 2.0**20: 3000, 2.0**21: 2000, 2.0**22: 1000}


class Chi2Config(Config, Protocol):
    """Configuration of a training on voxels that counts iterations."""

    particle: str
    iterations: int
    batch_size: int


def challenge_showers(momentum: float) -> int:
    """Number of showers at a momentum, MeV, in the CaloChallenge's data set 1."""
    return _FEWER_SHOWERS.get(momentum, 10_000)


def scaled(config: Config, preset: str, seed: int, recipe: str = PAPER) -> Config:
    """A paper's configuration (a `Chi2Config`) at a preset's budget, by a recipe.

    Raises:
        ConfigError: as for `by_recipe`.
    """
    original, (share, batch_size) = cast(Chi2Config, config), BUDGETS[preset]
    iterations = max(1, round(share * original.iterations))
    iterations = min(iterations, _LONG) if preset == "long" else iterations
    here = replace(original, iterations=iterations, batch_size=min(batch_size, original.batch_size), seed=seed)
    return by_recipe(here, recipe)


def budget(options: Mapping[str, object]) -> Callable[[Config, str, int], Config]:
    """The `budget` of a study for the values of `OPTIONS`."""
    return partial(scaled, recipe=str(options["recipe"]))


def name_of(study: str, options: Mapping[str, object]) -> str:
    """Name of a study's runs and results, of which another recipe than the paper's is part."""
    return study if options["recipe"] == PAPER else f"{study}-{options['recipe']}"


def rule_name(options: Mapping[str, object], particle: str) -> str:
    """Key of `RULES` that the option `--rule` means for showers of a particle.

    Raises:
        ConfigError: the rule has no chi2 for the figure of merit of `--merit`.
    """
    rule = str(options["rule"])
    name = rule if rule in RULES else f"{rule}-{'photons' if particle == 'photon' else 'hadrons'}"
    for_shapes = ", ".join(key for key, item in RULES.items() if not item.energies_only)
    fits = not RULES[name].energies_only or options["merit"] == "energy"
    require(fits, f"--merit shapes goes with --rule {for_shapes}. Received: {rule}")
    return name


def check_momenta(options: Mapping[str, object], particle: str) -> Callable[[Showers], object]:
    """Check of showers for `read_data`: the chi2 must have bins at each of their momenta."""
    merit = Chi2Merit(rule_name(options, particle))
    return lambda showers: merit(showers, showers)


def selection(options: Mapping[str, object]) -> Callable[[Config], Selection]:
    """How iterations are chosen for the values of `OPTIONS`: the `select` of a study."""

    def select(config: Config) -> Selection:
        rule = rule_name(options, cast(Chi2Config, config).particle)
        merits: dict[str, Merit] = {ALL: Chi2Merit(rule)}
        merits |= {} if RULES[rule].energies_only else {WITH_SHAPES: Chi2Merit(rule, shapes=True)}
        chosen_by = ALL if options["merit"] == "energy" else WITH_SHAPES
        return Selection(merits=merits, chosen_by=chosen_by, statistics=challenge_showers)

    return select


def seed_scatter(network: StudyNetwork, reference: Showers, merit: Merit, num_seeds: int = 10) -> float:
    """Standard deviation of a figure of merit over showers generated with different seeds."""
    low, high = network.run.momentum_range or (0.0, np.inf)
    reference = reference[within(reference.incident_energies, low, high)]
    generated = (generate_like(network.run, reference, seed) for seed in range(1, num_seeds + 1))
    return float(np.std([merit(reference, showers).value for showers in generated], ddof=1))
