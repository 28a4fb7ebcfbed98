"""Concept predicates: one SQL expression over the words of a shard, without any file access.

The truth of a word must not depend on where shards were cut, or on when it is asked: aggregates, subqueries, functions
like ``random()`` or ``now()`` and windows that reach beyond the sentence are refused. Windows within a sentence
(``lag(upos) OVER (PARTITION BY sentence_id ORDER BY position) = 'DET'``) are fine.

DuckDB looks at the clock only between vectors of 2,048 words, and what a function makes in one is not counted in its
memory limit: ``length(repeat(word, 100000)) > 3`` takes gigabytes and 10 s under a limit of 0.5 s. So what makes long
values or loops from numbers (:data:`_GIANTS`, a lambda in a lambda) is refused. What is left stops in time; only
replacements nested so that the word grows with each can run over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.store.deadline import deadline
from pipeline.store.statements import nodes, syntax_tree
from schemas.errors import QueryError

_INDEX = "neuronmill_index"
_MEMORY = "512MB"
_WAY_OUT = "give one SQL expression over the columns of the words table, e.g. upos = 'NOUN' AND length(word) > 8"
_WINDOW_WAY_OUT = "write OVER (PARTITION BY sentence_id ORDER BY position)"
#: Functions written without brackets; to the parser they are columns.
_CLOCKS = frozenset({"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"})
_UNSTABLE = "not the same each time it is asked"
#: The size of what they make, or of the work, is a number in the expression.
_GIANTS = frozenset(
    {
        *("range", "generate_series", "repeat", "list_resize", "array_resize", "lpad", "rpad", "format", "printf"),
        *("bitstring", "equi_width_bins", "list_reduce", "array_reduce", "reduce"),
    }
)


def evaluate_predicate(expression: str, words: pa.Table, seconds: float) -> npt.NDArray[np.bool_]:
    """(n_words,) truth of ``expression`` for every row of ``words``, in its order; null counts as false.

    Raises :class:`QueryError`, one line that names the expression, the rule and a way out, for anything but one
    reading, deterministic expression of type BOOLEAN, and after ``seconds``.
    """
    what = f"predicate {expression!r}"
    _check_expression(expression, what)
    with duckdb.connect(config={"memory_limit": _MEMORY, "threads": 1}) as connection:
        # an index of our own, because windows reorder the rows
        indexed = words.append_column(_INDEX, pa.array(np.arange(words.num_rows)))
        connection.register("words", indexed)
        for setting in (
            "temp_directory = ''",
            "python_enable_replacements = false",
            "enable_external_access = false",
            "lock_configuration = true",
        ):
            connection.execute(f"SET {setting}")
        try:
            with deadline(connection, seconds, what):
                # the newline ends a trailing comment; the tree of `SELECT expression` was checked above
                relation = connection.sql(f"SELECT {_INDEX}, ({expression}\n) FROM words")  # noqa: S608 - checked above
                kind = str(relation.types[1])
                result = relation.to_arrow_table() if kind in ("BOOLEAN", '"NULL"') else None
        except QueryError as error:
            if not isinstance(error.__cause__, duckdb.Error):
                raise
            rule = _rule(error.__cause__, words.column_names, seconds)
            raise QueryError(f"{what}: {rule}") from error.__cause__
    if result is None:
        raise QueryError(f"{what}: is of type {kind}, and a concept is true or false; {_WAY_OUT}")
    truth = np.zeros(words.num_rows, np.bool_)
    values = result.column(1).cast(pa.bool_()).fill_null(False)
    truth[result.column(0).to_numpy()] = values.to_numpy(zero_copy_only=False)
    return truth


def _rule(error: duckdb.Error, columns: Sequence[str], seconds: float) -> str:
    """What DuckDB found wrong, and the way out, in one line."""
    if isinstance(error, duckdb.InterruptException):
        return f"stopped after its limit of {seconds:g} seconds; make it cheaper or raise concepts.sql_seconds"
    if isinstance(error, duckdb.OutOfMemoryException):
        return f"needs more than {_MEMORY} of memory; make it cheaper (a smaller window, no lists of all words)"
    text = str(error)
    if "lambda arrow" in text:
        return "a lambda is not written with `->`; write lambda x: ... instead"
    column = re.search(r'Referenced (?:column|table) "(.*?)" not found|does not have a column named "(.*?)"', text)
    if column:
        name = column[1] or column[2]
        return f"there is no column {name!r}; {_nearest_columns(name, columns)}"
    function = re.search(r'Function with name "?(\w+)"? does not exist', text, re.IGNORECASE)
    if function:
        near = re.search(r'Did you mean "(\w+)"', text)
        return f"there is no function {function[1]!r}; " + (f"did you mean {near[1]!r}?" if near else _WAY_OUT)
    first = re.sub(r"^[\w ]+ Error: ", "", text.strip().splitlines()[0]).rstrip(" .!")
    return f"{first}; {_WAY_OUT}"


def _nearest_columns(name: str, columns: Sequence[str]) -> str:
    by_lower = {column.lower(): column for column in columns}
    close = [by_lower[near] for near in get_close_matches(name.lower(), list(by_lower), n=3, cutoff=0.6)]
    if close:
        return f"did you mean {' or '.join(close)}? (a text goes in single quotes)"
    return f"the words table has {', '.join(columns)} (a text goes in single quotes: '{name}')"


def _check_expression(expression: str, what: str) -> None:
    """Raise :class:`QueryError` unless ``SELECT expression`` is one plain expression."""
    if _n_statements(f"SELECT {expression}\n") > 1:
        raise QueryError(f"{what}: is several statements, not one expression; {_WAY_OUT}")
    try:
        tree = syntax_tree(f"SELECT {expression}\n")
        syntax_tree(f"SELECT ({expression}\n)")
    except QueryError as error:
        rule = str(error).removeprefix("sql: ")
        raise QueryError(f"{what}: is not one expression ({rule}); {_WAY_OUT}") from error
    statements = tree["statements"]
    select = statements[0]["node"] if len(statements) == 1 else {}
    is_plain = (
        select.get("type") == "SELECT_NODE"
        and len(select["select_list"]) == 1
        and select["from_table"]["type"] == "EMPTY"
        and not any(select.get(clause) for clause in ("where_clause", "having", "qualify", "sample", "modifiers"))
        and not select["group_expressions"]
        and not select["select_list"][0]["alias"]
    )
    if not is_plain:
        raise QueryError(f"{what}: is not one expression; {_WAY_OUT}")
    for node in nodes(select["select_list"][0]):
        _check_node(node, what)


def _n_statements(sql: str) -> int:
    try:
        return len(duckdb.extract_statements(sql))
    except duckdb.Error:
        return 0


def _check_node(node: dict[str, Any], what: str) -> None:
    kind = node.get("class")
    if kind == "SUBQUERY":
        raise QueryError(f"{what}: a subquery is not allowed; {_WAY_OUT}")
    if kind == "STAR":
        raise QueryError(f"{what}: `*` and COLUMNS are not allowed; {_WAY_OUT}")
    if kind == "LAMBDA" and any(inner.get("class") == "LAMBDA" for inner in nodes(node["expr"])):
        raise QueryError(f"{what}: a lambda in a lambda is not allowed, it can take for ever; {_WAY_OUT}")
    if kind == "WINDOW":
        parts = [part.get("column_names", [""])[-1] for part in node["partitions"]]
        if "sentence_id" not in parts:
            raise QueryError(
                f"{what}: a window has to stay inside the sentence, or the answer would depend on the shards; "
                f"{_WINDOW_WAY_OUT}"
            )
    elif kind == "COLUMN_REF":
        name = str(node["column_names"][-1]).lower()
        if name == _INDEX:
            raise QueryError(f"{what}: there is no column {name}; {_WAY_OUT}")
        if name in _CLOCKS:
            raise QueryError(f"{what}: {name} is {_UNSTABLE}; {_WAY_OUT}")
    elif kind == "FUNCTION":
        name = str(node["function_name"]).lower()
        reason = _forbidden().get(name)
        if reason:
            raise QueryError(f"{what}: {name}() is {reason}; {_WAY_OUT}")


@cache
def _forbidden() -> Mapping[str, str]:
    """Functions that may not be used, and why; macros that use one included."""
    aggregate = "an aggregate, whose answer would depend on the shards"
    with duckdb.connect() as connection:
        rows = connection.execute(
            "SELECT function_name, function_type, json_serialize_sql('SELECT ' || macro_definition) "
            "FROM duckdb_functions() WHERE function_type IN ('aggregate', 'macro') "
            "OR (function_type = 'scalar' AND stability <> 'CONSISTENT')"
        ).fetchall()
    reasons = dict.fromkeys(_GIANTS, "not allowed, it can make values without bound")
    reasons["unnest"] = "several values for one word"
    reasons |= {name: aggregate if kind == "aggregate" else _UNSTABLE for name, kind, _ in rows if kind != "macro"}
    macros = [(name, set(_called(json.loads(tree)))) for name, kind, tree in rows if kind == "macro"]
    found = True
    while found:  # a macro may use another one
        found = False
        for name, called in macros:
            if name not in reasons and called & reasons.keys():
                reasons[name] = reasons[min(called & reasons.keys())]
                found = True
    return reasons


def _called(tree: object) -> Iterator[str]:
    """Functions that a macro's definition calls, in lower case; ``now`` for any clock, ``unnest`` for a subquery."""
    for node in nodes(tree):
        if node.get("class") == "FUNCTION":
            yield str(node["function_name"]).lower()
        elif node.get("class") == "SUBQUERY":
            yield "unnest"
        elif node.get("class") == "COLUMN_REF" and str(node["column_names"][-1]).lower() in _CLOCKS:
            yield "now"
