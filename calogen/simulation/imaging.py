"""Imaging calorimeters as data: stacks of slabs, with a regular grid of cells.

The frame is ILD's: y runs into the calorimeter, from its front face at 0; x and z are 0 in the middle of the grid. The
particle flies along y, or is inclined towards growing x.
"""

from dataclasses import dataclass, replace

from calogen.errors import ConfigError
from calogen.showers.grid import RegularGrid
from calogen.showers.grids import AHCAL_GRID, ILD_ANGULAR_GRID, ILD_GRID
from calogen.simulation.detectors import SCINTILLATOR, STEEL, Slab

TUNGSTEN, SILICON, AIR = "G4_W", "G4_Si", "G4_AIR"
PERPENDICULAR = (90.0, 90.0)


@dataclass(frozen=True)
class ImagingDetector:
    """An imaging calorimeter.

    Args:
        grid: the cells, in the active slabs.
        layers: slabs of each layer, from the front; one of them is active.
        entry: the point (x, z) of the front face at which particles are aimed, mm.
        angles: range of the angle between the particle and the layers, degrees; 90: perpendicular.
        offsets: shift of each layer's cells along x, mm.
        margin: by how much the slabs are larger than the grid on every side, mm.
        particle, physics: what is simulated by default.
    """

    name: str
    grid: RegularGrid
    layers: tuple[tuple[Slab, ...], ...]
    entry: tuple[float, float] = (0.0, 0.0)
    angles: tuple[float, float] = PERPENDICULAR
    offsets: tuple[float, ...] = ()
    margin: float = 100.0
    particle: str = "photon"
    physics: str = "em-datafree"

    def __post_init__(self) -> None:
        if len(self.layers) != len(self.grid.layers) or len(self.offsets) not in (0, len(self.layers)):
            raise ConfigError(
                f"{self.name} must have {len(self.grid.layers)} layers, and as many offsets or none. "
                f"Received: {len(self.layers)} and {len(self.offsets)}"
            )
        if any(sum(slab.active for slab in layer) != 1 for layer in self.layers):
            raise ConfigError(f"each layer of {self.name} must have one active slab. Received: {self.layers[:1]} ...")

    @property
    def thickness(self) -> float:
        """Thickness of all layers together, mm."""
        return sum(slab.thickness for layer in self.layers for slab in layer)


def _ild_layer(tungsten: float) -> tuple[Slab, ...]:
    return Slab(TUNGSTEN, tungsten), Slab(SILICON, 0.5, True), Slab(AIR, 3.54)


ILD = ImagingDetector("ild", ILD_GRID, (_ild_layer(2.1),) * 20 + (_ild_layer(4.2),) * 10)
"""An ILD-like electromagnetic calorimeter of silicon and tungsten, 24 radiation lengths deep.

The particle flies perpendicularly into the corner of the four central cells. Assumed: the thickness of the silicon, the
air gap (`grids.ILD_PITCHES`), flat layers without frames, nothing in front of the calorimeter.

Source: arXiv:2005.05334, section 2.
"""

ILD_STAGGERED = replace(
    ILD,
    name="ild-staggered",
    offsets=tuple(round((layer.depth - ILD_GRID.layers[0].depth + 2.5) % 5.0 - 2.5, 6) for layer in ILD_GRID.layers),
)
"""The same calorimeter, whose layers' cells do not lie exactly behind one another.

Assumed: cells are counted from a side face that is inclined by 45 degrees, as in ILD's octagonal barrel; so they are
shifted along x by their layer's depth, less whole cells. The paper's Fig. 2 shows a staggering, without numbers.
"""

ILD_ANGULAR = replace(
    ILD, name="ild-angular", grid=ILD_ANGULAR_GRID, entry=((6 - 60 / 2) * 5.0, 0.0), angles=(40.0, 90.0)
)
"""The same calorimeter for photons of 40 to 90 degrees, which enter between the rows 6 and 7.

From the first to the last layer of silicon, a photon of 40 degrees drifts over 47 of the 60 cells. Assumed: the entry.
"""

AHCAL = ImagingDetector(
    "ahcal",
    AHCAL_GRID,
    ((Slab(STEEL, 20.0), Slab(SCINTILLATOR, 3.0, True)),) * 48,
    margin=300.0,
    particle="pion",
    physics="ftfp-bert-datafree",
)
"""An AHCAL-like hadronic calorimeter of steel and scintillator, for pions into the middle of the central cell.

Assumed: all thicknesses and the cells' size; Birks' law is not applied.
"""

IMAGING_DETECTORS = {detector.name: detector for detector in (ILD, ILD_STAGGERED, ILD_ANGULAR, AHCAL)}
