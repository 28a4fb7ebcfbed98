"""The store that a plan goes into: made before the work, and taken away again if nothing came of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.store.open_storage import open_storage
from pipeline.store.paths import LEASES, LOCKS, STAGING, STORE_FILE
from pipeline.store.remote_storage import RemoteStorage
from pipeline.store.retries import ERRORS
from pipeline.store.storage import LocalStorage, Storage
from pipeline.store.store import Store
from schemas.errors import NeuronmillError, StoreError


@contextmanager
def store_to_fill(url: str) -> Iterator[Store]:
    """The store at ``url``, made if there is none: one that cannot be written is refused before hours of reading.

    A new store that an error leaves empty is removed, with the folders made for it; one with anything in it is kept
    for the next start.
    """
    storage = open_storage(url)
    is_new = not _exists(storage)
    missing = _missing_folders(storage)
    try:
        yield Store.create(url)
    except NeuronmillError:
        if is_new:
            _remove_if_empty(storage)
            for folder in missing:
                with suppress(OSError):  # something is in it
                    folder.rmdir()
        raise


def _exists(storage: Storage) -> bool:
    try:
        return storage.exists(STORE_FILE)
    except OSError:  # a folder that must not be looked into: nothing to remove there
        return True


def _missing_folders(storage: Storage) -> list[Path]:
    """The local store's folder and its parents that are not there yet, innermost first."""
    if not isinstance(storage, LocalStorage):
        return []
    with suppress(OSError):
        return [folder for folder in (storage.folder, *storage.folder.parents) if not folder.exists()]
    return []


def _remove_if_empty(storage: Storage) -> None:
    """Remove the description of a store in which there is nothing else."""
    if isinstance(storage, LocalStorage):
        with suppress(OSError):  # files in staging, a lease: someone is at work here
            if (leases := storage.folder / LEASES).exists():
                leases.rmdir()
            shutil.rmtree(storage.folder / STAGING / LOCKS, ignore_errors=True)
            (storage.folder / STAGING).rmdir()
            if [entry.name for entry in storage.folder.iterdir()] == [STORE_FILE]:
                storage.delete(STORE_FILE)
    elif isinstance(storage, RemoteStorage):
        with suppress(StoreError, *ERRORS):  # the error that brought us here is the one to tell
            if storage.exists(STORE_FILE) and len(storage.filesystem.find(storage.base)) == 1:
                storage.delete(STORE_FILE)
