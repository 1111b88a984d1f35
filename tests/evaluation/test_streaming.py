import json
import threading
import time
import tracemalloc
from contextlib import contextmanager
from dataclasses import replace

import h5py
import numpy as np
import pytest
from conftest import TINY_VOXELS, make_showers
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import challenge as slow

from calogen.errors import CalogenError, DataFormatError, GeometryError
from calogen.evaluation import blocks, streaming
from calogen.evaluation.assessment import scored_rows
from calogen.evaluation.streaming import judge_files, read_sample, sample_of
from calogen.metrics.resampling import spectrum_cells
from calogen.observables.challenge import BINNINGS, compute_features
from calogen.observables.shapes import compute_shapes, list_shapes
from calogen.showers.files import ShowerFile
from calogen.showers.sample import Showers
from calogen.showers.voxels import PHOTONS_DATASET1, PIONS_DATASET1
from calogen.showers.windows import ATLAS_VAE_WINDOW


def write(path, showers, dtype="f8", **options):
    """A file of the challenge's format."""
    with h5py.File(path, "w") as file:
        file.create_dataset("incident_energies", data=showers.incident_energies[:, None])
        data = showers.energies.astype(dtype)
        options = {"compression": "gzip", "chunks": (16, min(64, data.shape[1])), **options}
        file.create_dataset("showers", data=data, **options)
    return path


@pytest.fixture
def files(tmp_path):
    """Reference, generated and second reference: photons of data set 1."""
    return [
        write(tmp_path / f"{seed}.hdf5", make_showers(PHOTONS_DATASET1, 150 + 10 * seed, seed)) for seed in range(3)
    ]


def judge_all(files):
    return judge_files(*files[:2], PHOTONS_DATASET1, second_reference=files[2])


@pytest.mark.parametrize(("energy", "filled"), [(0.1, True), (0.7, False)])
def test_thresholds_are_not_rounded_to_single_precision(tmp_path, energy, filled):
    """In single precision they are 0.100000001 and 0.699999988."""
    energies = np.full((20, 368), energy, np.float32)
    path = write(tmp_path / "one.hdf5", Showers(PHOTONS_DATASET1, np.full(20, 100.0), energies), "f4")
    sample = read_sample(path, PHOTONS_DATASET1, energy)
    assert sample.spectrum.histogram.counts[0] == (0 if filled else 20 * 368)
    assert (sample.features["sparsity_1"] == (0 if filled else 1)).all()


def test_files_give_what_showers_in_memory_give(files):
    for path, dtype in (
        (files[0], "f8"),
        (write(files[0].with_name("single.hdf5"), make_showers(PHOTONS_DATASET1, 150), "f4"), "f4"),
    ):
        showers = Showers.read(path, PHOTONS_DATASET1)
        assert showers.energies.dtype == dtype
        found, expected = read_sample(path, PHOTONS_DATASET1), sample_of(showers)
        np.testing.assert_array_equal(found.features.values, expected.features.values)
        np.testing.assert_array_equal(found.features.values, compute_features(showers).values)
        np.testing.assert_array_equal(found.features.incident_energies, showers.incident_energies)
        np.testing.assert_array_equal(found.shapes.values, compute_shapes(showers).values)
        np.testing.assert_array_equal(found.shapes.values, expected.shapes.values)
        np.testing.assert_array_equal(found.spectrum.counts, expected.spectrum.counts)


