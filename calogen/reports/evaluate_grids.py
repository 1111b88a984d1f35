"""Judges files of showers in regular grids, and writes one page."""

from collections.abc import Mapping
from pathlib import Path

from calogen.claims.judge import Quantity
from calogen.evaluation.grids import GridTable, compare_grids, energies_of, grid_facts, read_table
from calogen.evaluation.judging import Options
from calogen.evaluation.tables import Reader
from calogen.files import require_writable_file
from calogen.reports.grid_figures import draw_grids
from calogen.reports.observables_page import Judged, read_samples, write_judged
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

    Arguments, text and errors are those of `evaluate_cells`.
    """
    require_writable_file(output / "report.html")
    options = options or Options()
    grid = require_kind(known_geometry(paths_of(reference)[0]), RegularGrid, "a regular grid is needed")
    reader = Reader(grid, lambda path, reading: read_table(path, grid, reading), grid.hit_threshold)
    samples = read_samples(reader, reference, files, second_reference, training, options)
    expected, others = samples.reference, samples.others
    energies = energies_of(expected, others)
    judged = Judged(
        paper="arXiv:2005.05334",
        comparisons={energy: compare_grids(expected, others, energy, options.seed) for energy in energies},
        quantities=_quantities({"Geant4": expected, **others}),
    )
    figures = draw_grids(expected, others, judged.comparisons, samples.origin)
    return write_judged(output, samples, judged, figures, options)


def _quantities(tables: Mapping[str, GridTable]) -> list[Quantity]:
    """The `grid_facts` of all samples."""
    return [
        Quantity(f"{title}, {label}", unit, None, facts[name].value, facts[name].error)
        for label, facts in ((label, grid_facts(table)) for label, table in tables.items())
        for name, (title, unit) in _FACTS.items()
    ]
