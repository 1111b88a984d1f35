"""One Geant4 run: a detector, a physics list, and showers one at a time.

Geant4 allows one run manager per process, so a process can make one `Geant4Run`; production starts one process per
worker. Each shower has a seed of its own and does not depend on the showers before it.
"""

import ctypes
import struct
from typing import TYPE_CHECKING, Protocol

import numpy as np

from calogen.errors import ConfigError
from calogen.showers.hits import Hits
from calogen.simulation.detectors import Detector, Section
from calogen.simulation.manager import Manager

if TYPE_CHECKING:
    import geant4_pybind as g4

    _SensitiveClass = type[g4.G4VSensitiveDetector]

    _Bytes = ctypes.Array[ctypes.c_char]

_WORLD_HALF_LENGTH = 5000.0  # mm
_ROUNDING = 1e-6  # mm by which a step may start before the face of its section


class Geant4Run:
    """The one Geant4 run of this process.

    Args:
        physics: a name of `physics.PHYSICS_LISTS`.
        score_passive: whether to collect the energy left in absorbers as well, which is slower, for sampling fractions.

    Raises:
        ConfigError: Geant4 is missing or unsuitable, or this process has made a run already.
    """

    def __init__(self, detector: Detector, physics: str = "em-datafree", score_passive: bool = False) -> None:
        self.detector = detector
        sections = detector.active_sections
        self._starts = np.array([section.start - _ROUNDING for section in sections])
        self._thicknesses = np.array([section.end - section.start for section in sections])
        self._layer_ids = np.array([section.layer_id for section in sections])
        self._scales = np.array([section.scale for section in sections])
        self._collectors: list[_Collector] = []
        self._manager = Manager(physics, lambda: self._construct(score_passive))

    def _construct(self, score_passive: bool) -> "g4.G4VUserDetectorConstruction":
        self._collectors = [_deposit_collector(self.detector) for _ in range(2 if score_passive else 1)]
        return _construction(self.detector, *self._collectors)

    def shower(self, particle: str, kinetic_energy: float, eta: float, seed: int) -> Hits:
        """One shower of a particle from the origin that starts on the calorimeter's surface.

        Args:
            particle: a name of `manager.PARTICLES`.
            kinetic_energy: MeV.
            eta: pseudorapidity of the direction; the azimuth is 0.

        Returns:
            the calibrated deposits of all layers, with positions relative to the particle's straight line.
        """
        deposits = self._shoot(particle, kinetic_energy, eta, seed)[0]
        x, y, z, energies = deposits.T
        section = np.searchsorted(self._starts, x, side="right") - 1
        radius = np.hypot(x, y)
        return Hits(
            self._layer_ids[section],
            np.arcsinh(z / radius) - eta,
            np.arctan2(y, x),
            energies * self._scales[section],
            np.clip((x - self._starts[section]) / self._thicknesses[section], 0, 1),
        )

    def sampling_fraction(self, particle: str, kinetic_energy: float, etas: np.ndarray, seed: int) -> dict[int, float]:
        """Share of each layer's energy in active material, by id; -1: layers 1 to 3 together.

        Raises:
            ConfigError: the run was made without `score_passive`.
        """
        if len(self._collectors) < 2:
            raise ConfigError("sampling_fraction needs Geant4Run(..., score_passive=True)")
        sums = np.zeros((2, len(self._starts)))
        for number, eta in enumerate(etas):
            for kind, deposits in enumerate(self._shoot(particle, kinetic_energy, float(eta), seed + number)):
                section = np.searchsorted(self._starts, deposits[:, 0], side="right") - 1
                sums[kind] += np.bincount(section, deposits[:, 3], minlength=len(self._starts))
        accordion = np.isin(self._layer_ids, (1, 2, 3))
        active, total = sums[0], sums.sum(axis=0)
        fractions = dict(zip(self._layer_ids.tolist(), (active / np.maximum(total, 1e-12)).tolist(), strict=True))
        return {-1: float(active[accordion].sum() / total[accordion].sum()), **fractions}

    def _shoot(self, particle: str, kinetic_energy: float, eta: float, seed: int) -> list[np.ndarray]:
        direction = np.array([1.0, 0.0, np.sinh(eta)])
        self._manager.shoot(particle, kinetic_energy, self.detector.surface * direction, direction, seed)
        return [collector.take() for collector in self._collectors]


class _Collector(Protocol):
    """A sensitive detector that collects the deposits of a shower."""

    def take(self) -> np.ndarray:
        """The deposits since the last call, `[h, 4]`: x, y, z in mm and energy in MeV."""


def _deposit_collector(detector: Detector) -> _Collector:
    """A collector of deposits, with the time cut and saturation of the detector."""
    if detector.time_cut is None and not detector.birks:
        return _collector_class()()
    return _corrected_class(_collector_class(), detector.time_cut, detector.birks)()


def _collector_class() -> "_SensitiveClass":
    """The class of a collector of uncorrected deposits.

    Every step in active material calls Python once, and each bound getter costs as much as the call. Geant4 has one
    step object per run: its position and energy are copied as raw bytes from the memory where they are expected, once
    the first deposit has shown that they are there; otherwise the getters are used.
    """
    import geant4_pybind

    class Collector(geant4_pybind.G4VSensitiveDetector):
        def __init__(self) -> None:
            super().__init__("calogen")
            self.raw: list[bytes] = []
            self.views: tuple[_Bytes, _Bytes] | None = None
            self.searched = False

        def take(self) -> np.ndarray:
            deposits = np.frombuffer(b"".join(self.raw), dtype=np.float64).reshape(-1, 4)
            self.raw.clear()
            return deposits[deposits[:, 3] > 0]

        def ProcessHits(self, step: "g4.G4Step", history: "g4.G4TouchableHistory") -> bool:
            if self.views is not None:
                position, energy = self.views
                self.raw.append(position.raw)
                self.raw.append(energy.raw)
                return True
            deposit = _read(step)
            self.raw.append(deposit)
            if not self.searched and step.GetTotalEnergyDeposit() > 0:
                self.searched, self.views = True, _views(step, deposit)
            return True

    return Collector


