"""Verification: the files still hold what receipts and manifests say.

Every file of every receipt, of the latest manifest and of the current snapshot is read once: it is there, its size
and SHA-256 are as recorded, its rows too, activation files and ``rows`` have dense row ids that continue from shard to
shard, no two row spaces share row ids, every stored value is finite, and sparse files are sorted without duplicates.
Memory is bounded by one file's chunk of neurons.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.store import paths
from pipeline.store.footer import ActivationFooter
from pipeline.store.manifest import Manifest
from pipeline.store.parquet import ActivationReader
from pipeline.store.publish import current_snapshot
from pipeline.store.receipts import FileEntry, Receipt
from pipeline.store.sparse import sparse_problems
from pipeline.store.store import Store
from schemas.config import ValueDtype
from schemas.errors import IntegrityError
from schemas.tables import neuron_column

_CHUNK_BYTES = 4 << 20
_CHUNK_NEURONS = 256
#: All exponent bits set: infinity or NaN.
_EXPONENT: dict[ValueDtype, int] = {"float16": 0x7C00, "bfloat16": 0x7F80}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is not as recorded."""

    path: str
    """The file."""
    rule: str
    """`missing`, `n_bytes`, `sha256`, `unreadable`, `n_rows`, `row_id`, `row_space`, `finite`, `conflict`, `receipt`;
    of sparse activation files also `n_values`, `range`, `sorted` or `zero`."""
    found: str
    """What was found instead, in words."""
    receipts: tuple[str, ...] = ()
    """Paths of the receipts that list the file. With these deleted, the same run redoes that piece and no other."""

    def __str__(self) -> str:
        named = f" (receipt {', '.join(self.receipts)})" if set(self.receipts) - {self.path} else ""
        return f"{self.path}: {self.rule}: {self.found}{named}"


@dataclass
class _RowIds:
    """What the files read so far say about row ids."""

    following: dict[tuple[object, ...], tuple[int, int]] = field(default_factory=dict)
    """Last shard of each series of files, and the row id after its last one."""
    ranges: list[tuple[int, int, str, str]] = field(default_factory=list)
    """First and last row id of each file of ``rows``, its row space and its path."""

    def add(self, entry: FileEntry, table: str, ids: npt.NDArray[np.int64]) -> Iterator[Problem]:
        """Take in the ids of a file, and compare them with those of the shard before."""
        series = (table, entry.rows, entry.model, entry.component, entry.layer, entry.block)
        shard = entry.shard or 0
        # a series begins anywhere: every row space has a range of ids of its own
        before, following = self.following.get(series, (shard, 0))
        yield from _check_row_ids(entry.path, ids, following if before == shard - 1 else None)
        self.following[series] = (shard, int(ids[-1]) + 1)
        if table == "rows":
            self.ranges.append((int(ids.min()), int(ids.max()), entry.rows or "", entry.path))

    def overlaps(self) -> Iterator[Problem]:
        """Files of ``rows`` that have row ids of another row space."""
        furthest: dict[str, tuple[int, str]] = {}
        for first, last, space, path in sorted(self.ranges):
            for other, (reached, other_path) in furthest.items():
                if other != space and first <= reached:
                    yield Problem(path, "row_space", f"begins with {first}; {other_path} reaches to {reached}")
            furthest[space] = max(furthest.get(space, (last, path)), (last, path))


def verify(store: Store, progress: Callable[[int, int], None] | None = None) -> list[Problem]:
    """All problems of a store, ordered by path; an empty list means that everything is as recorded.

    ``progress`` is called after each file with the number of files checked and their total.
    """
    problems: list[Problem] = []
    entries, receipts = _recorded(store, problems)
    reader = store.activation_reader()
    row_ids = _RowIds()
    ordered = sorted(entries.values(), key=lambda entry: paths.natural_key(entry.path))
    for n_done, entry in enumerate(ordered, start=1):
        found = list(_check_content(store, entry))
        if not found:
            found = list(_check_values(store, entry, reader, row_ids))
        problems.extend(found)
        if progress is not None:
            progress(n_done, len(ordered))
    problems.extend(row_ids.overlaps())
    named = (replace(found, receipts=tuple(receipts.get(found.path, found.receipts))) for found in problems)
    return sorted(named, key=lambda problem: (paths.natural_key(problem.path), problem.rule))


def _recorded(store: Store, problems: list[Problem]) -> tuple[dict[str, FileEntry], dict[str, list[str]]]:
    """Every file that something vouches for, and its receipts; contradictions, unreadable records become problems."""
    entries: dict[str, FileEntry] = {}
    receipts: dict[str, list[str]] = {}
    for source, entry in _vouchers(store, problems):
        if source.startswith(f"{paths.RECEIPTS}/"):
            receipts.setdefault(entry.path, []).append(source)
        known = entries.setdefault(entry.path, entry)
        if (known.sha256, known.n_bytes) != (entry.sha256, entry.n_bytes):
            problems.append(Problem(entry.path, "conflict", f"{source} records another content than an earlier record"))
    return entries, receipts


