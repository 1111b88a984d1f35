from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit

from calogen.errors import ConfigError
from calogen.features.batches import Resident
from calogen.training.gan import Gan
from calogen.training.latent import Latent
from calogen.training.state import write_state
from calogen.training.train import Keeper, stages_of, train
from calogen.training.trainer import Curriculum, Draws, fold_seed
from calogen.training.wgan_gp import Generator, draw

LATENT = Latent(dim=3, distribution="uniform")
RANDOM = np.random.default_rng(1)
DATA = Resident(
    tf.constant(RANDOM.normal(size=(40, 4)), tf.float32), tf.constant(RANDOM.normal(size=(40, 2)), tf.float32)
)
SEED = tf.constant([3, 4])


def linear(name: str, first: str, dim: int, outputs: int, *, sigmoid: bool = True) -> keras.Model:
    """A network whose outputs, or their logits, are linear in its two inputs."""
    inputs = {first: keras.Input((dim,), name=first), "condition": keras.Input((2,), name="condition")}
    kernel = keras.initializers.RandomNormal(stddev=0.5, seed=len(name))
    result = keras.layers.Dense(outputs, kernel_initializer=kernel)(keras.layers.Concatenate()(list(inputs.values())))
    if name == "discriminator" and sigmoid:
        result = keras.layers.Activation("sigmoid")(result)
    return keras.Model(inputs, result, name=name)


def make_gan(*, new_fakes: bool = True, rate: float = 0.1) -> Gan:
    optimizer, of_discriminator = keras.optimizers.SGD(rate), keras.optimizers.SGD(rate)
    generator = Generator(network=linear("generator", "latent", 3, 4), optimizer=optimizer, latent=LATENT)
    discriminator = linear("discriminator", "shower", 4, 1)
    return Gan(generator, discriminator, of_discriminator, seed=5, new_fakes=new_fakes)


def weights(network: keras.Model) -> tuple[np.ndarray, np.ndarray]:
    kernel, bias = (values.astype(np.float64) for values in network.get_weights())
    return kernel, bias


def test_a_step_of_the_discriminator_follows_the_gradient_of_the_cross_entropy() -> None:
    gan, real = make_gan(), DATA.batch(np.arange(8))
    points = draw(LATENT, 8, SEED).numpy()
    condition, shower = (real[name].numpy() for name in ("condition", "shower"))
    (a, b), (kernel, bias) = weights(gan.generator), weights(gan.discriminator)
    fake = np.hstack([points, condition]) @ a + b
    seen = [np.hstack([values, condition]) for values in (shower, fake)]
    probabilities = [expit(values @ kernel + bias) for values in seen]
    loss = gan.discriminator_step(real, SEED)
    expected = -np.log(probabilities[0]).mean() - np.log(1 - probabilities[1]).mean()
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    errors = probabilities[0] - 1, probabilities[1]
    gradient = sum(values.T @ error / 8 for values, error in zip(seen, errors, strict=True))
    after = weights(gan.discriminator)
    np.testing.assert_allclose(after[0] - kernel, -0.1 * gradient, atol=1e-6)
    np.testing.assert_allclose(after[1] - bias, -0.1 * (errors[0] + errors[1]).mean(axis=0), atol=1e-6)


def test_a_step_of_the_generator_makes_its_showers_more_probable() -> None:
    gan, condition = make_gan(), DATA.condition[:8]
    inputs = np.hstack([draw(LATENT, 8, SEED).numpy(), condition.numpy()])
    (a, b), (kernel, bias) = weights(gan.generator), weights(gan.discriminator)
    probability = expit(np.hstack([inputs @ a + b, condition.numpy()]) @ kernel + bias)
    loss = gan.generator_step(condition, SEED)
    assert float(loss) == pytest.approx(-np.log(probability).mean(), rel=1e-5)
    gradient = (probability - 1) @ kernel[:4].T / 8
    after = weights(gan.generator)
    np.testing.assert_allclose(after[0] - a, -0.1 * inputs.T @ gradient, atol=1e-6)
    np.testing.assert_allclose(after[1] - b, -0.1 * gradient.sum(axis=0), atol=1e-6)


@pytest.mark.parametrize("new_fakes", [True, False])
def test_an_iteration_is_its_two_steps(new_fakes: bool) -> None:
    whole, parts = make_gan(new_fakes=new_fakes), make_gan()
    batch = DATA.batch(np.arange(8))
    seed = whole.step_seed()
    terms = whole.step(lambda number: batch)
    losses = (
        parts.discriminator_step(batch, fold_seed(seed, 0)),
        parts.generator_step(batch["condition"], fold_seed(seed, 1 if new_fakes else 0)),
    )
    assert tuple(map(float, terms.values())) == tuple(map(float, losses))
    for ours, theirs in zip(whole.variables_of_networks, parts.variables_of_networks, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_keras_fit_takes_the_same_steps() -> None:
    one, other = make_gan(), make_gan()
    batch = DATA.batch(np.arange(8))
    other.step(lambda number: batch)
    one.fit(tf.data.Dataset.from_tensors(batch), verbose=0, shuffle=False)
    for ours, theirs in zip(one.variables_of_networks, other.variables_of_networks, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=1e-7)
    points = {"latent": np.zeros((2, 3), np.float32), "condition": np.ones((2, 2), np.float32)}
    np.testing.assert_array_equal(one(points), one.generator(points))


def test_the_generator_learns_a_mean() -> None:
    """Geant4's showers have a mean of 0, generated ones of 3 at the start."""
    gan = make_gan(rate=0.05)
    gan.generator.layers[-1].bias.assign([3.0] * 4)
    schedule = Draws(iterations=600, batch_size=20, seed=2, curriculum=Curriculum(order=np.arange(40)))
    train(stages_of(gan, schedule), DATA, None)
    made = gan.generator({"latent": draw(LATENT, 40, SEED), "condition": DATA.condition}).numpy()
    assert np.abs(made.mean(axis=0) - DATA.shower.numpy().mean(axis=0)).max() < 1.0


def test_a_stopped_training_goes_on_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = Draws(iterations=9, batch_size=8, seed=2, curriculum=Curriculum(order=np.arange(40)), interval=3)
    whole = make_gan()
    train(stages_of(whole, schedule), DATA, None)

    def stop(*given: object) -> None:
        write_state(*given)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    keeper = Keeper(directory=tmp_path, identity="me")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("calogen.training.train.write_state", stop)
        train(stages_of(make_gan(), schedule), DATA, None, keeper)
    again = make_gan()
    train(stages_of(again, schedule), DATA, None, keeper)
    for ours, theirs in zip(again.variables_of_networks, whole.variables_of_networks, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_a_discriminator_gives_probabilities() -> None:
    generator = Generator(
        network=linear("generator", "latent", 3, 4), optimizer=keras.optimizers.SGD(0.1), latent=LATENT
    )
    with pytest.raises(ConfigError, match="must end in Activation"):
        Gan(generator, linear("discriminator", "shower", 4, 1, sigmoid=False), keras.optimizers.SGD(0.1), seed=1)
