"""Where cores are to spare, encoding goes on beside computing; where none are, computing waits for it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pipeline.run import dump


def plan_of(workers: int, threads: int, device: str = "cpu", rule: str | None = None) -> SimpleNamespace:
    capture = SimpleNamespace(
        threads=threads, device=device, rule=rule, targets=range(3), memory_per_target_row=[10, 10, 30]
    )
    return SimpleNamespace(config=SimpleNamespace(executor=SimpleNamespace(workers=workers)), capture=capture)


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


@pytest.mark.parametrize(
    ("threads", "n_shards", "rule", "n_bytes"),
    [
        (1, 5, None, 2 * 50 + 3 * 30),
        (1, 1, None, 50 + 3 * 30),
        (2, 5, None, 50 + 4 * 30),
        (1, 5, "int8", 2 * 50 + 3 * 3 * 30),
    ],
)
def test_memory_of_a_row(monkeypatch, threads, n_shards, rule, n_bytes):
    """Two shards where one is encoded beside the next, and a layer for each thread that encodes."""
    monkeypatch.setattr(dump, "usable_cores", lambda: 2)
    assert dump.memory_per_row(plan_of(1, threads, rule=rule), n_shards) == n_bytes


def test_no_more_encoders_than_layers_or_than_their_files_are_worth(monkeypatch):
    monkeypatch.setattr(dump, "usable_cores", lambda: 128)
    plan = plan_of(1, 8, "cuda")
    assert dump.encoder_threads(plan) == 3
    plan.capture.targets = range(100)
    assert dump.encoder_threads(plan) == dump.MAX_ENCODERS
