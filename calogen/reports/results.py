"""Tables of results files: in README.md, and of several files side by side.

`calogen report --readme README.md` writes the committed results as tables between the README's markers; with `--check`,
it only says whether the tables there are stale. `calogen report A B` compares the results in two directories.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
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
_Made = TypeVar("_Made")
README_BEGIN, README_END = "<!-- results -->", "<!-- end of results -->"


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


def read_table(path: Path) -> str:
    """The `results_table` of a file.

    Raises:
        DataFormatError: the file does not hold the results of a reproduction.
    """
    return _read(path, results_table)


def _read(path: Path, make: Callable[[Mapping[str, Any]], _Made]) -> _Made:
    """What a function makes of the results in a file."""
    try:
        return make(cast(Mapping[str, Any], read_json(path)))
    except _DAMAGE as error:
        raise DataFormatError(
            f"{path} must hold the title, paper, claims and quantities of a reproduction. "
            f"Received: {type(error).__name__}: {error!s:.200}"
        ) from error


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
    paths = listed(directory, "*.json")
    if not paths:
        raise DataFormatError(f"{directory} must hold the results of reproductions (.json). Received: none")
    return [read_table(path) for path in paths]


def update_readme(readme: str | Path, results_dir: str | Path, check: bool = False) -> bool:
    """Write the tables of all results files between the README's markers.

    Args:
        readme: the file, which has the lines `README_BEGIN` and `README_END`.
        results_dir: folder of results files; the order of the tables is that of their names.
        check: whether to leave the file unchanged.

    Returns:
        Whether the tables were up to date.

    Raises:
        DataFormatError: the README or its markers are missing, or a results file lacks what its table needs.
    """
    text = read_text(readme)
    begin, end = text.find(README_BEGIN), text.find(README_END)
    if begin < 0 or end < begin:
        raise DataFormatError(f"{readme} must hold the lines {README_BEGIN} and {README_END}. Received: not both")
    sections = read_tables(results_dir)
    fresh = text[:begin] + README_BEGIN + "\n" + "\n".join(sections) + text[end:]
    if fresh != text and not check:
        write_text(readme, fresh)
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
