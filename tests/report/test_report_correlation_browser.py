"""The charts of correlation in Debian's chromium: all drawn, redrawn by their selectors, no hostile name runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from correlation_store import CONSTANT, NEURONS, make_correlation_store, make_hostile
from report_store import HOSTILE

from pipeline.report import load_report_data, render_report
from pipeline.report.model_similarity import N_BINS

CHROMIUM = "/usr/bin/chromium"
pytestmark = pytest.mark.browser
if not Path(CHROMIUM).exists():
    pytest.skip(f"no browser: {CHROMIUM} is not installed (apt-get install chromium)", allow_module_level=True)
sync_api = pytest.importorskip("playwright.sync_api", reason="no browser driver: pip install playwright")

#: What says of each part that its chart is drawn.
DRAWN = {
    "redundancy": "#redundancy-charts .scatterlayer path.js-line",
    "clusters": "#cluster-chart .hm image",
    "spans": "#spans-charts .scatterlayer path.js-line",
    "dimensions": "#dimensions-charts .scatterlayer path.js-line",
    "similarity": "#similarity-chart .hm image",
    "matches": "#matches-charts .barlayer .point",
    "neuron-map": "#map-chart .scatterlayer .point",
}


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield running
        running.close()


LINK = "<a href='javascript:window.hacked=1'>x</a><b>y</b>"


@pytest.fixture(scope="module", params=[None, HOSTILE, LINK], ids=["plain", "hostile", "link"])
def page(request: pytest.FixtureRequest, browser: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """The open page with all charts drawn; afterwards nothing was logged, raised or requested, and no name ran."""
    store = make_correlation_store(n_concepts=4)
    if request.param:
        make_hostile(store, request.param)
    path = render_report(load_report_data(store), tmp_path_factory.mktemp("report") / "report.html")
    opened = browser.new_page()
    complaints: list[str] = []
    opened.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    opened.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    opened.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
    opened.on(
        "request",
        lambda sent: None if sent.url.startswith(("file:", "data:", "blob:")) else complaints.append(sent.url),
    )
    opened.goto(path.as_uri())
    for part, drawn in DRAWN.items():
        opened.locator(f"#{part}").scroll_into_view_if_needed()
        opened.wait_for_selector(drawn, state="attached")
    opened.name = request.param
    yield opened
    assert opened.evaluate("window.hacked") is None
    assert opened.locator("#correlation img, #correlation .chart a").count() == 0
    assert complaints == []
    opened.close()


def test_every_chart_is_drawn_with_its_lines_and_points(page: object) -> None:
    assert page.locator("#redundancy-charts .chart").count() == 3
    lines = page.locator("#redundancy-charts .chart:nth-child(2) .scatterlayer path.js-line")
    assert lines.count() == 7 + 1
    assert page.locator("#dimensions-charts .chart").count() == 2
    ticks = page.locator("#dimensions-charts .chart:first-child .xtick text").all_text_contents()
    assert ticks == [str(layer) for layer in range(7)]
    assert page.locator("#map-chart .scatterlayer .point").count() == len(NEURONS) - len(CONSTANT)
    assert page.locator("#cluster-table tbody tr").count() > 5


def test_the_cluster_map_has_a_colour_in_every_cell(page: object) -> None:
    z = page.evaluate("document.getElementById('cluster-chart').data[0].z")
    assert len(z) > 80
    assert {len(row) for row in z} == {len(z)}
    assert all(0 <= value <= 1 for row in z for value in row)
    assert all(row[i] == 1 for i, row in enumerate(z))


def test_scores_and_their_nulls_are_two_histograms_in_the_same_bins(page: object) -> None:
    page.locator("#matches-choice").select_option("0")
    charts = page.locator("#matches-charts .chart")
    assert charts.count() == 2
    for number in range(2):
        drawn = charts.nth(number).evaluate("node => node.data.map(({ x, y, width }) => ({ x, y, width }))")
        assert [len(series["y"]) for series in drawn] == [N_BINS, N_BINS]
        assert drawn[0]["x"] == drawn[1]["x"]
        assert all(sum(series["y"]) == pytest.approx(1) for series in drawn)
        assert charts.nth(number).locator(".barlayer .trace").count() == 2
        assert charts.nth(number).locator(".legendtext").all_text_contents() == ["scores", "null: shuffled rows"]
    text = page.locator("#matches-null").inner_text()
    assert "null median 0." in text
    assert "largest 0." in text


def test_selectors_redraw(page: object) -> None:
    choice = page.locator("#similarity-choice")
    before = page.locator("#similarity-null").inner_text()
    assert "median" in before
    assert "25,000 rows" in before
    choice.select_option("1")
    assert page.locator("#similarity-null").inner_text() != before
    title = "#spans-charts .chart .gtitle"
    assert page.locator(title).count() == 1
    page.locator("#spans-linkage").select_option("2")
    page.wait_for_selector(title)
    shown = page.locator(title).first.text_content()
    assert shown == (page.name or "all components")
    meaning = page.locator("#matches-meaning").inner_text()
    page.locator("#matches-choice").select_option("1")
    assert page.locator("#matches-meaning").inner_text() != meaning


def test_hover_names_both_neurons_and_the_clusters(page: object) -> None:
    page.locator("#clusters").scroll_into_view_if_needed()
    box = page.locator("#cluster-chart .hm image").bounding_box()
    page.mouse.move(box["x"] + 0.1 * box["width"], box["y"] + 0.3 * box["height"])
    text = page.wait_for_selector("#cluster-chart .hoverlayer .hovertext").text_content()
    assert "cluster 1" in text
    assert "r " in text
    assert text.count(":") >= 4


def test_colours_follow_the_scheme_and_a_narrow_window_does_not_overflow(page: object) -> None:
    label = "#dimensions-charts .gtitle"
    before = page.locator(label).first.evaluate("n => getComputedStyle(n).fill")
    page.click("#theme")
    assert page.locator(label).first.evaluate("n => getComputedStyle(n).fill") != before
    page.set_viewport_size({"width": 390, "height": 800})
    page.wait_for_timeout(400)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
