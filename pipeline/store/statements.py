"""What a user's SQL may be, decided on its syntax tree before it runs.

``StatementType.SELECT`` alone is no guard: in DuckDB 2.0 ``WITH x AS (COPY … TO 'file') SELECT 1`` has that type and
writes the file, ``EXPLAIN ANALYZE COPY …`` has type EXPLAIN and does too, and ``query('…')`` or
``json_execute_serialized_sql(…)`` run SQL that no outer tree shows. ``allowed_paths`` does not tell reading from
writing, so each of them could overwrite the store's own files. Hence an allow-list of query nodes and table functions,
our own macros among them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import duckdb

from schemas.errors import QueryError
from schemas.sql_macros import TABLE_MACROS

_QUERY_NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
_TABLE_FUNCTIONS = frozenset(
    {
        *("duckdb_columns", "duckdb_functions", "duckdb_tables", "duckdb_types", "duckdb_views", "pragma_table_info"),
        *("generate_series", "range", "unnest", "repeat", "json_each", "json_tree", "histogram", "histogram_values"),
        *("parquet_file_metadata", "parquet_kv_metadata", "parquet_metadata", "parquet_scan", "parquet_schema"),
        *("read_parquet", "summary"),
        *TABLE_MACROS,
    }
)
_EXPLAIN = re.compile(r"\s*explain\b(\s+analyze\b)?(\s*\([\w\s,]*\))?\s*", re.IGNORECASE)
_WAY_OUT = "give one SELECT (or EXPLAIN SELECT) over the store's views"


def checked_statement(sql: str) -> str:
    """``sql`` itself if it is exactly one SELECT, or an EXPLAIN of one, that only reads; :class:`QueryError` if not."""
    try:
        statements = duckdb.extract_statements(sql)
    except duckdb.Error as error:
        raise QueryError(f"sql: {error}") from error
    if len(statements) != 1:
        raise QueryError(f"sql: exactly one statement is allowed, got {len(statements)}; {_WAY_OUT}")
    kind = statements[0].type.name
    if kind == "SELECT":
        _check_tree(syntax_tree(sql), kind)
    elif kind == "EXPLAIN":
        # anchored: a match inside a leading comment could hide a line of the statement from the check
        prefix = _EXPLAIN.match(sql)
        body = sql[prefix.end() :] if prefix else ""
        if not _is_select(body):
            raise QueryError(f"sql: EXPLAIN is allowed of a SELECT only; {_WAY_OUT}")
        _check_tree(syntax_tree(body), kind)
    else:
        raise QueryError(f"sql: {kind} is not allowed, only SELECT and EXPLAIN are; {_WAY_OUT}")
    return sql


def syntax_tree(sql: str) -> dict[str, Any]:
    """The syntax tree of one SELECT, as DuckDB serialises it; :class:`QueryError` for anything else."""
    with duckdb.connect() as connection:
        answer = connection.execute("SELECT json_serialize_sql(?)", [sql]).fetchone()
    tree: dict[str, Any] = json.loads(answer[0]) if answer else {"error": True}
    if tree["error"]:
        raise QueryError(f"sql: {tree.get('error_message', 'cannot be parsed')}")
    return tree


def nodes(tree: object) -> Iterator[dict[str, Any]]:
    """All objects of a syntax tree, the root included."""
    if isinstance(tree, dict):
        yield tree
        for value in tree.values():
            yield from nodes(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from nodes(value)


def _is_select(sql: str) -> bool:
    try:
        return [statement.type.name for statement in duckdb.extract_statements(sql)] == ["SELECT"]
    except duckdb.Error:
        return False


def _check_tree(tree: dict[str, Any], kind: str) -> None:
    for node in nodes(tree):
        name = str(node.get("type", ""))
        if name.endswith("_NODE") and name not in _QUERY_NODES:
            what = name.removesuffix("_NODE").removesuffix("_QUERY")
            raise QueryError(f"sql: {what} inside a {kind} is not allowed, it could write; {_WAY_OUT}")
        if name == "TABLE_FUNCTION":
            function = str(node["function"]["function_name"]).lower()
            if function not in _TABLE_FUNCTIONS:
                raise QueryError(f"sql: the table function {function!r} is not allowed; {_WAY_OUT}")
