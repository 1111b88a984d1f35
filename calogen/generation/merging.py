"""Merging of the showers of several runs, without holding all of them in memory."""

from collections.abc import Iterator, Mapping

import numpy as np


def in_order(
    which: np.ndarray, batches: Mapping[int, Iterator[np.ndarray]], size: int
) -> Iterator[tuple[slice, np.ndarray]]:
    """Rows and energies of all showers in order, merged from the batches of several runs.

    Args:
        which: position of the run of each shower, `[n]`.
        batches: for each run the batches `[<= size, v]` of its showers, in order; they are taken when they are needed.
        size: number of showers in each piece but the last.
    """
    left: dict[int, np.ndarray] = {}  # the unused showers of each run's latest batch

    def piece(runs: np.ndarray) -> np.ndarray:
        energies = np.empty((0, 0), np.float32)
        for position in np.unique(runs).tolist():
            rows = np.flatnonzero(runs == position)
            while len(rows):
                batch = left.pop(position) if position in left else next(batches[position])
                if len(batch) == len(runs) == len(rows):
                    return batch  # the piece is this batch: no copy is needed
                energies = energies if len(energies) else np.empty((len(runs), batch.shape[1]), np.float32)
                filled, rows = rows[: len(batch)], rows[len(batch) :]
                energies[filled] = batch[: len(filled)]
                if len(filled) < len(batch):
                    left[position] = batch[len(filled) :]
        return energies

    for start in range(0, len(which), size):
        rows = slice(start, min(start + size, len(which)))
        yield rows, piece(which[rows])
