"""Tables in LaTeX: no LaTeX is needed to tell that they compile, as they hold few of its words."""

import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.mathtext import MathTextParser

from calogen.claims.judge import Quantity, Results
from calogen.cli.report import report_command
from calogen.errors import DataFormatError
from calogen.files import write_json
from calogen.metrics.distributions import Value
from calogen.reports.latex import read_rows, write_latex


def cells_of(path: Path) -> list[list[str]]:
    """Cells of a table that compiles: balanced, without a special character outside of mathematics, words all known."""
    text = re.sub(r"(?m)^%.*\n", "", path.read_text(encoding="utf-8"))
    frame = r"\\begin\{tabular\}\{lr+\}\n\\toprule\n.*\\\\\n\\midrule\n.*\\bottomrule\n\\end\{tabular\}\n*"
    assert re.fullmatch(frame, text, re.DOTALL)
    lines = [line.removesuffix(r" \\") for line in text.splitlines() if line.endswith(r"\\")]
    rows = [re.split(r"(?<!\\)&", line) for line in lines]
    columns = len(re.search(r"\{(lr+)\}", text)[1])  # type: ignore[index]
    for cell in (cell for row in rows for cell in row):
        for formula in re.findall(r"(?<!\\)\$.*?(?<!\\)\$", cell):
            MathTextParser("agg").parse(formula.replace("{,}", ","))
        plain = re.sub(r"(?<!\\)\$.*?(?<!\\)\$", "", cell)
        plain = re.sub(r"\\(textasciitilde|textasciicircum|textbackslash)(\\space)? ?|\\[&%$#_{}]", "", plain)
        assert not re.search(r"[&%$#_{}\\~^±χ²]", plain), cell
    assert {len(row) for row in rows} == {columns}
    return [[cell.strip() for cell in row] for row in rows]


def test_models_are_rows(tmp_path: Path) -> None:
    rows = {
        "GAN_1 & 50% #2": {"auc_low": Value(0.5123, 0.0042), "fpd": Value(12.3456, 0.1), "ks": Value(2e-5, np.nan)},
        r"~^\{VAE}": {"auc_low": Value(np.nan, np.nan), "unknown": Value(1.0, 1.0)},
    }
    header, first, second = cells_of(write_latex(tmp_path, rows))
    assert header == ["model", "KS", "AUC, voxels", r"$10^3$ FPD"]
    assert first[1:] == [r"$2 \times 10^{-5}$", r"$0.5123 \pm 0.0042$", r"$12{,}350 \pm 100$"]
    assert first[0] == r"GAN\_1 \& 50\% \#2"
    assert second[1:] == ["--", "--", "--"]


def test_cells_are_read_with_the_floor(tmp_path: Path) -> None:
    def row(sample: str, metric: str, value: float | None) -> dict[str, object]:
        return {"sample": sample, "metric": metric, "measured": {"value": value, "error": None}}

    measured = [row("VAE", "ks", 0.1), row("VAE", "ks", 0.3), row("VAE", "ks", None), row("VAE", "mean_ratio", 9.0)]
    write_json(tmp_path / "metrics.json", [*measured, row("second reference", "ks", 0.01)])
    write_json(tmp_path / "numbers.json", {"VAE": {"auc": [0.7, 0.02]}, "second reference": {}})
    rows = read_rows([tmp_path])
    assert list(rows) == ["VAE", "Geant4"]
    assert rows["VAE"]["ks"].value == pytest.approx(0.2)
    assert rows["VAE"]["auc"] == Value(0.7, 0.02)
    assert cells_of(write_latex(tmp_path, rows))[2] == ["Geant4", "$0.01$", "--"]
    write_json(tmp_path / "metrics.json", [{"sample": "VAE"}])
    with pytest.raises(DataFormatError, match="judge the showers anew"):
        read_rows([tmp_path])


def test_headline_quantities_are_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = Quantity("chi2/NDF of a_b & 5 %", "%", "about 5", 1.5, 0.25, headline=True)
    quantities = (odd, Quantity("hidden", "", None, 1.0))
    results = Results(name="toy", title="Toy", paper="A", claims=(), quantities=quantities, provenance={})
    write_json(tmp_path / "toy.json", results.to_json())
    write_json(tmp_path / "metrics.json", [])
    report_command([tmp_path], latex=True)
    assert capsys.readouterr().out == f"{tmp_path / 'toy.tex'}\n"
    header, row = cells_of(tmp_path / "toy.tex")
    assert header == ["quantity", "paper", "ours"]
    assert row == [r"$\chi^2$/NDF of a\_b \& 5 \% [\%]", "about 5", r"1.50 $\pm$ 0.25"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataFormatError, match="Received: neither"):
        report_command([tmp_path / "empty"], latex=True)
