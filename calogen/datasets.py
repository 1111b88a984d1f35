"""The bundled Geant4 samples: what runs on a laptop without any download."""

from pathlib import Path

from calogen.errors import DataFormatError, GeometryError
from calogen.geometry import ATLAS_BARREL_STORED
from calogen.showers import Showers
from calogen.windows import ATLAS_VAE_WINDOW, select_window

BUNDLED = ("photons_train", "photons_test")
HONEST_NOTE = "Geant4 11.4 with data-free models, simplified stack, no noise"
"""What has to stand wherever numbers from the bundled showers appear."""

_DATA = Path(__file__).parent / "data"


def bundled(name: str) -> Path:
    """Path of a bundled file.

    Raises:
        DataFormatError: there is none of this name.
    """
    if name not in BUNDLED:
        raise DataFormatError(f"bundled samples are {', '.join(BUNDLED)}. Received: {name}")
    return _DATA / f"{name}.h5"


def read_vae_window(path: str | Path) -> Showers:
    """The 276 cells of the ATLAS VAE from a file of stored cells (297) or of the window itself.

    Raises:
        DataFormatError, GeometryError: as `Showers.read` and `select_window`.
    """
    try:
        return Showers.read(path, ATLAS_VAE_WINDOW)
    except GeometryError:
        return select_window(Showers.read(path, ATLAS_BARREL_STORED), ATLAS_VAE_WINDOW)
