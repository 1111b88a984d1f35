"""Showers of a study that Geant4 simulates on first use, where none are bundled.

The files lie beside the study's runs and are used again by every later call. An interrupted simulation goes on where it
stopped; of several processes one simulates, and the others wait for its file.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any  # arguments of a `Request`

import numpy as np

from calogen.config import require
from calogen.hdf5 import damage_named, open_file
from calogen.locks import directory_lock
from calogen.reproduction.experiment import Arguments
from calogen.reproduction.study import Data
from calogen.reproduction.study_data import TRAIN, read_compared, require_one_edition, require_together
from calogen.showers.geometry import Geometry
from calogen.simulation.production import produce, request_of
from calogen.simulation.request import Request

_WAIT = 2 * 86400.0  # seconds for the files of another process; those of preset paper take hours of one core
_ROUNDED = 1e-5  # a file states the range of its energies with six digits


def simulated(request: Request) -> Path:
    """The file of a production, which is made if there is none.

    A process that makes it holds the folder meanwhile; others wait and find the file.

    Raises:
        ConfigError: Geant4 is missing, or the file comes from another production.
        DataFormatError: the file is no output of `calogen simulate`.
        TemporaryError: another process holds the folder for days.
        CalogenError: the file cannot be written.
    """
    path = request.output
    if not path.exists():
        with directory_lock(path.parent, _WAIT):
            if not path.exists():  # another process may have made it meanwhile
                produce(request)
    received = _held(path)
    wanted = {name: getattr(request, name) for name in received} | _energies_of(request)
    require(
        received == wanted,
        f"{path} must come from the production {wanted}: remove it, so that it is made again. Received: {received}",
    )
    return path


def _energies_of(request: Request) -> dict[str, Any]:
    """Energies, MeV, and numbers of showers of a request, as `_held` finds them in its file."""
    if request.uniform:
        energies = tuple(float(f"{energy:g}") for energy in request.energies)
        return {"energies": energies, "showers": request.showers[:1]}
    energies, showers = zip(*sorted(request.counts), strict=True)
    return {"energies": energies, "showers": showers}


def _held(path: Path) -> dict[str, Any]:
    """Arguments of the `Request` that produced a file without its output.

    Uniform energies are the stated range if all showers are inside, or else the lowest and the highest one.
    """
    found = request_of(path)
    with open_file(path) as file, damage_named(path):
        between = file.attrs.get("uniform")
        values, showers = np.unique(file["incident_energies"][:], return_counts=True)
        if between is None:
            return found | {"uniform": False, "energies": tuple(values.tolist()), "showers": tuple(showers.tolist())}
        energies, seen = tuple(map(float, str(between).split(":"))), (float(values[0]), float(values[-1]))
        inside = energies[0] * (1 - _ROUNDED) <= seen[0] and seen[1] <= energies[-1] * (1 + _ROUNDED)
        return found | {"uniform": True, "energies": energies if inside else seen, "showers": (int(showers.sum()),)}


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
        DataFormatError, GeometryError: as `read_compared`.
        TemporaryError: as `simulated`.
    """
    require_one_edition(arguments)
    require_together({"--train-data": arguments.train_data, "--test-data": arguments.test_data})
    given = {TRAIN: arguments.train_data, "test": arguments.test_data}
    files = {name: path for name, path in given.items() if path is not None}
    if not files:
        for name, sample in samples.items():
            output = folder / f"{name}-{'-'.join(map(str, sample['showers']))}.h5"
            files[name] = simulated(Request(output=output, **sample))
    data, _ = read_compared(arguments, files, geometry, tested)
    return data
