"""What becomes of a simulated shower: cells and voxels around its axis, or a grid."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar  # Any: the attributes of a file

import numpy as np

from calogen.errors import ConfigError
from calogen.showers.hits import Hits, cell_energies, mean_depths, voxelise
from calogen.showers.sparse import HITS, Columns, SparseShowers
from calogen.showers.voxels import VoxelGeometry
from calogen.simulation.cell_run import CellRun
from calogen.simulation.detectors import DETECTORS, Detector
from calogen.simulation.geant4 import Geant4Run
from calogen.simulation.imaging import IMAGING_DETECTORS, PERPENDICULAR, ImagingDetector

RunT = TypeVar("RunT")
DepositsT = TypeVar("DepositsT")
_LEAST_HITS = 500  # of a shower of some GeV in a grid, in numbers of four bytes before compression


class Reduction(Protocol[RunT, DepositsT]):
    """A detector, and the columns of a file that describe its showers."""

    @property
    def detector(self) -> Detector | ImagingDetector:
        """The detector."""

    @property
    def columns(self) -> dict[str, str]:
        """The output's names of the columns, and those of the chunks."""

    @property
    def aims(self) -> tuple[str, ...]:
        """Names of the columns that `aim` gives."""

    @property
    def size(self) -> int:
        """About how many numbers a shower has."""

    @property
    def note(self) -> str:
        """What must be said about the detector wherever its showers are used."""

    @property
    def attributes(self) -> dict[str, Any]:
        """Attributes of the output file."""

    def aim(self, random: np.random.Generator) -> dict[str, float]:
        """Where a particle flies."""

    def start(self, physics: str) -> RunT:
        """The Geant4 run of this process."""

    def shoot(self, run: RunT, particle: str, kinetic_energy: float, aim: Mapping[str, float], seed: int) -> DepositsT:
        """Deposits of one shower; `kinetic_energy` in MeV."""

    def reduce(self, deposits: DepositsT, aim: Mapping[str, float]) -> Columns:
        """The shower's part of a row of a chunk."""


@dataclass(frozen=True)
class Projective:
    """Cells and voxels around the particle's axis, in a detector as seen from the origin.

    Args:
        particle: photons and electrons have other voxels than hadrons.
        depths: whether there is a column `depths`, the mean depth of the energy in each layer.
    """

    detector: Detector
    particle: str
    depths: bool = False
    aims = ("impact_eta", "impact_phi")
    note = "simplified detector: not ATLAS's own simulation"

    @property
    def geometry(self) -> VoxelGeometry:
        """The voxels."""
        hadron = self.particle.startswith("pion")
        return next(item for item in self.detector.voxels if item.name.startswith("pions") == hadron)

    @property
    def columns(self) -> dict[str, str]:
        """The output's names of the columns, and those of the chunks."""
        return {"cells": "cells", "showers": self.geometry.name} | ({"depths": "depths"} if self.depths else {})

    @property
    def size(self) -> int:
        """How many numbers a shower has."""
        return self.detector.cells.size + self.geometry.size

    @property
    def attributes(self) -> dict[str, Any]:
        """Attributes of the output file."""
        return {
            "units": "MeV; impact_phi in rad; cpu_seconds on the machine that made the file",
            "cell_grid": self.detector.cells.name,
            "voxel_geometry": self.geometry.name,
            "layer_ids": self.geometry.layer_ids,
        }

    def aim(self, random: np.random.Generator) -> dict[str, float]:
        """Pseudorapidity, and azimuth in rad."""
        return {"impact_eta": random.uniform(*self.detector.eta_range), "impact_phi": random.uniform(0, 2 * np.pi)}

    def start(self, physics: str) -> Geant4Run:
        """The Geant4 run of this process."""
        return Geant4Run(self.detector, physics)

    def shoot(self, run: Geant4Run, particle: str, kinetic_energy: float, aim: Mapping[str, float], seed: int) -> Hits:
        """Hits of one shower; `kinetic_energy` in MeV."""
        return run.shower(particle, kinetic_energy, aim["impact_eta"], seed)

    def reduce(self, deposits: Hits, aim: Mapping[str, float]) -> Columns:
        """Cells, all kinds of voxels, and depths."""
        place = aim["impact_eta"], aim["impact_phi"]
        return {
            "cells": cell_energies(deposits, self.detector.cells, *place).astype(np.float32),
            **{
                item.name: voxelise(deposits, item, self.detector.radii).astype(np.float32)
                for item in self.detector.voxels
            },
            **({"depths": mean_depths(deposits, self.geometry.layer_ids)} if self.depths else {}),
        }


