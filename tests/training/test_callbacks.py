from pathlib import Path

import tensorflow as tf
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
