import hashlib
from collections import Counter
from importlib import resources
from pathlib import Path

import h5py
import numpy as np
import pytest

from calogen.errors import DataFormatError
from calogen.evaluation.grids import read_table
from calogen.files import read_json
from calogen.showers.bundled import (
    HONEST_NOTE,
    bundled,
    bundled_for,
    choose_edition,
    first_edition,
    known_geometry,
    read_showers,
    read_window,
)
from calogen.showers.cells import ATLAS_BARREL_STORED
from calogen.showers.files import read_given
from calogen.showers.grids import AHCAL_GRID, ILD_GRID
from calogen.showers.sample import Showers
from calogen.showers.voxels import PHOTONS_DATASET1, PIONS_DATASET1, VoxelGeometry
from calogen.showers.windows import ATLAS_VAE_WINDOW

DATA = Path(str(resources.files("calogen"))) / "data"
TRAINED = [2.0**power for power in range(8, 19)]


def test_unknown_names_are_refused() -> None:
    known = "photons_train, photons_train_high, photons_test, pions_train, pions_test, ild_photons_train"
    with pytest.raises(DataFormatError, match=known):
        bundled("electrons")


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("photons_train", dict(zip(TRAINED, [3000] * 8 + [1500, 800, 400], strict=True))),
        ("photons_train_high", {2.0**19: 60, 2.0**20: 30}),
        (
            "photons_test",
            dict(zip(TRAINED, [250] * 9 + [200, 150], strict=True)) | {24576.0: 250, 2.0**19: 60, 2.0**20: 30},
        ),
    ],
)
def test_bundled_showers(name: str, counts: dict[float, int]) -> None:
    path = bundled(name)
    assert path.stat().st_size < 25e6
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


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("pions_train", dict(zip(TRAINED[:9], [3000] * 8 + [1500], strict=True))),
        ("pions_test", dict.fromkeys(TRAINED[:9], 250)),
    ],
)
def test_bundled_pions(name: str, counts: dict[float, int]) -> None:
    path = bundled(name)
    assert path.stat().st_size < 20e6
    showers = Showers.read(path, PIONS_DATASET1)
    found = np.unique(showers.incident_energies, return_counts=True)
    assert dict(zip(*(column.tolist() for column in found), strict=True)) == counts
    assert "not ATLAS's own simulation" in showers.attributes["note"]
    # hadronic showers: the response grows with the momentum, the tile calorimeter's share, too; some stop before it
    response = [showers.at(momentum).response.mean() for momentum in counts]
    assert np.all(np.diff(response[1:6]) > 0)
    assert 0.4 < response[0] < 0.55
    assert 0.97 < response[-1] < 1.07
    behind = [showers.at(momentum).layer_energies[:, 4:].sum(axis=1).mean() / momentum for momentum in counts]
    assert np.all(np.diff(behind[:6]) > 0)
    empty = [int((~showers.at(momentum).energies.any(axis=1)).sum()) for momentum in counts]
    assert empty[0] > 0.08 * counts[256.0]
    assert sum(empty[2:]) == 0


@pytest.mark.parametrize(("name", "number"), [("train", 2400), ("test", 500), ("steps", 2000)])
def test_bundled_ild_photons(name: str, number: int) -> None:
    """A small file; a minimum ionising particle leaves 0.165 MeV; 2.6 to 2.9 % of the energy are seen in silicon."""
    path = bundled(f"ild_photons_{name}")
    assert path.stat().st_size < 10e6
    table = read_table(path, ILD_GRID)
    assert len(table) == number
    energies = table.incident_energies
    if name == "steps":
        assert Counter(energies.tolist()) == {1000.0 * energy: 250 for energy in range(20, 100, 10)}
    else:
        assert 10_000 < energies.min() < 10_500
        assert 99_500 < energies.max() < 100_000
        assert energies.mean() == pytest.approx(55_000, abs=4 * 26_000 / np.sqrt(number))
    assert table.mip_peak == pytest.approx(0.165, abs=0.016)
    np.testing.assert_allclose((table["visible_energy"] / energies).mean(), 0.0265, atol=0.0015)
    for axis in ("x", "z"):
        assert abs(table[f"{axis}_centre"].mean()) < 4 * table[f"{axis}_centre"].std() / np.sqrt(number)
    assert known_geometry(path) is ILD_GRID


