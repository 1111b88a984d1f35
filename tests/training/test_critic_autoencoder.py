from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from reference import discrepancies as slow

from calogen.features.batches import Resident
from calogen.training.critic import taped_gradient
from calogen.training.critic_autoencoder import Autoencoder, CodeTerms, CriticAutoencoder, build_latent_critic
from calogen.training.layers import Initializers
from calogen.training.state import write_state
from calogen.training.train import Keeper, stages_of, train
from calogen.training.trainer import Epochs, fold_seed
from calogen.training.wgan_gp import Critic

RANDOM = np.random.default_rng(1)
DATA = Resident(
    tf.constant(RANDOM.exponential(1.0, (40, 6)), tf.float32), tf.constant(RANDOM.uniform(1, 2, (40, 1)), tf.float32)
)
ALPHAS = (1.0, 0.01)


def dense(inputs: dict[str, int], name: str, **outputs: int) -> keras.Model:
    """A network with one hidden layer."""
    initializers = Initializers(1, name, "glorot_normal")
    given = {key: keras.Input((size,), name=key) for key, size in inputs.items()}
    hidden = keras.layers.Concatenate()(list(given.values()))
    hidden = keras.layers.Dense(8, "tanh", kernel_initializer=initializers())(hidden)
    results = {
        key: keras.layers.Dense(size, kernel_initializer=initializers())(hidden) for key, size in outputs.items()
    }
    return keras.Model(given, results if len(results) > 1 else next(iter(results.values())), name=name)


def make_trainer(
    *, critic_steps: int = 2, rate: float = 1e-2, weights: tuple[float, float] = (1.0, 10.0), with_noise: bool = False
) -> CriticAutoencoder:
    encoder = dense({"shower": 6, "condition": 1}, "encoder", mean=2, log_variance=2)
    decoder = dense({"latent": 5, "condition": 1}, "decoder", shower=6)
    critic = dense({"shower": 6, "original": 6, "condition": 1}, "critic", score=1)
    latent_critic = build_latent_critic((5, 4), 0.01, Initializers(1, "latent_critic", "glorot_normal"))
    critics = [
        Critic(network=network, optimizer=keras.optimizers.SGD(rate), gradient_penalty_weight=10.0, loss_weight=weight)
        for network, weight in zip((critic, latent_critic), weights, strict=True)
    ]
    autoencoder = Autoencoder(encoder, decoder, keras.optimizers.SGD(rate))
    code = CodeTerms(0.05, 100.0, ALPHAS, with_noise)
    return CriticAutoencoder(autoencoder, code, critics, critic_steps=critic_steps, seed=5)


def normal(seed: tf.Tensor, *shape: int) -> np.ndarray:
    return tf.random.stateless_normal(shape, seed).numpy()


@pytest.mark.parametrize("with_noise", [False, True])
def test_the_terms_are_those_of_the_equations(with_noise: bool) -> None:
    """Divergence, discrepancy and scores of one batch, from the networks' outputs in NumPy."""
    trainer, batch = make_trainer(rate=1e-30, with_noise=with_noise), DATA.batch(np.arange(4))
    encoder, decoder, critic, latent_critic = trainer.networks
    seed = trainer.step_seed()
    moments = encoder(batch)
    mean, log_variance = (moments[name].numpy().astype(np.float64) for name in ("mean", "log_variance"))
    noise = normal(fold_seed(seed, 0), 4, 5)
    code = mean + np.exp(log_variance / 2) * noise[:, :2]
    latent = np.concatenate([code, noise[:, 2:]], axis=1).astype(np.float32)
    shower = decoder({"latent": tf.constant(latent), "condition": batch["condition"]})
    points = latent if with_noise else code
    prior = normal(fold_seed(seed, 1), *points.shape)
    discrepancy = sum(slow.mean_discrepancy(points.tolist(), prior.tolist(), alpha) for alpha in ALPHAS)
    kl = np.mean(-0.5 * np.sum(1 + log_variance - mean**2 - np.exp(log_variance), axis=1))
    beside = {"original": batch["shower"], "condition": batch["condition"]}
    scores = [critic({"shower": values, **beside}).numpy().mean() for values in (batch["shower"], shower)]
    of_code = latent_critic({"shower": tf.constant(code.reshape(-1, 1), tf.float32)}).numpy().mean()
    terms = {name: float(value) for name, value in trainer.step(lambda number: batch).items()}
    assert terms["kl"] == pytest.approx(kl, rel=1e-4)
    assert terms["discrepancy"] == pytest.approx(discrepancy, rel=1e-3)
    assert terms["loss"] == pytest.approx(0.05 * kl + 100 * discrepancy - scores[1] - 10 * of_code, rel=1e-3)
    assert terms["critic_loss"] == pytest.approx(scores[1] - scores[0], rel=1e-3, abs=1e-5)
    assert set(terms) == set(trainer.term_names)