@pytest.mark.parametrize("block_bytes", [1, 8 * 368 * 7, 8 * 368 * 40])
@pytest.mark.parametrize("keep_bytes", [0, 30_000, 2**28])
def test_blocks_of_any_size_give_the_same(files, monkeypatch, block_bytes, keep_bytes):
    """One shower, 7, or 32 (two chunks) at a time; the reference's voxels kept, read again, or kept at first."""
    whole = judge_all(files)
    monkeypatch.setattr(streaming, "_BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(streaming, "_KEEP_BYTES", keep_bytes)
    found = judge_all(files)
    assert found.num_showers == {"reference": 150, "generated": 160, "second_reference": 170}
    for item, expected in zip(found.scored, whole.scored, strict=True):
        for name, histogram in expected.histograms.items():
            np.testing.assert_array_equal(item.histograms[name].counts, histogram.counts)
        for metric, value in expected.numbers_of().items():
            assert item.numbers_of()[metric].value == pytest.approx(value.value, rel=1e-9, abs=1e-12, nan_ok=True)
            floor = expected.second_reference[metric].value
            assert item.second_reference[metric].value == pytest.approx(floor, rel=1e-9, abs=1e-12, nan_ok=True)
    for name, matrix in whole.correlations.items():
        np.testing.assert_allclose(found.correlations[name], matrix, rtol=1e-9)


@pytest.mark.parametrize("binning", ["1-photons", "reference"])
def test_shapes_change_no_number_of_the_challenge(files, binning):
    with_shapes, without = (
        judge_files(*files[:2], PHOTONS_DATASET1, second_reference=files[2], binning=binning, shapes=shapes)
        for shapes in (True, False)
    )
    number = len(without.scored)
    assert [scored_rows(item) for item in with_shapes.scored[:number]] == [scored_rows(item) for item in without.scored]
    for item, expected in zip(with_shapes.scored, without.scored, strict=False):
        for name, histogram in expected.histograms.items():
            np.testing.assert_array_equal(item.histograms[name].counts, histogram.counts)
            np.testing.assert_array_equal(item.histograms[name].edges, histogram.edges)
    assert tuple(item.feature for item in with_shapes.scored[number:]) == list_shapes(PHOTONS_DATASET1)


def test_identical_files_differ_nowhere(files):
    found = judge_files(files[0], files[0], PHOTONS_DATASET1, second_reference=files[0])
    values = [
        value.value for item in found.scored for value in (*item.numbers_of().values(), *item.second_reference.values())
    ]
    assert set(np.nan_to_num(values)) == {0.0}


def test_spectrum_is_that_of_all_voxels(files):
    """The challenge's way: all voxels of a file at once, those below the threshold set to 0, between 50 edges.

    The threshold is the energy of a voxel, which stays.
    """
    arrays = [Showers.read(path, PHOTONS_DATASET1).energies for path in files]
    least = float(np.sort(arrays[0].ravel())[-10_000])
    judgement = judge_files(*files[:2], PHOTONS_DATASET1, second_reference=files[2], min_energy=least)
    found = judgement.find("voxel_energy")
    cut = [np.where(item < least, 0.0, item).ravel() for item in arrays]
    assert (cut[0] > 0).sum() == 10_000
    edges = np.logspace(np.log10(least), np.log10(cut[0].max()), 50)
    edges[0], edges[-1] = least, cut[0].max()
    counts = [np.histogram(item, edges)[0] for item in cut]
    for name, item, expected in zip(found.histograms, cut, counts, strict=True):
        histogram = found.histograms[name]
        np.testing.assert_allclose(histogram.edges, edges, rtol=1e-14)
        np.testing.assert_array_equal(histogram.counts[1:-1], expected)
        assert histogram.counts[0] == (item == 0).sum()
        assert histogram.counts[-1] == (item > edges[-1]).sum()
    p, q = counts[0] / counts[0].sum(), counts[1] / counts[1].sum()
    expected = 0.5 * np.sum((p - q) ** 2 / (p + q + 1e-16))
    assert found.numbers_of()["challenge_separation_power"].value == pytest.approx(expected, rel=1e-10)


def test_small_file_agrees_with_the_slow_twins(tmp_path):
    samples = [make_showers(TINY_VOXELS, 30, seed) for seed in (1, 2)]
    paths = [write(tmp_path / f"{number}.hdf5", item) for number, item in enumerate(samples)]
    found = judge_files(*paths, TINY_VOXELS, binning="1-pions", min_energy=20.0)
    rows = [
        [slow.features(TINY_VOXELS, *row, 20.0) for row in zip(item.energies, item.incident_energies, strict=True)]
        for item in samples
    ]
    for name in ("response", "layer_energy_1", "centroid_phi_1", "width_r_1", "sparsity_1"):
        item, pair = found.find(name), [[row[name] for row in sample] for sample in rows]
        area = slow.area_between(*pair) / np.std(pair[0])
        assert item.numbers_of()["wasserstein"].value == pytest.approx(area, rel=1e-10)
        axis = BINNINGS["1-pions"].edges(item.feature, max(pair[0]), 20.0)
        power = slow.separation_power(*pair, axis)
        assert item.numbers_of()["challenge_separation_power"].value == pytest.approx(power, rel=1e-10, nan_ok=True)


def test_thresholds_are_those_of_the_binning(files):
    assert judge_files(*files[:2], PHOTONS_DATASET1).min_energy == 1.0
    assert judge_files(*files[:2], PHOTONS_DATASET1, binning="2").min_energy == pytest.approx(0.0151515, rel=1e-5)
    found = judge_files(*files[:2], PHOTONS_DATASET1, binning="2", min_energy=3.0)
    assert found.min_energy == found.find("voxel_energy").histograms["reference"].edges[0] == 3.0


def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch):
    """Four times as many showers take the memory of their features more; threads make it vary by some blocks."""
    monkeypatch.setattr(blocks, "GROUPS", 16)
    monkeypatch.setattr(streaming, "_BLOCK_BYTES", 8 * 533 * 32)
    monkeypatch.setattr(streaming, "_KEEP_BYTES", 2**19)
    peaks = []
    for number in (1000, 4000):
        path = write(tmp_path / f"{number}.hdf5", make_showers(PIONS_DATASET1, number))
        read_sample(path, PIONS_DATASET1)
        tracemalloc.start()
        sample = read_sample(path, PIONS_DATASET1)
        kept = sample.features.values.nbytes + sample.shapes.values.nbytes
        peaks.append(tracemalloc.get_traced_memory()[1] - kept)
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]
    assert 6 * peaks[1] < 4000 * 533 * 8


