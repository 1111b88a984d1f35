"""Mean, spread and number of features, all that builders need of the training showers."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from calogen.errors import DataFormatError

ROWS_PER_BLOCK = 4096
"""Showers summed together; equal blocks give features in memory and in files the same moments."""
_MOST_FEATURES = 640  # number of features up to which a block has its full number of rows


@dataclass(frozen=True)
class Moments:
    """Mean and standard deviation of every feature, and the number of showers.

    Args:
        mean, spread: `[f]`, float64.
    """

    mean: np.ndarray
    spread: np.ndarray
    num_showers: int

    def __len__(self) -> int:
        return len(self.mean)


def fitting_rows(num_rows: int, num_features: int) -> int:
    """Number of rows in a block, fewer for more than 640 features, to limit its memory.

    >>> fitting_rows(4096, 368), fitting_rows(4096, 30 * 30 * 30)
    (4096, 97)
    """
    return max(1, min(num_rows, num_rows * _MOST_FEATURES // num_features))


def moments(features: np.ndarray) -> Moments:
    """Moments of features `[n, f]`, in blocks of `ROWS_PER_BLOCK` (or `fitting_rows`)."""
    step = fitting_rows(ROWS_PER_BLOCK, features.shape[1])
    return moments_of_blocks(features[row : row + step] for row in range(0, len(features), step))


def moments_of_blocks(blocks: Iterable[np.ndarray]) -> Moments:
    """Moments of features that come block by block, `[b, f]` each, in float64.

    Each block's own mean is subtracted before its squares are summed, which avoids cancellation.

    Raises:
        DataFormatError: there is no block.

    Source: Chan, Golub, LeVeque, Algorithms for computing the sample variance (1983), equation (2.1).
    """
    number, mean, squares = 0, np.zeros(0), np.zeros(0)
    for block in blocks:
        values = block.astype(np.float64)
        own = values.mean(axis=0)
        deviations = np.square(values - own).sum(axis=0)
        if not number:
            number, mean, squares = len(values), own, deviations
            continue
        total, step = number + len(values), own - mean
        mean = mean + step * (len(values) / total)
        squares = squares + deviations + np.square(step) * (number * len(values) / total)
        number = total
    if not number:
        raise DataFormatError("moments need features of one shower at least. Received: none")
    return Moments(mean, np.sqrt(squares / number), number)
