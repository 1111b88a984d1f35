"""The page of samples that were judged by observables: cells, or regular grids."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic  # the values of a table of provenance

from matplotlib.figure import Figure

from calogen.claims.judge import Quantity, Results, Table
from calogen.config import require
from calogen.evaluation.assessment import FILE_NAME, number_pairs
from calogen.evaluation.compare import Comparison
from calogen.evaluation.copies import ALARM, judge_copies
from calogen.evaluation.criteria import Criterion
from calogen.evaluation.judging import Options, floor_warnings
from calogen.evaluation.observed import NUMBERS_FILE, SECOND, observed_numbers
from calogen.evaluation.tables import Reader, TableT, read_all
from calogen.files import write_json
from calogen.metrics.distributions import Value
from calogen.provenance import collect
from calogen.reports.evaluation import NUMBER_TITLES
from calogen.reports.inputs import origin
from calogen.reports.latex import read_rows, write_latex
from calogen.reports.page import verdict_text, write_page
from calogen.reports.reproduction import build_page, judge_all, write_tables
from calogen.showers.files import Files, paths_of

_NUMBERS = {
    "auc": Criterion("AUC of a classifier (0.5: like Geant4)"),
    "jsd": Criterion("JSD of this classifier"),
    "fpd": Criterion("FPD x 1000", scale=1000),
    "kpd": Criterion("KPD x 1000", scale=1000),
}


@dataclass(frozen=True, kw_only=True)
class Samples(Generic[TableT]):
    """Samples that are judged by observables.

    Args:
        reference: Geant4's showers.
        others: the models' showers and those of the second reference, by label.
        files: the reference's files.
        provenance: seed, files and versions.
        quantities: numbers on copies of training showers.
        notes: sentences on the samples; those that begin with `ALARM` come first on the page.
        origin: how the reference's showers were made; empty: not known.
    """

    reference: TableT
    others: Mapping[str, TableT]
    files: Sequence[Path]
    provenance: Mapping[str, Any]
    quantities: Sequence[Quantity]
    notes: Sequence[str]
    origin: str


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What is told about samples of showers.

    Args:
        paper: whose observables they are.
        comparisons: with the reference, by incident energy, MeV.
        quantities: further numbers.
        remarks: further sentences.
    """

    paper: str
    comparisons: Mapping[float, Comparison]
    quantities: Sequence[Quantity] = ()
    remarks: Sequence[str] = ()


def read_samples(
    reader: Reader[TableT],
    reference: Files,
    files: Mapping[str, Files],
    second_reference: Files | None,
    training: Files | None,
    options: Options,
) -> Samples[TableT]:
    """Reads all samples, and looks for copies among them.

    Args:
        reader: how they are read.
        reference, files, second_reference, training: as for `evaluate_cells`.
        options: how to judge.

    Raises:
        ConfigError: a model's label is that of another sample.
        CalogenError: as for `read_all`.
    """
    inputs = _name_inputs(files, reference, second_reference, training)
    provenance = collect(options.seed, {name: paths_of(path) for name, path in inputs.items()})
    tables = read_all(inputs, reader, options.tolerant, "training" if training else "")
    learned = tables.pop("training") if training else None
    warnings, memories = judge_copies(
        {name: table.hashes for name, table in tables.items()},
        {name: table.examples for name, table in tables.items()},
        None if learned is None else (learned.examples, learned.hashes),
        reader.min_energy,
        options.seed,
    )
    trained = {} if learned is None else {"training": learned}
    notes = [f"{name}: {note}" for name, table in {**tables, **trained}.items() for note in table.notes]
    return Samples(
        reference=tables.pop("reference"),
        others=tables,
        files=paths_of(reference),
        provenance=provenance,
        quantities=[
            Quantity(f"{NUMBER_TITLES[name]}, {label}", "", None, value.value, value.error)
            for label, memory in memories.items()
            for name, value in memory.numbers.items()
        ],
        notes=(*warnings, *notes),
        origin=origin(paths_of(reference)[0]),
    )


def write_judged(
    output: Path, samples: Samples[TableT], judged: Judged, figures: Mapping[str, Figure], options: Options
) -> str:
    """Judge all observables together, and write tables and page.

    Returns:
        The terminal's text: the verdict and the page's path.
    """
    numbers, remarks = _numbers_of_all(samples, options, output / "classifiers.json")
    alarms = "".join(f"{note}. " for note in samples.notes if note.startswith(ALARM))
    models = ", ".join(label for label in samples.others if label != SECOND)
    results = Results(
        name="observables",
        title=f"{alarms}{models} against {', '.join(path.name for path in samples.files)}",
        paper=f"Observables of {judged.paper}",
        claims=(),
        quantities=(*samples.quantities, *judged.quantities),
        provenance=samples.provenance,
        measurements=tuple(
            row for each in judged.comparisons.values() for item in each.values() for row in item.measurements
        ),
        tables=_numbers_table(numbers),
        remarks=(*samples.notes, *judged.remarks, *remarks, *([samples.origin] if samples.origin else [])),
    )
    write_tables(output, results)
    write_json(output / NUMBERS_FILE, {label: number_pairs(item) for label, item in numbers.items()})
    (output / FILE_NAME).unlink(missing_ok=True)  # of voxels that were judged here before
    table = write_table(output, [output], options)
    page = write_page(output, build_page(results, figures), options.figures)
    verdict = judge_all(results)
    facts = [(f"{label}, {title}", text) for label, item in numbers.items() for title, text in _number_texts(item)]
    return table + verdict_text(replace(verdict, headline=f"{alarms}{verdict.headline}", facts=tuple(facts)), page)


def write_table(output: Path, places: Sequence[Path], options: Options) -> str:
    """Write the table for a paper, if it is asked for; gives the terminal's line."""
    return f"table: {write_latex(output, read_rows(places))}\n" if options.latex else ""


def _name_inputs(
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


def _numbers_of_all(
    samples: Samples[TableT], options: Options, trainings: Path
) -> tuple[dict[str, dict[str, Value]], list[str]]:
    """The `observed_numbers` of all samples, and remarks on them."""
    numbers: dict[str, dict[str, Value]] = {}
    remarks: list[str] = []
    for label, table in samples.others.items():
        numbers[label], more = observed_numbers(samples.reference, table, options.repetitions, options.seed, trainings)
        remarks += [f"{label}: {remark}" for remark in more]
        if SECOND in samples.others:
            sizes = len(samples.others[SECOND]), len(table)
            remarks += [f"{label}: {remark}" for remark in floor_warnings(*sizes)]
    return numbers, remarks


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
