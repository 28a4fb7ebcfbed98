"""Passages: the lines of plain-text documents, before they are cut into sentences and words.

`text`, `jsonl` and `parquet` read passages; from there the rule splitter makes sentences, or `annotate` a tagger's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pipeline.corpus.sentence import Quarantined, Sentence, quarantine
from pipeline.corpus.splitting import cut_sentence, split_sentences, split_words


@dataclass(frozen=True, slots=True)
class Passage:
    """One line of a document: never empty, no line end in it. ``is_first`` marks the first one of its document."""

    document: str
    text: str
    is_first: bool
    split: str | None
    source: str
    line: int
    document_labels: dict[str, str] = field(default_factory=dict)


def document_passages(
    text: str, document: str, labels: dict[str, str], *, split: str | None, source: str, line: int
) -> Iterator[Passage | Quarantined]:
    """Passages of a document that came as one string; one without anything but white space is quarantined."""
    is_first = True
    for part in text.split("\n"):
        stripped = part.strip()
        if stripped:
            yield Passage(document, stripped, is_first, split, source, line, labels)
            is_first = False
    if is_first:
        yield quarantine(source, line, "a document must have words", text, "remove the record, or use --on-error skip")


def rule_sentences(passages: Iterable[Passage | Quarantined], sentence_per: str) -> Iterator[Sentence | Quarantined]:
    """Sentences of passages by :mod:`pipeline.corpus.splitting` (`rule`), or a whole passage each (`line`).

    Either way, what is longer than :data:`~pipeline.corpus.splitting.MAX_SENTENCE_CHARACTERS` is cut.

    They are numbered from 1 in their document.
    """
    number = 0
    for passage in passages:
        if isinstance(passage, Quarantined):
            yield passage
            continue
        if passage.is_first:
            number = 0
        for text in split_sentences(passage.text) if sentence_per == "rule" else cut_sentence(passage.text):
            number += 1
            words, spans = split_words(text)
            yield Sentence(
                document=passage.document,
                sentence=str(number),
                text=text,
                words=words,
                spans=spans,
                document_labels=passage.document_labels,
                split=passage.split,
                source=passage.source,
                line=passage.line,
            )
