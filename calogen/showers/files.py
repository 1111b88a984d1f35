"""Reading of shower files that need not fit into memory, one block of rows at a time."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from pathlib import Path

import h5py
import numpy as np

from calogen.errors import CalogenError
from calogen.hdf5 import damage_named, open_file
from calogen.progress import progress
from calogen.showers.conditions import Conditions
from calogen.showers.geometry import Geometry
from calogen.showers.grid import RegularGrid
from calogen.showers.labels import SAME_LABEL, TOLERANT_LABEL, match_shares, snap
from calogen.showers.layouts import find_conditions, find_labels, find_showers
from calogen.showers.sample import Negative, Showers, clip_negative, concatenate, require_mev
from calogen.showers.windows import IMPACT, in_geometry, require_impact, stored_geometry

Files = str | Path | Sequence[str | Path]
"""A file, or several that are read as one, in this order."""
MAX_SHOWERS, _MAX_BYTES = 121_000, 2**29  # limits of `read_some`, for energies in float32
_BLOCKS_FOR_UNIT = 20  # blocks at most that are read to tell whether a file is in MeV


@dataclass(frozen=True)
class Reading:
    """Changes that are made to showers when they are read.

    Args:
        tolerant: whether slightly negative energies are set to 0 (`clip_negative`), and labels within 1e-3 of the
            reference's energies, else 1e-5, are replaced by these.
        match_seed: seed of the choice of showers whose incident energies have the shares of the reference's; None: all
            showers are read.
        reference: incident energies of the reference, `[m]`, MeV; None: these files are the reference.
    """

    tolerant: bool = False
    match_seed: int | None = None
    reference: np.ndarray | None = None


EXACT = Reading()


class ShowerFile:
    """Shower files of any size, read as one file in blocks of rows.

    Several threads may read at once: HDF5 serves one at a time, while the others work on their blocks. Blocks have no
    conditions, which are in `given`, and no attributes. Files of all stored ATLAS cells can be read as a window. That
    energies are in MeV is not checked unless `require_mev` is called, as a block may be too small to tell.

    Args:
        max_bytes: size of a block in float64. A block consists of whole chunks of the file where these are smaller; a
            larger chunk is unpacked once for each of its blocks.
        reading: changes that are made to the showers.

    Raises:
        DataFormatError: a file is missing, truncated or of another format, or lacks a dataset (for a window of stored
            cells also the impact position) or showers.
        GeometryError: the number of cells or voxels is not the geometry's.
    """

    def __init__(self, path: Files, geometry: Geometry, max_bytes: int = 2**25, reading: Reading = EXACT) -> None:
        self.paths, self.geometry, self.reading = paths_of(path), geometry, reading
        with ExitStack() as opened:
            found = [self._open(item, opened) for item in self.paths]
            self._parts = [part for _, part in found]
            self._starts = np.cumsum([0, *(len(part.energies) for part in self._parts)])
            given = np.concatenate([labels for labels, _ in found])
            labels = snap(given)
            if reading.reference is not None:
                labels = snap(labels, reading.reference, TOLERANT_LABEL if reading.tolerant else SAME_LABEL)
            self._chosen = np.arange(len(labels))
            if reading.match_seed is not None and reading.reference is not None:
                self._chosen = match_shares(reading.reference, labels, reading.match_seed)
            self.incident_energies, self._labels = labels[self._chosen], given[self._chosen]
            self._opened = opened.pop_all()
        self._clipped: dict[int, Negative] = {}  # by the first row of a block, which may be read twice
        self.rows = tuple(self._blocks(max_bytes))

    def _open(self, path: Path, opened: ExitStack) -> tuple[np.ndarray, "_Part"]:
        """Incident energies of one of the files, `[n]`, MeV, and what else it holds."""
        file = opened.enter_context(open_file(path))
        with damage_named(path):
            stored = stored_geometry(file, self.geometry)
            labels, energies = find_showers(file, path, stored, opened, whole=False)
            others = find_conditions(file, len(energies), opened)
            if stored != self.geometry:
                require_impact(others, f"{path}: ")
            return labels[:].reshape(-1), _Part(path, energies, others, stored)

    def _blocks(self, max_bytes: int) -> Iterator[slice]:
        """Rows of each block, counted among the chosen showers."""
        for first, part in zip(self._starts, self._parts, strict=False):
            step, chunk = max(1, max_bytes // (8 * self.geometry.size)), (part.energies.chunks or (1,))[0]
            step -= step % chunk if step > chunk else 0
            for start in range(0, len(part.energies), step):
                edges = first + start, first + min(start + step, len(part.energies))
                rows = slice(*np.searchsorted(self._chosen, edges).tolist())
                if rows.start < rows.stop:
                    yield rows

    def __enter__(self) -> "ShowerFile":
        return self

    def __exit__(self, *error: object) -> None:
        self._opened.close()

    def __len__(self) -> int:
        return len(self._chosen)

    @property
    def name(self) -> str:
        """Name of the files in messages."""
        more = f" and {len(self.paths) - 1} more" if len(self.paths) > 1 else ""
        return f"{self.paths[0]}{more}"

    @cached_property
    def given(self) -> Conditions:
        """The conditions of all showers; those that a file lacks are left out."""
        first, *rest = (part.others for part in self._parts)
        names = [name for name in first if all(name in others for others in rest)]
        with damage_named(self.paths[0]):
            others = {name: np.concatenate([part.others[name][:] for part in self._parts]) for name in names}
        return Conditions(self.incident_energies, {name: values[self._chosen] for name, values in others.items()})

    def blocks(self) -> Iterator[tuple[slice, Showers]]:
        """Gives all showers in their order, one block of rows at a time."""
        for rows in self.rows:
            yield rows, self.read(rows)

    @property
    def notes(self) -> list[str]:
        """Sentences on the changes that were made to the showers read so far."""
        notes = []
        if len(self) < self._starts[-1]:
            notes.append(
                f"{len(self):,} of its {self._starts[-1]:,} showers were taken, so that the shares of energies agree"
            )
        moved = self._labels != self.incident_energies
        if moved.any():
            largest = np.abs(self._labels[moved] / self.incident_energies[moved] - 1).max()
            known = "one another" if self.reading.reference is None else "the reference's"
            notes.append(
                f"{moved.sum():,} incident energies were off {known} by up to {largest:.1g} of them and count as equal"
            )
        clipped = sum(self._clipped.values(), Negative())
        if clipped:
            notes.append(f"set to 0 were {clipped}")
        return notes

    def read(self, rows: slice) -> Showers:
        """Reads and checks one of the blocks in `rows`.

        Raises:
            DataFormatError: the file is damaged, holds NaN or negative energies, or lacks cells of the window.
        """
        showers, clipped = self._excerpt(rows).take(self._parts[self._number(rows)].energies)
        self.count_clipped(rows, clipped)
        return showers

    def require_mev(self, responses: np.ndarray | None = None) -> None:
        """Refuse energies that cannot be in MeV, file by file.

        Args:
            responses: of all showers, `[n]` (`Showers.response`); None: some blocks of each file are read for them.

        Raises:
            DataFormatError: a file's median shower has far too much or too little energy, or a block is damaged.
        """
        for number, group in groupby(self.rows, self._number):
            blocks = list(group)
            if responses is None:
                blocks = blocks[:: -(-len(blocks) // _BLOCKS_FOR_UNIT)]
            values = [self.read(rows).response if responses is None else responses[rows] for rows in blocks]
            labels = np.concatenate([self.incident_energies[rows] for rows in blocks])
            try:
                require_mev(labels, np.concatenate(values), visible=isinstance(self.geometry, RegularGrid))
            except CalogenError as error:
                raise type(error)(f"{self.paths[number]}: {error}") from error

    def excerpt(self, rows: slice) -> "Excerpt":
        """One of the blocks in `rows`, for a worker that reads it, in any folder."""
        excerpt = self._excerpt(rows)
        return replace(excerpt, path=excerpt.path.absolute())

    def _excerpt(self, rows: slice) -> "Excerpt":
        number = self._number(rows)
        part, labels = self._parts[number], self.incident_energies[rows]
        chosen = self._chosen[rows] - self._starts[number]
        names = IMPACT if part.stored != self.geometry else ()
        with damage_named(part.path):
            impact = {name: part.others[name][chosen[0] : chosen[-1] + 1][chosen - chosen[0]] for name in names}
        return Excerpt(part.path, self.geometry, part.stored, chosen, labels, impact, self.reading.tolerant, len(self))

    def count_clipped(self, rows: slice, clipped: Negative) -> None:
        """Takes note of what was set to 0 in one of the blocks in `rows`."""
        self._clipped[rows.start] = clipped

    def _number(self, rows: slice) -> int:
        """Number of the file that has a block."""
        return int(np.searchsorted(self._starts, self._chosen[rows.start], side="right")) - 1


@dataclass(frozen=True)
class _Part:
    """One of the files of a `ShowerFile`.

    Args:
        path: the file.
        energies: the dataset of its energies, `[n, v]`, MeV.
        others: datasets of further conditions, `[n]`, by name.
        stored: geometry of what it stores.
    """

    path: Path
    energies: h5py.Dataset
    others: Mapping[str, h5py.Dataset]
    stored: Geometry


@dataclass(frozen=True)
class Excerpt:
    """Some showers of a file, which every worker that sees the file can read.

    Args:
        path: the file.
        geometry, stored: of the showers, and of what the file stores, from which a window may be cut.
        chosen: places of the showers in the file, `[n]`, rising.
        labels: their incident energies, `[n]`, MeV.
        impact: `impact_eta` and `impact_phi`, `[n]`, around which a window lies; empty if none is cut.
        tolerant: as for `Reading`.
        number: number of all showers that are read.
    """

    path: Path
    geometry: Geometry
    stored: Geometry
    chosen: np.ndarray
    labels: np.ndarray
    impact: Mapping[str, np.ndarray]
    tolerant: bool
    number: int

    def read(self) -> tuple[Showers, Negative]:
        """The showers, and what was set to 0 in them.

        Raises:
            DataFormatError: the file is damaged, or holds NaN or negative energies.
        """
        with open_file(self.path) as file, ExitStack() as opened:
            with damage_named(self.path):
                _, energies = find_showers(file, self.path, self.stored, opened, whole=False)
            return self.take(energies)

    def take(self, dataset: h5py.Dataset) -> tuple[Showers, Negative]:
        """What `read` gives, from the dataset of the file's energies."""
        first, end, clipped = int(self.chosen[0]), int(self.chosen[-1]) + 1, Negative()
        with damage_named(self.path):
            energies = dataset[first:end]
        if len(energies) > len(self.chosen):
            energies = energies[self.chosen - first]
        if self.tolerant:
            energies, clipped = clip_negative(energies, self.labels)
        try:
            showers = Showers(self.stored, self.labels, energies, self.impact)
            if self.stored != self.geometry:
                showers = replace(in_geometry(showers, self.geometry), conditions={})
            return showers, clipped
        except CalogenError as error:
            number = len(self.labels)
            part_only = "negative" in str(error) and number < self.number
            more = f" (of {number:,} of {self.number:,} showers; the others are not counted)" if part_only else ""
            raise type(error)(f"{self.path}, showers {first} to {end - 1}: {error}{more}") from error


