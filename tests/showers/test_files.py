"""Files read block by block: several as one, roughly in the format, some rows of them."""

import pickle
import zlib
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import TINY_VOXELS, make_showers

from calogen.errors import DataFormatError
from calogen.showers.bundled import bundled, read_showers
from calogen.showers.cells import ATLAS_BARREL_STORED
from calogen.showers.files import Reading, ShowerFile, read_some
from calogen.showers.sample import Showers, concatenate
from calogen.showers.windows import ATLAS_GAN_WINDOW, select_window

SHOWERS = make_showers(TINY_VOXELS, 60)
BLOCK = 8 * TINY_VOXELS.size * 7  # bytes of seven showers


def write(path: Path, energies: np.ndarray, labels: np.ndarray) -> Path:
    """A file that need not hold what `Showers` accept."""
    with h5py.File(path, "w") as file:
        file["incident_energies"], file["showers"] = labels[:, None], energies
    return path


def read_all(file: ShowerFile) -> Showers:
    return concatenate([file.read(rows) for rows in file.rows])


def test_several_files_are_one(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.h5" for number in range(3)]
    for path, rows in zip(paths, (slice(0, 20), slice(20, 21), slice(21, 60)), strict=True):
        SHOWERS[rows].write(path)
    with ShowerFile(paths, TINY_VOXELS, BLOCK) as file:
        assert (len(file), file.name, file.notes) == (60, f"{paths[0]} and 2 more", [])
        assert max(rows.stop - rows.start for rows in file.rows) <= 7
        found = read_all(file)
    np.testing.assert_array_equal(found.energies, SHOWERS.energies)
    np.testing.assert_array_equal(found.incident_energies, SHOWERS.incident_energies)
    whole = tmp_path / "whole.h5"
    SHOWERS.write(whole)
    ours, theirs = (read_some(item, TINY_VOXELS, 30, 1).energies for item in (paths, whole))
    np.testing.assert_array_equal(ours, theirs)


def test_faults_name_the_file_and_its_rows(tmp_path: Path) -> None:
    SHOWERS.write(tmp_path / "a.h5")
    energies = SHOWERS.energies.copy()
    energies[9, 2] = np.nan
    paths = [tmp_path / "a.h5", write(tmp_path / "b.h5", energies, SHOWERS.incident_energies)]
    with (
        ShowerFile(paths, TINY_VOXELS, BLOCK) as file,
        pytest.raises(DataFormatError, match=r"b\.h5, showers 7 to 13: energies must be finite"),
    ):
        read_all(file)


def slightly_negative(share: float) -> np.ndarray:
    """Energies of which two in a shower hold so much less than nothing, as a part of its incident energy."""
    energies = SHOWERS.energies.astype(np.float64)
    energies[5, [1, 4]] = -share * SHOWERS.incident_energies[5] / 2
    energies[50, 0] = -0.5 * share * SHOWERS.incident_energies[50]
    return energies


def test_slightly_negative_energies_are_counted_and_set_to_0(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", slightly_negative(9e-4), SHOWERS.incident_energies)
    with pytest.raises(DataFormatError, match=r"3 negative energies in 2 .* up to 0.09 % .*--tolerant sets them"):
        Showers.read(path, TINY_VOXELS)
    expected = slightly_negative(9e-4).clip(min=0)
    found = Showers.read(path, TINY_VOXELS, tolerant=True)
    np.testing.assert_array_equal(found.energies, expected)
    found.write(tmp_path / "clipped.h5")
    kept = Showers.read(tmp_path / "clipped.h5", TINY_VOXELS).attributes["clipped"]
    assert kept == str(found.attributes["clipped"])
    assert kept.startswith("3 negative energies in 2 showers")
    with ShowerFile(path, TINY_VOXELS, BLOCK, Reading(tolerant=True)) as file:
        for _ in range(2):  # blocks may be read twice and count once
            np.testing.assert_array_equal(read_all(file).energies, expected)
        assert file.notes == [
            "set to 0 were 3 negative energies in 2 showers, together up to 0.09 % of a shower's incident energy"
        ]


def test_a_refusal_says_that_later_blocks_are_not_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", slightly_negative(9e-4), SHOWERS.incident_energies)
    with ShowerFile(path, TINY_VOXELS, BLOCK) as file:
        number = file.rows[0].stop
        assert 5 < number < 50
        message = (
            rf"showers 0 to {number - 1}: .*Received: 2 negative .*\(of {number} of 60 showers; the others are not"
        )
        with pytest.raises(DataFormatError, match=message):
            read_all(file)


def test_showers_without_energy_are_no_bomb(tmp_path: Path) -> None:
    """Those of a network that hardly trained shrink to a thousandth."""
    number = 2**28 // (8 * TINY_VOXELS.size) + 1000
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((2**19, TINY_VOXELS.size))
    plist.set_deflate(9)
    chunk = zlib.compress(bytes(8 * 2**19 * TINY_VOXELS.size), 9)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("incident_energies", (number, 1), "f4", data=np.full((number, 1), 1024.0), chunks=True)
        space = h5py.h5s.create_simple((number, TINY_VOXELS.size))
        energies = h5py.h5d.create(file.id, b"showers", h5py.h5t.IEEE_F64LE, space, plist)
        for start in range(0, number, 2**19):
            energies.write_direct_chunk((start, 0), chunk)
    with ShowerFile(tmp_path / "a.h5", TINY_VOXELS) as read:
        assert not read.read(read.rows[-1]).energies.any()
    with pytest.raises(DataFormatError, match="more than 200 times its size"):
        Showers.read(tmp_path / "a.h5", TINY_VOXELS)


def test_more_than_slightly_negative_energies_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", slightly_negative(2e-3), SHOWERS.incident_energies)
    for tolerant in (False, True):
        with pytest.raises(DataFormatError, match=r"up to 0.2 % .*--tolerant sets no more than 0.1 % to 0"):
            Showers.read(path, TINY_VOXELS, tolerant=tolerant)
    for wrong, message in ((-np.inf, "must be finite"), (np.nan, "must be finite")):
        energies = slightly_negative(1e-4)
        energies[0, 0] = wrong
        write(path, energies, SHOWERS.incident_energies)
        with pytest.raises(DataFormatError, match=message):
            Showers.read(path, TINY_VOXELS, tolerant=True)


def test_labels_become_the_references(tmp_path: Path) -> None:
    noisy = SHOWERS.incident_energies * (1 + 1e-7)
    path = write(tmp_path / "a.h5", SHOWERS.energies, noisy)
    with ShowerFile(path, TINY_VOXELS, reading=Reading(reference=SHOWERS.incident_energies)) as file:
        np.testing.assert_array_equal(file.incident_energies, SHOWERS.incident_energies)
        note = "60 incident energies were off the reference's by up to 1e-07 of them and count as equal"
        assert file.notes == [note]
    path = write(
        tmp_path / "a.h5", SHOWERS.energies, SHOWERS.incident_energies * np.resize([1, 1 + 1e-7, 1 - 1e-7], 60)
    )
    np.testing.assert_array_equal(Showers.read(path, TINY_VOXELS).incident_energies, SHOWERS.incident_energies)


def test_chosen_showers_have_the_references_shares(tmp_path: Path) -> None:
    low = SHOWERS.incident_energies < 2**14
    uneven = concatenate([SHOWERS, SHOWERS[low], SHOWERS[low]])
    uneven.write(tmp_path / "a.h5")
    reading = Reading(match_seed=3, reference=SHOWERS.incident_energies)
    with ShowerFile(tmp_path / "a.h5", TINY_VOXELS, BLOCK, reading) as file:
        found = read_all(file)
        assert file.notes == [f"60 of its {len(uneven)} showers were taken, so that the shares of energies agree"]
    assert found.counts == SHOWERS.counts
    rows = [np.flatnonzero((SHOWERS.energies == row).all(axis=1))[0] for row in found.energies]
    np.testing.assert_array_equal(found.incident_energies, SHOWERS.incident_energies[rows])
    some = read_some(tmp_path / "a.h5", TINY_VOXELS, None, 1, reading)
    np.testing.assert_array_equal(some.energies, found.energies)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("incident_energies", "voxels"), r"must hold the dataset 'showers'. Received: \['inci.*; rename 'voxels' if"),
        (("energy", "showers"), r"must hold the dataset 'incident_energies'. .*; rename 'energy' if it is meant"),
        (("a", "b"), r"must hold the dataset 'incident_energies'. .*; rename 'a' if it is meant"),
    ],
)
def test_other_names_are_named(tmp_path: Path, names: tuple[str, str], message: str) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file[names[0]], file[names[1]] = SHOWERS.incident_energies[:, None], SHOWERS.energies
    with pytest.raises(DataFormatError, match=message):
        ShowerFile(tmp_path / "a.h5", TINY_VOXELS)


