"""The tasks of one stage on their way through an executor: what every executor does about deaths and bad openings."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from pipeline.run.work import MAX_UNFINISHED, Done, Outcome, Task


class TaskQueue:
    """Tasks that wait for a worker, each with the number of its next attempt.

    A task whose worker died comes back, up to ``max_attempts`` in all. A worker that cannot be opened ends the queue:
    the next one could not be opened either, so nobody gets a task any more.
    """

    def __init__(self, tasks: Sequence[Task], max_attempts: int, done: Done) -> None:
        self._waiting = deque((task, 1) for task in tasks)
        self._max_attempts = max_attempts
        self._done = done
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self) -> tuple[Task, int]:
        """The next task and its attempt; only while ``len`` is not 0."""
        return self._waiting.popleft()

    def suits(self, unfinished: Sequence[tuple[Task, int]]) -> bool:
        """Whether a worker with these unfinished tasks may take the next one: a task is tried again only alone."""
        if not self._waiting or len(unfinished) >= MAX_UNFINISHED:
            return False
        attempts = [attempt for _, attempt in (*unfinished, self._waiting[0])]
        return not unfinished or max(attempts) == 1

    def finish(self, outcome: Outcome) -> None:
        """Report how a task ended."""
        if outcome.opening is not None:
            self._is_closed = True
            self._waiting.clear()
        self._done(outcome)

    def died(self, task: Task, attempt: int, worker: str, how: str) -> None:
        """Put the task of a dead ``worker`` back, or report it after its last attempt."""
        if attempt < self._max_attempts and not self._is_closed:
            self._waiting.appendleft((task, attempt + 1))
        else:
            self.finish(Outcome(task.key, error=f"its {worker} died {attempt} times, last {how}", attempts=attempt))
