import numpy as np
from matplotlib.figure import Figure

from calogen.metrics.histograms import Profile
from calogen.observables.cells import AverageShower
from calogen.plots.showers import draw_average_cells, draw_average_shower, draw_profile

EDGES = np.array([-1.5, -0.5, 0.5, 1.5])
REFERENCE = Profile(EDGES, np.array([1.0, 10.0, 0.0]), np.array([0.1, 1.0, 0.0]))
GENERATED = Profile(EDGES, np.array([2.0, 5.0, 1.0]), np.array([0.2, 0.5, 0.1]))


def layers():
    profiles = {label: {"eta": item, "phi": item} for label, item in (("Geant4", REFERENCE), ("VAE", GENERATED))}
    cells = {"Geant4": np.eye(3), "VAE": np.ones((3, 3))}
    return [AverageShower(name, 4096.0, profiles, cells) for name in ("front", "middle")]


def test_profile_and_ratio():
    artists = draw_profile(*Figure().subplots(2, 1), REFERENCE, {"VAE": GENERATED})
    profile, ratio = artists["VAE"]
    np.testing.assert_allclose(profile.lines[0].get_xydata(), [[-1, 2], [0, 5], [1, 1]])
    np.testing.assert_allclose(ratio.lines[0].get_ydata(), [2, 0.5, np.nan])
    np.testing.assert_allclose(artists["Geant4"][1].lines[0].get_ydata(), [1, 1, np.nan])


def test_average_shower_has_eta_above_phi():
    figure = draw_average_shower(layers(), "no noise")
    assert len(figure.axes) == 8
    assert figure.axes[0].get_title(loc="left") == "front, 4.1 GeV"
    assert "eta" in figure.axes[1].get_xlabel()
    assert "phi" in figure.axes[7].get_xlabel()


def test_one_axis_around_the_impact_point():
    figure = draw_average_shower(layers(), "", ("phi",), "point")
    assert len(figure.axes) == 4
    assert figure.axes[1].get_xlabel() == r"$\Delta\phi$ from the impact point [rad]"


def test_cells_share_the_references_colour_scale(tmp_path):
    figure = draw_average_cells(layers())
    images = [ax.collections[0] for ax in figure.axes if ax.collections and ax.get_ylabel() == r"$\Delta\phi$"]
    assert len(images) == 4
    assert {image.norm.vmax for image in images} == {1.0}
    np.testing.assert_allclose(images[0].get_array().reshape(3, 3), np.eye(3))
    figure.savefig(tmp_path / "figure.png")
