"""Verification of one file: its bytes are those recorded, and what is in it is what such a file may hold.

A file is read twice from a local disk (checksum, then values, from the page cache), and fetched once from a remote
store, into a temporary file. Memory is bounded by a chunk of neurons.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.store.footer import ActivationFooter
from pipeline.store.parquet import ActivationReader
from pipeline.store.paths import partitions
from pipeline.store.problems import Problem
from pipeline.store.receipts import FileEntry
from pipeline.store.sparse import sparse_problems
from pipeline.store.staging import Staging
from pipeline.store.storage import CHUNK_BYTES, LocalStorage, Storage
from schemas.config import ValueDtype
from schemas.errors import IntegrityError, StoreError
from schemas.tables import neuron_column

#: Values of one chunk of neurons in memory, and the neurons of one chunk at most.
_VALUE_BYTES = 16 << 20
_CHUNK_NEURONS = 256
#: All exponent bits set: infinity or NaN.
_EXPONENT: dict[ValueDtype, int] = {"float16": 0x7C00, "bfloat16": 0x7F80}
#: Tables that are numbered without gaps, from shard to shard, and the column that numbers them.
NUMBERED = {
    "documents": "document_id",
    "sentences": "sentence_id",
    "words": "word_id",
    "rows": "row_id",
    "activations": "row_id",
}
#: Tables that point to rows: several lines may have the same row id, or none.
_POINTING = frozenset({"tokens", "labels"})


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What the reading of one file gave; small, so that a store's files are compared from memory."""

    entry: FileEntry
    problems: tuple[Problem, ...] = ()
    ids: tuple[int, int] | None = None
    """First and last id of a table of :data:`NUMBERED`; smallest and largest row id of ``tokens`` and ``labels``."""
    concepts: frozenset[str] = field(default_factory=frozenset)
    """Names in ``labels`` and ``concepts``."""

    @property
    def table(self) -> str:
        """First part of the path."""
        return self.entry.path.partition("/")[0]


def check_file(storage: Storage, entry: FileEntry) -> FileFacts:
    """Read one file and compare it with its entry."""
    if isinstance(storage, LocalStorage):
        return _check(storage, storage, entry)
    staging = Staging(storage)
    try:
        return _check(storage, LocalStorage(staging.folder), entry)
    finally:
        staging.discard()


def _check(storage: Storage, at_hand: LocalStorage, entry: FileEntry) -> FileFacts:
    if wrong := {name: value for name, value in partitions(entry.path).items() if getattr(entry, name, value) != value}:
        return FileFacts(
            entry, (Problem(entry.path, "conflict", f"is recorded otherwise than its path says: {wrong}"),)
        )
    if not storage.exists(entry.path):
        return FileFacts(entry, (Problem(entry.path, "missing", "there is no such file"),))
    n_bytes = storage.size(entry.path)
    if n_bytes != entry.n_bytes:
        return FileFacts(entry, (Problem(entry.path, "n_bytes", f"{n_bytes:,} instead of {entry.n_bytes:,}"),))
    try:
        digest = _digest(storage, at_hand, entry.path)
    except (OSError, StoreError) as error:
        return FileFacts(entry, (Problem(entry.path, "unreadable", str(error)),))
    if digest != entry.sha256:
        return FileFacts(entry, (Problem(entry.path, "sha256", f"{digest} instead of {entry.sha256}"),))
    return _check_values(at_hand, entry) if entry.path.endswith(".parquet") else FileFacts(entry)


def _digest(storage: Storage, at_hand: LocalStorage, path: str) -> str:
    """SHA-256 of the file; one that is not at hand is copied there on the way."""
    if at_hand is storage:
        return storage.sha256(path)
    digest = hashlib.sha256()
    copy = at_hand.folder / path
    copy.parent.mkdir(parents=True, exist_ok=True)
    with storage.open_binary(path) as handle, copy.open("wb") as local:
        while chunk := handle.read(CHUNK_BYTES):
            digest.update(chunk)
            local.write(chunk)
    return digest.hexdigest()


