"""Files by relative name, on a local disk or behind a URL: the few operations a commit is made of.

    Storage                 the operations
    ├── LocalStorage        a folder: link, rename, fsync
    └── RemoteStorage       any fsspec file system (pipeline.store.remote_storage): conditional create, upload

``put_new`` is the commit on both: of any number of writers exactly one gets ``True``, and a reader sees either nothing
or the whole content. Names are checked by :func:`pipeline.store.paths.checked`, so none can leave the root.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from pipeline.store.owners import owned_name
from pipeline.store.paths import LOCKS, STAGING, checked
from schemas.errors import StoreError

#: Files are read in pieces of so many bytes where they need not be in memory whole.
CHUNK_BYTES = 4 << 20


class Storage(ABC):
    """Named byte strings under one root."""

    root: str
    """Folder or URL, without a trailing slash."""
    is_local: bool
    """The root is a folder of this machine."""

    @abstractmethod
    def put_new(self, path: str, payload: bytes) -> bool:
        """Create ``path`` with ``payload``, durably and whole; ``False``, and nothing done, if it exists."""

    @abstractmethod
    def put(self, path: str, payload: bytes) -> None:
        """Create or replace ``path``; a reader sees the old or the new content, never a mixture."""

    @abstractmethod
    def swap(self, path: str, payload: bytes, expected: bytes) -> bool:
        """Replace ``path`` if it still holds ``expected``; ``False``, and nothing done, if it does not."""

    @abstractmethod
    def read(self, path: str) -> bytes:
        """Content of ``path``; :class:`StoreError` if there is no such file."""

    @abstractmethod
    def exists(self, path: str) -> bool:
        """Whether there is a file ``path``."""

    @abstractmethod
    def size(self, path: str) -> int:
        """Size in bytes; :class:`StoreError` if there is no such file."""

    @abstractmethod
    def age(self, path: str) -> float:
        """Seconds since ``path`` was written, both moments by the storage's clock, not by that of this machine.

        Raises :class:`StoreError` if there is no such file.
        """

    @abstractmethod
    def list(self, folder: str) -> list[str]:
        """Paths of all files below ``folder``, sorted; empty if there is no such folder."""

    @abstractmethod
    def modified(self, folder: str) -> dict[str, float | None]:
        """Paths of all files below ``folder``, sorted, with the Unix time of their last change.

        By the clock of the disk or the server; ``None`` where the file system does not tell it.
        """

    @abstractmethod
    def delete(self, path: str) -> None:
        """Remove ``path`` if it is there."""

    @abstractmethod
    def prune(self, folder: str) -> None:
        """Remove ``folder`` and the folders below it as far as there is no file in them."""

    @abstractmethod
    def adopt(self, file: Path, path: str) -> None:
        """Move the finished local ``file`` to ``path``, replacing what is there; durable and whole."""

    @abstractmethod
    def open_input(self, path: str) -> Any:
        """What pyarrow opens to read ``path``: a local path or a seekable binary file."""

    @abstractmethod
    def open_binary(self, path: str) -> BinaryIO:
        """``path`` opened for reading."""

    @abstractmethod
    def lock(self, name: str) -> AbstractContextManager[None]:
        """Mutual exclusion of the writers of one piece, where there is such a thing; ends with its holder's process."""

    @abstractmethod
    def free_bytes(self) -> int | None:
        """Free space for this user, or ``None`` where that has no meaning."""

    def sha256(self, path: str) -> str:
        """SHA-256 of the content of ``path``, read in pieces."""
        digest = hashlib.sha256()
        with self.open_binary(path) as handle:
            while chunk := handle.read(CHUNK_BYTES):
                digest.update(chunk)
        return digest.hexdigest()

    def url(self, path: str) -> str:
        """Absolute path or URL of ``path``, for DuckDB."""
        return f"{self.root}/{checked(path)}"


