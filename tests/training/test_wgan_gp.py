from collections.abc import Callable, Sequence
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import TINY_VOXELS
from reference import gradient_penalty as slow
from scipy import stats
from training.toy_wgan import (
    BATCH_SIZE,
    DEEP,
    SEED,
    SMALL,
    batch,
    data_of,
    fold,
    iterate,
    make_trainer,
    sgd,
    weights_of,
)

from calogen.features.moments import moments
from calogen.models import caloshowergan, fastcalogan
from calogen.training.critic import taped_gradient
from calogen.training.latent import Latent
from calogen.training.wgan_gp import (
    TERMS,
    Critic,
    Generator,
    WganGp,
    draw,
)


def test_the_steps_equal_a_slow_twin_by_finite_differences() -> None:
    trainer, seed, rate, weight = make_trainer(optimizer=sgd), tf.constant([3, 4]), 0.1, 10.0
    (critic,) = trainer.networks[1:]
    real = {name: values.numpy() for name, values in batch().items()}
    points = tf.random.stateless_uniform((BATCH_SIZE, 2), fold(seed, 0), -1.0, 1.0).numpy()
    fractions = tf.random.stateless_uniform((BATCH_SIZE, 1), fold(seed, 1)).numpy()
    before = [network.get_weights() for network in (trainer.generator, critic)]
    fake = np.array([forward(before[0], [*z, *c], last=0.0) for z, c in zip(points, real["condition"], strict=True)])

    def terms(weights: Sequence[np.ndarray]) -> tuple[float, float, float]:
        return slow.critic_total(
            lambda inputs: forward(weights, inputs)[0], (real["shower"], fake, real["condition"]), fractions, weight
        )

    loss, penalty = trainer.critic_step(batch(), seed)
    assert (float(loss), float(penalty)) == pytest.approx(terms(before[1])[:2], rel=1e-4)
    assert_descended(critic, before[1], lambda weights: terms(weights)[2], rate)

    def negative_score(weights: Sequence[np.ndarray]) -> float:
        pairs = zip(points, real["condition"].tolist(), strict=True)
        showers = [(forward(weights, [*z, *c], last=0.0), c) for z, c in pairs]
        return -float(np.mean([forward(critic.get_weights(), [*shower, *c])[0] for shower, c in showers]))

    assert float(trainer.generator_step(batch(), fold(seed, 0))) == pytest.approx(negative_score(before[0]), rel=1e-4)
    assert_descended(trainer.generator, before[0], negative_score, rate)


def forward(weights: Sequence[np.ndarray], inputs: Sequence[float], last: float = 1.0) -> list[float]:
    """A dense network with ReLU for one vector; `last`: slope of the output below zero."""
    kernels, biases = weights[::2], weights[1::2]
    return slow.dense_forward(kernels, biases, [0.0] * (len(kernels) - 1) + [last], inputs)


def assert_descended(
    network: keras.Model, before: list[np.ndarray], function: Callable[[Sequence[np.ndarray]], float], rate: float
) -> None:
    """Every weight moved by minus rate x its finite difference."""
    largest = 0.0
    for number, (after, old) in enumerate(zip(network.get_weights(), before, strict=True)):
        expected = -rate * slow.finite_differences(
            lambda values, n=number: function([*before[:n], values, *before[n + 1 :]]), old, 1e-5
        )
        np.testing.assert_allclose(after - old, expected, atol=2e-6, rtol=1e-3)
        largest = max(largest, float(np.abs(expected).max()))
    assert largest > 1e-3


def test_an_iteration_is_its_steps_with_seeds_of_their_own() -> None:
    whole, parts = make_trainer(), make_trainer()
    seed = whole.step_seed()
    np.testing.assert_array_equal(seed, [SEED, 0])
    terms = whole.iterate(batch, seed)
    steps = [parts.critic_step(batch(step), fold(seed, step)) for step in (0, 1)]
    loss = parts.generator_step(batch(1), fold(seed, 2))
    np.testing.assert_array_equal(weights_of(whole), weights_of(parts))
    assert float(terms["critic_loss"]) == pytest.approx(np.mean([float(step[0]) for step in steps]))
    assert float(terms["gradient_penalty"]) == pytest.approx(np.mean([float(step[1]) for step in steps]))
    assert float(terms["generator_loss"]) == float(loss)
    np.testing.assert_array_equal(whole.step_seed(), [SEED, 1])


