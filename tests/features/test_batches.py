from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import TINY_VOXELS

from calogen.errors import ConfigError
from calogen.features.batches import ShowerFile, dataset, permutation, resident, split
from calogen.features.conditions import LogEnergy
from calogen.features.transforms import Chain, LayerFractions
from calogen.showers.sample import Showers


@pytest.fixture
def chain(tiny_showers: Showers) -> Chain:
    sizes = tuple(layer.size for layer in tiny_showers.geometry.layers)
    return Chain((LayerFractions(sizes),), (LogEnergy(),)).fit(tiny_showers)


@pytest.fixture
def shower_file(tiny_showers: Showers, tmp_path: Path) -> ShowerFile:
    """400 showers in 9 blocks, three of them in memory at a time."""
    tiny_showers.write(tmp_path / "showers.h5")
    return ShowerFile(tmp_path / "showers.h5", tiny_showers.geometry, rows_per_block=48, blocks_per_pool=3)


def rows_of(batches: list[dict[str, np.ndarray]]) -> np.ndarray:
    return np.concatenate([np.concatenate([batch["shower"], batch["condition"]], axis=1) for batch in batches])


def in_order(rows: np.ndarray) -> np.ndarray:
    return rows[np.lexsort(rows.T)]


def test_split_is_seeded_and_complete(tiny_showers: Showers) -> None:
    training, validation = split(tiny_showers, 0.1, seed=3)
    assert (len(training), len(validation)) == (360, 40)
    both = np.concatenate([training.energies, validation.energies])
    np.testing.assert_array_equal(in_order(both), in_order(tiny_showers.energies))
    np.testing.assert_array_equal(split(tiny_showers, 0.1, seed=3)[1].energies, validation.energies)
    assert (split(tiny_showers, 0.1, seed=4)[1].incident_energies != validation.incident_energies).any()


@pytest.mark.parametrize("fraction", [0.0, 1.0, 1e-6])
def test_split_refuses_an_empty_side(tiny_showers: Showers, fraction: float) -> None:
    with pytest.raises(ConfigError, match="both sides"):
        split(tiny_showers, fraction, seed=0)


def test_dataset_and_resident_give_the_same_batches(tiny_showers: Showers, chain: Chain) -> None:
    batches = list(dataset(tiny_showers, chain, 64, seed=7, epochs=2).as_numpy_iterator())
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


def test_validation_keeps_order_and_every_shower(tiny_showers: Showers, chain: Chain, shower_file: ShowerFile) -> None:
    for source in (tiny_showers, shower_file):
        batches = list(dataset(source, chain, 64, shuffle=False).as_numpy_iterator())
        assert [len(batch["shower"]) for batch in batches] == [64] * 6 + [16]
        np.testing.assert_array_equal(rows_of(batches)[:, :-1], chain.forward(tiny_showers))


def test_a_streamed_file_gives_every_shower_once(tiny_showers: Showers, chain: Chain, shower_file: ShowerFile) -> None:
    first = rows_of(list(dataset(shower_file, chain, 40, seed=1).as_numpy_iterator()))
    np.testing.assert_array_equal(in_order(first[:, :-1]), in_order(chain.forward(tiny_showers)))
    again, other = (rows_of(list(dataset(shower_file, chain, 40, seed=seed).as_numpy_iterator())) for seed in (1, 2))
    np.testing.assert_array_equal(again, first)
    assert (other != first).any()
    # blocks from all over the file meet in one batch
    position = {row.tobytes(): index for index, row in enumerate(chain.forward(tiny_showers))}
    assert np.ptp([position[np.ascontiguousarray(row).tobytes()] for row in first[:40, :-1]]) > 48


def test_a_streamed_file_may_be_narrowed_by_a_window(tiny_showers: Showers, shower_file: ShowerFile) -> None:
    half = ShowerFile(shower_file.path, shower_file.geometry, select=doubled)
    chain = Chain((), (LogEnergy(),)).fit(tiny_showers)
    batch = next(dataset(half, chain, 8, shuffle=False).as_numpy_iterator())
    np.testing.assert_array_equal(batch["shower"], 2 * tiny_showers.energies[:8])


def doubled(showers: Showers) -> Showers:
    return Showers(showers.geometry, showers.incident_energies, 2 * showers.energies)


def test_a_batch_must_be_filled(tiny_showers: Showers, chain: Chain) -> None:
    with pytest.raises(ConfigError, match=r"batch_size must be 1\.\.400"):
        dataset(tiny_showers, chain, 401)


def test_plain_fit_and_a_distribution_strategy_take_the_dataset(tiny_showers: Showers, chain: Chain) -> None:
    def pairs(batch: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        return batch["shower"], batch["condition"]

    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        model = keras.Sequential([keras.Input((16,)), keras.layers.Dense(1)])
        model.compile("adam", "mse")
    training = dataset(tiny_showers, chain, 50, seed=1, epochs=None).map(pairs)
    validation = dataset(tiny_showers, chain, 50, shuffle=False).map(pairs)
    history = model.fit(
        training, steps_per_epoch=8, epochs=3, validation_data=validation, verbose=0, shuffle=False
    ).history
    assert history["loss"][-1] < history["loss"][0]
    assert len(history["val_loss"]) == 3


def test_a_file_without_labels_has_no_showers(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "null.h5", "w") as file:
        file["incident_energies"] = h5py.Empty("f8")
    assert len(ShowerFile(tmp_path / "null.h5", TINY_VOXELS)) == 0
