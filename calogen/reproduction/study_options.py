"""Options of studies: one network alone, and the voxels of another slice."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from calogen.athena.folder import WIDTH, require_slice
from calogen.config import require
from calogen.reproduction.experiment import Arguments, OwnOption, OwnOptions
from calogen.showers.voxels import VoxelGeometry

ONLY: OwnOptions = {
    "--only": OwnOption(
        "Train this network, choose its iteration where the study does, and stop: no report; repeatable.",
        list[str] | None,
        None,
    )
}
"""Option of every study."""
VOXELS: OwnOptions = {
    "--geometry": OwnOption(
        "Binning file (XML) of the voxels in --train-data, e.g. of another slice.", Path | None, None
    ),
    "--eta": OwnOption("Lower edge of the slice, times 100, where --geometry holds several.", int | None, None),
}
"""Options of studies whose showers are in voxels."""


def wanted(options: Mapping[str, object]) -> Sequence[str]:
    """Names of the networks that `--only` gives; empty: all."""
    return cast(list[str] | None, options.get("only")) or ()


def require_known(options: Mapping[str, object], known: Sequence[str]) -> None:
    """Refuse, with a `ConfigError`, names of `--only` that no network has."""
    unknown = ", ".join(name for name in wanted(options) if name not in known)
    require(not unknown, f"--only must be among {', '.join(known)}; other options may add some. Received: {unknown}")


def voxels_of(arguments: Arguments, published: VoxelGeometry, pid: int) -> VoxelGeometry:
    """Gives the voxels of the user's showers: those of `--geometry`, or else the paper's.

    Args:
        arguments: the command line.
        published: the paper's voxels, of which its claims and figures are.
        pid: number of the particle.

    Raises:
        ConfigError: the options do not go together, or the layers are not those of the claims and figures.
        GeometryError: the file cannot be read, or holds no such slice.
    """
    path = cast(Path | None, arguments.options.get("geometry"))
    eta = cast(int | None, arguments.options.get("eta"))
    if path is None:
        require(eta is None, "--eta chooses a slice in the file of --geometry. Received: no --geometry")
        return published
    require(arguments.train_data is not None, "--geometry needs --train-data of these voxels. Received: none")
    geometry = read_slice(path, pid, eta)
    layers = [(item.layer_ids, item.turned_layers) for item in (geometry, published)]
    require(
        layers[0] == layers[1] or bool(wanted(arguments.options)),
        f"claims and figures are of layers {published.layer_ids}, {published.turned_layers} with angles: train the "
        f"networks of others with --only. Received: layers {geometry.layer_ids}, {geometry.turned_layers} with angles",
    )
    return geometry


def read_slice(path: Path, pid: int | None, eta: int | None) -> VoxelGeometry:
    """Reads a slice of a binning file, which without `eta` must hold one only.

    Args:
        path: the file.
        pid: number of the particle, where the file holds several.
        eta: 100 times the slice's lower edge.

    Raises:
        ExportError: there is no such slice.
        GeometryError: as `VoxelGeometry.read_xml`.
    """
    if eta is not None:
        require_slice(eta)
    return VoxelGeometry.read_xml(path, pid=pid, eta=None if eta is None else (eta + WIDTH / 2) / 100)
