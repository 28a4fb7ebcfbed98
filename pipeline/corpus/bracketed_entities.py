"""Entities as CorefUD and GUM write them in MISC (https://ufal.mff.cuni.cz/corefud).

``(2-place-…`` opens mention 2, ``2)`` closes it, ``(2-place-…)`` is one word. The type is the part after the first
``-``, up to the next.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipeline.corpus.label_values import join_values

_BRACKET = re.compile(r"\(([^()]*)(\))?|([^()]+)\)")


def is_bracketed(cell: str | None) -> bool:
    """The cell opens or closes a mention; tags such as ``B-PER`` do not."""
    return cell is not None and (cell.startswith("(") or cell.endswith(")") or ")(" in cell)


def covered_types(cells: Sequence[str | None]) -> tuple[str | None, ...]:
    """The types of the mentions that cover each word of a sentence, given its words' cells.

    Words in mentions of several types hold them all (:func:`pipeline.corpus.label_values.join_values`). A mention that
    is not closed reaches to the end of the sentence; one without a type, or closed but never opened, gives nothing.
    Cells without brackets stay as they are.
    """
    types: list[set[str]] = [set() for _ in cells]
    opened: dict[str, list[tuple[int, str]]] = {}

    def cover(first: int, last: int, kind: str) -> None:
        for index in range(first, last + 1 if kind else first):
            types[index].add(kind)

    for index, cell in enumerate(cells):
        if cell is None:
            continue
        if not is_bracketed(cell):
            types[index].add(cell)
            continue
        for match in _BRACKET.finditer(cell):
            mention, is_one_word, closed = match.groups()
            if closed is not None:
                if opened.get(closed):
                    first, kind = opened[closed].pop()
                    cover(first, index, kind)
                continue
            name, _, rest = mention.partition("-")
            kind = rest.partition("-")[0]
            if is_one_word:
                cover(index, index, kind)
            else:
                opened.setdefault(name, []).append((index, kind))
    for first, kind in (mention for mentions in opened.values() for mention in mentions):
        cover(first, len(cells) - 1, kind)
    return tuple(join_values(found) for found in types)
