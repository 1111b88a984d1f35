"""Geant4's run manager with its gun, of which a process can have one."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from calogen.errors import ConfigError
from calogen.simulation.physics import build_physics, load_geant4

if TYPE_CHECKING:
    import geant4_pybind as g4

PARTICLES = {"photon": "gamma", "electron": "e-", "positron": "e+", "pion": "pi+", "pion-minus": "pi-"}
RANGE_CUT = 0.7  # mm, Geant4's default


class Manager:
    """The one run manager of this process, which shoots one particle at a time.

    Args:
        physics: a name of `physics.PHYSICS_LISTS`.
        construct: gives the user's detector construction, once Geant4 has been imported.
        read: called with each event at its end; None: the detector collects the deposits by itself.

    Raises:
        ConfigError: Geant4 is missing or unsuitable, or this process has a manager already.
    """

    _exists = False

    def __init__(
        self,
        physics: str,
        construct: "Callable[[], g4.G4VUserDetectorConstruction]",
        read: "Callable[[g4.G4Event], None] | None" = None,
    ) -> None:
        if Manager._exists:
            raise ConfigError("Geant4 allows one run per process: start another process for another detector")
        geant4 = load_geant4(physics)
        Manager._exists = True
        with _quiet():
            self._manager = geant4.G4RunManager()
            self._construction = construct()
            self._manager.SetUserInitialization(self._construction)
            self._physics = build_physics(physics, RANGE_CUT)
            self._manager.SetUserInitialization(self._physics)
            self._actions = _actions(read)
            self._manager.SetUserInitialization(self._actions)
            self._manager.Initialize()

    def shoot(
        self, particle: str, kinetic_energy: float, position: np.ndarray, direction: np.ndarray, seed: int
    ) -> None:
        """Simulate one particle.

        Args:
            particle: a name of `PARTICLES`.
            kinetic_energy: MeV.
            position: where it starts, `[3]`, mm.
            direction: where it flies, `[3]`, of any length.

        Raises:
            ConfigError: the particle is unknown.
        """
        if particle not in PARTICLES:
            raise ConfigError(f"particle must be one of {', '.join(PARTICLES)}. Received: {particle}")
        self._actions.primaries.aim(PARTICLES[particle], kinetic_energy, position, direction, seed)
        self._manager.BeamOn(1)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Geant4's banner off standard output."""
    sys.stdout.flush()
    saved, null = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 1)
        yield
    finally:
        sys.stdout.flush()  # Geant4's text comes through Python, which buffers it unless this is a terminal
        os.dup2(saved, 1)
        os.close(saved)
        os.close(null)


def _actions(read: "Callable[[g4.G4Event], None] | None") -> "g4.G4VUserActionInitialization":
    """The user's actions: one particle per event, with its own direction and seed."""
    import geant4_pybind

    class Primaries(geant4_pybind.G4VUserPrimaryGeneratorAction):
        def __init__(self) -> None:
            super().__init__()
            self.gun = geant4_pybind.G4ParticleGun(1)
            self.seed = 1

        def aim(self, name: str, kinetic_energy: float, position: np.ndarray, direction: np.ndarray, seed: int) -> None:
            table = geant4_pybind.G4ParticleTable.GetParticleTable()
            self.gun.SetParticleDefinition(table.FindParticle(name))
            self.gun.SetParticleEnergy(kinetic_energy)
            self.gun.SetParticlePosition(geant4_pybind.G4ThreeVector(*position.tolist()))
            unit = direction / np.linalg.norm(direction)
            self.gun.SetParticleMomentumDirection(geant4_pybind.G4ThreeVector(*unit.tolist()))
            self.seed = seed

        def GeneratePrimaries(self, event: "g4.G4Event") -> None:
            geant4_pybind.G4Random.setTheSeed(self.seed)
            self.gun.GeneratePrimaryVertex(event)

    class Reader(geant4_pybind.G4UserEventAction):
        def EndOfEventAction(self, event: "g4.G4Event") -> None:
            if read is not None:
                read(event)

    class Actions(geant4_pybind.G4VUserActionInitialization):
        def BuildForMaster(self) -> None:
            pass

        def Build(self) -> None:
            self.primaries, self.reader = Primaries(), Reader()
            self.SetUserAction(self.primaries)
            if read is not None:
                self.SetUserAction(self.reader)

    return Actions()
