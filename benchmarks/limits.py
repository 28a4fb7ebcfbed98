"""Physical limits, measured in the same run as what they limit."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import numpy as np

_BLOCK = 16 << 20
_TILE = 256


def disk_rate(folder: Path, n_bytes: int = 1 << 30, file_bytes: int = 16 << 20) -> float:
    """Bytes per second of writing and syncing files of one size, one after the other."""
    block = os.urandom(file_bytes)
    start = time.perf_counter()
    for number in range(max(1, n_bytes // file_bytes)):
        path = folder / f"probe-{number}"
        with path.open("wb") as file:
            file.write(block)
            os.fsync(file.fileno())
    seconds = time.perf_counter() - start
    for path in folder.glob("probe-*"):
        path.unlink()
    return max(1, n_bytes // file_bytes) * file_bytes / seconds


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
