"""Reading of samples in files, block by block, into tables of observables."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

import numpy as np

from calogen.cluster import common_workers
from calogen.parallel import in_order
from calogen.progress import progress
from calogen.showers.files import Excerpt, ShowerFile
from calogen.showers.grid import RegularGrid
from calogen.showers.sample import Negative, Showers, require_mev

PartT = TypeVar("PartT")
_TASKS = 1000  # blocks that wait at workers at a time


def describe_file(file: ShowerFile, describe: Callable[[Showers, int], PartT]) -> Iterator[PartT]:
    """Gives in the file's order what a function makes of each block.

    Workers of a `common_pool` read the blocks for themselves.

    Args:
        file: the file, which need not fit into memory.
        describe: function of a block and of the number of its first shower; workers need to find it by its name.

    Raises:
        CalogenError: the file is damaged, or, after the last block, its showers are not in MeV.
    """
    responses: list[np.ndarray] = []
    with progress(f"reading {file.name}", len(file.rows), "blocks") as bar:
        for rows, (part, response, clipped) in zip(file.rows, _parts(file, describe), strict=True):
            responses.append(response)
            if clipped is not None:  # a worker has counted
                file.count_clipped(rows, clipped)
            yield part
            bar.advance()
    require_mev(file.incident_energies, np.concatenate(responses), visible=isinstance(file.geometry, RegularGrid))


def _parts(
    file: ShowerFile, describe: Callable[[Showers, int], PartT]
) -> Iterator[tuple[PartT, np.ndarray, Negative | None]]:
    """What `_read_part` gives of all blocks.

    Without workers the last item is None, as the file has counted what was set to 0.
    """
    pool = common_workers()
    if pool is not None:
        tasks = ((file.excerpt(rows), rows.start) for rows in file.rows)
        yield from in_order(pool, partial(_read_part, describe), tasks, _TASKS)
        return
    for rows in file.rows:
        showers = file.read(rows)
        yield describe(showers, rows.start), showers.response, None


def _read_part(
    describe: Callable[[Showers, int], PartT], task: tuple[Excerpt, int]
) -> tuple[PartT, np.ndarray, Negative]:
    """A block's description and responses, and what was set to 0 in it."""
    excerpt, start = task
    showers, clipped = excerpt.read()
    return describe(showers, start), showers.response, clipped


def example_step(number: int, most: int) -> int:
    """Each shower at this distance is an example, so that there are at most `most`."""
    return -(-number // most)


def take_examples(block: Showers, start: int, step: int) -> Showers:
    """Copies of those showers of a block that are examples.

    Args:
        block: showers of a sample.
        start: number of its first shower in the sample.
        step: distance of the examples in the sample (`example_step`).
    """
    return block[np.arange(-start % step, len(block), step)]
