"""What trainings of classifiers leave in files: results, and samples for workers."""

from collections.abc import Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np

from calogen.errors import CalogenError, DataFormatError
from calogen.files import atomic_path, read_json_table, write_json


class KeptTrainings:
    """Results of trainings by their number: AUC, JSD and best epoch.

    Args:
        path: file that keeps each of them at once, for all keys; None: none is kept.
        key: text of what the trainings depend on.
    """

    def __init__(self, path: Path | None, key: str) -> None:
        self._path, self.key = path, key
        known = _read_trainings(path).get(key, [])
        self.results = {number: result for number, result in enumerate(known) if result is not None}

    def put(self, number: int, result: tuple[float, float, int]) -> None:
        """Keeps a result."""
        self.results[number] = result
        if self._path is not None:
            every = _read_trainings(self._path)
            every[self.key] = [self.results.get(place) for place in range(max(self.results) + 1)]
            write_json(self._path, every)


def _read_trainings(path: Path | None) -> dict[str, list[tuple[float, float, int] | None]]:
    """AUC, JSD and best epoch of each training in a file, by key; None: not trained yet."""
    if path is None or not path.exists():
        return {}
    try:
        return {
            key: [None if row is None else _result(*row) for row in rows] for key, rows in read_json_table(path).items()
        }
    except (DataFormatError, AttributeError, TypeError, ValueError, OverflowError) as error:
        raise CalogenError(
            f"{path} must hold the results of classifiers' trainings; delete it to train them anew. "
            f"Received: {error!r:.200}"
        ) from error


def _result(auc: float, jsd: float, best_epoch: int) -> tuple[float, float, int]:
    return _finite(auc), _finite(jsd), int(best_epoch)


def _finite(number: float) -> float:
    if not np.isfinite(number):
        raise ValueError(f"{number} is not finite")
    return float(number)


def stored_sample(trainings: Path, key: str, number: int) -> Path:
    """File of one of the two samples that workers compare."""
    return trainings.with_suffix("") / f"{key}-{number}.npy"


def forget_samples(paths: Sequence[Path]) -> None:
    """Removes stored samples, and their folder with the last."""
    for path in paths:
        path.unlink(missing_ok=True)
        with suppress(OSError):  # there is none, or it holds samples of other classifiers
            path.parent.rmdir()


def store_sample(path: Path, sample: np.ndarray) -> Path:
    """Writes a sample for workers."""
    if not path.exists():
        with atomic_path(path) as temporary:
            content = BytesIO()  # into a file, NumPy would write without telling why it cannot
            np.save(content, sample, allow_pickle=False)
            temporary.write_bytes(content.getbuffer())
    return path.absolute()
