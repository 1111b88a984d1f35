"""The report of a reproduction: one self-contained HTML page, JSON, and README's table.

`calogen report --readme README.md` writes the tables between the README's markers from the committed results; with
`--check` it only says whether they are stale.
"""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from typing import Any, Literal, get_args

from matplotlib.figure import Figure

from calogen.config import Source
from calogen.errors import DataFormatError
from calogen.evaluation.comparison import Measurement, energy_text
from calogen.evaluation.metrics import METRICS, Value
from calogen.files import read_json, write_json, write_text

Verdict = Literal["reproduced", "not reproduced", "undecided at this statistics", "inconsistent in the paper"]

README_BEGIN, README_END = "<!-- results -->", "<!-- end of results -->"


@dataclass(frozen=True)
class Claim:
    """A claim of the paper and what became of it.

    Args:
        claim: what the paper claims, in one line.
        source: section or figure.
        paper: the paper's words or figure.
        ours: our figure, in words.
        verdict: see `judge`.
    """

    claim: str
    source: str
    paper: str
    ours: str
    verdict: Verdict

    def __post_init__(self) -> None:
        if self.verdict not in get_args(Verdict):
            raise DataFormatError(f"verdict must be one of {get_args(Verdict)}. Received: {self.verdict!r}")


@dataclass(frozen=True)
class Quantity:
    """A number of the paper beside ours.

    Args:
        name, unit: what it is.
        paper: the paper's number, or text such as "about 5"; None where the paper gives none.
        ours: our number.
        uncertainty: statistical uncertainty of `ours`.
        spread: standard deviation over training seeds.
        data: which showers `ours` comes from.
        headline: whether README shows it.
    """

    name: str
    unit: str
    paper: float | str | None
    ours: float | None
    uncertainty: float | None = None
    spread: float | None = None
    data: str = ""
    headline: bool = False


