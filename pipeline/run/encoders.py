"""Threads that encode: as many as cores are spare, and all of them while the worker computes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Condition
from typing import TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

#: Seconds without computing before encoding takes its cores too: between two tasks it pauses for less.
PAUSE = 0.02


class Encoders:
    """``n_threads`` threads, of which ``beside`` at most work while :meth:`computing` is entered.

    After the last shard, and wherever a worker waits for its next one, the cores that compute would do nothing.
    """

    def __init__(self, n_threads: int, beside: int) -> None:
        self._pool = ThreadPoolExecutor(n_threads, thread_name_prefix="dump-encode")
        self._n_threads, self._beside = n_threads, beside
        self._changed = Condition()
        self._n_busy = 0
        self._idle_since: float | None = time.monotonic()

    def submit(self, work: Callable[[*Ts], T], *args: *Ts) -> Future[T]:
        """``work`` by one of the threads."""
        return self._pool.submit(self._work, lambda: work(*args))

    @contextmanager
    def computing(self) -> Iterator[None]:
        """The worker computes; what more threads have begun by now, they end."""
        self._set_idle(None)
        try:
            yield
        finally:
            self._set_idle(time.monotonic())

    def _set_idle(self, since: float | None) -> None:
        with self._changed:
            self._idle_since = since
            self._changed.notify_all()

    def _work(self, work: Callable[[], T]) -> T:
        with self._changed:
            while self._n_busy >= self._n_allowed():
                self._changed.wait(None if self._idle_since is None else PAUSE)
            self._n_busy += 1
        try:
            return work()
        finally:
            with self._changed:
                self._n_busy -= 1
                self._changed.notify_all()

    def _n_allowed(self) -> int:
        idle = self._idle_since is not None and time.monotonic() - self._idle_since >= PAUSE
        return self._n_threads if idle else self._beside
