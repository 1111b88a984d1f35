"""Showers that are simulated on first use, with real Geant4 at low energies, and files of the user's."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calogen.errors import ConfigError, DataFormatError
from calogen.reproduction import simulated_data
from calogen.reproduction.experiment import Arguments
from calogen.reproduction.simulated_data import TRAIN, read_or_simulate, simulated
from calogen.showers.grids import AHCAL_GRID, ILD_ANGULAR_GRID
from calogen.showers.sample import Showers
from calogen.simulation.production import Request

SAMPLES: dict[str, dict[str, Any]] = {
    TRAIN: {"detector": "ild-angular", "energies": (200.0, 400.0), "uniform": True, "showers": (5,), "workers": 1},
    **{
        f"test-{angle:.0f}": {
            "detector": "ild-angular",
            "energies": (250.0, 300.0),
            "angles": (angle, angle),
            "showers": (2,),
            "seed": 2,
            "workers": 1,
        }
        for angle in (40.0, 60.0)
    },
}


def arguments(folder: Path, **more: Any) -> Arguments:
    return Arguments(preset="smoke", seeds=(1,), runs=folder, **more)


def test_samples_are_simulated_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = read_or_simulate(arguments(tmp_path), tmp_path / "data", ILD_ANGULAR_GRID, SAMPLES, (250.0, 300.0))
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [
        "test-40-2.h5",
        "test-60-2.h5",
        "train-5.h5",
    ]
    assert (len(data.train), data.reference.counts) == (5, {250.0: 4, 300.0: 4})
    np.testing.assert_allclose(np.rad2deg(np.unique(data.reference.conditions["angle"])), [40.0, 60.0])
    assert (np.rad2deg(data.train.conditions["angle"]) >= 40).all()
    assert "data-free models" in data.note
    assert set(data.files) == set(SAMPLES)

    def never(request: Request) -> None:
        raise AssertionError(f"{request.output} was simulated twice")

    monkeypatch.setattr(simulated_data, "produce", never)
    again = read_or_simulate(arguments(tmp_path), tmp_path / "data", ILD_ANGULAR_GRID, SAMPLES, (250.0, 300.0))
    np.testing.assert_array_equal(again.train.energies, data.train.energies)
    output = tmp_path / "data" / "train-5.h5"
    for changes in ({"seed": 7}, {"showers": (6,)}, {"detector": "ild"}, {"angles": (60.0, 60.0)}):
        with pytest.raises(ConfigError, match="remove it, so that it is made again"):
            simulated(Request(output=output, **{**SAMPLES[TRAIN], **changes}))


def write(path: Path, energies: Sequence[float]) -> Path:
    showers = Showers(AHCAL_GRID, np.array(energies), np.ones((len(energies), AHCAL_GRID.size), np.float32))
    showers.write(path)
    return path


def test_files_of_the_user_are_read_instead(tmp_path: Path) -> None:
    train = write(tmp_path / "train.h5", [1000.0, 1100.0, 2000.0])
    test = write(tmp_path / "test.h5", [1000.0, 1000.0, 1500.0, 2000.0, 2000.0])
    given = arguments(tmp_path, train_data=train, test_data=test)
    data = read_or_simulate(given, tmp_path / "data", AHCAL_GRID, SAMPLES, (1000.0, 2000.0))
    assert (len(data.train), data.reference.counts, data.note) == (3, {1000.0: 2, 2000.0: 2}, "train.h5, test.h5")
    assert not (tmp_path / "data").exists()
    with pytest.raises(ConfigError, match="--train-data and --test-data go together"):
        read_or_simulate(replace(given, test_data=None), tmp_path, AHCAL_GRID, SAMPLES, (1000.0,))
    with pytest.raises(DataFormatError, match="at 1500 MeV, at least two"):
        read_or_simulate(given, tmp_path, AHCAL_GRID, SAMPLES, (1500.0,))
    alone = replace(given, train_data=write(tmp_path / "one.h5", [1000.0]))
    with pytest.raises(DataFormatError, match="two showers or more"):
        read_or_simulate(alone, tmp_path, AHCAL_GRID, SAMPLES, (1000.0,))
