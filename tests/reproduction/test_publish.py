"""What an experiment publishes: report, results, figures."""

import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from toy_commands import steps

from calogen.claims.judge import Claim, Quantity, Results
from calogen.errors import CalogenError
from calogen.process import Lenient
from calogen.reproduction.experiment import (
    Arguments,
    publish,
)

TOY = Results(
    name="toy",
    title="Toy",
    paper="A. Author",
    claims=(Claim("depth grows", "Fig. 6", "it grows", "1.02", "reproduced"),),
    quantities=(Quantity("share", "%", 17.2, 16.9, headline=True),),
    provenance={},
)


@pytest.mark.parametrize("seeds", [(2,), (1, 2)])
def test_results_are_published_where_they_are_wanted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], seeds: tuple[int, ...]
) -> None:
    figures = {name: Figure(figsize=(1, 1)) for name in ("first", "second")}
    figures["second"].subplots().plot([0, 1])
    given = Arguments(preset="smoke", seeds=seeds, runs=tmp_path / "runs")
    publish(given, TOY, figures, "second")
    folder = tmp_path / "runs" / "toy" / ("smoke-seed2/report" if len(seeds) == 1 else "smoke-report")
    places = [f"report: {folder}/report.html", f"results: {folder}/toy.json"]
    out, err = (text.splitlines() for text in capsys.readouterr())
    assert out[-2:] == places
    rows = {"| depth grows | no verdict: smoke |", "| share [%] | 17.2 | 16.9 |  |"}
    assert rows | {"claims of the paper: 1 no verdict: smoke"} <= set(out)
    assert "No verdict: a smoke run" in (folder / "report.md").read_text()
    assert steps("\n".join(err))[0] == ["open", f"{folder}/report.html", "in", "a", "browser"]
    tables = ["claims.csv", "metrics.json", "quantities.csv"]
    assert sorted(path.name for path in folder.iterdir()) == [*tables, "report.html", "report.md", "toy.json"]
    publish(Arguments(**(vars(given) | {"results": tmp_path / "results"})), TOY, figures, "second")
    assert capsys.readouterr().out.splitlines()[-2:] == [places[0], f"results: {tmp_path}/results/toy.json"]
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["toy.json", "toy.png"]
    assert (tmp_path / "results" / "toy.json").read_text() == (folder / "toy.json").read_text()
    laptop = Arguments(**(vars(given) | {"preset": "laptop", "results": tmp_path / "results", "figures": "pdf"}))
    publish(laptop, TOY, figures, "second")
    assert "| depth grows | reproduced |" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["toy.json", "toy.pdf", "toy.png"]
    assert sorted(path.name for path in (laptop.report_directory("toy") / "figures").iterdir()) == [
        "first.pdf",
        "second.pdf",
    ]
    with pytest.raises(KeyError):
        publish(Arguments(**(vars(given) | {"results": tmp_path / "results"})), TOY, figures, "third")


def test_results_that_cannot_be_printed_are_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = (tmp_path / "log").open("w")
    closed.close()
    monkeypatch.setattr(sys, "stdout", Lenient(closed))
    with pytest.raises(CalogenError, match="cannot write to the standard output"):
        publish(Arguments(preset="smoke", seeds=(1,), runs=tmp_path), TOY, {"first": Figure()}, "first")
