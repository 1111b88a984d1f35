"""Simplified calorimeters as data: materials, thicknesses and cells.

The frame is ATLAS's: x is the distance from the beam line at azimuth 0, z runs along the beam. Layers are flat slabs
across x; cells and voxels are projective (they follow eta and phi as seen from the origin).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from calogen.errors import ConfigError
from calogen.showers.cells import ATLAS_BARREL_STORED, CellGrid
from calogen.showers.voxels import PHOTONS_DATASET1, PIONS_DATASET1, VoxelGeometry


@dataclass(frozen=True)
class Slab:
    """A sheet of material with a `thickness` in mm; deposits count only in `active` slabs."""

    material: str
    thickness: float
    active: bool = False


@dataclass(frozen=True)
class Section:
    """A periodic stack of slabs.

    Args:
        start: x of its inner face, mm.
        period: the slabs of one period, from the inside out.
        num_periods: number of periods.
        layer_id: id of the calorimeter layer; None: passive material, whose deposits do not count.
        scale: factor from deposited to calibrated energy (1 / sampling fraction).
    """

    name: str
    start: float
    period: tuple[Slab, ...]
    num_periods: int = 1
    layer_id: int | None = None
    scale: float = 1.0

    @property
    def period_thickness(self) -> float:
        """Thickness of one period, mm."""
        return sum(slab.thickness for slab in self.period)

    @property
    def end(self) -> float:
        """Position x of the outer face, mm."""
        return self.start + self.num_periods * self.period_thickness

    @property
    def centre(self) -> float:
        """Position x of the middle, mm: the layer's radius R_l."""
        return (self.start + self.end) / 2


@dataclass(frozen=True)
class Detector:
    """A slice of a calorimeter.

    Args:
        sections: sections from the inside out, without overlap.
        surface: position x at which particles start, mm.
        eta_range: range of the particles' pseudorapidity.
        cells: grid of stored cells around the impact cell.
        voxels: geometries of voxels to which the hits are converted as well.
        half_width: half the extent of every slab across x, mm.
        time_cut: time after which deposits are lost, ns; None: all count.
        birks: constant k of Birks' law in the liquid argon and the scintillator, mm/MeV; 0: no saturation.
    """

    name: str
    sections: tuple[Section, ...]
    surface: float
    eta_range: tuple[float, float]
    cells: CellGrid
    voxels: tuple[VoxelGeometry, ...]
    half_width: float = 2000.0
    time_cut: float | None = None
    birks: float = 0.0

    def __post_init__(self) -> None:
        edges = [self.surface, *(edge for section in self.sections for edge in (section.start, section.end))]
        if edges != sorted(edges):
            raise ConfigError(f"sections of {self.name} must follow one another from the surface on. Received: {edges}")

    @property
    def active_sections(self) -> tuple[Section, ...]:
        """The sections with a layer id, from the inside out."""
        return tuple(section for section in self.sections if section.layer_id is not None)

    @property
    def radii(self) -> dict[int, float]:
        """Radius R_l of each layer, by id, mm."""
        return {section.layer_id: section.centre for section in self.sections if section.layer_id is not None}


# Radiation length of aluminium, mm, and materials by their names in Geant4's NIST table.
ALUMINIUM_X0 = 88.97
ALUMINIUM, ARGON, LEAD, STEEL, SCINTILLATOR = "G4_Al", "G4_lAr", "G4_Pb", "G4_STAINLESS-STEEL", "G4_POLYSTYRENE"

# Lead 1.53 mm with 0.2 mm steel on either side and 4.2 mm argon (two gaps of 2.1 mm), 0.326 X0. The period begins and
# ends inside the lead, so that no argon touches the border of a layer.
_ACCORDION = (Slab(LEAD, 0.765), Slab(STEEL, 0.2), Slab(ARGON, 4.2, True), Slab(STEEL, 0.2), Slab(LEAD, 0.765))
# Steel to scintillator 4.7 : 1; the tiles of ATLAS stand along the particles, here they lie across.
_TILE = (Slab(STEEL, 7.05), Slab(SCINTILLATOR, 3.0, True), Slab(STEEL, 7.05))

