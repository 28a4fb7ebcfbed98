"""The worker inside one process or actor: opened with its first task, and never raising."""

from __future__ import annotations

import traceback
from concurrent.futures import Future

from pipeline.run.heap import WorkerHeap, release_freed_memory
from pipeline.run.work import Facts, Job, Outcome, Task, Worker
from pipeline.store.column_files.whole_file import release_file_memory
from schemas.errors import IncompleteError, NeuronmillError


class LazyWorker:
    """Opens the job's worker with its first task, and turns whatever is raised into the task's outcome."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.worker: Worker | None = None
        self._heap = WorkerHeap()

    def begin(self, task: Task, attempt: int) -> Future[Outcome]:
        """Compute one task; its outcome comes when it is finished too, and the future never holds an exception.

        Always on the same thread: torch's compute threads belong to the thread that calls.
        """
        outcome: Future[Outcome] = Future()
        try:
            self.worker = self.worker or self.job.open()
            facts = self.worker.process(task, attempt)
        except Exception as error:  # noqa: BLE001 - recorded with the task's name; run_tasks raises it at the end
            outcome.set_result(self._failed(task, attempt, error))
            return outcome
        written = facts if isinstance(facts, Future) else _finished(facts)
        written.add_done_callback(lambda ended: self._end(outcome, task, attempt, ended))
        return outcome

    def close(self) -> None:
        """No task follows: give back what the worker holds, where its process goes on without it."""
        self.worker = None
        release_file_memory()
        release_freed_memory()

    def _end(self, outcome: Future[Outcome], task: Task, attempt: int, written: Future[Facts]) -> None:
        error = written.exception()
        if error is not None:
            outcome.set_result(self._failed(task, attempt, error))
        else:
            outcome.set_result(Outcome(task.key, written.result(), attempts=attempt))
        self._heap.task_ended()

    def _failed(self, task: Task, attempt: int, error: BaseException) -> Outcome:
        if isinstance(error, NeuronmillError):
            opening: NeuronmillError | None = None if self.worker else error
            return Outcome(task.key, error=str(error), attempts=attempt, opening=opening)
        line, trace = f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error))
        opening = None if self.worker else _unopened(line, trace)
        return Outcome(task.key, error=line, trace=trace, attempts=attempt, opening=opening)


def _finished(facts: Facts) -> Future[Facts]:
    future: Future[Facts] = Future()
    future.set_result(facts)
    return future


def _unopened(line: str, trace: str) -> IncompleteError:
    return IncompleteError(
        f"a worker cannot be opened: {line}; what is finished is kept.\n{trace}\n"
        "mend the cause and start the same command again to resume"
    )
