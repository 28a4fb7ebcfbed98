"""Reader of column files: ``word<TAB>label…`` a line, a blank line between sentences.

``# document NAME`` (or ``# newdoc id = NAME``, or a ``-DOCSTART-`` line) starts a document. A line that begins with
``# `` and has no tab is a comment; a hashtag is a word. Files without tabs are divided at spaces (CoNLL-2003).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pipeline.corpus.sentence import Quarantined, Sentence, join_words, quarantine
from pipeline.corpus.sources import Source
from pipeline.corpus.streams import SourceStream, decode
from schemas.config import CorpusConfig

_DOCUMENT = re.compile(r"#\s*(?:document\s+|newdoc id\s*=\s*)(\S.*)")
_DOCSTART = "-DOCSTART-"


def read_conll(stream: SourceStream, source: Source, config: CorpusConfig) -> Iterator[Sentence | Quarantined]:
    """Sentences of a column file; text is the words joined by one space, layers are named by `corpus.columns`.

    Without `columns`, the first line of words decides how many there are: ``label``, ``label2``, …
    """
    document, n_documents, n_sentences = source.relative, 0, 0
    separator: str | None = None
    names = config.columns
    is_known = False
    for first, block in stream.blocks():
        decoded = decode(b"\n".join(block), source.name, first)
        if isinstance(decoded, Quarantined):
            yield decoded
            continue
        lines = decoded.split("\n")
        rows: list[list[str]] = []
        numbers: list[int] = []
        for offset, line in enumerate(lines):
            marker = _DOCUMENT.fullmatch(line) if line[0] == "#" and "\t" not in line else None
            if marker or line.startswith(_DOCSTART):
                n_documents, n_sentences = n_documents + 1, 0
                document = marker[1].strip() if marker else f"{source.relative}#{n_documents}"
            elif not (
                line.startswith("# ") and "\t" not in line and _is_comment(line, separator, len(names), is_known)
            ):
                if not is_known:
                    separator = "\t" if "\t" in line else None
                    names = names or _default_names(len(line.split(separator)) - 1)
                    is_known = True
                rows.append(line.split(separator))
                numbers.append(first + offset)
        if rows:
            n_sentences += 1
            yield _sentence(rows, numbers, names, document=document, n=n_sentences, source=source)


def _is_comment(line: str, separator: str | None, n_labels: int, is_known: bool) -> bool:
    """In a file divided at spaces, ``# O`` is the word ``#``; a line with another number of fields is a comment."""
    return separator == "\t" or not is_known or len(line.split()) != n_labels + 1


def _default_names(n: int) -> tuple[str, ...]:
    return tuple("label" if i == 1 else f"label{i}" for i in range(1, n + 1))


def _sentence(
    rows: list[list[str]], numbers: list[int], names: tuple[str, ...], *, document: str, n: int, source: Source
) -> Sentence | Quarantined:
    width = len(names) + 1
    for row, number in zip(rows, numbers, strict=True):
        if len(row) != width:
            rule = f"a line must have {width} columns (the word, then {', '.join(names) or 'no label'}), not {len(row)}"
            way_out = "correct the line, name the file's columns in corpus.columns, or use --on-error skip"
            return quarantine(source.name, number, rule, "\t".join(row), way_out)
        if not row[0] or row[0].isspace():
            way_out = "correct the line, or use --on-error skip"
            return quarantine(source.name, number, "a word must not be empty", "\t".join(row), way_out)
    words, *columns = zip(*rows, strict=True)
    text, spans = join_words(words)
    layers = {
        name: tuple(value or None for value in column) if "" in column else column
        for name, column in zip(names, columns, strict=True)
    }
    return Sentence(document, str(n), text, words, spans, layers, {}, {}, source.split, source.name, numbers[0])
