"""Evaluate the noise of the C++ programs' showers once more, in Python, and compare.

DIRECTORY is an export, or the manifest of one slice and particle in it; SHOWERS and NOISE are what the program wrote
with --output and --noise. Each shower is computed again from its momentum, or from its photon, and its noise by
calogen.lwtnn.runtime, which needs neither lwtnn nor TensorFlow. This prints the largest difference of a voxel or cell
in units of its shower's energy; above the tolerance the exit code is 2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from os.path import commonprefix
from pathlib import Path
from typing import Annotated, Literal, TypedDict, cast

import numpy as np
import typer

from calogen import files
from calogen.athena import service
from calogen.athena.folder import find_manifest
from calogen.command import clean_exit, parse_command_line
from calogen.errors import DataFormatError, ExportError
from calogen.features.transforms import Chain
from calogen.lwtnn.graph import Graph, read_graph
from calogen.lwtnn.runtime import evaluate_graph
from calogen.showers.conditions import Conditions
from calogen.units import kinetic_energy

V1, V2 = "TFCSEnergyAndHitGAN", "TFCSEnergyAndHitGANV2"
TOLERANCE = 1e-9
EXAMPLES = """examples:
  calogen_athena photons --momentum 65536 --showers 1000 --output showers.csv --noise noise.csv
  python export/athena/compare.py photons showers.csv noise.csv

  calogen_cells gan/DNNCaloSim_GAN_nn_v0.json photons.txt --output showers.csv --noise noise.csv
  python export/athena/compare.py gan showers.csv noise.csv
"""


@dataclass(frozen=True)
class Files:
    """What the command line names: each field is an argument or an option."""

    directory: Annotated[Path, typer.Argument(help="Of an export; of several in one, the manifest.")]
    showers: Annotated[Path, typer.Argument(help="What --output wrote.")]
    noise: Annotated[Path, typer.Argument(help="What --noise wrote.")]
    tolerance: Annotated[float, typer.Option(help="Largest allowed difference.")] = TOLERANCE


class Condition(TypedDict):
    """How the condition of a network is computed from the momentum: a part of a `Slot`."""

    kind: Literal["momentum", "log-kinetic"]
    lowest: float
    highest: float


class Slot(TypedDict):
    """One network of an export, and the momenta, MeV, that it takes: a part of a `Manifest`."""

    file: str
    above: float
    up_to: float
    condition: Condition


class Manifest(TypedDict):
    """Entries of an export's manifest that this comparison needs."""

    interface: str | None
    variable_prefix: str
    mass: float
    num_voxels: int
    latent: dict[str, int]
    networks: list[Slot]


@dataclass(frozen=True)
class Sample:
    """Showers as a program wrote them.

    Args:
        given: for what they were computed, `[n, c]`: momenta, MeV, or energies, MeV, eta and phi of photons.
        energies: energies of the voxels or cells, `[n, v]`, MeV, in the order of the interface.
        noise: latent points from which the showers were computed, `[n, z]`.
    """

    given: np.ndarray
    energies: np.ndarray
    noise: np.ndarray


def read_sample(showers: Path, noise: Path, given: Sequence[str], num_voxels: int, latent_dim: int) -> Sample:
    """Read showers and their noise.

    Args:
        showers: file of comma-separated values with a line of column names.
        noise: file of comma-separated values without such a line.
        given: names of the columns before the voxels or cells.
        num_voxels, latent_dim: number of voxels or cells of a shower, and of latent numbers.

    Raises:
        DataFormatError: a file cannot be read, or is not of that size.
    """
    columns = [*given, *(f"out_{voxel}" for voxel in range(num_voxels))]
    names, rows = _read_table(showers, header=True)
    if names != columns:
        raise DataFormatError(
            f"{showers} must have the columns {', '.join(given)}, out_0 to out_{num_voxels - 1}. "
            f"Received: {len(names)} columns, {', '.join(names[:3])} ... (was it written with another export?)"
        )
    draws = _read_table(noise, header=False)[1]
    for path, table, width in ((showers, rows, len(columns)), (noise, draws, latent_dim)):
        if table.shape != (len(rows), width):
            raise DataFormatError(
                f"{path} must hold {len(rows)} lines of {width} numbers, as many as there are showers. "
                f"Received: {list(table.shape)}"
            )
    return Sample(rows[:, : len(given)], rows[:, len(given) :], draws)


