"""The page of samples that were judged by observables: cells, or regular grids."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any  # the values of a table of provenance

import numpy as np
from matplotlib.figure import Figure

from calogen.claims.judge import Quantity, Results, Table
from calogen.config import require
from calogen.evaluation.assessment import FILE_NAME, number_pairs
from calogen.evaluation.compare import Comparison
from calogen.evaluation.copies import ALARM, judge_copies
from calogen.evaluation.criteria import Criterion
from calogen.evaluation.judging import Options, floor_warnings
from calogen.evaluation.observed import NUMBERS_FILE, SECOND, ObservedTable, observed_numbers
from calogen.files import write_json
from calogen.metrics.distributions import Value
from calogen.reports.evaluation import NUMBER_TITLES
from calogen.reports.latex import read_rows, write_latex
from calogen.reports.page import verdict_text, write_page
from calogen.reports.reproduction import build_page, judge_all, write_tables
from calogen.showers.files import Files
from calogen.showers.sample import Showers

_NUMBERS = {
    "auc": Criterion("AUC of a classifier (0.5: like Geant4)"),
    "jsd": Criterion("JSD of this classifier"),
    "fpd": Criterion("FPD x 1000", scale=1000),
    "kpd": Criterion("KPD x 1000", scale=1000),
}


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What is told about samples of showers.

    Args:
        paper: whose observables they are.
        samples: labels of the samples.
        files: the reference's files.
        comparisons: with the reference, by incident energy, MeV.
        numbers: of all observables together, by sample.
        quantities: further numbers.
        provenance: seed, files and versions.
        notes: sentences on the samples; those that begin with `ALARM` come first on the page.
        remarks: further sentences.
    """

    paper: str
    samples: Sequence[str]
    files: Sequence[Path]
    comparisons: Mapping[float, Comparison]
    numbers: Mapping[str, Mapping[str, Value]]
    quantities: Sequence[Quantity]
    provenance: Mapping[str, Any]
    notes: Sequence[str]
    remarks: Sequence[str]


def write_judged(output: Path, judged: Judged, figures: Mapping[str, Figure], options: Options) -> str:
    """Write tables and page; gives the terminal's text: the verdict and the page's path."""
    alarms = "".join(f"{note}. " for note in judged.notes if note.startswith(ALARM))
    models = ", ".join(label for label in judged.samples if label != SECOND)
    results = Results(
        name="observables",
        title=f"{alarms}{models} against {', '.join(path.name for path in judged.files)}",
        paper=f"Observables of {judged.paper}",
        claims=(),
        quantities=tuple(judged.quantities),
        provenance=judged.provenance,
        measurements=tuple(
            row for each in judged.comparisons.values() for item in each.values() for row in item.measurements
        ),
        tables=_numbers_table(judged.numbers),
        remarks=(*judged.notes, *judged.remarks),
    )
    write_tables(output, results)
    write_json(output / NUMBERS_FILE, {label: number_pairs(item) for label, item in judged.numbers.items()})
    (output / FILE_NAME).unlink(missing_ok=True)  # of voxels that were judged here before
    table = write_table(output, [output], options)
    page = write_page(output, build_page(results, figures), options.figures)
    verdict = judge_all(results)
    facts = [
        (f"{label}, {title}", text) for label, item in judged.numbers.items() for title, text in _number_texts(item)
    ]
    return table + verdict_text(replace(verdict, headline=f"{alarms}{verdict.headline}", facts=tuple(facts)), page)


def write_table(output: Path, places: Sequence[Path], options: Options) -> str:
    """Write the table for a paper, if it is asked for; gives the terminal's line."""
    return f"table: {write_latex(output, read_rows(places))}\n" if options.latex else ""


def name_inputs(
    files: Mapping[str, Files], reference: Files, second_reference: Files | None, training: Files | None
) -> dict[str, Files]:
    """All files by name: reference, training and second reference if given, models by label.

    Raises:
        ConfigError: a model's label is that of another sample.
    """
    reserved = sorted({"reference", "Geant4", SECOND, *(("training",) if training else ())} & set(files))
    text = "labels of models must be other words than those of the other files (name them: LABEL=FILE)"
    require(not reserved, f"{text}. Received: {', '.join(reserved)}")
    learned = {"training": training} if training else {}
    return {"reference": reference, **learned, **files, **({SECOND: second_reference} if second_reference else {})}


def numbers_of_all(
    reference: ObservedTable,
    samples: Mapping[str, ObservedTable],
    repetitions: int,
    seed: int,
    trainings: Path,
) -> tuple[dict[str, dict[str, Value]], list[str]]:
    """The `observed_numbers` of all samples, and remarks on them."""
    numbers: dict[str, dict[str, Value]] = {}
    remarks: list[str] = []
    for label, table in samples.items():
        numbers[label], more = observed_numbers(reference, table, repetitions, seed, trainings)
        remarks += [f"{label}: {remark}" for remark in more]
        if SECOND in samples:
            sizes = len(samples[SECOND].incident_energies), len(table.incident_energies)
            remarks += [f"{label}: {remark}" for remark in floor_warnings(*sizes)]
    return numbers, remarks


def find_copies(
    hashes: Mapping[str, np.ndarray],
    samples: Mapping[str, Showers],
    training: tuple[Showers, np.ndarray] | None,
    min_energy: float,
    seed: int,
) -> tuple[list[str], list[Quantity]]:
    """Warnings of `judge_copies`, and its numbers; the arguments are its own."""
    warnings, memories = judge_copies(hashes, samples, training, min_energy, seed)
    numbers = [
        Quantity(f"{NUMBER_TITLES[name]}, {label}", "", None, value.value, value.error)
        for label, memory in memories.items()
        for name, value in memory.numbers.items()
    ]
    return warnings, numbers


def _numbers_table(numbers: Mapping[str, Mapping[str, Value]]) -> dict[str, Table]:
    """A table of all samples' numbers, if there are any."""
    texts = {label: dict(_number_texts(item)) for label, item in numbers.items()}
    titles = [item.title for item in _NUMBERS.values() if any(item.title in known for known in texts.values())]
    rows = tuple((title, *(known.get(title, "-") for known in texts.values())) for title in titles)
    title = "All observables together, in standard deviations of Geant4 at each energy"
    return {title: Table(("number", *numbers), rows)} if rows else {}


def _number_texts(numbers: Mapping[str, Value]) -> list[tuple[str, str]]:
    """Titles and texts of one sample's numbers."""
    return [(item.title, item.text(numbers[name])) for name, item in _NUMBERS.items() if name in numbers]
