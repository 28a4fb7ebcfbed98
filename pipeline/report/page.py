"""The report: one HTML file that needs no network, with plotly's script inside."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from pipeline.report import number_format
from pipeline.report.figures import anchors, page_figures, quantile_strip
from pipeline.report.inert_text import direction, script_json
from pipeline.report.neuron_cards import SELECTED
from pipeline.report.report_data import ReportData
from schemas.errors import StoreError
from schemas.inert_text import inert


def render_page(data: ReportData) -> str:
    """The whole page as text; the same data gives the same bytes.

    Corpus text and names are :func:`inert` and escaped. A content security policy in the page allows its own two
    scripts by hash and no connection at all, so nothing that slipped through could run or call out.
    """
    anchor_of = anchors(c.concept for c in data.concepts)
    scripts = (_plotly_script(), _asset("page.js"))
    template = _environment().get_template("page.html.jinja")
    return template.render(
        data=data,
        anchor_of=anchor_of,
        figures=Markup(script_json(page_figures(data, anchor_of))),  # noqa: S704 - script_json escapes
        scripts=[Markup(s) for s in scripts],  # noqa: S704 - our own and plotly's
        script_hashes=" ".join(_hash(s) for s in scripts),
        style=Markup(_asset("page.css")),  # noqa: S704 - our own
        config=_lines(json.dumps(data.run.config, indent=2, ensure_ascii=False)) if data.run.config else "",
        selected=SELECTED,
    )


def render_report(data: ReportData, path: str | Path) -> Path:
    """Write the page to ``path``, replacing what is there in one step; its folder is made if missing.

    Returns the path. Raises :class:`StoreError` when it cannot be written.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".report-", dir=target.parent) as folder:
            staged = Path(folder) / "page.html"
            staged.write_text(render_page(data), encoding="utf-8", newline="\n")
            staged.replace(target)
    except OSError as error:
        raise StoreError(f"report {str(target)!r} cannot be written ({error.strerror}); give another path") from error
    return target


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pipeline.report", package_path=""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        inert=inert,
        breakable=_breakable,
        ending=_ending,
        direction=direction,
        score=number_format.score_text,
        activation=number_format.activation_text,
        share=number_format.share_text,
        probability=number_format.probability_text,
        sign=number_format.sign_text,
        size=number_format.size_text,
    )
    environment.globals["quantile_strip"] = quantile_strip
    return environment


def _breakable(text: str) -> Markup:
    """Escaped text that may break after a slash or underscore."""
    return Markup("").join(
        Markup("{}<wbr>").format(p) if p[-1:] in "/_" else p for p in re.split(r"(?<=[/_])", text) if p
    )


def _ending(text: str, length: int = 14) -> str:
    """The end of a long name: documents of one file differ there."""
    return text if len(text) <= length else "…" + text[1 - length :]


@cache
def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


@cache
def _plotly_script() -> str:
    """Plotly's script without carriage returns: the page's hash of it is taken after a browser's newline rules."""
    script: str = get_plotlyjs()
    return script.replace("\r\n", "\n").replace("\r", "\n")


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _lines(text: str) -> str:
    """``text`` with every line inert."""
    return "\n".join(inert(line) for line in text.split("\n"))
