from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from calogen.errors import ConfigError
from calogen.features.batches import Mapped, dataset, mapped, permutation, resident, split
from calogen.features.conditions import LogEnergy
from calogen.features.transforms import Chain, KineticFractions, LayerFractions, Noise
from calogen.showers.files import ShowerFile
from calogen.showers.sample import Showers


@pytest.fixture
def chain(tiny_showers: Showers) -> Chain:
    sizes = tuple(layer.size for layer in tiny_showers.geometry.layers)
    return Chain((LayerFractions(sizes),), (LogEnergy(),)).fit(tiny_showers)


@pytest.fixture
def shower_file(tiny_showers: Showers, tmp_path: Path) -> Iterator[ShowerFile]:
    """400 showers, 48 in a block."""
    tiny_showers.write(tmp_path / "showers.h5")
    with ShowerFile(tmp_path / "showers.h5", tiny_showers.geometry, 48 * 8 * tiny_showers.geometry.size) as file:
        yield file


def rows_of(batches: list[dict[str, np.ndarray]]) -> np.ndarray:
    return np.concatenate([np.concatenate([batch["shower"], batch["condition"]], axis=1) for batch in batches])


def in_order(rows: np.ndarray) -> np.ndarray:
    return rows[np.lexsort(rows.T)]


def test_split_is_seeded_and_complete() -> None:
    training, validation = split(400, 0.1, seed=3)
    assert (len(training), len(validation)) == (360, 40)
    np.testing.assert_array_equal(np.sort(np.concatenate([training, validation])), np.arange(400))
    np.testing.assert_array_equal(split(400, 0.1, seed=3)[1], validation)
    assert (split(400, 0.1, seed=4)[1] != validation).any()


@pytest.mark.parametrize("fraction", [0.0, 1.0, 1e-6])
def test_split_refuses_an_empty_side(fraction: float) -> None:
    with pytest.raises(ConfigError, match="both sides"):
        split(400, fraction, seed=0)


def test_dataset_and_resident_give_the_same_batches(tiny_showers: Showers, chain: Chain) -> None:
    batches = list(dataset(resident(tiny_showers, chain), 64, seed=7, epochs=2).as_numpy_iterator())
    assert len(batches) == 2 * 6
    data = resident(tiny_showers, chain)
    for epoch in range(2):
        order = permutation(len(data), 7, epoch)
        for step in range(6):
            expected = data.batch(order[64 * step : 64 * (step + 1)])
            for name, value in batches[6 * epoch + step].items():
                np.testing.assert_array_equal(value, expected[name])
    assert (permutation(400, 7, 0) != permutation(400, 7, 1)).any()
    assert (permutation(400, 7, 0) != permutation(400, 8, 0)).any()


def test_validation_keeps_order_and_every_shower(
    tiny_showers: Showers, chain: Chain, shower_file: ShowerFile, tmp_path: Path
) -> None:
    for features in (resident(tiny_showers, chain), mapped(shower_file, chain, tmp_path / "features.f32")):
        batches = list(dataset(features, 64, shuffle=False).as_numpy_iterator())
        assert [len(batch["shower"]) for batch in batches] == [64] * 6 + [16]
        np.testing.assert_array_equal(rows_of(batches)[:, :-1], chain.forward(tiny_showers))


def test_features_are_the_same_from_memory_and_from_a_file(
    tiny_showers: Showers, shower_file: ShowerFile, tmp_path: Path
) -> None:
    """Of some rows, with noise, which is each row's own."""
    chain = Chain((Noise(0.5, seed=3), KineticFractions()), (LogEnergy(),)).fit(tiny_showers)
    rows = np.flatnonzero(np.random.default_rng(1).random(400) < 0.5)
    whole = chain.forward(tiny_showers[rows])
    for number, source in enumerate((tiny_showers, shower_file)):
        path = tmp_path / f"features-{number}.f32"
        found = resident(source, chain, rows), mapped(source, chain, path, rows)
        for features in found:
            np.testing.assert_array_equal(np.asarray(features.shower), whole)
            np.testing.assert_array_equal(np.asarray(features.condition), chain.condition(tiny_showers.given[rows]))
        assert path.stat().st_size == 4 * whole.size
        stamp = path.stat().st_mtime_ns
        mapped(source, chain, path, rows)
        assert path.stat().st_mtime_ns == stamp, "what is there is not computed anew"


def test_chunks_hold_the_steps_that_fit(tiny_showers: Showers, chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    features = Mapped(chain.forward(tiny_showers), chain.condition(tiny_showers.given))
    monkeypatch.setattr("calogen.features.batches._CHUNK_BYTES", 4 * 2 * 20 * features.shower.shape[1] * 3)
    rows = np.random.default_rng(2).permutation(400)[:280].reshape(7, 2, 20)
    chunks = list(features.chunks(rows))
    assert [len(chunk["shower"]) for chunk in chunks] == [3, 3, 1]
    np.testing.assert_array_equal(np.concatenate([chunk["shower"] for chunk in chunks]), features.shower[rows])
    batch = features.batch_of(chunks[1], 2, 1)
    np.testing.assert_array_equal(batch["condition"], features.condition[rows[5, 1]])


def test_a_batch_must_be_filled(tiny_showers: Showers, chain: Chain) -> None:
    with pytest.raises(ConfigError, match=r"batch_size must be 1\.\.400"):
        dataset(resident(tiny_showers, chain), 401)


def test_plain_fit_and_a_distribution_strategy_take_the_dataset(tiny_showers: Showers, chain: Chain) -> None:
    def pairs(batch: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        return batch["shower"], batch["condition"]

    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        model = keras.Sequential([keras.Input((16,)), keras.layers.Dense(1)])
        model.compile("adam", "mse")
    training = dataset(resident(tiny_showers, chain), 50, seed=1, epochs=None).map(pairs)
    validation = dataset(resident(tiny_showers, chain), 50, shuffle=False).map(pairs)
    history = model.fit(
        training, steps_per_epoch=8, epochs=3, validation_data=validation, verbose=0, shuffle=False
    ).history
    assert history["loss"][-1] < history["loss"][0]
    assert len(history["val_loss"]) == 3
