"""Tables of results files: in Markdown files, and of several files side by side.

`calogen report --tables README.md` writes the committed results between the marks of a Markdown file: a row for each
between those of a summary, all tables between those of results. With `--check`, it only says whether they are stale.
`calogen report A B` compares the results in two directories.
"""

import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, cast

from calogen.claims.judge import Quantity
from calogen.errors import DataFormatError
from calogen.files import listed, read_json, read_text, write_text
from calogen.reports.page import Cell, DataTable, Page, PageVerdict, Tone, render
from calogen.reports.reproduction import TONES, ours_text, title_with_unit, value_text

_DAMAGE = (KeyError, TypeError, AttributeError, ValueError, ArithmeticError)  # what reading other files may raise
_COUNTED = ("reproduced", "not", "undecided", "inconsistent")  # first words of the verdicts
_Part = TypeVar("_Part")
MARKS = {name: (f"<!-- {name} -->", f"<!-- end of {name} -->") for name in ("summary", "results")}
"""Lines around generated parts of Markdown files, by what stands between them."""


def results_table(results: Mapping[str, Any], *, brief: bool = False) -> str:
    """Markdown for one results file: claims with verdicts, and headline quantities.

    Args:
        results: what the file holds.
        brief: whether claims are counted, and listed without our numbers, as on a terminal.
    """
    claims = _claims(results)
    counts = [f"{number} {verdict}" for verdict, number in Counter(item["verdict"] for item in claims).most_common()]
    return render(
        "results.md.j2",
        title=results["title"],
        paper=results["paper"],
        claims=claims,
        counts=f"claims of the paper: {', '.join(counts)}" if brief and claims else "",
        quantities=_headline_rows(results),
    )


