"""Failures: why a task of a run failed, kept in the store until it succeeds: ``failures/<stage>/<key>.json``.

For those who look on (`neuronmill status`); no command decides anything by them. ``stage`` is that of the receipts.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from pipeline.store.paths import FAILURES, failure_file
from pipeline.store.store import Store
from schemas.errors import StoreError


@dataclass(frozen=True)
class Failure:
    """A task that failed for good in the last command that tried it."""

    stage: str
    key: str
    error: str
    """One line."""
    trace: str | None
    """The whole traceback; None where a worker died without one."""
    attempts: int
    """Workers that were given the task."""
    at: str
    """UTC, ISO 8601."""


class FailureLog:
    """The failures of one stage, as one command adds to them and clears them."""

    def __init__(self, store: Store, stage: str) -> None:
        self._store = store
        self._stage = stage
        self._recorded = set(store.storage.list(f"{FAILURES}/{stage}"))

    def failed(self, key: str, error: str, trace: str | None, attempts: int) -> None:
        """Write or replace the record of a failed task, where the store takes it.

        A disk that failed the task for being full may refuse this too; the command itself tells of the failure at its
        end.
        """
        path = failure_file(self._stage, key)
        at = datetime.now(UTC).isoformat(timespec="seconds")
        with suppress(StoreError):
            self._store.put_json(path, asdict(Failure(self._stage, key, error, trace, attempts, at)))
            self._recorded.add(path)

    def succeeded(self, key: str) -> None:
        """Remove the record of a task that an earlier command saw failing, if there is one."""
        path = failure_file(self._stage, key)
        if path in self._recorded:
            self._store.storage.delete(path)
            self._recorded.discard(path)


def failures(store: Store) -> list[Failure]:
    """All recorded failures, ordered by stage and key."""
    return [Failure(**store.read_json(path)) for path in store.storage.list(FAILURES)]
