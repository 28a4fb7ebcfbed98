"""Ray executor: one actor per worker, pull-based. The only file that imports ray.

An actor has at most one task that it computes and one whose files it writes.

Actors are never restarted by Ray: a dead one is replaced by a fresh actor and its task is tried again, up to
``max_attempts``. Activations do not travel: an actor commits its own files and returns facts.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayActorError

from pipeline.run.lazy_worker import LazyWorker
from pipeline.run.task_queue import TaskQueue
from pipeline.run.work import Done, Job, Outcome, Task
from schemas.errors import ConfigError


class _Actor:
    """Holds a worker; made remote by :meth:`RayExecutor._actor`. Its two concurrency groups have a thread each."""

    def __init__(self, job: Job) -> None:
        self.worker = LazyWorker(job)
        self.begun: dict[str, Future[Outcome]] = {}

    @ray.method(concurrency_group="compute")  # type: ignore[untyped-decorator]
    def begin(self, task: Task, attempt: int) -> Outcome | None:
        """Compute a task; its outcome if it is finished with that, else ask :meth:`finish`."""
        outcome = self.worker.begin(task, attempt)
        if outcome.done():
            return outcome.result()
        self.begun[task.key] = outcome
        return None

    @ray.method(concurrency_group="write")  # type: ignore[untyped-decorator]
    def finish(self, key: str) -> Outcome:
        """Wait until a computed task is written."""
        return self.begun.pop(key).result()


@dataclass
class _Held:
    """An actor and its unfinished tasks, in the order they were given."""

    actor: Any
    tasks: list[tuple[Task, int]] = field(default_factory=list)
    is_computing: bool = False


class RayExecutor:
    """Run tasks on a Ray cluster, or on one started here when ``address`` is None.

    ``gpus_per_worker`` may be a fraction. Each actor asks for one CPU: its compute threads are frozen in the plan, and
    asking for more would leave actors unplaced on small machines.
    """

    def __init__(
        self, workers: int = 1, *, gpus_per_worker: float = 0.0, address: str | None = None, max_attempts: int = 3
    ) -> None:
        self.workers = workers
        self.gpus_per_worker = gpus_per_worker
        self.address = address
        self.max_attempts = max_attempts

    def run(self, job: Job, tasks: Sequence[Task], done: Done) -> None:
        """See :class:`pipeline.run.work.Executor`."""
        started_here = not ray.is_initialized()
        if started_here:
            self._connect()
        pool: list[_Held] = []
        try:
            self._check_gpus()
            self._pull(job, TaskQueue(tasks, self.max_attempts, done), pool)
        finally:
            for held in pool:
                ray.kill(held.actor)
            if started_here:
                ray.shutdown()

    def _connect(self) -> None:
        if self.address is not None:
            ray.init(address=self.address, log_to_driver=False, logging_level="ERROR")
            return
        ray.init(
            address="local",  # never one that happens to run here: that is for --address to say
            num_cpus=self.workers,
            include_dashboard=False,
            object_store_memory=300 * 2**20,  # receipts only
            log_to_driver=False,
            logging_level="ERROR",
        )

    def _check_gpus(self) -> None:
        """Refuse what could never be placed; Ray would wait for it without a word."""
        available = max((node["Resources"].get("GPU", 0.0) for node in ray.nodes() if node["Alive"]), default=0.0)
        if self.gpus_per_worker > available:
            raise ConfigError(
                f"executor.gpus_per_worker: an actor asks for {self.gpus_per_worker:g} GPUs and no node has "
                f"more than {available:g}; lower it, or join another cluster (--address)"
            )

    def _actor(self, job: Job) -> Any:
        options = {"num_cpus": 1, "num_gpus": self.gpus_per_worker, "max_restarts": 0, "max_task_retries": 0}
        remote = ray.remote(**options, concurrency_groups={"compute": 1, "write": 1})(_Actor)
        return remote.remote(job)

    def _pull(self, job: Job, queue: TaskQueue, pool: list[_Held]) -> None:
        pool.extend(_Held(self._actor(job)) for _ in range(min(self.workers, len(queue))))
        calls: dict[Any, tuple[_Held, Task]] = {}
        _give_out(pool, queue, calls)
        while calls:
            (ready,), _ = ray.wait(list(calls), num_returns=1)
            held, task = calls.pop(ready)
            try:
                outcome: Outcome | None = ray.get(ready)
            except RayActorError as death:
                for call in [call for call, (holder, _) in calls.items() if holder is held]:
                    del calls[call]
                self._bury(held, pool, job, queue, death)
            else:
                _hear(held, task, outcome, queue, calls)
            _give_out(pool, queue, calls)

    def _bury(self, held: _Held, pool: list[_Held], job: Job, queue: TaskQueue, death: RayActorError) -> None:
        """Put a fresh actor in the place of a dead one, whose tasks go back to the queue."""
        ray.kill(held.actor)  # unreachable is not yet ended: it must not go on beside its successor
        pool.remove(held)
        for task, attempt in reversed(held.tasks):
            queue.died(task, attempt, "actor", f"like this: {death}")
        if queue:
            pool.append(_Held(self._actor(job)))


def _give_out(pool: list[_Held], queue: TaskQueue, calls: dict[Any, tuple[_Held, Task]]) -> None:
    """Give a task to every actor that computes nothing, the idle ones first."""
    for held in sorted(pool, key=lambda held: len(held.tasks)):
        if not held.is_computing and queue.suits(held.tasks):
            task, attempt = queue.take()
            held.tasks.append((task, attempt))
            held.is_computing = True
            calls[held.actor.begin.remote(task, attempt)] = held, task


def _hear(
    held: _Held, task: Task, outcome: Outcome | None, queue: TaskQueue, calls: dict[Any, tuple[_Held, Task]]
) -> None:
    """Take an actor's answer: a task is computed (None), or it is finished."""
    if held.tasks[-1][0].key == task.key:
        held.is_computing = False
    if outcome is None:
        calls[held.actor.finish.remote(task.key)] = held, task
        return
    held.tasks = [(other, attempt) for other, attempt in held.tasks if other.key != task.key]
    queue.finish(outcome)
