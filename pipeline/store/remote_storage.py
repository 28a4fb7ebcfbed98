"""Storage behind a URL, through fsspec: S3, GCS, Azure, ``memory://`` and others.

Object stores have no rename, and a file is whole when it appears. The conditional create is
``pipe_file(…, mode="create")`` (``If-None-Match: *`` on S3); ``open(…, "xb")`` is not one and is never used.

Every operation is tried again while its error may pass (:mod:`pipeline.store.retries`). Reads, and writes of a content
to a name, can be repeated without harm. A conditional write cannot: if the server did it and only the answer got lost,
the second attempt is refused because of the first, and nobody knows of the first: aiohttp sends a PUT again by itself
when a connection that it had used before ends. So every refusal is followed by a read: if our content is there, it was
we who wrote it (or a writer of the very same bytes, which is as good), otherwise it was another writer.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import fsspec

from pipeline.store.paths import checked
from pipeline.store.remote_reading import ReadingFileSystem, RemoteFile
from pipeline.store.retries import (
    ERRORS,
    client_options,
    is_refused,
    is_s3,
    may_pass,
    patience,
    persist,
)
from pipeline.store.storage import Storage
from schemas.errors import StoreError, StoreLocationError

#: Files of at least twice this size go to S3 in parts of it.
PART_BYTES = 50 << 20

T = TypeVar("T")


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

    def __init__(self, url: str, part_bytes: int = PART_BYTES) -> None:
        try:
            self.filesystem, base = fsspec.core.url_to_fs(url, **client_options(url.partition("://")[0]))
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
        self.part_bytes = part_bytes
        self.is_s3 = is_s3(self.filesystem.protocol)
        if self.is_s3:
            self.filesystem.retries = 1  # s3fs would nest its own attempts in each other and in ours

    def put_new(self, path: str, payload: bytes) -> bool:
        """See :meth:`Storage.put_new`; ``True`` also where another writer has created it with the same content."""

        def create(_: bool) -> bool:
            try:
                self.filesystem.pipe_file(self._name(path), payload, mode="create")
            except ERRORS as error:
                # some S3 servers do not say which condition failed
                if not isinstance(error, FileExistsError) and not (is_refused(error) and self.exists(path)):
                    raise
                return self.read(path) == payload
            return True

        return self._persist("write", path, create)

    def swap(self, path: str, payload: bytes, expected: bytes) -> bool:
        """See :meth:`Storage.swap`; S3 compares (``If-Match``).

        ``True`` also where another writer was faster with the same content. Other file systems have no such call in
        fsspec: there ``path`` is compared right before it is written, and of two writers within that moment the later
        one stays.
        """

        def replace(is_again: bool) -> bool:
            condition: dict[str, str] = {}
            try:
                if self.is_s3:
                    # before the content, so that a change in between is noticed
                    condition["IfMatch"] = str(self._head(path)["ETag"])
                found = self._content(path)
                if found != expected:
                    return is_again and bool(found == payload)
                self.filesystem.pipe_file(self._name(path), payload, **condition)
            except FileNotFoundError:
                return False
            except ERRORS as error:
                if not is_refused(error):
                    raise
                return self.read(path) == payload
            return True

        return self._persist("write", path, replace)

    def put(self, path: str, payload: bytes) -> None:
        """See :meth:`Storage.put`."""
        self._persist("write", path, lambda _: self.filesystem.pipe_file(self._name(path), payload))

    def read(self, path: str) -> bytes:
        """See :meth:`Storage.read`."""
        return self._persist("read", path, lambda _: self._content(path))

    def exists(self, path: str) -> bool:
        """See :meth:`Storage.exists`."""

        def ask(_: bool) -> bool:
            try:
                if self.is_s3:  # one request; `info` would ask whether it is a folder, too
                    self._head(path)
                    return True
                return bool(self._info(self._name(path))["type"] == "file")  # `isfile` says no to all that goes wrong
            except FileNotFoundError:
                return False

        return self._persist("read", path, ask)

    def size(self, path: str) -> int:
        """See :meth:`Storage.size`."""
        return int(self._persist("read", path, lambda _: self._info(self._name(path)))["size"])

    def age(self, path: str) -> float:
        """See :meth:`Storage.age`; S3 tells its time with every answer, for others this machine's clock is taken."""

        def ask(_: bool) -> float:
            if self.is_s3:
                answer = self._head(path)
                now, written = _server_time(answer), answer["LastModified"]
            else:
                now, written = datetime.now(UTC), self.filesystem.modified(self._name(path))
            return float(max((now - written).total_seconds(), 0))

        return self._persist("read", path, ask)

    def list(self, folder: str) -> list[str]:
        """See :meth:`Storage.list`."""
        return list(self._find(folder, self._name(folder)))

    def modified(self, folder: str) -> dict[str, float | None]:
        """See :meth:`Storage.modified`; one listing tells names and times."""
        found = self._find(folder, self._name(folder))
        return {name: _changed(facts) for name, facts in found.items()}

    def everything(self) -> dict[str, dict[str, Any]]:
        """Every file below the root, by name, with what the file system's listing tells of it."""
        return self._find("the store", self.base)

    def _find(self, what: str, full: str) -> dict[str, dict[str, Any]]:
        def find(_: bool) -> dict[str, dict[str, Any]]:
            # fsspec caches listings; a manifest written by another machine has to be seen
            self.filesystem.invalidate_cache()
            try:
                return dict(self.filesystem.find(full, detail=True))
            except FileNotFoundError:
                return {}

        found = self._persist("list", what, find)
        # of a folder that is empty when it is listed and not a moment later, s3fs finds the folder itself
        files = sorted(name for name, facts in found.items() if facts["type"] == "file")
        return {name.removeprefix(self.base + "/"): found[name] for name in files}

    def delete(self, path: str) -> None:
        """See :meth:`Storage.delete`."""

        def remove(_: bool) -> None:
            try:
                self.filesystem.rm_file(self._name(path))
            except FileNotFoundError:
                return

        self._persist("delete", path, remove)

    def prune(self, folder: str) -> None:
        """See :meth:`Storage.prune`: a folder is nothing but a part of its files' names here."""

    def adopt(self, file: Path, path: str) -> None:
        """See :meth:`Storage.adopt`; an upload, of a large file to S3 in parts."""
        options = {"chunksize": self.part_bytes} if self.is_s3 else {}
        self._persist("write", path, lambda _: self.filesystem.put_file(str(file), self._name(path), **options))
        file.unlink()

    def abort_stale_uploads(self, older_than_seconds: float) -> int:
        """Abort uploads in parts below this root that began at least so long ago; how many those were.

        What a killed process has sent of a file stays on S3, invisible and paid for, until its upload is aborted. Age
        is by the server's clock. 0 on file systems that have no such thing, and for credentials that may not list them
        (the right ``s3:ListBucketMultipartUploads``).
        """
        if not self.is_s3:
            return 0
        bucket, prefix, _ = self.filesystem.split_path(self.base)
        request = {"Bucket": bucket, "Prefix": f"{prefix}/" if prefix else ""}
        n_aborted = 0
        while True:
            try:
                answer = self._persist("list", "uploads", partial(self._list_uploads, dict(request)))
            except StoreError as error:
                if isinstance(error.__cause__, PermissionError):
                    return n_aborted
                raise
            for upload in answer.get("Uploads", []):
                if (_server_time(answer) - upload["Initiated"]).total_seconds() >= older_than_seconds:
                    self._abort(bucket, upload["Key"], upload["UploadId"])
                    n_aborted += 1
            if not answer.get("IsTruncated"):
                return n_aborted
            request |= {"KeyMarker": answer["NextKeyMarker"], "UploadIdMarker": answer["NextUploadIdMarker"]}

    def _list_uploads(self, request: dict[str, str], _: bool) -> dict[str, Any]:
        return dict(self.filesystem.call_s3("list_multipart_uploads", **request))

    def _abort(self, bucket: str, key: str, upload: str) -> None:
        def abort(_: bool) -> None:
            try:
                self.filesystem.call_s3("abort_multipart_upload", Bucket=bucket, Key=key, UploadId=upload)
            except FileNotFoundError:  # completed or aborted meanwhile
                return

        self._persist("delete", "uploads", abort)

    def open_input(self, path: str) -> Any:
        """See :meth:`Storage.open_input`."""
        return self.open_binary(path)

    def open_binary(self, path: str) -> BinaryIO:
        """See :meth:`Storage.open_binary`."""
        return cast("BinaryIO", RemoteFile(self.filesystem, self._name(path), self.size(path), self._persist_reading))

    def reading_filesystem(self) -> ReadingFileSystem:
        """A file system to register with DuckDB, with the retries of this storage."""
        return ReadingFileSystem(self.filesystem, self._persist_reading)

    def lock(self, name: str) -> AbstractContextManager[None]:
        """See :meth:`Storage.lock`: nothing here; the create-only receipt picks the winner."""
        del name
        return nullcontext()

    def free_bytes(self) -> int | None:
        """See :meth:`Storage.free_bytes`."""
        return None

    def _content(self, path: str) -> bytes:
        self.filesystem.invalidate_cache()
        # else s3fs asks for the size first, to read large files in pieces at once; records are small
        options = {"max_concurrency": 1} if self.is_s3 else {}
        return bytes(self.filesystem.cat_file(self._name(path), **options))

    def _head(self, path: str) -> dict[str, Any]:
        """What S3 says of a file: `ETag`, `LastModified`, and the server's time with the answer."""
        bucket, key, _ = self.filesystem.split_path(self._name(path))
        return dict(self.filesystem.call_s3("head_object", Bucket=bucket, Key=key))

    def _info(self, name: str) -> dict[str, Any]:
        self.filesystem.invalidate_cache()
        return dict(self.filesystem.info(name))

    def _persist_reading(self, name: str, question: Callable[[], Any]) -> Any:
        """The answer to a question about a file, by its name in the file system.

        Raises :class:`OSError`, as pyarrow and DuckDB expect it.
        """
        try:
            return persist(lambda _: question())
        except FileNotFoundError:
            raise
        except ERRORS as error:
            raise OSError(str(self._failed("read", name.removeprefix(self.base + "/"), error))) from error

    def _name(self, path: str) -> str:
        return f"{self.base}/{checked(path)}"

    def _persist(self, verb: str, path: str, operation: Callable[[bool], T]) -> T:
        try:
            return persist(operation)
        except ERRORS as error:
            raise self._failed(verb, path, error) from error

    def _failed(self, verb: str, path: str, error: Exception) -> StoreError:
        way_out = "check the URL and the credentials"
        if may_pass(error):
            way_out = (
                f"tried for {patience():g} s; check the connection to the server, and start the same command again"
            )
        return StoreError(f"store {self.root}: cannot {verb} {path}: {error}; {way_out}")


def _server_time(answer: dict[str, Any]) -> datetime:
    return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
