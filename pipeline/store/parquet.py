"""Parquet files, with the same bytes for the same content.

Activation files have one column per neuron and one row group, so that a neuron's values are contiguous:

- ``float16``: FLOAT16 plain and uncompressed; zstd where a sample of the columns says that it pays. Never
  BYTE_STREAM_SPLIT: DuckDB cannot read that for FLOAT16;
- ``bfloat16``: the values as FLOAT, BYTE_STREAM_SPLIT and zstd, whose lower two bytes are zeros and cost nothing;
- ``float32``: FLOAT, BYTE_STREAM_SPLIT and zstd;
- few distinct values a neuron (a dump in ``int8``): ``float16`` values as FLOAT, dictionary-encoded and zstd.

All but the last are put together by :mod:`pipeline.store.column_files.column_file`.

Files of few values a row are in :mod:`pipeline.store.sparse`; :class:`ActivationReader` reads both alike.

Only ``row_id`` carries statistics: on thousands of columns they would double the time to write. Letters: T rows,
N neurons.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.store.column_files.column_file import SPLIT_FLOAT, float16_kind, write_columns
from pipeline.store.column_files.column_source import ColumnSource, RowMajor
from pipeline.store.column_files.plain_columns import read_plain_columns
from pipeline.store.footer import ActivationFooter, Reduction
from pipeline.store.parquet_file import unreadable, write_parquet, writing
from pipeline.store.receipts import FileEntry
from pipeline.store.sparse import read_sparse
from pipeline.store.storage import Storage
from pipeline.store.value_columns import Values, copy_values, numpy_dtype, value_array
from schemas.config import ValueDtype
from schemas.errors import StoreError
from schemas.tables import neuron_column

#: Neurons of one activation file at most: a footer costs about 135 bytes per column, and queries read it first.
BLOCK_NEURONS = 4096

_ROWS_PER_GROUP = 131_072
_READERS = min(4, os.cpu_count() or 1)
_FOOTERS = 16


def write_table(path: Path | str, table: pa.Table | Mapping[str, Any], schema: pa.Schema) -> None:
    """Write ``table`` (a table, or one array per column) with exactly ``schema``, zstd-compressed.

    Raises :class:`StoreError` if a column is missing, superfluous or of another type, or has nulls where none may be.
    """
    columns = table if isinstance(table, Mapping) else {name: table.column(name) for name in table.column_names}
    if set(columns) != set(schema.names):
        raise StoreError(
            f"{path}: columns must be {schema.names}; "
            f"missing {sorted(set(schema.names) - set(columns))}, unknown {sorted(set(columns) - set(schema.names))}"
        )
    arrays = [_typed(columns[field.name], field, path) for field in schema]
    write_parquet(
        path,
        pa.Table.from_arrays(arrays, schema=schema),
        row_group_size=_ROWS_PER_GROUP,
        compression="zstd",
        compression_level=3,
    )


def _typed(column: Any, field: Any, path: Path | str) -> Any:
    """``column`` as an Arrow array of the field's type."""
    try:
        if isinstance(column, pa.ChunkedArray):
            column = column.unify_dictionaries() if pa.types.is_dictionary(column.type) else column
        if isinstance(column, pa.Array | pa.ChunkedArray):
            array = column if column.type == field.type else column.cast(field.type)
        elif pa.types.is_dictionary(field.type) and not isinstance(column, np.ndarray):
            array = pa.array(column, type=field.type.value_type).dictionary_encode().cast(field.type)
        else:
            array = pa.array(column, type=field.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise StoreError(f"{path}: column {field.name!r} must be {field.type}: {error}") from error
    if not field.nullable and array.null_count:
        raise StoreError(f"{path}: column {field.name!r} may not be null and has {array.null_count} nulls")
    return array


def dictionary_column(indices: npt.NDArray[np.integer], values: Sequence[str]) -> Any:
    """A string column given as indices into ``values``, for :func:`write_table`."""
    return pa.DictionaryArray.from_arrays(pa.array(indices, pa.int32()), pa.array(values, pa.string()))


def text_column(values: Sequence[str | None]) -> Any:
    """A string column, also where all of it is null, for :func:`concat_columns`."""
    return pa.array(values, pa.string())


def list_column(values: Any, lengths: npt.NDArray[np.integer]) -> Any:
    """A list column for :func:`write_table`: the concatenated items of all rows, and how many each row has."""
    offsets: Any = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.array(values))


