from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from calogen.errors import ConfigError, DataFormatError, ExportError
from calogen.features.batches import Resident
from calogen.generation.generate import generate
from calogen.generation.load import load_run, load_snapshot
from calogen.lwtnn.convert import convert
from calogen.models import atlas_vae
from calogen.models.atlas_vae import AtlasVaeConfig
from calogen.showers.sample import Showers
from calogen.training import residuals
from calogen.training.encoded import posterior_codes
from calogen.training.fit import decode_otherwise, fit
from calogen.training.residuals import Residuals, fit_residuals

RANDOM = np.random.default_rng(1)
NUMBER = 20_000
ROOTS = {0.0: np.array([[0.2, 0.0], [0.1, 0.05]]), 1.0: np.array([[0.5, 0.0], [-0.3, 0.4]])}
"""By condition: roots of the covariance of the last two features around their linear function of the code."""
SLOPES, OFFSETS = {0.0: 0.5, 1.0: 2.0}, {0.0: 1.0, 1.0: -1.0}
SMALL = AtlasVaeConfig(encoder_units=(24, 12), decoder_units=(12, 24), latent_dim=2, epochs=2, batch_size=20)


def make_networks() -> dict[str, keras.Model]:
    """The code is the first feature, and what is decoded is the code, three times."""
    inputs = {"shower": keras.Input((3,), name="shower"), "condition": keras.Input((1,), name="condition")}
    mean = keras.layers.Dense(1, use_bias=False, name="mean")
    variance = keras.layers.Dense(1, "linear", kernel_initializer="zeros", name="log_variance")
    outputs = {"mean": mean(inputs["shower"]), "log_variance": variance(inputs["condition"])}
    mean.kernel.assign(np.eye(3, 1))
    variance.bias.assign([-50.0])
    encoder = keras.Model(inputs, outputs)
    latent, condition = keras.Input((3,), name="latent"), keras.Input((1,), name="condition")
    same = keras.layers.Dense(3, kernel_initializer="ones", use_bias=False)(latent[:, :1])
    drawn = Residuals(2)([same, latent[:, 1:], condition])
    return {"encoder": encoder, "decoder": keras.Model({"latent": latent, "condition": condition}, drawn)}


def make_features() -> Resident:
    conditions = np.repeat([0.0, 1.0], NUMBER)
    code = RANDOM.normal(size=2 * NUMBER)
    last = np.empty((2 * NUMBER, 2))
    for condition, root in ROOTS.items():
        rows = conditions == condition
        noise = RANDOM.normal(size=(NUMBER, 2)) @ root.T
        last[rows] = OFFSETS[condition] + SLOPES[condition] * code[rows, None] + noise
    shower = np.concatenate([code[:, None], last], axis=1).astype(np.float32)
    return Resident(tf.constant(shower), tf.constant(conditions[:, None], tf.float32))


def draw(decoder: keras.Model, condition: float, number: int = NUMBER) -> np.ndarray:
    latent = RANDOM.normal(size=(number, 3)).astype(np.float32)
    return decoder({"latent": tf.constant(latent), "condition": tf.fill((number, 1), condition)}).numpy()


def test_without_weights_the_features_stay() -> None:
    drawn = draw(make_networks()["decoder"], 0.5, 100)
    np.testing.assert_array_equal(drawn[:, 1], drawn[:, 0])


def test_drawn_features_have_means_and_covariances_of_the_showers() -> None:
    networks, features = make_networks(), make_features()
    fit_residuals(networks["encoder"], networks["decoder"], features, seed=1)
    for condition, rows in ((0.0, slice(None, NUMBER)), (1.0, slice(NUMBER, None))):
        expected, drawn = features.shower.numpy()[rows], draw(networks["decoder"], condition)
        # five errors of means and covariances of 20,000 showers
        np.testing.assert_allclose(drawn.mean(axis=0), expected.mean(axis=0), atol=0.1)
        np.testing.assert_allclose(np.cov(drawn.T), np.cov(expected.T), atol=0.05 * np.cov(expected.T).max())


