"""A siege: one store after the other is filled by drivers that are killed again and again, and must come out equal.

Drivers of local executors are forked from a server that has imported everything and started nothing (no threads, no
forward pass), so a start costs no import of torch. The Ray cluster has a process of its own that lives for a siege.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
import ray_host
from chaos_drive import INCOMPLETE, STAGES, Drive
from final_state import assert_readable, final_state
from noted_job import Notes
from strikes import Target, exit_inside_a_forward, kill, strike
from tiny_run import Inputs

from pipeline.run.work import MAX_UNFINISHED
from pipeline.store.staging import sweep_staging
from pipeline.store.store import Store

DRIVER_KINDS = ("driver at a point", "driver at any time")
PROCESS_KINDS = ("worker process", "worker process in a forward", "driver of worker processes")
RAY_KINDS = ("ray actor", "ray actor in a forward", "ray node")
_FAMILIES = (("driver at a point",), ("driver at any time",), PROCESS_KINDS, RAY_KINDS)
#: Blows at workers of one driver.
_GROUP = 6
#: Longest that a driver with its blows may take.
_RAY_SECONDS = 240.0
#: Tasks in flight at a blow: of one worker, or of both for a driver of two.
_IN_FLIGHT = dict.fromkeys((*DRIVER_KINDS, *PROCESS_KINDS, *RAY_KINDS), MAX_UNFINISHED) | {
    "driver of worker processes": 2 * MAX_UNFINISHED,
    "ray node": 2 * MAX_UNFINISHED,
}


@dataclass
class Tally:
    """What a siege came to."""

    kills: Counter[str] = field(default_factory=Counter)
    points: Counter[str] = field(default_factory=Counter)
    resumes: int = 0
    stores: int = 0
    redone: int = 0
    slowest_resume: float = 0.0

    def lines(self) -> list[str]:
        """For a person."""
        kinds = ", ".join(f"{kind} {n}" for kind, n in self.kills.most_common())
        points = ", ".join(f"{point} {n}" for point, n in self.points.most_common())
        return [
            f"{self.kills.total()} kills ({kinds}) in {self.stores} stores, {self.resumes} resumes",
            f"tasks redone: {self.redone}",
            f"longest time from a resumed start to the first new piece of work: {self.slowest_resume:.1f} s",
            f"driver killed at: {points}",
        ]


class Life:
    """One store from its first driver to its last, and the notes beside it."""

    def __init__(self, inputs: Inputs, folder: Path, **sections: Any) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.store = folder / "store"
        notes = folder / "notes"
        notes.mkdir()
        self.drive = Drive(inputs.config_file(folder / "run.yaml", self.store, **sections), Notes(notes))
        self.is_finished = False
        self.redone = 0
        self.allowed = 0

    def receipts(self) -> dict[str, bytes]:
        """Every receipt there is."""
        return {str(path): path.read_bytes() for path in (self.store / "receipts").rglob("*.json")}


class Siege:
    """Draws kills from ``seed`` and keeps the tally."""

    def __init__(self, inputs: Inputs, folder: Path, reference: dict[str, Any], seed: int, **sections: Any) -> None:
        self.inputs, self.folder, self.reference, self.sections = inputs, folder, reference, sections
        self.random = random.Random(seed)
        self.tally = Tally()
        # the fork server imports before it hears of our sys.path, and Ray's workers never do
        os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        self._forks = multiprocessing.get_context("forkserver")
        self._forks.set_forkserver_preload(["chaos_drive"])
        self._ray: Connection | None = None
        self.life = self._new_life()

    def _new_life(self) -> Life:
        self.tally.stores += 1
        return Life(self.inputs, self.folder / f"life-{self.tally.stores}", **self.sections)

    def lay(self, plan: Counter[str], reach: int) -> Tally:
        """Carry out the kills of ``plan`` (kind → how many) in random order; at the end every store must be equal.

        ``reach`` is the number of storage operations among which a driver's point is drawn. A driver that finishes
        before its kill has finished the store: it is compared, and the next store begins. Blows at workers come in
        groups, several to one driver, because a worker takes seconds to start.
        """
        missing = list(plan.elements())
        self.random.shuffle(missing)
        while missing:
            family = next(kinds for kinds in _FAMILIES if missing[0] in kinds)
            group = [kind for kind in missing if kind in family][: _GROUP if len(family) > 1 else 1]
            for kind in self._attack(group, reach):
                missing.remove(kind)
                self.tally.kills[kind] += 1
                self.life.allowed += _IN_FLIGHT[kind]
            self._count_redone()
            if self.life.is_finished:
                self._next_store()
        self._start(self.life.drive)
        assert self.life.is_finished
        self._next_store()
        return self.tally

    def _attack(self, group: list[str], reach: int) -> list[str]:
        """One start of a driver and its blows; returns the kinds that hit."""
        if group[0] in RAY_KINDS:
            return self._on_ray(group)
        if group[0] in PROCESS_KINDS:
            return self._on_processes(group)
        if group[0] == "driver at a point":
            return self._at_a_point(reach)
        return self._at_any_time()

    def _at_a_point(self, reach: int) -> list[str]:
        """SIGKILL between two storage operations."""
        drive = replace(self.life.drive, kill_at=self.random.randint(1, reach))
        if self._start(drive) != -signal.SIGKILL:
            return []
        self.tally.points[drive.last_point.read_text(encoding="utf-8")] += 1
        return ["driver at a point"]

    def _at_any_time(self) -> list[str]:
        """SIGKILL at any moment, in the middle of an operation too."""
        process = self._begin(self.life.drive)
        process.join(self.random.uniform(0.2, 1.5))
        process.kill()
        return ["driver at any time"] if self._end(process, self.life.drive) == -signal.SIGKILL else []

    def _spread(self) -> tuple[str, ...]:
        """Stages with two workers: plan, dump, and sometimes one more; each costs two imports of torch or numba."""
        return ("plan", "dump", *self.random.choice([(), (), *((stage,) for stage in STAGES)]))

    def _on_processes(self, group: list[str]) -> list[str]:
        """Blows at worker processes; at the end, if asked for, at their driver while they work.

        They end by themselves then, beside its successor.
        """
        drive = replace(self.life.drive, spread=self._spread())
        process = self._begin(drive)
        target = Target(psutil.Process(process.pid), "spawn_main", drive.notes, process.is_alive)
        blows = {"worker process": kill, "worker process in a forward": exit_inside_a_forward}
        last = "driver of worker processes"
        hit = strike([kind for kind in group if kind != last], blows, target, self.random)
        if last in group and target.victim(self.random) is not None:
            process.kill()
            hit += [last]
        return hit if self._end(process, drive) != 0 or last not in hit else [kind for kind in hit if kind != last]

    def _on_ray(self, group: list[str]) -> list[str]:
        if self._ray is None:
            self._ray, theirs = multiprocessing.get_context("spawn").Pipe()
            context = multiprocessing.get_context("spawn")
            self._host = context.Process(target=ray_host.serve, args=(theirs,))
            self._host.start()
            theirs.close()
        drive = replace(self.life.drive, kind="ray", spread=self._spread())
        self._prepare(drive)
        self._ray.send((drive, group, self.random.getrandbits(32)))
        assert self._ray.poll(_RAY_SECONDS), "the driver on Ray hangs"
        code, hit = self._ray.recv()
        self._check(code, drive)
        return list(hit)

    def close(self) -> None:
        """End the Ray cluster."""
        if self._ray is not None:
            self._ray.close()
            self._host.join(30)
            self._host.kill()

    def _begin(self, drive: Drive) -> Any:
        self._prepare(drive)
        process = self._forks.Process(target=drive)
        process.start()
        return process

    def _start(self, drive: Drive) -> int:
        return self._end(self._begin(drive), drive)

    def _prepare(self, drive: Drive) -> None:
        for name in ("incomplete", "first-advance", "last-point", "stage"):
            (drive.notes.folder / name).unlink(missing_ok=True)
        self.known = self.life.receipts()
        self.tally.resumes += bool(self.known)

    def _end(self, process: Any, drive: Drive) -> int:
        """Wait for the driver."""
        process.join(240)
        assert not process.is_alive(), "the driver hangs"
        code = int(process.exitcode)
        self._check(code, drive)
        return code

    def _check(self, code: int, drive: Drive) -> None:
        """What was finished before this driver must be as it was, and a reader must see no torn file."""
        assert code in (0, INCOMPLETE, -signal.SIGKILL), f"the driver ended with {code}"
        if code == INCOMPLETE:
            assert (drive.notes.folder / "incomplete").exists(), "the driver failed; its traceback is above"
        assert self.known.items() <= self.life.receipts().items(), "finished work was redone"
        assert_readable(str(self.life.store))
        if self.known and drive.first_advance.exists():
            seconds = float(drive.first_advance.read_text(encoding="ascii"))
            self.tally.slowest_resume = max(self.tally.slowest_resume, seconds)
        self.life.is_finished = code == 0

    def _count_redone(self) -> None:
        """Tasks begun twice, which may be those in flight at a kill and no others."""
        begun = self.life.drive.notes.begun()
        redone = len(begun) - len(set(begun))
        assert redone <= self.life.allowed, f"{redone} tasks begun again, {self.life.allowed} were in flight at kills"
        self.tally.redone += redone - self.life.redone
        self.life.redone = redone

    def _outlive(self) -> None:
        """An actor of a killed node may live longer than the run it was cut off from, and stage a file meanwhile."""
        storage, until = Store.open(str(self.life.store)).storage, time.monotonic() + 60
        staging = self.life.store / "staging"
        while {path.name for path in staging.iterdir()} != {"locks"} and time.monotonic() < until:
            sweep_staging(storage)
            time.sleep(0.2)

    def _next_store(self) -> None:
        """Compare the finished store and begin another."""
        self._outlive()
        found = final_state(str(self.life.store))
        assert found.keys() == self.reference.keys()
        for part, expected in self.reference.items():
            assert found[part] == expected, f"{self.life.store}: {part} differs"
        shutil.rmtree(self.life.folder)
        self.life = self._new_life()
