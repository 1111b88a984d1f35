"""Judges files of showers in ATLAS cells, and writes one page."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from calogen.evaluation.cells import MIN_ENERGY, CellTable, compare_cells, read_cell_table
from calogen.evaluation.judging import Options
from calogen.evaluation.summary import energy_text
from calogen.evaluation.tables import Reader
from calogen.files import require_writable_file
from calogen.reports.cell_figures import draw_cells
from calogen.reports.observables_page import Judged, read_samples, write_judged
from calogen.showers.files import Files
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
    reader = Reader(ATLAS_VAE_WINDOW, read_cell_table, MIN_ENERGY, np.unique)
    samples = read_samples(reader, reference, files, second_reference, training, options)
    expected, others = samples.reference, samples.others
    energies = sorted({energy for table in others.values() for energy in np.unique(table.incident_energies).tolist()})
    judged = Judged(
        paper="arXiv:2210.06204",
        comparisons={energy: compare_cells(expected, others, energy, options.seed) for energy in energies},
        remarks=_singles(others, energies),
    )
    figures = draw_cells(expected, others, judged.comparisons, samples.origin)
    return write_judged(output, samples, judged, figures, options)


def _singles(tables: Mapping[str, CellTable], energies: list[float]) -> list[str]:
    """Remarks on single showers."""
    return [
        f"{label}: one shower at {energy_text(energy)}, so no metric is defined"
        for energy in energies
        for label, table in tables.items()
        if np.count_nonzero(table.incident_energies == energy) == 1
    ]
