"""What a file of showers holds, by energy: response, resolution and the layers' shares."""

from typing import Any

import numpy as np

from calogen.metrics.distributions import standard_deviation
from calogen.showers.sample import Showers


def energy_table(showers: Showers) -> list[dict[str, Any]]:
    """One row per incident energy, sorted.

    Returns:
        `incident_energy` (MeV), `showers`, `response` and `response_error` (mean total / incident energy),
        `resolution` (standard deviation / mean; None where one shower or none has energy), `above_one` (share of
        showers with a response above 1), `layers` (layer name -> mean energy, % of the incident energy);
        `cpu_seconds` (mean per shower) where the file has them.
    """
    names = [layer.name for layer in showers.geometry.layers]
    rows = []
    for energy in np.unique(showers.incident_energies):
        chosen = showers.at(energy)
        response, width = chosen.response, standard_deviation(chosen.response).value
        shares = 100 * chosen.layer_energies.mean(axis=0) / energy
        row: dict[str, Any] = {
            "incident_energy": float(energy),
            "showers": len(chosen),
            "response": float(response.mean()),
            "response_error": float(width / np.sqrt(len(chosen))) if len(chosen) > 1 else None,
            "resolution": float(width / response.mean()) if len(chosen) > 1 and response.any() else None,
            "above_one": float((response > 1).mean()),
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
