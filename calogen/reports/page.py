"""A report's page: one HTML file that needs nothing else, and the same as text.

The blocks know nothing of any paper. The page works without a network, by keyboard, on a phone, in the dark and on
paper: its look is `data/page.css`, its little script `data/page.js`, and no other script or style may run in it.

Example:
    >>> table = DataTable("Masses", ("particle", "MeV"), (("electron", "0.511"), ("pion", "139.6")))
    >>> page = Page("Particles", "", Verdict("Both are known", "good"), {"Numbers": (table,)})
    >>> build_html(page).count("<tr>")
    3
"""

import base64
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import Literal

from matplotlib.figure import Figure
from PIL import Image

from calogen.errors import DataFormatError
from calogen.files import write_text
from calogen.progress import progress

Tone = Literal["good", "bad", "unsure", ""]

NOT_DEFINED = "not defined"
MAX_IMAGE_BYTES = 5_000_000
"""What all figures of a page may take in it."""

_DPIS = (150, 125, 100, 80, 60)  # the first that keeps within the limit is taken
_MARKS: Mapping[Tone, str] = {"good": "✓", "bad": "✗", "unsure": "?"}
_UNDEFINED = re.compile(r"(?<![\w.])-?(?:nan|inf)(?: ± (?:nan|inf))?(?!\w)")
_SHORT = 20  # letters of a cell that stay on one line
_NUMBER = re.compile(r"(-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?)(?: ± .*)?")
_DATA = Path(__file__).parents[1] / "data"


@dataclass(frozen=True)
class Cell:
    """A cell of a table that is more than a text.

    Args:
        text: what it says.
        sort: what the column is sorted by; None: the text, and its number where it is one.
        tone: a mark and a colour.
        note: small print below the text.
    """

    text: str
    sort: float | str | None = None
    tone: Tone = ""
    note: str = ""


@dataclass(frozen=True)
class Items:
    """A list of sentences."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class DataTable:
    """A table; the first cell of a row names the row.

    Args:
        caption: its title.
        header: titles of the columns.
        rows: cells; a plain text stands for `Cell(text)`.
        sortable: whether the reader may sort it.

    Raises:
        DataFormatError: a row that does not have a cell for each column.
    """

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str | Cell, ...], ...]
    sortable: bool = True

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.header):
                raise DataFormatError(
                    f"rows of the table {self.caption!r} must have {len(self.header)} cells. Received: {len(row)}"
                )


@dataclass(frozen=True)
class FigureBlock:
    """A figure; without `alt`, its axes and legends are its text for those who cannot see it."""

    caption: str
    figure: Figure
    alt: str = ""


@dataclass(frozen=True)
class Gallery:
    """Figures by caption, side by side where there is room, below a title if it has one."""

    figures: Mapping[str, Figure]
    title: str = ""


Block = str | Items | DataTable | FigureBlock | Gallery
"""What a section holds; a text is a paragraph."""


@dataclass(frozen=True)
class Verdict:
    """What a reader sees first.

    Args:
        headline: one sentence.
        tone: how good it is.
        facts: a few numbers, each with its label in front.
        worst: what to look at first, e.g. the worst observables.
    """

    headline: str
    tone: Tone = ""
    facts: tuple[tuple[str, str], ...] = ()
    worst: DataTable | None = None


@dataclass(frozen=True)
class Page:
    """A report: title, a line below it, the verdict, and the sections by title, in order.

    A section folds; without blocks it is left out.

    Raises:
        DataFormatError: two sections whose titles differ in case and punctuation only.
    """

    title: str
    subtitle: str
    verdict: Verdict
    sections: Mapping[str, tuple[Block, ...]]

    def __post_init__(self) -> None:
        names = [_section_id(title) for title in self.sections]
        if len({*names}) < len(names):
            raise DataFormatError(f"sections must have titles of their own. Received: {', '.join(names)}")


def number_text(value: float | None, digits: int = 3) -> str:
    """A number as pages show it: `-` for None, `not defined` for NaN and infinity."""
    if value is None:
        return "-"
    return f"{value:.{digits}g}" if math.isfinite(value) else NOT_DEFINED


def build_html(page: Page, max_image_bytes: int = MAX_IMAGE_BYTES) -> str:
    """The page as one HTML file.

    Args:
        page: what to say.
        max_image_bytes: limit on all figures together, as the file holds them.

    Raises:
        DataFormatError: figures that are larger than that at any sensible resolution.
    """
    sections = {title: blocks for title, blocks in page.sections.items() if blocks}
    images = _draw([figure for blocks in sections.values() for figure in _figures(blocks)], max_image_bytes)
    links = "".join(f'<li><a href="#{_section_id(title)}">{_text(title)}</a></li>' for title in sections)
    body = "".join(
        f'<details open id="{_section_id(title)}"><summary><h2>{_text(title)}</h2></summary>'
        f"{''.join(_block_html(block, images) for block in blocks)}</details>\n"
        for title, blocks in sections.items()
    )
    style, script = ((_DATA / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<title>{_text(page.title)}</title><style>{style}</style></head><body>
<a class="skip" href="#main">Skip to the verdict</a>
<header><h1>{_text(page.title)}</h1><p>{_text(page.subtitle)}</p></header>
<nav aria-label="Sections"><ul>{links}</ul><button type="button" id="toggle">Collapse all</button></nav>
<main id="main" tabindex="-1">
{_verdict_html(page.verdict)}
{body}</main>
<p id="status" class="unseen" role="status"></p>
<dialog id="viewer" aria-label="Enlarged figure"><button type="button">Close</button><div></div></dialog>
<script>{script}</script></body></html>
"""


