"""A file put together in memory and written in one go, past the page cache where the disk allows it.

A dump writes more than the page cache can keep, and filling it costs the CPU time of a copy and of finding free pages,
which the forward pass needs (docs/decisions.md has the figures). So the content goes from here to the disk by
``O_DIRECT``; a file system without it (some network ones, an old tmpfs) gets the same bytes by way of the cache.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import mmap
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

#: What direct writing wants its memory, lengths and places to be multiples of.
_PAGE = 4096
_DIRECT = getattr(os, "O_DIRECT", 0)
#: Bytes of memory kept for the next files.
_KEPT_BYTES = 1 << 30
#: Bytes from which on a file is worth a thread of its own.
_LARGE = 1 << 20

_free: list[mmap.mmap] = []
_lock = Lock()


@dataclass(frozen=True, slots=True)
class Written:
    """A file as it was written."""

    n_bytes: int
    sha256: str


@contextmanager
def file_memory(n_bytes: int) -> Iterator[mmap.mmap]:
    """At least ``n_bytes`` of page-aligned memory with any content, to put a file together in.

    It is used again for later files: fresh pages cost as much time as filling them.
    """
    with _lock:
        fitting = [memory for memory in _free if len(memory) >= n_bytes]
        memory = min(fitting, key=len, default=None)
        if memory is not None:
            _free.remove(memory)
    if memory is None:
        size = -(-max(n_bytes, 1) // _PAGE) * _PAGE
        memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    try:
        yield memory
    finally:
        with _lock:
            _free.append(memory)
            _free.sort(key=len, reverse=True)
            while sum(map(len, _free)) > _KEPT_BYTES:
                _free.pop(0 if len(_free[0]) > _KEPT_BYTES else -1)  # the smallest is the cheapest to make again


def release_file_memory() -> None:
    """Give the memory that is kept back to the system: no file is written for a while."""
    with _lock:
        _free.clear()


def write_whole(path: Path | str, memory: mmap.mmap, n_bytes: int) -> Written:
    """Make the new file ``path`` of the first ``n_bytes`` of ``memory``, which is of :func:`file_memory`.

    A large file is hashed while the disk writes it: either takes about as long, and the disk needs no core.
    Raises :class:`OSError`; what is on the disk then is of no use.
    """
    if n_bytes < _LARGE:
        write_memory(path, memory, n_bytes)
        return Written(n_bytes, _sha256(memory, n_bytes))
    with ThreadPoolExecutor(1, thread_name_prefix="disk") as disk:
        written = disk.submit(write_memory, path, memory, n_bytes)
        digest = _sha256(memory, n_bytes)
        written.result()
    return Written(n_bytes, digest)


def _sha256(memory: mmap.mmap, n_bytes: int) -> str:
    with memoryview(memory) as view:
        return hashlib.sha256(view[:n_bytes]).hexdigest()


def write_memory(path: Path | str, memory: mmap.mmap, n_bytes: int) -> None:
    """:func:`write_whole` without the checksum."""
    with memoryview(memory) as view:
        descriptor, is_direct = _create(path)
        try:
            at, end = 0, -(-n_bytes // _PAGE) * _PAGE if is_direct else n_bytes
            while at < end:
                try:
                    at += os.write(descriptor, view[at:end])
                except OSError as error:
                    if not is_direct or error.errno != errno.EINVAL:
                        raise
                    # a write that a full disk or a limit has cut short, or a file system that promised too much
                    fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) & ~_DIRECT)
                    is_direct, end = False, n_bytes
            os.ftruncate(descriptor, n_bytes)
        finally:
            os.close(descriptor)


def _create(path: Path | str) -> tuple[int, bool]:
    """Descriptor of the empty file, and whether it is written past the page cache."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    try:
        return os.open(path, flags | _DIRECT, 0o666), bool(_DIRECT)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    return os.open(path, flags, 0o666), False
