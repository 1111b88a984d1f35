import os
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import make_grid

from calogen.errors import CalogenError, ConfigError, DataFormatError
from calogen.features.batches import dataset, moments_of, on_disk, permutation, resident, split
from calogen.features.conditions import LogEnergy
from calogen.features.moments import moments
from calogen.features.transforms import Chain, KineticFractions, LayerFractions, Noise
from calogen.showers.conditions import Conditions
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
    for features in (resident(tiny_showers, chain), on_disk(shower_file, chain, tmp_path / "features.f32")):
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
        found = resident(source, chain, rows), on_disk(source, chain, path, rows)
        for features in found:
            assert len(features) == len(rows)
            batch = features.batch(np.arange(len(rows)))
            np.testing.assert_array_equal(batch["shower"], whole)
            np.testing.assert_array_equal(batch["condition"], chain.condition(tiny_showers.given[rows]))
            np.testing.assert_array_equal(moments_of(features).spread, moments(whole).spread)
        assert path.stat().st_size == 4 * whole.size
        stamp = path.stat().st_mtime_ns
        on_disk(source, chain, path, rows)
        assert path.stat().st_mtime_ns == stamp, "what is there is not computed anew"


def test_chunks_hold_the_steps_that_fit(
    tiny_showers: Showers, chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, whole = on_disk(tiny_showers, chain, tmp_path / "features.f32"), chain.forward(tiny_showers)
    monkeypatch.setattr("calogen.features.batches._CHUNK_BYTES", 4 * 2 * 20 * features.num_features * 3)
    rows = np.random.default_rng(2).integers(0, 400, (7, 2, 20))  # some are there twice
    chunks = list(features.chunks(rows))
    assert [len(chunk["shower"]) for chunk in chunks] == [3, 3, 1]
    np.testing.assert_array_equal(np.concatenate([chunk["shower"] for chunk in chunks]), whole[rows])
    batch = features.batch_of(chunks[1], 2, 1)
    np.testing.assert_array_equal(batch["condition"], features.condition[rows[5, 1]])


def test_a_file_that_becomes_too_short_or_goes_is_named(tiny_showers: Showers, chain: Chain, tmp_path: Path) -> None:
    path = tmp_path / "features.f32"
    features = on_disk(tiny_showers, chain, path)
    size = path.stat().st_size
    os.truncate(path, size - 1)
    with pytest.raises(DataFormatError, match=rf"400 showers, {size} bytes.*Received: {size - 1} bytes \(start again"):
        features.batch(np.array([399, 0]))
    on_disk(tiny_showers, chain, path)
    assert path.stat().st_size == size, "it is computed anew"
    path.unlink()
    with pytest.raises(DataFormatError, match=r"cannot read .*features\.f32: No such file"):
        features.batch(np.array([0]))


def test_a_disk_that_fills_up_is_named(tiny_showers: Showers, chain: Chain, tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(CalogenError, match=r"cannot write .*features\.f32: File too large; raise the limit"):
            on_disk(tiny_showers, chain, tmp_path / "features.f32")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


class Repeated:
    """The same 4096 showers of 1024 cells 16 times; notes the process's memory before each time."""

    def __init__(self) -> None:
        self.geometry = make_grid((32, 32))
        ones = np.ones((4096, 1024), np.float32)
        self.block, self.memory = Showers(self.geometry, np.linspace(1e3, 1e4, 4096), ones), list[int]()
        self.given = Conditions(np.tile(self.block.incident_energies, 16))

    def __len__(self) -> int:
        return len(self.given)

    def blocks(self) -> Iterator[tuple[slice, Showers]]:
        for first in range(0, len(self), 4096):
            self.memory.append(resident_bytes())
            yield slice(first, first + 4096), self.block


def resident_bytes() -> int:
    """Memory of this process, pages of files that are mapped into it included."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux tells a process's memory so")
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Of 268 MB, written, read in order and read at random: all of it would be resident with a memory map."""
    source, chain = Repeated(), Chain((KineticFractions(),), (LogEnergy(),))
    features = on_disk(source, chain.fit(source.given), tmp_path / "features.f32")
    memory = source.memory[1:]  # the first block brings the buffers
    assert (tmp_path / "features.f32").stat().st_size == 2**28
    moments_of(features)
    memory.append(resident_bytes())
    for _ in features.chunks(permutation(len(features), 1, 0).reshape(-1, 1, 1024)):
        memory.append(resident_bytes())
    assert len(memory) == 15 + 1 + 16
    assert max(memory) - memory[0] < 2**27, "bytes, half of the file"


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
