"""Every file of a store, with its size and when it was last touched; links and foreign things are told apart.

Only folders that this program makes are entered. What else lies in the root, a link anywhere (whatever it points to)
and a name that no path of the store can have are *foreign*: they are named, and never followed, read or removed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pipeline.store import paths
from pipeline.store.remote_storage import RemoteStorage
from pipeline.store.storage import LocalStorage, Storage
from schemas.errors import StoreError
from schemas.tables import TABLES

#: Folders of data, whose files a record has to list.
DATA = frozenset({*TABLES, "activations", "states"})
#: Folders whose files are records themselves, or are minded by what writes them.
_RECORDS = frozenset({
    paths.RECEIPTS, paths.MANIFESTS, paths.SNAPSHOTS, paths.REPAIRS, paths.FAILURES, paths.LEASES, "plans", "settings",
    "rowspaces", "imports",
})  # fmt: skip
#: Not looked into: staging is swept by its owners' names, annotated text is a corpus.
_CLOSED = frozenset({paths.STAGING, "annotated"})
#: Files in the root.
_ROOT = frozenset({
    paths.STORE_FILE, paths.CURRENT_FILE, "corpus.json", "corpus-complete.json", "report.html",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file."""

    path: str
    n_bytes: int
    touched: float
    """Seconds since 1970 when it was written or moved here; infinity where the file system does not tell."""


@dataclass(frozen=True)
class Census:
    """The files of a store, and what is not the store's."""

    files: tuple[StoredFile, ...]
    foreign: tuple[str, ...]


def census(storage: Storage) -> Census:
    """List the store. Raises :class:`StoreError` if it cannot be listed."""
    files: list[StoredFile] = []
    foreign: list[str] = []
    for name, found in _local(storage) if isinstance(storage, LocalStorage) else _remote(storage):
        (foreign if found is None else files).append(name if found is None else found)  # type: ignore[arg-type]
    return Census(tuple(sorted(files, key=lambda file: paths.natural_key(file.path))), tuple(sorted(foreign)))


def _local(storage: LocalStorage) -> Iterator[tuple[str, StoredFile | None]]:
    """Every name with its file; with None if it is foreign."""
    for entry in _scan(storage.folder):
        if entry.is_dir(follow_symlinks=False) and entry.name in DATA | _RECORDS:
            yield from _below(entry.path, entry.name)
        elif not (entry.name in _CLOSED or (entry.name in _ROOT and entry.is_file(follow_symlinks=False))):
            yield entry.name, None


def _below(folder: str, relative: str) -> Iterator[tuple[str, StoredFile | None]]:
    for entry in _scan(folder):
        name = f"{relative}/{entry.name}"
        if not _is_ours(name) or entry.is_symlink():
            yield name, None
        elif entry.is_dir(follow_symlinks=False):
            yield from _below(entry.path, name)
        elif entry.is_file(follow_symlinks=False):
            try:
                facts = entry.stat(follow_symlinks=False)
            except FileNotFoundError:  # moved or removed since it was listed
                continue
            # a rename keeps the time of writing, and sets that of the change
            yield name, StoredFile(name, facts.st_size, max(facts.st_mtime, facts.st_ctime))
        else:
            yield name, None


def _scan(folder: Any) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"store: cannot list {folder}: {error.strerror}; check its rights") from error


def _remote(storage: Storage) -> Iterator[tuple[str, StoredFile | None]]:
    if not isinstance(storage, RemoteStorage):
        raise StoreError(f"store {storage.root}: this kind of storage cannot be listed; name a folder or a URL")
    for name, facts in storage.everything().items():
        top, is_folder, _ = name.partition("/")
        if top in (DATA | _RECORDS if is_folder else ()) and _is_ours(name):
            yield name, StoredFile(name, int(facts["size"]), _touched(facts))
        elif not (top in _CLOSED if is_folder else top in _ROOT):
            yield name, None


def _touched(facts: dict[str, Any]) -> float:
    """When an object was written; fsspec's file systems name it differently."""
    for name in ("LastModified", "last_modified", "mtime", "updated", "created"):
        value = facts.get(name)
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        if isinstance(value, datetime):
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
        if isinstance(value, int | float):
            return float(value)
    return float("inf")


def _is_ours(name: str) -> bool:
    """Whether a path of the store can have this name."""
    try:
        paths.checked(name)
    except StoreError:
        return False
    return True
