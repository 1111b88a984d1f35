"""Samples of showers in ATLAS cells, as tables of observables.

The tables are read from files block by block.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from calogen.errors import DataFormatError
from calogen.evaluation.compare import Comparison, compare_tables
from calogen.evaluation.copies import hash_showers
from calogen.evaluation.judgement import OWN_BINNING, default_min_energy
from calogen.evaluation.summary import ResponseCurve, curve_of
from calogen.evaluation.tables import SampleTable, read_blocks
from calogen.observables.cells import CELL_OBSERVABLES
from calogen.observables.observable import Observable
from calogen.showers.files import EXACT, Files, Reading, ShowerFile
from calogen.showers.sample import Showers
from calogen.showers.windows import ATLAS_VAE_WINDOW

MIN_ENERGY = default_min_energy(OWN_BINNING)
"""Cells below it, in MeV, count as empty where copies are looked for."""
MAX_EXAMPLES = 100_000
"""Largest number of showers of a sample that stay in memory, to find copies and for pictures."""
MOST_ENERGIES = 50
"""Largest number of incident energies, as cells are compared at each of them."""


@dataclass(frozen=True, kw_only=True)
class CellTable(SampleTable):
    """Observables of a sample, and what figures show of it.

    Its hashes are those of `MIN_ENERGY`.

    Args:
        responses: energy in the cells over incident energy, `[n]`.
    """

    responses: np.ndarray

    by_shower = (*SampleTable.by_shower, "responses")

    @property
    def observables(self) -> tuple[Observable, ...]:
        """The observables, which have one value for each shower."""
        return CELL_OBSERVABLES

    @property
    def response_curve(self) -> ResponseCurve:
        """Mean response and resolution at each incident energy."""
        return curve_of(self.incident_energies, self.responses)

    def at(self, incident_energy: float) -> "CellTable":
        """The part of one incident energy, MeV."""
        return self.where(self.incident_energies == incident_energy)


def cell_table_of(showers: Showers) -> CellTable:
    """The table of showers in memory, all of which are examples."""
    return CellTable(
        incident_energies=showers.incident_energies,
        columns={item.name: np.array(item.values(showers), np.float64) for item in CELL_OBSERVABLES},
        responses=showers.response,
        hashes=hash_showers(showers.energies, MIN_ENERGY),
        examples=showers,
    )


def read_cell_table(files: Files, reading: Reading = EXACT) -> CellTable:
    """The table of a sample in files, which need not fit into memory.

    The cells are those of the window of arXiv:2210.06204.

    Raises:
        CalogenError: a file is missing, damaged, of another format or geometry, or not in MeV; a reference has more
            incident energies than `MOST_ENERGIES`.
    """
    with ShowerFile(files, ATLAS_VAE_WINDOW, reading=reading) as file:
        if reading.reference is None and (number := len(np.unique(file.incident_energies))) > MOST_ENERGIES:
            raise DataFormatError(
                f"{file.name} must have {MOST_ENERGIES} incident energies at most, as cells are compared at each of "
                f"them. Received: {number:,}, as of continuous energies"
            )
        return read_blocks(file, cell_table_of, MAX_EXAMPLES)


def compare_cells(reference: CellTable, samples: Mapping[str, CellTable], energy: float, seed: int = 0) -> Comparison:
    """Compare the observables of the samples that have showers of an incident energy, MeV.

    Raises:
        DataFormatError: as for `compare_tables`.
    """
    present = {label: part for label, item in samples.items() if len(part := item.at(energy))}
    return compare_tables(reference.at(energy), present, CELL_OBSERVABLES, seed, energy)
