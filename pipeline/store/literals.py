"""SQL literals. Views, macros and settings cannot hold bound parameters, hence this one place that quotes."""

from __future__ import annotations

from collections.abc import Iterable


def sql_list(values: Iterable[str]) -> str:
    """An SQL list of string literals."""
    return "[" + ", ".join(map(sql_text, values)) + "]"


def sql_text(value: str) -> str:
    """A string literal."""
    return "'" + value.replace("'", "''") + "'"
