"""The page in Debian's chromium: no error, no request, contexts visible, charts drawn, hostile text inert."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from report_store import BIDI_HOSTILE, HOSTILE, RTL, TEMPLATE_HOSTILE, make_store

from pipeline.report import load_report_data, render_report

CHROMIUM = "/usr/bin/chromium"
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
pytestmark = pytest.mark.browser
if not Path(CHROMIUM).exists():
    pytest.skip(f"no browser: {CHROMIUM} is not installed (apt-get install chromium)", allow_module_level=True)
sync_api = pytest.importorskip("playwright.sync_api", reason="no browser driver: pip install playwright")


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield running
        running.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    sentences = ((HOSTILE, "said", TEMPLATE_HOSTILE), RTL, (BIDI_HOSTILE, "hello"))
    names = (HOSTILE, TEMPLATE_HOSTILE, "<a href='javascript:window.hacked=1'>x</a>", "שם=עצם", BIDI_HOSTILE)
    store = make_store(14, extra_concepts=names, extra_sentences=sentences, undefined=("upos=VERB",))
    return render_report(load_report_data(store), tmp_path_factory.mktemp("report") / "report.html").as_uri()


@pytest.fixture
def page(request: pytest.FixtureRequest, browser: object, report: str) -> Iterator[object]:
    """The open page; afterwards: nothing was logged, raised or requested, and no hostile text ran."""
    opened = browser.new_page(color_scheme=getattr(request, "param", "light"))
    complaints: list[str] = []
    opened.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    opened.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    opened.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
    opened.on(
        "request",
        lambda sent: None if sent.url.startswith(("file:", "data:", "blob:")) else complaints.append(sent.url),
    )
    opened.goto(report)
    opened.wait_for_selector("#heat-chart .heatmaplayer image, #heat-chart .hm image", state="attached")
    yield opened
    assert opened.evaluate("window.hacked") is None
    assert complaints == []
    opened.close()


@pytest.mark.parametrize("page", ["light", "dark"], indirect=True)
def test_contexts_are_visible_with_their_colours(page: object) -> None:
    neuron = page.locator("#concept-upos-num .neuron").first
    neuron.scroll_into_view_if_needed()
    assert neuron.locator(".contexts li").count() == 5
    focus = neuron.locator(".kwic b i").first
    assert focus.is_visible()
    assert focus.evaluate("n => getComputedStyle(n).outlineStyle") == "solid"
    assert focus.evaluate("n => getComputedStyle(n).backgroundColor") not in ("transparent", "rgba(0, 0, 0, 0)")
    focus.hover()
    assert focus.evaluate("n => getComputedStyle(n, '::after').content") == f'"{focus.get_attribute("data-v")}"'


@pytest.mark.parametrize("page", ["light", "dark"], indirect=True)
def test_charts_are_drawn(page: object) -> None:
    assert page.locator("#heat-chart .xaxislayer-above text").count() > 0
    labels = page.locator("#heat-chart .yaxislayer-above text").all_text_contents()
    assert len(labels) == 19
    assert "upos=NUM" in labels
    assert page.locator("#layers-chart .bars .point").count() == 13


def test_charts_show_hostile_names_as_text(page: object) -> None:
    assert page.locator("#heat-chart a, #heat-chart img").count() == 0
    labels = page.locator("#heat-chart .yaxislayer-above text").all_text_contents()
    assert any(label.startswith("</script><img") for label in labels)
    assert any(label.startswith("<a href=") for label in labels)


def test_search_filters_table_sections_and_heat_map(page: object) -> None:
    page.fill("#search", "noun")
    sync_api.expect(page.locator("#concept-table tbody tr")).to_have_count(1)
    assert page.locator(".concept:visible").count() == 1
    assert page.locator("#found").inner_text() == "1 / 19"
    page.fill("#search", "no such concept")
    page.wait_for_selector("#nothing:visible")
    page.evaluate("location.hash = 'concept-upos-det'")
    page.wait_for_selector("#concept-upos-det:visible")
    assert page.locator("#concept-table tbody tr").count() == 19


def test_table_sorts_and_follows_the_method(page: object) -> None:
    def column(k: int) -> list[str]:
        cells = page.locator(f"#concept-table tbody tr td:nth-child({k})").all_inner_texts()
        return [text for text in cells if text != "undefined"]

    scores = [float(text) for text in column(7)]
    assert scores == sorted(scores, reverse=True)
    page.click("#concept-table th button:text-is('rows')")
    rows = [int(text.replace(",", "")) for text in column(2)][:-1]
    assert rows == sorted(rows, reverse=True)
    page.click("#concept-table th button:text-is('rows')")
    assert page.locator("#concept-table th[aria-sort=ascending]").inner_text().startswith("rows")
    page.select_option("#method", label="AUROC")
    assert all(0.5 <= float(text) <= 1 for text in column(7))
    assert page.locator(".method-title").first.inner_text() == "AUROC"


def test_a_click_on_the_heat_map_leads_to_the_concept(page: object) -> None:
    page.locator("#heat-chart").scroll_into_view_if_needed()
    box = page.locator("#heat-chart .shapelayer path").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_selector("#heat-chart .hoverlayer .hovertext")
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    sync_api.expect(page).to_have_url(re.compile("#concept-"))


def test_scheme_button_and_narrow_screen(page: object) -> None:
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.click("#theme")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    page.set_viewport_size({"width": 390, "height": 800})
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_three_hundred_concepts_open_quickly(browser: object, tmp_path: Path) -> None:
    path = render_report(load_report_data(make_store(300)), tmp_path / "report.html")
    opened = browser.new_page()
    opened.goto(path.as_uri())
    sync_api.expect(opened.locator("#heat-chart .yaxislayer-above text")).to_have_count(300, timeout=20_000)
    assert opened.locator("#concept-table tbody tr").count() == 300
    opened.close()
