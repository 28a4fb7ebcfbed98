"""Activation files of consecutive shards, rewritten as one long file: the same rows, columns, values and dtype.

The sources' checksums are compared on the way, so that damage never gets a new checksum that fits it. Memory is about
twice the decoded size of the file that is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.store.column_files.column_source import NeuronMajor
from pipeline.store.parquet import ActivationReader, write_activations
from pipeline.store.receipts import FileEntry
from pipeline.store.storage import Storage
from pipeline.store.value_columns import numpy_dtype
from schemas.errors import IntegrityError


def concat_activations(storage: Storage, sources: Sequence[FileEntry], path: Path) -> dict[str, Any]:
    """Write the rows of ``sources`` (dense files of one block of one layer, in row order) to the local file ``path``.

    Returns what records list of it. The bytes depend on the values alone, not on how many files they came from. Raises
    :class:`IntegrityError` if a source is not what its entry says, has other neurons or another dtype than the first
    one, or does not go on where the one before it ends.
    """
    reader, first = ActivationReader(storage, threads=True), sources[0]
    dtype = reader.dtype(first)
    n_rows = [source.n_rows for source in sources]
    values: npt.NDArray[Any] = np.empty((len(first.neurons), sum(n_rows)), numpy_dtype(dtype))
    row_ids = np.empty(sum(n_rows), np.int64)
    stops = np.cumsum(n_rows).tolist()
    for source, stop in zip(sources, stops, strict=True):
        part = slice(stop - source.n_rows, stop)
        if storage.sha256(source.path) != source.sha256:
            raise _differs(storage, source, "another checksum than its receipt says")
        if source.neurons != first.neurons or reader.dtype(source) != dtype:
            raise _differs(storage, source, f"other neurons or another dtype than {first.path}")
        values[:, part] = reader.read_block(source)
        row_ids[part] = reader.row_ids(source)
    gaps = np.flatnonzero(np.diff(row_ids) != 1)
    if len(gaps):
        source = sources[int(np.searchsorted(stops, gaps[0] + 1, side="right"))]
        raise _differs(storage, source, f"row id {row_ids[gaps[0] + 1]} after {row_ids[gaps[0]]}")
    return write_activations(path, NeuronMajor(values), first_neuron=first.neurons.start, row_ids=row_ids, dtype=dtype)


def _differs(storage: Storage, source: FileEntry, found: str) -> IntegrityError:
    return IntegrityError(
        f"store {storage.root}: {source.path} has {found}; `neuronmill verify --repair` makes it again, then compact"
    )