def _headline_rows(results: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    return [
        (title_with_unit(asdict(item)), value_text(item.paper), ours_text(item), item.data)
        for item in _quantities(results)
        if item.headline
    ]


def summary_row(results: Mapping[str, Any]) -> tuple[str, ...]:
    """One results file in a row: title, command, figure of merit (paper, ours), verdicts.

    Without a `merit` the first headline quantity stands for it.
    """
    shown = [item for item in _quantities(results) if item.headline]
    merit = results.get("merit")
    chosen = next((item for item in shown if item.name == merit), shown[0] if shown else None)
    verdicts = Counter(item["verdict"].partition(" ")[0] for item in _claims(results))
    counts = ", ".join(f"{verdicts[first]} {first}" for first in _COUNTED if verdicts[first])
    value = (
        (title_with_unit(asdict(chosen)), value_text(chosen.paper), ours_text(chosen)) if chosen else ("-", "-", "-")
    )
    command = f"make reproduce-{results['name'].replace('_', '-')}"
    return results["title"], command, *value, counts or "-"


def read_table(path: Path) -> str:
    """The `results_table` of a file.

    Raises:
        DataFormatError: the file does not hold the results of a reproduction.
    """
    return _read(path, results_table)


def headline_quantities(path: Path) -> list[tuple[str, str, str]]:
    """Names, the paper's and our numbers of a results file's headline quantities.

    Raises:
        DataFormatError: the file does not hold the results of a reproduction.
    """
    return _read(path, lambda results: [row[:3] for row in _headline_rows(results)])


def read_tables(directory: str | Path) -> list[str]:
    """The `results_table` of every JSON file in a directory, in the order of their names.

    Raises:
        DataFormatError: there is no such file, or one does not hold the results of a reproduction.
    """
    return [read_table(path) for path in _results_files(directory)]


def update_tables(path: str | Path, results_dir: str | Path, check: bool = False) -> bool:
    """Write what stands between the `MARKS` of a Markdown file from all results files.

    Args:
        path: the file, which has the lines of one or both of the `MARKS`.
        results_dir: folder of results files; the order of rows and tables is that of their names.
        check: whether to leave the file unchanged.

    Returns:
        Whether the tables were up to date.

    Raises:
        DataFormatError: the file or its marks are missing, or a results file lacks what its tables need.
    """
    text = fresh = read_text(path)
    parts = [name for name, marks in MARKS.items() if any(mark in text for mark in marks)]
    if not parts:
        raise DataFormatError(f"{path} must hold the lines {' and '.join(MARKS['results'])}. Received: neither")
    for name in parts:
        begin, end = (fresh.find(mark) for mark in MARKS[name])
        if begin < 0 or end < begin:
            raise DataFormatError(f"{path} must hold the lines {' and '.join(MARKS[name])}. Received: not both")
        fresh = (
            fresh[:begin]
            + MARKS[name][0]
            + "\n"
            + _WRITERS[name](_results_files(results_dir), Path(path).parent)
            + fresh[end:]
        )
    if fresh != text and not check:
        write_text(path, fresh)
    return fresh == text


def build_results_page(contents: Mapping[str, Mapping[str, Any]]) -> Page:
    """A page with several results side by side: claims with verdicts, then quantities.

    Args:
        contents: what results files hold, by label.

    Raises:
        DataFormatError: a file lacks what the tables need.
    """
    try:
        claims = {label: {item["claim"]: item for item in _claims(one)} for label, one in contents.items()}
        quantities = {
            label: {title_with_unit(asdict(item)): item for item in _quantities(one)} for label, one in contents.items()
        }
        verdicts = DataTable("Verdicts", ("claim", *contents), tuple(_claim_rows(claims)))
    except _DAMAGE as error:
        raise DataFormatError(f"results must hold claims and quantities. Received: {error!r:.200}") from error
    rows: tuple[tuple[str | Cell, ...], ...] = tuple(
        (name, *(_ours_cell(ours.get(name)) for ours in quantities.values()))
        for name in dict.fromkeys(name for ours in quantities.values() for name in ours)
    )
    counts = [
        f"{label}: {sum(item['verdict'] == 'reproduced' for item in one.values())} of {len(one)} claims reproduced"
        for label, one in claims.items()
    ]
    sections = {"Claims": (verdicts,), "Quantities": (DataTable("Ours", ("quantity", *contents), rows),)}
    return Page(" and ".join(contents), "", PageVerdict("; ".join(counts)), sections)


def _read(path: Path, take: Callable[[Mapping[str, Any]], _Part]) -> _Part:
    """What a function takes from a results file."""
    try:
        return take(cast(Mapping[str, Any], read_json(path)))
    except _DAMAGE as error:
        raise DataFormatError(
            f"{path} must hold the title, paper, claims and quantities of a reproduction. "
            f"Received: {type(error).__name__}: {error!s:.200}"
        ) from error


def _results_files(directory: str | Path) -> list[Path]:
    paths = listed(directory, "*.json")
    if not paths:
        raise DataFormatError(f"{directory} must hold the results of reproductions (.json). Received: none")
    return paths


def _summary(paths: Sequence[Path], _: Path) -> str:
    return render("summary.md.j2", rows=[_read(path, summary_row) for path in paths])


def _sections(paths: Sequence[Path], place: Path) -> str:
    """A section for each file: its title, its figure where there is one, and its tables."""
    sections = []
    for path in paths:
        title, figure = _read(path, lambda results: str(results["title"])), path.with_suffix(".png")
        link = f"![{title}]({Path(os.path.relpath(figure, place)).as_posix()})\n\n" if figure.is_file() else ""
        sections.append(f"## {title}\n\n{link}{read_table(path)}")
    return "\n".join(sections)


_WRITERS = {"summary": _summary, "results": _sections}


def _claims(results: Mapping[str, Any]) -> list[dict[str, str]]:
    """The claims; raises one of `_DAMAGE` if their texts are missing or no texts."""
    for item in results["claims"]:
        _require_type(item, str, "claim", "ours", "verdict")
    return results["claims"]


def _quantities(results: Mapping[str, Any]) -> list[Quantity]:
    """The quantities; raises one of `_DAMAGE` if texts or finite numbers are missing."""
    for item in results["quantities"]:
        _require_type(item, str, "name", "unit", "data")
        _require_type(item, float | int | str | None, "paper")
        _require_type(item, float | int | None, "ours", "uncertainty", "spread")
        _require_type(item, bool, "headline")
        for value in item.values():
            if isinstance(value, int | float) and not math.isfinite(value):
                raise ArithmeticError(f"{value} is not finite")
    return [Quantity(**item) for item in results["quantities"]]


def _require_type(item: Mapping[str, Any], kind: type | UnionType, *names: str) -> None:
    wrong = [name for name in names if not isinstance(item[name], kind)]
    if wrong:
        raise TypeError(f"{wrong[0]} is {item[wrong[0]]!r:.50}")


def _claim_rows(claims: Mapping[str, Mapping[str, Any]]) -> Iterable[tuple[str | Cell, ...]]:
    for claim in dict.fromkeys(claim for one in claims.values() for claim in one):
        yield claim, *(_verdict_cell(one.get(claim)) for one in claims.values())


def _verdict_cell(item: Mapping[str, Any] | None) -> Cell:
    if item is None:
        return Cell("-")
    tone: Tone = TONES.get(item["verdict"], "unsure")
    return Cell(item["verdict"], tone=tone, note=item["ours"])


def _ours_cell(item: Quantity | None) -> Cell:
    return Cell("-") if item is None else Cell(ours_text(item), item.ours, note=item.data)
