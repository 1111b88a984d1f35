"""Reading of samples in files, block by block, into tables of observables."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TypeVar

import numpy as np

from calogen.cluster import common_workers
from calogen.parallel import in_order
from calogen.progress import progress
from calogen.showers.files import Excerpt, Files, Reading, ShowerFile
from calogen.showers.geometry import Geometry
from calogen.showers.labels import discrete_energies, require_known_energies
from calogen.showers.sample import Negative, Showers, concatenate

TableT = TypeVar("TableT")
_TASKS = 1000  # blocks that wait at workers at a time


def read_all(
    inputs: Mapping[str, Files],
    geometry: Geometry,
    tolerant: bool,
    unchecked: str,
    read: Callable[[Files, Reading], TableT],
    energies_of: Callable[[np.ndarray], np.ndarray] = discrete_energies,
) -> dict[str, TableT]:
    """Tables of samples, whose incident energies are those of the first one, the reference.

    The incident energies of all files are checked before any shower is read.

    Args:
        inputs: files by name of the sample.
        geometry: of the showers, or a window of their cells.
        tolerant: as for `Reading`.
        unchecked: name of the sample that may have other energies than the reference; empty: none.
        read: function of files and of how to read them that gives a table.
        energies_of: function of the reference's incident energies that gives the different ones, sorted, or none if
            they are continuous.

    Raises:
        CalogenError: a file is missing, damaged or foreign, or has incident energies that the reference lacks.
    """
    readings: dict[str, Reading] = {}
    known: np.ndarray | None = None
    for name, path in inputs.items():
        readings[name] = Reading(tolerant=tolerant, reference=known)
        with ShowerFile(path, geometry, reading=readings[name]) as file:
            if known is None:
                known = file.incident_energies
            elif name != unchecked:
                require_known_energies(name, known, file.incident_energies, energies_of(known))
    return {name: read(path, readings[name]) for name, path in inputs.items()}


def describe_file(
    file: ShowerFile, describe: Callable[[Showers], TableT], most_examples: int
) -> tuple[list[TableT], Showers]:
    """What a function makes of each block of a file, and examples of the file's showers.

    Workers of a `common_pool` read the blocks for themselves.

    Args:
        file: the file, which need not fit into memory.
        describe: function of a block; a function of a module, so that workers find it. What it gives must not hold the
            block, which would stay in memory.
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
        for rows, (table, some, response, clipped) in zip(file.rows, _parts(file, places, describe), strict=True):
            tables.append(table)
            examples += [some] if some else []
            responses[rows] = response
            if clipped is not None:  # a worker has counted
                file.count_clipped(rows, clipped)
            bar.advance()
    file.require_mev(responses)
    return tables, concatenate(examples)


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
    file: ShowerFile, places: list[np.ndarray], describe: Callable[[Showers], TableT]
) -> Iterator[_Part[TableT]]:
    """The parts of all blocks, whose examples have these places in them."""
    pool = common_workers()
    if pool is not None:
        tasks = ((file.excerpt(rows), some) for rows, some in zip(file.rows, places, strict=True))
        yield from in_order(pool, partial(_read_part, describe), tasks, _TASKS)
        return
    for rows, some in zip(file.rows, places, strict=True):
        showers = file.read(rows)
        yield describe(showers), showers[some] if len(some) else None, showers.response, None


def _read_part(describe: Callable[[Showers], TableT], task: tuple[Excerpt, np.ndarray]) -> _Part[TableT]:
    """The part of a block that this worker reads."""
    excerpt, some = task
    showers, clipped = excerpt.read()
    return describe(showers), showers[some] if len(some) else None, showers.response, clipped
