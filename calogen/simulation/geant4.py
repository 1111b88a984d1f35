"""One Geant4 run: a detector, a physics list, and showers one at a time.

Geant4 allows one run manager per process, so `Geant4Run` is made once per process; production starts one process per
worker. Each shower is seeded on its own: it depends on its seed alone, not on the showers before it.
"""

import contextlib
import ctypes
import os
import struct
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from calogen.errors import ConfigError
from calogen.showers.hits import Hits
from calogen.simulation.detectors import Detector, Section
from calogen.simulation.physics import build_physics, load_geant4

PARTICLES = {"photon": "gamma", "electron": "e-", "positron": "e+", "pion": "pi+", "pion-minus": "pi-"}
RANGE_CUT = 0.7  # mm, Geant4's default
_WORLD_HALF_LENGTH = 5000.0  # mm
_ROUNDING = 1e-6  # mm: a step may start that much before the face of its section


class Geant4Run:
    """The one Geant4 run of this process.

    Args:
        detector: what is hit.
        physics: a name of `physics.PHYSICS_LISTS`.
        score_passive: also collect the energy left in absorbers (slower; for measuring sampling fractions).

    Raises:
        ConfigError: Geant4 is missing or unsuitable, or a run exists already in this process.
    """

    _exists = False

    def __init__(self, detector: Detector, physics: str = "em-datafree", score_passive: bool = False) -> None:
        if Geant4Run._exists:
            raise ConfigError("Geant4 allows one run per process: start another process for another detector")
        self.geant4 = load_geant4(physics)
        Geant4Run._exists = True
        self.detector = detector
        sections = detector.active_sections
        self._starts = np.array([section.start - _ROUNDING for section in sections])
        self._thicknesses = np.array([section.end - section.start for section in sections])
        self._layer_ids = np.array([section.layer_id for section in sections])
        self._scales = np.array([section.scale for section in sections])
        with _quiet():
            self._active = _deposit_collector(self.geant4, detector)
            self._passive = _deposit_collector(self.geant4, detector) if score_passive else None
            self._manager = self.geant4.G4RunManager()
            self._construction = _construction(self.geant4, detector, self._active, self._passive)
            self._manager.SetUserInitialization(self._construction)
            self._physics = build_physics(self.geant4, physics, RANGE_CUT)
            self._manager.SetUserInitialization(self._physics)
            self._actions = _actions(self.geant4)
            self._manager.SetUserInitialization(self._actions)
            self._manager.Initialize()
        self._primaries = self._actions.primaries

    def shower(self, particle: str, kinetic_energy: float, eta: float, seed: int) -> Hits:
        """One shower of a particle from the origin that starts on the calorimeter's surface.

        Args:
            particle: a name of `PARTICLES`.
            kinetic_energy: MeV.
            eta: pseudorapidity of the direction; the azimuth is 0.
            seed: the shower's seed.

        Returns:
            calibrated deposits (all layers), positions relative to the extrapolated particle.
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
        """Share of each layer's energy left in active material; key -1: layers 1-3 together.

        Raises:
            ConfigError: the run was made without `score_passive`.
        """
        if self._passive is None:
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
        if particle not in PARTICLES:
            raise ConfigError(f"particle must be one of {', '.join(PARTICLES)}. Received: {particle}")
        collectors = [self._active] + ([self._passive] if self._passive is not None else [])
        self._primaries.aim(PARTICLES[particle], kinetic_energy, eta, self.detector.surface, seed)
        self._manager.BeamOn(1)
        return [collector.take() for collector in collectors]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Geant4's banner off standard output."""
    sys.stdout.flush()
    saved, null = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 1)
        yield
    finally:
        sys.stdout.flush()  # Geant4's text comes through Python, which holds it back where this is no terminal
        os.dup2(saved, 1)
        os.close(saved)
        os.close(null)


def _deposit_collector(geant4: Any, detector: Detector) -> Any:
    """A sensitive detector that collects x, y, z, energy of every deposit.

    Every step in active material calls Python once, and each bound getter costs as much as the call. Geant4 has one
    step object per run: its position and energy are copied as raw bytes from where they lie, once the first hit has
    shown that they lie there; otherwise the getters are used.
    """
    time_cut, birks = detector.time_cut, detector.birks

    class Collector(geant4.G4VSensitiveDetector):
        def __init__(self) -> None:
            super().__init__("calogen")
            self.raw: list[bytes] = []
            self.position: Any = None
            self.energy: Any = None
            self.searched = False

        def take(self) -> np.ndarray:
            """The deposits since the last call, `[h, 4]`: x, y, z in mm and energy in MeV."""
            deposits = np.frombuffer(b"".join(self.raw), dtype=np.float64).reshape(-1, 4)
            self.raw.clear()
            return deposits[deposits[:, 3] > 0]

        def read(self, step: Any) -> bytes:
            position = step.GetPreStepPoint().GetPosition()
            return struct.pack("4d", position.x, position.y, position.z, step.GetTotalEnergyDeposit())

        def search(self, step: Any, shown: bytes) -> None:
            # pybind11 keeps the C++ pointer behind the object's header; G4StepPoint begins with its position,
            # G4Step with the energy.
            self.searched = True
            position = (ctypes.c_char * 24).from_address(_pointer(step.GetPreStepPoint()))
            energy = (ctypes.c_char * 8).from_address(_pointer(step))
            if position.raw + energy.raw == shown:
                self.position, self.energy = position, energy

        def ProcessHits(self, step: Any, history: Any) -> bool:
            if self.position is not None:
                self.raw.append(self.position.raw)
                self.raw.append(self.energy.raw)
                return True
            deposit = self.read(step)
            self.raw.append(deposit)
            if not self.searched and step.GetTotalEnergyDeposit() > 0:
                self.search(step, deposit)
            return True

    class Corrected(Collector):
        """The same with the time cut and Birks' law: E / (1 + k E / step length)."""

        def ProcessHits(self, step: Any, history: Any) -> bool:
            x, y, z, energy = struct.unpack("4d", self.read(step))
            if energy > 0 and (time_cut is None or step.GetPreStepPoint().GetGlobalTime() < time_cut):
                length = step.GetStepLength()
                if birks and length > 0 and step.GetTrack().GetDefinition().GetPDGCharge() != 0:
                    energy /= 1 + birks * energy / length
                self.raw.append(struct.pack("4d", x, y, z, energy))
            return True

    return Collector() if time_cut is None and not birks else Corrected()


