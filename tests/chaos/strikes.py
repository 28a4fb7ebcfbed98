"""Blows at the workers of a running driver: at a random time, or just after one has begun a task."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psutil
from noted_job import Notes

#: Longest wait for a worker that can be struck; a driver that is between stages has none.
_PATIENCE_SECONDS = 30.0


@dataclass(frozen=True)
class Target:
    """A running driver: its workers' processes, found by what is in their command line, and whether it runs."""

    driver: psutil.Process
    sign: str
    notes: Notes
    is_running: Callable[[], bool]

    def workers(self) -> list[psutil.Process]:
        """Worker processes there are now."""
        found = []
        try:
            for process in self.driver.children(recursive=True):
                is_alive = process.status() != psutil.STATUS_ZOMBIE
                found += [process] if is_alive and self.sign in " ".join(process.cmdline()) else []
        except psutil.NoSuchProcess:  # one of them ended while we looked
            pass
        return found

    def victim(self, rng: random.Random) -> psutil.Process | None:
        """A worker at a random time; or, as often, one right after it has begun a task. None when the driver ends."""
        waits_for_task = rng.random() < 0.5
        delay = rng.uniform(0, 0.05) if waits_for_task else rng.uniform(0, 3.0)
        n_begun = len(self.notes.begun_by())
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while self.is_running() and time.monotonic() < deadline:
            workers = self.workers()
            if waits_for_task:
                active = set(self.notes.begun_by()[n_begun:])
                workers = [worker for worker in workers if worker.pid in active]
            if workers:
                time.sleep(delay)
                alive = [worker for worker in workers if worker.is_running()] or self.workers()
                return rng.choice(alive) if alive and self.is_running() else None
            time.sleep(0.005)
        return None


def kill(target: Target, rng: random.Random) -> bool:
    """SIGKILL one worker; False if there was none to kill any more."""
    victim = target.victim(rng)
    if victim is None:
        return False
    try:
        victim.kill()
    except psutil.NoSuchProcess:
        return False
    return True


def exit_inside_a_forward(target: Target, rng: random.Random) -> bool:
    """Let a worker exit in the middle of a forward pass; False if none has done one in time."""
    if target.notes.stage() not in ("", "plan", "dump"):
        return False
    before = target.notes.exits()
    target.notes.order_exit(rng.getrandbits(32), rng.randint(1, 40))
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while target.is_running() and time.monotonic() < deadline and target.notes.exits() == before:
        time.sleep(0.01)
        if target.notes.stage() not in ("", "plan", "dump"):
            break
    target.notes.withdraw_orders()
    return target.notes.exits() > before


Blow = Callable[[Target, random.Random], bool]


def strike(kinds: Sequence[str], blows: dict[str, Blow], target: Target, rng: random.Random) -> list[str]:
    """Deal the blows one after the other while the driver runs; returns those that hit."""
    return [kind for kind in kinds if target.is_running() and blows[kind](target, rng)]
