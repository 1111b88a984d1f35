import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from calogen.config import Source
from calogen.errors import DataFormatError
from calogen.evaluation.comparison import Measurement
from calogen.evaluation.metrics import Floor, Value
from calogen.report import (
    README_BEGIN,
    README_END,
    Claim,
    Quantity,
    Results,
    Table,
    build_page,
    judge,
    results_table,
    update_readme,
    write_report,
)

ROW = Measurement(4096.0, "r_eta", "VAE", "ks", Value(0.3, 0.02), Floor(0.05, 0.02, 0.09), 250, 1000, 3)
RESULTS = Results(
    name="toy",
    title="Toy VAE <1>",
    paper="A. Author, arXiv:0000.00000",
    claims=(
        Claim("depth grows", "Fig. 6", "the trend & all", "slope 1.02 +- 0.03", "reproduced"),
        Claim("too low | at 4 GeV", "Fig. 9a", "underestimation", "ratio 1.1", "not reproduced"),
    ),
    quantities=(
        Quantity("front share", "%", 17.2, 16.912, 0.05, 0.2, "Geant4, simplified stack", headline=True),
        Quantity("memory", "MB", "about 5", None),
        Quantity("parameters", "", 275973, 275973.0, headline=True),
    ),
    provenance={"commit": "abc", "data": {"train.h5": "1234"}},
    measurements=(ROW, replace(ROW, metric="mean_ratio", measured=Value(1.01, 0.01), floor=Floor(1.0, 0.02, 0.04))),
    deviations=(Source("batch_size", 100, "assumed", "not stated"), Source("latent_dim", 5, "paper", "Fig. 3")),
    remarks=("no noise & no cross-talk",),
)


def figure():
    drawn = Figure(figsize=(1, 1))
    drawn.subplots().plot([0, 1])
    return drawn


def test_page_opens_with_the_claims_and_needs_nothing_else():
    page = build_page(RESULTS, {"Fig. 5 & more": figure()})
    places = [page.index(f"<h2>{name}") for name in ("Claims", "Quantities", "Figures", "Metrics", "Dev", "Prov")]
    assert places == sorted(places)
    assert "depth grows" in page[: places[1]]
    assert 'src="data:image/png;base64,' in page
    assert "http" not in page
    assert "<script" not in page


def test_page_escapes_and_lists_only_assumed_values():
    page = build_page(RESULTS, {})
    assert "Toy VAE &lt;1&gt;" in page
    assert "the trend &amp; all" in page
    assert "<h2>Figures" not in page
    assert "batch_size" in page
    assert "latent_dim" not in page
    assert "no noise &amp; no cross-talk" in page
    assert "data: train.h5" in page


def test_metrics_beyond_the_floor_are_bold():
    page = build_page(RESULTS, {})
    assert "<b>0.3 ± 0.02</b><br><small>0.05 (0.09)" in page
    assert "<td>1.01 ± 0.01<br><small>1 (±0.04)" in page
    assert "250 against 1000, 3 undefined" in page


def test_written_files(tmp_path):
    path = write_report(tmp_path / "report", RESULTS, {"a": figure()})
    assert path.read_text().startswith("<!DOCTYPE html>")
    values = json.loads((tmp_path / "report" / "toy.json").read_text())
    assert values["claims"][1]["verdict"] == "not reproduced"
    assert {"claim", "source", "paper", "ours", "verdict"} == set(values["claims"][0])
    assert {"name", "unit", "paper", "ours", "uncertainty"} <= set(values["quantities"][0])
    assert values["provenance"] == RESULTS.provenance
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert metrics[0]["floor"] == {"mean": 0.05, "error": 0.02, "limit": 0.09}


def test_table_of_the_readme():
    table = results_table(RESULTS.to_json())
    assert "| depth grows | slope 1.02 +- 0.03 | reproduced |" in table
    assert "| too low \\| at 4 GeV | ratio 1.1 | not reproduced |" in table
    assert "| front share [%] | 17.2 | 16.91 ± 0.05 (seeds ± 0.2) | Geant4, simplified stack |" in table
    assert "| parameters | 275,973 | 275,973 |  |" in table
    assert "memory" not in table


