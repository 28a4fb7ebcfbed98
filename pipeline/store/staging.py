"""Staging: where a piece of work writes its files before they become part of the store.

A local store stages inside itself (``staging/<token>/``, so the commit is a rename); a remote one in the machine's
temporary folder (the commit is an upload). Nothing reads a staging folder; what a killed process leaves there is
removed by :func:`sweep_staging`.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from pipeline.store.owners import is_abandoned, owned_name
from pipeline.store.paths import LOCKS, STAGING, checked
from pipeline.store.storage import LocalStorage, Storage


class Staging:
    """A folder for the files of one commit, under the names they will have in the store."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        if isinstance(storage, LocalStorage):
            self.folder = storage.folder / STAGING / owned_name("work")
        else:
            self.folder = Path(tempfile.mkdtemp(prefix="neuronmill-"))
        self._paths: set[str] = set()

    def path(self, final: str) -> Path:
        """Local path to write the file that will be ``final`` in the store; its folder exists."""
        if isinstance(self._storage, LocalStorage):
            self._storage.check_place()
        local = self.folder / checked(final)
        local.parent.mkdir(parents=True, exist_ok=True)
        self._paths.add(final)
        return local

    @property
    def paths(self) -> list[str]:
        """Final paths asked for so far, sorted."""
        return sorted(self._paths)

    def discard(self) -> None:
        """Remove the folder and whatever is left in it."""
        shutil.rmtree(self.folder, ignore_errors=True)


def sweep_staging(storage: Storage) -> int:
    """Remove what killed processes left in a local store's staging; returns how many things that were.

    What a process of this machine left goes as soon as the process has ended, what other machines left after a day
    (:func:`pipeline.store.owners.is_abandoned`), so that a shared disk keeps their commits in flight.
    """
    if not isinstance(storage, LocalStorage):
        return 0
    folder = storage.folder / STAGING
    removed = 0
    for entry in sorted(folder.iterdir()) if folder.is_dir() else []:
        if entry.name == LOCKS or not is_abandoned(entry):
            continue
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
        removed += 1
    return removed