@dataclass(frozen=True)
class Table:
    """A table of the report.

    Args:
        header: titles of the columns.
        rows: texts.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Results:
    """Everything a reproduction says in words and numbers.

    Args:
        name: e.g. `atlas_vae`; also the file's name.
        title: of the report.
        paper: citation.
        claims, quantities: see there.
        provenance: seed, commit, versions, device, wall time, data and their hashes.
        measurements: the metrics, for the report and `metrics.json`.
        tables: further ones, by caption.
        deviations: sources of the configuration's values; the report lists those that the paper does not state.
        remarks: further deviations, one sentence each (simulation, missing noise ...).
    """

    name: str
    title: str
    paper: str
    claims: tuple[Claim, ...]
    quantities: tuple[Quantity, ...]
    provenance: Mapping[str, Any]
    measurements: tuple[Measurement, ...] = ()
    tables: Mapping[str, Table] = field(default_factory=dict)
    deviations: tuple[Source, ...] = ()
    remarks: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """What `experiments/results/<name>.json` holds: all but the measurements."""
        values = asdict(self)
        values.pop("measurements")
        return values


def judge(evidence: Value, threshold: float = 2.0) -> Verdict:
    """Verdict on a claim from a number that is positive where the claim holds.

    `reproduced` where it is above 0 by at least `threshold` standard errors, `not reproduced` where it is below 0 by as
    much, else (also without a value) `undecided at this statistics`.

    Example:
        >>> judge(Value(0.03, 0.01)), judge(Value(-0.03, 0.01)), judge(Value(0.01, 0.01))
        ('reproduced', 'not reproduced', 'undecided at this statistics')
    """
    margin = threshold * evidence.error
    if evidence.value > 0 and evidence.value >= margin:
        return "reproduced"
    if evidence.value < 0 and evidence.value <= -margin:
        return "not reproduced"
    return "undecided at this statistics"


def write_report(directory: str | Path, results: Results, figures: Mapping[str, Figure]) -> Path:
    """Write `report.html`, `<name>.json` and `metrics.json`.

    Args:
        directory: made if need be.
        results: what to say.
        figures: caption -> figure, in order; they are put into the page.

    Returns:
        The path of the page.
    """
    directory = Path(directory)
    write_json(directory / f"{results.name}.json", results.to_json())
    write_json(directory / "metrics.json", [row.to_json() for row in results.measurements])
    write_text(directory / "report.html", build_page(results, figures))
    return directory / "report.html"


def build_page(results: Results, figures: Mapping[str, Figure]) -> str:
    """One self-contained HTML page: claims, quantities, figures, metrics, deviations."""
    assumed = [source for source in results.deviations if source.kind == "assumed"]
    sections = {
        "Claims": _claims_table(results.claims),
        "Quantities": _quantities_table(results.quantities),
        "Tables": "".join(
            f"<h3>{escape(caption)}</h3>{_table(item.header, item.rows)}" for caption, item in results.tables.items()
        ),
        "Figures": "".join(_embed(caption, figure) for caption, figure in figures.items()),
        "Metrics": _metrics_tables(results.measurements),
        "Deviations and choices": _list(results.remarks)
        + _table(("value", "ours", "reason"), [(item.name, item.value, item.source) for item in assumed]),
        "Provenance": _table(("", ""), _flat(results.provenance)),
    }
    body = "".join(f"<h2>{name}</h2>{content}" for name, content in sections.items() if content)
    return _PAGE.format(title=escape(results.title), paper=escape(results.paper), body=body)


def results_table(results: Mapping[str, Any]) -> str:
    """README's Markdown for one results file: claims with verdicts, then headline quantities."""
    lines = [f"**{results['title']}**: {results['paper']}"]
    if results["claims"]:
        lines += ["", "| claim of the paper | ours | verdict |", "|---|---|---|"]
        lines += [_markdown_row((item["claim"], item["ours"], item["verdict"])) for item in results["claims"]]
    shown = [item for item in results["quantities"] if item["headline"]]
    if shown:
        lines += ["", "| quantity | paper | ours | data |", "|---|---|---|---|"]
        lines += [
            _markdown_row((_with_unit(item), _number(item["paper"]), _ours(Quantity(**item)), item["data"]))
            for item in shown
        ]
    return "\n".join(lines) + "\n"


def update_readme(readme: str | Path, results_dir: str | Path, check: bool = False) -> bool:
    """Write the tables of all results files between the README's markers.

    Args:
        readme: the file with the lines `README_BEGIN` and `README_END`.
        results_dir: folder of results files; their names give the order.
        check: change nothing.

    Returns:
        Whether the table was up to date.

    Raises:
        DataFormatError: no README, no markers, or a results file without what the table needs.
    """
    readme = Path(readme)
    try:
        text = readme.read_text(encoding="utf-8")
    except OSError as error:
        raise DataFormatError(f"cannot read {readme}: {error.strerror}") from error
    begin, end = text.find(README_BEGIN), text.find(README_END)
    if begin < 0 or end < begin:
        raise DataFormatError(f"{readme} must hold the lines {README_BEGIN} and {README_END}. Received: not both")
    sections = []
    for path in sorted(Path(results_dir).glob("*.json")):
        try:
            sections.append(results_table(read_json(path)))
        except (KeyError, TypeError) as error:
            raise DataFormatError(f"{path} must hold title, paper, claims, quantities. Received: {error}") from error
    fresh = text[:begin] + README_BEGIN + "\n" + "\n".join(sections) + text[end:]
    if fresh != text and not check:
        write_text(readme, fresh)
    return fresh == text


def _claims_table(claims: Iterable[Claim]) -> str:
    rows = [
        f"<tr><td>{escape(item.claim)}</td><td>“{escape(item.paper)}”<br><small>{escape(item.source)}</small></td>"
        f'<td>{escape(item.ours)}</td><td class="{item.verdict.split()[0]}">{item.verdict}</td></tr>'
        for item in claims
    ]
    return _wrap(("claim", "the paper", "ours", "verdict"), rows)