def test_of_many_showers_some_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    networks, features = make_networks(), make_features()
    monkeypatch.setattr(residuals, "MOST_SHOWERS", NUMBER // 2)
    read: list[int] = []

    def counting(*given: Any) -> np.ndarray:
        codes = posterior_codes(*given)
        read.append(len(codes))
        return codes

    monkeypatch.setattr(residuals, "posterior_codes", counting)
    fit_residuals(networks["encoder"], networks["decoder"], features, seed=1)
    assert sum(read) == NUMBER // 2
    for condition, rows in ((0.0, slice(None, NUMBER)), (1.0, slice(NUMBER, None))):
        expected, drawn = features.shower.numpy()[rows], draw(networks["decoder"], condition)
        np.testing.assert_allclose(np.cov(drawn.T), np.cov(expected.T), atol=0.1 * np.cov(expected.T).max())


def test_between_two_energies_the_distribution_is_between_theirs() -> None:
    networks, features = make_networks(), make_features()
    fit_residuals(networks["encoder"], networks["decoder"], features, seed=1)
    drawn = draw(networks["decoder"], 0.5)
    assert drawn[:, 1].mean() == pytest.approx(0.0, abs=0.1)
    outside, inside = (draw(networks["decoder"], condition)[:, 2].std() for condition in (7.0, 1.0))
    assert outside == pytest.approx(inside, rel=0.05), "beyond the training energies nothing is extrapolated"


def test_energies_need_not_be_equally_far_apart() -> None:
    conditions = np.array([0.0, 0.01, 0.013, 1.0])
    sizes = np.array([1.0, 0.1, 1.0, 0.1])
    code = RANDOM.normal(size=4 * NUMBER)
    noise = np.repeat(sizes, NUMBER)[:, None] * RANDOM.normal(size=(4 * NUMBER, 2))
    shower = np.concatenate([code[:, None], code[:, None] + noise], axis=1).astype(np.float32)
    networks, condition = make_networks(), np.repeat(conditions, NUMBER)[:, None]
    features = Resident(tf.constant(shower), tf.constant(condition, tf.float32))
    fit_residuals(networks["encoder"], networks["decoder"], features, seed=1)
    for energy, size in zip(conditions, sizes, strict=True):
        drawn = draw(networks["decoder"], float(energy))
        assert (drawn[:, 1] - drawn[:, 0]).std() == pytest.approx(size, rel=0.05)


def test_many_different_energies_share_distributions() -> None:
    condition = np.sort(RANDOM.uniform(0, 1, 2 * NUMBER))
    code = RANDOM.normal(size=2 * NUMBER)
    noise = (0.1 + condition)[:, None] * RANDOM.normal(size=(2 * NUMBER, 2))
    shower = np.concatenate([code[:, None], code[:, None] + noise], axis=1).astype(np.float32)
    networks = make_networks()
    features = Resident(tf.constant(shower), tf.constant(condition[:, None], tf.float32))
    fit_residuals(networks["encoder"], networks["decoder"], features, seed=1)
    for energy in (0.2, 0.5, 0.8):
        drawn = draw(networks["decoder"], energy)
        assert (drawn[:, 1] - drawn[:, 0]).std() == pytest.approx(0.1 + energy, rel=0.05)


def test_cells_vary_along_their_principal_components() -> None:
    """Three cells are decoded as 0 and vary along one direction, together with the only energy."""
    random = np.random.default_rng(5)
    direction, condition = np.array([0.6, 0.0, -0.8]), np.repeat([0.0, 1.0], NUMBER)
    size = np.where(condition > 0, 0.3, 0.1)
    drawn, own = random.normal(size=(2, 2 * NUMBER))
    cells = 0.2 + (size * drawn)[:, None] * direction
    energy = 1.0 + 0.5 * drawn + 0.1 * own
    shower = np.concatenate([cells, energy[:, None]], axis=1).astype(np.float32)
    inputs = {"shower": keras.Input((4,), name="shower"), "condition": keras.Input((1,), name="condition")}
    zero = keras.layers.Dense(1, kernel_initializer="zeros", name="mean")
    outputs = {"mean": zero(inputs["shower"]), "log_variance": zero(inputs["shower"])}
    latent, given = keras.Input((3,), name="latent"), keras.Input((1,), name="condition")
    decoded = keras.layers.Dense(4, kernel_initializer="zeros")(latent[:, :1])
    decoder = keras.Model({"latent": latent, "condition": given}, Residuals(1)([decoded, latent[:, 1:], given]))
    features = Resident(tf.constant(shower), tf.constant(condition[:, None], tf.float32))
    fit_residuals(keras.Model(inputs, outputs), decoder, features, seed=1)
    for energy_of, rows in ((0.0, slice(None, NUMBER)), (1.0, slice(NUMBER, None))):
        found = draw(decoder, energy_of)
        np.testing.assert_allclose(found.mean(axis=0), shower[rows].mean(axis=0), atol=0.02)
        np.testing.assert_allclose(np.cov(found.T), np.cov(shower[rows].T), atol=0.01)


def test_a_vae_draws_its_showers_after_training_and_without_another_one(tiny_showers: Showers, tmp_path: Path) -> None:
    grid = tiny_showers.geometry
    config = replace(SMALL, decode="sample", noise_dim=6, renormalise=True, latent_sampler="posterior")
    drawing = fit(atlas_vae, config, grid, tiny_showers, tmp_path / "drawing", snapshots=(1,))  # type: ignore[arg-type]
    plain = fit(atlas_vae, SMALL, grid, tiny_showers, tmp_path / "plain")  # type: ignore[arg-type]
    other = decode_otherwise(atlas_vae, plain, config, tiny_showers)
    assert other.latent.dim == drawing.latent.dim == 2 + 6
    for name, network in drawing.networks.items():
        for one, two in zip(network.get_weights(), other.networks[name].get_weights(), strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)
    still = replace(config, epochs=1, learning_rate=1e-9)
    again = fit(atlas_vae, still, grid, tiny_showers, tmp_path / "again", start=drawing)  # type: ignore[arg-type]
    for one, two in zip(again.generator.get_weights(), drawing.generator.get_weights(), strict=True):
        np.testing.assert_allclose(one, two, rtol=0.05, atol=0.05, err_msg="fitted from 0, as if nothing was before")
    energies = np.repeat(np.unique(tiny_showers.incident_energies), 200)
    showers = generate(drawing, energies, 3)
    np.testing.assert_array_equal(showers.energies, generate(load_run(tmp_path / "drawing"), energies, 3).energies)
    spread, wanted = (item.energies.sum(axis=1)[-200:].std() for item in (showers, tiny_showers))
    assert spread == pytest.approx(wanted, rel=0.5)
    with pytest.raises(DataFormatError, match=r"fitted at the end of the training only.*decode_otherwise"):
        load_snapshot(drawing, tmp_path / "drawing", "epoch", 1)
    with pytest.raises(ExportError, match=r"no product of tensors.*export a run that decodes means"):
        convert(drawing.generator, ["latent", "condition"])


def test_what_does_not_fit_is_refused(tiny_showers: Showers, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="noise_dim must be 4 or more"):
        atlas_vae.build(replace(SMALL, decode="sample", noise_dim=3), tiny_showers.geometry)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"noise_dim must be 4 or more, at most 16"):
        atlas_vae.build(replace(SMALL, decode="sample", noise_dim=17), tiny_showers.geometry)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="decode='sample' needs inputs='fractions'"):
        replace(SMALL, decode="sample", inputs="absolute")
    run = fit(atlas_vae, SMALL, tiny_showers.geometry, tiny_showers, tmp_path)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="the run must have all its networks.*Received: no encoder"):
        decoder = {"decoder": run.networks["decoder"]}
        decode_otherwise(atlas_vae, replace(run, networks=decoder), replace(SMALL, decode="sample"), tiny_showers)
    with pytest.raises(ConfigError, match="the encoder must have the weights of the run"):
        decode_otherwise(atlas_vae, run, replace(SMALL, encoder_units=(12, 12)), tiny_showers)
