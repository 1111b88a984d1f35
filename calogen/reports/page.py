"""Pages of reports: an HTML file that needs no other file, and the same in Markdown.

A page consists of blocks, which know nothing of any paper. It works without a network, by keyboard, on a phone, in dark
mode and in print. Its style is `templates/page.css`, its script `templates/page.js`; the page allows no others.

Example:
    >>> table = DataTable("Masses", ("particle", "MeV"), (("electron", "0.511"), ("pion", "139.6")))
    >>> page = Page("Particles", "", PageVerdict("Both are known", "good"), {"Numbers": (table,)})
    >>> build_html(page).count("<tr>")
    3
"""

import base64
import html
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from matplotlib.figure import Figure
from PIL import Image

from calogen.errors import DataFormatError
from calogen.files import FigureFormat, atomic_path, write_text
from calogen.metrics.distributions import rounded
from calogen.progress import progress

Tone = Literal["good", "bad", "unsure", ""]

NOT_DEFINED = "not defined"
MAX_IMAGE_BYTES = 12_000_000
"""Size of all figures of a page, as its HTML file holds them, that is not exceeded."""

_DPIS = (150, 125, 100, 80, 60)  # the first at which the figures keep within the limit is used
_MARKS: Mapping[Tone, str] = {"good": "✓", "bad": "✗", "unsure": "?"}
_UNDEFINED = re.compile(r"(?<![\w.])-?(?:nan|inf)(?: ± (?:nan|inf))?(?!\w)")
_MATH = re.compile(r"\$([^$\s](?:[^$]*[^$\s])?)\$")  # a symbol as matplotlib writes it
_SYMBOLS = {
    **{rf"\{name}": letter for name, letter in {"eta": "η", "phi": "φ", "lambda": "λ", "sigma": "σ"}.items()},
    **{r"\langle": "⟨", r"\rangle": "⟩", r"\,": "\N{NO-BREAK SPACE}", "^2": "²"},
}
_NUMBER = re.compile(r"(-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?)(?: ± .*)?")


@dataclass(frozen=True)
class Cell:
    """A cell of a table that has more than a text.

    Args:
        text: what the cell shows.
        sort: the key for sorting the column; None: the number that the text is, or the text itself.
        tone: gives the cell a mark and a colour.
        note: small print below the text.
    """

    text: str
    sort: float | str | None = None
    tone: Tone = ""
    note: str = ""


@dataclass(frozen=True)
class Items:
    """A bulleted list of sentences."""

    texts: tuple[str, ...]


