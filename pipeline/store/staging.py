"""Staging: where a piece of work writes its files before they become part of the store.

A local store stages inside itself (``staging/<owner>/``, so the commit is a rename); a remote one in the machine's
temporary folder (``neuronmill-work-<owner>/``; the commit is an upload, large files in parts). Nothing reads a staging
folder; what a killed process leaves there, or of an upload, is removed by :func:`sweep_staging`.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline.store.owners import ABANDONED_SECONDS, has_ended, is_abandoned, owned_name, owned_prefix
from pipeline.store.paths import LOCKS, STAGING, checked
from pipeline.store.remote_storage import RemoteStorage
from pipeline.store.storage import LocalStorage, Storage

#: Kind of the folders of remote stores, in the machine's temporary folder.
_TEMPORARY = "neuronmill-work"
#: What an operating system says of a disk that is full, over its quota, read-only, broken or gone.
_DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.ENOTCONN})


class Staging:
    """A folder for the files of one commit, under the names they will have in the store."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        if isinstance(storage, LocalStorage):
            self.folder = storage.folder / STAGING / owned_name("work")
        else:
            self.folder = Path(tempfile.mkdtemp(prefix=owned_prefix(_TEMPORARY)))
        self._paths: set[str] = set()
        self._facts: dict[str, dict[str, Any]] = {}

    def path(self, final: str) -> Path:
        """Local path to write the file that will be ``final`` in the store; its folder exists."""
        if isinstance(self._storage, LocalStorage):
            self._storage.check_place()
        local = self.folder / checked(final)
        local.parent.mkdir(parents=True, exist_ok=True)
        self._paths.add(final)
        return local

    def wrote(self, final: str, facts: dict[str, Any]) -> None:
        """Tell what records list of the file written to :meth:`path`, so that the commit need not read it again.

        ``facts``: the fields of :class:`~pipeline.store.receipts.FileEntry` that its path does not tell.
        """
        self._facts[final] = facts

    def facts(self, final: str) -> dict[str, Any] | None:
        """What :meth:`wrote` was told."""
        return self._facts.get(final)

    @property
    def paths(self) -> list[str]:
        """Final paths asked for so far, sorted."""
        return sorted(self._paths)

    def refusal(self, error: OSError) -> str | None:
        """What the disk says where ``error`` is its refusal to hold a file of this folder; ``None`` for other errors.

        Those are errors of other files, and of a file missing in a folder that is there: nobody has written it.
        """
        named = [name for name in (error.filename, error.filename2) if isinstance(name, str | os.PathLike)]
        is_mine = not named or any(Path(name).is_relative_to(self.folder) for name in named)
        if error.errno == errno.ENOENT and is_mine and self._paths and not os.path.isdir(self.folder):  # noqa: PTH112  (False, too, where the disk gives no answer)
            return "its folder is gone"
        return os.strerror(error.errno) if error.errno in _DISK_ERRORS and is_mine else None

    def discard(self) -> None:
        """Remove the folder and whatever is left in it."""
        shutil.rmtree(self.folder, ignore_errors=True)


def sweep_staging(storage: Storage) -> int:
    """Remove what killed processes left of unfinished work; returns how many things that were.

    What a process of this machine left goes as soon as the process has ended, what other machines left after a day
    (:func:`pipeline.store.owners.is_abandoned`), so that a shared disk keeps their commits in flight. For a remote
    store, that is this user's staging in the machine's temporary folder, for whatever store it was; uploads in parts go
    when they were not finished within a day.
    """
    removed = _sweep_remote(storage) if isinstance(storage, RemoteStorage) else 0
    for entry in _abandoned(storage):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
        removed += 1
    return removed


def abandoned_staging(storage: Storage) -> list[tuple[str, int]]:
    """What :func:`sweep_staging` would remove: names and bytes."""
    found = []
    for entry in _abandoned(storage):
        inside = [entry, *entry.rglob("*")] if entry.is_dir() and not entry.is_symlink() else [entry]
        with suppress(FileNotFoundError):  # its owner has just ended it
            n_bytes = sum(path.lstat().st_size for path in inside if not path.is_dir())
            is_local = isinstance(storage, LocalStorage)
            found.append((f"{STAGING}/{entry.name}" if is_local else str(entry), n_bytes))
    return found


def _abandoned(storage: Storage) -> Iterator[Path]:
    if isinstance(storage, LocalStorage):
        folder = storage.folder / STAGING
        entries = sorted(folder.iterdir()) if folder.is_dir() else []
    else:
        entries = sorted(Path(tempfile.gettempdir()).glob(f"{_TEMPORARY}-*-*-*"))
    for entry in entries:
        if entry.name != LOCKS and _is_mine(storage, entry) and is_abandoned(entry):
            yield entry


def _is_mine(storage: Storage, entry: Path) -> bool:
    """Whether this user made it: the temporary folder is everybody's."""
    with suppress(FileNotFoundError):
        return storage.is_local or entry.lstat().st_uid == os.getuid()
    return False


def _sweep_remote(storage: RemoteStorage) -> int:
    """Uploads in parts that nobody will finish, and files below the remote ``staging/`` (a pilot's)."""
    removed = storage.abort_stale_uploads(ABANDONED_SECONDS)
    for path in storage.list(STAGING):
        ended = has_ended(path.split("/")[1])
        if storage.age(path) > ABANDONED_SECONDS if ended is None else ended:
            storage.delete(path)
            removed += 1
    return removed
