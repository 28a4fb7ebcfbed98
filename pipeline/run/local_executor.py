"""Local executor: tasks in this process, or in spawned processes that pull tasks one at a time.

One worker runs embedded. With more, each is a ``spawn`` process with a pipe; the driver waits on all pipes, so a
killed process shows at once as a closed pipe and its tasks go to a fresh process. A process says when it has done the
computing of a task, and is given the next one while the files of the first are written.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from threading import Lock
from typing import Any

from pipeline.run.lazy_worker import LazyWorker
from pipeline.run.task_queue import TaskQueue
from pipeline.run.work import MAX_UNFINISHED, Done, Job, Outcome, Task


def _serve(job: Job, connection: Connection) -> None:
    """Body of a worker process: open the worker, answer tasks until the driver closes the pipe or is gone.

    Every task is answered by ``None`` if it is computed and not yet written, and by its outcome once it is finished.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to handle
    worker, lock = LazyWorker(job), Lock()

    def answer(message: Outcome | None) -> None:
        with lock, suppress(ConnectionError):  # the driver is gone: the next recv says so
            connection.send(message)

    while True:
        try:
            task, attempt = connection.recv()
        except (EOFError, ConnectionError):
            return
        outcome = worker.begin(task, attempt)
        if not outcome.done():
            answer(None)
        outcome.add_done_callback(lambda ended: answer(ended.result()))


class _Process:
    """One worker process and the tasks it holds: at most one to compute, and one that is being written."""

    def __init__(self, context: multiprocessing.context.SpawnContext, job: Job) -> None:
        self.connection, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=_serve, args=(job, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self.held: list[tuple[Task, int]] = []
        self.is_computing = False

    def give(self, task: Task, attempt: int) -> None:
        self.held.append((task, attempt))
        self.is_computing = True
        with suppress(ConnectionError):  # it died while idle: the driver finds its pipe closed and tries the task again
            self.connection.send((task, attempt))

    def computed(self) -> None:
        """It has said that what it was given last is computed."""
        self.is_computing = False

    def finished(self, key: str) -> None:
        """It has sent the outcome of one of its tasks."""
        if self.held[-1][0].key == key:
            self.is_computing = False
        self.held = [(task, attempt) for task, attempt in self.held if task.key != key]

    def stop(self) -> None:
        self.connection.close()
        self.process.join(timeout=10)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


class LocalExecutor:
    """Run tasks on this machine with ``workers`` processes; one worker needs none and is embedded, unless ``spawn``."""

    def __init__(self, workers: int = 1, max_attempts: int = 3, *, spawn: bool = False) -> None:
        self.workers = workers
        self.max_attempts = max_attempts
        self.spawn = spawn or workers > 1

    def run(self, job: Job, tasks: Sequence[Task], done: Done) -> None:
        """See :class:`pipeline.run.work.Executor`."""
        queue = TaskQueue(tasks, self.max_attempts, done)
        if self.spawn:
            self._run_processes(job, queue)
        else:
            _run_here(job, queue)

    def _run_processes(self, job: Job, queue: TaskQueue) -> None:
        context = multiprocessing.get_context("spawn")
        pool = [_Process(context, job) for _ in range(min(self.workers, len(queue)))]
        try:
            _give_out(pool, queue)
            while any(process.held for process in pool):
                ready = wait([p.connection for p in pool if p.held])
                for process in [p for p in pool if p.connection in ready]:
                    if not _hear(process, queue):
                        pool.remove(process)
                        if queue:
                            pool.append(_Process(context, job))
                _give_out(pool, queue)
        except BaseException:
            for process in pool:
                process.process.kill()  # a forward pass can take minutes: don't wait for it; receipts make this safe
            raise
        finally:
            for process in pool:
                process.stop()


def _run_here(job: Job, queue: TaskQueue) -> None:
    """Embedded: this thread computes, while the worker's own threads write."""
    worker = LazyWorker(job)
    begun: deque[Future[Outcome]] = deque()
    try:
        while queue or begun:
            if queue:
                begun.append(worker.begin(*queue.take()))
            while begun and (begun[0].done() or len(begun) == MAX_UNFINISHED or not queue):
                queue.finish(begun.popleft().result())
    finally:
        worker.close()


def _give_out(pool: list[_Process], queue: TaskQueue) -> None:
    """Give a task to every process that computes nothing, the idle ones first."""
    for process in sorted(pool, key=lambda process: len(process.held)):
        if not process.is_computing and queue.suits(process.held):
            process.give(*queue.take())


def _hear(process: _Process, queue: TaskQueue) -> bool:
    """Take one message of a process; False if it has died, and its tasks are back in the queue."""
    try:
        message: Any = process.connection.recv()
    except (EOFError, OSError):  # OSError: it died in the middle of its answer
        process.stop()
        for task, attempt in reversed(process.held):
            queue.died(task, attempt, "worker process", f"with exit code {process.process.exitcode}")
        return False
    if message is None:
        process.computed()
    else:
        process.finished(message.key)
        queue.finish(message)
    return True