@pytest.mark.parametrize("critic_steps", [1, 3])
def test_critics_take_their_steps_for_one_of_the_generator(critic_steps: int) -> None:
    trainer = make_trainer(critic_steps=critic_steps)
    iterate(trainer, 2)
    generator, critic = (
        next(variable for variable in trainer.variables_of_optimizers[start:] if variable.name == "iteration")
        for start in (0, len(trainer.optimizer.variables))
    )
    assert (int(generator.numpy()), int(critic.numpy())) == (2, 2 * critic_steps)


def test_weights_are_a_function_of_the_seed() -> None:
    first, same, other = (make_trainer(seed=seed) for seed in (SEED, SEED, SEED + 1))
    losses = [iterate(trainer, 2) for trainer in (first, same, other)]
    assert losses[0] == losses[1]
    np.testing.assert_array_equal(weights_of(first), weights_of(same))
    assert (weights_of(first) != weights_of(other)).mean() > 0.3


def test_points_of_the_latent_space_follow_its_distribution() -> None:
    uniform, normal = Latent(dim=3, distribution="uniform", mean=2.0, spread=0.5), Latent(dim=3, mean=0.5, spread=0.25)
    for latent, expected in ((uniform, stats.uniform(1.5, 1.0)), (normal, stats.norm(0.5, 0.25))):
        points = draw(latent, tf.constant(5000), tf.constant([1, 2])).numpy()
        assert points.shape == (5000, 3)
        # by chance below 1e-6 for one of a million seeds
        assert stats.kstest(points.ravel().astype(np.float64), expected.cdf).pvalue > 1e-6