def test_few_blocks_are_in_memory_at_once(monkeypatch):
    monkeypatch.setattr(streaming, "num_workers", lambda most: most)  # on a single core, too
    made, taken, most, lock = 0, 0, 0, threading.Lock()

    def work(item):
        nonlocal made, most
        with lock:
            made += 1
            most = max(most, made - taken)
        return item

    for item in streaming._in_threads(work, range(200), "working"):
        assert item == taken
        time.sleep(0.0005)
        taken += 1
    assert 1 < most <= 2 * streaming._WORKERS + 1


def test_progress_is_shown(files, monkeypatch):
    shown = []

    @contextmanager
    def record(description, total, unit=""):
        bar = type("Bar", (), {"done": 0, "advance": lambda self, n=1: setattr(self, "done", self.done + n)})()
        yield bar
        shown.append((description, total, unit, bar.done))

    monkeypatch.setattr(streaming, "progress", record)
    monkeypatch.setattr("calogen.evaluation.judgement.progress", record)
    monkeypatch.setattr(streaming, "_BLOCK_BYTES", 8 * 368 * 32)
    found = judge_all(files)
    assert [item[0] for item in shown] == [
        f"reading {files[0]}",
        f"counting voxels of {files[0]}",
        f"reading {files[1]}",
        f"reading {files[2]}",
        "comparing",
    ]
    assert [item[1] for item in shown] == [5, 5, 5, 6, len(found.scored)]
    assert all(item[3] == item[1] for item in shown)


@given(
    st.lists(st.floats(0, 1e9), min_size=1, max_size=50),
    st.floats(1e-3, 10),
    st.sampled_from([1.0000011, 1.5, 100.0, 1e7]),
)
@settings(max_examples=100, deadline=None)
def test_cells_are_found_as_by_a_binary_search(energies, low, factor):
    boundaries = spectrum_cells(low, low * factor)[1]
    values = np.concatenate([energies, boundaries, np.nextafter(boundaries, 0), np.nextafter(boundaries, np.inf)])
    for dtype in (np.float64, np.float32):
        expected = np.searchsorted(boundaries, values.astype(dtype).astype(np.float64), side="right")
        np.testing.assert_array_equal(blocks.SpectrumCells(boundaries).find(values.astype(dtype)), expected)


