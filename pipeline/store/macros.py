"""DuckDB macros that compute a neuron's scores, histogram and words from the activation tables.

Each is a file of ``schemas/macros``. Over a store's views they read ``activations_<component>``, ``rows`` and so on. In
a published snapshot those are macros themselves, which want to know where the store is: there every macro that reads
activations, rows, labels or words takes a parameter ``root`` too, and hands it on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import duckdb

from pipeline.store.literals import sql_list, sql_text
from pipeline.store.receipts import FileEntry
from schemas.sql_macros import SCALAR_MACROS, SOURCE_MACROS, TABLE_MACROS, macro_file

_VIEWS = {
    "{activations}": "query_table('activations_' || component)",
    "{sparse}": "query_table('sparse_' || component)",
    "{root}": "",
    "{and_root}": "",
    "{root_parameter}": "",
    "{root_text}": "''",
}
_ROOT_TEXT = "'''' || replace(root, '''', '''''') || ''''"
# query_table takes no macro; only component names that _SOURCE lets through come to these
_PUBLISHED = {
    "{activations}": f"query('FROM activations_' || component || '(' || {_ROOT_TEXT} || ')')",
    "{sparse}": f"query('FROM sparse_' || component || '(' || {_ROOT_TEXT} || ')')",
    "{root}": "(root)",
    "{and_root}": ", root := root",
    "{root_parameter}": ", root := ''",
    "{root_text}": f"', root := ' || {_ROOT_TEXT}",
}
# a source is chosen by name before anything of it is read. A user's SQL reaches query() only here: its text has a
# component's name, which is letters, digits and underscores, and two whole numbers
_SOURCE = (
    "query(CASE WHEN regexp_full_match(component, '[a-z][a-z0-9_]*') THEN CASE "
    "WHEN NOT list_contains({sparse_components}, component) THEN {dense_text} "
    "WHEN NOT list_contains({dense_components}, component) THEN {sparse_text} "
    "ELSE {dense_text} || ' UNION ALL ' || {sparse_text} END "
    "ELSE error('no component ' || component) END)"
)


def create_macros(
    connection: duckdb.DuckDBPyConnection, activations: Iterable[FileEntry], *, published: bool = False
) -> None:
    """Create all macros in the connection's current schema, beside the views of a store or the macros of a snapshot.

    ``activations`` are the manifest's files: they tell which components are stored sparsely, and how wide those are.
    """
    placeholders = _sources(activations) | (_PUBLISHED if published else _VIEWS)
    for name in (*SCALAR_MACROS, *SOURCE_MACROS, *TABLE_MACROS):
        connection.execute(_filled(macro_file(name), placeholders))


def _sources(activations: Iterable[FileEntry]) -> dict[str, str]:
    """The placeholders that depend on what a store holds."""
    widths: dict[tuple[str, str], int] = {}
    dense: set[str] = set()
    for entry in activations:
        component = entry.component or ""
        if entry.is_sparse:
            key = (entry.model or "", component)
            widths[key] = max(widths.get(key, 0), entry.neurons.stop)
        else:
            dense.add(component)
    rows = [
        f"({sql_text(model)}, {sql_text(component)}, {width})" for (model, component), width in sorted(widths.items())
    ]
    none = "(SELECT NULL::VARCHAR, NULL::VARCHAR, NULL::BIGINT WHERE false)"
    text = (
        "'FROM {}_values(''' || component || ''', ' || layer::BIGINT || ', ' || neuron::BIGINT || {{root_text}} || ')'"
    )
    return {
        "{values}": _SOURCE,
        "{sparse_widths}": f"(VALUES {', '.join(rows)})" if rows else none,
        "{sparse_components}": f"{sql_list(sorted({component for _, component in widths}))}::VARCHAR[]",
        "{dense_components}": f"{sql_list(sorted(dense))}::VARCHAR[]",
        "{dense_text}": text.format("dense"),
        "{sparse_text}": text.format("sparse"),
    }


def _filled(text: str, placeholders: Mapping[str, str]) -> str:
    for placeholder, value in placeholders.items():
        text = text.replace(placeholder, value)
    return text