@dataclass(frozen=True)
class Imaging:
    """The cells of a regular grid, which a particle enters at a fixed point.

    Args:
        angles: range of the angle between the particle and the layers, degrees.
    """

    detector: ImagingDetector
    angles: tuple[float, float]
    note = "simplified stack without dead material: not ILD's own simulation"

    @property
    def aims(self) -> tuple[str, ...]:
        """The angle, unless all particles are perpendicular."""
        return () if self.angles == PERPENDICULAR else ("angle",)

    @property
    def columns(self) -> dict[str, str]:
        """The output's names of the columns, and those of the chunks."""
        return {HITS: HITS}

    @property
    def size(self) -> int:
        """About how many numbers a shower has."""
        return _LEAST_HITS

    @property
    def attributes(self) -> dict[str, Any]:
        """Attributes of the output file."""
        return {
            "units": "MeV; angle between particle and layers in rad; cpu_seconds on the machine that made the file",
            "grid": self.detector.grid.name,
            "grid_shape": self.detector.grid.shape,
        }

    def aim(self, random: np.random.Generator) -> dict[str, float]:
        """The angle, rad."""
        return {name: float(np.deg2rad(random.uniform(*self.angles))) for name in self.aims}

    def start(self, physics: str) -> CellRun:
        """The Geant4 run of this process."""
        return CellRun(self.detector, physics)

    def shoot(
        self, run: CellRun, particle: str, kinetic_energy: float, aim: Mapping[str, float], seed: int
    ) -> SparseShowers:
        """Cells with energy of one shower; `kinetic_energy` in MeV."""
        return run.shower(particle, kinetic_energy, aim.get("angle", np.pi / 2), seed)

    def reduce(self, deposits: SparseShowers, aim: Mapping[str, float]) -> Columns:
        """The sparse shower itself."""
        return {HITS: deposits}


DETECTOR_NAMES = (*DETECTORS, *IMAGING_DETECTORS)
"""Names of all detectors that can be simulated."""


def reduction(
    detector: str, particle: str, depths: bool = False, angles: tuple[float, float] | None = None
) -> Projective | Imaging:
    """The reduction of a detector's showers.

    Args:
        detector: one of `DETECTOR_NAMES`.
        angles: range of the angles, degrees; None: the detector's own.

    Raises:
        ConfigError: the detector is unknown, or has no depths or angles; an angle is not above 0 and up to 90.
    """
    if detector in IMAGING_DETECTORS:
        chosen = IMAGING_DETECTORS[detector]
        if depths:
            raise ConfigError(f"depths can be written for {', '.join(DETECTORS)}. Received: {detector}")
        low, high = angles or chosen.angles
        if not 0 < low <= high <= 90:
            raise ConfigError(f"angles must be above 0 and up to 90 degrees, in this order. Received: {low} to {high}")
        return Imaging(chosen, (low, high))
    if detector not in DETECTORS:
        raise ConfigError(f"detector must be one of {', '.join(DETECTOR_NAMES)}. Received: {detector}")
    if angles is not None:
        raise ConfigError(f"angles can be chosen for {', '.join(IMAGING_DETECTORS)}. Received: {detector}")
    return Projective(DETECTORS[detector], particle, depths)


def default_settings(detector: str | None) -> dict[str, Any]:
    """Arguments of a `production.Request` that are not the usual ones for a detector."""
    chosen = IMAGING_DETECTORS.get(detector or "")
    return {} if chosen is None else {"particle": chosen.particle, "physics": chosen.physics}
