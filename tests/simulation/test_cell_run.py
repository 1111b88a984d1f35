"""Real Geant4 in grids. One run per process is Geant4's rule, so each test has an interpreter of its own."""

from typing import Any

import numpy as np
import pytest
from own_process import in_own_process

START = "from calogen.simulation.cell_run import CellRun\nfrom calogen.simulation.imaging import *\n"


def run(body: str) -> Any:
    return in_own_process(START + body)


def test_showers_are_those_of_a_silicon_tungsten_calorimeter() -> None:
    """20 photons of 20 GeV: visible energy, hits, peak of a single particle, depth; and they can be repeated."""
    sums, hits, layers, spectrum, centre, again = run(
        "run = CellRun(ILD)\n"
        "sums, hits, layers, spectrum, centre = [], [], np.zeros(30), [], np.zeros(2)\n"
        "for seed in range(1, 21):\n"
        "    shower = run.shower('photon', 20000.0, np.pi / 2, seed)\n"
        "    layer, x, z = np.unravel_index(shower.cells, (30, 30, 30))\n"
        "    assert (np.diff(shower.cells) > 0).all() and shower.energies.dtype == np.float32\n"
        "    sums.append(float(shower.energies.sum())); hits.append(int((shower.energies > 0.1).sum()))\n"
        "    layers += np.bincount(layer, shower.energies, minlength=30)\n"
        "    centre += np.array([x @ shower.energies, z @ shower.energies]) / shower.energies.sum() / 20\n"
        "    spectrum += shower.energies.tolist()\n"
        "again = float(run.shower('photon', 20000.0, np.pi / 2, 7).energies.sum())\n"
        "result = sums, hits, layers.tolist(), spectrum, centre.tolist(), again"
    )
    assert again == sums[6]  # independent of the showers before it
    assert np.mean(sums) == pytest.approx(570, abs=40)  # 8 MeV are one standard error
    assert np.mean(hits) == pytest.approx(625, abs=50)
    assert np.sum(layers[20:]) / np.sum(layers) == pytest.approx(0.12, abs=0.06)
    assert 9 <= int(np.argmax(layers)) <= 16  # ln(E / Ec) + 0.5 radiation lengths: layer 14
    np.testing.assert_allclose(centre, 14.5, atol=0.4)  # the corner of the four central cells
    counts, edges = np.histogram(spectrum, np.linspace(0.05, 0.4, 15))
    assert 0.14 < edges[counts.argmax()] + 0.0125 < 0.2


def test_an_inclined_photon_drifts_along_x() -> None:
    """At 40 degrees, layer by layer, from the rows 6 and 7 on."""
    rows, columns = run(
        "run = CellRun(ILD_ANGULAR)\n"
        "image = np.zeros((30, 60, 30))\n"
        "for seed in range(1, 11):\n"
        "    shower = run.shower('photon', 20000.0, np.deg2rad(40.0), seed)\n"
        "    np.add.at(image.reshape(-1), shower.cells, shower.energies)\n"
        "cells = image.sum(axis=2)\n"
        "rows = [float(cells[layer] @ np.arange(60) / cells[layer].sum()) for layer in (5, 10, 15)]\n"
        "result = rows, float(image.sum(axis=(0, 1)) @ np.arange(30) / image.sum())"
    )
    depths = 2.35 + 6.14 * np.array([5, 10, 15])  # behind them the shower ends, and its rest is diffuse
    np.testing.assert_allclose(rows, 5.5 + depths / np.tan(np.deg2rad(40.0)) / 5, atol=1.2)
    assert columns == pytest.approx(14.5, abs=0.4)


def test_staggered_cells_see_the_axis_elsewhere() -> None:
    """The same tracks, in cells that are shifted: the centre in a layer moves against the shift."""
    body = (
        "run = CellRun({name})\n"
        "image = np.zeros((30, 30, 30))\n"
        "for seed in range(1, 9):\n"
        "    shower = run.shower('photon', 10000.0, np.pi / 2, seed)\n"
        "    np.add.at(image.reshape(-1), shower.cells, shower.energies)\n"
        "cells = image.sum(axis=2)[6:18]\n"
        "result = (cells @ np.arange(30) / cells.sum(axis=1) - 14.5).tolist(), ILD_STAGGERED.offsets[6:18]"
    )
    straight, _ = run(body.format(name="ILD"))
    shifted, offsets = run(body.format(name="ILD_STAGGERED"))
    correlation = np.corrcoef(np.subtract(shifted, straight), np.negative(offsets))[0, 1]
    assert correlation > 0.5


def test_pions_run_in_steel_and_scintillator() -> None:
    energies, layers = run(
        "run = CellRun(AHCAL, AHCAL.physics)\n"
        "showers = [run.shower('pion', 5000.0, np.pi / 2, seed) for seed in range(1, 7)]\n"
        "result = [float(item.energies.sum()) for item in showers], [int(item.cells.max() // 625) for item in showers]"
    )
    assert 20 < np.mean(energies) < 250  # about 2 % of the momentum are seen in the scintillator
    assert max(layers) > 20
