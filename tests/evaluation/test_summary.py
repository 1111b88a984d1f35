from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from conftest import make_grid, make_showers

from calogen.errors import DataFormatError
from calogen.evaluation import summary
from calogen.evaluation.summary import curve_of, energy_table, format_energy_table, read_layer_energies
from calogen.showers.bundled import bundled
from calogen.showers.cells import ATLAS_BARREL_STORED
from calogen.showers.files import ShowerFile
from calogen.showers.sample import Showers, concatenate
from calogen.showers.voxels import PHOTONS_DATASET1
from calogen.showers.windows import ATLAS_VAE_WINDOW, select_window

GRID = make_grid((1, 1), (1, 2))


@pytest.fixture
def showers() -> Showers:
    """Three showers of 1 GeV with responses 0.5, 0.8, 1.1 and two of 200 MeV that left nothing, in mixed order."""
    energies = [[100.0, 200.0, 200.0], [0.0] * 3, [300.0, 250.0, 250.0], [0.0] * 3, [200.0, 450.0, 450.0]]
    incident = np.array([1000.0, 200.0, 1000.0, 200.0, 1000.0])
    return Showers(GRID, incident, np.array(energies), {"cpu_seconds": np.array([1.0, 2.0, 3.0, 4.0, 8.0])})


def test_files_are_read_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows are those of all showers in memory, cut to a window or not."""
    stored = Showers.read(bundled("photons_test"), ATLAS_BARREL_STORED)[::5]
    stored.write(tmp_path / "a.h5")
    sizes: list[int] = []
    monkeypatch.setattr(summary, "ShowerFile", partial(ShowerFile, max_bytes=8 * 297 * 90))
    monkeypatch.setattr(summary, "concatenate", lambda parts: (sizes.extend(map(len, parts)), concatenate(parts))[1])
    for expected in (stored, select_window(stored, ATLAS_VAE_WINDOW)):
        found = energy_table(read_layer_energies(tmp_path / "a.h5", expected.geometry))
        assert len(found) == len(energy_table(expected)) > 1
        for row, other in zip(found, energy_table(expected), strict=True):
            layers = row.pop("layers"), other.pop("layers")
            assert layers[0] == pytest.approx(layers[1])
            assert row == pytest.approx(other)
    assert len(sizes) > 4
    with pytest.raises(DataFormatError, match="energies must be in MeV"):
        replace(stored, incident_energies=stored.incident_energies / 1000).write(tmp_path / "gev.h5")
        read_layer_energies(tmp_path / "gev.h5", ATLAS_BARREL_STORED)


def test_rows(showers: Showers) -> None:
    nothing, row = energy_table(showers)
    assert (nothing["incident_energy"], row["incident_energy"]) == (200.0, 1000.0)
    assert (nothing["showers"], row["showers"]) == (2, 3)
    assert row["response"] == pytest.approx(0.8)
    assert row["response_error"] == pytest.approx(0.3 / np.sqrt(3))
    assert row["resolution"] == pytest.approx(0.3 / 0.8)
    assert row["above_one"] == pytest.approx(1 / 3)
    assert row["layers"] == pytest.approx({"layer 0": 20.0, "layer 1": 60.0})
    assert row["cpu_seconds"] == pytest.approx(4.0)
    assert nothing["response"] == 0
    assert nothing["resolution"] is None


def test_layers_add_up_to_the_response() -> None:
    for row in energy_table(make_showers(GRID, 300)):
        assert sum(row["layers"].values()) == pytest.approx(100 * row["response"], rel=1e-5)
        assert "cpu_seconds" not in row


def test_a_single_shower_has_no_error(showers: Showers) -> None:
    (row,) = energy_table(showers[:1])
    assert row["response"] == 0.5
    assert row["response_error"] is None


def test_a_single_shower_has_a_mean_response_and_no_resolution() -> None:
    curve = curve_of(np.array([1000.0, 2000.0, 2000.0]), np.array([0.9, 0.8, 1.0]))
    assert [item.value for item in curve.mean] == pytest.approx([0.9, 0.9])
    assert np.isnan([curve.mean[0].error, curve.spread[0].value, curve.resolution[0].value]).all()
    assert curve.mean[1].error == pytest.approx(0.1)


def test_text_has_aligned_columns(showers: Showers) -> None:
    header, nothing, row = format_energy_table(energy_table(showers)).splitlines()
    assert " ".join(header.split()) == "MeV showers response resolution above 1 layer 0 % layer 1 %"
    assert len(header) == len(nothing) == len(row)
    assert " ".join(row.split()) == "1000 3 0.8000 ± 0.1732 0.3750 0.333 20.00 60.00"


def test_voxels_have_layers_too() -> None:
    (row,) = energy_table(Showers(PHOTONS_DATASET1, np.full(2, 1000.0), np.ones((2, PHOTONS_DATASET1.size))))
    assert list(row["layers"]) == [f"layer {number}" for number in (0, 1, 2, 3, 12)]
    assert row["response"] == pytest.approx(0.368)
