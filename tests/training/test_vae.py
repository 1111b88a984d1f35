from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from calogen.errors import CalogenError, ConfigError
from calogen.features.batches import dataset, resident
from calogen.features.moments import moments
from calogen.features.transforms import Chain
from calogen.models.atlas_vae import AtlasVaeConfig, build, build_trainer, build_transform
from calogen.showers.sample import Showers
from calogen.training.train import Keeper, stages_of, train
from calogen.training.trainer import Epochs
from calogen.training.vae import Vae

SMALL = AtlasVaeConfig(encoder_units=(24, 12), decoder_units=(12, 24), latent_dim=2, kl_weight=1e-2)


@pytest.fixture
def chain(tiny_showers: Showers) -> Chain:
    return build_transform(SMALL, tiny_showers.geometry).fit(tiny_showers)


def make_trainer(showers: Showers, chain: Chain, config: AtlasVaeConfig = SMALL) -> Vae:
    return build_trainer(config, showers.geometry, build(config, showers.geometry), moments(chain.forward(showers)))


def weights_of(trainer: Vae) -> np.ndarray:
    return np.concatenate([np.ravel(variable.numpy()) for variable in trainer.variables_of_networks])


def dense(x: np.ndarray, layer: keras.layers.Dense) -> np.ndarray:
    return x @ layer.kernel.numpy().astype(np.float64) + layer.bias.numpy()


def test_terms_equal_a_numpy_twin(tiny_showers: Showers, chain: Chain) -> None:
    trainer = make_trainer(tiny_showers, chain)
    batch = resident(tiny_showers, chain).batch(np.arange(50))
    seed = tf.constant([3, 4])
    terms = {name: float(value) for name, value in trainer.terms(batch, seed).items()}
    shower, condition = (np.asarray(batch[name], np.float64) for name in ("shower", "condition"))
    hidden = np.concatenate([shower, condition], axis=1)
    for layer in [layer for layer in trainer.encoder.layers if getattr(layer, "units", 0) > SMALL.latent_dim]:
        hidden = np.tanh(dense(hidden, layer))
    mean, log_variance = (dense(hidden, trainer.encoder.get_layer(name)) for name in ("mean", "log_variance"))
    noise = np.asarray(tf.random.stateless_normal((50, 2), seed), np.float64)
    hidden = np.concatenate([mean + np.exp(log_variance / 2) * noise, condition], axis=1)
    *layers, last = [x for x in trainer.decoder.layers if isinstance(x, keras.layers.Dense)]
    for layer in layers:
        hidden = np.tanh(dense(hidden, layer))
    decoded = 1 / (1 + np.exp(-dense(hidden, last)))
    weights = 1 / np.maximum(chain.forward(tiny_showers).astype(np.float64).std(axis=0), SMALL.spread_floor)
    reconstruction = np.mean(weights * (shower - decoded) ** 2)
    kl = np.mean(-0.5 * np.sum(1 + log_variance - mean**2 - np.exp(log_variance), axis=1))
    expected = {"loss": reconstruction + SMALL.kl_weight * kl, "reconstruction": reconstruction, "kl": kl}
    assert terms == pytest.approx(expected, rel=1e-4)


def test_compiled_epochs_take_the_steps_of_fit(tiny_showers: Showers, chain: Chain) -> None:
    compiled, fitted = make_trainer(tiny_showers, chain), make_trainer(tiny_showers, chain)
    state = train(
        stages_of(compiled, Epochs(epochs=2, batch_size=50, seed=9, keep="last")), resident(tiny_showers, chain), None
    )
    fitted.compile(keras.optimizers.Adam(SMALL.learning_rate), jit_compile=True)  # XLA has noise of its own
    batches = dataset(resident(tiny_showers, chain), 50, seed=9, epochs=None)
    history = fitted.fit(batches, steps_per_epoch=8, epochs=2, verbose=0, shuffle=False).history
    np.testing.assert_allclose(weights_of(compiled), weights_of(fitted), atol=2e-5)
    for name in ("loss", "reconstruction", "kl"):
        np.testing.assert_allclose([epoch[name] for epoch in state.history], history[name], rtol=1e-3)


def test_evaluate_averages_the_terms(tiny_showers: Showers, chain: Chain) -> None:
    trainer = make_trainer(tiny_showers, chain)
    values = trainer.evaluate(dataset(resident(tiny_showers, chain), 100, shuffle=False), verbose=0, return_dict=True)
    assert values["loss"] == pytest.approx(values["reconstruction"] + SMALL.kl_weight * values["kl"], rel=1e-5)


def test_training_lowers_the_loss_and_keeps_the_best_epoch(tiny_showers: Showers, chain: Chain) -> None:
    trainer = make_trainer(tiny_showers, chain)
    training, validation = resident(tiny_showers[:300], chain), resident(tiny_showers[300:], chain)
    state = train(stages_of(trainer, Epochs(epochs=8, batch_size=50, seed=1)), training, validation)
    assert state.epoch == len(state.history) == 8
    terms = {"loss", "reconstruction", "kl"}
    assert set(state.history[0]) == terms | {f"val_{name}" for name in terms} | {"seconds", "cpu_seconds"}
    assert state.history[-1]["loss"] < state.history[0]["loss"]
    assert state.best_epoch == np.argmin([epoch["val_loss"] for epoch in state.history])
    np.testing.assert_array_equal(weights_of(trainer), np.concatenate([np.ravel(w) for w in state.best_weights]))


def test_a_finished_training_only_restores_its_weights(tiny_showers: Showers, chain: Chain, tmp_path: Path) -> None:
    data, checkpoint = resident(tiny_showers, chain), Keeper(directory=tmp_path, identity="a", seconds=20.0)
    first, second = make_trainer(tiny_showers, chain), make_trainer(tiny_showers, chain)
    schedule = Epochs(epochs=2, batch_size=100, seed=1)
    state = train(stages_of(first, schedule), data, None, checkpoint)
    assert train(stages_of(second, schedule), data, None, checkpoint).history == state.history
    np.testing.assert_array_equal(weights_of(first), weights_of(second))


def test_a_loss_that_is_not_finite_stops_the_training(tiny_showers: Showers, chain: Chain) -> None:
    trainer = make_trainer(tiny_showers, chain)
    trainer.decoder.get_layer("shower").bias.assign(np.full(16, np.nan))
    with pytest.raises(CalogenError, match="must stay finite"):
        train(stages_of(trainer, Epochs(epochs=1, batch_size=50, seed=1)), resident(tiny_showers, chain), None)


def test_nonsense_is_refused(tiny_showers: Showers, chain: Chain) -> None:
    for arguments in ({"epochs": 0}, {"batch_size": 0}, {"keep": "middle"}):
        with pytest.raises(ConfigError):
            Epochs(**{"epochs": 1, "batch_size": 1, "seed": 1} | arguments)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="at most 400"):
        stages = stages_of(make_trainer(tiny_showers, chain), Epochs(epochs=1, batch_size=401, seed=1))
        train(stages, resident(tiny_showers, chain), None)
