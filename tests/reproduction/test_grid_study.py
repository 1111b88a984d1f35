"""What studies of grids share: figures with the grid's own threshold, and variants of a run."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from calogen.errors import GeometryError
from calogen.evaluation.grids import table_of
from calogen.reproduction.grid_study import (
    mean_figure,
    single_shower_figure,
    spectrum_figure,
    without_post_processor,
)
from calogen.showers.grids import AHCAL_GRID
from calogen.showers.sample import Showers
from calogen.showers.voxels import PHOTONS_DATASET1


def pions() -> Showers:
    energies = np.zeros((3, AHCAL_GRID.size), np.float32)
    energies[:, 7000:7100] = np.linspace(0.02, 1.0, 100)
    return Showers(AHCAL_GRID, np.full(3, 20_000.0), energies)


def test_figures_have_the_threshold_of_their_grid() -> None:
    showers = pions()
    figure: Any = single_shower_figure({"Geant4": showers, "ours": showers}, "note")
    drawn = [len(ax.collections[0].get_offsets()) for ax in figure.axes[:2]]
    assert drawn == 2 * [np.count_nonzero(showers.energies[0] >= 0.25)]
    spectrum = spectrum_figure({"Geant4": table_of(showers)}, "note").axes[0]
    assert spectrum.get_xlim() == (0.025, 75.0)
    (shaded,) = (patch for patch in spectrum.patches if patch.get_alpha() == 0.4)
    assert shaded.get_extents().transformed(spectrum.transData.inverted()).x1 == pytest.approx(0.25)


def test_the_mean_shower_is_drawn_for_each_sample() -> None:
    showers = pions()
    figure = mean_figure({"Geant4": showers, "ours": replace(showers, energies=2 * showers.energies)}, "")
    titles = [ax.get_title(loc="left").replace("\n", " ") for ax in figure.axes]
    assert [title for title in titles if "front" in title] == ["Geant4, front", "ours, front"]
    voxels = Showers(PHOTONS_DATASET1, np.array([1000.0]), np.ones((1, 368), np.float32))
    with pytest.raises(GeometryError, match="RegularGrid"):
        mean_figure({"Geant4": voxels}, "")


@dataclass(frozen=True)
class Run:
    generates: tuple[str, ...]


def test_a_run_without_post_processor_generates_by_its_first_network() -> None:
    run: Any = Run(("decoder", "post_processor"))
    assert without_post_processor(run) == Run(("decoder",))
