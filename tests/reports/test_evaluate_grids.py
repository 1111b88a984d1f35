"""`calogen evaluate` and `calogen inspect` of showers in regular grids."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toy_grids import grid_showers, write_grids

from calogen.cli import main as cli
from calogen.errors import ConfigError, DataFormatError, GeometryError
from calogen.evaluation.judging import Options
from calogen.evaluation.observed import NUMBERS_FILE, SECOND
from calogen.reports.evaluate import evaluate
from calogen.reports.evaluate_grids import evaluate_grids
from calogen.reports.inputs import kind_of
from calogen.reports.plan import num_showers
from calogen.showers.grids import AHCAL_GRID
from calogen.showers.public import write_public
from calogen.showers.sample import concatenate

QUICK = Options(repetitions=0)


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["calogen", *arguments])
    with pytest.raises(SystemExit) as found:
        cli.main()
    assert not found.value.code


def test_a_page_with_floor_and_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a sparse file, and of one in the public layout, with a second reference and training showers."""
    monkeypatch.chdir(tmp_path)
    for name, seed in (("geant4.h5", 1), ("own.h5", 2), ("second.h5", 3), ("train.h5", 4)):
        write_grids(tmp_path / name, 80, seed, width=2.5 if name == "own.h5" else 2.0)
    write_public(tmp_path / "own.h5", tmp_path / "public.hdf5")
    more = ["--second-reference", "second.h5", "--training", "train.h5", "--classifiers", "0", "--output", "out"]
    command(monkeypatch, "evaluate", "--reference", "geant4.h5", "--generated", "GAN=public.hdf5", *more)
    out = capsys.readouterr().out
    assert "out/report.html" in out
    text = (tmp_path / "out" / "report.md").read_text()
    assert "GAN against geant4.h5" in text
    assert "arXiv:2005.05334" in text
    assert "Variance along x" in text
    for figure in (
        "Energies of the cells",
        "Observables at all energies",
        "Profiles",
        "Average shower",
        "Single showers",
    ):
        assert figure in text
    assert set(json.loads((tmp_path / "out" / NUMBERS_FILE).read_text())) == {"GAN", SECOND}
    assert "Most probable energy of a hit, GAN" in text
    assert "no sign of memorising" in text


def test_the_training_file_as_generated_showers_is_an_alarm(tmp_path: Path) -> None:
    paths = [write_grids(tmp_path / f"{seed}.h5", 60, seed, (20_000.0, 50_000.0)) for seed in (1, 2)]
    table = evaluate(paths[0], {"copy": paths[1]}, tmp_path / "out", training=paths[1], options=QUICK)
    assert set(table["incident_energy"]) == {20_000.0, 50_000.0}
    assert "ATTENTION: 60 of the 60 copy showers are showers of the training file" in (
        tmp_path / "out" / "report.md"
    ).read_text().replace("**", "")


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    ild, ahcal = tmp_path / "ild.h5", tmp_path / "ahcal.h5"
    write_grids(ild, 60, 1, (20_000.0,))
    write_grids(ahcal, 60, 1, (20_000.0,), grid=AHCAL_GRID)
    with pytest.raises(GeometryError, match="another geometry's file"):
        evaluate_grids(ild, {"a": ahcal}, tmp_path / "out", options=QUICK)
    with pytest.raises(ConfigError, match="labels of models"):
        evaluate_grids(ild, {"reference": ild}, tmp_path / "out", options=QUICK)
    with pytest.raises(DataFormatError, match="must have the reference's 1 incident energies"):
        evaluate_grids(ild, {"a": write_grids(tmp_path / "b.h5", 60, 1, (30_000.0,))}, tmp_path / "out", options=QUICK)


def test_grids_are_a_kind_of_their_own(tmp_path: Path) -> None:
    grid = write_grids(tmp_path / "a.h5", 3, 1)
    assert kind_of([grid], [grid]) == "grids"
    assert num_showers(grid) == 3
    write_public(grid, tmp_path / "b.h5")
    assert kind_of([tmp_path / "b.h5"], [grid]) == "grids"
    assert num_showers(tmp_path / "b.h5") == 3
    from calogen.showers.bundled import bundled

    with pytest.raises(DataFormatError, match="must hold one kind of showers"):
        voxels = tmp_path / "voxels.h5"
        from calogen.showers.sample import Showers
        from calogen.showers.voxels import PHOTONS_DATASET1

        Showers.read(bundled("photons_test"), PHOTONS_DATASET1, slice(0, 5)).write(voxels)
        kind_of([grid], [voxels])


def test_inspect_reports_and_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_grids(tmp_path / "a.h5", 12, 1, (20_000.0, 50_000.0))
    command(monkeypatch, "inspect", str(path), "--draw", str(tmp_path / "a.png"))
    out = capsys.readouterr().out
    assert "hits above 0.1 MeV" in out
    assert (tmp_path / "a.png").stat().st_size > 10_000
    command(monkeypatch, "inspect", str(path), "--json")
    rows = json.loads(capsys.readouterr().out)
    assert [row["showers"] for row in rows] == [6, 6]
    assert {"visible_energy", "num_hits", "mip_peak", "last_layers"} <= set(rows[0])


def test_a_file_of_one_shower_has_a_page(tmp_path: Path) -> None:
    """Its means have no error, which is no number of JSON."""
    paths = [write_grids(tmp_path / f"{number}.h5", number, number, (20_000.0,)) for number in (60, 1)]
    evaluate_grids(paths[0], {"GAN": paths[1]}, tmp_path / "out", options=QUICK)
    rows = json.loads((tmp_path / "out" / "observables.json").read_text())["quantities"]
    assert {row["uncertainty"] for row in rows if row["name"] == "Visible energy of a shower, GAN"} == {None}


def test_training_showers_in_the_reference_are_left_out_of_the_memory(tmp_path: Path) -> None:
    """Half of the reference is the training file; cells below the energy of a hit are no part of a copy."""
    train, other, fresh = (grid_showers(60, seed, (20_000.0,)) for seed in (1, 2, 3))
    train.write(tmp_path / "train.h5")
    changed = replace(train, energies=np.where(train.energies < 0.1, np.float32(0.0), train.energies))
    concatenate([changed, other]).write(tmp_path / "geant4.h5")
    fresh.write(tmp_path / "own.h5")
    paths = [tmp_path / f"{name}.h5" for name in ("geant4", "own", "train")]
    evaluate_grids(paths[0], {"GAN": paths[1]}, tmp_path / "out", options=QUICK, training=paths[2])
    text = (tmp_path / "out" / "report.md").read_text()
    assert "no sign of memorising: among 60 training and 60 reference showers" in text
