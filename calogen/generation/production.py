"""Generation of showers into a file, by this process or by workers, and resumable.

Each block of `BLOCK_SHOWERS` showers has noise of its own, so that blocks are made in any order, anywhere. A finished
block is a small file beside the output, and a second call goes on where a killed one stopped. The blocks are joined
without a new compression.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, as_completed
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from calogen.cluster import worker_pool
from calogen.config import require
from calogen.files import listed, read_json, remove_folder, require_space, sha256, write_json
from calogen.generation.generate import generate_blocks, needs_of
from calogen.generation.load import load_run
from calogen.hdf5_writing import join_hdf5, link_hdf5
from calogen.locks import directory_lock, require_same
from calogen.progress import progress
from calogen.showers.conditions import Conditions
from calogen.showers.files import read_given
from calogen.showers.layouts import MAX_DEFLATE
from calogen.showers.sample import Showers, write_blocks
from calogen.training.latent import BLOCK_SHOWERS
from calogen.training.run import TrainedRun

_KEPT: dict[str, tuple[list[TrainedRun], Conditions]] = {}  # in a worker: runs and conditions of its last order
_MOST_TASKS = 4000  # of a generation
_SUFFIXES = (".keras", ".json", ".npz", ".h5")  # of a run's files


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is generated.

    Args:
        runs: folders of trained runs that share the momenta.
        source: conditions of the showers, or a file with the conditions of its showers.
        copies: number of showers for each of the conditions.
        seed: seed of the latent points.
        identity: digest of everything that decides the showers.
    """

    runs: tuple[Path, ...]
    source: Path | Conditions
    copies: int
    seed: int
    identity: str


