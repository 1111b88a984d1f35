"""The log of a training for TensorBoard."""

from pathlib import Path

import pytest
import tensorflow as tf
from disks import largest_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from calogen.training.callbacks import ScalarLog


def test_scalars_can_be_read_by_tensorboard(tmp_path: Path) -> None:
    log = ScalarLog(tmp_path)
    log.on_epoch_end(0, {"loss": 2.0, "val_loss": 3.0})
    log.on_epoch_end(1, {"loss": 1.0, "val_loss": 2.5})
    log.on_train_end()
    events = EventAccumulator(str(tmp_path), size_guidance={"tensors": 0}).Reload()
    assert set(events.Tags()["tensors"]) == {"training/loss", "validation/loss"}
    found = [(event.step, float(tf.make_ndarray(event.tensor_proto))) for event in events.Tensors("validation/loss")]
    assert found == [(0, 3.0), (1, 2.5)]


def test_a_log_that_cannot_be_written_ends_and_the_training_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = ScalarLog(tmp_path)
    with largest_file(1000):
        for epoch in range(100):
            log.on_epoch_end(epoch, {f"loss {number}": 1.0 for number in range(30)})
        log.on_train_end()
    assert capsys.readouterr().err.count("TensorBoard's log ends here, the training goes on: ") == 1
    (tmp_path / "file").touch()
    ScalarLog(tmp_path / "file").on_epoch_end(0, {"loss": 1.0})
    assert "TensorBoard's log ends here" in capsys.readouterr().err
