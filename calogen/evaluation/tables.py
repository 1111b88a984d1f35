"""Tables of observables of samples, which are read from files block by block."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np

from calogen.cluster import common_workers
from calogen.observables.observable import Observable
from calogen.parallel import in_order
from calogen.progress import progress
from calogen.showers.files import Excerpt, Files, Reading, ShowerFile
from calogen.showers.geometry import Geometry
from calogen.showers.labels import discrete_energies, require_known_energies
from calogen.showers.sample import Negative, Showers, concatenate

TableT = TypeVar("TableT", bound="SampleTable")
_TASKS = 1000  # blocks that wait at workers at a time


@dataclass(frozen=True, kw_only=True)
class SampleTable(ABC):
    """Observables of a sample of showers.

    Args:
        incident_energies: `[n]`, MeV.
        columns: observables `[n]` by name.
        hashes: of all showers, `[n]` (`copies.hash_showers`).
        examples: some of the showers, of all energies, for pictures and to find copies.
        notes: sentences on changes that were made to the showers.
    """

    incident_energies: np.ndarray
    columns: Mapping[str, np.ndarray]
    hashes: np.ndarray
    examples: Showers
    notes: tuple[str, ...] = ()

    by_shower: ClassVar[tuple[str, ...]] = ("incident_energies", "hashes")
    """Names of the arrays with a row for each shower."""
    by_filled: ClassVar[tuple[str, ...]] = ()
    """Names of the arrays with a row for each filled cell, shower by shower."""

    @property
    @abstractmethod
    def observables(self) -> tuple[Observable, ...]:
        """The observables with one value for each shower."""

    def __len__(self) -> int:
        return len(self.incident_energies)

    def __getitem__(self, name: str) -> np.ndarray:
        """Values of an observable."""
        return self.columns[name]

    def where(self, rows: np.ndarray) -> Self:
        """The part that a mask `[n]` selects; the examples stay those of the whole sample."""
        arrays: dict[str, Any] = {name: getattr(self, name)[rows] for name in self.by_shower}
        return replace(self, columns={name: values[rows] for name, values in self.columns.items()}, **arrays)

    @classmethod
    def join(cls, parts: Sequence[Self], examples: Showers) -> Self:
        """The table of all parts together, with these examples."""
        names = (*cls.by_shower, *cls.by_filled)
        arrays: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns}
        return replace(parts[0], columns=columns, examples=examples, **arrays)


def without_showers(table: TableT) -> TableT:
    """The table of a block, which holds no more of the block than a copy of one shower."""
    return replace(table, examples=table.examples[np.arange(1)])


@dataclass(frozen=True)
class Reader(Generic[TableT]):
    """How tables of showers of one kind are read.

    Args:
        geometry: of the showers, or a window of their cells.
        read: function of files and of how to read them that gives a table.
        min_energy: cells below it count as empty where copies are looked for, MeV.
        energies_of: function of incident energies that gives the different ones, sorted, or none if they are
            continuous.
    """

    geometry: Geometry
    read: Callable[[Files, Reading], TableT]
    min_energy: float
    energies_of: Callable[[np.ndarray], np.ndarray] = discrete_energies


def read_all(inputs: Mapping[str, Files], reader: Reader[TableT], tolerant: bool, unchecked: str) -> dict[str, TableT]:
    """Tables of samples, whose incident energies are those of the first one, the reference.

    The incident energies of all files are checked before any shower is read.

    Args:
        inputs: files by name of the sample.
        reader: how they are read.
        tolerant: as for `Reading`.
        unchecked: name of the sample that may have other energies than the reference; empty: none.

    Raises:
        CalogenError: a file is missing, damaged or foreign, or has incident energies that the reference lacks.
    """
    readings: dict[str, Reading] = {}
    known: np.ndarray | None = None
    for name, path in inputs.items():
        readings[name] = Reading(tolerant=tolerant, reference=known)
        with ShowerFile(path, reader.geometry, reading=readings[name]) as file:
            if known is None:
                known = file.incident_energies
                energies = reader.energies_of(known)
            elif name != unchecked:
                require_known_energies(name, known, file.incident_energies, energies)
    return {name: reader.read(path, readings[name]) for name, path in inputs.items()}


def read_blocks(file: ShowerFile, table_of: Callable[[Showers], TableT], most_examples: int) -> TableT:
    """The table of a file, which is read block by block.

    Workers of a `common_pool` read the blocks for themselves.

    Args:
        file: the file, which need not fit into memory.
        table_of: function that gives the table of showers, all of which are its examples; a function of a module, so
            that workers find it.
        most_examples: as for `choose_examples`.

    Raises:
        CalogenError: the file is damaged, or its showers are not in MeV.
    """
    chosen = choose_examples(file.incident_energies, most_examples)
    places = [np.flatnonzero(chosen[rows]) for rows in file.rows]
    tables: list[TableT] = []
    examples: list[Showers] = []
    responses = np.empty(len(file))
    with progress(f"reading {file.name}", len(file.rows), "blocks") as bar:
        for rows, (table, some, response, clipped) in zip(file.rows, _parts(file, places, table_of), strict=True):
            tables.append(table)
            examples += [some] if some else []
            responses[rows] = response
            if clipped is not None:  # a worker has counted
                file.count_clipped(rows, clipped)
            bar.advance()
    file.require_mev(responses)
    return replace(tables[0].join(tables, concatenate(examples)), notes=tuple(file.notes))


def choose_examples(incident_energies: np.ndarray, most: int) -> np.ndarray:
    """Which showers are examples of a sample, `[n]`.

    They lie at even distances among the showers of each energy. There are at most as many as `most`, and one more for
    each energy, so that none is left out.
    """
    step, chosen = -(-len(incident_energies) // most), np.zeros(len(incident_energies), bool)
    for energy in discrete_energies(incident_energies):
        chosen[np.flatnonzero(incident_energies == energy)[::step]] = True
    if not chosen.any():
        chosen[::step] = True
    return chosen


_Part = tuple[TableT, Showers | None, np.ndarray, Negative | None]
"""Table, examples if there are any, responses, and what was set to 0 if the file does not know it."""


def _parts(
    file: ShowerFile, places: list[np.ndarray], table_of: Callable[[Showers], TableT]
) -> Iterator[_Part[TableT]]:
    """The parts of all blocks, whose examples have these places in them."""
    pool = common_workers()
    if pool is not None:
        tasks = ((file.excerpt(rows), some) for rows, some in zip(file.rows, places, strict=True))
        yield from in_order(pool, partial(_read_part, table_of), tasks, _TASKS)
        return
    for rows, some in zip(file.rows, places, strict=True):
        showers = file.read(rows)
        yield without_showers(table_of(showers)), showers[some] if len(some) else None, showers.response, None


def _read_part(table_of: Callable[[Showers], TableT], task: tuple[Excerpt, np.ndarray]) -> _Part[TableT]:
    """The part of a block that this worker reads."""
    excerpt, some = task
    showers, clipped = excerpt.read()
    return without_showers(table_of(showers)), showers[some] if len(some) else None, showers.response, clipped
