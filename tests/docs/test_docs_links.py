"""Links between pages, and what the pages may not say."""

from __future__ import annotations

from pathlib import Path

from markdown_pages import PAGES, ROOT, anchors, links


def _problem(page: Path, target: str) -> str | None:
    path, _, anchor = target.partition("#")
    file = (page.parent / path).resolve() if path else page
    if not file.exists():
        return f"{page.relative_to(ROOT)}: {target}: no such file"
    if anchor and file.suffix == ".md" and anchor not in anchors(file):
        return f"{page.relative_to(ROOT)}: {target}: no such heading"
    return None


def test_every_internal_link_resolves():
    problems = [
        problem
        for page in PAGES
        for target in links(page)
        if "://" not in target and not target.startswith("mailto:")
        for problem in [_problem(page, target)]
        if problem
    ]
    assert not problems, "\n".join(problems)


def test_every_page_can_be_reached_from_the_readme():
    seen: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen or page.suffix != ".md" or not page.exists():
            continue
        seen.add(page)
        waiting += [(page.parent / target.partition("#")[0]).resolve() for target in links(page) if "://" not in target]
    assert set(PAGES) <= seen, [str(page.relative_to(ROOT)) for page in set(PAGES) - seen]


def test_the_picture_is_there_and_small():
    picture = ROOT / "docs" / "images" / "report.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size < 400_000
