"""Repair of records that need no work done again: the manifest, and published snapshots."""

from __future__ import annotations

from dataclasses import replace

from pipeline.store import paths
from pipeline.store.manifest import Manifest
from pipeline.store.publish import build_snapshot, snapshot_id
from pipeline.store.receipts import Receipt
from pipeline.store.store import Store
from pipeline.store.verify_file import check_file
from pipeline.store.vouchers import latest_readable, manifest_numbers, snapshot_manifest
from schemas.errors import IntegrityError, StoreError


def renew_manifest(store: Store) -> list[str]:
    """Go back to the latest manifest that can be read, under the next number; returns the torn ones, now removed.

    What only the torn ones listed has to be registered again.
    """
    manifest, torn = latest_readable(store.storage)
    if not torn:
        return []
    number = manifest_numbers(store.storage)[-1] + 1
    if not store.storage.put_new(paths.manifest_file(number), Manifest(number, manifest.tables).to_json()):
        raise StoreError(f"store {store.url}: another command works on it; repair it when that one has ended")
    for record in torn:
        store.storage.delete(record.path)
    return [record.path for record in torn]


def correct_receipt(store: Store, path: str) -> bool:
    """Give a receipt the entries that the manifest has for its files; False if they don't fit the files either.

    For a receipt that contradicts both the manifest and the files: no work has to be done again.
    """
    storage = store.storage
    listed = {entry.path: entry for entry in latest_readable(storage)[0].entries()}
    receipt = Receipt.from_json(storage.read(path), path)
    files = tuple(listed.get(entry.path, entry) for entry in receipt.files)
    if any(check_file(storage, entry).problems for entry in files):
        return False
    storage.put(path, replace(receipt, files=files).to_json())
    return True


def repair_snapshot(store: Store, snapshot: str) -> None:
    """Write the file list of a snapshot and its DuckDB file again, out of the store's files.

    Raises :class:`IntegrityError` if no record says any more what was in it.
    """
    manifest = _manifest_of(store, snapshot)
    folder = paths.snapshot_folder(snapshot)
    with store.staging() as staging:
        build_snapshot(store, manifest, snapshot, staging)
        for path in (f"{folder}/{paths.DATABASE}", snapshot_manifest(snapshot)):
            store.storage.adopt(staging.path(path), path)


def _manifest_of(store: Store, snapshot: str) -> Manifest:
    """The file list of a snapshot: its own, or that of the manifest it was made of."""
    numbers = reversed(manifest_numbers(store.storage))
    for path in (snapshot_manifest(snapshot), *(paths.manifest_file(number) for number in numbers)):
        if store.storage.exists(path):
            try:
                manifest = Manifest.from_json(store.storage.read(path), path)
            except IntegrityError:
                continue
            if snapshot_id(manifest) == snapshot:
                return manifest
    raise IntegrityError(
        f"snapshot {snapshot}: its list of files cannot be read, and no manifest is left that it was made of; "
        f"publish again (`neuronmill publish --store {store.url}`) and remove {paths.snapshot_folder(snapshot)}/"
    )
