import numpy as np
from toy_grids import grid_showers

from calogen.observables.grid import profiles
from calogen.plots.grids import draw_grid_profiles, draw_projections
from calogen.showers.grids import ILD_GRID


def test_profiles_show_the_means() -> None:
    first, second = (profiles(grid_showers(5, seed, (20_000.0,))) for seed in (1, 2))
    figure = draw_grid_profiles({"Geant4": first, "A": second}, "small print")
    axes = [ax for ax in figure.axes if ax.get_title(loc="left")]
    assert [ax.get_title(loc="left") for ax in axes] == ["Longitudinal profile", "Radial profile"]
    line = axes[0].containers[0].lines[0]  # type: ignore[attr-defined]
    np.testing.assert_allclose(line.get_ydata(), first["longitudinal"].mean)


def test_projections_are_sums_along_an_axis() -> None:
    """Layer and x, layer and z, x and z; a shower without energy is black."""
    energies = grid_showers(1, 1, (20_000.0,)).energies[0]
    figure = draw_projections(ILD_GRID, {"one": energies, "none": 0 * energies})
    meshes = [ax.collections[0].get_array() for ax in figure.axes[:3]]
    image = energies.reshape(30, 30, 30)
    for mesh, axis in zip(meshes, (2, 1, 0), strict=True):
        np.testing.assert_allclose(np.ma.filled(mesh, 0).reshape(30, 30), image.sum(axis=axis).T, rtol=1e-6)
    assert np.ma.getmaskarray(figure.axes[3].collections[0].get_array()).all()
