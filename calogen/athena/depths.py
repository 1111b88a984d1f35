"""A stand-in for the file that tells Athena's GAN class how deep energy lies.

The class opens a tree of extrapolation weights and uses the mean of each branch: w places a layer's hits at
(1 - w) entrance + w exit of the particle's straight line. Voxels do not keep the depth; the means here are those of the
bundled Geant4 simulation (`simulation.depths`), whose detector is simplified: a placeholder for the experiment's own.

Source: `TFCSGANEtaSlice::ExtractExtrapolatorMeansFromInputs` of FastCaloSim; the means are ours.
"""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

import numpy as np

from calogen.athena.folder import MARK, WIDTH
from calogen.files import atomic_path, read_json_table

MOMENTUM = 2.0**16
"""Momentum of the showers in the file that the class looks for by its name, MeV."""
NOTE = (
    "Placeholder by calogen: mean depth in the layer, from Geant4 with a simplified detector, not the experiment's; "
    "0.5 in layers that it lacks."
)
"""What the file says of itself."""
_RANGE = 0.01, 1.0  # of the class's histogram, whose mean it takes
_UNKNOWN = 0.5  # the middle of a layer
_NUM_ENTRIES = 10  # of the tree, all alike
_DATA = Path(__file__).parents[1] / "data"


def file_name(pid: int, eta: int) -> str:
    """Gives a file's path below the networks; `eta` is 100 times the slice's lower edge."""
    return f"rootFiles/pid{pid}_E{MOMENTUM:.0f}_eta_{eta}_{eta + WIDTH}_validation.root"


def mean_depths(particle: str, layer_ids: Sequence[int]) -> dict[int, float]:
    """Gives the mean depth of the energy in each layer, 0 at its face and 1 at its end.

    Electrons have the depths of photons, and protons those of pions.

    Args:
        particle: one of `interface.PIDS`.
        layer_ids: ids of the layers; those that were not simulated have 0.5.
    """
    sample = "photons" if particle in ("photon", "electron") else "pions"
    rows = read_json_table(_DATA / f"{sample}_depths.json")["rows"]
    known = {row["layer"]: row["mean"] for row in rows if row["incident_energy"] == MOMENTUM}
    low, high = _RANGE
    return {number: float(np.clip(known.get(number, _UNKNOWN), low, np.nextafter(high, low))) for number in layer_ids}


def write_depths(path: Path, depths: Mapping[int, float]) -> None:
    """Writes the tree `rootTree` with a branch for each layer; it needs uproot."""
    uproot = import_module("uproot")
    branches = {f"extrapWeight_{number}": np.full(_NUM_ENTRIES, depth) for number, depth in depths.items()}
    with atomic_path(path) as temporary, uproot.recreate(temporary) as file:
        file[MARK] = NOTE
        # by assignment, newer versions of uproot write an RNTuple, which the class does not read
        tree = file.mktree("rootTree", dict.fromkeys(branches, np.float64))
        tree.extend(branches)
