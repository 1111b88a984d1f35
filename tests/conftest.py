"""Fixtures that several tests share: small geometries and showers that look like showers."""

import os
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.update(KERAS_BACKEND="tensorflow", KERAS_HOME=os.devnull)  # tests import Keras before calogen does

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from calogen.metrics.histograms import Histogram
from calogen.showers.cells import CellGrid, CellLayer
from calogen.showers.geometry import Geometry
from calogen.showers.grid import GridLayer, RegularGrid
from calogen.showers.sample import Showers
from calogen.showers.voxels import VoxelGeometry, VoxelLayer

# A busy machine is no fault.
settings.register_profile("calogen", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("calogen")

TINY_VOXELS = VoxelGeometry("tiny", (VoxelLayer(0, (0.0, 5.0, 10.0), 1), VoxelLayer(1, (0.0, 3.0, 9.0), 4)))
"""Two layers of 2 and 8 voxels."""
TINY_VOLUME = RegularGrid("tiny", tuple(GridLayer(number, 14, 14, 5.0, 10.0 * number) for number in range(1, 7)))
"""Six layers of 14 x 14 cells, of which 3-D networks can still normalise several at their deepest."""


def make_showers(geometry: Geometry, num_showers: int, seed: int = 0) -> Showers:
    """Photon-like showers: energies 2^10..2^18 MeV, a fluctuating sum, layer shares and cell shares, empty layers."""
    rng = np.random.default_rng(seed)
    incident = 2.0 ** rng.integers(10, 19, num_showers)
    shares = rng.dirichlet(np.linspace(1.0, 5.0, len(geometry.layers)), num_showers)
    shares[rng.random(num_showers) < 0.1, -1] = 0.0
    response = rng.normal(0.93, 0.3 / np.sqrt(incident / 1000), num_showers).clip(0.1, 1.3)
    blocks = [
        share[:, None] * rng.dirichlet(np.full(layer.size, 0.3), num_showers)
        for share, layer in zip(shares.T, geometry.layers, strict=True)
    ]
    energies = np.concatenate(blocks, axis=1) * (response * incident)[:, None]
    return Showers(geometry, incident, energies.astype(np.float32))


def counts_of(*histograms: Histogram) -> np.ndarray:
    """Counts of histograms with the same edges, as statistics take them."""
    return np.stack([item.counts for item in histograms])


def make_grid(*sizes: tuple[int, int]) -> CellGrid:
    """A grid of layers with the given numbers of cells in eta and phi."""
    layers = (
        CellLayer(i, f"layer {i}", num_eta, num_phi, 0.025, 0.0245, radius=1500.0 + 100 * i, depth=50.0 + 100 * i)
        for i, (num_eta, num_phi) in enumerate(sizes)
    )
    return CellGrid("tiny", tuple(layers))


@pytest.fixture
def tiny_grid() -> CellGrid:
    """Three layers of 2, 6 and 4 cells."""
    return make_grid((2, 1), (3, 2), (2, 2))


@pytest.fixture
def tiny_showers(tiny_grid: CellGrid) -> Showers:
    """400 showers in the tiny grid."""
    return make_showers(tiny_grid, 400)


Refused = Callable[[str, str], None]


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """(script, message) -> nothing: the script refuses `tmp_path / "wrong.h5"` with this message."""
    from toy_runs import refusal  # it imports this module

    return lambda script, message: refusal(script, tmp_path, message, monkeypatch, capsys)
