"""Figures on the cards of networks that ship with calogen."""

from collections.abc import Sequence

from calogen.evaluation.compare import Comparison, compare_showers
from calogen.evaluation.grids import compare_grids, table_of
from calogen.generation.generate import generate_like
from calogen.metrics.distributions import Value
from calogen.observables.cells import CELL_OBSERVABLES
from calogen.observables.grid import GRID_OBSERVABLES
from calogen.observables.observable import Observable
from calogen.observables.voxels import voxel_observables
from calogen.showers.geometry import Geometry
from calogen.showers.grid import RegularGrid
from calogen.showers.sample import Showers
from calogen.showers.voxels import VoxelGeometry
from calogen.training.run import TrainedRun


def card_figures(
    runs: Sequence[TrainedRun], reference: Showers, energies: Sequence[float], copies: int = 4, seed: int = 1
) -> tuple[tuple[float, ...], ...]:
    """Compares showers of trained runs with Geant4's held-out ones.

    Args:
        runs: one run, or several that share the momenta.
        reference: Geant4's showers, with the conditions that the networks need.
        energies: incident energies that are compared, MeV.
        copies: number of generated showers for each of the reference.
        seed: seed of the generated showers and of the bootstrap.

    Returns:
        a row for each incident energy, MeV: it and `FIGURES`, rounded to four digits; the KS distances are means over
        the observables of the geometry.

    Source: `generation.pretrained.FIGURES`.
    """
    found = []
    for energy in energies:
        expected = reference.at(energy)
        generated = generate_like(runs, expected, seed, copies=copies)
        compared, total, names = _compared(expected, generated, energy, seed)
        numbers = compared[total].numbers_of()
        rows = [row for name in names for row in compared[name].measurements if row.metric == "ks"]
        distances = Value.mean([row.measured for row in rows]).value, sum(row.floor.mean for row in rows) / len(rows)
        figures = numbers["mean_ratio"].value, numbers["rms_ratio"].value, *distances
        found.append((energy, *(round(value, 4) for value in figures)))
    return tuple(found)


def _compared(reference: Showers, generated: Showers, energy: float, seed: int) -> tuple[Comparison, str, list[str]]:
    """Comparison of a geometry's observables; names of the total energy and of all."""
    names = [item.name for item in _observables(reference.geometry)]
    if isinstance(reference.geometry, RegularGrid):
        tables = table_of(reference), {"generated": table_of(generated)}
        return compare_grids(*tables, energy, seed), "visible_energy", names
    samples = {"generated": generated}
    compared = compare_showers(reference, samples, _observables(reference.geometry), seed, energy)
    return compared, "total_energy", names


def _observables(geometry: Geometry) -> Sequence[Observable]:
    if isinstance(geometry, RegularGrid):
        return GRID_OBSERVABLES
    if isinstance(geometry, VoxelGeometry):
        return [item for item in voxel_observables(geometry) if item.counted == "showers"]
    return CELL_OBSERVABLES
