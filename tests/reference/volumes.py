"""Slow twins of `training.volumes`: convolutions and layer normalisation of one shower, cell by cell."""

from itertools import product

import numpy as np


def convolve(volume: np.ndarray, kernel: np.ndarray, strides: tuple[int, int, int], padding: int) -> np.ndarray:
    """Convolution of `[l, x, z, c]` with a kernel `[i, j, k, c, d]`, with zeros around the volume."""
    padded = np.pad(volume, [(padding, padding)] * 3 + [(0, 0)])
    sizes = [(size - own) // step + 1 for size, own, step in zip(padded.shape, kernel.shape, strides, strict=False)]
    result = np.zeros((*sizes, kernel.shape[-1]))
    for place in product(*map(range, sizes)):
        for offset in product(*map(range, kernel.shape[:3])):
            seen = padded[tuple(at * step + more for at, step, more in zip(place, strides, offset, strict=True))]
            for number in range(kernel.shape[-1]):
                result[place][number] += sum(seen * kernel[offset][:, number])
    return result


def spread_out(volume: np.ndarray, kernel: np.ndarray, strides: int, before: int) -> np.ndarray:
    """Transposed convolution of `[l, x, z, c]`, `strides` times as long, with a kernel `[i, j, k, d, c]`.

    `before` cells are cut off at the front of each axis.
    """
    result = np.zeros((*(size * strides for size in volume.shape[:3]), kernel.shape[3]))
    for place in product(*map(range, volume.shape[:3])):
        for offset in product(*map(range, kernel.shape[:3])):
            target = tuple(at * strides + more - before for at, more in zip(place, offset, strict=True))
            if all(0 <= at < size for at, size in zip(target, result.shape, strict=False)):
                for number in range(kernel.shape[3]):
                    result[target][number] += sum(volume[place] * kernel[offset][number])
    return result


def normalised(volume: np.ndarray, scale: np.ndarray, offset: np.ndarray, epsilon: float) -> np.ndarray:
    """Layer normalisation of `[l, x, z, c]` over its cells, channel by channel, with a scale for each cell."""
    result = np.empty_like(volume)
    for channel in range(volume.shape[-1]):
        values = volume[..., channel]
        mean = sum(values.ravel()) / values.size
        variance = sum((values.ravel() - mean) ** 2) / values.size
        result[..., channel] = (values - mean) / np.sqrt(variance + epsilon) * scale + offset
    return result
