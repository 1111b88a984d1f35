"""Writing of grid showers in the public layout of `grid_files`, for other programs.

python -m calogen.showers.public ild_photons.h5 photons.hdf5
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from calogen.command import clean_exit
from calogen.errors import ConfigError
from calogen.hdf5_writing import write_hdf5
from calogen.process import show
from calogen.progress import progress
from calogen.showers.bundled import known_geometry
from calogen.showers.files import ShowerFile
from calogen.showers.geometry import require_kind
from calogen.showers.grid import RegularGrid
from calogen.showers.grid_files import public_datasets


def write_public(path: str | Path, output: str | Path) -> None:
    """Write the showers of a file in the public layout, block by block.

    Args:
        path: a file of showers of a regular grid, in any layout.
        output: the file to write, whole or not at all.

    Raises:
        GeometryError: the showers are of no regular grid.
        CalogenError: a file cannot be read or written.
    """
    grid = require_kind(known_geometry(path), RegularGrid, "the public layout needs showers of a regular grid")
    with ShowerFile(path, grid) as file, progress("writing showers", len(file), "showers") as bar:

        def tables() -> Iterator[dict[str, np.ndarray]]:
            for rows, block in file.blocks():
                conditions = {name: values[rows] for name, values in file.given.others.items()}
                yield public_datasets(grid, block.incident_energies, block.energies, conditions)
                bar.advance(len(block))

        write_hdf5(output, tables(), len(file), {}, level=4)


def main(arguments: list[str]) -> None:
    """The command: a file to read, and one to write."""
    if len(arguments) != 2:
        raise ConfigError(f"two files are needed: showers, and the file to write. Received: {arguments}")
    write_public(*arguments)
    show(arguments[1])


if __name__ == "__main__":
    with clean_exit("calogen.showers.public"):
        main(sys.argv[1:])
