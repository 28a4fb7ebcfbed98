"""Ray executor: one actor per worker, pull-based, at most one task in flight per actor. The only file that imports ray.

Actors are never restarted by Ray: a dead one is replaced by a fresh actor and its task is tried again, up to
``max_attempts``. Activations do not travel: an actor commits its own files and returns facts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import RayActorError

from pipeline.run.local_executor import LazyWorker
from pipeline.run.task_queue import TaskQueue
from pipeline.run.work import Done, Job, Outcome, Task
from schemas.errors import ConfigError


class _Actor:
    """Holds a worker; made remote by :meth:`RayExecutor._actor`."""

    def __init__(self, job: Job) -> None:
        self.worker = LazyWorker(job)

    def process(self, task: Task, attempt: int) -> Outcome:
        return self.worker.attempt(task, attempt)


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
        actors: dict[Any, tuple[Any, Task, int]] = {}
        try:
            self._check_gpus()
            self._pull(job, TaskQueue(tasks, self.max_attempts, done), actors)
        finally:
            for actor, _, _ in actors.values():
                ray.kill(actor)
            if started_here:
                ray.shutdown()

    def _connect(self) -> None:
        if self.address is not None:
            ray.init(address=self.address, log_to_driver=False, logging_level="ERROR")
            return
        ray.init(
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
        remote = ray.remote(num_cpus=1, num_gpus=self.gpus_per_worker, max_restarts=0, max_task_retries=0)(_Actor)
        return remote.remote(job)

    def _pull(self, job: Job, queue: TaskQueue, actors: dict[Any, tuple[Any, Task, int]]) -> None:
        def give(actor: Any) -> None:
            task, attempt = queue.take()
            actors[actor.process.remote(task, attempt)] = (actor, task, attempt)

        for _ in range(min(self.workers, len(queue))):
            give(self._actor(job))
        while actors:
            ready, _ = ray.wait(list(actors), num_returns=1)
            actor, task, attempt = actors.pop(ready[0])
            try:
                queue.finish(ray.get(ready[0]))
            except RayActorError as death:
                ray.kill(actor)
                actor = self._actor(job)
                queue.died(task, attempt, "actor", f"like this: {death}")
            if queue:
                give(actor)
            else:
                ray.kill(actor)