def concat_columns(columns: Sequence[Any]) -> Any:
    """The same column of several tables, one below the other; dictionary columns become plain strings."""
    arrays = [column if isinstance(column, pa.Array) else pa.array(column) for column in columns]
    plain = [a.cast(pa.string()) if pa.types.is_dictionary(a.type) else a for a in arrays]
    return pa.concat_arrays(plain)


def read_table(storage: Storage, paths: Sequence[str], columns: Sequence[str] | None = None) -> pa.Table:
    """Rows of these files in the order given (``columns`` of them); dictionary columns come back as such."""
    if not paths:
        raise StoreError("read_table: no files; a table without files has no rows, ask `store.files(table)` first")
    wanted = None if columns is None else list(columns)
    tables = []
    for path in paths:
        try:
            with pq.ParquetFile(storage.open_input(path)) as file:
                tables.append(file.read(columns=wanted))
        except (OSError, pa.ArrowInvalid) as error:
            raise unreadable(storage, path, error) from error
        if wanted is not None:
            tables[-1] = tables[-1].select(wanted)
    return pa.concat_tables(tables).unify_dictionaries()


def write_activations(
    path: Path | str,
    values: Values | ColumnSource,
    *,
    first_neuron: int,
    row_ids: npt.NDArray[np.int64],
    dtype: ValueDtype,
) -> dict[str, Any]:
    """Write one block of one layer over one shard; what records list of it (:meth:`Staging.wrote`).

    ``values``: ``uint16`` bits for ``float16`` and ``bfloat16``, or ``float32``, (T, N) row-major or a source of N
    columns; N ≤ 4,096. The bytes of the file follow from the values alone (and, where they are compressed, from
    zstandard's version). ``row_ids`` is (T,) and increasing.
    Finiteness is the extractor's promise and :mod:`pipeline.store.verify`'s check.
    """
    source = _checked_block(path, values, row_ids, dtype)
    names = _names(first_neuron, source.shape[0])
    metadata = ActivationFooter(dtype).to_metadata()
    with writing(path):
        kind = float16_kind(source) if dtype == "float16" else SPLIT_FLOAT
        written = write_columns(path, source, kind, names, row_ids, metadata)
    facts = {"n_rows": len(row_ids), "first_neuron": first_neuron, "n_neurons": len(names)}
    return {**facts, "n_bytes": written.n_bytes, "sha256": written.sha256}


@lru_cache(_FOOTERS)
def _names(first_neuron: int, n_neurons: int) -> tuple[str, ...]:
    return tuple(neuron_column(neuron) for neuron in range(first_neuron, first_neuron + n_neurons))


def write_few_values(
    path: Path | str,
    values: Values,
    *,
    first_neuron: int,
    row_ids: npt.NDArray[np.int64],
    reduction: Reduction,
) -> None:
    """As :func:`write_activations`, of ``float16`` bits (T, N) of which a neuron has few distinct ones.

    Its column becomes a dictionary and about one byte a value; as FLOAT, since FLOAT16 dictionaries are of one size and
    slower to write and to read. ``reduction`` says what was lost on the way to these values.
    """
    _checked_block(path, values, row_ids, "float16")
    names = _names(first_neuron, values.shape[1])
    metadata = ActivationFooter("float16", reduction=reduction).to_metadata()
    columns = np.ascontiguousarray(values.T).view(np.float16).astype(np.float32)
    arrays: list[Any] = [pa.array(row_ids, type=pa.int64()), *(value_array(column, "float32") for column in columns)]
    fields: list[Any] = [pa.field("row_id", pa.int64(), nullable=False)]
    fields += [pa.field(name, pa.float32(), nullable=False) for name in names]
    write_parquet(
        path,
        pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata=metadata)),
        row_group_size=max(len(row_ids), 1),
        compression="zstd",
        compression_level=1,
        use_dictionary=list(names),
        write_statistics=["row_id"],
    )


