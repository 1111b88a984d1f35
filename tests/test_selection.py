from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calogen.evaluation.comparison import Observable
from calogen.evaluation.observables import response
from calogen.generation import TrainedRun
from calogen.models.atlas_vae import AtlasVaeConfig, build, build_transform
from calogen.selection import epoch_distances, physics_distance, validation_distance
from calogen.showers import Showers
from calogen.training.callbacks import save_network

RESPONSE = Observable("response", response, "response")
NEVER = Observable("never", lambda showers: np.full(len(showers), np.nan), "never defined")
LARGE = Observable("large", lambda showers: np.where(response(showers) > 2, response(showers), np.nan), "above 2")


def scaled(showers: Showers, factor: float) -> Showers:
    return replace(showers, energies=showers.energies * np.float32(factor))


@pytest.fixture
def run(tiny_showers: Showers) -> TrainedRun:
    config = AtlasVaeConfig(encoder_units=(8,), decoder_units=(8,), latent_dim=2)
    chain = build_transform(config, tiny_showers.geometry).fit(tiny_showers)
    networks = build(config, tiny_showers.geometry)
    return TrainedRun("atlas_vae", config, tiny_showers.geometry, networks, chain, [])


def test_equal_samples_have_no_distance_and_disjoint_ones_have_1(tiny_showers: Showers) -> None:
    assert physics_distance(tiny_showers, tiny_showers, [RESPONSE]).value == 0
    assert physics_distance(tiny_showers, scaled(tiny_showers, 50.0), [RESPONSE]).value == 1


def test_the_mean_runs_over_energies_and_observables(tiny_showers: Showers) -> None:
    chosen = tiny_showers[np.isin(tiny_showers.incident_energies, (1024.0, 2048.0))]
    one_wrong = replace(chosen, energies=chosen.energies * (1 + 49 * (chosen.incident_energies == 1024.0))[:, None])
    half = physics_distance(chosen, one_wrong, [RESPONSE])
    assert half.value == 0.5
    constant = Observable("constant", lambda showers: np.ones(len(showers)), "constant")
    quarter = physics_distance(chosen, one_wrong, [RESPONSE, constant])
    assert (quarter.value, quarter.error) == pytest.approx((0.25, half.error / 2))


def test_what_only_the_generated_showers_lack_counts_as_disjoint(tiny_showers: Showers) -> None:
    many = scaled(tiny_showers, 50.0)
    assert physics_distance(many, tiny_showers, [LARGE]).value == 1
    assert physics_distance(many, many, [LARGE, NEVER]).value == 0, "what Geant4 lacks is left out"
    assert np.isnan(physics_distance(many, many, [NEVER]).value)


def test_validation_distance_is_repeatable(run: TrainedRun, tiny_showers: Showers) -> None:
    first, again, other = (validation_distance(run, tiny_showers, [RESPONSE], seed) for seed in (1, 1, 2))
    assert first == again != other
    assert 0 < first.value <= 1
    assert 0 < first.error < 0.1


def test_epochs_are_judged_by_their_own_decoders(run: TrainedRun, tiny_showers: Showers, tmp_path: Path) -> None:
    save_network(run.networks["decoder"], tmp_path / "epoch-0003.keras")
    bias = run.networks["decoder"].get_layer("shower").bias
    bias.assign(np.append(np.zeros(bias.shape[0] - 1), -9.0))  # the last feature is the response: nearly nothing
    save_network(run.networks["decoder"], tmp_path / "epoch-0010.keras")
    found = epoch_distances(run, tmp_path, tiny_showers, [RESPONSE], seed=1)
    assert list(found) == [3, 10]
    assert found[10] == validation_distance(run, tiny_showers, [RESPONSE], 1)
    assert found[10].value == 1
    assert found[3].value < 1
