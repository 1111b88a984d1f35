from pathlib import Path

import h5py
import numpy as np
import pytest

from calogen.datasets import bundled, read_showers, read_vae_window
from calogen.errors import DataFormatError
from calogen.geometry import ATLAS_BARREL_STORED, PHOTONS_DATASET1
from calogen.showers import Showers
from calogen.windows import ATLAS_VAE_WINDOW

TRAINED = [2.0**power for power in range(8, 19)]


def test_unknown_names_are_refused() -> None:
    with pytest.raises(DataFormatError, match="photons_train, photons_test"):
        bundled("electrons")


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("photons_train", dict(zip(TRAINED, [1000] * 8 + [600, 300, 150], strict=True))),
        (
            "photons_test",
            dict(zip(TRAINED, [250] * 9 + [200, 150], strict=True)) | {24576.0: 250, 2.0**19: 60, 2.0**20: 30},
        ),
    ],
)
def test_bundled_showers(name: str, counts: dict[float, int]) -> None:
    path = bundled(name)
    assert path.stat().st_size < 20e6
    cells, voxels = Showers.read(path, ATLAS_BARREL_STORED), Showers.read(path, PHOTONS_DATASET1)
    found = dict(
        zip(*(column.tolist() for column in np.unique(cells.incident_energies, return_counts=True)), strict=True)
    )
    assert found == counts
    np.testing.assert_array_equal(cells.incident_energies, voxels.incident_energies)
    assert "precision" in cells.attributes
    means = [cells.at(energy).response.mean() for energy in counts]
    assert min(means) > 0.85
    assert max(means) < 1


def test_training_and_test_showers_differ() -> None:
    points = [Showers.read(bundled(name), ATLAS_BARREL_STORED).conditions["impact_eta"] for name in
              ("photons_train", "photons_test")]  # fmt: skip
    assert not set(points[0].tolist()) & set(points[1].tolist())


def test_window_files_are_read_as_they_are(tmp_path: Path) -> None:
    energies = np.random.default_rng(1).exponential(3.0, (4, 276)).astype(np.float32)
    showers = Showers(ATLAS_VAE_WINDOW, np.full(4, 1024.0), energies)
    showers.write(tmp_path / "a.h5")
    np.testing.assert_array_equal(read_vae_window(tmp_path / "a.h5").energies, energies)


def test_foreign_shapes_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["incident_energies"], file["cells"] = np.ones((3, 1)), np.ones((3, 266))
    with pytest.raises(DataFormatError, match=r"atlas_vae_window \(cells \[n, 276\]\).*Received: .*\(3, 266\)"):
        read_showers(tmp_path / "a.h5")