def test_a_table_without_claims_begins_with_the_quantities() -> None:
    table = results_table(replace(RESULTS, claims=()).to_json())
    assert "claim of the paper" not in table
    assert table.splitlines()[2] == "| quantity | paper | ours | data |"


def test_readme_is_updated_once_and_checked(tmp_path):
    write_report(tmp_path / "results", RESULTS, {})
    (tmp_path / "results" / "metrics.json").unlink()
    readme = tmp_path / "README.md"
    readme.write_text(f"# calogen\n\n{README_BEGIN}\nold\n{README_END}\n\nThe end.\n")
    assert not update_readme(readme, tmp_path / "results", check=True)
    assert "old" in readme.read_text()
    assert not update_readme(readme, tmp_path / "results")
    text = readme.read_text()
    assert text.startswith("# calogen\n")
    assert text.endswith(f"{README_END}\n\nThe end.\n")
    assert "depth grows" in text
    assert "old" not in text
    assert update_readme(readme, tmp_path / "results", check=True)
    assert update_readme(readme, tmp_path / "results")
    assert readme.read_text() == text


def test_faults_are_named(tmp_path):
    readme = tmp_path / "README.md"
    with pytest.raises(DataFormatError, match="cannot read"):
        update_readme(readme, tmp_path)
    readme.write_text("no markers")
    with pytest.raises(DataFormatError, match="Received: not both"):
        update_readme(readme, tmp_path)
    readme.write_text(f"{README_BEGIN}\n{README_END}\n")
    (tmp_path / "bad.json").write_text('{"title": "x"}')
    with pytest.raises(DataFormatError, match=r"bad\.json must hold.*paper"):
        update_readme(readme, tmp_path)


def test_unknown_verdict_is_refused():
    with pytest.raises(DataFormatError, match="verdict must be one of"):
        Claim("a", "b", "c", "d", "maybe")


@pytest.mark.parametrize(
    ("value", "error", "verdict"),
    [
        (0.3, 0.1, "reproduced"),
        (-0.3, 0.1, "not reproduced"),
        (0.1, 0.1, "undecided at this statistics"),
        (-0.1, 0.1, "undecided at this statistics"),
        (1.0, 0.0, "reproduced"),
        (np.nan, np.nan, "undecided at this statistics"),
    ],
)
def test_judge(value, error, verdict):
    assert judge(Value(value, error)) == verdict


def test_tables_stand_between_quantities_and_figures() -> None:
    tables = {
        "Table 2 & more": Table(("name", "value <b>"), (("a|b", "<1>"), ("c", "2"))),
        "Table 3": Table(("x",), (("y",),)),
    }
    page = build_page(replace(RESULTS, tables=tables), {"a": figure()})
    places = [page.index(text) for text in ("<h2>Quantities", "<h2>Tables", "Table 2 &amp; more", "Table 3", "<h2>Fig")]
    assert places == sorted(places)
    assert "<tr><th>name</th><th>value &lt;b&gt;</th></tr><tr><td>a|b</td><td>&lt;1&gt;</td></tr>" in page
    assert "<h2>Tables" not in build_page(RESULTS, {})


def test_tables_are_in_the_json(tmp_path: Path) -> None:
    write_report(tmp_path, replace(RESULTS, tables={"Table 2": Table(("name", "value"), (("a", "1"),))}), {})
    values = json.loads((tmp_path / "toy.json").read_text())
    assert values["tables"] == {"Table 2": {"header": ["name", "value"], "rows": [["a", "1"]]}}


def test_a_claim_may_be_inconsistent_in_the_paper() -> None:
    claims = (Claim("6.2 MB", "section 5.7", "6.2 MB", "3.5 MB", "inconsistent in the paper"),)
    results = replace(RESULTS, claims=claims)
    assert '<td class="inconsistent">inconsistent in the paper</td>' in build_page(results, {})
    assert "| 6.2 MB | 3.5 MB | inconsistent in the paper |" in results_table(results.to_json())
