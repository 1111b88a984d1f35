from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calogen.errors import GeometryError
from calogen.geometry import ATLAS_BARREL_STORED, PHOTONS_DATASET1, PIONS_DATASET1, CellGrid, VoxelGeometry, VoxelLayer
from calogen.windows import ATLAS_VAE_WINDOW

GEOMETRIES = [ATLAS_BARREL_STORED, ATLAS_VAE_WINDOW, PHOTONS_DATASET1, PIONS_DATASET1]


@pytest.mark.parametrize(
    ("geometry", "sizes"),
    [
        (ATLAS_BARREL_STORED, [21, 192, 49, 35]),
        (ATLAS_VAE_WINDOW, [21, 171, 49, 35]),
        (PHOTONS_DATASET1, [8, 160, 190, 5, 5]),
        (PIONS_DATASET1, [8, 100, 100, 5, 150, 160, 10]),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_layer_sizes_are_the_published_ones(geometry: CellGrid | VoxelGeometry, sizes: list[int]) -> None:
    assert [layer.size for layer in geometry.layers] == sizes
    assert geometry.size == sum(sizes)
    assert [part.stop - part.start for part in geometry.slices] == sizes


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=lambda geometry: geometry.name)
def test_index_maps_are_bijections(geometry: CellGrid | VoxelGeometry) -> None:
    places = [geometry.unravel(index) for index in range(geometry.size)]
    assert len(set(places)) == geometry.size
    assert [geometry.index(*place) for place in places] == list(range(geometry.size))
    assert [place[0] for place in places] == geometry.layer_of.tolist()


def test_order_of_the_vector() -> None:
    assert ATLAS_BARREL_STORED.index(1, 0, 1) == 22  # phi runs fastest
    assert PHOTONS_DATASET1.index(1, 0, 1) == 9  # r runs fastest
    assert PHOTONS_DATASET1.index(1, 1, 0) == 8 + 16


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=lambda geometry: geometry.name)
def test_a_cell_outside_is_refused(geometry: CellGrid | VoxelGeometry) -> None:
    for place in ((0, -1, 0), (0, 7, 0), (0, 0, 8)):
        with pytest.raises(GeometryError, match="no (cell|voxel)"):
            geometry.index(*place)


def test_layer_energies_are_sums() -> None:
    energies = np.arange(2 * 297, dtype=np.float32).reshape(2, 297)
    expected = [[block[part].sum() for part in ATLAS_BARREL_STORED.slices] for block in energies.astype(float)]
    np.testing.assert_array_equal(ATLAS_BARREL_STORED.layer_energies(energies), expected)
    assert [block.shape for block in ATLAS_BARREL_STORED.blocks(energies)] == [
        (2, 7, 3), (2, 64, 3), (2, 7, 7), (2, 5, 7)
    ]  # fmt: skip


def test_another_number_of_cells_is_refused() -> None:
    with pytest.raises(GeometryError, match=r"\[n, 368\]. Received: \[1, 533\]"):
        PHOTONS_DATASET1.require(np.zeros((1, 533)))


@given(st.floats(0.2, 0.25, exclude_max=True), st.floats(0, 6.283))
def test_windows_hold_the_impact_cell(eta: float, phi: float) -> None:
    for grid in (ATLAS_BARREL_STORED, ATLAS_VAE_WINDOW):
        for layer in grid.layers:
            first_eta, first_phi = layer.first_cell(eta, phi)
            assert 0 <= eta / layer.eta_size - first_eta < layer.num_eta
            # an odd window is centred on the impact cell
            assert int(phi / layer.phi_size) - first_phi == layer.num_phi // 2
            if layer.num_eta % 2 and not layer.eta_anchor:
                assert int(eta / layer.eta_size) - first_eta == layer.num_eta // 2


def test_stored_strips_begin_28_before_the_middle_cell() -> None:
    front = ATLAS_BARREL_STORED.layers[1]
    for eta in (0.2001, 0.2249, 0.2251, 0.2499):
        assert front.first_cell(eta, 0.0)[0] == 8 * int(eta / 0.025) - 28


@pytest.mark.parametrize(
    "text",
    ["", "<Bins/>", "<Bins><Bin/></Bins>", "<Bins><Bin><Layer id='0' r_edges='0,5' n_bin_alpha='x'/></Bin></Bins>"],
)
def test_a_bad_binning_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "binning.xml"
    path.write_text(text)
    with pytest.raises(GeometryError, match=r"binning\.xml"):
        VoxelGeometry.read_xml(path)


def test_radial_edges_must_increase() -> None:
    with pytest.raises(GeometryError, match="increasing"):
        VoxelLayer(0, (0.0, 5.0, 5.0), 1)