def test_groups_take_turns(files, monkeypatch):
    """Shower k belongs to group k modulo 256 whatever the blocks: all groups have nearly the same size."""
    monkeypatch.setattr(blocks, "GROUPS", 8)
    monkeypatch.setattr(streaming, "_BLOCK_BYTES", 8 * 368 * 16)
    spectrum = read_sample(files[0], PHOTONS_DATASET1).spectrum
    energies = Showers.read(files[0], PHOTONS_DATASET1).energies
    assert spectrum.counts.sum(axis=1).tolist() == [368 * len(energies[group::8]) for group in range(8)]
    filled = [(energies[group::8] >= 1).sum() for group in range(8)]
    np.testing.assert_array_equal(spectrum.counts[:, 2:].sum(axis=1), filled)


def damage(path, kind):  # noqa: C901
    """A file with one fault."""
    showers = make_showers(PHOTONS_DATASET1, 100)
    energies = showers.energies.astype(np.float64)
    if kind == "missing":
        return path
    if kind == "text":
        path.write_text("nothing\n")
        return path
    if kind in ("nan", "negative", "infinite"):
        energies[70, 3] = {"nan": np.nan, "negative": -1.0, "infinite": np.inf}[kind]
    if kind == "GeV":
        showers, energies = replace(showers, incident_energies=showers.incident_energies / 1000), energies / 1000
    write(path, replace_energies(showers, energies))
    with h5py.File(path, "a") as file:
        if kind == "no dataset":
            del file["showers"]
        elif kind == "no labels":
            del file["incident_energies"]
        elif kind == "lengths":
            del file["incident_energies"]
            file["incident_energies"] = np.ones((99, 1))
        elif kind == "pairs":
            del file["incident_energies"]
            file["incident_energies"] = np.full((100, 2), 1000.0)
        elif kind in ("wide", "flat", "empty", "text inside"):
            del file["showers"], file["incident_energies"]
            shape = {"wide": (100, 533), "flat": (100,), "empty": (0, 368), "text inside": (100, 368)}[kind]
            file["incident_energies"] = np.full((shape[0], 1), 1000.0)
            file["showers"] = np.full(shape, b"x") if kind == "text inside" else np.ones(shape)
        place = file["showers"].id.get_chunk_info(10).byte_offset if kind == "flipped" else 0
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    if kind == "flipped":
        content = bytearray(path.read_bytes())
        content[place : place + 64] = bytes(64)
        path.write_bytes(content)
    return path


def replace_energies(showers, energies):
    """The same, unchecked."""
    object.__setattr__(showers, "energies", energies)
    return showers


FAULTS = {
    "missing": "no such file",
    "text": "not a whole HDF5 file",
    "truncated": "not a whole HDF5 file",
    "flipped": "is damaged",
    "nan": "showers 64 to 79: energies must be finite",
    "infinite": "showers 64 to 79: energies must be finite",
    "negative": "showers 64 to 79: energies must not be negative",
    "GeV": "energies must be in MeV",
    "no dataset": "must hold the dataset 'showers'",
    "no labels": "must hold the dataset 'incident_energies'",
    "lengths": "the same length. Received: 99 and 100",
    "pairs": "one energy per shower. Received: 200 for 100 showers",
    "wide": r"must have shape \[n, 368\], n above 0. Received: \[100, 533\]",
    "flat": r"must have shape \[n, 368\], n above 0. Received: \[100\]",
    "empty": r"Received: \[0, 368\]",
    "text inside": "must be an array of numbers",
}


