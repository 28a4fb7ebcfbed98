"""Activation files of consecutive shards, rewritten as one long file: the same rows, columns, values and encodings.

The sources' checksums are compared on the way, so that damage never gets a new checksum that fits it. Memory is about
the decoded size of the file that is made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.store.receipts import FileEntry
from pipeline.store.storage import Storage
from schemas.errors import IntegrityError, StoreError

#: Files from this size on are decoded by several threads; smaller ones cost more CPU that way than they gain.
_THREADED_BYTES = 8 << 20


def concat_activations(storage: Storage, sources: Sequence[FileEntry], path: Path) -> None:
    """Write the rows of ``sources`` (files of one block of one layer, in row order) to the local file ``path``.

    One row group, encoded as the sources are, with their key-value metadata. Raises :class:`IntegrityError` if a
    source is not what its entry says, has other columns or metadata than the first one, or does not go on where the
    one before it ends.
    """
    tables: list[Any] = []
    options: dict[str, Any] = {}
    for source in sources:
        with _open(storage, source) as file:
            table = file.read(use_threads=source.n_bytes >= _THREADED_BYTES)
            if not options and file.metadata.num_row_groups:
                options = _encoding(file.metadata)
        if tables and not table.schema.equals(tables[0].schema, check_metadata=True):
            raise _differs(storage, source, f"other columns or metadata than {sources[0].path}")
        tables.append(table)
    whole = pa.concat_tables(tables)
    _check_row_ids(storage, sources, whole.column("row_id").to_numpy())
    try:
        pq.write_table(whole, path, row_group_size=max(whole.num_rows, 1), **options)
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be written: {error}; check the disk's space and rights, and run again"
        ) from error


def _open(storage: Storage, source: FileEntry) -> pq.ParquetFile:
    """The source, read once and compared with its entry."""
    content = storage.read(source.path)
    if hashlib.sha256(content).hexdigest() != source.sha256:
        raise _differs(storage, source, "another checksum than its receipt says")
    try:
        return pq.ParquetFile(pa.BufferReader(content))
    except (OSError, pa.ArrowInvalid) as error:
        raise _differs(storage, source, str(error)) from error


def _encoding(metadata: pq.FileMetaData) -> dict[str, Any]:
    """Pyarrow's options that encode as this file is encoded; all neurons of a file are encoded alike."""
    group = metadata.row_group(0)
    names = [group.column(index).path_in_schema for index in range(group.num_columns)]
    neuron = group.column(len(names) - 1)
    is_compressed = neuron.compression != "UNCOMPRESSED"
    return {
        "compression": neuron.compression.lower() if is_compressed else "none",
        "compression_level": 1 if is_compressed else None,
        "use_dictionary": names[1:] if neuron.has_dictionary_page else False,
        "use_byte_stream_split": names[1:] if "BYTE_STREAM_SPLIT" in neuron.encodings else False,
        "write_statistics": [name for index, name in enumerate(names) if group.column(index).is_stats_set],
    }


def _check_row_ids(storage: Storage, sources: Sequence[FileEntry], row_ids: Any) -> None:
    gaps = np.flatnonzero(np.diff(row_ids) != 1)
    if len(gaps):
        ends = np.cumsum([source.n_rows for source in sources])
        source = sources[int(np.searchsorted(ends, gaps[0] + 1, side="right"))]
        raise _differs(storage, source, f"row id {row_ids[gaps[0] + 1]} after {row_ids[gaps[0]]}")


def _differs(storage: Storage, source: FileEntry, found: str) -> IntegrityError:
    return IntegrityError(
        f"store {storage.root}: {source.path} has {found}; `neuronmill verify` names its receipt: delete that, "
        "dump again and then compact"
    )
