"""A time limit for what a DuckDB connection does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from schemas.errors import QueryError


@contextmanager
def deadline(connection: duckdb.DuckDBPyConnection, seconds: float, what: str) -> Iterator[None]:
    """Interrupt the connection after ``seconds``; any error of DuckDB inside becomes a :class:`QueryError` of ``what``.

    The interrupt is repeated until the block ends: one that arrives between two statements would be lost.
    """
    finished = threading.Event()
    expired = threading.Event()

    def watch() -> None:
        pause = seconds
        while not finished.wait(pause):
            expired.set()
            connection.interrupt()
            pause = 0.05

    watcher = threading.Thread(target=watch, daemon=True, name="neuronmill-deadline")
    watcher.start()
    try:
        yield
    except duckdb.Error as error:
        if expired.is_set():
            raise QueryError(
                f"{what}: stopped after its limit of {seconds:g} seconds; make it cheaper (fewer neurons, a WHERE on "
                "layer or row_id) or raise the limit"
            ) from error
        raise QueryError(f"{what}: {error}") from error
    finally:
        finished.set()
        watcher.join()
