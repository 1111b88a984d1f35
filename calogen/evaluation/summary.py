"""Summaries of showers by incident energy: response, resolution, shares of the layers."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from operator import truediv
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from calogen.evaluation.compare import ALL_ENERGIES
from calogen.metrics.distributions import Value, mean, standard_deviation
from calogen.observables.cells import response
from calogen.progress import progress
from calogen.showers.files import ShowerFile
from calogen.showers.geometry import Geometry, Layer
from calogen.showers.sample import Showers, concatenate
from calogen.units import GeV


@dataclass(frozen=True)
class _Whole(Layer):
    """A layer as one cell."""

    id: int
    name: str
    shape = (1, 1)


@dataclass(frozen=True)
class _WholeLayers(Geometry):
    name: str
    layers: tuple[_Whole, ...]


def read_layer_energies(path: Path, geometry: Geometry) -> Showers:
    """Reads a file of any size as showers of whole layers: `[n, l]` energies in MeV.

    Args:
        path: the file.
        geometry: of its showers, or a window of its cells, which alone count.

    Raises:
        CalogenError: the file is missing, damaged, of another format or geometry, or not in MeV.
    """
    parts: list[Showers] = []
    whole = _WholeLayers(geometry.name, tuple(_Whole(layer.id, layer.name) for layer in geometry.layers))
    with (
        ShowerFile(path, geometry) as file,
        progress(f"reading {file.name}", len(file.rows), "blocks") as bar,
    ):
        for rows, block in file.blocks():
            others = {name: values[rows] for name, values in file.given.others.items()}
            parts.append(replace(block, geometry=whole, energies=block.layer_energies, conditions=others))
            bar.advance()
        showers = concatenate(parts)
        file.require_mev(showers.response)
        return showers


def energy_table(showers: Showers) -> list[dict[str, Any]]:
    """A row for each incident energy, in increasing order.

    Returns:
        Rows with `incident_energy` (MeV), `showers` (their number), `response` and `response_error` (mean of total
        energy / incident energy), `resolution` (standard deviation / mean; None if there is one shower, or no energy),
        `above_one` (share of showers with a response above 1), `layers` (by name, the mean energy in % of the incident
        energy), and `cpu_seconds` (mean per shower) if the showers have this condition.
    """
    names = [layer.name for layer in showers.geometry.layers]
    rows = []
    for energy in np.unique(showers.incident_energies):
        chosen = showers.at(energy)
        responses, width = chosen.response, standard_deviation(chosen.response).value
        shares = 100 * chosen.layer_energies.mean(axis=0) / energy
        row: dict[str, Any] = {
            "incident_energy": float(energy),
            "showers": len(chosen),
            "response": float(responses.mean()),
            "response_error": float(width / np.sqrt(len(chosen))) if len(chosen) > 1 else None,
            "resolution": float(width / responses.mean()) if len(chosen) > 1 and responses.any() else None,
            "above_one": float((responses > 1).mean()),
            "layers": dict(zip(names, shares.tolist(), strict=True)),
        }
        if "cpu_seconds" in chosen.conditions:
            row["cpu_seconds"] = float(chosen.conditions["cpu_seconds"].mean())
        rows.append(row)
    return rows


def format_energy_table(rows: list[dict[str, Any]]) -> str:
    """The rows of `energy_table` as text in columns."""
    layers = list(rows[0]["layers"])
    lines = [
        f"{'MeV':>9} {'showers':>8} {'response':>17} {'resolution':>11} {'above 1':>8}"
        + "".join(f"{name + ' %':>13}" for name in layers)
    ]
    for row in rows:
        error, resolution = (
            "-" if row[name] is None else f"{row[name]:.4f}" for name in ("response_error", "resolution")
        )
        lines.append(
            f"{row['incident_energy']:9.0f} {row['showers']:8} {row['response']:8.4f} ± {error:>6} "
            f"{resolution:>11} {row['above_one']:8.3f}" + "".join(f"{share:13.2f}" for share in row["layers"].values())
        )
    return "\n".join(lines)


@dataclass(frozen=True)
class ResponseCurve:
    """Mean response and resolution as functions of the incident energy.

    Args:
        energies: incident energies, `[k]`, MeV, increasing.
        mean: at each energy, the mean response (total energy / incident energy).
        spread: at each energy, the standard deviation of the response.
        resolution: spread / mean.
    """

    energies: np.ndarray
    mean: tuple[Value, ...]
    spread: tuple[Value, ...]
    resolution: tuple[Value, ...]

    def at(self, attribute: str, energy: float) -> Value:
        """`mean`, `spread` or `resolution` at an energy, MeV."""
        return getattr(self, attribute)[int(np.flatnonzero(self.energies == energy)[0])]

    def to_frame(self) -> pd.DataFrame:
        """A table with a row for each incident energy (MeV): each number, and its `_error`."""
        columns: dict[str, Any] = {"incident_energy": self.energies}
        for name in ("mean", "spread", "resolution"):
            values = getattr(self, name)
            columns |= {name: [item.value for item in values], f"{name}_error": [item.error for item in values]}
        return pd.DataFrame(columns)


def response_curve(samples: Iterable[Showers]) -> ResponseCurve:
    """Mean response and resolution at each incident energy of the samples, taken together.

    Source: Fig. 9a of arXiv:2210.06204; the resolution is the standard deviation of the energy divided by its mean.
    """
    samples = list(samples)
    energies = np.concatenate([showers.incident_energies for showers in samples])
    return curve_of(energies, np.concatenate([response(showers) for showers in samples]))


def curve_of(incident_energies: np.ndarray, responses: np.ndarray) -> ResponseCurve:
    """The curve of responses `[n]` at incident energies `[n]`, MeV."""
    points = {float(energy): responses[incident_energies == energy] for energy in np.unique(incident_energies)}
    spread = tuple(standard_deviation(item) for item in points.values())
    centre = tuple(mean(item) for item in points.values())
    return ResponseCurve(np.array(list(points)), centre, spread, tuple(map(truediv, spread, centre)))


def energy_text(incident_energy: float) -> str:
    """An incident energy, in MeV, as titles show it.

    >>> energy_text(2.0**20), energy_text(65536.0), energy_text(256.0), energy_text(ALL_ENERGIES)
    ('1.05 TeV', '65.5 GeV', '256 MeV', 'all energies')
    """
    if incident_energy == ALL_ENERGIES:
        return "all energies"
    name, unit = ("TeV", 1000 * GeV) if incident_energy >= 1000 * GeV else ("GeV", GeV)
    return f"{incident_energy / unit:.3g} {name}" if incident_energy >= GeV else f"{incident_energy:.3g} MeV"