def _check_values(storage: LocalStorage, entry: FileEntry) -> FileFacts:
    """Rows, ids and finiteness of a file whose bytes are as recorded, so these say what was *written* wrong."""
    table = entry.path.partition("/")[0]
    problems: list[Problem] = []
    ids, concepts = None, frozenset[str]()
    try:
        with pq.ParquetFile(storage.open_input(entry.path)) as file:
            if entry.is_sparse:
                return _check_sparse(entry, file)
            n_rows = file.metadata.num_rows
            if n_rows != entry.n_rows:
                problems.append(Problem(entry.path, "n_rows", f"{n_rows:,} instead of {entry.n_rows:,}"))
            if table in NUMBERED and n_rows:
                numbers = file.read(columns=[NUMBERED[table]]).column(0).to_numpy()
                problems.extend(_check_dense(entry.path, NUMBERED[table], numbers))
                ids = int(numbers[0]), int(numbers[-1])
            elif table in _POINTING:
                ids = _span(file.read(columns=["row_id"]).column(0).drop_null().to_numpy())
            if table in ("labels", "concepts"):
                concepts = frozenset(file.read(columns=["concept"]).column(0).unique().to_pylist())
        if table == "activations":
            problems.extend(_check_finite(storage, entry, n_rows))
    except (OSError, pa.ArrowInvalid, IntegrityError) as error:
        problems.append(Problem(entry.path, "unreadable", str(error)))
    return FileFacts(entry, tuple(problems), ids, concepts)


def _check_sparse(entry: FileEntry, file: pq.ParquetFile) -> FileFacts:
    """The counts and values of a sparse activation file; its row ids are those of its footer."""
    footer = ActivationFooter.of(file.metadata, entry.path)
    if footer.rows is None:
        return FileFacts(entry, (Problem(entry.path, "unreadable", "is no sparse file, and is recorded as one"),))
    counts = (
        ("n_rows", len(footer.rows), entry.n_rows),
        ("n_values", file.metadata.num_rows, entry.n_values),
    )
    wrong = [(rule, f"{found:,} instead of {recorded:,}") for rule, found, recorded in counts if found != recorded]
    problems = tuple(Problem(entry.path, rule, found) for rule, found in (*wrong, *sparse_problems(file, footer)))
    return FileFacts(entry, problems, (footer.rows[0], footer.rows[-1]) if footer.rows else None)


def _span(ids: npt.NDArray[np.int64]) -> tuple[int, int] | None:
    return (int(ids.min()), int(ids.max())) if len(ids) else None


def _check_dense(path: str, column: str, ids: npt.NDArray[np.int64]) -> Iterator[Problem]:
    gaps = np.flatnonzero(np.diff(ids) != 1)
    if len(gaps):
        row = int(gaps[0])
        yield Problem(path, column, f"{ids[row + 1]} follows {ids[row]} at row {row + 1}")


def _check_finite(storage: Storage, entry: FileEntry, n_rows: int) -> Iterator[Problem]:
    reader = ActivationReader(storage)
    dtype = reader.dtype(entry)
    size = max(1, min(_CHUNK_NEURONS, _VALUE_BYTES // max(1, 4 * n_rows)))
    for first in range(entry.neurons.start, entry.neurons.stop, size):
        chunk = range(first, min(first + size, entry.neurons.stop))
        values = reader.read_block(entry, chunk)
        if _all_finite(values, dtype):
            continue
        bad = ~_is_finite(values, dtype)
        neuron, row = (int(index[0]) for index in np.nonzero(bad))
        where = f"{neuron_column(first + neuron)} at row {row}"
        yield Problem(entry.path, "finite", f"NaN or infinity in {where} ({int(bad.sum()):,} in these neurons)")
        return


def _all_finite(values: npt.NDArray[Any], dtype: ValueDtype) -> bool:
    """Neuron by neuron, whose values fit into the processor's cache: the exponents' bits, then their largest."""
    if dtype == "float32":
        return all(bool(np.isfinite(column).all()) for column in values)
    exponent = np.uint16(_EXPONENT[dtype])
    bits = np.empty(values.shape[1], np.uint16)
    return all(int(np.bitwise_and(column, exponent, out=bits).max(initial=0)) != exponent for column in values)


def _is_finite(values: npt.NDArray[Any], dtype: ValueDtype) -> npt.NDArray[np.bool_]:
    if dtype == "float32":
        finite: npt.NDArray[np.bool_] = np.isfinite(values)
    else:
        exponent = np.uint16(_EXPONENT[dtype])
        finite = (values & exponent) != exponent
    return finite
