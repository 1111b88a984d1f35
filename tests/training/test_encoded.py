from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import TINY_VOLUME, make_showers

from calogen.errors import DataFormatError
from calogen.features.batches import Resident, resident
from calogen.generation.generate import generate
from calogen.generation.load import load_run
from calogen.models import atlas_vae, bib_ae
from calogen.showers.sample import Showers
from calogen.training.encoded import encoded_latent
from calogen.training.fit import fit
from calogen.training.latent import EncodedLatent
from calogen.training.run import save_run

RANDOM = np.random.default_rng(1)


def make_encoder(spread: float) -> keras.Model:
    """Mean: the first two features; standard deviation: always the same."""
    inputs = {"shower": keras.Input((3,), name="shower"), "condition": keras.Input((1,), name="condition")}
    mean = keras.layers.Dense(2, use_bias=False, trainable=False, name="mean")
    variance = keras.layers.Dense(2, kernel_initializer="zeros", name="log_variance")
    outputs = {"mean": mean(inputs["shower"]), "log_variance": variance(inputs["condition"])}
    mean.kernel.assign(np.eye(3, 2))
    variance.bias.assign([2 * np.log(spread)] * 2)
    return keras.Model(inputs, outputs)


def make_features(number: int) -> Resident:
    shower = RANDOM.normal(size=(number, 3)).astype(np.float32)
    return Resident(tf.constant(shower), tf.constant(shower[:, 2:]))


def test_codes_are_drawn_from_the_posteriors_of_the_showers() -> None:
    features = make_features(5000)
    sampler = encoded_latent(make_encoder(0.1), features, 4, seed=1)
    moved = sampler.codes - features.shower.numpy()[:, :2]
    # six standard deviations of 5000 numbers
    assert moved.std() == pytest.approx(0.1, abs=6 * 0.1 / np.sqrt(2 * 10_000))
    np.testing.assert_array_equal(sampler.conditions, features.condition)
    assert sampler.dim == 4
    np.testing.assert_array_equal(encoded_latent(make_encoder(0.1), features, 4, seed=1).codes, sampler.codes)


SMALL = replace(
    bib_ae.CONFIGS["laptop"][0],
    code_dim=3,
    noise_dim=2,
    encoder_filters=(2, 3),
    encoder_units=(8,),
    decoder_units=(8,),
    grown_filters=(2, 2, 3, 2),
    decoder_filters=(2,),
    critic_filters=(2, 3),
    critic_units=(5,),
    post_processing=False,
    critic_steps=1,
    epochs=1,
    latent_sampler="posterior",
)


def test_a_run_keeps_its_sampler(tmp_path: Path) -> None:
    showers = make_showers(TINY_VOLUME, 32)
    run = fit(bib_ae, SMALL, TINY_VOLUME, showers, tmp_path)
    assert isinstance(run.latent, EncodedLatent)
    loaded, energies = load_run(tmp_path), np.geomspace(2e3, 2e5, 7)
    assert isinstance(loaded.latent, EncodedLatent)
    made = generate(run, energies, 3).energies
    np.testing.assert_array_equal(generate(loaded, energies, 3).energies, made)
    prior = replace(run, latent=bib_ae.build_latent(SMALL))
    assert (generate(prior, energies, 3).energies != made).any()
    again = fit(bib_ae, SMALL, TINY_VOLUME, showers, tmp_path)
    np.testing.assert_array_equal(again.latent.arrays["codes"], run.latent.arrays["codes"])
    (tmp_path / "latent.npz").write_bytes(b"PK")
    with pytest.raises(DataFormatError, match="must hold a fitted latent space"):
        load_run(tmp_path)


def test_any_autoencoders_run_can_have_one(tmp_path: Path, tiny_showers: Showers) -> None:
    config = atlas_vae.AtlasVaeConfig(encoder_units=(8,), decoder_units=(8,), epochs=1, batch_size=20)
    run = fit(atlas_vae, config, tiny_showers.geometry, tiny_showers, tmp_path)
    features = resident(tiny_showers, run.transform)
    fitted = replace(run, latent=encoded_latent(run.networks["encoder"], features, run.latent.dim, config.seed))
    save_run(tmp_path / "fitted", fitted)
    energies = np.unique(tiny_showers.incident_energies)
    made = generate(fitted, energies, 1).energies
    np.testing.assert_array_equal(generate(load_run(tmp_path / "fitted"), energies, 1).energies, made)
    assert (generate(run, energies, 1).energies != made).any()


def test_a_sampler_of_another_model_is_refused(tmp_path: Path, tiny_showers: Showers) -> None:
    config = atlas_vae.AtlasVaeConfig(encoder_units=(8,), decoder_units=(8,), epochs=1, batch_size=20)
    run = fit(atlas_vae, config, tiny_showers.geometry, tiny_showers, tmp_path)
    other = EncodedLatent(np.ones((4, 2), np.float32), np.ones((4, 1), np.float32), dim=2)
    save_run(tmp_path, replace(run, latent=other))
    with pytest.raises(DataFormatError, match=r"latent.npz must have sizes .*\(5, 1\). Received: \(2, 1\)"):
        load_run(tmp_path)
