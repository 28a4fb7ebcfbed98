"""Reader of JSONL with one document a line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pipeline.corpus.json_record import parse_record, pick_labels, record_name
from pipeline.corpus.passage import Passage, document_passages
from pipeline.corpus.sentence import Quarantined, quarantine
from pipeline.corpus.sources import Source
from pipeline.corpus.streams import SourceStream
from schemas.config import CorpusConfig


def read_jsonl(stream: SourceStream, source: Source, config: CorpusConfig) -> Iterator[Passage | Quarantined]:
    """Passages of a JSONL file's documents; blank lines are passed over."""
    n_documents = 0
    for number, raw in stream.lines():
        if not raw or raw.isspace():
            continue
        n_documents += 1
        record = parse_record(raw, source.name, number)
        if isinstance(record, Quarantined):
            yield record
        else:
            yield from record_passages(record, source, config, n_documents, number)


def record_passages(
    record: Mapping[str, object], source: Source, config: CorpusConfig, n: int, line: int
) -> Iterator[Passage | Quarantined]:
    """Passages of one record: text, name (else ``file#n``) and document labels by the config's field names."""
    text = record.get(config.text_field)
    if not isinstance(text, str):
        rule = f"a record must have its text as a string in {config.text_field!r} (corpus.text_field)"
        way_out = f"name the right field (here: {sorted(map(str, record))}), or set corpus.format to `sentences`"
        yield quarantine(source.name, line, rule, repr(text), way_out)
        return
    labels = pick_labels(record, config.label_fields, source.name, line)
    if isinstance(labels, Quarantined):
        yield labels
        return
    name = record_name(record, config.id_field) or f"{source.relative}#{n}"
    yield from document_passages(text, name, labels, split=source.split, source=source.name, line=line)