def _pointer(bound: Any) -> int:
    """Address of the C++ object behind a pybind11 object."""
    values = ctypes.c_void_p.from_address(id(bound) + object.__basicsize__).value
    return ctypes.c_void_p.from_address(values).value or 0 if values else 0


def _construction(geant4: Any, detector: Detector, active: Any, passive: Any) -> Any:
    """The user's detector construction: every section a box of replicated periods."""
    half_width = detector.half_width

    class Construction(geant4.G4VUserDetectorConstruction):
        def Construct(self) -> Any:
            self.kept: list[Any] = []
            self.scored: list[tuple[Any, bool]] = []
            self.materials = geant4.G4NistManager.Instance()
            box = geant4.G4Box("world", _WORLD_HALF_LENGTH, 2 * half_width, 2 * half_width)
            world = geant4.G4LogicalVolume(box, self.materials.FindOrBuildMaterial("G4_Galactic"), "world")
            for section in detector.sections:
                self.place_section(section, world)
            placed = geant4.G4PVPlacement(None, geant4.G4ThreeVector(), world, "world", None, False, 0, False)
            self.kept.extend([box, world, placed])
            return placed

        def volume(self, name: str, material: str, thickness: float) -> Any:
            box = geant4.G4Box(name, thickness / 2, half_width, half_width)
            logical = geant4.G4LogicalVolume(box, self.materials.FindOrBuildMaterial(material), name)
            self.kept.extend([box, logical])
            return logical

        def place(self, logical: Any, x: float, mother: Any) -> None:
            where = geant4.G4ThreeVector(x, 0.0, 0.0)
            name = logical.GetName()
            self.kept.append(geant4.G4PVPlacement(None, where, logical, name, mother, False, 0, False))

        def place_section(self, section: Section, world: Any) -> None:
            stack = self.volume(section.name, "G4_Galactic", section.end - section.start)
            self.place(stack, section.centre, world)
            cell = stack
            if section.num_periods > 1:
                cell = self.volume(f"{section.name}_period", "G4_Galactic", section.period_thickness)
                axis, count, step = geant4.EAxis.kXAxis, section.num_periods, section.period_thickness
                self.kept.append(geant4.G4PVReplica(f"{section.name}_period", cell, stack, axis, count, step, 0))
            x = -section.period_thickness / 2
            for number, slab in enumerate(section.period):
                logical = self.volume(f"{section.name}_{number}", slab.material, slab.thickness)
                self.place(logical, x + slab.thickness / 2, cell)
                x += slab.thickness
                if section.layer_id is not None:
                    self.scored.append((logical, slab.active))

        def ConstructSDandField(self) -> None:
            for collector in (active, passive):
                if collector is not None:
                    geant4.G4SDManager.GetSDMpointer().AddNewDetector(collector)
            for logical, is_active in self.scored:
                collector = active if is_active else passive
                if collector is not None:
                    logical.SetSensitiveDetector(collector)

    return Construction()


def _actions(geant4: Any) -> Any:
    """The user's actions: one primary particle per event, aimed anew and seeded each time."""

    class Primaries(geant4.G4VUserPrimaryGeneratorAction):
        def __init__(self) -> None:
            super().__init__()
            self.gun = geant4.G4ParticleGun(1)
            self.seed = 1

        def aim(self, name: str, kinetic_energy: float, eta: float, surface: float, seed: int) -> None:
            table = geant4.G4ParticleTable.GetParticleTable()
            self.gun.SetParticleDefinition(table.FindParticle(name))
            self.gun.SetParticleEnergy(kinetic_energy)
            direction = np.array([1.0, 0.0, np.sinh(eta)])
            self.gun.SetParticlePosition(geant4.G4ThreeVector(*(surface * direction).tolist()))
            unit = direction / np.linalg.norm(direction)
            self.gun.SetParticleMomentumDirection(geant4.G4ThreeVector(*unit.tolist()))
            self.seed = seed

        def GeneratePrimaries(self, event: Any) -> None:
            geant4.G4Random.setTheSeed(self.seed)
            self.gun.GeneratePrimaryVertex(event)

    class Actions(geant4.G4VUserActionInitialization):
        def BuildForMaster(self) -> None:
            pass

        def Build(self) -> None:
            self.primaries = Primaries()
            self.SetUserAction(self.primaries)

    return Actions()
