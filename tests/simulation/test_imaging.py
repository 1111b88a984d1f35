from dataclasses import replace

import numpy as np
import pytest

from calogen.errors import ConfigError
from calogen.simulation.imaging import AHCAL, ILD, ILD_ANGULAR, ILD_STAGGERED, IMAGING_DETECTORS, ImagingDetector

X0 = {"G4_W": 3.504, "G4_Si": 93.66, "G4_AIR": 3.04e5, "G4_STAINLESS-STEEL": 17.35, "G4_POLYSTYRENE": 413.0}  # mm


@pytest.mark.parametrize("detector", IMAGING_DETECTORS.values(), ids=lambda detector: detector.name)
def test_the_grid_lies_where_the_active_slabs_are(detector: ImagingDetector) -> None:
    face = 0.0
    for layer, slabs in zip(detector.grid.layers, detector.layers, strict=True):
        for slab in slabs:
            if slab.active:
                assert layer.depth == pytest.approx(face + slab.thickness / 2)
            face += slab.thickness
    assert face == pytest.approx(detector.thickness)


def test_ild_is_24_radiation_lengths_of_tungsten_and_silicon() -> None:
    depth = sum(slab.thickness / X0[slab.material] for layer in ILD.layers for slab in layer)
    assert depth == pytest.approx(20 * 2.1 / 3.504 + 10 * 4.2 / 3.504 + 15 / 93.66, abs=0.01)
    assert 23.9 < depth < 24.3
    assert ILD.grid.layers[-1].depth - ILD.grid.layers[0].depth == pytest.approx(199, abs=0.2)


def test_a_photon_at_40_degrees_leaves_through_the_back() -> None:
    """47 cells of drift, and the entry 6 cells from the edge: 7 cells are left."""
    depths = [layer.depth for layer in ILD_ANGULAR.grid.layers]
    drift = (depths[-1] - depths[0]) / np.tan(np.deg2rad(40.0)) / 5.0
    assert drift == pytest.approx(47.4, abs=0.1)
    assert 6 + depths[-1] / np.tan(np.deg2rad(40.0)) / 5.0 < 55
    assert ILD_ANGULAR.entry[0] == -24 * 5.0


def test_cells_are_staggered_by_less_than_half_a_cell() -> None:
    assert ILD_STAGGERED.offsets[0] == 0
    assert -2.5 <= min(ILD_STAGGERED.offsets) < -1 < 1 < max(ILD_STAGGERED.offsets) < 2.5 + 1e-9
    assert ILD_STAGGERED.grid == ILD.grid


def test_layers_must_fit_the_grid() -> None:
    for changes in ({"layers": ILD.layers[:-1]}, {"offsets": (1.0,)}):
        with pytest.raises(ConfigError, match="must have 30 layers"):
            replace(ILD, **changes)  # type: ignore[arg-type]
    passive = tuple(replace(slab, active=False) for slab in AHCAL.layers[0])
    with pytest.raises(ConfigError, match="one active slab"):
        replace(AHCAL, layers=(passive,) * 48)
