"""TensorBoard's log of a training, and networks in files."""

from pathlib import Path

from calogen.backend import keras, tf
from calogen.files import atomic_path


class ScalarLog(keras.callbacks.Callback):
    """Writes every number of every epoch as a TensorBoard scalar.

    A resumed training writes some scalars again, with equal values.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._writer = tf.summary.create_file_writer(str(directory))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Writes `training/loss`, `validation/loss` and so on."""
        with self._writer.as_default():
            for name, value in (logs or {}).items():
                part, quantity = ("validation", name[4:]) if name.startswith("val_") else ("training", name)
                tf.summary.scalar(f"{part}/{quantity}", value, step=epoch)

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Closes the log."""
        self._writer.close()


def save_network(network: keras.Model, path: Path) -> None:
    """Writes a `.keras` file whole or not at all."""
    with atomic_path(path) as temporary:
        network.save(temporary)
