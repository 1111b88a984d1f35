"""Judges files of showers in regular grids, and writes one page."""

from collections.abc import Mapping
from pathlib import Path

from calogen.claims.judge import Quantity
from calogen.evaluation.grids import GridTable, compare_grids, energies_of, grid_facts, read_table
from calogen.evaluation.judging import Options
from calogen.evaluation.tables import read_all
from calogen.files import require_writable_file
from calogen.provenance import collect
from calogen.reports.grid_figures import draw_grids
from calogen.reports.inputs import origin
from calogen.reports.observables_page import (
    Judged,
    find_copies,
    name_inputs,
    numbers_of_all,
    write_judged,
)
from calogen.showers.bundled import known_geometry
from calogen.showers.files import Files, paths_of
from calogen.showers.geometry import require_kind
from calogen.showers.grid import RegularGrid

_FACTS = {
    "mip_peak": ("Most probable energy of a hit", "MeV"),
    "num_hits": ("Number of hits of a shower", ""),
    "visible_energy": ("Visible energy of a shower", "MeV"),
    "last_layers": ("Share of the energy in the last third", ""),
}
"""Names and units of the `grid_facts`."""


def evaluate_grids(
    reference: Files,
    files: Mapping[str, Files],
    output: Path,
    second_reference: Files | None = None,
    options: Options | None = None,
    training: Files | None = None,
) -> str:
    """Judge files of showers in regular grids by observables, and write one page.

    The observables of arXiv:2005.05334 are compared one by one, and together by a classifier and by distances: at each
    incident energy, or at all of them together if they are continuous.

    Args:
        reference: showers of Geant4; here, as for all inputs, several files may stand for one.
        files: generated showers by label.
        output: directory for the page.
        second_reference: other showers of Geant4; they are compared as a further sample, the floor of all numbers.
        options: how to judge; only `repetitions`, `seed` and `tolerant` concern grids.
        training: showers that the models were trained on.

    Returns:
        The terminal's text: the verdict, and the path of the page.

    Raises:
        ConfigError: a model's label is that of another sample.
        CalogenError: a file is missing, damaged or foreign, or has incident energies that the reference lacks.
    """
    require_writable_file(output / "report.html")
    options = options or Options()
    inputs = name_inputs(files, reference, second_reference, training)
    provenance = collect(options.seed, {name: paths_of(path) for name, path in inputs.items()})
    grid = require_kind(known_geometry(paths_of(reference)[0]), RegularGrid, "a regular grid is needed")
    unchecked = "training" if training else ""
    tables = read_all(inputs, grid, options.tolerant, unchecked, lambda path, reading: read_table(path, grid, reading))
    expected, learned = tables.pop("reference"), tables.pop("training") if training else None
    notes = [f"{name}: {note}" for name, table in {"reference": expected, **tables}.items() for note in table.notes]
    all_tables = {"reference": expected, **tables}
    copies, quantities = find_copies(
        {name: table.hashes for name, table in all_tables.items()},
        {name: table.examples for name, table in all_tables.items()},
        None if learned is None else (learned.examples, learned.hashes),
        expected.grid.hit_threshold,
        options.seed,
    )
    energies = energies_of(expected, tables)
    comparisons = {energy: compare_grids(expected, tables, energy, options.seed) for energy in energies}
    numbers, remarks = numbers_of_all(expected, tables, options.repetitions, options.seed, output / "classifiers.json")
    note = origin(paths_of(reference)[0])
    judged = Judged(
        paper="arXiv:2005.05334",
        samples=list(tables),
        files=paths_of(reference),
        comparisons=comparisons,
        numbers=numbers,
        quantities=[*quantities, *_quantities({"Geant4": expected, **tables})],
        provenance=provenance,
        notes=(*copies, *notes),
        remarks=(*remarks, *([note] if note else [])),
    )
    return write_judged(output, judged, draw_grids(expected, tables, comparisons, note), options)


def _quantities(tables: Mapping[str, GridTable]) -> list[Quantity]:
    """The `grid_facts` of all samples."""
    return [
        Quantity(f"{title}, {label}", unit, None, facts[name].value, facts[name].error)
        for label, facts in ((label, grid_facts(table)) for label, table in tables.items())
        for name, (title, unit) in _FACTS.items()
    ]
