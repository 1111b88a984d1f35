import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from toy_results import RESULTS, ROW

from calogen.claims.judge import NO_VERDICT, Claim, Quantity, Table, verdict_on
from calogen.errors import DataFormatError
from calogen.evaluation.compare import Measurement
from calogen.evaluation.observed import SECOND
from calogen.metrics.distributions import Value
from calogen.reports.page import Cell, DataTable, Gallery, PageVerdict, build_html
from calogen.reports.reproduction import build_page, judge_all, write_report
from calogen.reports.results import results_table


def figure():
    drawn = Figure(figsize=(1, 1))
    drawn.subplots().plot([0, 1])
    return drawn


def test_page_opens_with_the_verdict_and_needs_nothing_else():
    page = build_html(build_page(RESULTS, {"Fig. 5 & more": figure()}))
    names = ("Figures", "Claims", "Quantities", "Metrics", "Dev", "Prov")
    places = [page.index(f"<h2>{name}") for name in names]
    assert places == sorted(places)
    assert "1 of 2 claims reproduced; 1 not reproduced" in page[: places[0]]
    assert "depth grows" in page[places[1] : places[2]]
    assert 'src="data:image/png;base64,' in page
    assert "http:" not in page


def test_page_escapes_and_lists_only_assumed_values():
    page = build_html(build_page(RESULTS, {}))
    assert "Toy VAE &lt;1&gt;" in page
    assert "the trend &amp; all" in page
    assert "<h2>Figures" not in page
    assert "batch_size" in page
    assert "latent_dim" not in page
    assert "no noise &amp; no cross-talk" in page
    assert "data: train.h5" in page


def test_metrics_beyond_the_floor_are_marked():
    _, table = build_page(RESULTS, {}).sections["Metrics"]
    assert isinstance(table, DataTable)
    assert table.caption == "VAE, 4.1 GeV"
    assert table.rows == (
        (
            Cell("r_eta", "r_eta", note="250 against 1000, 3 undefined"),
            Cell("0.300 ± 0.020", 0.3, "bad", "0.05 (0.09); +8.8 σ"),
            Cell("1.010 ± 0.010", 1.01, "", "1 (±0.04); +0.4 σ"),
        ),
    )


def verdict_of(*verdicts: str, measurements: tuple[Measurement, ...] = ()) -> PageVerdict:
    """The page's verdict on claims with these verdicts, and on metrics."""
    claims = tuple(Claim("a", "b", "c", "d", verdict) for verdict in verdicts)
    return build_page(replace(RESULTS, claims=claims, measurements=measurements), {}).verdict


def test_verdict_counts_the_claims() -> None:
    good, bad, open_ = "reproduced", "not reproduced", "undecided at this statistics"
    assert (verdict_of(good, good).headline, verdict_of(good).tone) == ("2 of 2 claims reproduced", "good")
    assert verdict_of(good, open_).tone == "unsure"
    mixed = verdict_of(open_, bad, good, open_)
    expected = "1 of 4 claims reproduced; 1 not reproduced; 2 undecided at this statistics"
    assert (mixed.headline, mixed.tone) == (expected, "bad")


def test_verdict_without_claims_is_that_of_the_metrics() -> None:
    bad = verdict_of(measurements=RESULTS.measurements)
    assert (bad.headline.partition(" metrics")[0], bad.tone) == ("1 of 2", "bad")
    assert bad.facts == (("metrics beyond Geant4's floor", "1 of 2"),)
    assert verdict_of(measurements=RESULTS.measurements[1:]).tone == "good"
    assert verdict_of() == PageVerdict("Nothing was judged: figures and tables only")


def test_the_worst_model_decides_beyond_what_chance_allows_and_geant4_is_none() -> None:
    """Of 40 metrics 2 are expected beyond the limit, and 4 happen; 5 do not."""

    def rows(sample: str, beyond: int) -> tuple[Measurement, ...]:
        inside = replace(ROW, sample=sample, measured=Value(0.05, 0.02))
        return (*[replace(ROW, sample=sample)] * beyond, *[inside] * (40 - beyond))

    assert verdict_of(measurements=rows("VAE", 4)).tone == "good"
    assert verdict_of(measurements=rows("VAE", 5)).tone == "bad"
    diluted = verdict_of(measurements=rows("VAE", 5) + rows(SECOND, 0))
    assert (diluted.headline.partition(" metrics")[0], diluted.tone) == ("5 of 40", "bad")
    several = verdict_of(measurements=rows("VAE", 0) + rows("GAN", 5))
    assert several.headline.startswith("Of 2 models, GAN is the worst: 5 of 40 metrics lie beyond")
    assert (several.tone, several.facts[-1][1]) == ("bad", "VAE: 0 of 40; GAN: 5 of 40")


def test_verdict_names_the_worst_observables_of_each_sample() -> None:
    row = replace(ROW, metric="separation_power")
    values = {"a": 0.2, "b": 0.5, "c": 0.4, "d": 0.3, "e": 0.01}
    rows = [replace(row, observable=name, measured=Value(value, 0.01)) for name, value in values.items()]
    rows += [replace(row, observable="a", measured=Value(0.6, 0.01), incident_energy=8192.0)]
    rows += [replace(row, sample="GAN")]
    worst = verdict_of(measurements=tuple(rows)).worst
    assert worst is not None
    found = [(line[0], line[1], line[2].text) for line in worst.rows if isinstance(line[2], Cell)]
    of_vae = [("a", "VAE", "8.19 GeV"), ("b", "VAE", "4.1 GeV"), ("c", "VAE", "4.1 GeV")]
    assert found == [*of_vae, ("r_eta", "GAN", "4.1 GeV")]


