import numpy as np
import pytest
from conftest import make_showers

from calogen.evaluation.compare import ALL_ENERGIES
from calogen.evaluation.published import (
    CALOSHOWERGAN_NUMBERS,
    CALOSHOWERGAN_OBSERVABLES,
    CALOSHOWERGAN_TABLE_3,
    CALOSHOWERGAN_TABLE_4,
    CALOSHOWERGAN_TABLE_5,
    CALOSHOWERGAN_TABLE_6,
)
from calogen.observables import voxels
from calogen.showers.voxels import PHOTONS_DATASET1, PIONS_DATASET1


@pytest.mark.parametrize(("particle", "geometry"), [("photon", PHOTONS_DATASET1), ("pion", PIONS_DATASET1)])
def test_caloshowergans_observables_fit_the_geometry(particle, geometry):
    showers = make_showers(geometry, 20)
    found = {item.name: item.values(showers) for item in CALOSHOWERGAN_OBSERVABLES[particle]}
    layers = [name for name in found if name.startswith("layer_") and name.endswith("_energy")]
    assert layers == [f"layer_{layer.id}_energy" for layer in geometry.layers]
    np.testing.assert_allclose(sum(found[name] for name in layers), found["total_energy"])
    shapes = {name for name in found if name.endswith(("_centroid", "_width"))}
    assert shapes == {
        f"layer_{layer.id}_{axis}_{quantity}"
        for layer in geometry.layers
        if layer.num_alpha > 1
        for axis in ("eta", "phi")
        for quantity in ("centroid", "width")
    }
    assert all(len(values) == 20 for name, values in found.items() if name != "voxel_energy")
    np.testing.assert_allclose(found["voxel_energy"].sum(), 1000 * found["total_energy"].sum(), rtol=1e-5)
    np.testing.assert_array_equal(found["layer_1_eta_width"], voxels.voxel_width(showers, 1, "eta"))
    np.testing.assert_array_equal(found["layer_2_phi_centroid"], voxels.voxel_centroid(showers, 2, "phi"))


def test_caloshowergans_figures():
    """Figs. 5, 9, 11, 12, 16 of photons; 6, 10, 13-17 of pions; momenta are powers of two from 2^8 to 2^22 MeV."""
    for particle, expected in (("photon", {5, 9, 11, 12, 16}), ("pion", {6, 10, *range(13, 18)})):
        figures = {item.name: dict(item.figures) for item in CALOSHOWERGAN_OBSERVABLES[particle]}
        assert {int(number) for item in figures.values() for number in item.values()} == expected
        momenta = {momentum for item in figures.values() for momentum in item} - {ALL_ENERGIES}
        assert momenta == {2.0**power for power in range(8, 23)} == set(figures["total_energy"])
    fifteen = {name: item for name, item in figures.items() if "15" in item.values()}
    assert list(fifteen) == ["layer_12_eta_width", "layer_13_eta_width"]
    assert fifteen["layer_13_eta_width"] == {ALL_ENERGIES: "14"} | dict.fromkeys(
        (512.0, 4096.0, 8192.0, 65536.0, 1048576.0), "15"
    )
    assert figures["voxel_energy"] == {ALL_ENERGIES: "16", 512.0: "17", 32768.0: "17", 2097152.0: "17"}


@pytest.mark.parametrize("table", [CALOSHOWERGAN_TABLE_3, CALOSHOWERGAN_TABLE_4], ids=["3", "4"])
def test_caloshowergans_tables_add_up(table):
    """Sums and NDF: 28 for each momentum of each GAN, shared momenta twice."""
    for name, rows in table.items():
        *parts, last = rows
        if parts:
            assert last.momenta == "Sum"
            assert (last.chi2, last.ndf) == tuple(sum(column) for column in list(zip(*parts, strict=True))[1:]), name
        assert last.ndf == 28 * (14 + max(len(parts), 1)), name


def test_caloshowergans_quotients_are_the_printed_ones():
    printed = {"single": (3.7,), "two": (2.6, 3.4, 3.1), "three": (2.6, 2.7, 2.1, 2.5)}
    normalised = {"single": (2.7,), "two": (1.1, 2.3, 1.9), "three": (1.1, 2.3, 1.7, 1.8), "pion 1M": (1.5,)}
    normalised["pion 2M"] = (1.3,)
    for table, expected in ((CALOSHOWERGAN_TABLE_3, printed), (CALOSHOWERGAN_TABLE_4, normalised)):
        assert {name: tuple(round(row.chi2 / row.ndf, 1) for row in rows) for name, rows in table.items()} == expected
    assert CALOSHOWERGAN_TABLE_4["single"][0].per_ndf == 1131 / 420


def test_caloshowergans_times_and_sizes():
    assert (CALOSHOWERGAN_TABLE_6[10000].value, CALOSHOWERGAN_TABLE_6[10000].error) == (70.8, 4.8)
    pion, first = CALOSHOWERGAN_TABLE_5["pion"][65536.0], CALOSHOWERGAN_TABLE_6[1]
    assert (pion.value, pion.error) == (first.value, first.error) == (6.3, 0.3)
    assert {times.keys() == {2.0**10, 2.0**16, 2.0**20} for times in CALOSHOWERGAN_TABLE_5.values()} == {True}
    sizes = {name: item.value for name, item in CALOSHOWERGAN_NUMBERS.items() if item.unit == "MB"}
    assert round(6 * sizes["json_photon"] + sizes["json_pion"]) == sizes["json_slice"]
