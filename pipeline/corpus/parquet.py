"""Reader of Parquet with one document, or one sentence, a row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.corpus.jsonl import record_passages
from pipeline.corpus.layer_names import layer_name
from pipeline.corpus.passage import Passage
from pipeline.corpus.sentence import Quarantined, Sentence
from pipeline.corpus.sentence_records import record_sentence
from pipeline.corpus.sources import Source
from pipeline.corpus.streams import open_raw
from schemas.config import CorpusConfig
from schemas.errors import CorpusError

#: What every Parquet file begins with.
MAGIC = b"PAR1"
_BATCH_ROWS = 1024


def read_parquet(source: Source, config: CorpusConfig) -> Iterator[Passage | Quarantined]:
    """Passages of a Parquet file's documents, read in batches; the row's number from 1 stands for the line.

    Raises :class:`CorpusError` when the file is no Parquet, or lacks the text field or a label field.
    """
    for number, record in _rows(source, config, is_sentence=False):
        yield from record_passages(record, source, config, number, number)


def read_parquet_sentences(source: Source, config: CorpusConfig) -> Iterator[Sentence | Quarantined]:
    """Sentences of a Parquet file, one a row, by :func:`pipeline.corpus.sentence_records.record_sentence`."""
    for number, record in _rows(source, config, is_sentence=True):
        yield record_sentence(record, source, config, number)


def _rows(source: Source, config: CorpusConfig, *, is_sentence: bool) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows, numbered from 1; of documents only the columns they need."""
    try:
        with open_raw(source.url) as raw, pq.ParquetFile(raw) as file:
            names = file.schema_arrow.names
            columns = _sentence_columns(names, source, config) if is_sentence else _columns(names, source, config)
            number = 0
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=columns):
                for record in batch.to_pylist():
                    number += 1
                    yield number, record
    except (pa.ArrowException, OSError) as error:
        raise CorpusError(
            f"{source.name}: the file cannot be read as Parquet ({error}); restore it or set corpus.format"
        ) from error


def first_rows(source: Source, n_rows: int) -> list[dict[str, Any]]:
    """The first ``n_rows`` rows, or all where there are fewer; raises :class:`CorpusError` for no Parquet."""
    try:
        with open_raw(source.url) as raw, pq.ParquetFile(raw) as file:
            return next((batch.to_pylist() for batch in file.iter_batches(batch_size=n_rows)), [])
    except (pa.ArrowException, OSError) as error:
        raise CorpusError(f"{source.name}: the file cannot be read as Parquet ({error}); restore it") from error


def _columns(names: list[str], source: Source, config: CorpusConfig) -> list[str]:
    for key, name in [("text_field", config.text_field), *(("label_fields", name) for name in config.label_fields)]:
        if name not in names:
            raise _no_column(source, f"corpus.{key} names {name!r}, which is no column of the file", names)
    wanted = {config.text_field, config.id_field, *config.label_fields}
    return [name for name in names if name in wanted]


def _sentence_columns(names: list[str], source: Source, config: CorpusConfig) -> list[str]:
    if config.text_field not in names and "words" not in names:
        rule = f"a sentence a row needs the column 'words', or {config.text_field!r} (corpus.text_field)"
        raise _no_column(source, rule, names)
    layers = {layer_name(name) for name in names}
    missing = [("label_fields", name) for name in config.label_fields if name not in names]
    missing += [("columns", name) for name in config.columns if name not in layers]
    for key, name in missing:
        raise _no_column(source, f"corpus.{key} names {name!r}, which is no column of the file", names)
    return names


def _no_column(source: Source, rule: str, names: list[str]) -> CorpusError:
    way_out = "; for a sentence a row set corpus.format to `sentences`" if "words" in names else ""
    return CorpusError(f"{source.name}:1: {rule}; it has {names}{way_out}")
