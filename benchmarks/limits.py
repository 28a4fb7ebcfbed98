"""Physical limits, measured in the same run as what they limit."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import numpy as np

from pipeline.store.whole_file import file_memory, write_whole

_TILE = 256


def disk_rate(folder: Path, n_bytes: int = 1 << 30, file_bytes: int = 16 << 20) -> float:
    """Bytes per second of writing files of one size, one after the other, past the page cache where the disk can.

    Without the checksum that :func:`write_whole` takes of a file.
    """
    rounds = max(1, n_bytes // file_bytes)
    with file_memory(file_bytes) as memory:
        memory[:file_bytes] = os.urandom(file_bytes)
        start = time.perf_counter()
        for _ in range(3):
            hashlib.sha256(memoryview(memory)[:file_bytes]).digest()
        hashing = (time.perf_counter() - start) / 3
        start = time.perf_counter()
        for number in range(rounds):
            write_whole(folder / f"probe-{number}", memory, file_bytes)
        seconds = time.perf_counter() - start - rounds * hashing
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


def encode_rate(n_rows: int, n_neurons: int, n_bytes: int = 1 << 30) -> float:
    """Bytes per second that one core transposes (rows to columns) and hashes (SHA-256), as every dump has to.

    float16 values of ``n_rows`` × ``n_neurons`` at a time, by numpy and the standard library, in memory that is there.
    """
    rows = np.random.default_rng(0).integers(0, 2**16, (n_rows, n_neurons), np.uint16)
    columns = np.zeros((n_neurons, n_rows), np.uint16)
    rounds = max(1, n_bytes // rows.nbytes)
    start = time.perf_counter()
    for _ in range(rounds):
        for first in range(0, n_rows, _TILE):
            columns[:, first : first + _TILE] = rows[first : first + _TILE].T
        hashlib.sha256(columns.data)
    return rounds * rows.nbytes / (time.perf_counter() - start)


def touch_rate(n_rows: int, n_neurons: int, n_bytes: int = 1 << 30) -> float:
    """Bytes per second that one core copies and hashes: no encoder of float16 does less."""
    rows = np.random.default_rng(0).integers(0, 2**16, (n_rows, n_neurons), np.uint16)
    copy = np.zeros_like(rows)
    rounds = max(1, n_bytes // rows.nbytes)
    start = time.perf_counter()
    for _ in range(rounds):
        np.copyto(copy, rows)
        hashlib.sha256(copy.data)
    return rounds * rows.nbytes / (time.perf_counter() - start)
