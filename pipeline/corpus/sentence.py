"""The two things a reader yields: a sentence, or a quarantined piece of input with the reason.

Readers never decide what bad input means for the run: they yield :class:`Quarantined`, and
:func:`pipeline.corpus.reader.read_corpus` raises or sets it aside as the config says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from schemas.errors import CorpusError

EXCERPT_CHARACTERS = 200
#: A rule may quote what it found: it is cut, too.
_RULE_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence of a corpus, as every reader yields it.

    ``spans[i]`` is the half-open character span of ``words[i]`` in ``text``. ``layers`` holds one value per word;
    ``None`` is "no value", and a layer without any value in this sentence may be missing. ``split`` is ``train``,
    ``dev``, ``test`` or ``None``. ``source`` and ``line`` (from 1) say where it was read.
    """

    document: str
    sentence: str
    text: str
    words: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]
    layers: dict[str, tuple[str | None, ...]] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    document_labels: dict[str, str] = field(default_factory=dict)
    split: str | None = None
    source: str = ""
    line: int = 0
    positions: tuple[int, ...] | None = None
    """Increasing positions of the words; ``None`` is 0, 1, 2, …"""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A piece of input that broke a rule: where, which rule, what was found, and what to do about it."""

    source: str
    line: int
    rule: str
    excerpt: str
    way_out: str = ""
    n_pieces: int = 1
    """How many pieces it stands for."""

    @property
    def message(self) -> str:
        """The whole error for a person, beginning with ``file:line``."""
        end = f"; {self.way_out}" if self.way_out else ""
        return f"{self.source}:{self.line}: {self.rule}; found {self.excerpt!r}{end}"


def quarantine(source: str, line: int, rule: str, found: str, way_out: str) -> Quarantined:
    """A :class:`Quarantined` whose excerpt is cut to its first 200 characters and can always be written as UTF-8.

    ``rule`` and ``way_out`` are cut likewise, at 500 characters: nothing that is kept of bad input is as long as it.
    """
    excerpt = _writable(found[:EXCERPT_CHARACTERS])
    return Quarantined(source, line, _shortened(rule), excerpt, _shortened(way_out))


def _shortened(text: str) -> str:
    return _writable(text if len(text) <= _RULE_CHARACTERS else f"{text[:_RULE_CHARACTERS]}…")


def _writable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def join_words(words: Sequence[str]) -> tuple[str, tuple[tuple[int, int], ...]]:
    """Text of a sentence known only by its words, joined by one space each, and the words' spans in it."""
    spans = []
    start = 0
    for word in words:
        end = start + len(word)
        spans.append((start, end))
        start = end + 1
    return " ".join(words), tuple(spans)


def locate_words(text: str, words: Sequence[str], *, gaps: bool = True) -> tuple[tuple[int, int], ...]:
    """Half-open character spans of ``words`` in ``text``, found from left to right without overlap.

    With ``gaps=False`` only white space may stand between the words and around them, which is what CoNLL-U promises.
    Raises :class:`CorpusError` (without a place: the caller knows it) for an empty word or one that is not found.
    """
    spans = []
    position = 0
    find = text.find
    for index, word in enumerate(words):
        start = find(word, position)
        if start < 0 or not word or (not gaps and start > position and not text[position:start].isspace()):
            raise CorpusError(f"word {index + 1} is not in the text after character {position}: {word!r}")
        position = start + len(word)
        spans.append((start, position))
    if not gaps and text[position:].strip():
        raise CorpusError(f"the text goes on after its last word, at character {position}: {text[position:].strip()!r}")
    return tuple(spans)
