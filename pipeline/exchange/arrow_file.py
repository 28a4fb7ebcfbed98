"""Writers through Arrow: an IPC file of rows with a column per neuron, and a table of rows as Parquet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.exchange.source import Array


class ArrowWriter:
    """An Arrow IPC file: who each row is, its concepts, and ``n0000``, ``n0001``, … (one record batch a call)."""

    def __init__(self, file: Path, neurons: Sequence[str], dtype: np.dtype[Any], metadata: Mapping[str, str]) -> None:
        fields = [
            pa.field("row_id", pa.int64(), nullable=False),
            *(pa.field(name, pa.string(), nullable=False) for name in ("document", "sentence")),
            pa.field("position", pa.int32(), nullable=False),
            pa.field("word", pa.string(), nullable=False),
            pa.field("split", pa.string()),
            pa.field("concepts", pa.list_(pa.string()), nullable=False),
            *(pa.field(name, pa.from_numpy_dtype(dtype), nullable=False) for name in neurons),
        ]
        self._schema = pa.schema(fields, metadata=dict(metadata))
        self._writer = pa.ipc.new_file(file, self._schema)

    def write(self, columns: Mapping[str, Any], values: Array) -> None:
        """Append rows: the columns before the neurons, and values (n, N)."""
        kept = [pa.array(columns[name], self._schema.field(name).type) for name in self._schema.names[:7]]
        neurons = [pa.array(column) for column in np.ascontiguousarray(values.T)]
        self._writer.write_batch(pa.RecordBatch.from_arrays([*kept, *neurons], schema=self._schema))

    def close(self) -> None:
        """Write the footer and close the file."""
        self._writer.close()


class ParquetRows:
    """A table of rows as Parquet: text as it is, labels of 0 and 1 as int8."""

    def __init__(self, file: Path, columns: Sequence[str], labels: Sequence[str]) -> None:
        numbers = {"position": pa.int32(), **dict.fromkeys(labels, pa.int8())}
        self._schema = pa.schema([pa.field(name, numbers.get(name, pa.string())) for name in (*columns, *labels)])
        self._writer = pq.ParquetWriter(file, self._schema, compression="zstd")

    def write(self, columns: Mapping[str, Any]) -> None:
        """Append rows."""
        arrays = [pa.array(columns[field.name], field.type) for field in self._schema]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))

    def close(self) -> None:
        """Write the footer and close the file."""
        self._writer.close()
