"""Samples of showers in regular grids, as tables of observables.

The tables are read from files block by block.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any  # the values of a table

import numpy as np

from calogen.evaluation.compare import ALL_ENERGIES, Comparison, compare_tables
from calogen.evaluation.copies import hash_showers
from calogen.evaluation.tables import SampleTable, read_blocks, without_showers
from calogen.metrics.distributions import Value, json_number, mean
from calogen.metrics.histograms import Profile
from calogen.observables.grid import (
    GRID_OBSERVABLES,
    HIT_SPECTRUM,
    hit_energies,
    layer_edges,
    longitudinal_profile,
    radial_edges,
    radial_profile,
)
from calogen.observables.observable import Observable
from calogen.showers.files import EXACT, Files, Reading, ShowerFile
from calogen.showers.geometry import require_kind
from calogen.showers.grid import RegularGrid
from calogen.showers.labels import discrete_energies, has_energy
from calogen.showers.sample import Showers, concatenate

MAX_EXAMPLES = 1000
"""Largest number of showers of a sample that stay in memory, to find copies and for pictures."""
_MIP_BINS = 30


@dataclass(frozen=True, kw_only=True)
class GridTable(SampleTable):
    """Observables of a sample, and what figures show of it.

    Its hashes are those of the grid's `hit_threshold`.

    Args:
        grid: the geometry.
        layers, rings: energies of the hits along the depth `[n, l]` and in rings `[n, r]`, MeV.
        cells: number of cells with energy of each shower, `[n]`.
        spectrum: energies of these cells, shower by shower, `[h]`, MeV.
    """

    grid: RegularGrid
    layers: np.ndarray
    rings: np.ndarray
    cells: np.ndarray
    spectrum: np.ndarray

    by_shower = (*SampleTable.by_shower, "layers", "rings", "cells")
    by_filled = ("spectrum",)

    @property
    def observables(self) -> tuple[Observable, ...]:
        """The observables with one value for each shower."""
        return GRID_OBSERVABLES

    def __getitem__(self, name: str) -> np.ndarray:
        """Values of an observable."""
        return self.spectrum if name == HIT_SPECTRUM.name else self.columns[name]

    def at(self, incident_energy: float) -> "GridTable":
        """The part of one incident energy, MeV, or all of it for `ALL_ENERGIES`."""
        if incident_energy == ALL_ENERGIES:
            return self
        return self.where(has_energy(self.incident_energies, incident_energy))

    def where(self, rows: np.ndarray) -> "GridTable":
        """The part that a mask `[n]` selects; the examples stay those of the whole sample."""
        return replace(super().where(rows), spectrum=self.spectrum[np.repeat(rows, self.cells)])

    @cached_property
    def profiles(self) -> dict[str, Profile]:
        """Mean longitudinal and radial profile."""
        return {
            "longitudinal": Profile.of_rows(layer_edges(self.grid), self.layers),
            "radial": Profile.of_rows(radial_edges(self.grid), self.rings),
        }

    @property
    def mip_peak(self) -> float:
        """Most probable energy of a hit, MeV; NaN without hits in the grid's `peak_range`.

        It is near that of a minimum ionising particle: the middle of the fullest of thirty bins, after averaging over
        three bins.
        """
        counts, edges = np.histogram(self.spectrum, _MIP_BINS, self.grid.peak_range)
        smooth = np.convolve(counts, np.ones(3), mode="valid")
        return float(edges[smooth.argmax() + 1 : smooth.argmax() + 3].mean()) if counts.any() else float("nan")


def table_of(showers: Showers) -> GridTable:
    """The table of showers in memory; a `GeometryError` if they are of no regular grid."""
    grid = require_kind(showers.geometry, RegularGrid, "a table of observables needs showers of a RegularGrid")
    return GridTable(
        grid=grid,
        incident_energies=showers.incident_energies,
        columns={item.name: item.values(showers) for item in GRID_OBSERVABLES},
        layers=longitudinal_profile(showers),
        rings=radial_profile(showers),
        cells=np.count_nonzero(showers.energies > 0, axis=1),
        spectrum=hit_energies(showers),
        hashes=hash_showers(showers.energies, grid.hit_threshold),
        examples=showers[:MAX_EXAMPLES],
    )


def read_table(files: Files, grid: RegularGrid, reading: Reading = EXACT) -> GridTable:
    """The table of a sample in files, which need not fit into memory.

    Raises:
        CalogenError: a file is missing, damaged, of another format or geometry, or not in MeV.
    """
    with ShowerFile(files, grid, reading=reading) as file:
        return read_blocks(file, table_of, MAX_EXAMPLES)


def join_blocks(blocks: Iterable[Showers], number: int) -> GridTable:
    """The table of showers that come in blocks, which need not fit into memory together.

    Args:
        number: number of all showers.
    """
    parts: list[GridTable] = []
    examples: list[Showers] = []
    start, step = 0, -(-number // MAX_EXAMPLES)
    for block in blocks:
        parts.append(without_showers(table_of(block)))
        if len(places := np.arange(-start % step, len(block), step)):
            examples.append(block[places])
        start += len(block)
    return GridTable.join(parts, concatenate(examples))


def energies_of(reference: GridTable, samples: Mapping[str, GridTable]) -> tuple[float, ...]:
    """Energies, MeV, at which samples are compared: `ALL_ENERGIES` if they are continuous."""
    if not len(discrete_energies(reference.incident_energies)):
        return (ALL_ENERGIES,)
    return tuple(sorted({energy for item in samples.values() for energy in item.incident_energies.tolist()}))


def compare_grids(reference: GridTable, samples: Mapping[str, GridTable], energy: float, seed: int = 0) -> Comparison:
    """Compare observables and the hits' spectrum at an incident energy, MeV, or at all.

    Raises:
        DataFormatError: as for `compare_tables`.
    """
    present = {name: item.at(energy) for name, item in samples.items()}
    present = {name: item for name, item in present.items() if len(item)}
    return compare_tables(reference.at(energy), present, (*GRID_OBSERVABLES, HIT_SPECTRUM), seed, energy)


def grid_facts(table: GridTable) -> dict[str, Value]:
    """Numbers by which one recognises a sample.

    They are visible energy, number of hits, the most probable energy of a hit (its error is the width of a bin), and
    the share of the visible energy in the last third of the layers, which in ILD lie behind thicker absorbers.
    """
    return {
        "visible_energy": mean(table["visible_energy"]),
        "num_hits": mean(table["num_hits"]),
        "mip_peak": Value(table.mip_peak, float(np.diff(table.grid.peak_range)[0]) / _MIP_BINS),
        "last_layers": mean(table["third_3"]),
    }


def grid_energy_table(table: GridTable) -> list[dict[str, Any]]:
    """A row for each incident energy, or for each of ten ranges of continuous ones.

    Returns:
        Rows with `incident_energy` (MeV, the mean), `showers` (their number), and each of the `grid_facts` with its
        `_error`; a number that is not defined is None.
    """
    energies = table.incident_energies
    groups = discrete_energies(energies)
    bins = energy_bins(energies) if not len(groups) else np.searchsorted(groups, energies)
    rows = []
    for number in np.unique(bins):
        part = table.where(bins == number)
        row: dict[str, Any] = {"incident_energy": float(part.incident_energies.mean()), "showers": len(part)}
        for name, value in grid_facts(part).items():
            row |= {name: json_number(value.value), f"{name}_error": json_number(value.error)}
        rows.append(row)
    return rows


def energy_bins(energies: np.ndarray, most: int = 10) -> np.ndarray:
    """Number of the range in which each continuous energy lies, `[n]`; all are equally wide."""
    edges = np.linspace(energies.min(), energies.max(), min(most, len(energies)) + 1)
    return np.clip(np.searchsorted(edges, energies, side="right") - 1, 0, max(len(edges) - 2, 0))


def format_grid_energy_table(rows: list[dict[str, Any]], grid: RegularGrid) -> str:
    """The rows of `grid_energy_table` as text in columns."""
    hits = f"hits above {grid.hit_threshold:g} MeV"
    lines = [f"{'MeV':>9} {'showers':>8} {'visible MeV':>17} {hits:>19} {'hit peak MeV':>13} {'last third %':>15}"]
    for row in rows:
        shown = {name: "-" if value is None else value for name, value in row.items()}
        columns = [
            _with_error(shown["visible_energy"], shown["visible_energy_error"], 1.0, 17),
            _with_error(shown["num_hits"], shown["num_hits_error"], 1.0, 19),
            f"{shown['mip_peak']:13.3f}" if row["mip_peak"] is not None else f"{'-':>13}",
            _with_error(shown["last_layers"], shown["last_layers_error"], 100.0, 15),
        ]
        lines.append(f"{row['incident_energy']:9.0f} {row['showers']:8} " + " ".join(columns))
    return "\n".join(lines)


def _with_error(value: "float | str", error: "float | str", scale: float, width: int) -> str:
    numbers = ["-" if isinstance(item, str) else f"{scale * item:.1f}" for item in (value, error)]
    return f"{numbers[0]} ± {numbers[1]:>4}".rjust(width)