def test_ild_photons_of_different_files_differ() -> None:
    known = [read_given(bundled(f"ild_photons_{part}")).incident_energies for part in ("train", "test")]
    assert not set(known[0].tolist()) & set(known[1].tolist())
    assert bundled_for(ILD_GRID) == bundled("ild_photons_train")
    with pytest.raises(DataFormatError, match="training data must be given for ahcal"):
        bundled_for(AHCAL_GRID)


@pytest.mark.parametrize(
    ("name", "geometry", "counts", "digest"),
    [
        ("photons_train", PHOTONS_DATASET1, [1000] * 8 + [600, 300, 150], "5870dbf63bfb01a3"),
        ("pions_train", PIONS_DATASET1, [1000] * 8 + [500], "8e7567984c9f9feb"),
    ],
)
def test_the_first_edition_is_what_published_results_were_trained_on(
    name: str, geometry: VoxelGeometry, counts: list[int], digest: str
) -> None:
    voxels, cells = (Showers.read(bundled(name), kind) for kind in (geometry, ATLAS_BARREL_STORED))
    rows = first_edition(name, voxels.incident_energies)
    assert list(voxels[rows].counts.values()) == counts
    found = hashlib.sha256()
    for array in (voxels.incident_energies, voxels.energies, cells.energies):
        found.update(array[rows].tobytes())
    assert found.hexdigest()[:16] == digest
    chosen, note = choose_edition(name, cells, first=True)
    np.testing.assert_array_equal(chosen.energies, cells.energies[rows])
    assert note == f"{HONEST_NOTE}; first edition"
    assert choose_edition(name, cells) == (cells, f"{HONEST_NOTE}; all bundled showers")


@pytest.mark.parametrize("particle", ["photons", "pions"])
def test_training_and_test_showers_differ(particle: str) -> None:
    points = [
        Showers.read(bundled(f"{particle}_{part}"), ATLAS_BARREL_STORED).conditions["impact_eta"]
        for part in ("train", "test")
    ]
    assert not set(points[0].tolist()) & set(points[1].tolist())


def test_showers_of_the_highest_energies_are_their_own() -> None:
    """Training and test showers of 2^19 and 2^20 MeV, one seed each."""
    train, test = (Showers.read(bundled(f"photons_{part}"), PHOTONS_DATASET1) for part in ("train_high", "test"))
    for energy in (2.0**19, 2.0**20):
        ours, theirs = (showers.at(energy).conditions["impact_eta"].tolist() for showers in (train, test))
        assert len(ours) == len(theirs)
        assert not set(ours) & set(theirs)


def test_window_files_are_read_as_they_are(tmp_path: Path) -> None:
    energies = np.random.default_rng(1).exponential(3.0, (4, 276)).astype(np.float32)
    showers = Showers(ATLAS_VAE_WINDOW, np.full(4, 1024.0), energies)
    showers.write(tmp_path / "a.h5")
    np.testing.assert_array_equal(read_window(tmp_path / "a.h5", ATLAS_VAE_WINDOW).energies, energies)


def test_foreign_shapes_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["incident_energies"], file["cells"] = np.ones((3, 1)), np.ones((3, 265))
    with pytest.raises(DataFormatError, match=r"atlas_vae_window \(cells \[n, 276\]\).*Received: .*\(3, 265\)"):
        read_showers(tmp_path / "a.h5")


@pytest.mark.parametrize("particle", ["photons", "pions"])
def test_depths_of_the_bundled_simulation(particle: str) -> None:
    """Deeper showers lie deeper in every layer that they only begin in or end in; all are shares of a layer."""
    table = read_json(DATA / f"{particle}_depths.json")
    assert table["particle"] == particle.removesuffix("s")
    means = {(row["incident_energy"], row["layer"]): row["mean"] for row in table["rows"]}
    assert all(0 <= mean <= 1 for mean in means.values())
    layers = {layer for _, layer in means}
    assert layers >= {0, 1, 2, 3}
    middle = [means[energy, 2] for energy in (256.0, 4096.0, 65536.0)]
    assert middle == sorted(middle)
