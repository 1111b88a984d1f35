from pathlib import Path

import keras
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from calogen.training.callbacks import ProgressReport, ScalarLog, Snapshots


def test_scalars_can_be_read_by_tensorboard(tmp_path: Path) -> None:
    log = ScalarLog(tmp_path)
    log.on_epoch_end(0, {"loss": 2.0, "val_loss": 3.0})
    log.on_epoch_end(1, {"loss": 1.0, "val_loss": 2.5})
    log.on_train_end()
    events = EventAccumulator(str(tmp_path), size_guidance={"tensors": 0}).Reload()
    assert set(events.Tags()["tensors"]) == {"training/loss", "validation/loss"}
    found = [(event.step, float(tf.make_ndarray(event.tensor_proto))) for event in events.Tensors("validation/loss")]
    assert found == [(0, 3.0), (1, 2.5)]


def test_snapshots_are_whole_networks(tmp_path: Path) -> None:
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    snapshots = Snapshots(network, tmp_path, {1, 3})
    for epoch in range(4):
        snapshots.on_epoch_end(epoch, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-0001.keras", "epoch-0003.keras"]
    assert keras.saving.load_model(tmp_path / "epoch-0003.keras").count_params() == 3


def test_progress_shows_the_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr("calogen.progress.Progress.note", lambda _, text: shown.append(text))
    report = ProgressReport(2)
    report.on_train_begin()
    report.on_epoch_end(0, {"loss": 0.25, "kl": 1.0, "val_loss": 0.5})
    report.on_train_end()
    assert shown == ["loss 0.25, val_loss 0.5"]
