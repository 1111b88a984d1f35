"""The command that writes the public layout; `test_grid_files.py` reads what it writes."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from toy_grids import grid_showers

from calogen.errors import ConfigError, GeometryError
from calogen.showers.bundled import bundled, read_showers
from calogen.showers.public import main


def test_the_command_writes_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    showers = grid_showers(3, 1)
    showers.write(tmp_path / "a.h5")
    main([str(tmp_path / "a.h5"), str(tmp_path / "b.hdf5")])
    assert capsys.readouterr().out == f"{tmp_path / 'b.hdf5'}\n"
    with h5py.File(tmp_path / "b.hdf5") as file:
        assert list(file) == ["30x30"]
        assert set(file["30x30"]) == {"energy", "layers"}
    np.testing.assert_array_equal(read_showers(tmp_path / "b.hdf5").energies, showers.energies)


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="two files are needed"):
        main(["a.h5"])
    with pytest.raises(GeometryError, match="regular grid"):
        main([str(bundled("photons_train_high")), str(tmp_path / "b.hdf5")])
