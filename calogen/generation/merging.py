"""Showers of several runs in one order, without all of them in memory."""

from collections.abc import Iterator, Mapping

import numpy as np


def in_order(
    which: np.ndarray, makers: Mapping[int, Iterator[np.ndarray]], size: int
) -> Iterator[tuple[slice, np.ndarray]]:
    """Rows and energies of one shower after the other, from batches of several runs.

    Args:
        which: the run of each shower, `[n]`.
        makers: by run, batches `[<= size, v]` of its own showers, in order; each is made when a shower of it is due.
        size: of what is handed on, but for the last.
    """
    left: dict[int, np.ndarray] = {}  # of each run's latest batch

    def piece(due: np.ndarray) -> np.ndarray:
        found = np.empty((0, 0), np.float32)
        for position in np.unique(due).tolist():
            rows = np.flatnonzero(due == position)
            while len(rows):
                batch = left.pop(position) if position in left else next(makers[position])
                if len(batch) == len(due) == len(rows):
                    return batch  # as it is: of one run, all are
                found = found if len(found) else np.empty((len(due), batch.shape[1]), np.float32)
                here, rows = rows[: len(batch)], rows[len(batch) :]
                found[here] = batch[: len(here)]
                if len(here) < len(batch):
                    left[position] = batch[len(here) :]
        return found

    for start in range(0, len(which), size):
        rows = slice(start, min(start + size, len(which)))
        yield rows, piece(which[rows])
