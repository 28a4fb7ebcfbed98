"""Holding a store's lease while a job writes: a second driver of the same run waits or refuses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from jobs.console import ConsoleProgress
from pipeline.store.lease import Lease
from pipeline.store.store import Store


class HeldProgress(ConsoleProgress):
    """Progress that stops the job when it has lost its lease, before more work is done that another one does too."""

    def __init__(self, lease: Lease) -> None:
        super().__init__()
        self._lease = lease

    def advance(self, n: int = 1, *, n_rows: int = 0, n_bytes: int = 0) -> None:
        """Count; raises :class:`~schemas.errors.LeaseError` if the lease was lost."""
        self._lease.check()
        super().advance(n, n_rows=n_rows, n_bytes=n_bytes)


def run_lease(alias: str) -> str:
    """Name of the lease of the commands that work on a model's run."""
    return f"run-{alias}"


@contextmanager
def held(store: Store, name: str, wait: float) -> Iterator[HeldProgress]:
    """Hold the lease; says on standard error whom it waits for."""
    command = click.get_current_context().command_path
    with store.holding(name, command=command, wait=wait, tell=lambda text: click.echo(text, err=True)) as lease:
        yield HeldProgress(lease)
