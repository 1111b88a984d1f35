"""The report of a reproduction: a page (HTML, Markdown) and its numbers (JSON, CSV)."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from calogen.claims.judge import NO_VERDICT, Claim, Quantity, Results, Verdict
from calogen.evaluation.compare import Measurement
from calogen.evaluation.observed import SECOND
from calogen.evaluation.summary import energy_text
from calogen.files import FigureFormat, write_json, write_table
from calogen.metrics.distributions import METRICS, Value, rounded
from calogen.reports.page import (
    Cell,
    DataTable,
    Gallery,
    Items,
    Page,
    PageBlock,
    PageVerdict,
    Tone,
    write_page,
)

TONES: Mapping[Verdict, Tone] = {"reproduced": "good", "not reproduced": "bad", NO_VERDICT: ""}  # others are unsure
_FACTS = {"preset": "", "seeds": "", "device": "", "wall_time": " s", "training_time": " s"}  # with units
_RANKED_BY, _NUM_WORST = "separation_power", 3  # the metric that ranks observables; how many are shown
_FLOOR_TEXT = (
    "Below each metric stands its floor, the mean value of two independent Geant4 samples of these sizes and, in "
    "brackets, the limit that 95 % of such pairs keep; and by how many standard errors σ the metric lies above the "
    "floor. Metrics beyond that limit are marked; by chance, 1 in 20 is."
)
_LOOKED_AT = ("total energy", "energy in the", "average", "response")
"""What captions of the figures have that a physicist looks at first, in this order."""


def write_report(
    directory: str | Path, results: Results, figures: Mapping[str, Figure], files: FigureFormat | None = None
) -> Path:
    """Write `report.html`, `report.md`, `<name>.json`, `metrics.json` and CSV tables.

    Args:
        directory: where to write; it need not exist.
        results: the results to report.
        figures: figures of the page by caption, in order.
        files: format in which the figures are also written to files of their own, in `figures/`; None: in none.

    Returns:
        The path of `report.html`.

    Raises:
        DataFormatError: the figures are too large for one page.
    """
    directory = Path(directory)
    page = build_page(results, figures)
    write_tables(directory, results)
    return write_page(directory, page, files)


def write_tables(directory: Path, results: Results) -> None:
    """Write `<name>.json`, `metrics.json` and CSV tables of results."""
    write_json(directory / f"{results.name}.json", results.to_json())
    write_json(directory / "metrics.json", [row.to_json() for row in results.measurements])
    for name, table in results.to_frames().items():
        (directory / f"{name}.csv").unlink(missing_ok=True)  # of an earlier report
        if len(table):
            write_table(directory / f"{name}.csv", table)


def build_page(results: Results, figures: Mapping[str, Figure]) -> Page:
    """The page: verdict, figures, claims, quantities, tables, metrics and deviations."""
    assumed = [source for source in results.deviations if source.kind == "assumed"]
    reasons = tuple((item.name, str(item.value), item.source) for item in assumed)
    sections: dict[str, tuple[PageBlock, ...]] = {
        "Figures": _galleries(figures),
        "Claims": _claims_table(results.claims),
        "Quantities": _quantities_table(results.quantities),
        "Tables": tuple(DataTable(caption, item.header, item.rows) for caption, item in results.tables.items()),
        "Metrics": (*_side_by_side(results.measurements), *_metrics_tables(results.measurements)),
        "Deviations and choices": (
            *((Items(results.remarks),) if results.remarks else ()),
            *_table("Values that the paper does not state", ("value", "ours", "reason"), reasons),
        ),
        "Provenance": _table("What was run, where and on what", ("item", "value"), flat_rows(results.provenance)),
    }
    return Page(results.title, results.paper, judge_all(results), sections)


def _galleries(figures: Mapping[str, Figure]) -> tuple[Gallery, ...]:
    """The figures that a physicist looks at first, then the others in their order."""
    places = {
        caption: place
        for place, words in reversed([*enumerate(_LOOKED_AT)])
        for caption in figures
        if words in caption.lower()
    }
    first = {caption: figures[caption] for caption in sorted(places, key=lambda caption: places[caption])}
    others = {caption: figure for caption, figure in figures.items() if caption not in first}
    return tuple(Gallery(item) for item in (first, others) if item)


def judge_all(results: Results) -> PageVerdict:
    """How many claims hold or, without claims, how many metrics lie beyond Geant4's limit.

    The metrics of each model are counted apart, and those of the worst one decide; a second reference is no model.
    """
    counts = Counter(claim.verdict for claim in results.claims)
    rows = [row for row in results.measurements if row.sample != SECOND and not math.isnan(row.measured.value)]
    models = {sample: [row for row in rows if row.sample == sample] for sample in dict.fromkeys(r.sample for r in rows)}
    beyond = {sample: sum(not row.within_floor for row in found) for sample, found in models.items()}
    texts = {sample: f"{beyond[sample]} of {len(found)}" for sample, found in models.items()}
    tone: Tone = ""
    if counts[NO_VERDICT] or results.provenance.get("preset") == "smoke":
        headline = "No verdict: a smoke run trains for seconds, to try the programs"
    elif counts:
        others = [f"{number} {verdict}" for verdict, number in counts.items() if verdict != "reproduced"]
        headline = "; ".join([f"{counts['reproduced']} of {counts.total()} claims reproduced", *sorted(others)])
        tone = "bad" if counts["not reproduced"] else "unsure" if others else "good"
    elif rows:
        worst = max(models, key=lambda sample: beyond[sample] / len(models[sample]))
        before = f"Of {len(models)} models, {worst} is the worst: " if len(models) > 1 else ""
        headline = f"{before}{texts[worst]} metrics lie beyond the limit that 1 in 20 pairs of Geant4 samples exceeds"
        tone = "good" if all(beyond[sample] <= _by_chance(len(found)) for sample, found in models.items()) else "bad"
    else:
        headline = "Nothing was judged: figures and tables only"
    about = {name: value for name, value in results.provenance.items() if name in _FACTS}
    facts = [(name.replace("_", " "), _listed(value) + _FACTS[name]) for name, value in about.items()]
    named = texts.values() if len(texts) == 1 else (f"{sample}: {text}" for sample, text in texts.items())
    facts += [("metrics beyond Geant4's floor", "; ".join(named))] if rows else []
    return PageVerdict(headline, tone, tuple(facts), _worst_observables(rows))


def _by_chance(number: int) -> float:
    """How many metrics may lie beyond a limit that 1 in 20 exceeds: two deviations more."""
    return number / 20 + 2 * math.sqrt(number * 0.05 * 0.95)


def _worst_observables(rows: Sequence[Measurement]) -> DataTable | None:
    """For each sample, the observables that are furthest beyond the limit of their floors."""
    metric = METRICS[_RANKED_BY]
    beyond = [row for row in rows if row.metric == _RANKED_BY and not row.within_floor]
    beyond.sort(key=lambda row: metric.excess(row.measured.value) / max(row.floor.limit, 1e-12), reverse=True)
    worst: list[Measurement] = []
    for sample in dict.fromkeys(row.sample for row in rows):
        at_worst: dict[str, Measurement] = {}  # each observable at the energy where it is worst
        for row in beyond:
            if row.sample == sample:
                at_worst.setdefault(row.observable, row)
        worst += [*at_worst.values()][:_NUM_WORST]
    header = ("observable", "sample", "energy", metric.title, "Geant4's limit")
    lines = tuple(
        (
            row.label or row.observable,
            row.sample,
            Cell(energy_text(row.incident_energy), row.incident_energy),
            Cell(str(row.measured), row.measured.value),
            rounded(row.floor.limit, digits=2),
        )
        for row in worst
    )
    return DataTable("Furthest from Geant4", header, lines) if lines else None


def _claims_table(claims: Iterable[Claim]) -> tuple[DataTable, ...]:
    rows = tuple(
        (item.claim, Cell(item.verdict, tone=TONES.get(item.verdict, "unsure")), item.ours, _cited(item))
        for item in claims
    )
    return _table("Claims of the paper, and what became of them", ("claim", "verdict", "ours", "the paper"), rows)


def _cited(item: Claim) -> Cell:
    return Cell(f"“{item.paper}”", note=item.source)


def _quantities_table(quantities: Iterable[Quantity]) -> tuple[DataTable, ...]:
    rows = tuple(
        (
            title_with_unit(asdict(item)),
            Cell(value_text(item.paper), item.paper),
            Cell(ours_text(item), item.ours),
            item.data,
        )
        for item in quantities
    )
    return _table("Numbers of the paper beside ours", ("quantity", "paper", "ours", "data"), rows)


def _metrics_tables(rows: Sequence[Measurement]) -> tuple[PageBlock, ...]:
    """Tables by energy and sample: a row for each observable, a column for each metric."""
    blocks: list[PageBlock] = [_FLOOR_TEXT] if rows else []
    for energy, sample in dict.fromkeys((row.incident_energy, row.sample) for row in rows):
        chosen = [row for row in rows if (row.incident_energy, row.sample) == (energy, sample)]
        metrics = list(dict.fromkeys(row.metric for row in chosen))
        lines = []
        for name in dict.fromkeys(row.observable for row in chosen):
            cells = {row.metric: row for row in chosen if row.observable == name}
            counts = next(iter(cells.values()))
            undefined = f", {counts.undefined} undefined" if counts.undefined else ""
            label, sizes = counts.label or name, f"{counts.num_reference} against {counts.num_generated}{undefined}"
            title = Cell(label, label, note=sizes)
            lines.append((title, *(_metric_cell(cells[key]) if key in cells else Cell("-") for key in metrics)))
        titles = [METRICS[metric].title for metric in metrics]
        blocks.append(DataTable(f"{sample}, {energy_text(energy)}", ("observable", *titles), tuple(lines)))
    return tuple(blocks)


def _metric_cell(row: Measurement) -> Cell:
    metric = METRICS[row.metric]
    if math.isnan(row.measured.value):
        return Cell("-", note="not defined")
    limit = rounded(row.floor.limit + (0.0 if metric.two_sided else metric.ideal), digits=2)
    note = f"{rounded(row.floor.mean, digits=2)} ({'±' if metric.two_sided else ''}{limit})"
    pull = (row.measured - Value(row.floor.mean, row.floor.error)).significance()
    note += f"; {pull:+.1f} σ" if pull else ""
    return Cell(str(row.measured), row.measured.value, "" if row.within_floor else "bad", note)


def _side_by_side(rows: Sequence[Measurement]) -> tuple[DataTable, ...]:
    """Separation powers of several samples, and their differences from the first one."""
    chosen = [row for row in rows if row.metric == _RANKED_BY]
    first, *others = {row.sample: None for row in chosen} or [""]
    keys = dict.fromkeys((row.label or row.observable, row.incident_energy) for row in chosen)
    found = {(row.label or row.observable, row.incident_energy, row.sample): row.measured for row in chosen}
    lines: list[tuple[str | Cell, ...]] = []
    for label, energy in keys:
        values = [found.get((label, energy, sample), Value(math.nan, math.nan)) for sample in (first, *others)]
        cells = [Cell("-" if math.isnan(item.value) else str(item), item.value) for item in values]
        pulls = [(item - values[0]).significance() for item in values[1:]]
        sigmas = [Cell(f"{pull:+.1f}" if pull else "-", pull) for pull in pulls]
        lines.append((label, Cell(energy_text(energy), energy), *cells, *sigmas))
    header = ("observable", "energy", first, *others, *(f"{other} - {first} [σ]" for other in others))
    return _table("Separation power of the samples side by side", header, lines) if others else ()


def _table(caption: str, header: tuple[str, ...], rows: Iterable[tuple[str | Cell, ...]]) -> tuple[DataTable, ...]:
    """The table as the only item of a tuple, which is empty if the table has no rows."""
    lines = tuple(rows)
    return (DataTable(caption, header, lines),) if lines else ()


def flat_rows(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Names and texts of nested values, such as a provenance, as rows of one table.

    >>> flat_rows({"seed": 1, "data": {"test": "a.h5"}})
    [('seed', '1'), ('data: test', 'a.h5')]
    """
    rows: list[tuple[str, str]] = []
    for name, value in values.items():
        label = f"{prefix}{name}"
        rows += flat_rows(value, f"{label}: ") if isinstance(value, Mapping) else [(label, _listed(value))]
    return rows


def _listed(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def ours_text(item: Quantity) -> str:
    """Our number as tables show it, with its uncertainty and its spread over seeds."""
    error = math.nan if item.uncertainty is None else item.uncertainty
    text = "-" if item.ours is None else rounded(item.ours, error)
    return text + (f" (seeds ± {rounded(item.spread, digits=2)})" if item.spread is not None else "")


def value_text(value: float | str | None) -> str:
    """A number with four digits, or the words of a paper; `-` for None."""
    if value is None:
        return "-"
    return value if isinstance(value, str) else rounded(value)


def title_with_unit(item: Mapping[str, Any]) -> str:
    """Name of a quantity with its unit in brackets."""
    return f"{item['name']} [{item['unit']}]" if item["unit"] else str(item["name"])
