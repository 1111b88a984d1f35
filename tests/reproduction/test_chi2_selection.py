"""What experiments with GANs share: the scatter of their chi2 over seeds of generation."""

import numpy as np
import pytest
from toy_gan import network_test, toy_showers, train

from calogen.evaluation.iterations import chi2_by_momentum
from calogen.evaluation.merits import Chi2Merit
from calogen.generation.generate import generate
from calogen.metrics.chi2 import RULES, total
from calogen.reproduction.chi2_selection import seed_scatter
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