def test_the_critics_penalties_are_of_the_decoded_shower_and_of_single_numbers() -> None:
    trainer, batch = make_trainer(rate=1e-30, critic_steps=1), DATA.batch(np.arange(4))
    seed = trainer.step_seed()
    decoded = trainer.reconstruct(batch, fold_seed(seed, 0))
    own = fold_seed(seed, 2)
    fraction = tf.random.stateless_uniform((4, 1), fold_seed(own, 1)).numpy()
    between = tf.constant(decoded.numpy() + fraction * (batch["shower"].numpy() - decoded.numpy()))
    given = {"original": batch["shower"], "condition": batch["condition"]}
    gradient = taped_gradient(trainer.networks[2], between, **given).numpy()
    penalty = np.mean((np.sqrt((gradient**2).sum(axis=1)) - 1) ** 2)
    moments, noise = trainer.networks[0](batch), normal(fold_seed(seed, 0), 4, 5)
    code = (moments["mean"] + tf.exp(moments["log_variance"] / 2) * noise[:, :2]).numpy().reshape(-1, 1)
    prior = normal(fold_seed(own, 0), 8, 1)
    fraction = tf.random.stateless_uniform((8, 1), fold_seed(own, 2)).numpy()
    gradient = taped_gradient(trainer.networks[3], tf.constant(code + fraction * (prior - code))).numpy()
    penalty += np.mean((np.abs(gradient) - 1) ** 2)
    terms = trainer.step(lambda number: batch)
    assert float(terms["gradient_penalty"]) == pytest.approx(penalty, rel=1e-4)
    scores = [trainer.networks[3]({"shower": tf.constant(values)}).numpy().mean() for values in (code, prior)]
    assert float(terms["latent_critic_loss"]) == pytest.approx(scores[0] - scores[1], rel=1e-3, abs=1e-6)


def test_the_autoencoder_follows_the_gradient_of_its_loss_behind_the_critics_steps() -> None:
    """The decoded showers are computed before, the scores after the steps of the critics."""
    whole, parts, batch = make_trainer(rate=1e-3), make_trainer(rate=1e-3), DATA.batch(np.arange(8))
    seed = whole.step_seed()
    whole.step(lambda number: batch)
    for mine, theirs in zip(parts.networks[2:], whole.networks[2:], strict=True):
        mine.set_weights(theirs.get_weights())
    variables = [variable for network in parts.networks[:2] for variable in network.trainable_variables]
    with tf.GradientTape() as tape:
        loss = parts._terms(batch, parts._decoded(batch, fold_seed(seed, 0)), fold_seed(seed, 1))["loss"]
    trained = [variable for network in whole.networks[:2] for variable in network.trainable_variables]
    for variable, gradient, after in zip(variables, tape.gradient(loss, variables), trained, strict=True):
        np.testing.assert_allclose(after.numpy(), variable.numpy() - 1e-3 * gradient.numpy(), atol=1e-6)


def test_keras_fit_takes_the_same_step() -> None:
    one, other, batch = make_trainer(), make_trainer(), DATA.batch(np.arange(8))
    other.step(lambda number: batch)
    one.fit(tf.data.Dataset.from_tensors(batch), verbose=0, shuffle=False)
    for ours, theirs in zip(one.variables_of_networks, other.variables_of_networks, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=1e-6)
    np.testing.assert_array_equal(one(batch), one.reconstruct(batch, one.step_seed()))


def test_showers_come_back_although_no_distance_is_learned() -> None:
    trainer = make_trainer(critic_steps=5)
    for network, rate in zip(trainer.optimizers, (2e-3, 2e-3, 2e-3), strict=True):
        network.learning_rate = rate
    batch = DATA.batch(np.arange(40))

    def distance() -> float:
        return float(tf.reduce_mean(tf.abs(trainer.reconstruct(batch, tf.constant([1, 2])) - batch["shower"])))

    before = distance()
    train(stages_of(trainer, Epochs(epochs=150, batch_size=10, seed=1, keep="last")), DATA, None)
    assert distance() < 0.8 * before


def test_a_stopped_training_goes_on_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = Epochs(epochs=3, batch_size=10, seed=1, keep="last")
    whole = make_trainer(rate=1e-3)
    train(stages_of(whole, schedule), DATA, None)

    def stop(*given: object) -> None:
        write_state(*given)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    keeper = Keeper(directory=tmp_path, identity="me", seconds=0.0)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("calogen.training.train.write_state", stop)
        train(stages_of(make_trainer(rate=1e-3), schedule), DATA, None, keeper)
    again = make_trainer(rate=1e-3)
    train(stages_of(again, schedule), DATA, None, keeper)
    for ours, theirs in zip(again.variables_of_networks, whole.variables_of_networks, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_the_latent_critic_has_the_weights_of_the_paper() -> None:
    critic = build_latent_critic((50, 100, 50), 0.01, Initializers(1, "latent_critic", "glorot_normal"))
    assert critic.count_params() == 10_301
