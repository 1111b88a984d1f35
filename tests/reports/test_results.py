"""Results files as tables: README's, and several side by side."""

from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from damage import damaged_json
from toy_results import RESULTS

from calogen.claims.judge import Claim
from calogen.cli.report import report_command
from calogen.errors import DataFormatError
from calogen.files import read_json_table, write_json
from calogen.reports import comparison
from calogen.reports.comparison import compare_directories
from calogen.reports.page import build_markdown
from calogen.reports.reproduction import write_report
from calogen.reports.results import (
    MARKS,
    build_results_page,
    read_table,
    results_table,
    summary_row,
    update_tables,
)

BEGIN, END = MARKS["results"]


def test_table_of_results():
    table = results_table(RESULTS.to_json())
    assert "| depth grows | slope 1.02 +- 0.03 | reproduced |" in table
    assert "| too low \\| at 4 GeV | ratio 1.1 | not reproduced |" in table
    assert "| front share [%] | 17.2 | 16.912 ± 0.050 (seeds ± 0.2) | Geant4, simplified stack |" in table
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
    readme.write_text(f"# calogen\n\n{BEGIN}\nold\n{END}\n\nThe end.\n")
    assert not update_tables(readme, tmp_path / "results", check=True)
    assert "old" in readme.read_text()
    assert not update_tables(readme, tmp_path / "results")
    text = readme.read_text()
    assert text.startswith("# calogen\n")
    assert text.endswith(f"{END}\n\nThe end.\n")
    assert "depth grows" in text
    assert "old" not in text
    assert update_tables(readme, tmp_path / "results", check=True)
    assert update_tables(readme, tmp_path / "results")
    assert readme.read_text() == text


def test_a_summary_has_a_row_for_each_file_and_sections_have_figures(tmp_path: Path) -> None:
    """Their links are relative to the file that holds them."""
    folder = tmp_path / "results"
    for name in ("a", "b"):
        write_json(folder / f"{name}.json", replace(RESULTS, merit="parameters" if name == "b" else "").to_json())
    (folder / "b.png").touch()
    (page := tmp_path / "docs" / "results.md").parent.mkdir()
    summary, results = ("\n".join(marks) for marks in MARKS.values())
    page.write_text(f"{summary}\nbetween\n{results}\n")
    update_tables(page, folder)
    lines = page.read_text().splitlines()
    rows = [line.split(" | ")[2:] for line in lines if line.startswith("| [Toy VAE <1>]")]
    counts = "1 reproduced, 1 not |"
    assert rows == [
        ["front share [%]", "17.2", "16.912 ± 0.050 (seeds ± 0.2)", counts],
        ["parameters", *["275,973"] * 2, counts],
    ]
    assert lines.count("## Toy VAE <1>") == 2
    assert lines.count("![Toy VAE <1>](../results/b.png)") == 1
    assert sum("results/a.png" in line for line in lines) == 0


def test_a_summary_of_results_without_numbers() -> None:
    empty = replace(RESULTS, claims=(), quantities=()).to_json()
    assert summary_row(empty) == ("Toy VAE <1>", "make reproduce-toy", "-", "-", "-", "-")


def test_the_committed_results_name_a_quantity_that_stands_for_them() -> None:
    for path in (Path(__file__).parents[2] / "experiments" / "results").glob("*.json"):
        results = read_json_table(path)
        assert results["merit"] in [item["name"] for item in results["quantities"] if item["headline"]], path.name


ORPHAN = ".toy.0123456789abcdef01234567.partial.json"


