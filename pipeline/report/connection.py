"""The one way the report asks the store: a named ``.sql`` file of this package with bound parameters."""

from __future__ import annotations

import math
from functools import cache
from importlib.resources import files
from typing import Any, Protocol


class Connection(Protocol):
    """What is needed of a DuckDB connection; :mod:`pipeline.store` opens it, the report never imports DuckDB."""

    def execute(self, query: str, parameters: Any = ..., /) -> Any:
        """Run one statement with named parameters; the result has ``fetchall``."""


@cache
def _statement(name: str) -> str:
    return files(__package__).joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")


def ask(connection: Connection, name: str, **parameters: object) -> list[tuple[Any, ...]]:
    """All rows of ``sql/<name>.sql`` under these parameters; the file's header names its inputs and output columns.

    Numbers that are not finite come as None, as nulls do: both mean undefined.
    """
    rows = connection.execute(_statement(name), parameters).fetchall()
    return [tuple(map(_defined, row)) for row in rows]


def _defined(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
