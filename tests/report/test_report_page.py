"""The page: self-contained, escaped, deterministic, bounded."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report_store import BIDI_HOSTILE, HOSTILE, RTL, TEMPLATE_HOSTILE, make_store

from pipeline.report import load_report_data, render_page, render_report
from schemas.errors import StoreError


class Elements(HTMLParser):
    """Start tags with attributes, the text of each script, and all text outside of scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_data(self, text: str) -> None:
        if self.tags and self.tags[-1][0] == "script" and self.cdata_elem == "script":
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + text)
        elif self.cdata_elem is None:
            self.text += text


@pytest.fixture(scope="module")
def hostile_page() -> str:
    sentences = ((HOSTILE, "said", TEMPLATE_HOSTILE), RTL, (BIDI_HOSTILE, "hello"))
    names = (HOSTILE, TEMPLATE_HOSTILE, "שם=עצם", BIDI_HOSTILE)
    store = make_store(4, extra_concepts=names, extra_sentences=sentences, undefined=("upos=VERB",))
    store.execute("update documents set document = ?", [HOSTILE])
    return render_page(load_report_data(store, title=HOSTILE))


def test_hostile_text_is_text(hostile_page: str) -> None:
    elements = Elements(hostile_page)
    assert [tag for tag, _ in elements.tags if tag in ("img", "iframe", "object", "embed", "base")] == []
    assert len(elements.scripts) == 3
    assert not any(name.startswith("on") for _, attrs in elements.tags for name in attrs)
    assert elements.text.count(HOSTILE) >= 3
    assert TEMPLATE_HOSTILE in elements.text
    assert "49" not in re.findall(r"<bdi>(.*?)</bdi>", hostile_page)


def test_no_control_characters_reach_the_page(hostile_page: str) -> None:
    ours = hostile_page[: hostile_page.rindex("<script>", 0, hostile_page.index("plotly.js v"))]
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", ours)
    assert "�gnp.exe␛[2J␇␀�31m" in ours


def test_right_to_left_contexts_say_so(hostile_page: str) -> None:
    assert 'dir="rtl"><span class="before">' in hostile_page.replace("\n", "")


def test_nothing_is_loaded_and_only_our_scripts_may_run(hostile_page: str) -> None:
    elements = Elements(hostile_page)
    for tag, attrs in elements.tags:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            assert attrs.get(name, "#")[:1] == "#" or (tag, attrs[name]) == ("link", "data:,")
    [policy] = [
        a["content"] for t, a in elements.tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    runnable = [text for attrs, text in elements.scripts if "type" not in attrs]
    assert len(runnable) == 2
    for script in runnable:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
        assert "<!--" not in script


def test_figures_are_readable_json(hostile_page: str) -> None:
    [figures] = [json.loads(text) for attrs, text in Elements(hostile_page).scripts if attrs.get("id") == "figures"]
    assert HOSTILE in [name for name, _, _ in figures["concepts"]]


def test_every_concept_has_a_section_and_every_link_a_target(hostile_page: str) -> None:
    elements = Elements(hostile_page)
    ids = [a["id"] for _, a in elements.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert sum(a.get("class") == "concept" for _, a in elements.tags) == 8
    links = [a["href"] for t, a in elements.tags if t == "a"]
    assert {link.removeprefix("#") for link in links if link} <= set(ids)
    assert "No defined score" in elements.text


def test_same_data_same_bytes_and_no_path_or_time(tmp_path: Path) -> None:
    first = render_report(load_report_data(make_store(3)), tmp_path / "a" / "report.html")
    second = render_report(load_report_data(make_store(3)), str(tmp_path / "b.html"))
    assert first.read_bytes() == second.read_bytes()
    assert str(tmp_path) not in first.read_text(encoding="utf-8")
    assert [p.name for p in first.parent.iterdir()] == ["report.html"]


def test_a_path_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file/report\.html' cannot be written"):
        render_report(load_report_data(make_store(1)), tmp_path / "file" / "report.html")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreError, match="cannot be written"):
        render_report(load_report_data(make_store(1)), tmp_path / "folder")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def test_missing_contexts_and_statistics_are_said() -> None:
    store = make_store(2)
    store.execute("delete from contexts; delete from neuron_stats; delete from concepts; delete from documents")
    store.execute("update runs set config = 'not json', revision = 'main', pooling = 'mean'")
    page = render_page(load_report_data(store))
    assert "No contexts were written" in page
    assert "pooled by mean" in page


def test_sentence_unit_shows_whole_contexts() -> None:
    page = render_page(load_report_data(make_store(2, unit="sentence")))
    assert 'class="flow"' in page
    assert 'class="kwic"' not in page


def test_three_hundred_concepts_stay_small() -> None:
    page = render_page(load_report_data(make_store(300)))
    assert page.count('class="concept"') == 300
    assert page.count('class="neuron"') == 900
    assert len(page.encode()) < 12_000_000
