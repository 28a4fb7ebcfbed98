"""Values of labels: several in one place written as one, and how many words (sentences, documents) each holds for."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping

_IOB = re.compile(r"[BIOESLUM]-(.+)", re.DOTALL)


def join_values(values: Iterable[str]) -> str | None:
    """Several values of one label as the text the tables hold: a JSON array, sorted, each value once.

    One value stays itself, and none is ``None``: no label.
    """
    found = sorted(set(values))
    if len(found) < 2:
        return found[0] if found else None
    return json.dumps(found, ensure_ascii=False)


def split_values(label: str) -> tuple[str, ...]:
    """The values in a label's text: those of a JSON array of two strings or more, else the text itself."""
    if label.startswith("[") and label.endswith("]"):
        try:
            found = json.loads(label)
        except (ValueError, RecursionError):
            return (label,)
        if len(found) > 1 and all(isinstance(value, str) for value in found):
            return tuple(found)
    return (label,)


def merged_values(
    counts: Mapping[str, int], excluded: Collection[str], *, iob: bool
) -> dict[str, tuple[list[str], int]]:
    """Each value that can be a concept, with the texts that stand for it and what they count together.

    Texts of several values count for each of them. With ``iob``, ``B-X``, ``I-X`` (and E, S, L, U, M of other schemes)
    become ``X``, where all values look like that. ``excluded`` values are left out, before and after.
    """
    single: dict[str, tuple[list[str], int]] = {}
    for text, n in counts.items():
        for value in dict.fromkeys(split_values(text)):
            if value not in excluded:
                texts, total = single.get(value, ([], 0))
                single[value] = ([*texts, text], total + n)
    matches = {value: _IOB.fullmatch(value) for value in single if value != "O"}
    if not iob or not matches or not all(matches.values()):
        return single
    merged: dict[str, tuple[list[str], int]] = {}
    for value, (texts, n) in single.items():
        match = matches.get(value)
        name = match[1] if match else value
        if name not in excluded:
            others, total = merged.get(name, ([], 0))
            merged[name] = ([*others, *texts], total + n)
    return merged
