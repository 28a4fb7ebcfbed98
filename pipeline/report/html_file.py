"""A page as one HTML file that needs no network: a template of this package, its data, its script and plotly's."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from pipeline.report import number_format
from pipeline.report.figures import quantile_strip
from pipeline.report.inert_text import direction, script_json
from schemas.errors import StoreError
from schemas.inert_text import inert


def render_html(name: str, figures: Mapping[str, object], parts: Sequence[str] = (), **values: object) -> str:
    """``name.html.jinja`` filled with ``values``, with the JSON ``figures`` and ``name.js`` that draws them.

    ``parts`` are names of sections with a ``.js`` and a ``.css`` of their own, which are added.
    A content security policy in the page allows its own scripts by hash and no connection at all, so nothing that
    slipped through could run or call out.
    """
    scripts = (_plotly_script(), *(_asset(f"{part}.js") for part in (name, *parts)))
    style = "".join(_asset(f"{part}.css") for part in ("page", *parts))
    return (
        _environment()
        .get_template(f"{name}.html.jinja")
        .render(
            figures=Markup(script_json(figures)),  # noqa: S704 - script_json escapes
            scripts=[Markup(s) for s in scripts],  # noqa: S704 - our own and plotly's
            script_hashes=" ".join(_hash(s) for s in scripts),
            style=Markup(style),  # noqa: S704 - our own
            **values,
        )
    )


def write_html(page: str, path: str | Path) -> Path:
    """Write a page to ``path``, replacing what is there in one step; its folder is made if missing.

    Returns the path. Raises :class:`StoreError` when it cannot be written.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".report-", dir=target.parent) as folder:
            staged = Path(folder) / "page.html"
            staged.write_text(page, encoding="utf-8", newline="\n")
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