def write_generated(
    path: Path,
    runs: Sequence[Path],
    source: Path | Conditions | Sequence[float],
    copies: int,
    seed: int,
    cluster: str | None = None,
    files: int = 1,
) -> None:
    """Generates showers into a file; see `generate_blocks`.

    Args:
        path: the HDF5 file to write.
        runs: folders of trained runs that share the momenta.
        source: conditions of the showers, incident energies alone, MeV, or a file with the conditions of its showers.
        copies, seed: as for `generate_blocks`.
        cluster: where it is done, as for `cluster.worker_pool`; None: in this process.
        files: number of files, of whole blocks, to which the file then only refers (an HDF5 virtual data set).

    Raises:
        CalogenError: as for `generate_blocks`; the file cannot be written, the disk cannot hold the showers, or there
            are blocks of another generation, or files of the same names, beside it.
    """
    given = source.absolute() if isinstance(source, Path) else Conditions.of(source)
    folders = tuple(run.absolute() for run in runs)
    loaded, conditions = _read(folders, given)
    total, path = copies * len(conditions), path.absolute() if cluster else path
    pieces = generate_blocks(loaded, conditions, seed, copies=copies)  # refuses what cannot be generated
    number = -(-total // BLOCK_SHOWERS)
    require(1 <= files <= number, f"files must be 1..{number}, the blocks of {BLOCK_SHOWERS:,}. Received: {files}")
    least = 4 * total * loaded[0].geometry.size // MAX_DEFLATE
    if number == 1 and cluster is None:
        require_space(path, least)
        with progress("generating", total, "showers") as bar:
            write_blocks(path, _counted(pieces, bar.advance), total, total)
        return
    parts, names = path.with_name(path.name + ".parts"), _names(path, files)
    present = sum(item.stat().st_size for item in listed(parts) if item.is_file())
    require_space(path, 2 * least - present)  # the blocks, and the files into which they are joined
    require_space(parts, least - present)  # which lie beside a link, perhaps on another disk than its target
    split, blocks = parts / "files.json", [parts / f"block-{block:06d}.h5" for block in range(number)]
    with directory_lock(parts):
        identity = _identity(folders, loaded, conditions, (copies, seed))
        order = Order(runs=folders, source=given, copies=copies, seed=seed, identity=json.dumps(identity))
        _KEPT.update({order.identity: (loaded, conditions)})
        taken = [name for name in names if name != path and os.path.lexists(name)]
        require(split.exists() or not taken, f"--files would overwrite {', '.join(map(str, taken))}: remove them")
        require_same(parts, identity, "blocks of another generation")
        begun = read_json(split) if split.exists() else files
        require(begun == files, f"an earlier call has begun {begun} files: give --files {begun}. Received: {files}")
        missing = {block: blocks[block] for block in range(number) if not blocks[block].exists()}
        groups = [[blocks[block] for block in group] for group in np.array_split(np.arange(number), files)]
        joins = {name: group for name, group in zip(names, groups, strict=True) if files == 1 or not name.exists()}
        with nullcontext() if cluster is None or not missing else worker_pool(cluster) as pool:
            _compute(order, missing, total, pool, partial(_require_room, path, parts, blocks))
            write_json(split, files)
            _join(joins, pool if files > 1 else None)
        if files > 1:
            link_hdf5(path, names)
        remove_folder(parts)


def _names(path: Path, files: int) -> list[Path]:
    """Names of the files that hold the showers."""
    if files == 1:
        return [path]
    return [path.with_stem(f"{path.stem}-{number:0{len(str(files))}d}") for number in range(1, files + 1)]


def blocks_per_task(number: int) -> int:
    """Blocks of a worker's task: more, where many tasks would keep a scheduler busy."""
    return -(-number // _MOST_TASKS)


def _require_room(path: Path, parts: Path, blocks: Sequence[Path], block: Path) -> None:
    """Refuse, with a `CalogenError`, what does not fit on the disk.

    These are the blocks that are left, and the output. One finished block tells how large they become, as nobody knows
    before how well showers can be compressed.
    """
    size, left = block.stat().st_size, sum(not item.exists() for item in blocks)
    together = parts.stat().st_dev == Path(os.path.realpath(path)).parent.stat().st_dev
    require_space(path, size * (len(blocks) + left * together))
    require_space(parts, size * left)


def _compute(
    order: Order,
    missing: dict[int, Path],
    total: int,
    pool: Executor | None,
    require_room: Callable[[Path], None],
) -> None:
    """Writes the missing blocks, by workers or by this process.

    The first one is shown to `require_room`.
    """
    sizes = {block: min(BLOCK_SHOWERS, total - block * BLOCK_SHOWERS) for block in missing}
    with progress("generating", sum(sizes.values()), "showers") as bar:
        if pool is None:
            for number, (block, path) in enumerate(missing.items()):
                _write_block(order, block, sizes[block], path, bar.advance)
                if not number:
                    require_room(path)
            return
        chosen, step = sorted(missing), blocks_per_task(len(missing))
        groups = [chosen[start : start + step] for start in range(0, len(chosen), step)]
        tasks = {
            pool.submit(_write_group, order, [(block, sizes[block], missing[block]) for block in group]): group
            for group in groups
        }
        for number, task in enumerate(as_completed(tasks)):
            task.result()
            if not number:
                require_room(missing[tasks[task][0]])
            bar.advance(sum(sizes[block] for block in tasks[task]))


def _join(groups: dict[Path, list[Path]], pool: Executor | None) -> None:
    """Joins the blocks of each file, by workers or by this process."""
    with progress("joining", len(groups), "files") as bar:
        joining = (map if pool is None else pool.map)(join_hdf5, list(groups), list(groups.values()))
        for _ in joining:
            bar.advance()


def _write_group(order: Order, blocks: Sequence[tuple[int, int, Path]]) -> None:
    """A worker's task: blocks with sizes and files, but those that another try has written."""
    for block, size, path in blocks:
        if not path.exists():
            _write_block(order, block, size, path)


def _write_block(
    order: Order, block: int, size: int, path: Path, told: Callable[[int], object] = lambda number: None
) -> None:
    """Writes one block; `told` is called with the number of showers of each piece."""
    if order.identity not in _KEPT:
        _KEPT.clear()
        _KEPT[order.identity] = _read(order.runs, order.source)
    loaded, conditions = _KEPT[order.identity]
    pieces = generate_blocks(loaded, conditions, order.seed, copies=order.copies, blocks=[block])
    write_blocks(path, _counted(pieces, told), size, BLOCK_SHOWERS)


def _read(runs: Sequence[Path], source: Path | Conditions) -> tuple[list[TrainedRun], Conditions]:
    """Runs and conditions from their files."""
    loaded = [load_run(directory) for directory in runs]
    return loaded, read_given(source).only(needs_of(loaded)) if isinstance(source, Path) else source


def _counted(pieces: Iterator[Showers], told: Callable[[int], object]) -> Iterator[Showers]:
    """The pieces; after each one its number of showers is told."""
    for piece in pieces:
        number = len(piece)
        yield piece
        del piece  # frees the memory before the next piece is computed
        told(number)


def _identity(
    runs: Sequence[Path], loaded: Sequence[TrainedRun], conditions: Conditions, numbers: tuple[int, int]
) -> dict[str, object]:
    """Everything that decides the showers; `numbers` are copies and seed."""
    content = hashlib.sha256(conditions.incident_energies.tobytes())
    for name in sorted(conditions.others):
        content.update(name.encode() + np.ascontiguousarray(conditions.others[name]).tobytes())
    return {
        "models": [item.model for item in loaded],
        "runs": [_digest(directory) for directory in runs],
        "conditions": content.hexdigest()[:16],
        "copies": numbers[0],
        "seed": numbers[1],
    }


def _digest(directory: Path) -> str:
    """Digest of a run's files, those of a chosen iteration included."""
    found = [path for folder in (directory, directory / "selected") for path in listed(folder)]
    contents = sorted(f"{path.name} {sha256(path)}" for path in found if path.suffix in _SUFFIXES and path.is_file())
    return hashlib.sha256("\n".join(contents).encode()).hexdigest()[:16]
