"""Keras callbacks for compiled epochs and plain `fit`: TensorBoard, progress, snapshots."""

from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path

from calogen.backend import keras, tf
from calogen.files import atomic_path
from calogen.progress import Progress, progress


class ScalarLog(keras.callbacks.Callback):
    """Writes every number of every epoch as a TensorBoard scalar.

    A resumed training repeats some with equal values.

    Args:
        directory: TensorBoard's log directory.
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


class ProgressReport(keras.callbacks.Callback):
    """Shows finished epochs, the time left and the loss.

    Args:
        epochs: number of epochs still to come.
    """

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self._epochs = epochs
        self._stack = ExitStack()
        self._progress: Progress | None = None

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Opens the display."""
        self._progress = self._stack.enter_context(progress("training", self._epochs, "epochs"))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Counts the epoch."""
        if self._progress is not None and logs:
            self._progress.note(", ".join(f"{name} {logs[name]:.4g}" for name in ("loss", "val_loss") if name in logs))
            self._progress.advance()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Closes the display."""
        self._stack.close()


class Snapshots(keras.callbacks.Callback):
    """Saves one network after chosen epochs (`epoch-0100.keras`) to compare them by physics.

    Args:
        network: e.g. the decoder.
        directory: where to.
        epochs: numbers of finished epochs.
    """

    def __init__(self, network: keras.Model, directory: Path, epochs: Collection[int]) -> None:
        super().__init__()
        self._network, self._directory, self._epochs = network, directory, frozenset(epochs)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Saves the network if the epoch is one of those chosen."""
        if epoch + 1 in self._epochs:
            save_network(self._network, self._directory / f"epoch-{epoch + 1:04d}.keras")


def save_network(network: keras.Model, path: Path) -> None:
    """Writes a `.keras` file whole or not at all."""
    with atomic_path(path) as temporary:
        network.save(temporary)
