"""Where cores are to spare, encoding goes on beside computing; where none are, computing waits for it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pipeline.run import dump


def plan_of(workers: int, threads: int, device: str = "cpu") -> SimpleNamespace:
    executor = SimpleNamespace(workers=workers)
    return SimpleNamespace(
        config=SimpleNamespace(executor=executor), capture=SimpleNamespace(threads=threads, device=device)
    )


@pytest.mark.parametrize(
    ("cores", "workers", "threads", "device", "spare"),
    [
        (2, 1, 1, "cpu", 1),
        (2, 1, 2, "cpu", 0),
        (2, 2, 1, "cpu", 0),
        (16, 2, 4, "cpu", 4),
        (16, 32, 1, "cpu", 0),
        (16, 1, 16, "cuda", 16),
        (16, 8, 16, "cuda", 2),
    ],
)
def test_spare_cores(monkeypatch, cores, workers, threads, device, spare):
    monkeypatch.setattr(dump, "usable_cores", lambda: cores)
    assert dump.spare_cores(plan_of(workers, threads, device)) == spare
