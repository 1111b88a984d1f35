"""The command `calogen report A B`: evaluations, or results, side by side."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from calogen.errors import DataFormatError
from calogen.evaluation.assessment import FILE_NAME, Assessment, read_assessment
from calogen.files import listed, read_json, require_writable_file
from calogen.reports.evaluate import plain_text
from calogen.reports.evaluation import build_comparison_page
from calogen.reports.page import shown_text, write_page
from calogen.reports.results import build_results_page


def compare_directories(directories: Sequence[Path], output: Path) -> str:
    """Put evaluations or results side by side; gives what a terminal shows.

    Args:
        directories: of evaluations or of runs, whose `report/` holds either; all that a directory holds is compared.
        output: directory for the page.

    Raises:
        DataFormatError: a directory without either, or evaluations that cannot be compared.
    """
    require_writable_file(output / "report.html")
    evaluations = {directory: _evaluations(directory) for directory in directories}
    if any(evaluations.values()):
        bare = [str(directory) for directory, found in evaluations.items() if not found]
        if bare:
            raise DataFormatError(f"evaluations compare with evaluations. Received: {', '.join(bare)} without any")
        found = _labelled_apart(evaluations)
        page = build_comparison_page(found, plain_text(str(found[0].provenance.get("note", ""))))
    else:
        page = build_results_page({str(directory): _results(directory) for directory in directories})
    return shown_text(page, write_page(output, page))


def _evaluations(directory: Path) -> list[Assessment]:
    """All of a directory and its folders, of its `report/`, or of its `report/evaluations/`."""
    studies = listed(directory / "report" / "evaluations")
    places = [directory, *listed(directory), *studies]
    return [read_assessment(place) for place in places if (place / FILE_NAME).is_file()]


def _labelled_apart(evaluations: Mapping[Path, Sequence[Assessment]]) -> list[Assessment]:
    """All of them; where labels are equal, their directories tell them apart."""
    labels = Counter(item.label for found in evaluations.values() for item in found)
    short = len({directory.name for directory in evaluations}) == len(evaluations)
    names = {directory: directory.name if short else str(directory) for directory in evaluations}
    return [
        replace(item, label=f"{names[directory]}: {item.label}") if labels[item.label] > 1 else item
        for directory, found in evaluations.items()
        for item in found
    ]


def _results(directory: Path) -> dict[str, Any]:
    """The results of a reproduction."""
    for path in sorted((*listed(directory, "*.json"), *listed(directory / "report", "*.json"))):
        content = read_json(path)
        if isinstance(content, dict) and {"claims", "quantities", "title"} <= set(content):
            return content
    raise DataFormatError(
        f"{directory} must hold {FILE_NAME} (of calogen evaluate) or results of a reproduction, or its report/ must. "
        "Received: neither"
    )