def test_a_smoke_run_has_no_verdict() -> None:
    """Neither by its claims, nor by its metrics if there are no claims."""
    smoke = replace(RESULTS, claims=(), provenance={"preset": "smoke"})
    for verdict in (verdict_of(NO_VERDICT, NO_VERDICT), judge_all(smoke)):
        assert (verdict.headline.partition(":")[0], verdict.tone) == ("No verdict", "")


def test_observables_have_their_symbols_and_units() -> None:
    row = replace(ROW, observable="w_s_tot", label=r"$w_{s\,\mathrm{tot}}$ [strips]", metric="separation_power")
    html = build_html(build_page(replace(RESULTS, measurements=(row,)), {}))
    assert html.count("w<sub>s\xa0tot</sub> [strips]") == 2, "in the verdict and in the table"
    assert "w_s_tot" not in html


def test_samples_stand_side_by_side_with_their_difference() -> None:
    row = replace(ROW, metric="separation_power")
    rows = (row, replace(row, sample="GAN", measured=Value(0.38, 0.02 * 3**0.5)))
    table = build_page(replace(RESULTS, measurements=rows), {}).sections["Metrics"][0]
    assert isinstance(table, DataTable)
    assert table.header == ("observable", "energy", "VAE", "GAN", "GAN - VAE [σ]")
    texts = [cell.text if isinstance(cell, Cell) else cell for cell in table.rows[0]]
    assert texts == ["r_eta", "4.1 GeV", "0.300 ± 0.020", "0.380 ± 0.035", "+2.0"]


def test_figures_that_a_physicist_looks_at_first_stand_first() -> None:
    captions = ("Fig. 1: number of showers", "Average shower", "Fig. 5: energy in the layers", "Fig. 8: total energy")
    first, others = build_page(RESULTS, {caption: figure() for caption in captions}).sections["Figures"]
    assert isinstance(first, Gallery)
    assert isinstance(others, Gallery)
    assert [*first.figures, *others.figures] == [captions[3], captions[2], captions[1], captions[0]]


def test_facts_of_the_verdict_come_from_the_provenance() -> None:
    provenance = {"preset": "smoke", "seeds": [1, 2], "wall_time": 12.5, "commit": "abc"}
    facts = build_page(replace(RESULTS, provenance=provenance, measurements=()), {}).verdict.facts
    assert facts == (("preset", "smoke"), ("seeds", "1, 2"), ("wall time", "12.5 s"))


def test_written_files(tmp_path):
    path = write_report(tmp_path / "report", RESULTS, {"a": figure()})
    assert path.read_text().startswith("<!DOCTYPE html>")
    assert "- (figure: a)" in path.with_name("report.md").read_text()
    values = json.loads((tmp_path / "report" / "toy.json").read_text())
    assert values["claims"][1]["verdict"] == "not reproduced"
    assert {"claim", "source", "paper", "ours", "verdict"} == set(values["claims"][0])
    assert {"name", "unit", "paper", "ours", "uncertainty"} <= set(values["quantities"][0])
    assert values["provenance"] == RESULTS.provenance
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert metrics[0]["floor"] == {"mean": 0.05, "error": 0.02, "limit": 0.09}


def test_numbers_that_are_not_defined_are_written_as_none(tmp_path: Path) -> None:
    unknown = Quantity("width", "", None, np.nan, np.inf, np.nan)
    assert (unknown.ours, unknown.uncertainty, unknown.spread) == (None, None, None)
    write_report(tmp_path, replace(RESULTS, quantities=(unknown,)), {})
    assert json.loads((tmp_path / "toy.json").read_text())["quantities"][0]["ours"] is None


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
    assert verdict_on(Value(value, error)) == verdict


def test_figures_stand_before_all_tables() -> None:
    tables = {
        "Table 2 & more": Table(("name", "value <b>"), (("a|b", "<1>"), ("c", "2"))),
        "Table 3": Table(("x",), (("y",),)),
    }
    page = build_page(replace(RESULTS, tables=tables), {"a": figure()})
    titles = [title for title, blocks in page.sections.items() if blocks]
    assert titles[:4] == ["Figures", "Claims", "Quantities", "Tables"]
    expected = tuple(DataTable(caption, table.header, table.rows) for caption, table in tables.items())
    assert page.sections["Tables"] == expected
    assert "<h2>Tables" not in build_html(build_page(RESULTS, {}))


def test_tables_are_in_the_json(tmp_path: Path) -> None:
    write_report(tmp_path, replace(RESULTS, tables={"Table 2": Table(("name", "value"), (("a", "1"),))}), {})
    values = json.loads((tmp_path / "toy.json").read_text())
    assert values["tables"] == {"Table 2": {"header": ["name", "value"], "rows": [["a", "1"]]}}


def test_a_claim_may_be_inconsistent_in_the_paper() -> None:
    claims = (Claim("6.2 MB", "section 5.7", "6.2 MB", "3.5 MB", "inconsistent in the paper"),)
    results = replace(RESULTS, claims=claims)
    (table,) = build_page(results, {}).sections["Claims"]
    assert isinstance(table, DataTable)
    assert table.rows[0][1] == Cell("inconsistent in the paper", tone="unsure")
    assert "| 6.2 MB | 3.5 MB | inconsistent in the paper |" in results_table(results.to_json())
