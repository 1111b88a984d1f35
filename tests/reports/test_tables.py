"""Tables that leave the evaluation: pandas, and CSV beside the JSON."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import TINY_VOXELS, make_showers
from toy_gan import CONFIG, toy_showers, train

import calogen
from calogen.errors import ConfigError, DataFormatError, GeometryError
from calogen.evaluation.iterations import IterationScan
from calogen.evaluation.judging import Options
from calogen.evaluation.published import Published
from calogen.evaluation.summary import response_curve
from calogen.files import read_json
from calogen.models import fastcalogan
from calogen.models.atlas_vae import AtlasVaeConfig
from calogen.models.fastcalogan import CONFIGS
from calogen.observables.cells import CELL_OBSERVABLES
from calogen.showers.voxels import PHOTONS_DATASET1
from calogen.showers.windows import ATLAS_VAE_WINDOW

QUICK = Options(repetitions=0)


def test_cells_in_memory_or_in_files_are_judged_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calogen.evaluation.cells.CELL_OBSERVABLES", CELL_OBSERVABLES[:2])
    reference, other = (make_showers(ATLAS_VAE_WINDOW, 900, seed).at(65536.0) for seed in (1, 2))
    table = calogen.evaluate(reference, {"VAE": other}, tmp_path / "a", options=QUICK)
    reference.write(tmp_path / "reference.h5")
    again = calogen.evaluate(tmp_path / "reference.h5", {"VAE": other}, str(tmp_path / "b"), options=QUICK)
    pd.testing.assert_frame_equal(table, again)
    rows = read_json(tmp_path / "a" / "metrics.json")
    assert len(table) == len(rows) == 2 * 6
    assert list(table["observable"]) == [row["observable"] for row in rows]
    np.testing.assert_allclose(table["measured_value"], [row["measured"]["value"] for row in rows], rtol=1e-15)
    np.testing.assert_allclose(table["floor_limit"], [row["floor"]["limit"] for row in rows], rtol=1e-15)


def test_voxels_of_several_models_are_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the pages, which take most of the time."""
    for name in ("build_assessment_page", "build_comparison_page"):
        monkeypatch.setattr(f"calogen.reports.evaluate.{name}", lambda *_: SimpleNamespace(verdict=""))
    monkeypatch.setattr("calogen.reports.evaluate.write_page", lambda directory, *_: directory)
    monkeypatch.setattr("calogen.reports.evaluate.verdict_text", lambda *_: "")
    reference, *others = (make_showers(TINY_VOXELS, 120, seed) for seed in (1, 2, 3))
    generated = dict(zip(("A", "B"), others, strict=True))
    table = calogen.evaluate(reference, generated, tmp_path, training=reference, options=QUICK)
    assert set(table["sample"]) == {"A", "B"}
    rows = read_json(tmp_path / "A" / "metrics.json")
    assert list(table[table["sample"] == "A"]["metric"]) == [row["metric"] for row in rows]
    value = table[(table["sample"] == "B") & (table["metric"] == "ks")]["value"]
    assert value.between(0, 1).all()


@pytest.mark.parametrize("label", ["a/b", "..", "reference", "second reference", "training"])
def test_labels_are_names_of_directories(label: str, tmp_path: Path) -> None:
    showers = make_showers(PHOTONS_DATASET1, 5)
    with pytest.raises(ConfigError, match="labels must be names of directories"):
        calogen.evaluate(showers, {label: showers}, tmp_path)


def test_arguments_of_another_type_are_refused(tmp_path: Path) -> None:
    showers = make_showers(TINY_VOXELS, 5)
    with pytest.raises(ConfigError, match="parameter generated"):
        calogen.evaluate(showers, showers, tmp_path)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="parameter run=5"):
        calogen.generate(5, np.array([1024.0]))  # type: ignore[arg-type]
    with pytest.raises(DataFormatError, match="must hold a trained run"):
        calogen.generate(tmp_path, np.array([1024.0]))


def test_showers_in_memory_have_their_own_geometry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many voxels with other edges are no data set 1."""
    asked: list[object] = []
    monkeypatch.setattr("calogen.reports.evaluate.evaluate_voxels", lambda *arguments: asked.append(arguments[4]))
    monkeypatch.setattr("calogen.reports.evaluate._read_table", lambda place: pd.DataFrame())
    layers = tuple(replace(layer, r_edges=tuple(3 * r for r in layer.r_edges)) for layer in PHOTONS_DATASET1.layers)
    other = replace(PHOTONS_DATASET1, name="wide", layers=layers)
    wide, known = make_showers(other, 5), make_showers(PHOTONS_DATASET1, 5)
    calogen.evaluate(wide, {"A": wide}, tmp_path)
    assert asked == [other]
    with pytest.raises(GeometryError, match="all showers must be of one geometry"):
        calogen.evaluate(known, {"A": wide}, tmp_path)
    with pytest.raises(ConfigError, match="at least one model"):
        calogen.evaluate(known, {}, tmp_path)
    with pytest.raises(GeometryError, match="showers must be of photons_dataset1. Received: wide"):
        calogen.fit(fastcalogan, CONFIGS["photon"][0], PHOTONS_DATASET1, wide, tmp_path / "run")
    with pytest.raises(ConfigError, match="needs a configuration FastCaloGanConfig. Received: AtlasVaeConfig"):
        calogen.fit(fastcalogan, AtlasVaeConfig(), PHOTONS_DATASET1, known, tmp_path / "run")  # type: ignore[type-var]


def test_energies_may_be_a_list_and_numbers_numpys(tmp_path: Path) -> None:
    run = train(tmp_path, toy_showers(20), replace(CONFIG, iterations=1))
    expected = calogen.generate(run, np.array([1024.0, 2048.0]), seed=3)
    for energies in ([1024.0, 2048.0], (1024, 2048)):
        showers = calogen.generate(run, energies, seed=np.int64(3), batch_size=np.int32(10_000))
        np.testing.assert_array_equal(showers.energies, expected.energies)
    np.testing.assert_allclose(calogen.generate(str(tmp_path), [1024.0, 2048.0], 3).energies, expected.energies)
    for size in (0, -1):
        with pytest.raises(ConfigError, match="batch_size must be 1 or more"):
            calogen.generate(run, [1024.0], batch_size=size)


def test_scans_and_curves_are_tables() -> None:
    chi2 = np.array([[4.0, 9.0], [2.0, 3.0]])
    scan = IterationScan(np.array([100, 200]), np.array([256.0, 512.0]), chi2, np.ones((2, 2)))
    table = scan.to_frame()
    assert list(table.columns) == ["iteration", "incident_energy", "chi2", "ndf"]
    assert table.iloc[1].tolist() == [100, 512.0, 9.0, 1.0]
    best = table.groupby("iteration")["chi2"].sum().idxmin()
    assert best == scan.iterations[scan.best]
    showers = make_showers(TINY_VOXELS, 400)
    curve = response_curve([showers]).to_frame()
    assert curve["incident_energy"].is_monotonic_increasing
    expected = [showers.at(energy).response.mean() for energy in curve["incident_energy"]]
    np.testing.assert_allclose(curve["mean"], expected, rtol=1e-6)
    assert (curve["mean_error"] > 0).all()


def test_published_numbers_are_a_table() -> None:
    published = Published("atlas_note")
    table = published.to_frame().set_index("name")
    assert table.loc["front_share_geant4", "value"] == published.numbers["front_share_geant4"].value == 17.2
    assert table["source"].str.len().gt(3).all()