@pytest.mark.parametrize("kind", FAULTS)
def test_damaged_files_are_refused_by_name(tmp_path, files, monkeypatch, kind):
    monkeypatch.setattr(streaming, "_BLOCK_BYTES", 8 * 368 * 16)
    path = damage(tmp_path / "wrong.hdf5", kind)
    with pytest.raises(CalogenError, match=FAULTS[kind]) as found:
        judge_files(files[0], path, PHOTONS_DATASET1)
    assert "wrong.hdf5" in str(found.value)
    with pytest.raises(CalogenError, match=FAULTS[kind]):
        judge_files(path, files[0], PHOTONS_DATASET1)
    with pytest.raises(CalogenError, match=FAULTS[kind]):
        judge_files(*files[:2], PHOTONS_DATASET1, second_reference=path)


def test_refuses_nonsense_before_it_reads(files):
    for binning, energy, message in (("5", None, "binning must be one of"), ("2", 0.0, "above 0 MeV")):
        with pytest.raises(CalogenError, match=message):
            judge_files(
                "nowhere.hdf5" if energy is None else files[0],
                files[1],
                PHOTONS_DATASET1,
                binning=binning,
                min_energy=energy,
            )
    cells = Showers(ATLAS_VAE_WINDOW, np.array([1e3]), np.ones((1, ATLAS_VAE_WINDOW.size)))
    with pytest.raises(GeometryError, match="need voxels"):
        sample_of(cells)


def test_networks_that_give_nothing_are_judged(tmp_path, files):
    """Empty showers, and layers that are always empty, give numbers, not errors."""
    showers = make_showers(PHOTONS_DATASET1, 150)
    empty = write(tmp_path / "empty.hdf5", replace(showers, energies=0 * showers.energies))
    found = judge_files(files[0], empty, PHOTONS_DATASET1)
    assert found.find("total_energy").numbers_of()["ks"].value == 1
    assert found.find("sparsity_1").numbers_of()["separation_power"].value > 0.9
    assert np.isnan(found.find("layer_energy_1").numbers_of()["challenge_separation_power"].value)
    back = judge_files(empty, files[0], PHOTONS_DATASET1)
    assert back.find("voxel_energy").numbers_of()["ks"].value > 0.1
    assert np.isinf(back.find("total_energy").numbers_of()["wasserstein"].value)
    assert json.dumps([scored_rows(item) for item in back.scored], allow_nan=False)


def test_blocks_of_a_file_are_whole_chunks(files, tmp_path):
    with ShowerFile(files[0], PHOTONS_DATASET1, 8 * 368 * 40) as file:
        assert len(file) == 150
        assert [(rows.start, rows.stop) for rows in file.rows] == [(0, 32), (32, 64), (64, 96), (96, 128), (128, 150)]
        whole = np.concatenate([file.read(rows).energies for rows in file.rows])
    np.testing.assert_array_equal(whole, Showers.read(files[0], PHOTONS_DATASET1).energies)
    with ShowerFile(files[0], PHOTONS_DATASET1, 8 * 368 * 5) as file:
        assert {rows.stop - rows.start for rows in file.rows} == {5}
    plain = write(tmp_path / "plain.hdf5", make_showers(PHOTONS_DATASET1, 20), chunks=None, compression=None)
    with ShowerFile(plain, PHOTONS_DATASET1, 8 * 368 * 7) as file:
        assert [rows.stop for rows in file.rows] == [7, 14, 20]


def test_a_block_may_be_too_small_to_tell_the_unit(tmp_path):
    """A shower of 1e-3 of its energy is no reason to refuse the file; the median shower decides."""
    showers = make_showers(PHOTONS_DATASET1, 30)
    energies = showers.energies.copy()
    energies[3] *= 1e-3
    path = write(tmp_path / "low.hdf5", replace(showers, energies=energies))
    with ShowerFile(path, PHOTONS_DATASET1, 1) as file:
        assert file.read(file.rows[3]).response < 1e-2
    assert len(read_sample(path, PHOTONS_DATASET1).features) == 30
    with pytest.raises(DataFormatError, match="in MeV"):
        read_sample(write(tmp_path / "all.hdf5", replace(showers, energies=energies * 1e-3)), PHOTONS_DATASET1)
