"""Tables for papers, in LaTeX with the rules of booktabs: a row for each judged model."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from calogen.errors import DataFormatError
from calogen.evaluation.assessment import FILE_NAME, Assessment, number_values, read_assessment
from calogen.evaluation.compare import ALL_ENERGIES
from calogen.evaluation.criteria import Criterion
from calogen.evaluation.observed import NUMBERS_FILE, SECOND
from calogen.files import listed, read_json, read_json_table, write_text
from calogen.metrics.distributions import Value
from calogen.reports.results import headline_quantities

LATEX_FILE = "table.tex"
Rows = Mapping[str, Mapping[str, Value]]
"""Numbers by name, by the model's label."""

_MEANS = ("separation_power", "chi2_per_ndf", "ks")  # over all distributions
_COLUMNS = {
    "separation_power": Criterion(r"$10^3\,S$", scale=1000),
    "chi2_per_ndf": Criterion(r"$\chi^2/\mathrm{NDF}$"),
    "ks": Criterion("KS"),
    "auc": Criterion("AUC"),
    "auc_low": Criterion("AUC, voxels"),
    "auc_low-normed": Criterion("AUC, voxels / layer energy"),
    "auc_high": Criterion("AUC, features"),
    "fpd": Criterion(r"$10^3$ FPD", scale=1000),
    "kpd": Criterion(r"$10^3$ KPD", scale=1000),
}
_HEADING = (
    "% Written by calogen; needs \\usepackage{booktabs}.\n"
    "% S, chi2/NDF and KS are means over all distributions; the other numbers are of whole showers.\n"
)


def write_latex(output: Path, rows: Rows) -> Path:
    """Write `table.tex`, a row for each model; gives its path.

    Raises:
        CalogenError: as `write_text`.
    """
    names = [name for name in _COLUMNS if any(name in numbers for numbers in rows.values())]
    columns = {
        _COLUMNS[name].title: [_number(_COLUMNS[name], numbers.get(name)) for numbers in rows.values()]
        for name in names
    }
    style = pd.DataFrame({"model": list(rows), **columns}).style.hide(axis="index")
    table = style.format(escape="latex", subset=["model"]).to_latex(hrules=True, column_format="l" + "r" * len(names))
    write_text(output / LATEX_FILE, _HEADING + table)
    return output / LATEX_FILE


def write_latex_of(directory: Path) -> list[Path]:
    """Write a table of the evaluation, or of each reproduction's results, in a directory.

    Raises:
        DataFormatError: the directory holds neither.
    """
    if (directory / FILE_NAME).is_file() or (directory / NUMBERS_FILE).is_file():
        return [write_latex(directory, read_rows([directory]))]
    paths = [path for path in listed(directory, "*.json") if isinstance(read_json(path), dict)]
    if not paths:
        raise DataFormatError(f"{directory} must hold an evaluation, or results of reproductions. Received: neither")
    for path in paths:
        table = pd.DataFrame(headline_quantities(path), columns=["quantity", "paper", "ours"])
        text = table.style.hide(axis="index").format(escape="latex").to_latex(hrules=True, column_format="lrr")
        text = text.replace("±", r"$\pm$").replace("chi2", r"$\chi^2$")
        write_text(path.with_suffix(".tex"), _HEADING.splitlines(keepends=True)[0] + text)
    return [path.with_suffix(".tex") for path in paths]


def read_rows(places: Sequence[Path]) -> dict[str, Mapping[str, Value]]:
    """The numbers of all models that `calogen evaluate` has judged, from its directories.

    Raises:
        DataFormatError: a directory holds no evaluation, or a damaged one.
    """
    if not (places[0] / NUMBERS_FILE).is_file():
        return assessment_rows([read_assessment(place) for place in places])
    try:
        return _cell_rows(read_json(places[0] / "metrics.json"), read_json_table(places[0] / NUMBERS_FILE))
    except (KeyError, TypeError, ValueError) as error:
        raise DataFormatError(
            f"{places[0]} must hold {NUMBERS_FILE} and metrics.json of calogen evaluate; judge the showers anew. "
            f"Received: {error!r:.200}"
        ) from error


def assessment_rows(assessments: Sequence[Assessment]) -> dict[str, Mapping[str, Value]]:
    """The numbers of judged models by label, and of Geant4 against itself if they are known."""
    rows: dict[str, Mapping[str, Value]] = {}
    floors: dict[str, Mapping[str, Value]] = {}
    for item in assessments:
        scored = [one for one in item.judgement.scored if one.incident_energy == ALL_ENERGIES]
        rows[item.label] = _means(one.numbers_of() for one in scored) | dict(item.numbers)
        if item.floor:
            floors["Geant4"] = _means(one.second_reference for one in scored) | dict(item.floor)
    return rows | floors


def _cell_rows(measured: Any, numbers: Mapping[str, Any]) -> dict[str, Mapping[str, Value]]:  # noqa: ANN401 (JSON)
    """The numbers of samples of cells; the second reference is called Geant4."""
    rows: dict[str, Mapping[str, Value]] = {}
    for label, known in numbers.items():
        found = [
            number_values({row["metric"]: (row["measured"]["value"], row["measured"]["error"])})
            for row in measured
            if row["sample"] == label
        ]
        rows["Geant4" if label == SECOND else label] = _means(found) | number_values(known)
    return rows


def _means(rows: Iterable[Mapping[str, Value]]) -> dict[str, Value]:
    """Means of the metrics over the distributions that have them; errors are not known."""
    values: dict[str, list[float]] = {name: [] for name in _MEANS}
    for row in rows:
        for name in values.keys() & row.keys():
            values[name] += [row[name].value] if np.isfinite(row[name].value) else []
    return {name: Value(float(np.mean(found)), np.nan) for name, found in values.items() if found}


def _number(column: Criterion, value: Value | None) -> str:
    """A number as LaTeX has it; `--` if it is not known."""
    if value is None or not np.isfinite(value.value):
        return "--"
    text = column.text(value).replace("±", r"\pm").replace(",", "{,}").replace("%", r"\%")
    return "$" + re.sub(r"e([+-])0*(\d+)", lambda part: rf" \times 10^{{{part[1].strip('+')}{part[2]}}}", text) + "$"