def test_what_is_being_written_is_no_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A killed process leaves half of a file, or a whole one just before it gets its name."""
    whole, half = tmp_path / "whole", tmp_path / "half"
    for folder in (whole, half):
        write_report(folder, RESULTS, {})
        (folder / "metrics.json").unlink()
        (folder / "report.md").unlink()
        text = (folder / "toy.json").read_text()
        (folder / ORPHAN).write_text(text if folder == whole else text[:100])
        readme = tmp_path / "README.md"
        readme.write_text(f"{BEGIN}\n{END}\n")
        update_tables(readme, folder)
        assert readme.read_text().count("| claim of the paper") == 1
        report_command([folder])
        assert capsys.readouterr().out.count("| claim of the paper") == 1
    compare_directories([whole, half], tmp_path / "page")
    assert "slope 1.02" in (tmp_path / "page" / "report.md").read_text()


def test_what_is_hidden_is_no_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "read_assessment", lambda place: place)
    for name in ("GAN", ".GAN.0123456789abcdef01234567.partial"):
        for place in (tmp_path / name, tmp_path / "report" / "evaluations" / name):
            place.mkdir(parents=True)
            (place / comparison.FILE_NAME).touch()
    assert comparison._evaluations(tmp_path) == [tmp_path / "GAN", tmp_path / "report" / "evaluations" / "GAN"]


def test_faults_are_named(tmp_path):
    readme = tmp_path / "README.md"
    with pytest.raises(DataFormatError, match="cannot read"):
        update_tables(readme, tmp_path)
    readme.write_text("no markers")
    with pytest.raises(DataFormatError, match="Received: neither"):
        update_tables(readme, tmp_path)
    readme.write_text(BEGIN)
    with pytest.raises(DataFormatError, match="Received: not both"):
        update_tables(readme, tmp_path)
    readme.write_text(f"{BEGIN}\n{END}\n")
    (tmp_path / "bad.json").write_text('{"title": "x"}')
    with pytest.raises(DataFormatError, match=r"bad\.json must hold.*paper"):
        update_tables(readme, tmp_path)


def test_a_readme_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataFormatError, match=r"README.md must be a text in UTF-8. Received: .*can't decode byte 0xff"):
        update_tables(tmp_path / "README.md", tmp_path)


def test_a_directory_without_results_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(f"{BEGIN}\nold\n{END}\n")
    with pytest.raises(DataFormatError, match="must hold the results of reproductions .*Received: none"):
        update_tables(tmp_path / "README.md", tmp_path / "nowhere")
    assert "old" in (tmp_path / "README.md").read_text()


def test_damaged_results_are_read_or_refused(tmp_path: Path) -> None:
    chance, path, found = Random(3), tmp_path / "a" / "a.json", Counter[str]()
    path.parent.mkdir()
    for _ in range(300):
        path.write_bytes(damaged_json(RESULTS.to_json(), chance))
        for read in (read_table, lambda path: compare_directories([path.parent], tmp_path / "page")):
            with suppress(DataFormatError):
                read(path)
                found[read.__name__] += 1
    assert all(50 < number < 250 for number in found.values()), found


def test_results_stand_side_by_side(tmp_path: Path) -> None:
    other = replace(
        RESULTS,
        claims=(
            replace(RESULTS.claims[0], verdict="not reproduced", ours="slope 0.2"),
            Claim("new", "", "", "x", "reproduced"),
        ),
        quantities=(replace(RESULTS.quantities[0], ours=12.5),),
    )
    write_report(tmp_path / "a", RESULTS, {})
    write_report(tmp_path / "run" / "report", other, {})
    shown = compare_directories([tmp_path / "a", tmp_path / "run"], tmp_path / "page")
    text = (tmp_path / "page" / "report.md").read_text()
    rows = {
        line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]]
        for line in text.splitlines()
        if line.startswith("| ")
    }
    assert ["reproduced" in cell for cell in rows["depth grows"]] == [True, True]
    assert "not reproduced" in rows["depth grows"][1]
    assert rows["new"][0] == "-"
    assert [cell.split(" ")[0] for cell in rows["front share [%]"]] == ["16.912", "12.500"]
    assert rows["memory [MB]"][1] == "-"
    assert "a: 1 of 2 claims reproduced" in shown
    with pytest.raises(DataFormatError, match="Received: neither"):
        compare_directories([tmp_path / "a", tmp_path], tmp_path / "page")


def test_damaged_results_are_refused() -> None:
    damaged = RESULTS.to_json()
    del damaged["quantities"][0]["paper"]
    with pytest.raises(DataFormatError, match="results must hold claims and quantities"):
        build_markdown(build_results_page({"a": damaged}))
