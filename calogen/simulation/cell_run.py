"""One Geant4 run of an imaging calorimeter, whose cells are scored inside Geant4.

The cells are nested replicas, and Geant4's own scorer sums their deposits: no step calls Python. `geant4.Geant4Run` of
the other detectors gives the deposits' positions at about half the speed.
"""

from typing import TYPE_CHECKING

import numpy as np

from calogen.showers.sparse import SparseShowers
from calogen.simulation.imaging import ImagingDetector
from calogen.simulation.manager import Manager

if TYPE_CHECKING:
    import geant4_pybind as g4

_SCORER = "calogen", "deposit"
_SPACE = 10.0  # mm of vacuum around the calorimeter


class CellRun:
    """The one Geant4 run of this process, in the cells of an imaging calorimeter.

    Args:
        physics: a name of `physics.PHYSICS_LISTS`.

    Raises:
        ConfigError: Geant4 is missing or unsuitable, or this process has made a run already.
    """

    def __init__(self, detector: ImagingDetector, physics: str = "em-datafree") -> None:
        self.detector = detector
        self._cells: dict[int, float] = {}
        self._manager = Manager(physics, lambda: _construction(detector), self._read)

    def shower(self, particle: str, kinetic_energy: float, angle: float, seed: int) -> SparseShowers:
        """One shower of a particle that enters at the detector's entry point.

        Args:
            particle: a name of `manager.PARTICLES`.
            kinetic_energy: MeV.
            angle: between the particle and the layers, rad; pi / 2: perpendicular.

        Returns:
            the cells with energy, float32.
        """
        x, z = self.detector.entry
        direction = np.array([np.cos(angle) if angle != np.pi / 2 else 0.0, np.sin(angle), 0.0])
        self._manager.shoot(particle, kinetic_energy, np.array([x, 0.0, z]), direction, seed)
        indices = np.fromiter(self._cells.keys(), np.int64, len(self._cells))
        energies = np.fromiter(self._cells.values(), np.float64, len(self._cells))
        kept = energies > 0
        return SparseShowers(np.array([kept.sum()]), indices[kept], energies[kept].astype(np.float32))

    def _read(self, event: "g4.G4Event") -> None:
        import geant4_pybind

        number = geant4_pybind.G4SDManager.GetSDMpointer().GetCollectionID("/".join(_SCORER))
        self._cells = dict(event.GetHCofThisEvent().GetHC(number))


class _Volumes:
    """The volumes of an imaging calorimeter, kept for Geant4."""

    def __init__(self, detector: ImagingDetector) -> None:
        import geant4_pybind

        self.geant4, self.detector = geant4_pybind, detector
        self.materials = geant4_pybind.G4NistManager.Instance()
        self.kept: list[object] = []
        _, num_x, num_z = detector.grid.shape
        size = detector.grid.layers[0].cell_size
        self.inner = num_x * size, num_z * size
        self.outer = tuple(length + 2 * detector.margin for length in self.inner)
        self.cells: list[g4.G4LogicalVolume] = []

    def place_all(self) -> "g4.G4VPhysicalVolume":
        """The world with all layers in it."""
        thickness = self.detector.thickness
        x, z = (length + 2 * _SPACE for length in self.outer)
        world = self.volume("world", "G4_Galactic", (x, 2 * (thickness + _SPACE), z))
        face = 0.0
        for number, slabs in enumerate(self.detector.layers):
            for slab in slabs:
                volume = self.volume("slab", slab.material, (self.outer[0], slab.thickness, self.outer[1]))
                self.place(volume, (0.0, face + slab.thickness / 2, 0.0), world, number)
                if slab.active:
                    self.divide(volume, slab.material, slab.thickness, number)
                face += slab.thickness
        return self.place(world, (0.0, 0.0, 0.0), None, 0)

    def divide(self, slab: "g4.G4LogicalVolume", material: str, thickness: float, number: int) -> None:
        """Divide the middle of an active slab into cells."""
        _, num_x, num_z = self.detector.grid.shape
        size = self.detector.grid.layers[0].cell_size
        sensor = self.volume("sensor", material, (self.inner[0], thickness, self.inner[1]))
        row = self.volume("row", material, (size, thickness, self.inner[1]))
        cell = self.volume("cell", material, (size, thickness, size))
        offset = self.detector.offsets[number] if self.detector.offsets else 0.0
        self.place(sensor, (offset, 0.0, 0.0), slab, number)
        axes = self.geant4.EAxis
        self.kept.append(self.geant4.G4PVReplica("row", row, sensor, axes.kXAxis, num_x, size))
        self.kept.append(self.geant4.G4PVReplica("cell", cell, row, axes.kZAxis, num_z, size))
        self.cells.append(cell)

    def volume(self, name: str, material: str, sizes: tuple[float, float, float]) -> "g4.G4LogicalVolume":
        box = self.geant4.G4Box(name, *(size / 2 for size in sizes))
        logical = self.geant4.G4LogicalVolume(box, self.materials.FindOrBuildMaterial(material), name)
        self.kept.extend([box, logical])
        return logical

    def place(
        self,
        logical: "g4.G4LogicalVolume",
        position: tuple[float, float, float],
        mother: "g4.G4LogicalVolume | None",
        number: int,
    ) -> "g4.G4VPhysicalVolume":
        vector = self.geant4.G4ThreeVector(*position)
        placed = self.geant4.G4PVPlacement(None, vector, logical, logical.GetName(), mother, False, number, False)
        self.kept.append(placed)
        return placed


def _construction(detector: ImagingDetector) -> "g4.G4VUserDetectorConstruction":
    """The user's detector construction, with a scorer in the cells."""
    import geant4_pybind

    class Construction(geant4_pybind.G4VUserDetectorConstruction):
        def Construct(self) -> "g4.G4VPhysicalVolume":
            self.volumes = _Volumes(detector)
            return self.volumes.place_all()

        def ConstructSDandField(self) -> None:
            name, quantity = _SCORER
            self.sensitive = geant4_pybind.G4MultiFunctionalDetector(name)
            # cells, rows and sensors are 0, 1 and 2 levels up; the sensor has the layer's number
            self.scorer = geant4_pybind.G4PSEnergyDeposit3D(quantity, *detector.grid.shape, 2, 1, 0)
            self.sensitive.RegisterPrimitive(self.scorer)
            geant4_pybind.G4SDManager.GetSDMpointer().AddNewDetector(self.sensitive)
            for cell in self.volumes.cells:
                cell.SetSensitiveDetector(self.sensitive)

    return Construction()
