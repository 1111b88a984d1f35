from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from reference import discrepancies as slow
from reference import volumes

from calogen.features.batches import Batch, Resident
from calogen.training.discrepancies import Discrepancy, SortedKernel
from calogen.training.layers import Initializers
from calogen.training.post_processing import PostProcessing, build_post_processor
from calogen.training.state import write_state
from calogen.training.train import Keeper, stages_of, train
from calogen.training.trainer import Epochs

SHAPE, SIZE = (2, 3, 4), 24
RANDOM = np.random.default_rng(1)
KERNEL = SortedKernel(window=4, stride=2, reach=10, alpha=5.0)
DATA = Resident(
    tf.constant(RANDOM.exponential(0.5, (40, SIZE)), tf.float32), tf.constant(RANDOM.uniform(1, 9, (40, 2)), tf.float32)
)


def make_network(filters: int = 6, shape: tuple[int, int, int] = SHAPE) -> keras.Model:
    return build_post_processor(shape, 2, filters, 0.01, Initializers(3, "post", "random_normal", stddev=0.5))


def smeared(batch: Batch, seed: tf.Tensor) -> tf.Tensor:
    """Geant4's showers with noise."""
    return tf.nn.relu(batch["shower"] + 0.3 * tf.random.stateless_normal(tf.shape(batch["shower"]), seed))


def make_trainer(network: keras.Model, weight: float, optimizer: keras.optimizers.Optimizer | None = None) -> object:
    return PostProcessing(
        network, optimizer or keras.optimizers.Adam(1e-2), smeared, Discrepancy(KERNEL, weight), seed=7
    )


def leaky(values: np.ndarray) -> np.ndarray:
    return np.where(values > 0, values, 0.01 * values)


