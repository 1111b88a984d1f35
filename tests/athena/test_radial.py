from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY_VOXELS, make_grid, make_showers

from calogen.athena.folder import MARK
from calogen.athena.radial import file_name, radial_histogram, write_radial
from calogen.errors import GeometryError
from calogen.showers.voxels import VoxelLayer

LAYER = VoxelLayer(1, (0.0, 5.0, 10.0, 20.0, 40.0), 3)


def _fitted_slope(contents: np.ndarray, edges: np.ndarray, low: float, high: float) -> float:
    """What an exponential fit to the histogram inside a radial bin gives."""
    centres = (edges[1:] + edges[:-1]) / 2
    inside = (centres > low) & (centres < high)
    return float(np.polyfit(centres[inside], np.log(contents[inside]), 1)[0])


def test_an_exponential_comes_back() -> None:
    edges, slope = np.array(LAYER.r_edges), -0.15
    centres, widths = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    contents, fine = radial_histogram(1000 * np.exp(slope * centres) * widths, LAYER)
    assert len(contents) == len(fine) - 1 == 40
    for low, high in pairwise(edges):
        assert _fitted_slope(contents, fine, low, high) == pytest.approx(slope)


def test_radial_bins_keep_their_energy() -> None:
    energies = np.array([3.0, 0.0, 5.0, 1.0])
    contents, fine = radial_histogram(energies, LAYER)
    np.testing.assert_allclose(contents.reshape(4, 10).sum(axis=1), energies)
    assert np.ptp(contents[:10]) == pytest.approx(0)  # its neighbour is empty: no slope
    np.testing.assert_array_equal(fine[::10], LAYER.r_edges)


def test_the_file_is_what_the_class_opens(tmp_path: Path) -> None:
    uproot = pytest.importorskip("uproot")
    path = tmp_path / file_name(22, 20)
    assert path.relative_to(tmp_path).as_posix() == "rootFiles/pid22_E1048576_eta_20_25.root"
    showers = make_showers(TINY_VOXELS, 20)
    write_radial(path, showers)
    with uproot.open(path) as file:
        assert file.classnames() == {f"{MARK};1": "TObjString", "r0w;1": "TH1D", "r1w;1": "TH1D"}
        for layer, part in zip(TINY_VOXELS.layers, TINY_VOXELS.slices, strict=True):
            values, edges = file[f"r{layer.id}w"].to_numpy()
            assert (edges[0], edges[-1]) == (layer.r_edges[0], layer.r_edges[-1])
            assert values.sum() == pytest.approx(showers.energies[:, part].sum() / 20, rel=1e-5)


def test_cells_have_no_radius(tmp_path: Path) -> None:
    with pytest.raises(GeometryError, match="radial histograms need voxels"):
        write_radial(tmp_path / "x.root", make_showers(make_grid((2, 1)), 3))
