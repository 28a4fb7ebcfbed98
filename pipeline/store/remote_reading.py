"""Reading remote files for pyarrow and DuckDB, piece by piece, with the retries of the rest of the store.

The handles that fsspec gives out go through their file system alone; s3fs would read 50 MB ahead, and give up on an
answer of 500. Here every question goes through ``persisting``, of :class:`pipeline.store.remote_storage.RemoteStorage`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fsspec.spec import AbstractBufferedFile, AbstractFileSystem

#: Bytes read beyond what is asked for: about what a connection brings in the time that a request takes.
READ_AHEAD = 2 << 20

#: ``persisting(name, question)`` asks about the file ``name`` until there is an answer; :class:`OSError` in the end.
Persisting = Callable[[str, Callable[[], Any]], Any]


class RemoteFile(AbstractBufferedFile):  # type: ignore[misc] # fsspec has no types
    """A file of ``size`` bytes of ``filesystem``, opened for reading."""

    def __init__(self, filesystem: Any, name: str, size: int, persisting: Persisting) -> None:
        super().__init__(filesystem, name, "rb", block_size=READ_AHEAD, cache_type="readahead", size=size)
        self._persisting = persisting

    def _fetch_range(self, start: int, end: int) -> bytes:
        if end <= start:
            return b""
        return bytes(self._persisting(self.path, lambda: self.fs.cat_file(self.path, start=start, end=end)))


class ReadingFileSystem(AbstractFileSystem):  # type: ignore[misc] # fsspec has no types
    """The part of ``filesystem`` that DuckDB asks for when it reads; nothing can be written through it.

    Size and time of a file are asked for once: DuckDB wants them several times a query, and files of a store never
    change under their names.
    """

    cachable = False

    def __init__(self, filesystem: Any, persisting: Persisting) -> None:
        super().__init__()
        self._filesystem = filesystem
        self._persisting = persisting
        self._known: dict[tuple[str, str], Any] = {}
        self.protocol = filesystem.protocol

    def _strip_protocol(self, path: str) -> str:  # type: ignore[override,unused-ignore] # a class method in fsspec
        return str(self._filesystem._strip_protocol(path))  # noqa: SLF001 - fsspec's own hook

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Name, size and type of a file."""
        return dict(self._ask("info", path))

    def modified(self, path: str) -> Any:
        """Time of the last change."""
        return self._ask("modified", path)

    def _ask(self, question: str, path: str) -> Any:
        name = self._strip_protocol(path)
        if (question, name) not in self._known:
            self._known[question, name] = self._persisting(name, lambda: getattr(self._filesystem, question)(name))
        return self._known[question, name]

    def _open(self, path: str, mode: str = "rb", **_: Any) -> RemoteFile:
        if mode != "rb":
            raise PermissionError(f"{path}: opened with mode {mode!r}; files of a store are only read here")
        return RemoteFile(self._filesystem, path, int(self.info(path)["size"]), self._persisting)
