"""When freed memory goes back to the system: between tasks, when it has become more.

A task frees hundreds of megabytes in blocks of many sizes, and glibc keeps most of them for later: a dump worker's
resident size creeps up by 15 MB with every shard of 2,048 rows. What goes back comes back one page fault at a time,
which takes a tenth of a forward pass; so nothing goes back within a task, and after one only if the process has grown.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any

import psutil

#: Resident size, over that after one task, from which on freed memory goes back.
_GROWTH = 1.1
#: glibc's names for what :func:`keep_freed_memory` sets.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8


def keep_freed_memory() -> None:
    """Keep what is freed, in one heap for all threads, until :func:`release_freed_memory`.

    By default every temporary array of a forward pass goes back to the system and comes back page by page.
    """
    mallopt = _glibc("mallopt")
    if mallopt is not None:
        mallopt(_ARENA_MAX, 1)
        mallopt(_TRIM_THRESHOLD, 1 << 30)
        if not mallopt(_MMAP_THRESHOLD, 1 << 30):  # an older glibc takes half of a heap's 64 MB at most
            mallopt(_MMAP_THRESHOLD, 1 << 25)


class WorkerHeap:
    """Gives freed memory back when a worker's resident size has grown by a tenth."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._after_one_task = 0

    def task_ended(self) -> None:
        """Call after each task; what is left after giving back is what the next growth is measured from."""
        size = self._process.memory_info().rss
        if not self._after_one_task:
            self._after_one_task = size
        elif size > _GROWTH * self._after_one_task:
            release_freed_memory()
            self._after_one_task = 0


def release_freed_memory() -> None:
    """Return what this process has freed to the system; a few milliseconds, and nothing where it can't be done."""
    trim = _glibc("malloc_trim")
    if trim is not None:
        trim(0)


@cache
def _glibc(name: str) -> Any:
    """A function of glibc; None on systems with another C library."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