def _corrected_class(base: "_SensitiveClass", cut: float | None, birks: float) -> "_SensitiveClass":
    """The class of a collector with a time cut and Birks' law: E / (1 + k E / length)."""

    class Corrected(base):
        def ProcessHits(self, step: "g4.G4Step", history: "g4.G4TouchableHistory") -> bool:
            x, y, z, energy = struct.unpack("4d", _read(step))
            if energy > 0 and (cut is None or step.GetPreStepPoint().GetGlobalTime() < cut):
                length = step.GetStepLength()
                if birks and length > 0 and step.GetTrack().GetDefinition().GetPDGCharge() != 0:
                    energy /= 1 + birks * energy / length
                self.raw.append(struct.pack("4d", x, y, z, energy))
            return True

    return Corrected


def _read(step: "g4.G4Step") -> bytes:
    """Position and energy of a step as four doubles, read with the getters."""
    position = step.GetPreStepPoint().GetPosition()
    return struct.pack("4d", position.x, position.y, position.z, step.GetTotalEnergyDeposit())


def _views(step: "g4.G4Step", deposit: bytes) -> "tuple[_Bytes, _Bytes] | None":
    """The memory at the begin of a step's point and of a step, if it holds their deposit."""
    position = (ctypes.c_char * 24).from_address(_pointer(step.GetPreStepPoint()))
    energy = (ctypes.c_char * 8).from_address(_pointer(step))
    return (position, energy) if position.raw + energy.raw == deposit else None


def _pointer(bound: object) -> int:
    """Address of the C++ object behind a pybind11 object, which keeps it behind its header."""
    values = ctypes.c_void_p.from_address(id(bound) + object.__basicsize__).value
    return ctypes.c_void_p.from_address(values).value or 0 if values else 0


class _Volumes:
    """The volumes of a detector, kept for Geant4: each section is a box of equal periods."""

    def __init__(self, half_width: float) -> None:
        import geant4_pybind

        self.geant4, self.half_width = geant4_pybind, half_width
        self.materials = geant4_pybind.G4NistManager.Instance()
        self.kept: list[object] = []
        self.scored: list[tuple[g4.G4LogicalVolume, bool]] = []

    def place_world(self, sections: tuple[Section, ...]) -> "g4.G4VPhysicalVolume":
        world = self.volume("world", "G4_Galactic", 2 * _WORLD_HALF_LENGTH, width=2.0)
        for section in sections:
            self.place_section(section, world)
        return self.place(world, 0.0, None)

    def volume(self, name: str, material: str, thickness: float, width: float = 1.0) -> "g4.G4LogicalVolume":
        box = self.geant4.G4Box(name, thickness / 2, width * self.half_width, width * self.half_width)
        logical = self.geant4.G4LogicalVolume(box, self.materials.FindOrBuildMaterial(material), name)
        self.kept.extend([box, logical])
        return logical

    def place(
        self, logical: "g4.G4LogicalVolume", x: float, mother: "g4.G4LogicalVolume | None"
    ) -> "g4.G4VPhysicalVolume":
        position = self.geant4.G4ThreeVector(x, 0.0, 0.0)
        self.kept.append(self.geant4.G4PVPlacement(None, position, logical, logical.GetName(), mother, False, 0, False))
        return self.kept[-1]

    def place_section(self, section: Section, world: "g4.G4LogicalVolume") -> None:
        stack = self.volume(section.name, "G4_Galactic", section.end - section.start)
        self.place(stack, section.centre, world)
        cell = stack
        if section.num_periods > 1:
            cell = self.volume(f"{section.name}_period", "G4_Galactic", section.period_thickness)
            axis, count, step = self.geant4.EAxis.kXAxis, section.num_periods, section.period_thickness
            self.kept.append(self.geant4.G4PVReplica(f"{section.name}_period", cell, stack, axis, count, step, 0))
        x = -section.period_thickness / 2
        for number, slab in enumerate(section.period):
            logical = self.volume(f"{section.name}_{number}", slab.material, slab.thickness)
            self.place(logical, x + slab.thickness / 2, cell)
            x += slab.thickness
            if section.layer_id is not None:
                self.scored.append((logical, slab.active))


def _construction(
    detector: Detector, active: _Collector, passive: _Collector | None = None
) -> "g4.G4VUserDetectorConstruction":
    """The user's detector construction: volumes, with collectors in the layers."""
    import geant4_pybind

    class Construction(geant4_pybind.G4VUserDetectorConstruction):
        def Construct(self) -> "g4.G4VPhysicalVolume":
            self.volumes = _Volumes(detector.half_width)
            return self.volumes.place_world(detector.sections)

        def ConstructSDandField(self) -> None:
            for collector in (active, passive):
                if collector is not None:
                    geant4_pybind.G4SDManager.GetSDMpointer().AddNewDetector(collector)
            for logical, is_active in self.volumes.scored:
                collector = active if is_active else passive
                if collector is not None:
                    logical.SetSensitiveDetector(collector)

    return Construction()
