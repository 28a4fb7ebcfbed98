"""Rows of a query as text or Parquet, written while they arrive."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, BinaryIO, Literal

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.inert_text import inert

Format = Literal["table", "csv", "json", "parquet"]

_TABLE_ROWS = 200
_CELL_WIDTH = 60


def write_result(reader: pa.RecordBatchReader, sink: BinaryIO, output_format: Format) -> int:
    """Write all rows of ``reader`` to ``sink``; returns how many there were."""
    writers: dict[Format, Callable[[pa.RecordBatchReader, BinaryIO], int]] = {
        "table": _write_table,
        "csv": _write_csv,
        "json": _write_json,
        "parquet": _write_parquet,
    }
    return writers[output_format](reader, sink)


def write_rows(rows: Sequence[Mapping[str, Any]], schema: pa.Schema, sink: BinaryIO, output_format: Format) -> int:
    """Write rows that were made here, one mapping each, with exactly ``schema``; returns how many there were."""
    table = pa.Table.from_pylist(list(rows), schema=schema)
    return write_result(table.to_reader(), sink, output_format)


def _batches(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    """Batches of ``reader``; its errors are the query's, and are told from those of the sink by their type."""
    while True:
        try:
            batch = reader.read_next_batch()
        except StopIteration:
            return
        except (OSError, pa.ArrowException) as error:
            raise duckdb.DatabaseError(str(error)) from error
        yield batch


def _rows(reader: pa.RecordBatchReader) -> Iterator[list[Any]]:
    for batch in _batches(reader):
        columns = [column.to_pylist() for column in batch.columns]
        for row in range(batch.num_rows):
            yield [column[row] for column in columns]


def _write_csv(reader: pa.RecordBatchReader, sink: BinaryIO) -> int:
    """RFC 4180 with a header; null is empty, lists and maps are JSON."""
    n_rows = 0
    text = io.TextIOWrapper(sink, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(reader.schema.names)
    for row in _rows(reader):
        writer.writerow([json.dumps(_plain(v), ensure_ascii=False) if isinstance(v, list | dict) else v for v in row])
        n_rows += 1
    text.detach()
    return n_rows


def _write_json(reader: pa.RecordBatchReader, sink: BinaryIO) -> int:
    """An array with one object per row; NaN and infinities, which JSON does not have, are null."""
    names = reader.schema.names
    n_rows = 0
    sink.write(b"[")
    for row in _rows(reader):
        content = {name: _plain(value) for name, value in zip(names, row, strict=True)}
        line = json.dumps(content, ensure_ascii=False, default=str, allow_nan=False)
        sink.write((",\n" if n_rows else "\n").encode() + line.encode())
        n_rows += 1
    sink.write(b"\n]\n")
    return n_rows


def _write_parquet(reader: pa.RecordBatchReader, sink: BinaryIO) -> int:
    n_rows = 0
    with pq.ParquetWriter(sink, reader.schema, compression="zstd") as writer:
        for batch in _batches(reader):
            writer.write_batch(batch)
            n_rows += batch.num_rows
    return n_rows


def _write_table(reader: pa.RecordBatchReader, sink: BinaryIO) -> int:
    """Aligned columns; long cells and rows after the 200th are cut, and the last line says so.

    Control characters and marks of direction are shown as signs: what is in a store cannot steer a terminal.
    """
    if reader.schema.names == ["explain_key", "explain_value"]:
        plans = [str(row[1]).rstrip() for row in _rows(reader)]
        sink.write(("\n".join(plans) + "\n").encode())
        return len(plans)
    shown: list[list[str]] = []
    n_rows = 0
    for row in _rows(reader):
        if n_rows < _TABLE_ROWS:
            shown.append([_cell(value) for value in row])
        n_rows += 1
    kinds = reader.schema.types
    numeric = [pa.types.is_integer(t) or pa.types.is_floating(t) or pa.types.is_decimal(t) for t in kinds]
    names = [inert(name) for name in reader.schema.names]
    widths = [max([len(name), *(len(row[i]) for row in shown)]) for i, name in enumerate(names)]
    lines = [names, ["-" * width for width in widths], *shown]
    for line in lines:
        cells = (c.rjust(w) if right else c.ljust(w) for c, w, right in zip(line, widths, numeric, strict=True))
        sink.write(("  ".join(cells).rstrip() + "\n").encode())
    more = f", the first {_TABLE_ROWS} shown; --format csv writes all" if n_rows > _TABLE_ROWS else ""
    sink.write(f"({n_rows:,} row{'' if n_rows == 1 else 's'}{more})\n".encode())
    return n_rows


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = "" if value is None else " ".join(str(value).split()) if isinstance(value, str) else str(value)
    return inert(text if len(text) <= _CELL_WIDTH else text[: _CELL_WIDTH - 1] + "…")


def _plain(value: Any) -> Any:
    """``value`` for JSON: non-finite floats as ``None``, decimals as numbers, maps as objects, in nested values too."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        # sum() of integers is a HUGEINT, which arrives as a decimal without places
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        if value and all(isinstance(item, tuple) and len(item) == 2 for item in value):
            return {str(key): _plain(item) for key, item in value}
        return [_plain(item) for item in value]
    return value
