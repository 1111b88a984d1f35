"""Tables of grid showers from files, their comparison and their summary."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toy_grids import grid_showers, write_grids

from calogen.errors import DataFormatError
from calogen.evaluation import grids
from calogen.evaluation.compare import ALL_ENERGIES
from calogen.evaluation.grids import (
    compare_grids,
    energies_of,
    format_grid_energy_table,
    grid_energy_table,
    grid_facts,
    join_blocks,
    read_table,
    table_of,
)
from calogen.evaluation.observed import observed_numbers
from calogen.evaluation.tables import choose_examples
from calogen.observables.grid import GRID_OBSERVABLES
from calogen.showers.files import ShowerFile
from calogen.showers.grids import AHCAL_GRID, ILD_GRID
from calogen.showers.sample import Showers


def test_a_table_from_blocks_is_that_of_all_showers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    showers = grid_showers(11, 1, (20_000.0, 50_000.0))
    showers.write(tmp_path / "a.h5")
    opened = ShowerFile.__init__
    monkeypatch.setattr(ShowerFile, "__init__", lambda *args, **more: opened(*args, max_bytes=8 * 27_000 * 3, **more))
    monkeypatch.setattr(grids, "MAX_EXAMPLES", 2)  # fewer than blocks
    table, whole = read_table(tmp_path / "a.h5", ILD_GRID), table_of(showers)
    for name in ("incident_energies", "layers", "rings", "cells", "spectrum", "hashes"):
        np.testing.assert_array_equal(getattr(table, name), getattr(whole, name))
    for item in GRID_OBSERVABLES:
        np.testing.assert_allclose(table[item.name], item.values(showers), rtol=1e-12)
    chosen = choose_examples(showers.incident_energies, 2)
    np.testing.assert_array_equal(table.examples.energies, showers.energies[chosen])
    joined = join_blocks((block for _, block in showers.blocks(3)), len(showers))
    np.testing.assert_array_equal(joined.spectrum, whole.spectrum)
    np.testing.assert_array_equal(joined.examples.energies, showers.energies[::6])
    part = table.at(50_000.0)
    assert len(part) == 5
    np.testing.assert_array_equal(part.spectrum, table_of(showers.at(50_000.0)).spectrum)


def test_energies_in_gev_are_refused(tmp_path: Path) -> None:
    showers = grid_showers(4, 1)
    replace(showers, energies=showers.energies / 1000).write(tmp_path / "a.h5")
    with pytest.raises(DataFormatError, match="must be in MeV"):
        read_table(tmp_path / "a.h5", ILD_GRID)


def test_continuous_energies_are_compared_together() -> None:
    """Equal distributions are within the floor, wider showers are not; other energies are refused."""
    reference, same, wide = (
        table_of(grid_showers(120, seed, width=width)) for seed, width in ((1, 2.0), (2, 2.0), (3, 3.0))
    )
    assert energies_of(reference, {"a": same}) == (ALL_ENERGIES,)
    compared = compare_grids(reference, {"same": same, "wide": wide}, ALL_ENERGIES)
    ks = {name: {m.sample: m for m in item.measurements if m.metric == "ks"} for name, item in compared.items()}
    assert ks["x_second_moment"]["wide"].measured.value > 0.9
    assert not ks["x_second_moment"]["wide"].within_floor
    within = [rows["same"].within_floor for rows in ks.values() if rows]
    assert sum(within) >= 9  # of 11, each of which is wrong once in 20 times
    assert compared["hit_energy"].measurements == ()
    np.testing.assert_allclose(compared["hit_energy"].histograms["wide"].edges[[0, 40, -1]], [0.001, 0.1, 100.0])
    high = reference.where(reference.incident_energies > 60_000)
    with pytest.raises(DataFormatError, match="same shares"):
        compare_grids(reference, {"high": high}, ALL_ENERGIES)


def test_single_energies_are_compared_one_by_one() -> None:
    reference, other = (table_of(grid_showers(40, seed, (20_000.0, 50_000.0))) for seed in (1, 2))
    assert energies_of(reference, {"a": other}) == (20_000.0, 50_000.0)
    compared = compare_grids(reference, {"a": other.at(20_000.0)}, 20_000.0)
    assert compared["num_hits"].incident_energy == 20_000.0
    assert compared["num_hits"].histograms["reference"].entries == 20


def test_distances_of_continuous_energies_grow_with_the_difference() -> None:
    reference, same, wide = (
        table_of(grid_showers(300, seed, width=width)) for seed, width in ((1, 2.0), (2, 2.0), (3, 2.5))
    )
    near, far = (observed_numbers(reference, other, 0)[0] for other in (same, wide))
    assert near["fpd"].value < 0.2 * far["fpd"].value


def test_facts_are_those_of_a_sample() -> None:
    """The peak of the hits is where it was put; nothing is in layers that are empty."""
    rng = np.random.default_rng(1)
    energies = np.zeros((50, ILD_GRID.size), np.float32)
    energies[:, :9000] = rng.normal(0.215, 0.02, (50, 9000)) * (rng.random((50, 9000)) < 0.1)
    table = table_of(Showers(ILD_GRID, np.full(50, 20_000.0), energies))
    facts = grid_facts(table)
    assert facts["mip_peak"].value == pytest.approx(0.215, abs=0.011)
    assert facts["num_hits"].value == pytest.approx(900, rel=0.02)
    assert facts["visible_energy"].value == pytest.approx(0.215 * 900, rel=0.02)
    assert facts["last_layers"].value == 0
    assert np.isnan(table_of(replace(table.examples, energies=0 * energies)).mip_peak)


def test_the_peak_of_scintillator_is_sought_where_it_is() -> None:
    """A peak at 0.49 MeV on a spectrum that falls, of which silicon's range would give the lower end."""
    rng = np.random.default_rng(2)
    energies = np.zeros((20, AHCAL_GRID.size), np.float32)
    energies[:, :4000] = 0.02 / rng.random((20, 4000))
    energies[:, 5000:5400] = rng.normal(0.49, 0.03, (20, 400))
    table = table_of(Showers(AHCAL_GRID, np.full(20, 20_000.0), energies))
    assert table.mip_peak == pytest.approx(0.49, abs=0.02)
    assert replace(table, grid=replace(AHCAL_GRID, peak_range=(0.1, 0.4))).mip_peak < 0.15


def test_the_summary_has_rows_of_energies_or_of_ranges(tmp_path: Path) -> None:
    rows = grid_energy_table(table_of(grid_showers(10, 1, (20_000.0, 50_000.0))))
    assert [(row["incident_energy"], row["showers"]) for row in rows] == [(20_000.0, 5), (50_000.0, 5)]
    assert rows[0]["num_hits"] < rows[1]["num_hits"]
    ranges = grid_energy_table(read_table(write_grids(tmp_path / "a.h5", 60, 1), ILD_GRID))
    assert len(ranges) == 10
    assert sum(row["showers"] for row in ranges) == 60
    empty = table_of(replace(grid_showers(2, 1, (20_000.0,)), energies=np.zeros((2, 27_000), np.float32)))
    text = format_grid_energy_table(grid_energy_table(empty), ILD_GRID)
    assert text.splitlines()[0].split()[:2] == ["MeV", "showers"]
    assert "20000        2" in text