def build_markdown(page: Page) -> str:
    """The page as Markdown, for terminals; of figures only the captions."""
    parts = [f"# {_plain(page.title)}"]
    parts += [_plain(page.subtitle)] if page.subtitle else []
    parts.append(f"**{_marked(page.verdict.tone)}{_plain(page.verdict.headline)}**")
    parts += [_lines(f"{label}: {value}" for label, value in page.verdict.facts)] if page.verdict.facts else []
    parts += [_block_markdown(page.verdict.worst)] if page.verdict.worst else []
    for title, blocks in page.sections.items():
        if blocks:
            parts += [f"## {_plain(title)}", *(_block_markdown(block) for block in blocks)]
    return "\n\n".join(parts) + "\n"


def write_page(directory: Path, page: Page) -> Path:
    """Write `report.html` and `report.md`; gives the path of the former.

    Raises:
        DataFormatError: figures too large for one page.
    """
    html = build_html(page)
    write_text(directory / "report.md", build_markdown(page))
    write_text(directory / "report.html", html)
    return directory / "report.html"


def _verdict_html(verdict: Verdict) -> str:
    facts = "".join(f"<div><dt>{_text(label)}</dt><dd>{_text(value)}</dd></div>" for label, value in verdict.facts)
    return (
        f'<section id="verdict" aria-labelledby="headline" class="{verdict.tone}">'
        f'<h2 id="headline">{_mark(verdict.tone)}{_text(verdict.headline)}</h2>'
        f"{f'<dl>{facts}</dl>' if facts else ''}{_table_html(verdict.worst) if verdict.worst else ''}</section>"
    )


def _block_html(block: Block, images: Mapping[Figure, str]) -> str:
    match block:
        case str():
            return f"<p>{_text(block)}</p>"
        case Items(items):
            return f"<ul>{''.join(f'<li>{_text(item)}</li>' for item in items)}</ul>"
        case DataTable():
            return _table_html(block)
        case FigureBlock():
            return _figure_html(block, images)
        case Gallery(figures, title):
            heading = f"<h3>{_text(title)}</h3>" if title else ""
            shown = "".join(_figure_html(FigureBlock(*item), images) for item in figures.items())
            return f'{heading}<div class="gallery">{shown}</div>'


def _table_html(table: DataTable) -> str:
    rows = "".join(
        f"<tr>{''.join(_cell_html(cell, position) for position, cell in enumerate(row))}</tr>" for row in table.rows
    )
    sortable = table.sortable and len(table.rows) > 1
    titles = [f'<button type="button">{_text(name)}</button>' if sortable else _text(name) for name in table.header]
    order = ' aria-sort="none"' if sortable else ""
    head = "".join(f'<th scope="col"{order}>{title}</th>' for title in titles)
    caption = _text(table.caption)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{caption}"><table>'
        f"<caption><span>{caption}</span></caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _cell_html(cell: str | Cell, position: int) -> str:
    item = Cell(cell) if isinstance(cell, str) else cell
    key = _sort_key(item)
    classes = " ".join(filter(None, (item.tone, "short" if position and len(item.text) <= _SHORT else "")))
    attributes = f' class="{classes}"' if classes else ""
    attributes += f' data-sort="{escape(str(key))}"' if key is not None else ""
    note = f"<small>{_text(item.note)}</small>" if item.note else ""
    tag, scope = ("th", ' scope="row"') if position == 0 else ("td", "")
    return f"<{tag}{scope}{attributes}>{_mark(item.tone)}{_text(item.text)}{note}</{tag}>"


