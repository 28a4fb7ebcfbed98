"""Tables of rows with a header: TSV, Parquet, and NeuroX's label files (one sentence a line).

TSV is plain: a tab always ends a field and a quote is a character like any other. Every cell becomes text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.corpus.label_values import join_values
from pipeline.corpus.sentence import Quarantined
from pipeline.corpus.streams import decode, open_source
from pipeline.exchange.row_batch import BATCH_ROWS, RowBatch
from schemas.errors import CorpusError

_PARQUET = (".parquet", ".pq")


def read_label_table(file: Path) -> Iterator[RowBatch]:
    """Rows of a TSV (compressed ones too) or Parquet file.

    Raises :class:`CorpusError` naming file:line for a header with an empty or double name, for a row with more or fewer
    fields than the header, and for text that is not UTF-8.
    """
    return _parquet(file) if file.suffix.lower() in _PARQUET else _tsv(file)


def _tsv(file: Path) -> Iterator[RowBatch]:
    with open_source(str(file), str(file)) as stream:
        lines = stream.lines()
        header = next(lines, None)
        if header is None:
            raise CorpusError(f"{file}:1: a table has a header line with the names of its columns; the file is empty")
        names = _text(*header, file).split("\t")
        _check_header(names, file, "is the header missing? If not, rename one")
        rows: list[list[str]] = []
        first = 2
        for number, raw in lines:
            fields = _text(number, raw, file).split("\t")
            if len(fields) != len(names):
                raise CorpusError(
                    f"{file}:{number}: a row has a field per column of the header, {len(names)} in all, divided by "
                    f"tabs; this one has {len(fields)}; correct the line"
                )
            rows.append(fields)
            if len(rows) == BATCH_ROWS:
                yield _batch(file, first, names, rows)
                first, rows = number + 1, []
        if rows:
            yield _batch(file, first, names, rows)


def _batch(file: Path, first: int, names: Sequence[str], rows: Sequence[Sequence[str]]) -> RowBatch:
    columns = {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
    return RowBatch(str(file), range(first, first + len(rows)), columns)


def _text(number: int, raw: bytes, file: Path) -> str:
    text = decode(raw, str(file), number)
    if isinstance(text, Quarantined):
        raise CorpusError(f"{file}:{number}: {text.rule}; convert the file to UTF-8 (`iconv -f FROM -t UTF-8`)")
    return text


def _check_header(names: Sequence[str], file: Path, way_out: str = "rename one") -> None:
    seen: set[str] = set()
    for number, name in enumerate(names, start=1):
        if not name.strip():
            raise CorpusError(f"{file}:1: every column has a name, and column {number} has none; name it or drop it")
        if name in seen:
            raise CorpusError(f"{file}:1: every column has a name of its own, and {name!r} comes twice; {way_out}")
        seen.add(name)


def _parquet(file: Path) -> Iterator[RowBatch]:
    try:
        with pq.ParquetFile(file) as opened:
            names = opened.schema_arrow.names
            _check_header(names, file)
            first = 1
            for batch in opened.iter_batches(batch_size=BATCH_ROWS):
                columns = {name: _texts(batch.column(at), name, file) for at, name in enumerate(names)}
                yield RowBatch(str(file), range(first, first + batch.num_rows), columns)
                first += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        raise CorpusError(f"{file}: the file cannot be read as Parquet ({error}); restore it, or give a TSV") from error


def _texts(column: Any, name: str, file: Path) -> list[str]:
    """The cells as text: null and NaN are ``""``, true and false 1 and 0, whole floats have no point."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    values = column.to_pylist()
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return ["" if value is None else value for value in values]
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        return ["" if value is None else str(int(value)) for value in values]
    if pa.types.is_floating(kind):
        return [_float_text(value) for value in values]
    if pa.types.is_list(kind) and pa.types.is_string(kind.value_type):
        return [join_values(value or ()) or "" for value in values]
    raise CorpusError(
        f"{file}: column {name!r} must hold text, numbers, true/false or lists of text; it is {column.type}; "
        "convert or drop it"
    )


def _float_text(value: float | None) -> str:
    if value is None or value != value:  # noqa: PLR0124 - NaN
        return ""
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def read_paired_labels(file: Path, name: str) -> Iterator[RowBatch]:
    """A NeuroX label file: one sentence a line, its labels divided by spaces or tabs, as the one column ``name``."""
    with open_source(str(file), str(file)) as stream:
        for number, raw in stream.lines():
            labels = [label for label in _text(number, raw, file).replace("\t", " ").split(" ") if label]
            if labels:
                yield RowBatch(str(file), [number] * len(labels), {name: labels})
