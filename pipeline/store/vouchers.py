"""What vouches for the files of a store: every receipt, the latest manifest that can be read, every snapshot.

Unlike the store itself, this reading goes on past records that are torn, and says which: verification, repair and the
removal of orphans work on damaged stores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from pipeline.store import paths
from pipeline.store.manifest import Manifest
from pipeline.store.receipts import FileEntry, Receipt
from pipeline.store.storage import Storage
from schemas.errors import StoreError, TornRecordError

T = TypeVar("T")

_MANIFEST_NAME = "manifest.json"
#: Records read at once: a local disk needs no more, a remote store answers one request in tens of milliseconds.
_READERS = 16


@dataclass(frozen=True)
class Torn:
    """A record that cannot be read."""

    path: str
    why: str


@dataclass(frozen=True)
class Vouchers:
    """The records of a store as they were at one moment."""

    receipts: dict[str, Receipt]
    """Receipts by path."""
    manifest: Manifest
    """The latest one that can be read; empty if there is none."""
    snapshots: dict[str, Manifest]
    """Manifests of the snapshots, by snapshot."""
    torn: tuple[Torn, ...]
    """Receipts, manifests later than the one above and manifests of snapshots that cannot be read."""

    def entries(self) -> Iterator[tuple[str, FileEntry]]:
        """Every (path of a record, file it lists): receipts first, then the manifest, then snapshots."""
        for path, receipt in self.receipts.items():
            yield from ((path, entry) for entry in receipt.files)
        number = self.manifest.number
        yield from ((paths.manifest_file(number), entry) for entry in self.manifest.entries())
        for snapshot, manifest in self.snapshots.items():
            yield from ((snapshot_manifest(snapshot), entry) for entry in manifest.entries())


def snapshot_manifest(snapshot: str) -> str:
    """Path of a snapshot's file list."""
    return f"{paths.snapshot_folder(snapshot)}/{_MANIFEST_NAME}"


def manifest_numbers(storage: Storage) -> list[int]:
    """Numbers of the stored manifests, ascending."""
    names = (path.removeprefix(f"{paths.MANIFESTS}/").removesuffix(".json") for path in storage.list(paths.MANIFESTS))
    return sorted(int(name) for name in names if name.isdigit())


def read_vouchers(storage: Storage, known: dict[str, Receipt] | None = None) -> Vouchers:
    """Read all records; receipts of ``known`` (by path), which never change, are not read again.

    The manifest and the snapshots are read after the receipts.
    """
    torn: list[Torn] = []
    known = known or {}
    listed = sorted(storage.list(paths.RECEIPTS), key=paths.natural_key)
    fresh = _read_all(storage, [path for path in listed if path not in known], Receipt.from_json, torn)
    receipts = {path: known.get(path) or fresh[path] for path in listed if path in known or path in fresh}
    manifest, unreadable = latest_readable(storage)
    found = _read_all(storage, _snapshot_paths(storage), Manifest.from_json, torn)
    snapshots = {path.split("/")[1]: snapshot for path, snapshot in found.items()}
    return Vouchers(receipts, manifest, snapshots, (*torn, *unreadable))


def latest_readable(storage: Storage) -> tuple[Manifest, list[Torn]]:
    """The latest manifest that can be read (the empty one if there is none), and the later ones that cannot."""
    torn: list[Torn] = []
    for number in reversed(manifest_numbers(storage)):
        path = paths.manifest_file(number)
        found = _read_all(storage, [path], Manifest.from_json, torn)
        if path in found:
            return found[path], torn
    return Manifest(), torn


def _snapshot_paths(storage: Storage) -> list[str]:
    listed = (path.split("/") for path in storage.list(paths.SNAPSHOTS))
    return ["/".join(parts) for parts in listed if len(parts) == 3 and parts[2] == _MANIFEST_NAME]


def _read_all(
    storage: Storage, wanted: Sequence[str], parse: Callable[[bytes, str], T], torn: list[Torn]
) -> dict[str, T]:
    """Records by path; those that cannot be read go to ``torn``, those that went away meanwhile are left out."""

    def read(path: str) -> T | Torn | None:
        try:
            return parse(storage.read(path), path)
        except TornRecordError as error:
            return Torn(path, error.why)
        except StoreError as error:
            return Torn(path, str(error)) if storage.exists(path) else None

    found: dict[str, T] = {}
    with ThreadPoolExecutor(_READERS) as pool:
        for path, record in zip(wanted, pool.map(read, wanted), strict=True):
            if isinstance(record, Torn):
                torn.append(record)
            elif record is not None:
                found[path] = record
    return found
