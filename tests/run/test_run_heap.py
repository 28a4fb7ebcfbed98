"""Freed memory goes back to the system between tasks."""

from __future__ import annotations

import sys

import numpy as np
import psutil
import pytest

from pipeline.run.heap import release_freed_memory


@pytest.mark.skipif(sys.platform != "linux", reason="malloc_trim is glibc's")
def test_freed_memory_leaves_the_process():
    pieces = [np.ones(12_000, np.float64) for _ in range(2_000)]  # below the size that malloc maps on its own
    keep = pieces[::50]
    full = psutil.Process().memory_info().rss
    pieces.clear()
    release_freed_memory()
    freed = full - psutil.Process().memory_info().rss
    assert freed > 0.8 * 1_960 * 12_000 * 8
    assert sum(len(piece) for piece in keep) == 40 * 12_000