def energies_of(directory: Path, manifest: Manifest, momenta: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Energies `[n, v]`, MeV, by the rules of the manifest's interface.

    Args:
        directory: directory of the export.
        manifest: manifest of the export.
        momenta: momenta of the incident particles, `[n]`, MeV.
        noise: latent points that the interface drew, `[n, z]`.

    Raises:
        ExportError: no network takes one of the momenta, or a network does not fit the manifest.
    """
    energies = np.full((len(momenta), manifest["num_voxels"]), np.nan)
    for slot in manifest["networks"]:
        rows = (momenta > slot["above"]) & (momenta <= slot["up_to"])
        if rows.any():
            graph = read_graph(directory / slot["file"])
            energies[rows] = _slot_energies(graph, slot, manifest, momenta[rows], noise[rows])
    missing = momenta[np.isnan(energies).any(axis=1)]
    if len(missing):
        raise ExportError(
            f"each momentum must be one that a network takes, and give finite numbers. Received: {missing[0]:.17g} MeV"
        )
    return energies


def largest_difference(received: np.ndarray, expected: np.ndarray, momenta: np.ndarray) -> float:
    """Largest difference of a voxel, in units of its shower's energy.

    The unit is at least a billionth of the momentum, as a shower may be empty.

    >>> largest_difference(np.array([[1.0, 2.5]]), np.array([[1.0, 3.0]]), np.array([100.0]))
    0.125
    """
    scale = np.maximum(np.abs(expected).sum(axis=1), 1e-9 * momenta)
    return float((np.abs(received - expected) / scale[:, None]).max())


def compare(directory: Path, showers: Path, noise: Path) -> tuple[float, int]:
    """Compare showers with those that Python computes from their noise.

    Args:
        directory: directory of the export, or the manifest of one particle and slice in it.
        showers, noise: files that calogen_athena or calogen_cells wrote.

    Returns:
        The largest difference in units of the shower's energy, and the number of showers.
    """
    path = find_manifest(directory)
    directory, manifest = path.parent, cast(Manifest, files.read_json_table(path))
    try:
        if manifest["interface"] == service.NAME:
            sample = read_sample(showers, noise, ("energy", "eta", "phi"), service.NUM_CELLS, service.LATENT_DIM)
            energies, eta, phi = sample.given.T
            graph = read_graph(directory / service.FILE)
            photons = Conditions(energies, {"impact_eta": eta, "impact_phi": phi})
            expected = service.energies_of(graph, photons, sample.noise)
        elif manifest["interface"] is None:
            sample, expected = _of_cells(path, showers, noise)
        else:
            sample = read_sample(showers, noise, ("momentum",), manifest["num_voxels"], manifest["latent"]["dim"])
            expected = energies_of(directory, manifest, sample.given[:, 0], sample.noise)
    except (KeyError, TypeError) as error:
        raise DataFormatError(f"{path} must describe an export for Athena: {type(error).__name__} {error}") from error
    return largest_difference(sample.energies, expected, sample.given[:, 0]), len(sample.given)


def _of_cells(path: Path, showers: Path, noise: Path) -> tuple[Sample, np.ndarray]:
    """Showers of a network of cells, and what Python computes from their noise."""
    about = files.read_json_table(path)
    transform = Chain.from_json(about["transform"])
    graph = read_graph(path.parent / about["network"])
    num_cells = transform.energies(np.zeros((1, len(graph.output().labels))), np.ones(1)).shape[1]
    sample = read_sample(showers, noise, ("momentum",), num_cells, about["latent"]["dim"])
    energies = sample.given[:, 0]
    features = evaluate_graph(graph, {"latent": sample.noise, "condition": transform.columns(energies)})
    return sample, transform.energies(features, energies)


def _slot_energies(graph: Graph, slot: Slot, manifest: Manifest, momenta: np.ndarray, noise: np.ndarray) -> np.ndarray:
    prefix, interface = manifest["variable_prefix"], manifest["interface"]
    condition = {f"{prefix}0": _condition_of(momenta, slot["condition"], manifest["mass"])}
    if interface != V1:
        condition[f"{prefix}1"] = np.zeros_like(momenta)
    outputs = evaluate_graph(graph, {"node_0": {f"{prefix}{i}": z for i, z in enumerate(noise.T)}, "node_1": condition})
    labels = graph.output().labels
    length = len(commonprefix(labels))  # noqa: RUF071 (of names, not of paths)
    places = {label[length:]: position for position, label in enumerate(labels)}
    wanted = [str(voxel) for voxel in range(manifest["num_voxels"])]
    if not places.keys() >= set(wanted):
        raise ExportError(f"{slot['file']} must have outputs for {len(wanted)} voxels. Received: {len(labels)} outputs")
    voxels = outputs[:, [places[name] for name in wanted]]
    if interface == V2:
        voxels = np.where(outputs.sum(axis=1, keepdims=True) < 0.0, 0.0, np.maximum(voxels, 0.0))
    return voxels * kinetic_energy(momenta, manifest["mass"])[:, None]


def _condition_of(momenta: np.ndarray, condition: Condition, mass: float) -> np.ndarray:
    if condition["kind"] == "momentum":
        return momenta / condition["highest"]
    values = (momenta, condition["lowest"], condition["highest"])
    energy, lowest, highest = (kinetic_energy(np.asarray(value, np.float64), mass) for value in values)
    return np.log(energy / lowest) / np.log(highest / lowest)


def _read_table(path: Path, header: bool) -> tuple[list[str], np.ndarray]:
    """Names of the columns, if the file has a header, and the numbers."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataFormatError(f"cannot read {path}: {error}") from error
    names = lines[0].split(",") if header and lines else []
    if len(lines) <= header:
        raise DataFormatError(f"{path} must hold a line for each shower. Received: none")
    try:
        table = np.array([[float(word) for word in line.split(",")] for line in lines[header:]])
    except ValueError as error:
        raise DataFormatError(f"{path} must hold lines of as many numbers: {error}") from error
    if not np.isfinite(table).all():
        raise DataFormatError(f"{path} must hold finite numbers. Received: NaN or infinity")
    return names, table


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare the files that the command line names."""
    given = parse_command_line(Files, __doc__, EXAMPLES, arguments)
    with clean_exit("compare"):
        difference, number = compare(given.directory, given.showers, given.noise)
        if not difference <= given.tolerance:
            raise ExportError(
                f"{given.showers} must agree with Python to {given.tolerance:g} of the shower's energy. "
                f"Received: {difference:.2e} (do showers, noise and networks belong together?)"
            )
        print(f"{number} showers: largest difference {difference:.1e} of the shower's energy")


if __name__ == "__main__":
    main()
