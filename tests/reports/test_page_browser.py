"""The page in a browser: by mouse and by keyboard, on a phone, without a network, on paper."""

import base64
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from calogen.reports.page import Cell, DataTable, Gallery, Items, Page, PageVerdict, build_html

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.needs_browser,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromium-driver are not installed"),
]

DISTANCES = (("b", "9.5"), ("a", "10.25 ± 0.1"), ("d", "-"), ("c", "-2e3"))
LONG = "a_long_name_without_any_space_that_no_phone_has_room_for_in_one_line"


def build_page() -> Page:
    """A page with tables wider and figures larger than a phone."""
    figure = Figure(figsize=(14, 4))
    figure.subplots(1, 3)[0].plot([0, 1])
    wide = DataTable("Wide", tuple(f"column {i}" for i in range(12)), (tuple(["0.1234 ± 0.0001"] * 12),) * 40)
    claims = DataTable("Claims", ("claim", "verdict"), (("It holds " * 20, Cell("no", tone="bad", note=LONG)),) * 2)
    sections = {
        "Table": ("words " * 60, DataTable("Distances", ("name", "distance"), DISTANCES), claims),
        "Wide": (wide, Items((LONG, "item"))),
        "Figures": (Gallery({"First": figure, "Second": Figure()}, "All"), Gallery({"Third": Figure()}, "More", True)),
    }
    worst = DataTable("Worst", ("observable", "distance", "limit"), ((LONG, "0.3", "0.1"), ("width", "0.2", "0.1")))
    return Page(
        "A report " + LONG, LONG, PageVerdict("One of two claims holds", "bad", (("device", LONG),), worst), sections
    )


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's file."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(build_html(build_page()), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a network."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for option in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"):
        options.add_argument(f"--{option}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(DRIVER)
    with webdriver.Chrome(options, service) as driver:
        driver.execute_cdp_cmd("Network.enable", {})
        offline = {"offline": True, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        driver.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
        yield driver


@pytest.fixture
def page(browser: Any, path: Path) -> Iterator[Any]:
    """The freshly opened page; its test fails if the console holds an error."""
    resize(browser, 1280)
    browser.get(path.as_uri())
    browser.get_log("browser")
    browser.refresh()
    yield browser
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def resize(browser: Any, width: int) -> None:
    """Give the window a width; a narrow one is a phone."""
    metrics = {"width": width, "height": 740, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def texts(page: Any, selector: str) -> list[str]:
    return [element.text for element in page.find_elements(By.CSS_SELECTOR, selector)]


def press(page: Any, *keys: str) -> Any:
    """Press keys where the focus is, and say where it is then."""
    page.switch_to.active_element.send_keys(*keys)
    return page.switch_to.active_element


def test_the_first_key_skips_to_the_verdict(page: Any) -> None:
    page.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    link = page.switch_to.active_element
    assert link.text == "Skip to the verdict"
    assert link.rect["x"] >= 0
    assert press(page, Keys.ENTER).get_attribute("id") == "main"


def test_figures_load_and_have_words(page: Any) -> None:
    page.execute_script("document.querySelectorAll('img').forEach((image) => { image.loading = 'eager'; })")
    loaded = "Promise.all([...document.images].map((i) => i.decode().then(() => [i.naturalWidth, i.alt]))).then(done)"
    images = page.execute_async_script(f"const done = arguments[0]; {loaded}")
    assert len(images) == 3
    assert all(width > 0 and alt for width, alt in images)


def test_a_figure_opens_large_and_closes_by_key(page: Any) -> None:
    button = page.find_element(By.CSS_SELECTOR, "figure button")
    assert button.get_attribute("aria-label") == "Enlarge: First"
    button.send_keys(Keys.ENTER)
    viewer = page.find_element(By.ID, "viewer")
    assert viewer.is_displayed()
    assert viewer.find_element(By.TAG_NAME, "img").get_attribute("alt")
    assert press(page, Keys.ESCAPE).get_attribute("aria-label") == "Enlarge: First"
    assert not viewer.is_displayed()
    page.find_element(By.CSS_SELECTOR, "figure img").click()
    assert viewer.is_displayed()
    viewer.find_element(By.TAG_NAME, "button").click()
    assert not viewer.is_displayed()


def test_sections_fold_by_key_and_all_at_once(page: Any) -> None:
    sections = page.find_elements(By.CSS_SELECTOR, "main > details")
    summary = sections[0].find_element(By.TAG_NAME, "summary")
    for key, is_open in ((Keys.ENTER, False), (Keys.SPACE, True)):
        summary.send_keys(key)
        assert sections[0].get_property("open") is is_open
    toggle = page.find_element(By.ID, "toggle")
    for before, after in (("Collapse all", False), ("Expand all", True), ("Collapse all", False)):
        # the browser tells the page of folded sections when it has time for it
        WebDriverWait(page, 30).until(lambda _, text=before: toggle.text == text)
        toggle.click()
        assert {section.get_property("open") for section in sections} == {after}
    page.find_element(By.LINK_TEXT, "Wide").click()
    assert [section.get_property("open") for section in sections] == [False, True, False]


@pytest.mark.parametrize("by_key", [False, True])
def test_tables_sort_by_number(page: Any, by_key: bool) -> None:
    table = page.find_element(By.CSS_SELECTOR, "#section-table table")
    name, distance = table.find_elements(By.CSS_SELECTOR, "th button")
    for button, order, expected in (
        (distance, "ascending", "cbad"),
        (distance, "descending", "abcd"),
        (name, "ascending", "abcd"),
        (name, "descending", "dcba"),
    ):
        button.send_keys(Keys.ENTER) if by_key else button.click()
        assert "".join(row.text for row in table.find_elements(By.CSS_SELECTOR, "tbody th")) == expected
        orders = [header.get_attribute("aria-sort") for header in table.find_elements(By.CSS_SELECTOR, "thead th")]
        assert orders == [order if other is button else "none" for other in (name, distance)]
        assert page.find_element(By.ID, "status").get_property("textContent") == f"Sorted by {button.text}, {order}"


@pytest.mark.parametrize("width", [320, 360, 768, 1280])
def test_nothing_is_wider_than_the_window(page: Any, width: int) -> None:
    resize(page, width)
    assert page.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    tables = page.find_elements(By.CSS_SELECTOR, ".scroll")
    assert all(table.get_attribute("tabindex") == "0" for table in tables)


def test_on_a_phone_a_figure_keeps_its_size_and_scrolls_within_itself(page: Any) -> None:
    resize(page, 400)
    image, frame = (page.find_element(By.CSS_SELECTOR, f"figure {tag}") for tag in ("img", ".frame"))
    assert image.rect["width"] >= 14 * 96, "letters are as large as on a desk"
    assert frame.rect["width"] < 400
    page.execute_script("arguments[0].scrollLeft = 500", frame)
    assert frame.get_property("scrollLeft") == 500


def test_a_folded_gallery_opens_by_key(page: Any) -> None:
    folded = page.find_element(By.CSS_SELECTOR, "details.folded")
    assert not folded.find_element(By.TAG_NAME, "figure").is_displayed()
    folded.find_element(By.TAG_NAME, "summary").send_keys(Keys.ENTER)
    assert folded.find_element(By.TAG_NAME, "figure").is_displayed()


def test_headings_are_in_order(page: Any) -> None:
    levels = [int(item.tag_name[1]) for item in page.find_elements(By.CSS_SELECTOR, "h1, h2, h3, h4, h5, h6")]
    assert levels[0] == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))
    assert texts(page, "h2")[0].endswith("One of two claims holds")


def test_the_dark_look_is_dark(page: Any) -> None:
    dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
    grounds = [
        page.execute_script(f"return getComputedStyle(document.querySelector('{tag}')).backgroundColor")
        for tag in ("body", "figure img")
    ]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert grounds == ["rgb(20, 24, 28)", "rgb(255, 255, 255)"]


def test_paper_holds_all_sections(page: Any) -> None:
    def print_page() -> bytes:
        return base64.b64decode(page.execute_cdp_cmd("Page.printToPDF", {})["data"])

    opened = print_page()
    page.find_element(By.ID, "toggle").click()
    folded = print_page()
    assert opened.startswith(b"%PDF")
    assert folded.count(b"/Type /Page\n") == opened.count(b"/Type /Page\n") > 1
    assert {section.get_property("open") for section in page.find_elements(By.TAG_NAME, "details")} == {False}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert page.find_element(By.CSS_SELECTOR, "#section-figures figcaption").rect["height"] > 0, (
        "without the script too"
    )
    assert not page.find_element(By.TAG_NAME, "nav").is_displayed()
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
