"""The store: a folder or URL that holds the corpus tables, activations, results, receipts, manifests and snapshots.

Writing is always: stage files, :meth:`Store.commit` them (checksums, rename or upload, then a create-only receipt), and
once a table's pieces are all there, :meth:`Store.advance` the manifest. Killed anywhere, the store holds only whole
files, and the same work done again gives the same files.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.store import paths
from pipeline.store.footer import ActivationFooter
from pipeline.store.immutability import refuse_overwrite
from pipeline.store.lease import Lease
from pipeline.store.manifest import Changes, Manifest, ManifestLog
from pipeline.store.open_storage import open_storage
from pipeline.store.parquet import ActivationReader, read_table
from pipeline.store.receipts import FileEntry, Receipt
from pipeline.store.staging import Staging, sweep_staging
from pipeline.store.storage import LocalStorage, Storage
from schemas.errors import IntegrityError, SchemaVersionError, StoreError, StoreLocationError
from schemas.tables import SCHEMA_VERSION

_FORMAT = "neuronmill"
_HASHING_THREADS = min(4, os.cpu_count() or 1)
_NEURON = re.compile(r"n(\d{4,})")


class Store:
    """An open store. Cheap to open, safe to pickle (it holds only its address), made for many processes at once."""

    def __init__(self, storage: Storage, manifest: Manifest | None = None) -> None:
        self.storage = storage
        self._manifests = ManifestLog(storage)
        self._pinned = manifest
        self._lease: Lease | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.storage.root, None if self._pinned is None else self._pinned.number)

    def pinned(self) -> Store:
        """The same store with its file lists fixed as they are now: :meth:`manifest` and :meth:`files` ask nothing.

        For workers, which look files up all the time: the store itself lists the manifests for each lookup, to see
        what other processes have added. A pinned store reads and commits; it cannot advance the manifest. Pickled, it
        stays at its manifest (one of the store's), which a process then reads once.
        """
        return Store(self.storage, self.manifest())

    @classmethod
    def create(cls, url: str) -> Store:
        """Open the store at ``url`` for writing, making it first if there is none.

        Raises :class:`StoreError` if it cannot be written (a file in its place, a read-only disk) and
        :class:`SchemaVersionError` if it was written by another schema version.
        """
        storage = open_storage(url)
        if isinstance(storage, LocalStorage):
            if "?" in storage.root:
                raise StoreLocationError(
                    f"store {storage.root}: the path has a `?`, where DuckDB ends a file's name; name another path"
                )
            _make_folder(storage.folder)
        description = {"format": _FORMAT, "schema_version": SCHEMA_VERSION}
        storage.put_new(paths.STORE_FILE, (json.dumps(description) + "\n").encode())
        sweep_staging(storage)
        return cls.open(url)

    @classmethod
    def open(cls, url: str) -> Store:
        """Open an existing store; :class:`StoreError` (:class:`SchemaVersionError`) if none of this version is."""
        storage = open_storage(url)
        if isinstance(storage, LocalStorage) and storage.folder.exists() and not storage.folder.is_dir():
            raise _occupied(storage.folder)
        if not storage.exists(paths.STORE_FILE):
            raise StoreLocationError(
                f"store {storage.root}: there is no store here (no {paths.STORE_FILE}); check the path, "
                "or make one with `neuronmill run` or `neuronmill plan`"
            )
        _check_version(storage)
        return cls(storage)

    @property
    def url(self) -> str:
        """Folder or URL of the store."""
        return self.storage.root

    @contextmanager
    def holding(
        self, name: str, *, command: str, wait: float = 0.0, tell: Callable[[str], None] = lambda _: None
    ) -> Iterator[Lease]:
        """Hold lease ``name`` (:mod:`pipeline.store.lease`); meanwhile the manifest advances only while it is held.

        Raises :class:`LeaseError` if another command holds it, or one that excludes it, for ``wait`` seconds more.
        """
        with Lease(self.storage, name, command=command, wait=wait, tell=tell) as lease:
            self._lease = lease
            try:
                yield lease
            finally:
                self._lease = None

    def check_lease(self) -> None:
        """Raise :class:`LeaseError` if the lease of :meth:`holding` was lost; nothing without one."""
        if self._lease is not None:
            self._lease.check()

    def check_space(self, n_bytes: int) -> None:
        """Raise :class:`StoreError` if ``n_bytes`` more do not fit (local stores; a remote one is not asked)."""
        free = self.storage.free_bytes()
        if free is not None and n_bytes > free:
            raise StoreError(
                f"store {self.url}: {n_bytes / 1e6:,.1f} MB are needed and {free / 1e6:,.1f} MB are free on its disk; "
                "free some, name another store, or dump fewer layers or components"
            )

    @contextmanager
    def staging(self) -> Iterator[Staging]:
        """A staging folder, removed at the end with everything that was not committed.

        A disk that refuses a file there is a :class:`StoreError`; errors of other files, and of files there that are
        looked for and were never written, stay what they are.
        """
        staging = Staging(self.storage)
        try:
            yield staging
        except OSError as error:
            reason = staging.refusal(error)
            if reason is None:
                raise
            raise StoreError(
                f"store {self.url}: a file cannot be written ({reason}); what is finished is kept: "
                "free or mend the disk and start the same command again to resume"
            ) from error
        finally:
            staging.discard()

    def commit(
        self,
        staging: Staging,
        stage: str,
        key: str,
        facts: Mapping[str, Any] | None = None,
        n_rows: Mapping[str, int] | None = None,
    ) -> Receipt:
        """Make the staged files part of the store and create the receipt ``stage``/``key``.

        Checksums and rows (of activation files also neurons, and what was kept by which rule) are read from the files
        unless :meth:`Staging.wrote` was told; ``n_rows`` gives the rows of files that are not Parquet. If there is a
        receipt already it wins: it is returned and the staged files are dropped.

        On a local store the files get their names; one of a name with other content may be there only if no record
        lists it, :class:`StoreError` otherwise (committed files never change). A remote store has no locks, so its
        files get their content into their names (:func:`pipeline.store.paths.content_file`; the receipt says which):
        a slower writer never replaces the files of a faster one, and deletes its own afterwards if they are others.
        """
        receipt_path = paths.receipt_file(stage, key)
        with ThreadPoolExecutor(_HASHING_THREADS) as pool:  # hashing releases the GIL
            found = pool.map(lambda path: _describe(staging, path, (n_rows or {}).get(path)), staging.paths)
            entries = tuple(found)
        staged = [staging.path(entry.path) for entry in entries]
        if not self.storage.is_local:
            entries = tuple(replace(entry, path=paths.content_file(entry.path, entry.sha256)) for entry in entries)
        receipt = Receipt(stage, key, entries, dict(facts or {}))
        with self.storage.lock(receipt_path):
            if winner := self.receipt(stage, key):
                return winner
            there = refuse_overwrite(self.storage, entries) if self.storage.is_local else frozenset()
            for file, entry in zip(staged, entries, strict=True):
                if entry.path not in there:  # left by a killed commit, or intact beside one that is repaired
                    self.storage.adopt(file, entry.path)
            if self.storage.put_new(receipt_path, receipt.to_json()):
                return receipt
        return self._lost(receipt)

    def _lost(self, receipt: Receipt) -> Receipt:
        """The receipt of a writer that was faster, after ours was uploaded; ours is removed as far as possible."""
        winner = self.receipt(receipt.stage, receipt.key)
        if winner is None:
            raise IntegrityError(
                f"receipt {receipt.stage}/{receipt.key}: was there and is gone; do not delete receipts while "
                "commands work on this store, and run again"
            )
        kept = {entry.path for entry in winner.files}
        for entry in receipt.files:
            if entry.path not in kept:
                # what stays is listed nowhere and costs only space
                with suppress(StoreError):
                    self.storage.delete(entry.path)
        return winner

    def receipt(self, stage: str, key: str) -> Receipt | None:
        """The receipt, or ``None`` if this piece is not done."""
        path = paths.receipt_file(stage, key)
        return Receipt.from_json(self.storage.read(path), path) if self.storage.exists(path) else None

    def receipt_keys(self, stage: str) -> list[str]:
        """Keys of the receipts of a stage, in natural order, without reading the receipts."""
        folder = f"{paths.RECEIPTS}/{stage}/"
        listed = sorted(self.storage.list(folder.rstrip("/")), key=paths.natural_key)
        return [path.removeprefix(folder).removesuffix(".json") for path in listed]

    def receipts(self, stage: str, prefix: str = "") -> dict[str, Receipt]:
        """All receipts of a stage (with keys that begin with ``prefix``), by key, in natural order."""
        found = {}
        for key in self.receipt_keys(stage):
            if key.startswith(prefix):
                path = paths.receipt_file(stage, key)
                found[key] = Receipt.from_json(self.storage.read(path), path)
        return found

    def manifest(self) -> Manifest:
        """The latest manifest, parsed again only when there is a new one; of a pinned store always the same."""
        return self._manifests.latest() if self._pinned is None else self._pinned

    def advance(self, table: str, scope: str, entries: Iterable[FileEntry]) -> Manifest:
        """Replace the files of ``table`` in ``scope``; see :meth:`advance_all`."""
        return self.advance_all({(table, scope): tuple(entries)})

    def advance_all(self, changes: Changes) -> Manifest:
        """Replace the files of several (table, scope) pairs in one new manifest: readers see all of it or nothing.

        Raises :class:`StoreError` on a pinned store, which would not see it, and :class:`LeaseError` if the lease of
        :meth:`holding` was lost.
        """
        if self._pinned is not None:
            raise StoreError(
                f"store {self.url}: is pinned to manifest {self._pinned.number} and cannot advance it; "
                "advance the store that `pinned()` was called on"
            )
        self.check_lease()
        return self._manifests.advance(changes)

    def files(self, table: str, scope: str | None = None, **partitions: str | int) -> list[FileEntry]:
        """Files of a table by the latest manifest, e.g. ``files("activations", model="m", layer=3, block=0)``."""
        return self.manifest().files(table, scope, **partitions)

    def read_table(self, entries: Sequence[FileEntry], columns: Sequence[str] | None = None) -> pa.Table:
        """Rows of these files (at least one), in the order given; see :func:`pipeline.store.parquet.read_table`."""
        return read_table(self.storage, [entry.path for entry in entries], columns)

    def exists(self, path: str) -> bool:
        """Whether there is a file at this relative path."""
        return self.storage.exists(path)

    def read_if_there(self, path: str) -> bytes | None:
        """Content of a file that others may delete at any moment; None if it is not there."""
        try:
            return self.storage.read(path)
        except StoreError:
            if self.storage.exists(path):
                raise
            return None

    def read_json(self, path: str) -> Any:
        """A JSON record of the store, as plain data."""
        try:
            return json.loads(self.storage.read(path))
        except ValueError as error:
            raise IntegrityError(
                f"store {self.url}: {path} cannot be read ({error}); bring it back from a copy of the store"
            ) from error

    def put_json_new(self, path: str, record: Any) -> bool:
        """Write a JSON record that must not exist yet; False (and nothing written) if it does."""
        return self.storage.put_new(path, _json_bytes(record))

    def put_json(self, path: str, record: Any) -> None:
        """Write or replace a JSON record."""
        self.storage.put(path, _json_bytes(record))

    def replace_json(self, path: str, record: Any, expected: bytes) -> bool:
        """Replace a JSON record if its bytes are still ``expected``; False (and nothing written) if they are not."""
        return self.storage.swap(path, _json_bytes(record), expected)

    def activation_reader(self, *, threads: bool = False) -> ActivationReader:
        """A reader of activation blocks that keeps footers; one per process."""
        return ActivationReader(self.storage, threads=threads)


def _json_bytes(record: Any) -> bytes:
    return (json.dumps(record, indent=1, sort_keys=True) + "\n").encode()


def _reopen(url: str, manifest: int | None) -> Store:
    return Store(open_storage(url), None if manifest is None else _manifest(url, manifest))


@lru_cache(maxsize=4)
def _manifest(url: str, number: int) -> Manifest:
    return ManifestLog(open_storage(url)).numbered(number)


def _occupied(folder: Path) -> StoreLocationError:
    return StoreLocationError(f"store {folder}: a file is in the folder's place; move it away or name another path")


def _make_folder(folder: Path) -> None:
    """Make the store's folder, or say why that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise _occupied(folder) from error
    except OSError as error:
        raise StoreError(
            f"store {folder}: the folder cannot be made: {error.strerror}; check the rights and the disk, "
            "or name another path"
        ) from error


def _check_version(storage: Storage) -> None:
    try:
        description = json.loads(storage.read(paths.STORE_FILE))
        is_ours = description["format"] == _FORMAT
        version = int(description["schema_version"])
    except (ValueError, KeyError, TypeError) as error:
        raise StoreLocationError(
            f"store {storage.root}: {paths.STORE_FILE} does not describe a store ({error}); name another path"
        ) from error
    if not is_ours:
        raise StoreLocationError(f"store {storage.root}: {paths.STORE_FILE} is of another program; name another path")
    if version != SCHEMA_VERSION:
        raise SchemaVersionError(
            f"store {storage.root}: schema_version is {version} and this neuronmill writes {SCHEMA_VERSION}; "
            "use the version that wrote it, or make a new store"
        )


def _describe(staging: Staging, path: str, n_rows: int | None) -> FileEntry:
    """Checksum and counts of a finished file."""
    file = staging.path(path)
    if not file.is_file():
        raise StoreError(f"{path}: was staged but never written; write the file before the commit")
    told = staging.facts(path)
    if told is not None:
        return FileEntry.of(path, **told)
    with file.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    facts: dict[str, Any] = {}
    if path.endswith(".parquet"):
        metadata = pq.read_metadata(file)
        facts["n_rows"] = metadata.num_rows
        if path.startswith("activations/"):
            footer = ActivationFooter.of(metadata, path)
            facts |= {} if footer.is_sparse else _neurons_of(metadata.schema.names, path)
            facts |= footer.entry_facts(metadata.num_rows)
    elif n_rows is not None:
        facts["n_rows"] = n_rows
    return FileEntry.of(path, **{"n_rows": 0, **facts}, n_bytes=file.stat().st_size, sha256=digest)


def _neurons_of(names: Sequence[str], path: str) -> dict[str, int]:
    neurons = [int(match[1]) for name in names if (match := _NEURON.fullmatch(name))]
    if not neurons or neurons != list(range(neurons[0], neurons[0] + len(neurons))):
        raise StoreError(f"{path}: an activation file has the columns row_id, n0000, n0001, … without gaps; got others")
    return {"first_neuron": neurons[0], "n_neurons": len(neurons)}