def _sort_key(cell: Cell) -> float | str | None:
    """What a cell is sorted by; empty: always last; None: its plain text."""
    if isinstance(cell.sort, str):
        return cell.sort
    if cell.sort is not None:
        return cell.sort if math.isfinite(cell.sort) else ""
    if (shown := _defined(cell.text)) in ("", "-") or shown.startswith(NOT_DEFINED):
        return ""
    number = _NUMBER.fullmatch(cell.text)
    return number[1].replace(",", "") if number else cell.text if cell.tone or cell.note else None


def _figure_html(block: FigureBlock, images: Mapping[Figure, str]) -> str:
    width, height = block.figure.get_size_inches()
    wide = ' class="wide"' if width > 1.9 * height else ""
    alt = escape(_defined(block.alt or _describe(block.figure)))
    return (
        f'<figure{wide}><img loading="lazy" width="{96 * width:.0f}" height="{96 * height:.0f}" alt="{alt}" '
        f'src="data:image/png;base64,{images[block.figure]}"><figcaption>{_text(block.caption)}</figcaption>'
        f'<button type="button" class="enlarge" aria-label="Enlarge: {_text(block.caption)}">Enlarge</button></figure>'
    )


def _describe(figure: Figure) -> str:
    """Titles, axes and curves of a figure in words."""
    found: dict[str, list[str]] = {"Figure": [], "across": [], "up": [], "shown": []}
    for axes in figure.axes:
        found["Figure"].append(axes.get_title(loc="left") or axes.get_title())
        found["across"].append(axes.get_xlabel())
        found["up"].append(axes.get_ylabel())
        found["shown"] += axes.get_legend_handles_labels()[1]
    words = {key: dict.fromkeys(re.sub(r"[${}\\]", "", name) for name in names if name) for key, names in found.items()}
    return "; ".join(f"{key}: {', '.join(names)}" for key, names in words.items() if names) or "Figure"


def _figures(blocks: Iterable[Block]) -> Iterable[Figure]:
    for block in blocks:
        if isinstance(block, Gallery):
            yield from block.figures.values()
        elif isinstance(block, FigureBlock):
            yield block.figure


def _draw(figures: Sequence[Figure], max_bytes: int) -> dict[Figure, str]:
    """All figures as base64 PNG, all at the same resolution."""
    for dpi in _DPIS:
        images: dict[Figure, str] = {}
        with progress("drawing", len(set(figures)), "figures") as shown:
            for figure in dict.fromkeys(figures):
                images[figure] = _png(figure, dpi)
                shown.advance()
        size = sum(len(images[figure]) for figure in figures)
        if size <= max_bytes:
            return images
    raise DataFormatError(
        f"figures of a page must take {max_bytes:,} bytes or less in all. Received: {len(figures)} figures, "
        f"{size:,} bytes at {dpi} dpi (show fewer, or spread them over several pages)"
    )


def _png(figure: Figure, dpi: float) -> str:
    """A figure in 256 colours: plots do not need more, and it is a third of the size."""
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=dpi, facecolor="white")
    Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(small, "png")
    return base64.b64encode(small.getvalue()).decode()


def _block_markdown(block: Block) -> str:
    match block:
        case str():
            return _plain(block)
        case Items(items):
            return _lines(items)
        case DataTable():
            rows = [_row(block.header), "|" + "---|" * len(block.header), *(_row(row) for row in block.rows)]
            return f"{_plain(block.caption)}:\n\n" + "\n".join(rows)
        case FigureBlock(caption):
            return f"(figure: {_plain(caption)})"
        case Gallery(figures, title):
            heading = f"### {_plain(title)}\n\n" if title else ""
            return heading + _lines(f"(figure: {caption})" for caption in figures)


def _row(cells: Iterable[str | Cell]) -> str:
    items = [Cell(cell) if isinstance(cell, str) else cell for cell in cells]
    shown = [_marked(item.tone) + item.text + (f" ({item.note})" if item.note else "") for item in items]
    return "| " + " | ".join(_plain(text).replace("|", "\\|") for text in shown) + " |"


def _lines(items: Iterable[str]) -> str:
    return "\n".join(f"- {_plain(item)}" for item in items)


def _plain(text: str) -> str:
    """A text as one line of Markdown without HTML."""
    return re.sub(r"<(?=[A-Za-z/!])", r"\\<", " ".join(_defined(text).split()))


def _marked(tone: Tone) -> str:
    return f"{_MARKS[tone]} " if tone else ""


def _mark(tone: Tone) -> str:
    return f'<span class="mark" role="img" aria-label="{tone}:">{_MARKS[tone]}</span> ' if tone else ""


def _text(text: str) -> str:
    return escape(_defined(text))


def _defined(text: str) -> str:
    return _UNDEFINED.sub(NOT_DEFINED, text)


def _section_id(title: str) -> str:
    return "section-" + re.sub(r"\W+", "-", title.lower()).strip("-")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(sha256(text.encode()).digest()).decode()
