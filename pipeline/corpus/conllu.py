"""Reader of CoNLL-U (https://universaldependencies.org/format.html): documents, comments and sentences.

Comments understood: ``newdoc id``, ``sent_id``, ``text``, ``meta::NAME`` (document label, until the next
``newdoc``), and our own ``split``, ``source`` and ``label::NAME`` (sentence label), which `annotate` writes. What the
word lines give is in :mod:`pipeline.corpus.conllu_words`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from pipeline.corpus.conllu_words import Broken, Words, parse_words
from pipeline.corpus.sentence import Quarantined, Sentence, quarantine
from pipeline.corpus.sources import Source
from pipeline.corpus.streams import SourceStream, decode

_COMMENT = re.compile(r"#\s*([^=]*?)\s*(?:=\s*(.*))?$", re.DOTALL)
_SPLITS = ("train", "dev", "test")
_FIX = "correct the file (the validator of Universal Dependencies finds such places), or use --on-error skip"


@dataclass
class _Document:
    """What comments said about the current document."""

    name: str
    split: str | None
    source: str
    labels: dict[str, str] = field(default_factory=dict)
    n_sentences: int = 0


def read_conllu(stream: SourceStream, source: Source) -> Iterator[Sentence | Quarantined]:
    """Sentences of a CoNLL-U file.

    Documents without an id are named ``file#n``; sentences before any ``newdoc`` are a document named as the file.
    """
    document = _Document(source.relative, source.split, source.name)
    n_documents = 0
    for first, block in stream.blocks():
        text = decode(b"\n".join(block), source.name, first)
        if isinstance(text, Quarantined):
            yield text
            continue
        lines = text.split("\n")
        comments, n_comments = _comments(lines)
        if "newdoc" in comments or "newdoc id" in comments:
            n_documents += 1
            document = _Document(
                comments.get("newdoc id") or f"{source.relative}#{n_documents}", source.split, source.name
            )
        labels = {k[6:]: v for k, v in comments.items() if k.startswith("meta::") and v}
        document.labels = {**document.labels, **labels} if labels else document.labels
        document.source = comments.get("source", document.source)
        document.split = comments.get("split", document.split)
        document.n_sentences += 1
        if document.split not in (None, *_SPLITS) or (source.split and document.split != source.split):
            agree = f" and agree with the source's split {source.split!r}" if source.split else ""
            rule = f"`# split` must be one of {', '.join(_SPLITS)}{agree}"
            yield quarantine(source.name, first, rule, str(document.split), _FIX)
        else:
            parsed = parse_words(lines[n_comments:], comments.get("text"))
            if isinstance(parsed, Broken):
                line = first if parsed.index is None else first + n_comments + parsed.index
                yield quarantine(source.name, line, parsed.rule, parsed.found, _FIX)
            else:
                yield _sentence(parsed, comments, document, first)


def _comments(lines: list[str]) -> tuple[dict[str, str], int]:
    """Comments before the first word line, name to value, and how many lines they take."""
    comments = {}
    n = 0
    while n < len(lines) and lines[n][0] == "#":
        match = _COMMENT.match(lines[n])
        if match:
            comments[match[1]] = (match[2] or "").rstrip()
        n += 1
    return comments, n


def _sentence(parsed: Words, comments: dict[str, str], document: _Document, first: int) -> Sentence:
    return Sentence(
        document=document.name,
        sentence=comments.get("sent_id") or str(document.n_sentences),
        text=parsed.text,
        words=parsed.words,
        spans=parsed.spans,
        layers=parsed.layers,
        labels={k[7:]: v for k, v in comments.items() if k.startswith("label::")},
        document_labels=document.labels,
        split=document.split,
        source=document.source,
        line=first,
    )
