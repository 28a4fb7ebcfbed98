"""Freed memory goes back to the system between tasks."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
import psutil
import pytest

from pipeline.run import heap
from pipeline.run.heap import WorkerHeap, release_freed_memory
from pipeline.run.local_executor import LocalExecutor
from pipeline.store.column_files import whole_file
from pipeline.store.column_files.whole_file import file_memory


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


def test_memory_goes_back_only_when_the_process_has_grown(monkeypatch):
    released = []
    monkeypatch.setattr(heap, "release_freed_memory", lambda: released.append(1))
    worker = WorkerHeap()
    worker.task_ended()
    worker.task_ended()
    assert not released
    grown = np.ones(max(50_000_000, psutil.Process().memory_info().rss // 4) // 8)
    worker.task_ended()
    assert released == [1]
    del grown


def test_an_embedded_worker_leaves_no_memory_behind():
    @dataclass(frozen=True)
    class Task:
        key: str = "one"

    class Job:
        def open(self):
            return self

        def process(self, task, attempt):
            with file_memory(1 << 20):
                return {}

    LocalExecutor().run(Job(), [Task()], lambda outcome: None)
    assert whole_file._free == []
