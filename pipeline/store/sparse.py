"""Sparse activation files: the values that are not zero, one Parquet row each, sorted by neuron, then row.

Columns ``neuron`` int32, ``row_id`` int64 and ``value`` (as in the wide files). What is not there is 0. One file is one
block of one layer over one shard, like a wide file, and reads back as the same (n, T) array. Row groups are small and
carry the neurons' range, so that a reader skips those of other neurons.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.store.footer import ActivationFooter, Reduction
from pipeline.store.parquet_file import write_parquet
from pipeline.store.value_columns import Values, copy_values, numpy_dtype, value_array
from schemas.config import ValueDtype
from schemas.errors import StoreError

Ints = npt.NDArray[np.int64]

_VALUES_PER_GROUP = 131_072


def write_sparse(
    path: Path | str,
    neuron: npt.NDArray[np.integer],
    row_id: npt.NDArray[np.integer],
    values: Values,
    *,
    neurons: range,
    rows: range,
    dtype: ValueDtype,
    reduction: Reduction | None = None,
) -> None:
    """Write the values of one block of ``neurons`` over the row ids ``rows``.

    ``neuron`` (as numbered in the layer), ``row_id`` and ``values`` (bits, or float32 for ``float32``) are parallel, in
    any order. Zeros are left out. Raises :class:`StoreError` for a neuron or row outside the ranges, two values of one
    neuron and row, or arrays that do not fit together.
    """
    _check(path, neuron, row_id, values, neurons, rows, dtype)
    stored = np.flatnonzero(_magnitudes(values))
    place = (neuron[stored] - neurons.start).astype(np.uint16)  # a radix sort for 16 bits
    row = row_id[stored].astype(np.int64)
    order = np.arange(len(stored)) if (np.diff(row) >= 0).all() else np.argsort(row, kind="stable")
    order = order[np.argsort(place[order], kind="stable")]
    place, row, kept = place[order], row[order], values[stored[order]]
    twice = np.flatnonzero((np.diff(place) == 0) & (np.diff(row) == 0))
    if len(twice):
        at = int(twice[0])
        raise StoreError(f"{path}: neuron {int(place[at]) + neurons.start} has two values in row {int(row[at])}")
    fields: list[Any] = [
        pa.field("neuron", pa.int32(), nullable=False),
        pa.field("row_id", pa.int64(), nullable=False),
        pa.field("value", pa.float16() if dtype == "float16" else pa.float32(), nullable=False),
    ]
    footer = ActivationFooter(dtype, rows, neurons, reduction)
    arrays: list[Any] = [
        pa.array(place.astype(np.int32) + np.int32(neurons.start)),
        pa.array(row),
        value_array(kept, dtype),
    ]
    write_parquet(
        path,
        pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata=footer.to_metadata())),
        row_group_size=_VALUES_PER_GROUP,
        compression="zstd",
        compression_level=1,
        use_dictionary=False,
        write_statistics=["neuron", "row_id"],
        column_encoding={
            "neuron": "DELTA_BINARY_PACKED",
            "row_id": "DELTA_BINARY_PACKED",
            # DuckDB cannot read BYTE_STREAM_SPLIT for FLOAT16
            "value": "PLAIN" if dtype == "float16" else "BYTE_STREAM_SPLIT",
        },
    )


def _check(
    path: Path | str,
    neuron: npt.NDArray[np.integer],
    row_id: npt.NDArray[np.integer],
    values: Values,
    neurons: range,
    rows: range,
    dtype: ValueDtype,
) -> None:
    wanted = np.dtype(numpy_dtype(dtype))
    if values.ndim != 1 or values.dtype != wanted or not neuron.shape == row_id.shape == values.shape:
        raise StoreError(
            f"{path}: neuron, row_id and values of {dtype} must be three (n,) arrays, values of {wanted}; "
            f"got {neuron.shape}, {row_id.shape}, {values.dtype} {values.shape}"
        )
    if not 1 <= len(neurons) <= 2**16 or neurons.step != 1 or rows.step != 1:
        raise StoreError(f"{path}: a block has 1 to 65,536 neurons in one piece; got {neurons} over {rows}")
    for name, numbers, valid in (("neuron", neuron, neurons), ("row_id", row_id, rows)):
        if len(numbers) and not valid.start <= int(numbers.min()) <= int(numbers.max()) < valid.stop:
            raise StoreError(
                f"{path}: {name} must lie in {valid.start} … {valid.stop - 1}; "
                f"got {int(numbers.min())} … {int(numbers.max())}"
            )


def _magnitudes(values: Values) -> npt.NDArray[np.unsignedinteger]:
    """Bits without the sign: 0 for both zeros."""
    if values.dtype == np.uint16:
        return values.view(np.uint16) & np.uint16(0x7FFF)
    return values.view(np.uint32) & np.uint32(0x7FFFFFFF)


def read_sparse(file: pq.ParquetFile, footer: ActivationFooter, neurons: range, *, threads: bool = False) -> Values:
    """(n, T) neuron-major values of ``neurons``, 0 where the file has none."""
    rows = footer.rows or range(0)
    dense: npt.NDArray[Any] = np.zeros((len(neurons), len(rows)), numpy_dtype(footer.dtype))
    groups = _groups_of(file.metadata, neurons)
    if not groups:
        return dense
    table = file.read_row_groups(groups, columns=["neuron", "row_id", "value"], use_threads=threads)
    neuron = table.column("neuron").to_numpy()
    first, last = np.searchsorted(neuron, (neurons.start, neurons.stop))
    values = np.empty(table.num_rows, dense.dtype)
    copy_values(table.column("value"), footer.dtype, values)
    row = table.column("row_id").to_numpy()[first:last] - rows.start
    dense[neuron[first:last] - neurons.start, row] = values[first:last]
    return dense


def _groups_of(metadata: pq.FileMetaData, neurons: range) -> list[int]:
    """Row groups that have values of these neurons."""
    groups = []
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        span = group.column(0).statistics
        if group.num_rows and span.min < neurons.stop and span.max >= neurons.start:
            groups.append(index)
    return groups


def sparse_problems(file: pq.ParquetFile, footer: ActivationFooter) -> Iterator[tuple[str, str]]:
    """What is wrong with the values of a sparse file, as (rule, found): order, duplicates, ranges, zeros, finiteness.

    The rules are `sorted`, `range`, `zero` and `finite`; the first problem of each row group is told.
    """
    rows, neurons = footer.rows or range(0), footer.neurons or range(0)
    before = np.int64(-1)
    for index in range(file.metadata.num_row_groups):
        table = file.read_row_group(index, use_threads=False)
        if not len(table):  # a file without values has one row group all the same
            continue
        neuron = table.column("neuron").to_numpy().astype(np.int64)
        row = table.column("row_id").to_numpy()
        values = np.asarray(table.column("value").to_numpy(), np.float32)
        # increasing keys: sorted by neuron, then row, and no pair twice
        key = (neuron - neurons.start) * max(len(rows), 1) + (row - rows.start)
        place = (neuron, row, index)
        checks = (
            ("range", ~(_within(neuron, neurons) & _within(row, rows)), "is outside the file's neurons or rows"),
            ("sorted", np.diff(key, prepend=before) <= 0, "does not come after the one before it"),
            ("finite", ~np.isfinite(values), "is NaN or infinity"),
            ("zero", values == 0, "is a stored zero"),
        )
        before = key[-1]
        for rule, is_bad, text in checks:
            if is_bad.any():
                yield rule, _told(place, int(np.argmax(is_bad)), text)
                break


def _told(place: tuple[Ints, Ints, int], at: int, text: str) -> str:
    neuron, row, group = place
    return f"the value of neuron {neuron[at]} in row {row[at]} (row group {group}) {text}"


def _within(numbers: Ints, valid: range) -> npt.NDArray[np.bool_]:
    return (numbers >= valid.start) & (numbers < valid.stop)