def paths_of(files: Files) -> tuple[Path, ...]:
    """Paths of a file or of several."""
    return (Path(files),) if isinstance(files, str | Path) else tuple(map(Path, files))


def read_given(path: Path) -> Conditions:
    """Conditions of the showers of a file, which need not hold the showers themselves.

    Raises:
        DataFormatError: the file is missing, damaged or of another format, or an incident energy is not above 0.
    """
    with open_file(path) as file, damage_named(path), ExitStack() as opened:
        labels = find_labels(file, path, opened)
        others = {name: item[:] for name, item in find_conditions(file, len(labels), opened).items()}
        return Conditions(snap(labels[:].reshape(-1)), others)


def read_some(path: Files, geometry: Geometry, max_showers: int | None, seed: int, reading: Reading = EXACT) -> Showers:
    """A random choice of the showers of a file, in the file's order.

    Args:
        path, geometry: the file, or several, and their geometry.
        max_showers: largest number of showers; None: 121,000, or as many as take 512 MiB.
        reading: changes that are made to the showers.

    Raises:
        CalogenError: the file is missing, damaged or of another format.
    """
    with ShowerFile(path, geometry, reading=reading) as file:
        number = min(len(file), max_showers or min(MAX_SHOWERS, max(2, _MAX_BYTES // (4 * geometry.size))))
        chosen = np.zeros(len(file), bool)
        chosen[np.random.default_rng(seed).permutation(len(file))[:number]] = True
        parts = []
        with progress(f"taking showers of {file.paths[0].name}", len(file.rows), "blocks") as shown:
            for rows in file.rows:
                if chosen[rows].any():
                    some = file.read(rows)[np.flatnonzero(chosen[rows])]
                    parts.append(replace(some, energies=some.energies.astype(np.float32)))
                shown.advance()
        return concatenate(parts)
