"""TensorBoard's log of a training, and networks in files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any  # a class of TensorFlow that has no public name

from calogen.backend import keras, tf
from calogen.files import atomic_path
from calogen.process import tell


class ScalarLog(keras.callbacks.Callback):
    """Writes every number of every epoch as a TensorBoard scalar.

    A resumed training writes some scalars again, with equal values. Where the log cannot be written, as on a full disk,
    it ends with a warning, and the training goes on.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._writer: Any = None
        with self._or_end():
            self._writer = tf.summary.create_file_writer(str(directory))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Writes `training/loss`, `validation/loss` and so on."""
        if self._writer is None:
            return
        with self._or_end(), self._writer.as_default():
            for name, value in (logs or {}).items():
                part, quantity = ("validation", name[4:]) if name.startswith("val_") else ("training", name)
                tf.summary.scalar(f"{part}/{quantity}", value, step=epoch)

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Closes the log."""
        if self._writer is not None:
            with self._or_end():
                self._writer.close()

    @contextmanager
    def _or_end(self) -> Iterator[None]:
        """End the log if TensorFlow cannot write it."""
        try:
            yield
        except tf.errors.OpError as error:
            self._writer = None
            tell(f"TensorBoard's log ends here, the training goes on: {error.message.partition(chr(10))[0]:.200}")


def save_network(network: keras.Model, path: Path) -> None:
    """Writes a `.keras` file whole or not at all."""
    with atomic_path(path) as temporary:
        network.save(temporary)
