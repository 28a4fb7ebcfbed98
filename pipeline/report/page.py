"""The report: one HTML file that needs no network, with plotly's script inside."""

from __future__ import annotations

import json
from pathlib import Path

from markupsafe import Markup

from pipeline.report.correlation_figures import correlation_figures
from pipeline.report.figures import anchors, page_figures
from pipeline.report.html_file import render_html, write_html
from pipeline.report.inert_text import script_json
from pipeline.report.neuron_cards import SELECTED
from pipeline.report.report_data import ReportData
from schemas.inert_text import inert


def render_page(data: ReportData) -> str:
    """The whole page as text; the same data gives the same bytes.

    Corpus text and names are :func:`inert` and escaped. A content security policy in the page allows its own
    scripts by hash and no connection at all, so nothing that slipped through could run or call out.
    """
    anchor_of = anchors(c.concept for c in data.concepts)
    charts = None if data.correlation is None else correlation_figures(data.correlation, data.run.components)
    return render_html(
        "page",
        page_figures(data, anchor_of),
        parts=() if charts is None else ("correlation",),
        correlation=data.correlation,
        charts=charts,
        charts_json=Markup(script_json(charts)),  # noqa: S704 - script_json escapes
        data=data,
        anchor_of=anchor_of,
        config=_lines(json.dumps(data.run.config, indent=2, ensure_ascii=False)) if data.run.config else "",
        selected=SELECTED,
    )


def render_report(data: ReportData, path: str | Path) -> Path:
    """Write the page to ``path``, replacing what is there in one step; its folder is made if missing.

    Returns the path. Raises :class:`StoreError` when it cannot be written.
    """
    return write_html(render_page(data), path)


def _lines(text: str) -> str:
    """``text`` with every line inert."""
    return "\n".join(inert(line) for line in text.split("\n"))
