"""Plain text into sentences and words by rules: small, fast and the same everywhere; `annotate` does better.

A sentence ends at ``. ! ? …`` (and closing quotes or brackets) before white space and no lower-case letter, unless
the full stop belongs to an abbreviation or initial; and at ``。！？``. A word is a run of letters, marks, digits and
``_``, with apostrophes and hyphens inside it and points and commas between digits; every other run of one
repeated character is a word of its own.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

_END = re.compile(r"[.!?…]+[\"'”’)\]»]*(?=\s)|[。！？]+[”’」』）]*")
_ABBREVIATED = (
    "mr mrs ms dr prof sr jr st vs etc gen col capt lt sgt rep sen gov rev hon inc ltd co corp no vol fig eq al cf ca "
    "dept approx jan feb mar apr jun jul aug sep sept oct nov dec"
)
_ABBREVIATIONS = frozenset(_ABBREVIATED.split())
_LOOK_BACK = 24
#: What goes on for longer without an end is no sentence (a table, a dump of numbers): it is cut at white space.
MAX_SENTENCE_CHARACTERS = 20_000


@cache
def _word_pattern() -> re.Pattern[str]:
    # ``\w`` leaves out combining marks, without which Devanagari or Thai words fall to pieces
    marks = [code for code in range(0x300, 0x1F000) if unicodedata.category(chr(code))[0] == "M"]
    ranges: list[list[int]] = []
    for code in marks:
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    letters = r"[\w" + "".join(f"{chr(a)}-{chr(b)}" for a, b in ranges) + "]+"
    return re.compile(rf"{letters}(?:(?:['’-]|(?<=\d)[.,](?=\d)){letters})*|(\S)\1*")


def split_words(text: str) -> tuple[tuple[str, ...], tuple[tuple[int, int], ...]]:
    """Words of ``text`` and their half-open character spans, left to right; empty for white space only."""
    matches = list(_word_pattern().finditer(text))
    return tuple(m.group() for m in matches), tuple(m.span() for m in matches)


def split_sentences(text: str) -> list[str]:
    """Sentences of one line or paragraph, white space trimmed, none of them empty or longer than the longest."""
    sentences: list[str] = []
    start = 0
    for match in _END.finditer(text):
        if _is_final(text, start, match):
            sentences += cut_sentence(text[start : match.end()].strip())
            start = match.end()
    sentences += cut_sentence(text[start:].strip())
    return sentences


def cut_sentence(sentence: str) -> list[str]:
    """The sentence; pieces of :data:`MAX_SENTENCE_CHARACTERS` at most where it is longer."""
    if len(sentence) <= MAX_SENTENCE_CHARACTERS:
        return [sentence] if sentence else []
    pieces = []
    at = 0
    while len(sentence) - at > MAX_SENTENCE_CHARACTERS:
        space = sentence.rfind(" ", at + 1, at + MAX_SENTENCE_CHARACTERS + 1)
        end = space if space > at else at + MAX_SENTENCE_CHARACTERS
        pieces.append(sentence[at:end].strip())
        at = end
    pieces.append(sentence[at:].strip())
    return [piece for piece in pieces if piece]


def _is_final(text: str, start: int, match: re.Match[str]) -> bool:
    following = text[match.end() : match.end() + _LOOK_BACK].lstrip()
    if following[:1].islower():
        return False
    if match.group() != ".":
        return True
    before = text[max(start, match.start() - _LOOK_BACK) : match.start()].split()
    last = before[-1].lstrip("(\"'“‘[") if before else ""
    is_initial = (len(last) == 1 and last.isupper()) or "." in last
    return not is_initial and last.lower() not in _ABBREVIATIONS
