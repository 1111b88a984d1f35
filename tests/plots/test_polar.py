import numpy as np
import pytest
from conftest import TINY_VOXELS, make_showers
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from calogen.plots.polar import MOST_LAYERS, draw_disc, draw_showers
from calogen.showers.voxels import VoxelGeometry, VoxelLayer

LAYER = VoxelLayer(1, (0.0, 1.0, 4.0), 4)


def test_each_voxel_lies_at_its_angle_and_radius() -> None:
    energies = np.arange(1.0, 9.0)
    mesh = draw_disc(Figure().add_subplot(), LAYER, energies, LogNorm(1, 10))
    corners, values = np.asarray(mesh.get_coordinates()), np.ma.getdata(mesh.get_array())
    centres = (corners[1:, 1:] + corners[:-1, 1:] + corners[1:, :-1] + corners[:-1, :-1]) / 4
    angles, radii = np.arctan2(centres[..., 1], centres[..., 0]), np.hypot(centres[..., 0], centres[..., 1])
    alpha = np.floor((angles + np.pi) / (np.pi / 2)).astype(int)
    outer = (radii > 0.5).astype(int)  # r = 1 of 4 is drawn at sqrt(1 / 4)
    np.testing.assert_array_equal(values, energies[2 * alpha + outer])


def test_voxels_without_energy_are_black_and_samples_share_their_colours() -> None:
    average = make_showers(TINY_VOXELS, 50).energies.mean(axis=0)
    average[0] = 0.0
    figure = draw_showers(TINY_VOXELS, {"Geant4": average, "model": average / 10}, "a note")
    meshes = [axes.collections[0] for axes in figure.axes[:4]]
    assert [mesh.norm.vmax for mesh in meshes] == pytest.approx([average[:2].max(), average[2:].max()] * 2)
    assert tuple(meshes[0].to_rgba(0.0)) == (0.0, 0.0, 0.0, 1.0)
    assert [axes.get_title("left") for axes in figure.axes[:4]] == [
        f"layer {layer}, {name}" for name in ("Geant4", "model") for layer in (0, 1)
    ]


def test_many_layers_are_thinned_out_and_empty_ones_drawn() -> None:
    geometry = VoxelGeometry("deep", tuple(VoxelLayer(number, (0.0, 1.0), 1) for number in range(45)))
    figure = draw_showers(geometry, {"Geant4": np.zeros(45)})
    titles = [axes.get_title("left") for axes in figure.axes[:MOST_LAYERS]]
    assert (titles[0], titles[-1], len(titles)) == ("layer 0, Geant4", "layer 44, Geant4", MOST_LAYERS)
    figure.canvas.draw()