def test_the_network_equals_a_concatenation_and_convolutions() -> None:
    """The slow twin repeats total energy and condition for every cell, as the figure shows it."""
    network = make_network()
    for layer in network.layers:  # scales and offsets of the normalisation, too
        layer.set_weights([values + RANDOM.normal(size=values.shape) / 5 for values in layer.get_weights()])
    dense = [layer for layer in network.layers if isinstance(layer, keras.layers.Dense)]
    norms = [layer for layer in network.layers if isinstance(layer, keras.layers.LayerNormalization)]
    by_size = {tuple(layer.kernel.shape): layer for layer in dense}
    told_layers = [layer for layer in dense if layer.kernel.shape[1] == 3]
    everywhere = by_size[(3, 6)]
    wide = [layer for layer in dense if layer.kernel.shape == (6, 6)]
    inputs = {"shower": DATA.shower[:2].numpy(), "condition": DATA.condition[:2].numpy()}
    for ours, shower, condition in zip(network(inputs).numpy(), *inputs.values(), strict=True):
        told = np.array([shower.sum(), *condition])
        for layer in told_layers:
            told = leaky(told @ layer.kernel.numpy() + layer.bias.numpy())

        def convolved(volume: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
            return volumes.convolve(volume, kernel[None, None, None], (1, 1, 1), 0) + bias

        def normalised(volume: np.ndarray, number: int) -> np.ndarray:
            return leaky(volumes.normalised(volume, *norms[number].get_weights(), 1e-5))

        hidden = normalised(convolved(shower.reshape(*SHAPE, 1), *by_size[(1, 6)].get_weights()), 0)
        hidden = np.concatenate([hidden, np.broadcast_to(told, (*SHAPE, 3))], axis=-1)
        kernel = np.concatenate([wide[0].kernel.numpy(), everywhere.kernel.numpy()])
        hidden = normalised(convolved(hidden, kernel, wide[0].bias.numpy()), 1)
        for number in (1, 2):
            hidden = normalised(convolved(hidden, *wide[number].get_weights()), number + 1)
        hidden = leaky(convolved(hidden, *wide[3].get_weights()))
        expected = convolved(hidden, by_size[(6, 1)].kernel.numpy(), np.zeros(1))
        np.testing.assert_allclose(ours, expected.ravel(), rtol=1e-3, atol=1e-3)


def test_it_has_the_weights_of_paper_and_code() -> None:
    network = build_post_processor((30, 30, 30), 1, 128, 0.01, Initializers(3, "post", "glorot_uniform"))
    assert network.count_params() == 299_136


def test_the_terms_are_change_and_discrepancy() -> None:
    network = make_network()
    trainer = make_trainer(network, 5.0)
    batch = DATA.batch(np.arange(3))
    shower = smeared(batch, trainer.step_seed())
    changed = network({"shower": shower, "condition": batch["condition"]}).numpy()
    terms = {name: float(value) for name, value in trainer.step(lambda number: batch).items()}
    change = np.mean((changed - shower) ** 2)
    pairs = zip(changed.tolist(), batch["shower"].numpy().tolist(), strict=True)
    discrepancy = np.mean([slow.sorted_kernel(*pair, (4, 2, 10), 5.0) for pair in pairs])
    assert terms == pytest.approx(
        {"loss": change + 5 * discrepancy, "change": change, "discrepancy": discrepancy}, rel=1e-4
    )


def test_without_weight_the_discrepancy_is_told_but_not_learned() -> None:
    networks = [make_network(), make_network()]
    batch = DATA.batch(np.arange(3))
    first = make_trainer(networks[0], 0.0, keras.optimizers.SGD(1e-3))
    terms = first.step(lambda number: batch)
    assert float(terms["loss"]) == float(terms["change"])
    assert float(terms["discrepancy"]) > 0
    shower = smeared(batch, tf.stack([tf.constant(7), tf.constant(0)]))
    with tf.GradientTape() as tape:
        changed = networks[1]({"shower": shower, "condition": batch["condition"]})
        loss = tf.reduce_mean(tf.square(changed - shower))
    variables = networks[1].trainable_variables
    for variable, gradient, after in zip(variables, tape.gradient(loss, variables), networks[0].weights, strict=True):
        np.testing.assert_allclose(after.numpy(), variable.numpy() - 1e-3 * gradient, atol=1e-6)


def stages(network: keras.Model) -> object:
    """An epoch in which nothing is to change, and two with the discrepancy, with one optimizer."""
    optimizer = keras.optimizers.Adam(1e-2)
    trainers = [make_trainer(network, weight, optimizer) for weight in (0.0, 5.0)]
    schedules = [Epochs(epochs=epochs, batch_size=10, seed=epochs, keep="last") for epochs in (1, 2)]
    return stages_of(trainers, schedules)


@pytest.mark.parametrize("after", [1, 2])
def test_a_stopped_training_goes_on_in_its_stage(after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, written = make_network(), []
    state = train(stages(whole), DATA, None)
    assert [row["stage"] for row in state.history] == [0, 1, 1]

    def stop(*given: object) -> None:
        write_state(*given)  # type: ignore[arg-type]
        written.append(given)
        if len(written) == after:
            raise KeyboardInterrupt

    keeper = Keeper(directory=tmp_path, identity="me", seconds=0.0)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("calogen.training.train.write_state", stop)
        train(stages(make_network()), DATA, None, keeper)
    again = make_network()
    train(stages(again), DATA, None, keeper)
    for ours, theirs in zip(again.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_it_learns_to_change_nothing_and_then_the_spectrum() -> None:
    network = make_network(16)
    optimizer = keras.optimizers.Adam(1e-2)
    trainers = [make_trainer(network, weight, optimizer) for weight in (0.0, 5.0)]
    schedules = [Epochs(epochs=60, batch_size=10, seed=1, keep="last") for _ in trainers]
    history = train(stages_of(trainers, schedules), DATA, None).history
    assert history[59]["change"] < 0.2 * history[0]["change"]
    before, after = (np.mean([row["discrepancy"] for row in rows]) for rows in (history[40:60], history[-20:]))
    assert after < 0.85 * before