@dataclass(frozen=True)
class DataTable:
    """A table; the first cell of a row names the row.

    Args:
        caption: its title.
        header: titles of the columns.
        rows: cells of each row; a plain text stands for `Cell(text)`.
        sortable: whether the reader can sort the table.

    Raises:
        DataFormatError: a row does not have one cell for each column.
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
    """A figure; `alt` describes it to the blind, or else its axes and legends do."""

    caption: str
    figure: Figure
    alt: str = ""


@dataclass(frozen=True)
class Gallery:
    """Figures by caption, side by side if there is room, below an optional title.

    A `folded` gallery shows its title alone until the reader opens it.
    """

    figures: Mapping[str, Figure]
    title: str = ""
    folded: bool = False


PageBlock = str | Items | DataTable | FigureBlock | Gallery
"""A part of a section; a text is a paragraph."""


@dataclass(frozen=True)
class PageVerdict:
    """The first part of a page, which says what came out.

    Args:
        headline: the result in one sentence.
        tone: whether the result is good.
        facts: a few numbers as texts, each with its label in front.
        worst: a table of what to look at first, e.g. the worst observables.
    """

    headline: str
    tone: Tone = ""
    facts: tuple[tuple[str, str], ...] = ()
    worst: DataTable | None = None


@dataclass(frozen=True)
class Page:
    """A report: title, a line below it, the verdict, and the sections by title, in order.

    Readers can fold a section; a section without blocks is not shown.

    Raises:
        DataFormatError: titles of two sections differ in case and punctuation only.
    """

    title: str
    subtitle: str
    verdict: PageVerdict
    sections: Mapping[str, tuple[PageBlock, ...]]

    def __post_init__(self) -> None:
        names = [_section_id(title) for title in self.sections]
        if len({*names}) < len(names):
            raise DataFormatError(f"sections must have titles of their own. Received: {', '.join(names)}")

    @property
    def filled(self) -> dict[str, tuple[PageBlock, ...]]:
        """The sections that have blocks."""
        return {title: blocks for title, blocks in self.sections.items() if blocks}


def number_text(value: float | None, digits: int = 3) -> str:
    """A number as pages show it: `-` for None, `not defined` for NaN and infinity."""
    if value is None:
        return "-"
    return rounded(value, digits=digits) if math.isfinite(value) else NOT_DEFINED


def build_html(page: Page, max_image_bytes: int = MAX_IMAGE_BYTES) -> str:
    """The page as one HTML file.

    Args:
        page: the page to show.
        max_image_bytes: largest size of all figures together, as the HTML file holds them.

    Raises:
        DataFormatError: the figures are larger even at the lowest sensible resolution.
    """
    images = _draw([*_captioned(page).values()], max_image_bytes)
    style, script = (_LOADER.get_source(_ENVIRONMENT, name)[0] for name in ("page.css", "page.js"))
    return render("page.html.j2", page=page, sections=page.filled, images=images, style=style, script=script)


def build_markdown(page: Page) -> str:
    """The page as Markdown, for terminals; figures are represented by their captions."""
    return render("page.md.j2", page=page, sections=page.filled)


def render(template: str, **values: object) -> str:
    """A file of `templates`, filled in with these values."""
    return _ENVIRONMENT.get_template(template).render(marks=_MARKS, **values)


def write_page(directory: Path, page: Page, figures: FigureFormat | None = None) -> Path:
    """Write `report.html` and `report.md`; gives the path of `report.html`.

    Args:
        directory: where to write.
        page: the page.
        figures: format in which every figure is also written to a file of its own, in `figures/`; None: in none.

    Raises:
        DataFormatError: the figures are too large for one page.
    """
    text, drawn = build_html(page), _captioned(page) if figures else {}
    write_text(directory / "report.md", build_markdown(page))
    write_text(directory / "report.html", text)
    with progress("writing", len(drawn), f"files ({figures})") as shown:
        for caption, figure in drawn.items():
            with atomic_path(directory / "figures" / f"{_slug(caption)}.{figures}") as temporary:
                figure.savefig(temporary, format=figures, dpi=_DPIS[0])
            shown.advance()
    return directory / "report.html"


def verdict_text(verdict: PageVerdict, path: Path) -> str:
    """What a terminal shows of a verdict: its headline and facts, and the path of the page."""
    mark = f"{_MARKS[verdict.tone]} " if verdict.tone else ""
    facts = [f"  {label}: {value}" for label, value in verdict.facts]
    return "\n".join([_defined(line) for line in (mark + verdict.headline, *facts)] + [str(path)])


def _sort_key(cell: Cell) -> float | str | None:
    """The key for sorting a cell. Empty: the cell comes last; None: its text is the key."""
    if isinstance(cell.sort, str):
        return cell.sort
    if cell.sort is not None:
        return cell.sort if math.isfinite(cell.sort) else ""
    if (shown := _defined(cell.text)) in ("", "-") or shown.startswith(NOT_DEFINED):
        return ""
    number = _NUMBER.fullmatch(cell.text)
    return number[1].replace(",", "") if number else cell.text if cell.tone or cell.note else None


def _describe(figure: Figure) -> str:
    """A figure's titles, axes and curves in words, for readers who cannot see it."""
    parts: dict[str, list[str]] = {"Figure": [], "across": [], "up": [], "shown": []}
    for axes in figure.axes:
        parts["Figure"].append(axes.get_title(loc="left") or axes.get_title())
        parts["across"].append(axes.get_xlabel())
        parts["up"].append(axes.get_ylabel())
        parts["shown"] += axes.get_legend_handles_labels()[1]
    words = {key: dict.fromkeys(re.sub(r"[${}\\]", "", name) for name in names if name) for key, names in parts.items()}
    return "; ".join(f"{key}: {', '.join(names)}" for key, names in words.items() if names) or "Figure"


def _captioned(page: Page) -> dict[str, Figure]:
    """The figures of a page by caption; a caption that occurs again is numbered."""
    found: dict[str, Figure] = {}
    for block in (block for blocks in page.sections.values() for block in blocks):
        given = block.figures if isinstance(block, Gallery) else {}
        if isinstance(block, FigureBlock):
            given = {block.caption: block.figure}
        for caption, figure in given.items():
            same = sum(_slug(known) == _slug(caption) for known in found)
            found[f"{caption} {len(found)}" if same else caption] = figure
    return found


