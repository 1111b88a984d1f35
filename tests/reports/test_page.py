"""The page: what it escapes, what it may weigh, how it sorts, that it needs nothing else."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from calogen.errors import DataFormatError
from calogen.reports.page import (
    Cell,
    DataTable,
    FigureBlock,
    Gallery,
    Items,
    Page,
    PageVerdict,
    build_html,
    build_markdown,
    number_text,
    write_page,
)

EVIL = '</style></script><script>alert("1")</script><img src=x onerror=alert(1)>'
VOID = {"meta", "img", "br"}


class Outline(HTMLParser):
    """Tags in order, their attributes, and the text of cells; fails on tags that are not closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def named(self, tag: str) -> list[dict[str, str | None]]:
        """Attributes of all such tags."""
        return [attributes for name, attributes in self.tags if name == tag]


def draw(size: float = 1.0) -> Figure:
    """A figure of one curve, in inches."""
    figure = Figure(figsize=(2 * size, size))
    axes = figure.subplots()
    axes.plot([0, 1], label="Geant4")
    axes.set(xlabel="$E_{true}$ [GeV]", ylabel="Showers", title="1 GeV")
    return figure


def build_page(text: str = "text") -> Page:
    """A page with every kind of block, and one text everywhere."""
    table = DataTable(text, (text, text), ((text, Cell(text, text, "good", text)), (text, text)))
    block = FigureBlock(text, draw(), text)
    gallery = Gallery({text: block.figure, f"{text} 2": draw()}, text)
    sections = {text: (text, Items((text,)), table), f"{text} 2": (block, gallery), "Nothing": ()}
    return Page(text, text, PageVerdict(text, "bad", ((text, text),), table), sections)


@pytest.mark.parametrize("text", ["text", EVIL])
def test_the_page_is_well_formed_and_needs_nothing_else(text: str) -> None:
    page = build_html(build_page(text))
    outline = Outline(page)
    assert len(outline.named("script")) == 1
    assert all(image["src"] and image["src"].startswith("data:image/png;base64,") for image in outline.named("img"))
    assert len(outline.named("img")) == 3
    ids = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
    assert len({*ids}) == len(ids)
    assert {link["href"] for link in outline.named("a")} <= {f"#{name}" for name in ids}
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:|#)|url\(|@import""", page)
    assert not [name for _, attributes in outline.tags for name in attributes if name.startswith(("on", "style"))]


