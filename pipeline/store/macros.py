"""DuckDB macros that compute a neuron's scores, histogram and words from the activation tables.

Each is a file of ``schemas/macros``. Over a store's views they read ``activations_<component>``, ``rows`` and so on. In
a published snapshot those are macros themselves, which want to know where the store is: there every macro that reads
activations, rows, labels or words takes a parameter ``root`` too, and hands it on.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files as package_files

import duckdb

#: Parts of the others, which give one value.
SCALAR_MACROS = ("chosen_model", "known_concept", "in_split", "better_sign", "quantile_between")
#: Macros that give a table; a macro can only name those before it.
TABLE_MACROS = (
    "neuron_values",
    "neuron_thresholds",
    "neuron_ap",
    "neuron_auroc",
    "neuron_iou",
    "neuron_histogram",
    "word_means",
    "concept_overlap",
)

_VIEWS = {
    "{activations}": "query_table('activations_' || component)",
    "{root}": "",
    "{and_root}": "",
    "{root_parameter}": "",
}
# query_table takes no macro; the text that query runs is of letters and one string literal
_PUBLISHED = {
    "{activations}": "query(CASE WHEN regexp_full_match(component, '[a-z][a-z0-9_]*') "
    "THEN 'FROM activations_' || component || '(''' || replace(root, '''', '''''') || ''')' "
    "ELSE error('no component ' || component) END)",
    "{root}": "(root)",
    "{and_root}": ", root := root",
    "{root_parameter}": ", root := ''",
}


def create_macros(connection: duckdb.DuckDBPyConnection) -> None:
    """Create all macros beside the views of a store, in the connection's current schema."""
    _create(connection, _VIEWS)


def create_published_macros(connection: duckdb.DuckDBPyConnection) -> None:
    """Create all macros beside the table macros of a snapshot, which is the connection's current database."""
    _create(connection, _PUBLISHED)


@cache
def macro_file(name: str) -> str:
    """Text of ``schemas/macros/<name>.sql``."""
    return (package_files("schemas") / "macros" / f"{name}.sql").read_text(encoding="utf-8")


def macro_title(name: str) -> str:
    """What a macro gives: the first sentence of its file."""
    return macro_file(name).partition("-- inputs:")[0].replace("\n-- ", " ").partition(": ")[2].strip()


def _create(connection: duckdb.DuckDBPyConnection, values: dict[str, str]) -> None:
    for name in (*SCALAR_MACROS, *TABLE_MACROS):
        text = macro_file(name)
        for placeholder, value in values.items():
            text = text.replace(placeholder, value)
        connection.execute(text)
