from dataclasses import replace

import pytest

from calogen.errors import ConfigError
from calogen.simulation.detectors import (
    ALUMINIUM,
    ALUMINIUM_X0,
    ARGON,
    ATLAS_BARREL,
    ATLAS_BARREL_BARE,
    LEAD,
    STEEL,
    detector,
)

X0 = {LEAD: 5.612, STEEL: 17.35, ARGON: 140.0, ALUMINIUM: ALUMINIUM_X0}  # mm
NUCLEAR = {"G4_STAINLESS-STEEL": 166.0, "G4_POLYSTYRENE": 771.0}  # interaction lengths, mm


def thickness(name: str, lengths: dict[str, float]) -> float:
    section = next(section for section in ATLAS_BARREL.sections if section.name == name)
    return section.num_periods * sum(slab.thickness / lengths[slab.material] for slab in section.period)


@pytest.mark.parametrize(
    ("name", "expected", "tolerance"),
    [("upstream", 1.4, 1e-9), ("gap", 0.6, 1e-9), ("front", 4.3, 0.1), ("middle", 16.0, 0.3), ("back", 2.0, 0.1)],
)
def test_radiation_lengths(name: str, expected: float, tolerance: float) -> None:
    assert thickness(name, X0) == pytest.approx(expected, abs=tolerance)


def test_the_calorimeter_is_deeper_than_22_radiation_lengths() -> None:
    assert sum(thickness(name, X0) for name in ("front", "middle", "back")) > 22


@pytest.mark.parametrize(("name", "expected"), [("tile12", 1.5), ("tile13", 4.1), ("tile14", 1.8)])
def test_tile_interaction_lengths(name: str, expected: float) -> None:
    assert thickness(name, NUCLEAR) == pytest.approx(expected, rel=0.06)


def test_cell_grid_agrees_with_the_stack() -> None:
    front_face = next(section.start for section in ATLAS_BARREL.sections if section.layer_id == 0)
    for layer in ATLAS_BARREL.cells.layers:
        assert layer.radius == pytest.approx(ATLAS_BARREL.radii[layer.id])
        assert layer.depth == pytest.approx(ATLAS_BARREL.radii[layer.id] - front_face)


def test_every_voxel_layer_exists() -> None:
    for geometry in ATLAS_BARREL.voxels:
        assert set(geometry.layer_ids) <= set(ATLAS_BARREL.radii)


def test_the_bare_detector_lacks_the_material_only() -> None:
    removed = {section.name for section in ATLAS_BARREL.sections} - {s.name for s in ATLAS_BARREL_BARE.sections}
    assert removed == {"upstream", "gap"}
    presampler, *rest = ATLAS_BARREL_BARE.active_sections
    assert presampler == replace(ATLAS_BARREL.active_sections[0], scale=1.0)
    assert tuple(rest) == ATLAS_BARREL.active_sections[1:]


def test_sections_must_not_overlap() -> None:
    with pytest.raises(ConfigError, match="follow one another"):
        replace(ATLAS_BARREL, sections=ATLAS_BARREL.sections[::-1])


def test_unknown_detector_is_refused() -> None:
    with pytest.raises(ConfigError, match="atlas-barrel, atlas-barrel-bare"):
        detector("cms")
