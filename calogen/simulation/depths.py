"""Mean depths of the energy in each layer, to place hits along a particle's path.

    calogen simulate --depths --energies 1024:65536:x2 --showers 100 --output depths.h5
    python -m calogen.simulation.depths depths.h5 depths.json

ATLAS's classes call such a number w the layer's extrapolation weight: a hit lies at (1 - w) entrance + w exit of the
straight line through the layer. The depth of a deposit is that of the start of its step; in the presampler, which is
one gap of argon, this is nearer to the face than the deposit itself.
"""

import sys
from pathlib import Path
from typing import Any  # the values of JSON tables

import numpy as np

from calogen.command import clean_exit
from calogen.errors import ConfigError, DataFormatError
from calogen.files import write_json
from calogen.hdf5 import damage_named, open_file
from calogen.process import show

_ABOUT = ("detector", "particle", "physics", "seed", "note", "geant4_pybind", "commit")


def read_depths(path: Path) -> dict[str, Any]:
    """Mean depths by incident energy and layer, with a description of their simulation.

    Args:
        path: an output of `calogen simulate --depths`.

    Returns:
        the file's attributes, and `rows`: one table for each energy and each layer with energy, which holds
        `incident_energy` (MeV), `layer`, `mean` (0: the layer's face, 1: its end; weighted with the energy inside each
        shower, then averaged over showers), its standard `error` (None for one shower), the `spread` between showers,
        and the number of `showers`.

    Raises:
        DataFormatError: the file is no such output.
    """
    with open_file(path) as file, damage_named(path):
        if not {"depths", "layer_ids"} <= {*file, *file.attrs}:
            raise DataFormatError(f"{path} must be an output of calogen simulate --depths. Received: {sorted(file)}")
        depths, energies = file["depths"][:], file["incident_energies"][:].reshape(-1)
        layer_ids, attributes = file.attrs["layer_ids"], dict(file.attrs)
    rows = []
    for energy in np.unique(energies).tolist():
        for layer_id, column in zip(layer_ids.tolist(), depths[energies == energy].T, strict=True):
            values = column[np.isfinite(column)]
            if len(values):
                rows.append(_row(values) | {"incident_energy": energy, "layer": layer_id})
    return {name: attributes[name] for name in _ABOUT if name in attributes} | {"rows": rows}


def _row(values: np.ndarray) -> dict[str, Any]:
    spread = float(values.std(ddof=1)) if len(values) > 1 else None
    error = None if spread is None else spread / float(np.sqrt(len(values)))
    return {"mean": float(values.mean()), "error": error, "spread": spread, "showers": len(values)}


def main(arguments: list[str]) -> None:
    """The command: a file to read, and one to write."""
    if len(arguments) != 2:
        raise ConfigError(f"two files are needed: showers, and the file to write. Received: {arguments}")
    write_json(arguments[1], read_depths(Path(arguments[0])))
    show(arguments[1])


if __name__ == "__main__":
    with clean_exit("calogen.simulation.depths"):
        main(sys.argv[1:])
