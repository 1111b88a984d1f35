"""Showers that are simulated on first use, with real Geant4 at low energies, and files of the user's."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Timer
from typing import Any

import h5py
import numpy as np
import pytest

from calogen.errors import ConfigError, DataFormatError
from calogen.reproduction import simulated_data
from calogen.reproduction.experiment import Arguments
from calogen.reproduction.simulated_data import read_or_simulate, simulated
from calogen.reproduction.study import Data
from calogen.reproduction.study_data import TRAIN, read_compared
from calogen.showers.grids import AHCAL_GRID, ILD_ANGULAR_GRID
from calogen.showers.sample import Showers
from calogen.simulation.request import Request

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


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Data]:
    """A folder with simulated showers, and what was read when they were made."""
    folder = tmp_path_factory.mktemp("made") / "data"
    return folder, read_or_simulate(arguments(folder.parent), folder, ILD_ANGULAR_GRID, SAMPLES, (250.0, 300.0))


def never(request: Request) -> None:
    raise AssertionError(f"{request.output} was simulated twice")


def test_samples_are_simulated_once(made: tuple[Path, Data], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, data = made
    names = sorted(path.name for path in folder.iterdir())
    assert names == [".lock", "test-40-2.h5", "test-60-2.h5", "train-5.h5"]
    assert (len(data.train), data.reference.counts) == (5, {250.0: 4, 300.0: 4})
    np.testing.assert_allclose(np.rad2deg(np.unique(data.reference.conditions["angle"])), [40.0, 60.0])
    assert (np.rad2deg(data.train.conditions["angle"]) >= 40).all()
    assert "data-free models" in data.note
    assert set(data.files) == set(SAMPLES)
    monkeypatch.setattr(simulated_data, "produce", never)
    again = read_or_simulate(arguments(folder.parent), folder, ILD_ANGULAR_GRID, SAMPLES, (250.0, 300.0))
    np.testing.assert_array_equal(again.train.energies, data.train.energies)


@pytest.mark.parametrize(
    ("sample", "changes"),
    [
        (TRAIN, {"seed": 7}),
        (TRAIN, {"showers": (6,)}),
        (TRAIN, {"detector": "ild"}),
        (TRAIN, {"angles": (60.0, 60.0)}),
        (TRAIN, {"energies": (200.0, 500.0)}),
        (TRAIN, {"energies": (100.0, 400.0)}),
        (TRAIN, {"uniform": False, "showers": (2, 3)}),
        ("test-40", {"energies": (250.0, 350.0)}),
        ("test-40", {"energies": (250.0,), "showers": (4,)}),
        ("test-40", {"showers": (1, 3)}),
        ("test-40", {"uniform": True, "showers": (4,)}),
    ],
    ids=str,
)
def test_a_file_of_another_production_is_refused(sample: str, changes: dict[str, Any], made: tuple[Path, Data]) -> None:
    with pytest.raises(ConfigError, match="remove it, so that it is made again"):
        simulated(Request(output=made[1].files[sample], **{**SAMPLES[sample], **changes}))


def test_the_order_of_energies_does_not_matter(made: tuple[Path, Data]) -> None:
    path = made[1].files["test-40"]
    assert simulated(Request(output=path, **{**SAMPLES["test-40"], "energies": (300.0, 250.0)})) == path


def test_uniform_energies_lie_in_their_range(made: tuple[Path, Data], tmp_path: Path) -> None:
    path = tmp_path / "train-5.h5"
    shutil.copy(made[1].files[TRAIN], path)
    with h5py.File(path, "r+") as file:
        file["incident_energies"][0] = 500.0
    with pytest.raises(ConfigError, match=r"Received: .*'energies': \(2\d\d\.\d+, 500\.0\)"):
        simulated(Request(output=path, **SAMPLES[TRAIN]))


_SIMULATE = """
import shutil, sys
from pathlib import Path
from calogen.locks import is_held
from calogen.reproduction import simulated_data
from calogen.simulation.request import Request

def produce(request):
    assert is_held(request.output.parent)
    print("simulating", flush=True)
    sys.stdin.read()
    shutil.copy(sys.argv[1], request.output)

simulated_data.produce = produce
output, low, high = Path(sys.argv[2]), *map(float, sys.argv[3:])
sample = {"detector": "ild-angular", "energies": (low, high), "uniform": True, "showers": (5,)}
print(simulated_data.simulated(Request(output=output, **sample)), flush=True)
"""


def test_of_two_processes_one_simulates(
    made: tuple[Path, Data], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The other one says that it waits, and takes the file that it finds."""
    path = tmp_path / "data" / "train-5.h5"
    command = [sys.executable, "-c", _SIMULATE, str(made[1].files[TRAIN]), str(path), "200", "400"]
    monkeypatch.setattr(simulated_data, "produce", never)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdin is not None
        assert first.stdout is not None
        assert first.stdout.readline() == "simulating\n"
        timer = Timer(0.5, first.stdin.close)
        timer.start()
        assert simulated(Request(output=path, **SAMPLES[TRAIN])) == path
        timer.join()
        assert first.stdout.read() == f"{path}\n"
    assert first.returncode == 0
    told = f"waiting up to 172800 s for {path.parent}, which is in use by process {first.pid} on "
    assert capsys.readouterr().err.startswith(told)


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
    with pytest.raises(ConfigError, match=r"--train-data and --test-data go together\. Received: .*train\.h5 alone"):
        read_or_simulate(replace(given, test_data=None), tmp_path, AHCAL_GRID, SAMPLES, (1000.0,))
    with pytest.raises(DataFormatError, match="at 1500 MeV, at least two"):
        read_or_simulate(given, tmp_path, AHCAL_GRID, SAMPLES, (1500.0,))
    alone = replace(given, train_data=write(tmp_path / "one.h5", [1000.0]))
    with pytest.raises(DataFormatError, match="two showers or more"):
        read_or_simulate(alone, tmp_path, AHCAL_GRID, SAMPLES, (1000.0,))


def test_samples_that_are_not_compared_are_kept_whole(tmp_path: Path) -> None:
    """Such as the flat spectrum beside steps of energy."""
    files = {
        TRAIN: write(tmp_path / "train.h5", [1000.0, 1100.0]),
        "flat": write(tmp_path / "flat.h5", [1300.0, 1400.0, 1500.0]),
        "steps": write(tmp_path / "steps.h5", [1000.0, 1000.0, 1500.0]),
    }
    given = arguments(tmp_path, train_data=files[TRAIN], test_data=files["flat"])
    data, whole = read_compared(given, files, AHCAL_GRID, (1000.0,), ("flat",))
    assert (len(data.train), data.reference.counts) == (2, {1000.0: 2})
    assert whole["flat"].incident_energies.tolist() == [1300.0, 1400.0, 1500.0]
    assert data.note == "train.h5, flat.h5, steps.h5"
    with pytest.raises(ConfigError, match="--first-edition is of showers in voxels or cells"):
        read_compared(replace(given, first_edition=True), files, AHCAL_GRID, (1000.0,), ("flat",))
    with pytest.raises(ConfigError, match="--first-edition is of showers in voxels or cells"):
        read_or_simulate(replace(given, first_edition=True), tmp_path, AHCAL_GRID, SAMPLES, (1000.0,))
    files["flat"] = write(tmp_path / "one.h5", [1300.0])
    with pytest.raises(DataFormatError, match=r"one\.h5 must hold two showers or more"):
        read_compared(given, files, AHCAL_GRID, (1000.0,), ("flat",))
