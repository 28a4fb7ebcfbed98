"""A shard that is poison: its forward pass ends the worker's process, or raises, at every attempt."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.run.work import Done, Executor, Job, Task, Worker


@dataclass(frozen=True)
class PoisonedJob:
    """The job, with one deadly task; every attempt at a task leaves a file in ``folder``."""

    job: Job
    key: str
    deed: str
    folder: Path

    def open(self) -> Worker:
        return PoisonedWorker(self.job.open(), self)


class PoisonedWorker:
    def __init__(self, worker: Worker, poison: PoisonedJob) -> None:
        self.worker, self.poison = worker, poison
        self.is_poisoned = False
        sys.modules["torch"].nn.modules.module.register_module_forward_pre_hook(self._forward)

    def process(self, task: Any, attempt: int) -> Any:
        (self.poison.folder / f"{task.key}-{attempt}").touch()
        self.is_poisoned = task.key == self.poison.key
        return self.worker.process(task, attempt)

    def _forward(self, module: Any, inputs: Any) -> None:
        if self.is_poisoned and self.poison.deed == "exit":
            os._exit(7)
        if self.is_poisoned:
            raise RuntimeError("the forward pass has its limits")


@dataclass(frozen=True)
class PoisonedExecutor:
    """The executor, with :class:`PoisonedJob`."""

    executor: Executor
    key: str
    deed: str
    folder: Path

    def run(self, job: Job, tasks: Sequence[Task], done: Done) -> None:
        self.executor.run(PoisonedJob(job, self.key, self.deed, self.folder), tasks, done)