def _checked_block(
    path: Path | str, values: Values | ColumnSource, row_ids: npt.NDArray[np.int64], dtype: ValueDtype
) -> ColumnSource:
    """The columns of ``values``; :class:`StoreError` if they are not what a file of a block may hold."""
    wanted = np.dtype(numpy_dtype(dtype))
    if len(values.shape) != 2 or values.dtype != wanted:
        raise StoreError(f"{path}: values of {dtype} must be 2-d {wanted}; got {values.dtype} {values.shape}")
    source = RowMajor(values) if isinstance(values, np.ndarray) else values
    n_neurons, n_rows = source.shape
    if not 1 <= n_neurons <= BLOCK_NEURONS:
        raise StoreError(f"{path}: a block has 1 to {BLOCK_NEURONS} neurons; got {n_neurons}; cut the layer in blocks")
    if row_ids.shape != (n_rows,) or (np.diff(row_ids) <= 0).any():
        raise StoreError(f"{path}: row_ids must be {n_rows} increasing int64; got {row_ids.shape}")
    return source


class ActivationReader:
    """Reads neurons of activation files as contiguous rows of memory; keeps the footers of the last files it saw."""

    def __init__(self, storage: Storage, *, threads: bool = False) -> None:
        self._storage = storage
        self._threads = threads
        self._footers: OrderedDict[str, pq.FileMetaData] = OrderedDict()

    def dtype(self, entry: FileEntry) -> ValueDtype:
        """Dtype of the values: ``float16``, ``bfloat16`` or ``float32``."""
        with self._open(entry) as file:
            return ActivationFooter.of(file.metadata, entry.path).dtype

    def row_ids(self, entry: FileEntry) -> npt.NDArray[np.int64]:
        """(T,) row ids of the file."""
        with self._open(entry) as file:
            rows = ActivationFooter.of(file.metadata, entry.path).rows
            if rows is not None:
                return np.arange(rows.start, rows.stop, dtype=np.int64)
            ids: npt.NDArray[np.int64] = file.read(columns=["row_id"]).column(0).to_numpy()
        return ids

    def read_block(self, entry: FileEntry, neurons: range | None = None) -> Values:
        """(n, T) neuron-major values of ``neurons`` (numbered as in the layer; all of the file by default).

        ``uint16`` bits for ``float16`` and ``bfloat16`` files, ``float32`` for float32 files; 0 for what a sparse
        file leaves out. Raises
        :class:`StoreError` for neurons the file does not have, :class:`IntegrityError` if it cannot be read.
        """
        chosen = entry.neurons if neurons is None else neurons
        if chosen.step != 1 or len(chosen) == 0 or chosen[0] not in entry.neurons or chosen[-1] not in entry.neurons:
            raise StoreError(f"{entry.path}: has the neurons {entry.neurons}; {chosen} was asked for")
        names = [neuron_column(neuron) for neuron in chosen]
        try:
            with self._open(entry) as file:
                footer = ActivationFooter.of(file.metadata, entry.path)
                if footer.is_sparse:
                    return read_sparse(file, footer, chosen, threads=self._threads)
                values: Values = np.empty((len(chosen), file.metadata.num_rows), numpy_dtype(footer.dtype))
                if self._read_plain(entry, file, chosen, values):
                    return values
                table = file.read(columns=names, use_threads=self._threads)
        except (OSError, pa.ArrowInvalid) as error:
            raise unreadable(self._storage, entry.path, error) from error
        for row, column in enumerate(table.columns):
            copy_values(column, footer.dtype, values[row])
        return values

    def _read_plain(self, entry: FileEntry, file: pq.ParquetFile, chosen: range, into: Values) -> bool:
        """Read the short way where the file is on this machine and laid out for it; whether it was."""
        if not self._storage.is_local:
            return False
        first = 1 + chosen.start - entry.neurons.start  # after row_id
        columns = range(first, first + len(chosen))
        n_threads = _READERS if self._threads and len(chosen) >= _READERS else 1
        return read_plain_columns(self._storage.url(entry.path), file.metadata, columns, into, n_threads)

    def _open(self, entry: FileEntry) -> pq.ParquetFile:
        known = self._footers.get(entry.path)
        try:
            file = pq.ParquetFile(self._storage.open_input(entry.path), metadata=known)
        except (OSError, pa.ArrowInvalid) as error:
            raise unreadable(self._storage, entry.path, error) from error
        self._footers[entry.path] = file.metadata
        self._footers.move_to_end(entry.path)
        if len(self._footers) > _FOOTERS:
            self._footers.popitem(last=False)
        return file
