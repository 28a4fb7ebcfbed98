"""Storage behind a URL, through fsspec: S3, GCS, Azure, ``memory://`` and others.

Object stores have no rename, and a file is whole when it appears. The conditional create is
``pipe_file(…, mode="create")`` (``If-None-Match: *`` on S3); ``open(…, "xb")`` is not one and is never used.
"""

from __future__ import annotations

import importlib
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import fsspec

from pipeline.store.paths import checked
from pipeline.store.storage import Storage
from schemas.errors import StoreError, StoreLocationError


def _errors() -> tuple[type[Exception], ...]:
    """What a file system raises where something is wrong outside; S3's client has a tree of its own."""
    try:
        return OSError, importlib.import_module("botocore.exceptions").BotoCoreError
    except ImportError:
        return (OSError,)


ERRORS = _errors()


def _is_refused(error: BaseException) -> bool:
    """Whether an S3 server refused a conditional write: the condition does not hold, or another write is on its way."""
    response = getattr(error.__cause__, "response", None) or {}
    return response.get("Error", {}).get("Code") in ("PreconditionFailed", "412", "ConditionalRequestConflict", "409")


def _is_s3(filesystem: Any) -> bool:
    protocols = filesystem.protocol
    return "s3" in ((protocols,) if isinstance(protocols, str) else protocols)


def _changed(info: dict[str, Any]) -> float | None:
    """Unix time of the last change; file systems give it under names of their own."""
    for name in ("LastModified", "last_modified", "mtime", "updated", "created"):
        value = info.get(name)
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, int | float):
            return float(value)
    return None


class RemoteStorage(Storage):
    """A folder of an fsspec file system; credentials come from the environment, as the file system defines them."""

    is_local = False

    def __init__(self, url: str) -> None:
        try:
            self.filesystem, base = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise StoreLocationError(
                f"store {url!r}: no file system for this URL ({error}); install the fsspec package of its protocol "
                "(`s3fs` for s3://), or give a folder"
            ) from error
        self.base: str = base.rstrip("/")
        if not self.base:
            raise StoreLocationError(f"store {url!r}: the URL names no place; give one such as s3://bucket/prefix")
        # the spelling that the file system gives back, because DuckDB compares it with its allowed paths
        self.root = str(self.filesystem.unstrip_protocol(self.base))

    def put_new(self, path: str, payload: bytes) -> bool:
        """See :meth:`Storage.put_new`."""
        try:
            self.filesystem.pipe_file(self._name(path), payload, mode="create")
        except FileExistsError:
            return False
        except ERRORS as error:
            # some S3 servers do not say which condition failed
            if _is_refused(error) and self.exists(path):
                return False
            raise self._failed("write", path, error) from error
        return True

    def swap(self, path: str, payload: bytes, expected: bytes) -> bool:
        """See :meth:`Storage.swap`; S3 compares (``If-Match``).

        Other file systems have no such call in fsspec: there ``path`` is compared right before it is written, and of
        two writers within that moment the later one stays.
        """
        condition: dict[str, str] = {}
        try:
            if _is_s3(self.filesystem):
                # before the content, so that a change in between is noticed
                self.filesystem.invalidate_cache()
                condition["IfMatch"] = str(self.filesystem.info(self._name(path))["ETag"])
            if self.filesystem.cat_file(self._name(path)) != expected:
                return False
            self.filesystem.pipe_file(self._name(path), payload, **condition)
        except FileNotFoundError:
            return False
        except ERRORS as error:
            if _is_refused(error):
                return False
            raise self._failed("write", path, error) from error
        return True

    def put(self, path: str, payload: bytes) -> None:
        """See :meth:`Storage.put`."""
        try:
            self.filesystem.pipe_file(self._name(path), payload)
        except ERRORS as error:
            raise self._failed("write", path, error) from error

    def read(self, path: str) -> bytes:
        """See :meth:`Storage.read`."""
        try:
            content: bytes = self.filesystem.cat_file(self._name(path))
        except ERRORS as error:
            raise self._failed("read", path, error) from error
        return content

    def exists(self, path: str) -> bool:
        """See :meth:`Storage.exists`."""
        self.filesystem.invalidate_cache()
        try:  # `isfile` says no to everything that goes wrong
            return bool(self.filesystem.info(self._name(path))["type"] == "file")
        except FileNotFoundError:
            return False
        except ERRORS as error:
            raise self._failed("read", path, error) from error

    def size(self, path: str) -> int:
        """See :meth:`Storage.size`."""
        try:
            return int(self.filesystem.info(self._name(path))["size"])
        except ERRORS as error:
            raise self._failed("read", path, error) from error

    def list(self, folder: str) -> list[str]:
        """See :meth:`Storage.list`."""
        # fsspec caches listings; a manifest written by another machine has to be seen
        self.filesystem.invalidate_cache()
        try:
            names = self.filesystem.find(self._name(folder))
        except FileNotFoundError:
            return []
        except ERRORS as error:
            raise self._failed("list", folder, error) from error
        return sorted(name.removeprefix(self.base + "/") for name in names)

    def modified(self, folder: str) -> dict[str, float | None]:
        """See :meth:`Storage.modified`; one listing tells names and times."""
        self.filesystem.invalidate_cache()
        try:
            found = self.filesystem.find(self._name(folder), detail=True)
        except FileNotFoundError:
            return {}
        except ERRORS as error:
            raise self._failed("list", folder, error) from error
        return {name.removeprefix(self.base + "/"): _changed(found[name]) for name in sorted(found)}

    def delete(self, path: str) -> None:
        """See :meth:`Storage.delete`."""
        try:
            self.filesystem.rm_file(self._name(path))
        except FileNotFoundError:
            return
        except ERRORS as error:
            raise self._failed("delete", path, error) from error

    def adopt(self, file: Path, path: str) -> None:
        """See :meth:`Storage.adopt`; an upload."""
        try:
            self.filesystem.put_file(str(file), self._name(path))
        except ERRORS as error:
            raise self._failed("write", path, error) from error
        file.unlink()

    def open_input(self, path: str) -> Any:
        """See :meth:`Storage.open_input`."""
        return self.open_binary(path)

    def open_binary(self, path: str) -> BinaryIO:
        """See :meth:`Storage.open_binary`."""
        try:
            handle: BinaryIO = self.filesystem.open(self._name(path), "rb")
        except ERRORS as error:
            raise self._failed("read", path, error) from error
        return handle

    def lock(self, name: str) -> AbstractContextManager[None]:
        """See :meth:`Storage.lock`: nothing here; the create-only receipt picks the winner."""
        del name
        return nullcontext()

    def free_bytes(self) -> int | None:
        """See :meth:`Storage.free_bytes`."""
        return None

    def _name(self, path: str) -> str:
        return f"{self.base}/{checked(path)}"

    def _failed(self, verb: str, path: str, error: Exception) -> StoreError:
        return StoreError(f"store {self.root}: cannot {verb} {path}: {error}; check the URL and the credentials")
