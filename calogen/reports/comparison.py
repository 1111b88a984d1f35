"""The command `calogen report A B`: evaluations, or reproductions, side by side."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from calogen.config import require
from calogen.errors import DataFormatError
from calogen.evaluation.assessment import FILE_NAME, Assessment, read_assessment
from calogen.files import listed, read_json, require_writable_file
from calogen.reports.evaluation import build_comparison_page
from calogen.reports.inputs import plain_text
from calogen.reports.latex import assessment_rows, write_latex
from calogen.reports.page import verdict_text, write_page
from calogen.reports.results import build_results_page


def compare_directories(directories: Sequence[Path], output: Path, *, latex: bool = False) -> str:
    """Write a page with evaluations, or results, side by side; gives the terminal's text.

    Args:
        directories: each holds evaluations or results, or has them in its `report/`; all that are found are compared.
        output: directory for the page.
        latex: whether to write the main numbers of evaluations as `table.tex`, too.

    Raises:
        DataFormatError: a directory has neither, or its evaluations cannot be compared with the others.
    """
    require_writable_file(output / "report.html")
    evaluations = {directory: _evaluations(directory) for directory in directories}
    if any(evaluations.values()):
        bare = [str(directory) for directory, assessments in evaluations.items() if not assessments]
        if bare:
            raise DataFormatError(f"all directories must hold evaluations. Received: {', '.join(bare)} without any")
        labelled = _labelled_apart(evaluations)
        page = build_comparison_page(labelled, plain_text(str(labelled[0].provenance.get("note", ""))))
        text = f"table: {write_latex(output, assessment_rows(labelled))}\n" if latex else ""
        return text + verdict_text(page.verdict, write_page(output, page))
    require(not latex, "--latex takes several evaluations, or one directory of results. Received: results of several")
    page = build_results_page({str(directory): _results(directory) for directory in directories})
    return verdict_text(page.verdict, write_page(output, page))


def _evaluations(directory: Path) -> list[Assessment]:
    """All evaluations in a directory, in its folders, and in those of `report/evaluations/`."""
    studies = listed(directory / "report" / "evaluations")
    places = [directory, *listed(directory), *studies]
    return [read_assessment(place) for place in places if (place / FILE_NAME).is_file()]


def _labelled_apart(evaluations: Mapping[Path, Sequence[Assessment]]) -> list[Assessment]:
    """All evaluations; equal labels are completed by the names of their directories."""
    labels = Counter(item.label for assessments in evaluations.values() for item in assessments)
    short = len({directory.name for directory in evaluations}) == len(evaluations)
    names = {directory: directory.name if short else str(directory) for directory in evaluations}
    return [
        replace(item, label=f"{names[directory]}: {item.label}") if labels[item.label] > 1 else item
        for directory, assessments in evaluations.items()
        for item in assessments
    ]


def _results(directory: Path) -> dict[str, Any]:
    """The results of a reproduction that a directory, or its `report/`, holds."""
    for path in sorted((*listed(directory, "*.json"), *listed(directory / "report", "*.json"))):
        content = read_json(path)
        if isinstance(content, dict) and {"claims", "quantities", "title"} <= set(content):
            return content
    raise DataFormatError(
        f"{directory} must hold {FILE_NAME} (of calogen evaluate) or results of a reproduction, or its report/ must. "
        "Received: neither"
    )
