"""Showers of a study that Geant4 simulates on first use, where none are bundled.

The files lie beside the study's runs and are used again by every later call. An interrupted simulation goes on where it
stopped.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any  # arguments of a `Request`

import numpy as np

from calogen.config import require
from calogen.errors import DataFormatError
from calogen.hdf5 import damage_named, dataset_shape, open_file
from calogen.reproduction.experiment import Arguments
from calogen.reproduction.study import Data
from calogen.reproduction.study_data import require_energies, snap_showers
from calogen.showers.bundled import HONEST_NOTE
from calogen.showers.geometry import Geometry
from calogen.showers.sample import Showers, concatenate
from calogen.simulation.production import Request, produce, request_of

TRAIN = "train"
"""Name of the sample that trains; the others are compared with generated showers."""


def simulated(request: Request) -> Path:
    """The file of a production, which is made if there is none.

    Raises:
        ConfigError: Geant4 is missing, or the file comes from another production.
        DataFormatError: the file is no output of `calogen simulate`.
        CalogenError: the file cannot be written.
    """
    path = request.output
    if not path.exists():
        produce(request)
        return path
    received = request_of(path)
    with open_file(path) as file, damage_named(path):
        received["showers"] = (dataset_shape(file, "incident_energies") or (0,))[0]
    wanted = {name: getattr(request, name) for name in received}
    wanted["showers"] = sum(count for _, count in request.counts)
    require(
        received == wanted,
        f"{path} must come from the production {wanted}: remove it, so that it is made again. Received: {received}",
    )
    return path


def read_or_simulate(
    arguments: Arguments,
    folder: Path,
    geometry: Geometry,
    samples: Mapping[str, Mapping[str, Any]],
    tested: Sequence[float],
) -> Data:
    """Reads the user's two files, or else showers that are simulated on first use.

    Args:
        arguments: names of the user's files, and how to read them.
        folder: where simulated showers lie.
        geometry: geometry of the showers.
        samples: arguments of a `Request` but the output, by the sample's name; one of them is `TRAIN`.
        tested: incident energies, MeV, at which generated showers are compared.

    Returns:
        Showers to train with, and those of the `tested` energies to compare with.

    Raises:
        ConfigError: one of two files is missing; or as `simulated`.
        DataFormatError, GeometryError: as `Showers.read`, or an energy has fewer than two showers to compare with.
    """
    require(
        (arguments.train_data is None) == (arguments.test_data is None),
        "--train-data and --test-data go together. Received: one of the two",
    )
    given = {TRAIN: arguments.train_data, "test": arguments.test_data}
    files = {name: path for name, path in given.items() if path is not None}
    own = bool(files)
    if not own:
        for name, sample in samples.items():
            output = folder / f"{name}-{'-'.join(map(str, sample['showers']))}.h5"
            files[name] = simulated(Request(output=output, **sample))
    train = Showers.read(files[TRAIN], geometry, tolerant=arguments.tolerant)
    if len(train) < 2:
        raise DataFormatError(f"{files[TRAIN]} must hold two showers or more. Received: {len(train)}")
    note, parts = ", ".join(path.name for path in files.values()), []
    for name, path in files.items():
        if name != TRAIN:
            part = Showers.read(path, geometry, tolerant=arguments.tolerant)
            moved, changes = snap_showers(path, part, tested, arguments.tolerant)
            require_energies(path, moved, tested)
            parts.append(moved[np.isin(moved.incident_energies, tested)])
            note += changes
    note += "" if own else f" ({HONEST_NOTE})"
    return Data(train=train, held_out=None, files=files, note=note, compared=concatenate(parts))