def _quantities_table(quantities: Iterable[Quantity]) -> str:
    rows = [(_with_unit(asdict(item)), _number(item.paper), _ours(item), item.data) for item in quantities]
    return _table(("quantity", "paper", "ours", "data"), rows)


def _metrics_tables(rows: Sequence[Measurement]) -> str:
    """A table per energy and sample: observables down, metrics across, each above its floor."""
    text = (
        "<p>Each metric above its Geant4-against-Geant4 floor: what two independent Geant4 samples of these sizes give "
    )
    text += "(95 % limit in brackets); bold: beyond that limit, as 1 in 20 is by chance.</p>" if rows else ""
    for energy, sample in dict.fromkeys((row.incident_energy, row.sample) for row in rows):
        chosen = [row for row in rows if (row.incident_energy, row.sample) == (energy, sample)]
        lines = []
        for name in dict.fromkeys(row.observable for row in chosen):
            cells = {row.metric: row for row in chosen if row.observable == name}
            counts = next(iter(cells.values()))
            undefined = f", {counts.undefined} undefined" if counts.undefined else ""
            lines.append(
                f"<tr><td>{escape(name)}<br><small>{counts.num_reference} against {counts.num_generated}{undefined}"
                f"</small></td>{''.join(_metric_cell(cells[metric]) for metric in cells)}</tr>"
            )
        titles = [METRICS[metric].title for metric in dict.fromkeys(row.metric for row in chosen)]
        text += f"<h3>{escape(sample)}, {energy_text(energy)}</h3>" + _wrap(("observable", *titles), lines)
    return text if rows else ""


def _metric_cell(row: Measurement) -> str:
    shown, least = f"{row.measured.value:.3g} ± {row.measured.error:.1g}", f"{row.floor.mean:.3g}"
    metric = METRICS[row.metric]
    limit = f"±{row.floor.limit:.2g}" if metric.two_sided else f"{metric.ideal + row.floor.limit:.2g}"
    shown = shown if row.within_floor else f"<b>{shown}</b>"
    return f"<td>{shown}<br><small>{least} ({limit})</small></td>"


def _embed(caption: str, figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    data = base64.b64encode(buffer.getvalue()).decode()
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = ["<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows]
    return _wrap(header, lines)


def _wrap(header: Sequence[str], lines: Sequence[str]) -> str:
    if not lines:
        return ""
    head = "".join(f"<th>{escape(name)}</th>" for name in header) if any(header) else ""
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>"


def _list(items: Iterable[str]) -> str:
    lines = "".join(f"<li>{escape(item)}</li>" for item in items)
    return f"<ul>{lines}</ul>" if lines else ""


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in values.items():
        label = f"{prefix}{name}"
        rows += _flat(value, f"{label}: ") if isinstance(value, Mapping) else [(label, str(value))]
    return rows


def _ours(item: Quantity) -> str:
    text = _number(item.ours)
    text += f" ± {item.uncertainty:.2g}" if item.uncertainty is not None else ""
    return text + (f" (seeds ± {item.spread:.2g})" if item.spread is not None else "")


def _number(value: float | str | None) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def _with_unit(item: Mapping[str, Any]) -> str:
    return f"{item['name']} [{item['unit']}]" if item["unit"] else str(item["name"])


def _markdown_row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.45 sans-serif; max-width: 1180px; margin: 2em auto; padding: 0 1em; color: #222 }}
table {{ border-collapse: collapse; margin: 0.6em 0 }}
th, td {{ border-bottom: 1px solid #ccc; padding: 0.3em 0.7em; text-align: left; vertical-align: top }}
img {{ max-width: 100% }} figure {{ margin: 1.5em 0 }} figcaption, small {{ color: #666 }}
.reproduced {{ color: #06682b }} .not {{ color: #a3161f }} .undecided {{ color: #7a5200 }}
</style></head><body><h1>{title}</h1><p>{paper}</p>{body}</body></html>
"""
