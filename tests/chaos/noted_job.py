"""A job that notes which tasks its workers begin, and whose workers can be told to exit inside a forward pass.

Light to import: worker processes read it before the job's own module.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.run.work import Done, Executor, Job, Task, Worker


@dataclass(frozen=True)
class Notes:
    """What processes tell each other by files beside the store: who began what, and who is to die in a forward pass."""

    folder: Path

    def begin(self, job: Job, key: str, attempt: int) -> None:
        """A worker begins a task. One write of a few bytes in append mode is never torn."""
        line = f"{type(job).__name__}:{getattr(job, 'stage', '')} {key} {attempt} {os.getpid()}\n"
        with (self.folder / "begun").open("a", encoding="ascii") as file:
            file.write(line)

    def begun(self) -> list[tuple[str, str]]:
        """Job and key of every task begun so far, in order."""
        return [(line[0], line[1]) for line in self._lines()]

    def begun_by(self) -> list[int]:
        """Process of every task begun so far, in order."""
        return [int(line[3]) for line in self._lines()]

    def _lines(self) -> list[list[str]]:
        path = self.folder / "begun"
        return [line.split() for line in path.read_text(encoding="ascii").splitlines()] if path.exists() else []

    def enter(self, stage: str) -> None:
        """The driver enters a stage."""
        (self.folder / "stage").write_text(stage, encoding="ascii")

    def stage(self) -> str:
        """The stage the driver is in."""
        path = self.folder / "stage"
        return path.read_text(encoding="ascii") if path.exists() else ""

    def order_exit(self, number: int, forwards: int) -> None:
        """Let the next dump worker that sees this note exit in its ``forwards``-th module call from then on."""
        (self.folder / f"exit-{number}").write_text(str(forwards), encoding="ascii")

    def take_order(self) -> int | None:
        """Module calls until this process has to exit; at most one process gets an order."""
        for note in sorted(self.folder.glob("exit-*")):
            claimed = note.with_name(f"claimed-{note.name}")
            try:
                note.rename(claimed)
            except FileNotFoundError:
                continue
            return int(claimed.read_text(encoding="ascii"))
        return None

    def withdraw_orders(self) -> None:
        """Remove the orders that nobody has taken yet."""
        for note in self.folder.glob("exit-*"):
            note.unlink(missing_ok=True)

    def exits(self) -> int:
        """Processes that have exited in a forward pass."""
        return len(list(self.folder.glob("exited-*")))


@dataclass(frozen=True)
class NotedJob:
    """A job whose workers note what they begin."""

    job: Job
    notes: Notes

    def open(self) -> Worker:
        return NotedWorker(self.job.open(), self)


class NotedWorker:
    """The job's own worker; its process ends inside a module's forward when an order is found."""

    def __init__(self, worker: Worker, noted: NotedJob) -> None:
        self.worker, self.noted = worker, noted
        self.calls_left: int | None = None
        self.is_dump = type(noted.job).__name__ == "DumpJob"
        if self.is_dump:
            sys.modules["torch"].nn.modules.module.register_module_forward_pre_hook(self._count)

    def process(self, task: Any, attempt: int) -> Any:
        self.noted.notes.begin(self.noted.job, task.key, attempt)
        if self.is_dump and self.calls_left is None:
            self.calls_left = self.noted.notes.take_order()
        return self.worker.process(task, attempt)

    def _count(self, module: Any, inputs: Any) -> None:
        if self.calls_left is not None:
            self.calls_left -= 1
            if self.calls_left <= 0:
                (self.noted.notes.folder / f"exited-{os.getpid()}").touch()
                os._exit(11)


@dataclass(frozen=True)
class NotedExecutor:
    """An executor that runs :class:`NotedJob`."""

    executor: Executor
    notes: Notes

    def run(self, job: Job, tasks: Sequence[Task], done: Done) -> None:
        self.executor.run(NotedJob(job, self.notes), tasks, done)
