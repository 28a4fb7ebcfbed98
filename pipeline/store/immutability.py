"""Committed files are never changed: published snapshots, manifests and receipts name them by content."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pipeline.store import paths
from pipeline.store.manifest import Manifest, ManifestLog
from pipeline.store.receipts import FileEntry, Receipt
from pipeline.store.storage import Storage
from schemas.errors import StoreError


def refuse_overwrite(storage: Storage, entries: Sequence[FileEntry]) -> frozenset[str]:
    """Raise :class:`StoreError` if an entry would replace a file that a record lists with another SHA-256.

    Returns the paths whose file is there already, with the bytes of the entry. Records are the latest manifest, every
    snapshot's and every receipt. They are read only if there is a file of other bytes in the place of an entry, which
    is rare: left by a killed commit (no record lists it, so it may go), damaged (the record lists the same SHA-256 as
    the entry, which repairs it), or committed. A repair also replaces files that went missing, so while receipts are
    set aside for one, the records are read for absent files too.
    """
    there = [entry for entry in entries if storage.exists(entry.path)]
    other = {entry.path for entry in there if _is_other(storage, entry)}
    same = frozenset(entry.path for entry in there) - other
    doubtful = {entry.path for entry in entries} - same if storage.list(paths.REPAIRS) else other
    new = {entry.path: entry.sha256 for entry in entries if entry.path in doubtful}
    if not new:
        return same
    for source, recorded in _records(storage):
        if recorded.sha256 != new.get(recorded.path, recorded.sha256):
            raise StoreError(
                f"{recorded.path}: {source} lists this file with SHA-256 {recorded.sha256}, and the same work has now "
                f"given {new[recorded.path]}; committed files never change. Do this work where and with what wrote "
                "the rest of the store (versions, device), or start a new store"
            )
    return same


def _is_other(storage: Storage, entry: FileEntry) -> bool:
    if storage.size(entry.path) != entry.n_bytes:
        return True
    return storage.sha256(entry.path) != entry.sha256


def _records(storage: Storage) -> Iterator[tuple[str, FileEntry]]:
    yield from (("the manifest", entry) for entry in _entries(ManifestLog(storage).latest()))
    for path in storage.list(paths.SNAPSHOTS):
        if path.endswith("/manifest.json"):
            yield from ((path, entry) for entry in _entries(Manifest.from_json(storage.read(path), path)))
    for path in (*storage.list(paths.REPAIRS), *storage.list(paths.RECEIPTS)):
        yield from ((path, entry) for entry in Receipt.from_json(storage.read(path), path).files)


def _entries(manifest: Manifest) -> Iterable[FileEntry]:
    return (entry for table in manifest.tables for entry in manifest.files(table))