def test_no_showers_have_their_own_sentence(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", SHOWERS.energies[:0], SHOWERS.incident_energies[:0])
    with pytest.raises(DataFormatError, match=r"a.h5 holds no showers: showers must have shape \[n, 10\], n above 0"):
        ShowerFile(path, TINY_VOXELS)


def test_rows_of_a_file_stay_labels_of_the_file(tmp_path: Path) -> None:
    showers = replace(SHOWERS, incident_energies=np.linspace(1e3, 1e5, 60))
    showers.write(tmp_path / "a.h5")
    found = Showers.read(tmp_path / "a.h5", TINY_VOXELS, slice(3, 9))
    np.testing.assert_array_equal(found.incident_energies, showers.incident_energies[3:9])


def test_stored_cells_are_read_as_a_window(tmp_path: Path) -> None:
    """Files of all stored cells and of the window's may be mixed; excerpts need no other file than their own."""
    stored = read_showers(bundled("photons_test"))[::40]
    window = select_window(stored, ATLAS_GAN_WINDOW)
    stored[:30].write(tmp_path / "stored.h5")
    window[30:].write(tmp_path / "window.h5")
    paths, block = [tmp_path / "stored.h5", tmp_path / "window.h5"], 8 * window.geometry.size * 7
    with ShowerFile(paths, ATLAS_GAN_WINDOW, block) as file:
        found = read_all(file)
        excerpts = [file.excerpt(rows) for rows in file.rows]
        assert (len(file), file.given.others.keys() >= {"impact_eta", "impact_phi"}) == (len(stored), True)
    assert found.geometry == ATLAS_GAN_WINDOW
    np.testing.assert_array_equal(found.energies, window.energies)
    by_workers = concatenate([item.read()[0] for item in pickle.loads(pickle.dumps(excerpts))])
    np.testing.assert_array_equal(by_workers.energies, window.energies)
    matched = Reading(match_seed=1, reference=stored.incident_energies[::3])
    with ShowerFile(paths, ATLAS_GAN_WINDOW, block, matched) as file:
        assert len(file) < len(stored)
        rows = np.array([np.flatnonzero((window.energies == row).all(axis=1))[0] for row in read_all(file).energies])
        np.testing.assert_array_equal(file.incident_energies, stored.incident_energies[rows])
    replace(stored, conditions={"eta_impact": stored.conditions["impact_eta"]}).write(tmp_path / "nowhere.h5")
    message = r"nowhere\.h5: a window needs the datasets impact_eta and impact_phi\. Received: \['eta_impact'\]"
    with pytest.raises(DataFormatError, match=message):
        ShowerFile(tmp_path / "nowhere.h5", ATLAS_GAN_WINDOW)
    with ShowerFile(tmp_path / "nowhere.h5", replace(ATLAS_BARREL_STORED, name="own")) as file:
        np.testing.assert_array_equal(read_all(file).energies, stored.energies)


def test_a_few_blocks_of_each_file_tell_the_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calogen.showers.files._BLOCKS_FOR_UNIT", 2)
    SHOWERS.write(tmp_path / "mev.h5")
    write(tmp_path / "gev.h5", SHOWERS.energies[:9] / 1000, SHOWERS.incident_energies[:9])
    read: list[slice] = []
    monkeypatch.setattr(
        ShowerFile, "read", lambda self, rows, known=ShowerFile.read: (read.append(rows), known(self, rows))[1]
    )
    with ShowerFile(tmp_path / "mev.h5", TINY_VOXELS, BLOCK) as file:
        file.require_mev()
        assert len(read) == 2 < len(file.rows)
    both = [tmp_path / "mev.h5", tmp_path / "gev.h5"]
    with (
        ShowerFile(both, TINY_VOXELS, BLOCK) as file,
        pytest.raises(DataFormatError, match=r"gev\.h5: energies must be in MeV"),
    ):
        file.require_mev()
    with ShowerFile(both, TINY_VOXELS, BLOCK) as file:
        responses = np.concatenate([file.read(rows).response for rows in file.rows])
        with pytest.raises(DataFormatError, match=r"gev\.h5: energies must be in MeV"):
            file.require_mev(responses)
