"""Files of showers that need not fit into memory, read a block of rows at a time."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from calogen.errors import CalogenError
from calogen.hdf5 import damage_named, open_file
from calogen.progress import progress
from calogen.showers.conditions import Conditions
from calogen.showers.geometry import Geometry
from calogen.showers.labels import SAME_LABEL, TOLERANT_LABEL, match_shares, snap
from calogen.showers.layouts import find_conditions, find_labels, find_showers
from calogen.showers.sample import Negative, Showers, clip_negative, concatenate

Files = str | Path | Sequence[str | Path]
"""A file, or several that are read as one, in this order."""
_MAX_SHOWERS, _MAX_BYTES = 121_000, 2**29  # of a file in memory, float32


@dataclass(frozen=True)
class Reading:
    """How files are read that keep to the format roughly only.

    Args:
        tolerant: whether slightly negative energies are set to 0 (`clip_negative`), and labels within 1e-3 of the
            reference's are these (else within 1e-5).
        match_seed: of the showers that are chosen so that the incident energies have the reference's shares; None: all
            showers are read.
        reference: incident energies of the reference, `[m]`, MeV; None: this is the reference.
    """

    tolerant: bool = False
    match_seed: int | None = None
    reference: np.ndarray | None = None


EXACT = Reading()


class ShowerFile:
    """Shower files of any size, read as one a block of rows at a time; for `with` blocks.

    Several threads may read at once: HDF5 lets one of them in, the others work on what they have read. Blocks have no
    conditions (`given` has them) and no attributes, and whether the energies are in MeV is not checked (`require_mev`:
    a block may be too small to tell).

    Args:
        path: the file, or several.
        geometry: of its showers.
        max_bytes: size of a block in float64. A block is whole chunks of the file where that many fit; where a single
            chunk has more rows, it is unpacked once for each of its blocks.
        reading: what is changed or left out.

    Raises:
        DataFormatError: missing, truncated or foreign file; missing dataset; no showers.
        GeometryError: another number of cells or voxels than the geometry has.
    """

    def __init__(self, path: Files, geometry: Geometry, max_bytes: int = 2**25, reading: Reading = EXACT) -> None:
        self.paths, self.geometry, self.reading = paths_of(path), geometry, reading
        with ExitStack() as opened:
            found = [self._open(item, opened) for item in self.paths]
            self._energies = [energies for _, energies, _ in found]
            self._others = [others for _, _, others in found]
            self._starts = np.cumsum([0, *map(len, self._energies)])
            given = np.concatenate([labels for labels, _, _ in found])
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

    def _open(self, path: Path, opened: ExitStack) -> tuple[np.ndarray, Any, dict[str, Any]]:
        """Labels of a file, and where its energies and conditions lie."""
        file = opened.enter_context(open_file(path))
        with damage_named(path):
            labels, energies = find_showers(file, path, self.geometry, opened, whole=False)
            return labels[:].reshape(-1), energies, find_conditions(file, len(energies), opened)

    def _blocks(self, max_bytes: int) -> Iterator[slice]:
        """Rows of each block, among those that were chosen."""
        for first, energies in zip(self._starts, self._energies, strict=False):
            step, chunk = max(1, max_bytes // (8 * self.geometry.size)), (energies.chunks or (1,))[0]
            step -= step % chunk if step > chunk else 0
            for start in range(0, len(energies), step):
                edges = first + start, first + min(start + step, len(energies))
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
        """What messages call it."""
        more = f" and {len(self.paths) - 1} more" if len(self.paths) > 1 else ""
        return f"{self.paths[0]}{more}"

    @cached_property
    def given(self) -> Conditions:
        """What was given of all showers before they were made: conditions that all files have."""
        first, *rest = self._others
        names = [name for name in first if all(name in others for others in rest)]
        with damage_named(self.paths[0]):
            others = {name: np.concatenate([item[name][:] for item in self._others]) for name in names}
        return Conditions(self.incident_energies, {name: values[self._chosen] for name, values in others.items()})

    def blocks(self) -> Iterator[tuple[slice, Showers]]:
        """Gives all showers in their order, some rows at a time."""
        for rows in self.rows:
            yield rows, self.read(rows)

    @property
    def notes(self) -> list[str]:
        """What of the blocks that were read was changed or left out, a sentence each."""
        found = []
        if len(self) < self._starts[-1]:
            found.append(
                f"{len(self):,} of its {self._starts[-1]:,} showers were taken, so that the shares of energies agree"
            )
        moved = self._labels != self.incident_energies
        if moved.any():
            largest = np.abs(self._labels[moved] / self.incident_energies[moved] - 1).max()
            known = "one another" if self.reading.reference is None else "the reference's"
            found.append(
                f"{moved.sum():,} incident energies were off {known} by up to {largest:.1g} of them and count as equal"
            )
        clipped = sum(self._clipped.values(), Negative())
        if clipped:
            found.append(f"set to 0 were {clipped}")
        return found

    def read(self, rows: slice) -> Showers:
        """One of the blocks `rows`, checked.

        Raises:
            DataFormatError: damaged file; NaN or negative energies.
        """
        part = int(np.searchsorted(self._starts, self._chosen[rows.start], side="right")) - 1
        chosen = self._chosen[rows] - self._starts[part]
        first, end, path = int(chosen[0]), int(chosen[-1]) + 1, self.paths[part]
        with damage_named(path):
            energies = self._energies[part][first:end]
        if len(energies) > len(chosen):
            energies = energies[chosen - first]
        labels = self.incident_energies[rows]
        if self.reading.tolerant:
            energies, self._clipped[rows.start] = clip_negative(energies, labels)
        try:
            return Showers(self.geometry, labels, energies)
        except CalogenError as error:
            part_only = "negative" in str(error) and len(labels) < len(self)
            more = f" (of {len(labels):,} of {len(self):,} showers; the others are not counted)" if part_only else ""
            raise type(error)(f"{path}, showers {first} to {end - 1}: {error}{more}") from error


def paths_of(files: Files) -> tuple[Path, ...]:
    """Paths of a file or of several."""
    return (Path(files),) if isinstance(files, str | Path) else tuple(map(Path, files))


def read_given(path: Path) -> Conditions:
    """What was given of the showers of a file, which need not hold the showers themselves.

    Raises:
        DataFormatError: missing, damaged or foreign file; incident energies that are not above 0.
    """
    with open_file(path) as file, damage_named(path), ExitStack() as opened:
        labels = find_labels(file, path, opened)
        others = {name: item[:] for name, item in find_conditions(file, len(labels), opened).items()}
        return Conditions(snap(labels[:].reshape(-1)), others)


def read_some(path: Files, geometry: Geometry, max_showers: int | None, seed: int, reading: Reading = EXACT) -> Showers:
    """At most so many showers of a file, a random part of them in the file's order.

    Args:
        path, geometry: the file, or several.
        max_showers: how many; None: 121,000 or 512 MiB of them.
        seed: of the draw.
        reading: what is changed or left out.

    Raises:
        CalogenError: the file is missing, damaged or foreign.
    """
    with ShowerFile(path, geometry, reading=reading) as file:
        number = min(len(file), max_showers or min(_MAX_SHOWERS, max(2, _MAX_BYTES // (4 * geometry.size))))
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
