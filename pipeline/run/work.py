"""Tasks, jobs and workers: what an executor places.

A **task** is a small picklable value with a key. A **job** opens a **worker** inside a process or actor; the worker
keeps what is costly (a loaded model, open readers) between tasks. ``Worker.process`` returns the facts of the finished
task; everything large it has already written to the store.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol

from pipeline.run.failures import FailureLog
from schemas.errors import IncompleteError, NeuronmillError

#: What is worth telling of a finished task: plain data.
Facts = dict[str, Any]

#: Tasks that one worker has begun and not finished: one at work, one being written.
MAX_UNFINISHED = 2


class Task(Protocol):
    """One unit of work and of recovery."""

    @property
    def key(self) -> str:
        """Name of the task, unique in its stage; also the key of its receipt."""


class Worker(Protocol):
    """Processes tasks one after the other in one process, and always on the same thread of it."""

    def process(self, task: Any, attempt: int) -> Facts | Future[Facts]:
        """Do the task, commit its receipt, return its facts.

        A future stands for the part that needs no computing (writing files): the next task may begin meanwhile. At most
        :data:`MAX_UNFINISHED` tasks of a worker are unfinished at a time.
        """


class Job(Protocol):
    """A picklable recipe for a worker."""

    def open(self) -> Worker:
        """Make a worker in the calling process."""


@dataclass(frozen=True)
class Outcome:
    """How one task ended: ``facts`` if it succeeded, else ``error`` (one line) and ``trace`` (the whole traceback).

    ``attempts`` counts the workers that were given it. ``opening`` is the error of a worker that could not be opened,
    and with that of the stage.
    """

    key: str
    facts: Facts | None = None
    error: str | None = None
    trace: str | None = None
    attempts: int = 1
    opening: NeuronmillError | None = None


Done = Callable[[Outcome], None]


class Executor(Protocol):
    """Places tasks on workers. Every task given out gets exactly one outcome; the order of outcomes is free.

    A task whose worker died is tried again, up to ``max_attempts`` in all, by a worker that does nothing beside it, so
    that a deadly task takes no other one with it to the last attempt. An exception raised by the task itself is final:
    it would be raised again. Once a worker could not be opened, no further task is given
    out; those that others are working on still end.
    """

    def run(self, job: Job, tasks: Sequence[Task], done: Done) -> None:
        """Run all tasks, calling ``done`` in the caller's process as each ends."""


def run_tasks(
    stage: str, log: FailureLog, executor: Executor, job: Job, tasks: Sequence[Task], on_success: Done
) -> None:
    """Run ``tasks``; raise :class:`IncompleteError` naming those that failed, after all others are finished.

    ``log`` keeps the failures for those who look on. The error of a worker that could not be opened (a model that does
    not load) is raised as it is.
    """
    failed: list[Outcome] = []

    def done(outcome: Outcome) -> None:
        if outcome.error is None:
            log.succeeded(outcome.key)
            on_success(outcome)
        else:
            failed.append(outcome)
            if outcome.opening is None:
                log.failed(outcome.key, outcome.error, outcome.trace, outcome.attempts)

    if tasks:
        executor.run(job, tasks, done)
    if failed:
        raise _incomplete(stage, failed, len(tasks))


def _incomplete(stage: str, failed: list[Outcome], n_tasks: int) -> NeuronmillError:
    failed.sort(key=lambda outcome: outcome.key)
    for outcome in failed:
        if outcome.opening is not None:
            return outcome.opening
    names = ", ".join(outcome.key for outcome in failed[:10]) + (" …" if len(failed) > 10 else "")
    return IncompleteError(
        f"{stage}: {len(failed)} of {n_tasks} tasks failed ({names}); the others are finished and kept.\n"
        f"first failure, {failed[0].key}: {failed[0].error}\n"
        f"{failed[0].trace or ''}\n"
        f"mend the cause and start the same command again: only the failed tasks are redone"
    )
