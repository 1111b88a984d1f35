"""What no way can beat: reading the weights once, and a large matrix product's rate."""

from collections.abc import Callable

import numpy as np
from serve import median_seconds, read_layers, serve, settings

GIVEN = settings()
SGEMM_SIZE = 2000
READING = -1  # in place of a number of showers


def make(network: str, showers: int) -> Callable[[], object]:
    """The fastest way to read a network's weights; for showers 2 * 2000^3 operations."""
    if showers != READING:
        matrix = np.random.default_rng(0).random((SGEMM_SIZE, SGEMM_SIZE), np.float32)
        product = np.empty_like(matrix)
        return lambda: np.dot(matrix, matrix, out=product)
    layers, _ = read_layers(GIVEN.folder, network)
    numbers = np.concatenate([array.ravel() for kernel, bias, _ in layers for array in (kernel, bias)])
    rows = numbers[: len(numbers) // 400 * 400].reshape(-1, 400)
    columns, vector = np.ascontiguousarray(rows.T), np.ones(400, np.float32)
    ways = (
        lambda: np.dot(numbers, numbers),
        lambda: np.dot(rows, vector),
        lambda: np.dot(vector, columns),
        numbers.max,
    )
    return min(ways, key=lambda way: median_seconds(way, 0.1))


if __name__ == "__main__":
    serve(make, [(network, showers) for network, showers in GIVEN.tasks])
