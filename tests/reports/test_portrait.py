"""The figure of the showers in a file."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import make_grid, make_showers
from matplotlib.axes import Axes

from calogen.reports.portrait import draw_portrait
from calogen.showers.geometry import Geometry
from calogen.showers.sample import Showers
from calogen.showers.voxels import PHOTONS_DATASET1

GRID = make_grid((3, 2), (4, 4))


def images(showers: Showers) -> dict[str, np.ndarray]:
    """Drawn energies by title."""
    axes = [ax for ax in draw_portrait(showers, "file.h5").axes if ax.get_title(loc="left") or ax.get_title()]
    return {_title(ax): np.asarray(ax.collections[0].get_array()) for ax in axes}


def _title(ax: Axes) -> str:
    return ax.get_title(loc="left") or ax.get_title()


def test_mean_and_single_showers_of_the_energy_in_the_middle() -> None:
    """Of nine showers of three energies: the three of the middle one, each in its row."""
    showers = replace(make_showers(GRID, 9), incident_energies=np.repeat([1024.0, 2048.0, 4096.0], 3))
    found = images(showers)
    assert list(found) == [
        f"{layer}, {row}"
        for layer in ("layer 0", "layer 1")
        for row in ("mean of 9", "shower 1", "shower 2", "shower 3")
    ], "three of an energy are too few for a mean of their own"
    more = images(replace(make_showers(GRID, 12), incident_energies=np.repeat([1024.0, 2048.0, 4096.0], 4)))
    drawn = sum(array.sum() for title, array in more.items() if title.endswith("shower 2"))
    assert drawn == pytest.approx(make_showers(GRID, 12).energies[5].sum(), rel=1e-5)
    mean = sum(array.sum() for title, array in more.items() if "mean of 4" in title)
    assert mean == pytest.approx(make_showers(GRID, 12).energies[4:8].sum() / 4, rel=1e-5)


@pytest.mark.parametrize("geometry", [GRID, PHOTONS_DATASET1])
@pytest.mark.parametrize("number", [1, 2, 2000])
def test_continuous_energies_and_few_showers(geometry: Geometry, number: int) -> None:
    incident = np.geomspace(1e3, 1e6, number)
    titles = list(images(replace(make_showers(geometry, number), incident_energies=incident)))
    rows = min(number, 3) + 1
    assert len(titles) == rows * min(len(geometry.layers), 8)
    assert titles[0].endswith(f"mean of {min(number, 1000)}")
