"""Verification of published snapshots: the file list gives the snapshot its name, and the DuckDB file can be read.

The files listed are checked with all others, by :mod:`pipeline.store.verify`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import duckdb

from pipeline.store import paths
from pipeline.store.manifest import Manifest
from pipeline.store.problems import Problem
from pipeline.store.publish import snapshot_id
from pipeline.store.staging import Staging
from pipeline.store.storage import LocalStorage, Storage
from pipeline.store.vouchers import Vouchers, snapshot_manifest
from schemas.errors import StoreError

_CHUNK_BYTES = 4 << 20


def check_snapshots(storage: Storage, vouchers: Vouchers) -> Iterator[Problem]:
    """Problems of the snapshots, and of ``CURRENT``."""
    for snapshot, manifest in vouchers.snapshots.items():
        yield from _check_snapshot(storage, snapshot, manifest)
    if not storage.exists(paths.CURRENT_FILE):
        return
    current = storage.read(paths.CURRENT_FILE).decode("utf-8", "replace").strip()
    torn = {record.path for record in vouchers.torn}
    try:
        path = snapshot_manifest(current)
    except StoreError:
        yield Problem(paths.CURRENT_FILE, "snapshot", f"names {current[:80]!r}, which is no snapshot")
        return
    if current not in vouchers.snapshots and path not in torn:
        yield Problem(path, "missing", f"{paths.CURRENT_FILE} names a snapshot that is not there")


def _check_snapshot(storage: Storage, snapshot: str, manifest: Manifest) -> Iterator[Problem]:
    if (found := snapshot_id(manifest)) != snapshot:
        yield Problem(snapshot_manifest(snapshot), "snapshot", f"lists the files of snapshot {found}")
    path = f"{paths.snapshot_folder(snapshot)}/{paths.DATABASE}"
    if not storage.exists(path):
        yield Problem(path, "missing", "there is no such file")
    elif why := _unreadable(storage, path, snapshot):
        yield Problem(path, "snapshot", why)


def _unreadable(storage: Storage, path: str, snapshot: str) -> str | None:
    """What is wrong with a DuckDB file, whose blocks carry checksums of their own; ``None`` if it reads to its end."""
    if isinstance(storage, LocalStorage):
        return _read_through(storage.folder / path, snapshot)
    staging = Staging(storage)
    try:
        copy = staging.path(path)
        with storage.open_binary(path) as handle, copy.open("wb") as local:
            while chunk := handle.read(_CHUNK_BYTES):
                local.write(chunk)
        return _read_through(copy, snapshot)
    finally:
        staging.discard()


def _read_through(file: Path, snapshot: str) -> str | None:
    try:
        with closing(duckdb.connect(str(file), read_only=True)) as connection:
            tables = connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
            for (table,) in tables:
                # names of our own tables, and all their columns are read
                connection.execute(f'SELECT bit_xor(hash(t)) FROM "{table}" t').fetchall()  # noqa: S608
            named = connection.execute("SELECT text FROM about WHERE topic = 'snapshot'").fetchall()
    except duckdb.Error as error:
        return str(error).splitlines()[0]
    return None if named == [(snapshot,)] else f"is the database of snapshot {named[0][0] if named else '?'}"
