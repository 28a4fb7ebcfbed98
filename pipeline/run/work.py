"""Tasks, jobs and workers: what an executor places.

A **task** is a small picklable value with a key. A **job** opens a **worker** inside a process or actor; the worker
keeps what is costly (a loaded model, open readers) between tasks. ``Worker.process`` returns the facts of the finished
task; everything large it has already written to the store.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from schemas.errors import IncompleteError, NeuronmillError


class Task(Protocol):
    """One unit of work and of recovery."""

    @property
    def key(self) -> str:
        """Name of the task, unique in its stage; also the key of its receipt."""


class Worker(Protocol):
    """Processes tasks one after the other in one process."""

    def process(self, task: Any, attempt: int) -> dict[str, Any]:
        """Do the task, commit its receipt, return its facts (plain data)."""


class Job(Protocol):
    """A picklable recipe for a worker."""

    def open(self) -> Worker:
        """Make a worker in the calling process."""


@dataclass(frozen=True)
class Outcome:
    """How one task ended: ``facts`` if it succeeded, else ``error`` (one line) and ``trace`` (the whole traceback).

    ``opening`` is the error of a worker that could not be opened, and with that of the stage.
    """

    key: str
    facts: dict[str, Any] | None = None
    error: str | None = None
    trace: str | None = None
    opening: NeuronmillError | None = None


Done = Callable[[Outcome], None]


class Executor(Protocol):
    """Places tasks on workers. Every task given out gets exactly one outcome; the order of outcomes is free.

    A task whose worker died is tried again on a fresh worker, up to ``max_attempts`` in all. An exception raised by
    the task itself is final: it would be raised again. Once a worker could not be opened, no further task is given
    out; those that others are working on still end.
    """

    def run(self, job: Job, tasks: Sequence[Task], done: Done) -> None:
        """Run all tasks, calling ``done`` in the caller's process as each ends."""


def run_tasks(stage: str, executor: Executor, job: Job, tasks: Sequence[Task], on_success: Done) -> None:
    """Run ``tasks``; raise :class:`IncompleteError` naming those that failed, after all others are finished.

    The error of a worker that could not be opened (a model that does not load) is raised as it is.
    """
    failures: list[Outcome] = []

    def done(outcome: Outcome) -> None:
        if outcome.error is None:
            on_success(outcome)
        else:
            failures.append(outcome)

    if tasks:
        executor.run(job, tasks, done)
    if failures:
        failures.sort(key=lambda outcome: outcome.key)
        for outcome in failures:
            if outcome.opening is not None:
                raise outcome.opening
        names = ", ".join(outcome.key for outcome in failures[:10]) + (" …" if len(failures) > 10 else "")
        raise IncompleteError(
            f"{stage}: {len(failures)} of {len(tasks)} tasks failed ({names}); the others are finished and kept.\n"
            f"first failure, {failures[0].key}: {failures[0].error}\n"
            f"{failures[0].trace or ''}\n"
            f"mend the cause and start the same command again: only the failed tasks are redone"
        )