class LocalStorage(Storage):
    """A folder of this machine; its ``staging/`` holds what is not finished yet, so that a rename never copies."""

    is_local = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = str(folder)
        self._place: tuple[int, int] | None = None

    def check_place(self) -> None:
        """Raise :class:`StoreError` if the folder is not the one this storage began with: it was moved or unmounted.

        Asked before anything is made in it: a write would go to another disk, into half a store.
        """
        try:
            found = self.folder.stat()
        except FileNotFoundError:
            place = None
        except OSError as error:
            raise self._failed("write", ".", error) from error
        else:
            place = found.st_dev, found.st_ino
        if self._place is None:
            self._place = place
        elif place != self._place:
            raise StoreError(
                f"store {self.root}: its folder is gone, or another one is in its place (unmounted, moved away); "
                "bring it back and start the same command again to resume"
            )

    def put_new(self, path: str, payload: bytes) -> bool:
        """See :meth:`Storage.put_new`; a hard link is the create-only step."""
        final = self._final(path)
        with self._temporary(payload) as temporary:
            try:
                os.link(temporary, final)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK):
                    raise self._failed("write", path, error) from error
                return self._create_exclusively(final, payload)
        _sync_folder(final.parent)
        return True

    def put(self, path: str, payload: bytes) -> None:
        """See :meth:`Storage.put`."""
        final = self._final(path)
        with self._temporary(payload) as temporary:
            try:
                temporary.replace(final)
            except OSError as error:
                raise self._failed("write", path, error) from error
        _sync_folder(final.parent)

    def swap(self, path: str, payload: bytes, expected: bytes) -> bool:
        """See :meth:`Storage.swap`; under a lock, so all who change ``path`` have to use this (or create it)."""
        with self.lock(path):
            if not self.exists(path) or self.read(path) != expected:
                return False
            self.put(path, payload)
        return True

    def read(self, path: str) -> bytes:
        """See :meth:`Storage.read`."""
        try:
            return (self.folder / checked(path)).read_bytes()
        except OSError as error:
            raise self._failed("read", path, error) from error

    def exists(self, path: str) -> bool:
        """See :meth:`Storage.exists`."""
        return (self.folder / checked(path)).is_file()

    def size(self, path: str) -> int:
        """See :meth:`Storage.size`."""
        try:
            return (self.folder / checked(path)).stat().st_size
        except OSError as error:
            raise self._failed("read", path, error) from error

    def age(self, path: str) -> float:
        """See :meth:`Storage.age`; a file written now tells what time it is on a disk shared by many machines."""
        with self._temporary(b"") as now:
            try:
                return max(now.stat().st_mtime - (self.folder / checked(path)).stat().st_mtime, 0.0)
            except OSError as error:
                raise self._failed("read", path, error) from error

    def list(self, folder: str) -> list[str]:
        """See :meth:`Storage.list`."""
        found: list[str] = []
        for directory, _, names in os.walk(self.folder / checked(folder)):
            relative = Path(directory).relative_to(self.folder).as_posix()
            found.extend(f"{relative}/{name}" for name in names)
        return sorted(found)

    def modified(self, folder: str) -> dict[str, float | None]:
        """See :meth:`Storage.modified`; a file that goes away meanwhile is left out."""
        found: dict[str, float | None] = {}
        for path in self.list(folder):
            with suppress(FileNotFoundError):
                found[path] = (self.folder / path).stat().st_mtime
        return found

    def delete(self, path: str) -> None:
        """See :meth:`Storage.delete`."""
        (self.folder / checked(path)).unlink(missing_ok=True)

    def prune(self, folder: str) -> None:
        """See :meth:`Storage.prune`."""
        for directory, _, _ in os.walk(self.folder / checked(folder), topdown=False):
            with suppress(OSError):  # something is in it
                Path(directory).rmdir()

    def adopt(self, file: Path, path: str) -> None:
        """See :meth:`Storage.adopt`; a rename, after the content is on the disk."""
        final = self._final(path)
        try:
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
            file.replace(final)
        except OSError as error:
            raise self._failed("write", path, error) from error
        _sync_folder(final.parent)

    def adopt_folder(self, source: Path, folder: str) -> None:
        """Rename a finished folder to ``folder``; if that is there already, both stay as they are."""
        final = self._final(folder)
        for file in source.iterdir():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
        try:
            source.rename(final)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise self._failed("write", folder, error) from error
            return
        _sync_folder(final.parent)

    def open_input(self, path: str) -> Any:
        """See :meth:`Storage.open_input`."""
        return self.url(path)

    def open_binary(self, path: str) -> BinaryIO:
        """See :meth:`Storage.open_binary`."""
        try:
            return (self.folder / checked(path)).open("rb")
        except OSError as error:
            raise self._failed("read", path, error) from error

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """See :meth:`Storage.lock`; ``flock``, so a killed holder frees it."""
        folder = self.folder / STAGING / LOCKS
        self._make(folder)
        # 256 files for any number of names: two names that share one merely wait for each other
        slot = hashlib.sha256(name.encode()).hexdigest()[:2]
        with (folder / slot).open("ab") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    @contextmanager
    def lock_all(self) -> Iterator[None]:
        """Every lock at once: while it is held, no commit is under way. Only for who holds no lock yet."""
        folder = self.folder / STAGING / LOCKS
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            for slot in range(256):
                handle = stack.enter_context((folder / f"{slot:02x}").open("ab"))
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def free_bytes(self) -> int | None:
        """See :meth:`Storage.free_bytes`."""
        return shutil.disk_usage(self.folder).free

    @contextmanager
    def _temporary(self, payload: bytes) -> Iterator[Path]:
        """A synced file with ``payload`` in ``staging/``, removed afterwards if it is still there."""
        temporary = self.folder / STAGING / owned_name("put")
        self._make(temporary.parent)
        try:
            with temporary.open("xb") as handle:
                handle.write(payload)
                handle.flush()
                os.fsync(handle.fileno())
        except OSError as error:
            _remove(temporary)
            raise self._failed("write", STAGING, error) from error
        try:
            yield temporary
        finally:
            _remove(temporary)

    def _create_exclusively(self, final: Path, payload: bytes) -> bool:
        """Create-only for file systems without hard links; a kill in the middle leaves a file that does not parse."""
        try:
            with final.open("xb") as handle:
                handle.write(payload)
                handle.flush()
                os.fsync(handle.fileno())
        except FileExistsError:
            return False
        _sync_folder(final.parent)
        return True

    def _final(self, path: str) -> Path:
        final = self.folder / checked(path)
        self._make(final.parent)
        return final

    def _make(self, folder: Path) -> None:
        """Make a folder of the store, with its parents."""
        self.check_place()
        if not folder.is_dir():
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise self._failed("write", folder.relative_to(self.folder).as_posix(), error) from error

    def _failed(self, verb: str, path: str, error: OSError) -> StoreError:
        reason = error.strerror or str(error)
        way_out = ", and start the same command again: what is finished is kept" if verb == "write" else ""
        return StoreError(
            f"store {self.root}: cannot {verb} {path}: {reason}; check the path, its rights and the disk{way_out}"
        )


def _remove(temporary: Path) -> None:
    """Remove what is staged; where the disk refuses even that, the next sweep does."""
    with suppress(OSError):
        temporary.unlink()


def _sync_folder(folder: Path) -> None:
    """Make a rename or link in ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
