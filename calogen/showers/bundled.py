"""The bundled Geant4 samples, with which everything runs on a laptop without a download."""

from pathlib import Path

import numpy as np

from calogen.errors import DataFormatError
from calogen.hdf5 import damage_named, dataset_shape, open_file
from calogen.showers.cells import ATLAS_BARREL_STORED
from calogen.showers.geometry import Geometry
from calogen.showers.grid import RegularGrid
from calogen.showers.grid_files import grid_shape
from calogen.showers.grids import GRIDS, ILD_GRID
from calogen.showers.layouts import missing_dataset
from calogen.showers.sample import Showers
from calogen.showers.voxels import PHOTONS_DATASET1, PIONS_DATASET1, VoxelGeometry
from calogen.showers.windows import ATLAS_GAN_WINDOW, ATLAS_VAE_WINDOW, in_geometry, stored_geometry

KNOWN_GEOMETRIES: tuple[Geometry, ...] = (
    ATLAS_BARREL_STORED,
    ATLAS_VAE_WINDOW,
    ATLAS_GAN_WINDOW,
    PHOTONS_DATASET1,
    PIONS_DATASET1,
    *GRIDS,
)
"""Geometries that are recognised by the numbers of cells or voxels in a file."""
BUNDLED = (
    *("photons_train", "photons_train_high", "photons_test", "pions_train", "pions_test"),
    *("ild_photons_train", "ild_photons_test", "ild_photons_steps"),
)
HONEST_NOTE = "Geant4 11.4 with data-free models, simplified stack, no noise"
"""The note that must stand wherever numbers from the bundled showers appear."""

_DATA = Path(__file__).parents[1] / "data"
_FIRST = 1000
_FIRST_ABOVE = {
    "photons_train": {65536.0: 600, 131072.0: 300, 262144.0: 150},
    "pions_train": {65536.0: 500},
}
"""Numbers of showers by energy, MeV, in the first edition of the training files; `_FIRST` for other energies."""


def bundled(name: str) -> Path:
    """Path of a bundled file; a `DataFormatError` if there is none of this name."""
    if name not in BUNDLED:
        raise DataFormatError(f"bundled samples are {', '.join(BUNDLED)}. Received: {name}")
    return _DATA / f"{name}.h5"


def first_edition(name: str, incident_energies: np.ndarray) -> np.ndarray:
    """Mask of the showers of a bundled training file that its first edition held, `[n]`.

    The files were enlarged by `calogen simulate --extend`, which puts new showers behind the old ones of each energy.
    Results without the note "all bundled showers" are of networks that were trained on the first edition.

    Args:
        incident_energies: `[n]`, MeV, of the whole file.
    """
    chosen = np.zeros(len(incident_energies), bool)
    for energy in np.unique(incident_energies).tolist():
        number = _FIRST_ABOVE.get(name, {}).get(energy, _FIRST)
        chosen[np.flatnonzero(incident_energies == energy)[:number]] = True
    return chosen


def choose_edition(name: str, showers: Showers, first: bool = False) -> tuple[Showers, str]:
    """The showers of a bundled training file to train on, and the note on them.

    The note must stand wherever numbers appear of networks that were trained on them.

    Args:
        first: whether to take the showers of the first edition only.
    """
    if first:
        return showers[first_edition(name, showers.incident_energies)], f"{HONEST_NOTE}; first edition"
    return showers, f"{HONEST_NOTE}; all bundled showers"


def read_showers(path: str | Path, tolerant: bool = False) -> Showers:
    """Showers of a file, whose geometry is one of `KNOWN_GEOMETRIES`.

    Args:
        tolerant: as for `Showers.read`.

    Raises:
        DataFormatError, GeometryError: as for `Showers.read` and `known_geometry`.
    """
    return Showers.read(path, known_geometry(path), tolerant=tolerant)


def known_geometry(path: str | Path) -> Geometry:
    """The one of `KNOWN_GEOMETRIES` that a file's showers have, by dataset and width.

    Raises:
        DataFormatError: the file is no complete HDF5 file, or no known geometry fits.
    """
    with open_file(path) as file, damage_named(path):
        grid = grid_shape(file)
        shapes = {name: dataset_shape(file, name) for name in ("cells", "showers")}
        shapes |= {"grid": grid} if grid else {}
        shapes = {name: shape for name, shape in shapes.items() if shape}
        if not shapes:
            raise missing_dataset(file, path, "showers")
    for geometry in KNOWN_GEOMETRIES:
        if grid and isinstance(geometry, RegularGrid) and geometry.shape == grid:
            return geometry
        if shapes.get(geometry.dataset, ())[1:] == (geometry.size,):
            return geometry
    known = ", ".join(f"{geometry.name} ({geometry.dataset} [n, {geometry.size}])" for geometry in KNOWN_GEOMETRIES)
    raise DataFormatError(f"{path} must hold showers of {known}. Received: {shapes}")


def bundled_for(geometry: Geometry) -> Path:
    """The file with bundled training showers of a geometry, or of cells around its window.

    Raises:
        DataFormatError: there is no such file.
    """
    if isinstance(geometry, RegularGrid) and geometry.shape == ILD_GRID.shape:
        return bundled("ild_photons_train")
    for name in ("photons_train", "pions_train"):
        with open_file(bundled(name)) as file:
            shape = dataset_shape(file, geometry.dataset)
        if shape and shape[1] in (geometry.size, ATLAS_BARREL_STORED.size):
            return bundled(name)
    raise DataFormatError(f"training data must be given for {geometry.name}. Received: none, and none are bundled")


def voxel_geometry(path: str | Path, xml: Path | None = None) -> VoxelGeometry:
    """The geometry of a file's voxels.

    Args:
        xml: the binning file of its voxels; None: the number of voxels decides among the known geometries.

    Raises:
        DataFormatError: the file is no complete HDF5 file, or its number of voxels is that of no known geometry.
    """
    if xml is not None:
        return VoxelGeometry.read_xml(xml)
    with open_file(path) as file, damage_named(path):
        shape = dataset_shape(file, "showers")
        if not shape:
            raise missing_dataset(file, path, "showers")
    known = [geometry for geometry in KNOWN_GEOMETRIES if isinstance(geometry, VoxelGeometry)]
    for geometry in known:
        if shape[1:] == (geometry.size,):
            return geometry
    names = ", ".join(f"{geometry.size} ({geometry.name})" for geometry in known)
    raise DataFormatError(
        f"{path} must hold the dataset 'showers' [n, v] with v among {names}; for other voxels give their binning file "
        f"(XML). Received: {list(shape)}"
    )


def read_window(path: str | Path, geometry: Geometry, tolerant: bool = False) -> Showers:
    """Showers of a geometry; of ATLAS cells also as a window of the 297 stored ones.

    Args:
        geometry: e.g. `ATLAS_VAE_WINDOW`.
        tolerant: as for `Showers.read`.
    """
    with open_file(path) as file, damage_named(path):
        stored = stored_geometry(file, geometry)
    return in_geometry(Showers.read(path, stored, tolerant=tolerant), geometry)
