"""Tables of showers in cells, read block by block."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from calogen.cluster import common_pool
from calogen.errors import DataFormatError
from calogen.evaluation import cells
from calogen.evaluation.cells import cell_table_of, compare_cells, read_cell_table
from calogen.evaluation.compare import compare_showers, measurement_table
from calogen.evaluation.tables import choose_examples
from calogen.observables.cells import CELL_OBSERVABLES
from calogen.showers.bundled import bundled, read_showers
from calogen.showers.files import Reading, ShowerFile
from calogen.showers.sample import Showers
from calogen.showers.windows import ATLAS_VAE_WINDOW, select_window

STORED = read_showers(bundled("photons_test"))[::40]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is read in blocks of two showers, a fifth of which are examples."""
    monkeypatch.setattr(cells, "ShowerFile", partial(ShowerFile, max_bytes=8 * 276 * 2))
    monkeypatch.setattr(cells, "MAX_EXAMPLES", len(STORED) // 5 + 1)
    STORED.write(tmp_path / "stored.h5")
    return tmp_path / "stored.h5"


@pytest.mark.parametrize("workers", [None, "local:1"])
def test_a_file_has_the_table_of_its_showers(path: Path, workers: str | None) -> None:
    expected = cell_table_of(select_window(STORED, ATLAS_VAE_WINDOW))
    with common_pool(workers):
        found = read_cell_table(path)
    assert len(found) == len(expected) == len(STORED)
    for name in ("incident_energies", "hashes"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    np.testing.assert_allclose(found.responses, expected.responses)
    assert [*found.columns] == [item.name for item in CELL_OBSERVABLES]
    for item in CELL_OBSERVABLES:
        np.testing.assert_allclose(found[item.name], expected[item.name], rtol=1e-6, atol=1e-6, err_msg=item.name)
    chosen = np.flatnonzero(choose_examples(STORED.incident_energies, len(STORED) // 5 + 1))
    np.testing.assert_array_equal(found.examples.energies, expected.examples.energies[chosen])
    np.testing.assert_array_equal(found.examples.incident_energies, expected.incident_energies[chosen])


def test_tables_are_compared_as_showers_are() -> None:
    window = select_window(STORED, ATLAS_VAE_WINDOW)
    first, second = window[::2], window[1::2]
    energy = 65536.0
    tables = {"A": cell_table_of(second), "B": cell_table_of(second[second.incident_energies != energy])}
    found = compare_cells(cell_table_of(first), tables, energy, 3)
    expected = compare_showers(first, {"A": second}, CELL_OBSERVABLES, 3, energy)
    rows, others = (
        measurement_table(row for item in each.values() for row in item.measurements) for each in (found, expected)
    )
    assert set(rows["sample"]) == {"A"}, "B has no showers of this energy"
    pd.testing.assert_frame_equal(rows, others)


def test_the_references_energies_are_counted_before_its_cells_are_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cells, "MOST_ENERGIES", 3)
    monkeypatch.setattr(Showers, "__post_init__", lambda _: pytest.fail("cells were read"))
    with pytest.raises(DataFormatError, match=r"stored\.h5 must have 3 incident energies at most"):
        read_cell_table(path)


def test_other_samples_have_the_references_energies(path: Path) -> None:
    reference = np.unique(STORED.incident_energies) * (1 + 3e-6)
    found = read_cell_table(path, Reading(reference=reference))
    assert set(found.incident_energies) <= set(reference)
    assert "incident energies were off the reference's" in found.notes[0]


def test_all_energies_have_examples() -> None:
    """Energies in turn, and a rare one; continuous energies at even distances."""
    labels = np.tile([1000.0, 2000.0], 50)
    labels[51] = 500.0
    chosen = choose_examples(labels, 50)
    assert set(labels[chosen]) == {500.0, 1000.0, 2000.0}
    assert chosen.sum() <= 50 + 3
    assert choose_examples(labels, 100).all()
    np.testing.assert_array_equal(np.flatnonzero(choose_examples(np.linspace(1e3, 2e3, 100), 30)), np.arange(0, 100, 4))
