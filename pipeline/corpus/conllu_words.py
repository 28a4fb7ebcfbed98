"""The word lines of one CoNLL-U sentence: words, their places in the text, and their label layers.

Syntactic words are the words: a multi-word token (``1-2``) only gives its words their place in the text, an empty
node (``8.1``) is none. Layers: ``lemma upos xpos deprel head``, ``feat_NAME`` per feature, ``entity`` from MISC
``Entity=`` or ``NER=`` (a mention in brackets gives its type to every word it covers), ``misc_NAME`` per other MISC
attribute except those about spacing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from pipeline.corpus.bracketed_entities import covered_types, is_bracketed
from pipeline.corpus.layer_names import layer_name
from pipeline.corpus.sentence import locate_words
from schemas.errors import CorpusError

_SPACING = frozenset(("SpaceAfter", "SpacesAfter", "SpacesBefore", "SpacesInToken", "CorrectSpaceAfter"))
_PLAIN_LAYERS = ((2, "lemma"), (3, "upos"), (4, "xpos"), (6, "head"), (7, "deprel"))

Spans = tuple[tuple[int, int], ...]
Row = list[str]


@dataclass(frozen=True, slots=True)
class Words:
    """The words of a sentence: forms, text, character spans and layers, one value per word."""

    words: tuple[str, ...]
    text: str
    spans: Spans
    layers: dict[str, tuple[str | None, ...]]


@dataclass(frozen=True, slots=True)
class Broken:
    """The rule that word lines broke, what was found, and in which of them (``None``: in the sentence as a whole)."""

    index: int | None
    rule: str
    found: str


@dataclass(frozen=True, slots=True)
class _Written:
    """A written token: words ``first`` to before ``last``, its form, and whether a space follows."""

    first: int
    last: int
    form: str
    is_space_after: bool


def parse_words(lines: list[str], text: str | None) -> Words | Broken:
    """Words of the lines (comments aside) of one sentence; ``text`` is its ``# text``, else it is put together."""
    rows = [line.split("\t") for line in lines]
    if broken := _check(rows, lines):
        return broken
    multiword: list[Row] = []
    if rows[-1][0] != str(len(rows)):
        multiword = [row for row in rows if "-" in row[0]]
        rows = [row for row in rows if "-" not in row[0] and "." not in row[0]]
    columns = list(zip(*rows, strict=True))
    written = _written(columns[1], columns[9], multiword)
    if isinstance(written, Broken):
        return written
    if text is None:
        text = "".join(token.form + " " * token.is_space_after for token in written).strip()
    try:
        spans = _spans(text, columns[1], written)
    except CorpusError as error:
        return Broken(None, f"the words must make up the text: {error}", text)
    return Words(columns[1], text, spans, _layers(columns))


def _check(rows: list[Row], lines: list[str]) -> Broken | None:
    """Ten columns everywhere, ids that count the words from 1, no empty form, at least one word."""
    n_words = 0
    for index, row in enumerate(rows):
        if len(row) != 10:
            return Broken(index, f"a line must have 10 columns divided by tabs, not {len(row)}", lines[index])
        if row[0] == str(n_words + 1):
            n_words += 1
        elif "-" not in row[0] and "." not in row[0]:
            return Broken(index, f"word ids must count from 1, and here comes {n_words + 1}", lines[index])
        if not row[1]:
            return Broken(index, "a word must not be empty", lines[index])
    return None if n_words else Broken(None, "a sentence must have words", "only comments or empty nodes")


def _written(words: tuple[str, ...], misc: tuple[str, ...], multiword: list[Row]) -> list[_Written] | Broken:
    ranges: dict[int, tuple[int, str, str]] = {}
    for row in multiword:
        first, _, last = row[0].partition("-")
        if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last) <= len(words)):
            return Broken(None, "a multi-word token must span words of its sentence", "\t".join(row))
        ranges[int(first) - 1] = (int(last), row[1], row[9])
    tokens = []
    index = 0
    while index < len(words):
        end, form, notes = ranges.get(index, (index + 1, words[index], misc[index]))
        tokens.append(_Written(index, end, form, "SpaceAfter=No" not in notes.split("|")))
        index = end
    return tokens


def _spans(text: str, words: tuple[str, ...], written: list[_Written]) -> Spans:
    """Word spans. Words that do not occur in their multi-word token (French `du` = de + le) all get its span."""
    if len(written) == len(words):
        return locate_words(text, words, gaps=False)
    spans: list[tuple[int, int]] = []
    places = locate_words(text, [token.form for token in written], gaps=False)
    for token, (start, end) in zip(written, places, strict=True):
        try:
            inner = locate_words(token.form, words[token.first : token.last])
            spans.extend((start + a, start + b) for a, b in inner)
        except CorpusError:
            spans.extend([(start, end)] * (token.last - token.first))
    return tuple(spans)


def _layers(columns: list[tuple[str, ...]]) -> dict[str, tuple[str | None, ...]]:
    n = len(columns[0])
    layers: dict[str, tuple[str | None, ...]] = {}
    for index, name in _PLAIN_LAYERS:
        column = columns[index]
        if "_" not in column:
            layers[name] = column
        elif index == 2:  # `_` is the lemma of the word `_`, and no value elsewhere
            if any(value != "_" for value in column):
                layers[name] = tuple(None if v == "_" != w else v for v, w in zip(column, columns[1], strict=True))
        elif any(value != "_" for value in column):
            layers[name] = tuple(None if value == "_" else value for value in column)
    layers.update((name, tuple(values)) for name, values in _attributes(columns, n).items())
    return layers


def _attributes(columns: list[tuple[str, ...]], n: int) -> dict[str, Sequence[str | None]]:
    """Values of features and MISC attributes, one per word; mentions in brackets as the types they have."""
    attributes: dict[str, list[str | None]] = {}
    for column, parse in ((columns[5], _features), (columns[9], _misc)):
        for index, cell in enumerate(column):
            if cell != "_":
                for name, value in parse(cell):
                    if name not in attributes:
                        attributes[name] = [None] * n
                    attributes[name][index] = value
    entity = attributes.get("entity", ())
    if any(map(is_bracketed, entity)):
        del attributes["entity"]
        types = covered_types(entity)
        return {**attributes, "entity": types} if any(types) else dict(attributes)
    return dict(attributes)


@lru_cache(maxsize=65536)
def _features(cell: str) -> tuple[tuple[str, str], ...]:
    pairs = (item.partition("=") for item in cell.split("|"))
    return tuple((layer_name(f"feat_{name}"), value) for name, _, value in pairs if name and value)


@lru_cache(maxsize=65536)
def _misc(cell: str) -> tuple[tuple[str, str], ...]:
    found: dict[str, str] = {}
    for item in cell.split("|"):
        name, _, value = item.partition("=")
        if not name or not value or name in _SPACING:
            continue
        found.setdefault("entity" if name in ("Entity", "NER") else layer_name(f"misc_{name}"), value)
    return tuple(found.items())
