"""Give freed memory back to the system between tasks.

A task frees hundreds of megabytes in blocks of many sizes, and glibc keeps most of them for later: a dump worker's
resident size crept from 0.79 to 1.03 GB over 12 equal shards, and stayed at 0.68 to 0.72 GB with a trim after each.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any


@cache
def _malloc_trim() -> Any:
    """The function of glibc; None on systems with another C library."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None


def release_freed_memory() -> None:
    """Return what this process has freed to the system; a few milliseconds, and nothing where it can't be done."""
    trim = _malloc_trim()
    if trim is not None:
        trim(0)
