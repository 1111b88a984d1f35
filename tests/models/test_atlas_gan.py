import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from calogen.errors import ConfigError, DataFormatError
from calogen.features.moments import moments
from calogen.generation.generate import generate_like
from calogen.generation.load import load_run
from calogen.models import atlas_gan
from calogen.models.atlas_gan import CONFIGS, AtlasGanConfig, build, build_trainer, build_transform
from calogen.showers.bundled import bundled, read_window
from calogen.showers.cells import ATLAS_BARREL_STORED
from calogen.showers.conditions import Conditions
from calogen.showers.sample import Showers
from calogen.showers.windows import ATLAS_GAN_WINDOW
from calogen.training.fit import fit
from calogen.training.layers import Swish

SMALL = {"generator_units": (8,), "critic_units": (8,), "energy_critic_units": (4,), "latent_dim": 3, "batch_size": 8}


def parameters(*widths: int) -> int:
    """Of dense layers from one width to the next."""
    return sum(before * after + after for before, after in pairwise(widths))


@pytest.fixture(scope="module")
def photons() -> Showers:
    showers = read_window(bundled("photons_test"), ATLAS_GAN_WINDOW)
    return showers[np.isin(showers.incident_energies, (4096.0, 65536.0))]


def test_networks_have_the_inputs_of_fig_4() -> None:
    """1 energy, 2 positions, 4 + 2 alignments; each swish has a beta."""
    networks = build(*CONFIGS["paper"])
    assert networks["generator"].count_params() == parameters(300 + 9, 128, 128, 128, 266) + 3
    assert networks["critic"].count_params() == parameters(266 + 9, 128, 128, 128, 1)
    assert networks["energy_critic"].count_params() == parameters(1 + 9, 128, 128, 128, 1)
    assert sum(isinstance(layer, Swish) for layer in networks["generator"].layers) == 3
    assert build(*CONFIGS["without-position"])["generator"].count_params() == parameters(307, 128, 128, 128, 266) + 3


def test_conditions_are_those_of_the_impact_cell(photons: Showers) -> None:
    chain = build_transform(AtlasGanConfig(), ATLAS_GAN_WINDOW).fit(photons)
    columns = chain.condition(photons.given)
    np.testing.assert_allclose(columns[:, :3].mean(axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(columns[:, :3].std(axis=0), 1.0, atol=1e-5)
    eta, phi = photons.conditions["impact_eta"], photons.conditions["impact_phi"]
    middle, front, back = (ATLAS_BARREL_STORED.layers[position] for position in (2, 1, 3))
    for row in range(0, len(photons), 37):  # by the edges of the larger cells, not by indices
        first_phi = np.floor(phi[row] / front.phi_size) * front.phi_size
        first_eta = np.floor(eta[row] / back.eta_size) * back.eta_size
        expected = np.zeros(6)
        expected[int((phi[row] - first_phi) // middle.phi_size)] = 1
        expected[4 + int((eta[row] - first_eta) // middle.eta_size)] = 1
        np.testing.assert_array_equal(columns[row, 3:], expected)
    offset = eta - (np.floor(eta / 0.025) + 0.5) * 0.025
    np.testing.assert_allclose(columns[:, 1], (offset - offset.mean()) / offset.std(), atol=1e-5)
    with pytest.raises(DataFormatError, match="impact_eta"):
        chain.condition(Conditions(np.array([1024.0])))


def test_the_generator_starts_at_the_mean_cells(photons: Showers) -> None:
    config = replace(AtlasGanConfig(), **SMALL)
    chain = build_transform(config, ATLAS_GAN_WINDOW).fit(photons)
    features, networks = chain.forward(photons), build(config, ATLAS_GAN_WINDOW)
    build_trainer(config, ATLAS_GAN_WINDOW, networks, moments(features))
    kernel, bias = networks["generator"].get_layer("shower").get_weights()
    mean = np.clip(features.astype(np.float64).mean(axis=0), 1e-6, 1 - 1e-6)
    np.testing.assert_allclose(1 / (1 + np.exp(-bias.astype(np.float64))), mean, rtol=1e-4)
    assert kernel.any()


def test_training_moves_both_critics_and_keeps_showers_to_validate(photons: Showers, tmp_path: Path) -> None:
    config = replace(AtlasGanConfig(), **SMALL, iterations=4, critic_steps=2, validation_fraction=0.25, seed=3)
    run = fit(atlas_gan, config, ATLAS_GAN_WINDOW, photons, tmp_path)
    start = build(config, ATLAS_GAN_WINDOW)
    for name, network in run.networks.items():
        pairs = zip(network.get_weights(), start[name].get_weights(), strict=True)
        assert any((ours != theirs).any() for ours, theirs in pairs), name
    read = load_run(tmp_path)
    assert read.transform == run.transform
    showers = generate_like(read, photons[:20], seed=1)
    np.testing.assert_array_equal(showers.energies, generate_like(run, photons[:20], seed=1).energies)
    text = (tmp_path / "transform.json").read_text()
    for key, value in (("cell_size", 0.05), ("spread", 0.0), ("num", 3)):
        about = json.loads(text)
        next(item for item in about["encodings"] if key in item)[key] = value
        (tmp_path / "transform.json").write_text(json.dumps(about))
        with pytest.raises(DataFormatError, match="must hold the files of one run"):
            load_run(tmp_path)
    one = replace(config, energy_critic=False)
    alone = fit(atlas_gan, one, ATLAS_GAN_WINDOW, photons, tmp_path / "one")
    for ours, theirs in zip(
        alone.networks["energy_critic"].get_weights(), start["energy_critic"].get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_the_regulariser_is_a_sum_over_the_batch(photons: Showers) -> None:
    """One step of plain RMSprop-free gradients: the output bias' gradient has weight x batch x sigmoid' added."""
    import keras

    config = replace(AtlasGanConfig(), **SMALL)
    chain = build_transform(config, ATLAS_GAN_WINDOW).fit(photons)
    features, steps = chain.forward(photons), []
    condition = keras.ops.convert_to_tensor(chain.condition(photons.given)[:8])
    for weight in (0.0, 0.5):
        networks = build(config, ATLAS_GAN_WINDOW)
        trainer = build_trainer(replace(config, activity_weight=weight), ATLAS_GAN_WINDOW, networks, moments(features))
        trainer.compile(optimizer=keras.optimizers.SGD(1.0))
        trainer.optimizer.build(networks["generator"].trainable_variables)
        before = networks["generator"].get_layer("shower").bias.numpy()
        latent = trainer.generate(condition, keras.ops.convert_to_tensor([1, 2])).numpy()
        trainer.generator_step({"condition": condition}, keras.ops.convert_to_tensor([1, 2]))
        steps.append(before - networks["generator"].get_layer("shower").bias.numpy())
    np.testing.assert_allclose(steps[1] - steps[0], 0.5 * (latent * (1 - latent)).sum(axis=0), rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize("values", [{"output_start": "x"}, {"validation_fraction": 1.0}, {"activity_weight": -1.0}])
def test_nonsense_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))):
        AtlasGanConfig(**values)  # type: ignore[arg-type]
