"""Judges files of showers in ATLAS cells, and writes one page."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from calogen.evaluation.cells import MIN_ENERGY, CellTable, compare_cells, read_cell_table
from calogen.evaluation.judging import Options
from calogen.evaluation.summary import energy_text
from calogen.evaluation.tables import read_all
from calogen.files import require_writable_file
from calogen.provenance import collect
from calogen.reports.cell_figures import draw_cells
from calogen.reports.inputs import origin
from calogen.reports.observables_page import (
    Judged,
    find_copies,
    name_inputs,
    numbers_of_all,
    write_judged,
)
from calogen.showers.files import Files, paths_of
from calogen.showers.windows import ATLAS_VAE_WINDOW


def evaluate_cells(
    reference: Files,
    files: Mapping[str, Files],
    output: Path,
    second_reference: Files | None = None,
    options: Options | None = None,
    training: Files | None = None,
) -> str:
    """Judge files of ATLAS cells by observables, and write one page.

    The observables of arXiv:2210.06204 are compared one by one, and together by a classifier and by distances.

    Args:
        reference: showers of Geant4; here, as for all inputs, several files may stand for one.
        files: generated showers by label.
        output: directory for the page.
        second_reference: other showers of Geant4; they are compared as a further sample, the floor of all numbers.
        options: how to judge; only `repetitions`, `seed` and `tolerant` concern cells.
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
    unchecked = "training" if training else ""
    tables = read_all(inputs, ATLAS_VAE_WINDOW, options.tolerant, unchecked, read_cell_table, np.unique)
    notes = [f"{name}: {note}" for name, table in tables.items() for note in table.notes]
    learned = tables.pop("training") if training else None
    copies, quantities = find_copies(
        {name: table.hashes for name, table in tables.items()},
        {name: table.examples for name, table in tables.items()},
        None if learned is None else (learned.examples, learned.hashes),
        MIN_ENERGY,
        options.seed,
    )
    expected = tables.pop("reference")
    energies = sorted({energy for table in tables.values() for energy in np.unique(table.incident_energies).tolist()})
    comparisons = {energy: compare_cells(expected, tables, energy, options.seed) for energy in energies}
    numbers, remarks = numbers_of_all(expected, tables, options.repetitions, options.seed, output / "classifiers.json")
    note = origin(paths_of(reference)[0])
    judged = Judged(
        paper="arXiv:2210.06204",
        samples=list(tables),
        files=paths_of(reference),
        comparisons=comparisons,
        numbers=numbers,
        quantities=quantities,
        provenance=provenance,
        notes=(*copies, *notes),
        remarks=(*_singles(tables, energies), *remarks, *([note] if note else [])),
    )
    return write_judged(output, judged, draw_cells(expected, tables, comparisons, note), options)


def _singles(tables: Mapping[str, CellTable], energies: list[float]) -> list[str]:
    """Remarks on single showers."""
    return [
        f"{label}: one shower at {energy_text(energy)}, so no metric is defined"
        for energy in energies
        for label, table in tables.items()
        if np.count_nonzero(table.incident_energies == energy) == 1
    ]
