"""Description of a production of showers, and its division into chunks."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from calogen.config import require, require_seed
from calogen.errors import ConfigError
from calogen.showers.sample import MIN_MEDIAN_LABEL
from calogen.simulation.manager import PARTICLES
from calogen.simulation.physics import PHYSICS_LISTS
from calogen.simulation.reductions import DETECTOR_NAMES, Reduction, reduction

CHUNK_ENERGY = 1.5e6
"""Energy of a chunk's showers, MeV, where they are fewer than 200."""
_CHUNK_SHOWERS = 200
_MAX_CHUNKS = 10**6  # a year of one processor


def energy_seed(energy: float) -> int:
    """The part of a shower's seed that an incident energy, MeV, is."""
    return round(energy * 1000)


def energy_name(energy: float) -> str:
    """An incident energy, MeV, in the names of files."""
    return f"{energy:.10g}"


@dataclass(frozen=True, kw_only=True)
class Request:
    """Description of a production.

    Args:
        output: the HDF5 file to write.
        energies: incident energies, MeV (photons: energy; hadrons: momentum, as in the CaloChallenge).
        uniform: whether the incident energies are drawn between the two `energies`.
        showers: number of showers at each energy, or one number for all energies.
        detector, particle, physics: names in `DETECTOR_NAMES`, `PARTICLES` and `PHYSICS_LISTS`.
        angles: range of the angle between particle and layers, degrees, for detectors with a grid; None: its own.
        workers: number of processes; None: as many as this job's cores and memory hold.
        mantissa_bits: number of bits of the energies' mantissa that are kept; None: all 23.
        extend: an earlier output, whose rows are kept; only the further numbers of each energy are simulated.
        cluster: where it is done, as for `cluster.worker_pool`; None: in `workers` processes of this one.
        depths: whether to write `depths` `[n, l]`, the mean depth of the energy in each layer of the voxels, 0..1.

    Raises:
        ConfigError: a name is unknown, numbers do not fit, an energy is below 1 MeV or half of them are below 100.
    """

    output: Path
    energies: tuple[float, ...]
    showers: tuple[int, ...] = (1000,)
    detector: str = "atlas-barrel"
    particle: str = "photon"
    physics: str = "em-datafree"
    seed: int = 1
    workers: int | None = None
    mantissa_bits: int | None = None
    extend: Path | None = None
    depths: bool = False
    uniform: bool = False
    angles: tuple[float, float] | None = None
    cluster: str | None = None

    def __post_init__(self) -> None:
        for name, known in (("detector", DETECTOR_NAMES), ("particle", PARTICLES), ("physics", PHYSICS_LISTS)):
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} must be one of {', '.join(known)}. Received: {getattr(self, name)}")
        if len(self.showers) not in (1, len(self.energies)) or min(self.showers, default=0) < 1 or self.workers == 0:
            raise ConfigError(
                f"showers must be one number or one for each of {len(self.energies)} energies, workers at least 1. "
                f"Received: {self.showers} and {self.workers}"
            )
        self._require_energies()
        reduction(self.detector, self.particle, self.depths, self.angles)
        require_seed(self.seed)
        if self.mantissa_bits not in (None, *range(1, 24)):
            raise ConfigError(f"mantissa_bits must be 1..23. Received: {self.mantissa_bits}")
        num_chunks = sum(-(-count // self._chunk_size(energy)) for energy, count in self.counts)
        if num_chunks > _MAX_CHUNKS:
            raise ConfigError(
                f"a production may have {_MAX_CHUNKS:,} chunks of half a minute. Received: {num_chunks:,} "
                "(fewer showers, or lower energies)"
            )
        if not self.output.name:
            raise ConfigError(f"output must be a file to write. Received: {self.output or '.'}")

    @property
    def parts(self) -> Path:
        """Folder of the finished chunks."""
        return self.output.with_name(self.output.name + ".parts")

    def chunks(self, present: Mapping[float, int] = MappingProxyType({})) -> Iterator["Chunk"]:
        """The chunks, ordered so that all energies grow together.

        Args:
            present: numbers of showers that exist already, by energy, MeV.
        """
        chunks = []
        for energy, count in self.counts:
            size = self._chunk_size(energy)
            for start in range(present.get(energy, 0), count, size):
                chunks.append((start / count, Chunk(self, energy, start, min(start + size, count))))
        return (chunk for _, chunk in sorted(chunks, key=lambda item: (item[0], item[1].energy)))

    @property
    def reduction(self) -> Reduction[Any, Any]:
        """What becomes of the showers."""
        return reduction(self.detector, self.particle, self.depths, self.angles)

    @property
    def counts(self) -> list[tuple[float, int]]:
        """Energies, MeV, with their numbers of showers; of uniform energies only the mean."""
        if self.uniform:
            return [(sum(self.energies) / 2, self.showers[0])]
        counts = self.showers * (len(self.energies) if len(self.showers) == 1 else 1)
        return list(zip(self.energies, counts, strict=True))

    def _require_energies(self) -> None:
        given = f"Received: {self.energies}"
        inside = bool(self.energies) and all(1 <= energy <= 1e8 for energy in self.energies)
        require(inside, f"energies must be in MeV, 1 to 1e8. {given}")
        for kind in (energy_seed, energy_name):
            different = len(set(map(kind, self.energies))) == len(self.energies)
            require(different, f"energies must differ, by 0.001 MeV and in ten digits. {given}")
        between = len(self.energies) == 2 and self.energies[0] < self.energies[1]
        require(between or not self.uniform, f"uniform energies must lie between two, the lower first. {given}")
        energies, counts = np.array(sorted(self.counts)).T
        ends = np.cumsum(counts)
        middle = np.searchsorted(ends, [(ends[-1] - 1) // 2, ends[-1] // 2], side="right")  # one shower, or two
        require(
            energies[middle].mean() >= MIN_MEDIAN_LABEL,
            f"the median shower must have {MIN_MEDIAN_LABEL:g} MeV or more: the file would not be read as one in MeV. "
            f"{given}",
        )

    @staticmethod
    def _chunk_size(energy: float) -> int:
        return int(np.clip(CHUNK_ENERGY / energy, 1, _CHUNK_SHOWERS))


@dataclass(frozen=True)
class Chunk:
    """The showers `start` to `stop` (excluded) of one energy, MeV; of uniform ones the mean."""

    request: Request
    energy: float
    start: int
    stop: int

    @property
    def path(self) -> Path:
        """The chunk's file."""
        return self.request.parts / f"{energy_name(self.energy)}MeV-{self.start:06d}-{self.stop:06d}.npz"