def _slug(caption: str) -> str:
    """A caption as the name of a file, in the letters that LaTeX takes."""
    for letter, name in (("η", "eta"), ("φ", "phi"), ("λ", "lambda"), ("σ", "sigma")):
        caption = caption.replace(letter, name)
    name, _, number = re.sub(r"\W+", "-", caption.lower(), flags=re.ASCII).strip("-").rpartition("-")
    return f"{name[:100]}-{number[:20]}" if name else number[:100]


def _draw(figures: Sequence[Figure], max_bytes: int) -> dict[Figure, str]:
    """All figures as base64-encoded PNG, at the highest resolution that keeps within a limit."""
    size, tried = 0, _DPIS[0]
    for dpi in _DPIS:
        if size * dpi / tried > max_bytes and dpi != _DPIS[-1]:
            continue  # images shrink about as their resolution does
        images: dict[Figure, str] = {}
        with progress("drawing", len(set(figures)), "figures") as shown:
            for figure in dict.fromkeys(figures):
                images[figure] = _png(figure, dpi)
                shown.advance()
        size, tried = sum(len(images[figure]) for figure in figures), dpi
        if size <= max_bytes:
            return images
    raise DataFormatError(
        f"figures of a page must take {max_bytes:,} bytes or less in all. Received: {len(figures)} figures, "
        f"{size:,} bytes at {dpi} dpi (show fewer, or spread them over several pages)"
    )


def _png(figure: Figure, dpi: float) -> str:
    """A figure as PNG of 256 colours: plots do not need more, and its size is a third."""
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=dpi, facecolor="white")
    Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(small, "png")
    return base64.b64encode(small.getvalue()).decode()


def _marked(cell: Cell) -> str:
    """A cell's mark, text and note as one text."""
    return (f"{_MARKS[cell.tone]} " if cell.tone else "") + cell.text + (f" ({cell.note})" if cell.note else "")


def _typeset(text: str) -> str:
    """A text as HTML: matplotlib's symbols become letters with subscripts."""
    shown = _MATH.sub(lambda found: _letters(found[1]), html.escape(_defined(text)))
    return re.sub(r"\x00\{(.*?)\x01", r"<sub>\1</sub>", shown)


def _letters(math_text: str) -> str:
    """A symbol of matplotlib's in plain letters, subscripts between marks."""
    text = re.sub(r"\\mathrm\{(\w+)\}", r"\1", math_text)
    for name, letter in _SYMBOLS.items():
        text = text.replace(name, letter)
    return re.sub(r"_(?:\{([^}]*)\}|(\w))", lambda found: f"\x00{{{found[1] or found[2]}\x01", text)


def _plain(text: str) -> str:
    """A text as one line of Markdown without HTML."""
    text = _MATH.sub(lambda found: _letters(found[1]).replace("\x00{", "_").replace("\x01", ""), text)
    return re.sub(r"<(?=[A-Za-z/!])", r"\\<", " ".join(_defined(text).split()))


def _defined(text: str) -> str:
    return _UNDEFINED.sub(NOT_DEFINED, text)


def _section_id(title: str) -> str:
    return f"section-{_slug(title)}"


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(sha256(text.encode()).digest()).decode()


_LOADER = PackageLoader("calogen.reports")
_ENVIRONMENT = Environment(
    loader=_LOADER,
    autoescape=select_autoescape(["html.j2"]),
    finalize=lambda value: _defined(value) if type(value) is str else value,
    keep_trailing_newline=True,
    lstrip_blocks=True,
    trim_blocks=True,
    undefined=StrictUndefined,
)
_ENVIRONMENT.tests |= {
    "gallery": lambda block: isinstance(block, Gallery),
    "items": lambda block: isinstance(block, Items),
    "table": lambda block: isinstance(block, DataTable),
}
_ENVIRONMENT.filters |= {
    "column": lambda text: text.replace("|", "\\|").replace("\n", " "),
    "cell": lambda cell: Cell(cell) if isinstance(cell, str) else cell,
    "describe": _describe,
    "hash": _hash,
    "marked": _marked,
    "plain": _plain,
    "section_id": _section_id,
    "sort_key": _sort_key,
    "typeset": _typeset,
}
