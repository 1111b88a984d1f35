"""One single-precision matrix product, the machine's rate."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
from serve import serve


def make(settings: SimpleNamespace) -> Callable[[], object]:
    """A product of two square matrices."""
    matrix = np.random.default_rng(0).random((settings.sgemm_size, settings.sgemm_size), np.float32)
    return lambda: matrix @ matrix


if __name__ == "__main__":
    serve(make)
