"""Networks of a study: what they cost, and sets of them beside Geant4."""

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import keras
import numpy as np
import pytest
from conftest import TINY_VOLUME, TINY_VOXELS, make_grid, make_showers
from toy_gan import CONFIG, make_conditioned

from calogen.errors import DataFormatError
from calogen.evaluation.grids import table_of
from calogen.lwtnn.convert import convert
from calogen.lwtnn.graph import format_graph
from calogen.metrics.distributions import Value
from calogen.models import atlas_vae, caloshowergan, getting_high_gan
from calogen.models.atlas_vae import AtlasVaeConfig
from calogen.observables.cells import layer_energy, total_energy
from calogen.observables.observable import Observable
from calogen.reproduction import networks as study_networks
from calogen.reproduction.chi2_selection import MIN_ENERGY
from calogen.reproduction.study_report import hyperparameters
from calogen.showers.conditions import Conditions
from calogen.showers.sample import Showers
from calogen.training.run import TrainedRun, assemble_run

OBSERVABLES = (
    Observable("total_energy", total_energy, "Total energy", metrics=("ks",)),
    Observable("first", lambda showers: layer_energy(showers, 0), "Layer 0", figures={1024.0: "1"}, metrics=("ks",)),
)


def test_the_time_of_a_call_leaves_the_first_out(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[list[str], list[float], int]] = []
    clock = iter([0, 100, 0, 100, 0, 1, 0, 7, 0, 3, 0, 7])
    monkeypatch.setattr(study_networks, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    monkeypatch.setattr(
        study_networks,
        "generate",
        lambda runs, given, seed: calls.append((runs, given.incident_energies.tolist(), seed)),
    )
    found = study_networks.generation_time(
        cast(list[TrainedRun], ["low", "upper"]), [512.0, 65536.0], batch_size=3, trials=2
    )
    assert found == {512.0: Value(2.0, 1.0), 65536.0: Value(7.0, 0.0)}
    assert [energies for _, energies, _ in calls] == [[512.0] * 3, [65536.0] * 3] * 3
    assert all(runs == ["low", "upper"] for runs, *_ in calls)
    assert [seed for *_, seed in calls] == [0, 0, 1, 1, 2, 2]


def test_a_model_with_conditions_is_timed_with_them() -> None:
    energies = np.array([512.0, 1024.0])
    given = Conditions(energies, {"impact_eta": np.array([0.2, 0.3])})
    found = study_networks.generation_time([make_conditioned()], given, batch_size=3, trials=2)
    assert list(found) == [512.0, 1024.0]
    assert all(item.value > 0 for item in found.values())
    with pytest.raises(DataFormatError, match="the model needs impact_eta of each shower"):
        study_networks.generation_time([make_conditioned()], Conditions(energies))


def test_the_networks_of_a_model_are_counted_by_name() -> None:
    """A VAE has no generator and no critic."""
    config = AtlasVaeConfig(encoder_units=(4,), decoder_units=(5,), latent_dim=2)
    grid = make_grid((2, 1))  # two cells, a layer and the total: four features
    chain = atlas_vae.build_transform(config, grid).fit(make_showers(grid, 20))
    run = assemble_run(atlas_vae, config, grid, atlas_vae.build(config, grid), chain)
    expected = {"encoder": 5 * 4 + 4 + 2 * (4 * 2 + 2), "decoder": 3 * 5 + 5 + 5 * 4 + 4}
    assert study_networks.trainable_parameters(run) == expected
    table = hyperparameters({"vae": study_networks.StudyNetwork(run)}, {"vae": config}, "-")
    assert table.rows[-1] == ("trainable parameters: encoder, decoder", "44, 44", "-")


def test_the_heads_are_not_in_the_json() -> None:
    generator = caloshowergan.build_generator(CONFIG, TINY_VOXELS)
    dense = next(layer for layer in reversed(generator.layers) if isinstance(layer, keras.layers.Dense))
    linear = keras.Model(generator.input, dense.output)
    assert study_networks.json_size(generator) == study_networks.json_size(linear) > 1000
    assert study_networks.json_size(linear) == len(format_graph(convert(linear, ["latent", "condition"])).encode())
    kinetic = caloshowergan.build_generator(replace(CONFIG, normalisation="kinetic"), TINY_VOXELS)
    assert study_networks.json_size(kinetic) == len(format_graph(convert(kinetic, ["latent", "condition"])).encode())


def test_voxels_below_1_mev_are_zero_in_both_samples() -> None:
    assert MIN_ENERGY == 1.0
    row = np.array([0.0, 0.5, 0.999, 1.0, 1.5, 3.0, 100.0, 0.2, 0.9, 7.0], np.float32)
    cut = np.array([0.0, 0.0, 0.0, 1.0, 1.5, 3.0, 100.0, 0.0, 0.0, 7.0], np.float32)
    factors = np.linspace(1.0, 1.3, 20, dtype=np.float32)
    reference = Showers(TINY_VOXELS, np.repeat([512.0, 1024.0], 10), np.outer(factors, row))
    samples = dict.fromkeys(("one", "two"), replace(reference, energies=np.tile(row, (20, 1))))
    found = study_networks.compare_networks(samples, reference, OBSERVABLES, seed=3, min_energy=MIN_ENERGY)
    for showers in found.generated.values():
        np.testing.assert_array_equal(showers.energies, np.tile(cut, (20, 1)))
    expected = np.outer(factors, row)
    np.testing.assert_array_equal(found.reference.energies, np.where(expected < 1, np.float32(0), expected))
    assert list(found.generated) == ["one", "two"]
    entries = found.by_energy[512.0]["total_energy"].histograms["one"]
    assert entries.counts.sum() == 10
    totals = {place["total_energy"].histograms["reference"].edges[-1] for place in found.by_energy.values()}
    assert min(totals) > 113, "the total energy is of all voxels: 115 MeV; 112.5 MeV are in those above 1 MeV"
    assert [list(item) for item in found.by_energy.values()] == [["total_energy"], [*found.together]]


def test_generated_showers_have_every_condition_of_the_reference() -> None:
    """Those that the model does not know, too: observables may need them."""
    grid = make_grid((2, 1), (3, 2), (2, 2))
    config, showers = AtlasVaeConfig(encoder_units=(4,), decoder_units=(4,), latent_dim=2), make_showers(grid, 20)
    transform = atlas_vae.build_transform(config, grid).fit(showers)
    run = assemble_run(atlas_vae, config, grid, atlas_vae.build(config, grid), transform)
    reference = replace(showers, conditions={"impact_eta": np.linspace(0.2, 0.25, 20)})
    found = study_networks.generated_like({"VAE": [run]}, reference, 1, copies=3)["VAE"]
    np.testing.assert_array_equal(found.conditions["impact_eta"], np.repeat(reference.conditions["impact_eta"], 3))
    np.testing.assert_array_equal(found.incident_energies, np.repeat(reference.incident_energies, 3))


def test_a_table_of_generated_showers_is_made_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(getting_high_gan.CONFIGS["laptop"][0], generator_filters=(4, 2))
    networks = getting_high_gan.build(config, TINY_VOLUME)
    transform = getting_high_gan.build_transform(config, TINY_VOLUME).fit(make_showers(TINY_VOLUME, 4))
    run = assemble_run(getting_high_gan, config, TINY_VOLUME, networks, transform)
    energies = np.linspace(2e4, 9e4, 7)
    reference = Showers(TINY_VOLUME, energies, np.zeros((7, TINY_VOLUME.size), np.float32))
    whole = table_of(study_networks.generated_like({"GAN": [run]}, reference, 1, copies=3)["GAN"])
    monkeypatch.setattr(study_networks, "_TOGETHER", 4)
    pieces = study_networks.generated_table(run, reference, 1, copies=3)
    np.testing.assert_array_equal(pieces.incident_energies, np.repeat(energies, 3))
    np.testing.assert_allclose(pieces["visible_energy"], whole["visible_energy"], rtol=1e-5)
    assert np.count_nonzero(whole["visible_energy"]) > 10
    assert len(pieces.examples) == 21
