import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import TINY_VOXELS
from training.toy_wgan import BATCH_SIZE, SHOWERS, SMALL, adam, batch, data_of, fold

from calogen.models import fastcalogan
from calogen.training.constrained_wgan import ConstrainedWganGp, Constrainer
from calogen.training.discrepancies import Discrepancy, SortedKernel
from calogen.training.latent import Latent
from calogen.training.state import write_state
from calogen.training.train import Keeper, stages_of, train
from calogen.training.trainer import Curriculum, Draws
from calogen.training.wgan_gp import Critic, Generator, WganGp

KERNEL = SortedKernel(window=4, stride=2, reach=6, alpha=200.0)
SEED = tf.constant([3, 4])
RATE = 0.01


def make_constrainer() -> keras.Model:
    shower = keras.Input((10,), name="shower")
    kernel = keras.initializers.RandomNormal(stddev=0.5, seed=4)
    return keras.Model({"shower": shower}, keras.layers.Dense(1, kernel_initializer=kernel)(shower), name="constrainer")


def make_trainer(weight: float = 0.3, discrepancy: float = 0.0, iterations: int = 2) -> ConstrainedWganGp:
    networks = fastcalogan.build(SMALL, TINY_VOXELS)
    networks["generator"].layers[-2].bias.assign([0.1] * 10)  # no cell is empty for ever
    generator = Generator(network=networks["generator"], optimizer=adam(), latent=Latent(dim=2, distribution="uniform"))
    critic = Critic(network=networks["critic"], optimizer=adam(), gradient_penalty_weight=10.0)
    constrainer = Constrainer(
        network=make_constrainer(), optimizer=keras.optimizers.SGD(RATE), loss_weight=weight, iterations=iterations
    )
    term = Discrepancy(KERNEL, discrepancy)
    return ConstrainedWganGp(generator, [critic], constrainer, term, critic_steps=2, seed=5)


def test_the_constrainer_follows_the_mean_absolute_error_of_geant4() -> None:
    trainer, real = make_trainer(), batch()
    constrainer = trainer.networks[-1]
    kernel, bias = (values.astype(np.float64) for values in constrainer.get_weights())
    shower, energy = real["shower"].numpy().astype(np.float64), real["condition"].numpy()[:, :1]
    errors = shower @ kernel + bias - energy
    assert float(trainer.constrainer_step(real)) == pytest.approx(np.abs(errors).mean(), rel=1e-5)
    after = constrainer.get_weights()
    np.testing.assert_allclose(after[0] - kernel, -RATE * shower.T @ np.sign(errors) / BATCH_SIZE, atol=1e-6)
    np.testing.assert_allclose(after[1] - bias, -RATE * np.sign(errors).mean(axis=0), atol=1e-6)


def test_the_generator_has_the_constrainers_term_and_the_discrepancy() -> None:
    trainer, real = make_trainer(weight=0.3, discrepancy=5.0), batch()
    fake = trainer.generate(real["condition"], SEED)
    kernel, bias = trainer.networks[-1].get_weights()
    energy = real["condition"].numpy()[:, :1]
    squares = [(values.numpy() @ kernel + bias - energy) ** 2 for values in (fake, real["shower"])]
    expected = 0.3 * np.abs(squares[0] - squares[1]).mean() + 5.0 * float(KERNEL(fake, real["shower"]))
    assert float(trainer.further_loss(fake, real)) == pytest.approx(expected, rel=1e-5)


def test_without_weights_it_is_a_wgan() -> None:
    """A constrainer that does not count changes neither generator nor critic."""
    ours = make_trainer(weight=0.0)
    networks = fastcalogan.build(SMALL, TINY_VOXELS)
    networks["generator"].layers[-2].bias.assign([0.1] * 10)
    latent = Latent(dim=2, distribution="uniform")
    critic = Critic(network=networks["critic"], optimizer=adam(), gradient_penalty_weight=10.0)
    plain = WganGp(
        Generator(network=networks["generator"], optimizer=adam(), latent=latent), [critic], critic_steps=2, seed=5
    )
    terms, others = (trainer.iterate(batch, trainer.step_seed()) for trainer in (ours, plain))
    assert {name: float(terms[name]) for name in others} == {name: float(value) for name, value in others.items()}
    for one, other in zip(ours.variables_of_networks, plain.variables_of_networks, strict=False):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_an_iteration_is_its_steps() -> None:
    whole, parts = make_trainer(discrepancy=1.0), make_trainer(discrepancy=1.0)
    seed = whole.step_seed()
    terms = whole.iterate(batch, seed)
    steps = [parts.critic_step(batch(step), fold(seed, step)) for step in (0, 1)]
    loss = parts.generator_step(batch(1), fold(seed, 2))
    for one, other in zip(whole.variables_of_networks, parts.variables_of_networks, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    means = [float(sum(values)) / 2 for values in zip(*steps, strict=True)]
    assert list(terms) == ["critic_loss", "gradient_penalty", "constrainer_loss", "generator_loss"]
    assert [float(value) for value in terms.values()] == pytest.approx([*means, float(loss)])


def test_the_constrainer_stays_as_it_is_afterwards() -> None:
    trainer = make_trainer(iterations=2)
    schedule = Draws(iterations=2, batch_size=8, seed=1, curriculum=Curriculum(order=np.arange(len(SHOWERS))))
    train(stages_of(trainer, schedule), data_of(), None)
    before = [network.get_weights() for network in trainer.networks]
    more = Draws(iterations=3, batch_size=8, seed=2, curriculum=Curriculum(order=np.arange(len(SHOWERS))))
    train(stages_of(trainer, more), data_of(), None)
    changed = [
        any((one != other).any() for one, other in zip(network.get_weights(), old, strict=True))
        for network, old in zip(trainer.networks, before, strict=True)
    ]
    assert changed == [True, True, False]


def test_the_constrainer_learns_the_energy_and_training_resumes_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = Draws(
        iterations=6, batch_size=8, seed=1, curriculum=Curriculum(order=np.arange(len(SHOWERS))), interval=2
    )
    whole = make_trainer(iterations=4)
    history = train(stages_of(whole, schedule), data_of(), None).history
    assert history[1]["constrainer_loss"] < history[0]["constrainer_loss"]

    def stop(*given: object) -> None:
        write_state(*given)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    keeper = Keeper(directory=tmp_path, identity="me")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("calogen.training.train.write_state", stop)
        train(stages_of(make_trainer(iterations=4), schedule), data_of(), None, keeper)
    again = make_trainer(iterations=4)
    train(stages_of(again, schedule), data_of(), None, keeper)
    for ours, theirs in zip(again.variables_of_networks, whole.variables_of_networks, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_showers_are_made_like_geant4s() -> None:
    trainer, real = make_trainer(), batch()
    np.testing.assert_array_equal(trainer.generate_like(real, SEED), trainer.generate(real["condition"], SEED))


def test_a_constrainer_learns_alike_on_two_devices(tmp_path: Path) -> None:
    worker, path = Path(__file__).with_name("mirrored_constrainer.py"), tmp_path / "weights.npz"
    done = subprocess.run([sys.executable, worker, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with np.load(path) as found:
        first, second = found["after"]
        np.testing.assert_array_equal(first, second)
        assert (first != found["before"]).any()
