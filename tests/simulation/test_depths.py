"""The command that writes mean depths; the depths themselves are in `test_production.py`."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from toy_grids import grid_showers

from calogen.errors import ConfigError, DataFormatError
from calogen.simulation.depths import main


def test_the_command_writes_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["incident_energies"], file["depths"] = np.full((2, 1), 1024.0), np.array([[0.25], [0.75]])
        file.attrs["layer_ids"] = [2]
    main([str(tmp_path / "a.h5"), str(tmp_path / "b.json")])
    assert capsys.readouterr().out == f"{tmp_path / 'b.json'}\n"
    (row,) = json.loads((tmp_path / "b.json").read_text())["rows"]
    assert (row["mean"], row["layer"], row["showers"]) == (0.5, 2, 2)


def test_what_has_no_depths_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="two files are needed"):
        main([])
    grid_showers(3, 1).write(tmp_path / "a.h5")
    with pytest.raises(DataFormatError, match="must be an output of calogen simulate --depths"):
        main([str(tmp_path / "a.h5"), str(tmp_path / "b.json")])
