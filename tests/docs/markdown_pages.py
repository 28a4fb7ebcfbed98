"""Read Markdown as the tests of the documentation need it: fenced blocks, links, headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")])
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of one language, in order."""
    return [text for kind, text in _FENCE.findall(page.read_text(encoding="utf-8")) if kind == language]


def links(page: Path) -> list[str]:
    """Targets of all links and images outside code."""
    return _LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8")))


def anchors(page: Path) -> set[str]:
    """Anchors of all headings, as Markdown renderers make them."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def commands(page: Path) -> Iterator[str]:
    """Every command line of the shell blocks, continuation lines joined, comments and blank lines left out."""
    for block in blocks(page, "sh"):
        quotes = 0
        line = ""
        for part in block.splitlines():
            line = f"{line}\n{part}" if line else part
            quotes = line.count('"') % 2
            if line.endswith("\\"):
                line = line[:-1]
            elif not quotes:
                if line.strip() and not line.lstrip().startswith("#"):
                    yield line.strip()
                line = ""