def test_everything_is_escaped() -> None:
    page = build_html(build_page(EVIL))
    assert EVIL not in page
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert(&#34;1&#34;)") > 20
    assert "<script>" not in build_markdown(build_page(EVIL)).replace("\\<", "")


def test_only_our_script_and_style_may_run() -> None:
    policy = Outline(build_html(build_page())).named("meta")[1]["content"]
    assert policy is not None
    assert re.fullmatch(
        r"default-src 'none'; img-src data:; style-src 'sha256-.{44}'; script-src 'sha256-.{44}'; "
        "base-uri 'none'; form-action 'none'",
        policy,
    )


def test_sections_without_blocks_are_left_out_and_others_are_linked() -> None:
    outline = Outline(build_html(build_page()))
    names = [section["id"] for section in outline.named("details")]
    assert names == ["section-text", "section-text-2"]
    assert [link["href"] for link in outline.named("a")] == ["#main", *(f"#{name}" for name in names)]
    assert all("open" in section for section in outline.named("details"))


def test_headings_are_in_order() -> None:
    levels = [int(tag[1]) for tag, _ in Outline(build_html(build_page())).tags if re.fullmatch("h[1-6]", tag)]
    assert levels == [1, 2, 2, 2, 3]


def test_the_verdict_comes_first() -> None:
    page = build_html(build_page())
    assert page.index('<section id="verdict"') < page.index("<details")
    assert '<h2 id="headline"><span class="mark" role="img" aria-label="bad:">✗</span> text</h2>' in page


@pytest.mark.parametrize(
    ("cell", "key"),
    [
        ("12", "12"),
        ("-1.5e-3", "-1.5e-3"),
        ("275,973", "275973"),
        ("0.3 ± 0.02", "0.3"),
        ("4 GeV", None),
        ("arXiv:1", None),
        ("-", ""),
        ("nan", ""),
        (Cell("4 GeV", 4000.0), "4000.0"),
        (Cell("4 GeV", float("nan")), ""),
        (Cell("b", "a"), "a"),
        (Cell("b", tone="good"), "b"),
        (Cell("0.3 ± 0.1", note="floor"), "0.3"),
    ],
)
def test_sort_keys(cell: str | Cell, key: str | None) -> None:
    page = Page("P", "", PageVerdict("V"), {"S": (DataTable("T", ("a", "b"), (("x", cell),)),)})
    assert Outline(build_html(page)).named("td")[0].get("data-sort") == key


def test_only_tables_of_several_rows_have_buttons() -> None:
    rows = (("x",), ("y",))
    for table, number in (
        (DataTable("T", ("a",), rows), 1),
        (DataTable("T", ("a",), rows[:1]), 0),
        (DataTable("T", ("a",), rows, sortable=False), 0),
    ):
        page = build_html(Page("P", "", PageVerdict("V"), {"S": (table,)}))
        assert page.count('<th scope="col" aria-sort="none"><button type="button">a</button></th>') == number
        assert page.count('<th scope="row">') == len(table.rows)


def test_what_is_not_defined_is_said_so() -> None:
    texts = ("nan", "-inf", "nan ± nan", "0.3 ± nan", "finance, nano, a.nan, Inf")
    page = Page("P", "", PageVerdict("V"), {"S": (Items(texts),)})
    shown = ("not defined", "not defined", "not defined", "0.3 ± not defined", texts[-1])
    assert "".join(f"<li>{text}</li>" for text in shown) in build_html(page)
    assert "\n".join(f"- {text}" for text in shown) in build_markdown(page)
    shown = [number_text(value) for value in (None, float("nan"), 0.12345, 123456.7)]
    assert shown == ["-", "not defined", "0.123", "123,457"]


def test_images_are_drawn_smaller_until_they_fit() -> None:
    page = build_page()

    def images(limit: int) -> list[int]:
        return [len(image["src"] or "") for image in Outline(build_html(page, limit)).named("img")]

    large = images(10**6)
    limit = int(0.8 * sum(large))
    assert sum(images(limit)) <= limit + 3 * len("data:image/png;base64,")
    with pytest.raises(DataFormatError, match=r"figures .* must take 1,000 bytes .* Received: 3 figures, .* at 60 dpi"):
        images(1000)


def test_figures_have_a_size_and_words() -> None:
    page = Page("P", "", PageVerdict("V"), {"S": (FigureBlock("C", draw(2.0)),)})
    (image,) = Outline(build_html(page)).named("img")
    assert (image["width"], image["height"], image["loading"]) == ("384", "192", "lazy")
    assert image["alt"] == "Figure: 1 GeV; across: E_true [GeV]; up: Showers; shown: Geant4"
    bare = Page("P", "", PageVerdict("V"), {"S": (FigureBlock("C", Figure()),)})
    assert Outline(build_html(bare)).named("img")[0]["alt"] == "Figure"


def test_markdown() -> None:
    table = DataTable("T", ("a", "b"), (("x|y", Cell("1", tone="bad", note="of 2")),))
    figures = Gallery({"Fig. 2": draw()}, "More")
    sections = {"S": ("one\ntwo", table, FigureBlock("Fig. 1", draw()), figures), "Empty": ()}
    page = Page("Title", "Subtitle", PageVerdict("All well", "good", (("seeds", "2"),)), sections)
    assert build_markdown(page) == (
        "# Title\n\nSubtitle\n\n**✓ All well**\n\n- seeds: 2\n\n## S\n\none two\n\n"
        "T:\n\n| a | b |\n|---|---|\n| x\\|y | ✗ 1 (of 2) |\n\n"
        "(figure: Fig. 1)\n\n### More\n\n- (figure: Fig. 2)\n"
    )


def test_faults_are_named() -> None:
    with pytest.raises(DataFormatError, match="rows of the table 'T' must have 2 cells. Received: 1"):
        DataTable("T", ("a", "b"), (("x",),))
    with pytest.raises(
        DataFormatError, match="sections must have titles of their own. Received: section-a-b, section-a-b"
    ):
        Page("P", "", PageVerdict("V"), {"A b": (), "a: b": ()})


def test_symbols_have_subscripts_and_other_texts_stay() -> None:
    rows = (
        (r"$w_{s\,\mathrm{tot}}$ [strips]", "a"),
        (r"$\langle\lambda^2\rangle$ <b>", "$HOME"),
        (r"$R_\phi$", "1"),
        ("1 $HOME/x_y and $FOO", "1"),
    )
    page = Page("t", "", PageVerdict("v"), {"s": (DataTable("c", ("x", "y"), rows),)})
    html = build_html(page)
    for words in ("w<sub>s\xa0tot</sub> [strips]", "⟨λ²⟩ &lt;b&gt;", "R<sub>φ</sub>", "$HOME", "1 $HOME/x_y and $FOO"):
        assert words in html, words
    assert "| R_φ | 1 |" in build_markdown(page)


def test_figures_are_written_to_files_where_that_is_wanted(tmp_path: Path) -> None:
    drawn = Figure(figsize=(2, 1))
    drawn.subplots().plot([0, 1])
    page = Page("t", "", PageVerdict("v"), {"s": (Gallery({"Fig. 5: energy": drawn, "fig 5 energy": Figure((1, 1))}),)})
    write_page(tmp_path / "bare", page)
    assert sorted(path.name for path in (tmp_path / "bare").iterdir()) == ["report.html", "report.md"]
    write_page(tmp_path, page, "pdf")
    files = sorted((tmp_path / "figures").iterdir())
    assert [path.name for path in files] == ["fig-5-energy-1.pdf", "fig-5-energy.pdf"]
    assert all(path.read_bytes().startswith(b"%PDF") for path in files)


def test_long_captions_that_begin_alike_are_files_of_their_own(tmp_path: Path) -> None:
    long = "Energy in the layers " * 8
    page = Page("t", "", PageVerdict("v"), {"s": (Gallery({f"{long}{sign}": Figure((1, 1)) for sign in ".:"}),)})
    write_page(tmp_path, page, "svg")
    assert len(list((tmp_path / "figures").iterdir())) == 2
    write_page(tmp_path, Page("t", "", PageVerdict("v"), {"s": (Gallery({"Centre in η": Figure((1, 1))}),)}), "svg")
    assert (tmp_path / "figures" / "centre-in-eta.svg").exists()


def test_a_folded_gallery_opens_by_its_title() -> None:
    figures = {"a": Figure((1, 1))}
    page = Page("t", "", PageVerdict("v"), {"s": (Gallery(figures, "All layers", True), Gallery(figures, "Few"))})
    html = build_html(page)
    assert '<details class="folded"><summary><h3>All layers</h3></summary>' in html
    assert "<h3>Few</h3>" in html.partition("</details>")[2]
