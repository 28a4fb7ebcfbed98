"""Local executor: tasks in this process, or in spawned processes that pull tasks one at a time.

One worker runs embedded. With more, each is a ``spawn`` process with a pipe; the driver waits on all pipes, so a
killed process shows at once as a closed pipe and its task goes to a fresh process.
"""

from __future__ import annotations

import multiprocessing
import signal
import traceback
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from pipeline.run.heap import release_freed_memory
from pipeline.run.task_queue import TaskQueue
from pipeline.run.work import Done, Job, Outcome, Task, Worker
from schemas.errors import IncompleteError, NeuronmillError


class LazyWorker:
    """Opens the job's worker with its first task, and turns whatever is raised into the task's outcome."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.worker: Worker | None = None

    def attempt(self, task: Task, attempt: int) -> Outcome:
        """Process one task; an exception becomes the outcome's error, so that the other tasks go on."""
        try:
            self.worker = self.worker or self.job.open()
            return Outcome(task.key, facts=self.worker.process(task, attempt))
        except NeuronmillError as error:
            return Outcome(task.key, error=str(error), opening=None if self.worker else error)
        except Exception as error:  # noqa: BLE001 - recorded with the task's name; run_tasks raises it at the end
            line, trace = f"{type(error).__name__}: {error}", traceback.format_exc()
            return Outcome(task.key, error=line, trace=trace, opening=None if self.worker else _unopened(line, trace))
        finally:
            release_freed_memory()


def _unopened(line: str, trace: str) -> IncompleteError:
    return IncompleteError(
        f"a worker cannot be opened: {line}; what is finished is kept.\n{trace}\n"
        "mend the cause and start the same command again to resume"
    )


def _serve(job: Job, connection: Connection) -> None:
    """Body of a worker process: open the worker, answer tasks until the driver closes the pipe or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to handle
    worker = LazyWorker(job)
    while True:
        try:
            task, attempt = connection.recv()
            connection.send(worker.attempt(task, attempt))
        except (EOFError, ConnectionError):
            return


class _Process:
    """One worker process and the task it holds."""

    def __init__(self, context: multiprocessing.context.SpawnContext, job: Job) -> None:
        self.connection, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=_serve, args=(job, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self.held: tuple[Task, int] | None = None

    def give(self, task: Task, attempt: int) -> None:
        self.held = (task, attempt)
        with suppress(ConnectionError):  # it died while idle: the driver finds its pipe closed and tries the task again
            self.connection.send((task, attempt))

    def stop(self) -> None:
        self.connection.close()
        self.process.join(timeout=10)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


class LocalExecutor:
    """Run tasks on this machine with ``workers`` processes (1: embedded, no process is made)."""

    def __init__(self, workers: int = 1, max_attempts: int = 3) -> None:
        self.workers = workers
        self.max_attempts = max_attempts

    def run(self, job: Job, tasks: Sequence[Task], done: Done) -> None:
        """See :class:`pipeline.run.work.Executor`."""
        queue = TaskQueue(tasks, self.max_attempts, done)
        if self.workers == 1:
            worker = LazyWorker(job)
            while queue:
                queue.finish(worker.attempt(*queue.take()))
            return
        self._run_processes(job, queue)

    def _run_processes(self, job: Job, queue: TaskQueue) -> None:
        context = multiprocessing.get_context("spawn")
        pool = [_Process(context, job) for _ in range(min(self.workers, len(queue)))]
        try:
            for process in pool:
                process.give(*queue.take())
            while any(process.held for process in pool):
                ready = wait([p.connection for p in pool if p.held])
                for process in [p for p in pool if p.connection in ready]:
                    self._collect(process, pool, context, job, queue)
        except BaseException:
            for process in pool:
                process.process.kill()  # a forward pass can take minutes: don't wait for it; receipts make this safe
            raise
        finally:
            for process in pool:
                process.stop()

    def _collect(
        self,
        process: _Process,
        pool: list[_Process],
        context: multiprocessing.context.SpawnContext,
        job: Job,
        queue: TaskQueue,
    ) -> None:
        """Take one process's outcome, or mourn it and requeue its task; then give the idle ones the next tasks."""
        assert process.held is not None  # noqa: S101 - only processes that hold a task are waited for
        task, attempt = process.held
        try:
            outcome: Any = process.connection.recv()
        except (EOFError, OSError):  # OSError: it died in the middle of its answer
            pool.remove(process)
            process.stop()
            queue.died(task, attempt, "worker process", f"with exit code {process.process.exitcode}")
            if queue:
                pool.append(_Process(context, job))
        else:
            queue.finish(outcome)
        process.held = None
        for idle in pool:
            if idle.held is None and queue:
                idle.give(*queue.take())
