"""What experiments with GANs share: budgets, recipes, and the scatter of their chi2 over seeds of generation."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from toy_gan import CONFIG, network_test, toy_showers, train

from calogen.errors import ConfigError
from calogen.evaluation.iterations import chi2_by_momentum
from calogen.evaluation.merits import Chi2Merit
from calogen.generation.generate import generate
from calogen.metrics.chi2 import RULES, total
from calogen.models import caloshowergan, fastcalogan
from calogen.reproduction import chi2_selection
from calogen.reproduction.chi2_selection import scaled, seed_scatter
from calogen.reproduction.networks import StudyNetwork


def test_the_scatter_over_seeds_of_generation(tmp_path_factory: pytest.TempPathFactory) -> None:
    showers = toy_showers(40, 1, (1024.0, 4096.0, 16384.0))
    network, values = StudyNetwork(train(tmp_path_factory.mktemp("scatter"), showers), network_test({})), []
    inside = showers[showers.incident_energies <= 4096]
    for seed in (1, 2, 3):
        ours = generate(network.run, inside.incident_energies, seed)
        values.append(total(chi2_by_momentum(inside, ours, RULES["caloshowergan"]).values()).per_ndf)
    mean = sum(values) / 3
    expected = np.sqrt(sum((value - mean) ** 2 for value in values) / 2)
    assert seed_scatter(network, showers, Chi2Merit("caloshowergan"), 3) == pytest.approx(expected)
    assert expected > 0


@pytest.mark.parametrize(
    ("config", "preset", "iterations", "batch_size"),
    [
        (caloshowergan.CONFIGS["photon"][0], "smoke", 10, 32),
        (caloshowergan.CONFIGS["photon"][0], "laptop", 8_000, 256),
        (caloshowergan.CONFIGS["photon"][0], "long", 40_000, 256),
        (caloshowergan.CONFIGS["photon"][0], "paper", 1_000_000, 1024),
        (caloshowergan.CONFIGS["pion"][0], "laptop", 16_000, 256),
        (caloshowergan.CONFIGS["pion"][0], "long", 40_000, 256),
        (fastcalogan.CONFIGS["photon"][0], "laptop", 8_000, 128),
        (CONFIG, "smoke", 1, 16),
    ],
)
def test_budgets(config: Any, preset: str, iterations: int, batch_size: int) -> None:
    found = scaled(config, preset, 7)
    assert (found.iterations, found.batch_size, found.seed) == (iterations, batch_size, 7)
    assert replace(found, iterations=config.iterations, batch_size=config.batch_size, seed=config.seed) == config


def test_another_recipe_changes_the_training_and_its_name() -> None:
    options = {"recipe": "ratio-3-average"}
    plain = chi2_selection.budget({"recipe": "paper"})(caloshowergan.CONFIGS["photon"][0], "laptop", 1)
    found: Any = chi2_selection.budget(options)(caloshowergan.CONFIGS["photon"][0], "laptop", 1)
    assert found == replace(plain, critic_steps=3, average=0.99)  # type: ignore[type-var]
    assert chi2_selection.name_of("gan", options) == "gan-ratio-3-average"
    assert chi2_selection.name_of("gan", {"recipe": "paper"}) == "gan"
    for recipe, message in (("fast", "recipe must be one of paper, average"), ("normalised", "batch_normalization")):
        with pytest.raises(ConfigError, match=message):
            scaled(caloshowergan.CONFIGS["photon"][0], "laptop", 1, recipe)
