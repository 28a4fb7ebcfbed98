"""Physical limits, measured in the same run as what they limit."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import numpy as np

from pipeline.store.column_files.whole_file import file_memory, write_memory


def disk_rate(folder: Path, n_bytes: int = 1 << 30, file_bytes: int = 16 << 20) -> float:
    """Bytes per second of writing files of one size, one after the other, past the page cache where the disk can."""
    rounds = max(1, n_bytes // file_bytes)
    with file_memory(file_bytes) as memory:
        memory[:file_bytes] = os.urandom(file_bytes)
        start = time.perf_counter()
        for number in range(rounds):
            write_memory(folder / f"probe-{number}", memory, file_bytes)
        seconds = time.perf_counter() - start
    for path in folder.glob("probe-*"):
        path.unlink()
    return rounds * file_bytes / seconds


def cached_disk_rate(folder: Path, n_bytes: int = 1 << 30, file_bytes: int = 16 << 20) -> float:
    """Bytes per second of writing by way of the page cache and syncing, as most programs write."""
    block, rounds = os.urandom(file_bytes), max(1, n_bytes // file_bytes)
    start = time.perf_counter()
    for number in range(rounds):
        with (folder / f"probe-{number}").open("wb") as file:
            file.write(block)
            os.fsync(file.fileno())
    seconds = time.perf_counter() - start
    for path in folder.glob("probe-*"):
        path.unlink()
    return rounds * file_bytes / seconds


def touch_rate(n_rows: int, n_neurons: int, n_bytes: int = 1 << 30) -> float:
    """Bytes per second that one core copies and hashes (SHA-256): no encoder of float16 does less.

    ``n_rows`` × ``n_neurons`` values at a time, in memory that is there.
    """
    rows = np.random.default_rng(0).integers(0, 2**16, (n_rows, n_neurons), np.uint16)
    copy = np.zeros_like(rows)
    rounds = max(1, n_bytes // rows.nbytes)
    start = time.perf_counter()
    for _ in range(rounds):
        np.copyto(copy, rows)
        hashlib.sha256(copy.data)
    return rounds * rows.nbytes / (time.perf_counter() - start)
