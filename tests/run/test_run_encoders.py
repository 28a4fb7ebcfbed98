"""Encoding takes the spare cores beside computing, and all cores once nothing is computed."""

from __future__ import annotations

import time
from threading import Barrier, BrokenBarrierError, Event, Lock

import pytest

from pipeline.run import encoders as module
from pipeline.run.encoders import Encoders


class Meter:
    """Work that notes how much of it goes on at once."""

    def __init__(self) -> None:
        self.lock, self.now, self.most = Lock(), 0, 0

    def __call__(self) -> None:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.01)
        with self.lock:
            self.now -= 1


def test_beside_computing_only_so_many_work() -> None:
    encoders, meter = Encoders(4, beside=2), Meter()
    with encoders.computing():
        for work in [encoders.submit(meter) for _ in range(12)]:
            work.result()
    assert meter.most == 2


def test_all_work_once_nothing_is_computed() -> None:
    encoders, together = Encoders(3, beside=1), Barrier(3)
    with encoders.computing():
        started = [encoders.submit(together.wait, 5) for _ in range(3)]
    assert sorted(work.result() for work in started) == [0, 1, 2]


def test_a_pause_between_two_tasks_starts_no_more_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 60)
    encoders, together = Encoders(2, beside=1), Barrier(2)
    with encoders.computing():
        alone = [encoders.submit(together.wait, 0.3) for _ in range(2)]
    with encoders.computing(), pytest.raises(BrokenBarrierError):
        alone[0].result()


def test_what_is_raised_comes_with_the_result_and_leaves_room_for_others() -> None:
    def fails(message: str) -> None:
        raise OSError(message)

    encoders = Encoders(1, beside=1)
    with encoders.computing():
        with pytest.raises(OSError, match="disk"):
            encoders.submit(fails, "disk").result()
        done = Event()
        encoders.submit(done.set).result()
    assert done.is_set()
