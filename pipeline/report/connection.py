"""The one way the report asks the store: a named ``.sql`` file of this package with bound parameters."""

from __future__ import annotations

import math
from functools import cache
from importlib.resources import files
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Connection(Protocol):
    """What is needed of a DuckDB connection; :mod:`pipeline.store` opens it, the report never imports DuckDB."""

    def execute(self, query: str, parameters: Any = ..., /) -> Any:
        """Run one statement with named parameters; the result has ``fetchall`` and ``fetchnumpy``."""


@cache
def _statement(name: str) -> str:
    return files(__package__).joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")


def ask(connection: Connection, name: str, **parameters: object) -> list[tuple[Any, ...]]:
    """All rows of ``sql/<name>.sql`` under these parameters; the file's header names its inputs and output columns.

    Numbers that are not finite come as None, as nulls do: both mean undefined.
    """
    rows = connection.execute(_statement(name), parameters).fetchall()
    return [tuple(map(_defined, row)) for row in rows]


def ask_columns(connection: Connection, name: str, **parameters: object) -> dict[str, NDArray[Any]]:
    """The answer of ``sql/<name>.sql`` as one numpy array per column, for statements whose columns have no nulls."""
    columns = connection.execute(_statement(name), parameters).fetchnumpy()
    return {column: np.asarray(values) for column, values in columns.items()}


def _defined(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