@pytest.mark.parametrize("kind", ["none", "reparametrised", "projected"])
def test_a_step_by_hand_equals_one_by_back_propagation(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(DEEP, spectral_normalization=kind, normalisation="kinetic", critic_slope=0.25)
    networks, others = caloshowergan.build(config, TINY_VOXELS), caloshowergan.build(config, TINY_VOXELS)
    for name, network in networks.items():  # the first vector of Keras' layer has no seed
        others[name].set_weights(network.get_weights())
    by_hand, taped = make_trainer(networks, optimizer=sgd), make_trainer(others, optimizer=sgd, by_hand=False)
    theirs = iterate(taped)
    monkeypatch.setattr("calogen.training.critic.taped_gradient", None)  # not needed
    assert iterate(by_hand) == pytest.approx(theirs, rel=1e-4)
    np.testing.assert_allclose(weights_of(by_hand), weights_of(taped), atol=1e-5)


def test_a_critic_that_is_no_chain_trains_by_back_propagation(monkeypatch: pytest.MonkeyPatch) -> None:
    networks = [fastcalogan.build(replace(SMALL, critic_activation="tanh"), TINY_VOXELS) for _ in range(2)]
    automatic, asked = make_trainer(networks[0]), make_trainer(networks[1], by_hand=False)
    calls: list[int] = []
    monkeypatch.setattr(
        "calogen.training.critic.taped_gradient",
        lambda *args, **given: calls.append(1) or taped_gradient(*args, **given),
    )
    assert iterate(automatic) == iterate(asked)
    assert len(calls) == 4, "two critic steps each"
    np.testing.assert_array_equal(weights_of(automatic), weights_of(asked))


def total_energy(shower: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(shower, axis=1, keepdims=True)


def make_total_critic() -> keras.Model:
    inputs = {"shower": keras.Input((1,), name="shower"), "condition": keras.Input((1,), name="condition")}
    hidden = keras.layers.Concatenate()([inputs["shower"], inputs["condition"]])
    for units, activation in ((4, "tanh"), (1, None)):
        initializer = keras.initializers.HeUniform(seed=units)
        hidden = keras.layers.Dense(units, activation, kernel_initializer=initializer)(hidden)
    return keras.Model(inputs, hidden, name="total_critic")


def make_critics() -> list[Critic]:
    """One that sees the shower, and one that sees its total energy and weighs half."""
    first, total = fastcalogan.build(SMALL, TINY_VOXELS)["critic"], make_total_critic()
    return [
        Critic(network=first, optimizer=sgd(), gradient_penalty_weight=10.0),
        Critic(network=total, optimizer=sgd(), gradient_penalty_weight=3.0, loss_weight=0.5, view=total_energy),
    ]


def test_several_critics_see_what_they_are_given_and_weigh_in_the_generator() -> None:
    latent = Latent(dim=2, distribution="uniform")

    def trainer_of(critics: Sequence[Critic]) -> WganGp:
        network = fastcalogan.build_generator(SMALL, TINY_VOXELS)
        return WganGp(Generator(network=network, optimizer=sgd(), latent=latent), critics, critic_steps=2, seed=SEED)

    both, alone = trainer_of(make_critics()), [trainer_of([critic]) for critic in make_critics()]
    untrained = [critic.network.get_weights() for critic in make_critics()]
    generator = fastcalogan.build_generator(SMALL, TINY_VOXELS)
    terms, parts = iterate(both), [iterate(trainer) for trainer in alone]
    for name in TERMS:
        assert terms[name] == pytest.approx(sum(part[name] for part in parts), rel=1e-5)
    for network, trainer, old in zip(both.networks[1:], alone, untrained, strict=True):
        same = trainer.networks[1].get_weights()
        for ours, theirs, before in zip(network.get_weights(), same, old, strict=True):
            np.testing.assert_array_equal(ours, theirs)
            assert (ours != before).any() or ours.shape == (1,), "all but the last bias, which shifts all scores alike"
    condition = batch(1)["condition"]
    points = draw(latent, BATCH_SIZE, fold(tf.constant([SEED, 0]), 2))
    seen = total_energy(generator({"latent": points, "condition": condition}))
    score = float(tf.reduce_mean(both.networks[2]({"shower": seen, "condition": condition})))
    assert abs(score) > 1e-3
    assert parts[1]["generator_loss"] == pytest.approx(-0.5 * score, rel=1e-5)


@pytest.mark.parametrize("batch_statistics", ["batch", "moving"])
def test_batch_normalisation_uses_the_statistics_asked_for(batch_statistics: str) -> None:
    settings = {"normalisation": "kinetic", "output_batch_normalization": True, "learning_rate": 1e-3}
    config = replace(DEEP, **settings, batch_statistics=batch_statistics)
    networks = caloshowergan.build(config, TINY_VOXELS)
    trainer = caloshowergan.build_trainer(config, TINY_VOXELS, networks, moments(data_of().shower.numpy()))
    moving = [variable for variable in networks["generator"].variables if "moving" in variable.name]
    learned = [variable for variable in networks["generator"].variables if variable.name in ("gamma", "beta")]
    before = {id(variable): variable.numpy() for variable in (*moving, *learned)}
    latent = draw(caloshowergan.build_latent(config), BATCH_SIZE, tf.constant([1, 1]))
    inputs = {"latent": latent, "condition": batch()["condition"]}
    in_training = networks["generator"](inputs, training=batch_statistics == "batch")
    loss = trainer.generator_step(batch(), tf.constant([1, 1]))
    score = networks["critic"]({"shower": in_training, "condition": inputs["condition"]})
    assert float(loss) == pytest.approx(-float(tf.reduce_mean(score)), rel=1e-5)
    iterate(trainer)
    assert len(moving) == len(learned) == 4
    assert all((variable.numpy() != before[id(variable)]).any() for variable in learned)
    for variable in moving:
        assert (variable.numpy() != before[id(variable)]).any() == (batch_statistics == "batch")
