"""Reader of plain text: a document per file, per line, or per run of lines between blank ones."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.corpus.passage import Passage
from pipeline.corpus.sentence import Quarantined
from pipeline.corpus.sources import Source
from pipeline.corpus.streams import SourceStream, decode
from schemas.config import CorpusConfig


def read_text(stream: SourceStream, source: Source, config: CorpusConfig) -> Iterator[Passage | Quarantined]:
    """Passages (non-blank lines) of a text file.

    Documents are named by the file (`document_per: file`), else ``file#n`` with n from 1. Undecodable lines are
    quarantined and do not end a document.
    """
    per = config.document_per
    n_documents = 0
    is_open = False
    for number, raw in stream.lines():
        text = decode(raw, source.name, number)
        if isinstance(text, Quarantined):
            yield text
            continue
        text = text.strip()
        if not text:
            is_open = is_open and per == "file"
            continue
        is_first = not is_open or per == "line"
        n_documents += is_first
        is_open = True
        document = source.relative if per == "file" else f"{source.relative}#{n_documents}"
        yield Passage(document, text, is_first, source.split, source.name, number)