def _vouchers(store: Store, problems: list[Problem]) -> Iterator[tuple[str, FileEntry]]:
    for path in store.storage.list(paths.RECEIPTS):
        try:
            receipt = Receipt.from_json(store.storage.read(path), path)
        except IntegrityError as error:
            problems.append(Problem(path, "receipt", str(error), (path,)))
            continue
        yield from ((path, entry) for entry in receipt.files)
    manifests = [("the manifest", store.manifest())]
    if snapshot := current_snapshot(store):
        path = f"{paths.snapshot_folder(snapshot)}/manifest.json"
        if store.storage.exists(path):
            manifests.append((path, Manifest.from_json(store.storage.read(path), path)))
        else:
            problems.append(Problem(path, "missing", f"{paths.CURRENT_FILE} names a snapshot that is not there"))
    for source, manifest in manifests:
        for table in manifest.tables:
            yield from ((source, entry) for entry in manifest.files(table))


def _check_content(store: Store, entry: FileEntry) -> Iterator[Problem]:
    storage = store.storage
    if not storage.exists(entry.path):
        yield Problem(entry.path, "missing", "there is no such file")
        return
    n_bytes = storage.size(entry.path)
    if n_bytes != entry.n_bytes:
        yield Problem(entry.path, "n_bytes", f"{n_bytes:,} instead of {entry.n_bytes:,}")
        return
    digest = hashlib.sha256()
    with storage.open_binary(entry.path) as handle:
        while chunk := handle.read(_CHUNK_BYTES):
            digest.update(chunk)
    if digest.hexdigest() != entry.sha256:
        yield Problem(entry.path, "sha256", f"{digest.hexdigest()} instead of {entry.sha256}")


def _check_values(store: Store, entry: FileEntry, reader: ActivationReader, row_ids: _RowIds) -> Iterator[Problem]:
    """Rows, row ids and finiteness of a file whose bytes are as recorded, so these say what was *written* wrong."""
    if not entry.path.endswith(".parquet"):
        return
    try:
        with pq.ParquetFile(store.storage.open_input(entry.path)) as file:
            n_rows = file.metadata.num_rows
            table = entry.path.partition("/")[0]
            if entry.is_sparse:
                yield from _check_sparse(entry, file, row_ids)
                return
            ids = file.read(columns=["row_id"]).column(0).to_numpy() if table in ("rows", "activations") else None
    except (OSError, pa.ArrowInvalid) as error:
        yield Problem(entry.path, "unreadable", str(error))
        return
    if n_rows != entry.n_rows:
        yield Problem(entry.path, "n_rows", f"{n_rows:,} instead of {entry.n_rows:,}")
    if ids is not None and len(ids):
        yield from row_ids.add(entry, table, ids)
    if table == "activations":
        yield from _check_finite(entry, reader)


def _check_sparse(entry: FileEntry, file: pq.ParquetFile, row_ids: _RowIds) -> Iterator[Problem]:
    """The counts, row ids and values of a sparse activation file."""
    footer = ActivationFooter.of(file.metadata, entry.path)
    if footer.rows is None:
        yield Problem(entry.path, "unreadable", "is no sparse file, and is recorded as one")
        return
    for rule, found, recorded in (
        ("n_rows", len(footer.rows), entry.n_rows),
        ("n_values", file.metadata.num_rows, entry.n_values),
    ):
        if found != recorded:
            yield Problem(entry.path, rule, f"{found:,} instead of {recorded:,}")
    if len(footer.rows):
        yield from row_ids.add(entry, "activations", np.arange(footer.rows.start, footer.rows.stop, dtype=np.int64))
    yield from (Problem(entry.path, rule, found) for rule, found in sparse_problems(file, footer))


def _check_row_ids(path: str, ids: npt.NDArray[np.int64], expected: int | None) -> Iterator[Problem]:
    gaps = np.flatnonzero(np.diff(ids) != 1)
    if len(gaps):
        row = int(gaps[0])
        yield Problem(path, "row_id", f"{ids[row + 1]} follows {ids[row]} at row {row + 1}")
    if expected is not None and ids[0] != expected:
        yield Problem(path, "row_id", f"begins with {ids[0]} and the shard before it ends with {expected - 1}")


def _check_finite(entry: FileEntry, reader: ActivationReader) -> Iterator[Problem]:
    dtype = reader.dtype(entry)
    for first in range(entry.neurons.start, entry.neurons.stop, _CHUNK_NEURONS):
        chunk = range(first, min(first + _CHUNK_NEURONS, entry.neurons.stop))
        bad = ~_is_finite(reader.read_block(entry, chunk), dtype)
        if bad.any():
            neuron, row = (int(index[0]) for index in np.nonzero(bad))
            where = f"{neuron_column(first + neuron)} at row {row}"
            yield Problem(entry.path, "finite", f"NaN or infinity in {where} ({int(bad.sum()):,} in these neurons)")
            return


def _is_finite(values: npt.NDArray[Any], dtype: ValueDtype) -> npt.NDArray[np.bool_]:
    if dtype == "float32":
        finite: npt.NDArray[np.bool_] = np.isfinite(values)
    else:
        exponent = np.uint16(_EXPONENT[dtype])
        finite = (values & exponent) != exponent
    return finite