# Sampling fraction of the accordion for 65 GeV photons, one number for the three layers, measured by
# `pytest -s -m slow tests/simulation/test_geant4.py`, which prints it.
ACCORDION_SAMPLING_FRACTION = 0.2053
# With this factor the presampler gets its published 0.7 % of a 65 GeV photon's energy (ATL-SOFT-PUB-2018-001, Fig. 11);
# it stands for the energy that is lost in the material in front of it.
PRESAMPLER_SCALE = 18.0
# Scintillator's share of the energy that photons leave in the tile layers.
TILE_SAMPLING_FRACTION = 0.031


def _passive(name: str, end: float, radiation_lengths: float) -> Section:
    """An aluminium plate that ends at x = `end`, mm."""
    thickness = radiation_lengths * ALUMINIUM_X0
    return Section(name, end - thickness, (Slab(ALUMINIUM, thickness),))


_PRESAMPLER_START, _FRONT_START, _TILE_START = 1417.0, 1500.0, 2280.0
_ACCORDION_LAYERS = {1: ("front", 13), 2: ("middle", 49), 3: ("back", 6)}
# 1.5, 4.1 and 1.8 interaction lengths of about 195 mm each.
_TILE_LAYERS = {12: ("tile12", 17), 13: ("tile13", 47), 14: ("tile14", 21)}


def _layers(
    start: float, period: tuple[Slab, ...], fraction: float, layers: Mapping[int, tuple[str, int]]
) -> Iterator[Section]:
    """Sections one behind the other, from names and numbers of periods, by layer id."""
    for layer_id, (name, num_periods) in layers.items():
        section = Section(name, start, period, num_periods, layer_id, 1 / fraction)
        yield section
        start = section.end


ATLAS_BARREL = Detector(
    name="atlas-barrel",
    sections=(
        _passive("upstream", _PRESAMPLER_START - 2.0, 1.4),
        Section("presampler", _PRESAMPLER_START, (Slab(ARGON, 11.0, True),), 1, 0, PRESAMPLER_SCALE),
        _passive("gap", _FRONT_START - 5.0, 0.6),
        *_layers(_FRONT_START, _ACCORDION, ACCORDION_SAMPLING_FRACTION, _ACCORDION_LAYERS),
        *_layers(_TILE_START, _TILE, TILE_SAMPLING_FRACTION, _TILE_LAYERS),
    ),
    surface=1148.0,
    eta_range=(0.20, 0.25),
    cells=ATLAS_BARREL_STORED,
    voxels=(PHOTONS_DATASET1, PIONS_DATASET1),
)
"""An ATLAS-like barrel slice, 0.20 < |eta| < 0.25: presampler, accordion 4.2 + 16.0 + 2.0 X0, three tile layers.

Assumed, not from the papers: 1.4 X0 of aluminium in front of the presampler and 0.6 X0 behind it (the papers say that
photons start behind cryostat and solenoid, but the published layer shares cannot be had without about 2 X0), flat
layers instead of accordion folds, tiles across the particles, nothing between the back layer and the tiles.
"""

ATLAS_BARREL_BARE = replace(
    ATLAS_BARREL,
    name="atlas-barrel-bare",
    sections=tuple(
        replace(section, scale=1.0) if section.name == "presampler" else section
        for section in ATLAS_BARREL.sections
        if section.name not in ("upstream", "gap")
    ),
)
"""The same slice without material in front of the presampler and of the accordion.

The presampler's scale stands for that material and is 1 here: the deposited energy itself is counted.
"""

DETECTORS = {detector.name: detector for detector in (ATLAS_BARREL, ATLAS_BARREL_BARE)}


def detector(name: str) -> Detector:
    """A detector by its name; a `ConfigError` if there is none of this name."""
    if name not in DETECTORS:
        raise ConfigError(f"detector must be one of {', '.join(DETECTORS)}. Received: {name}")
    return DETECTORS[name]
