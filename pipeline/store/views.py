"""DuckDB views over a store: one per table, and one per component for activations; and the macros over them.

Each view is a file of ``schemas/sql``; ``{files}`` in it becomes the manifest's list of files, never a glob (DuckDB's
globs see staged and torn files). A table without files is an empty view with the right columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files as package_files

import duckdb
import pyarrow as pa

from pipeline.store.literals import sql_list
from pipeline.store.macros import create_macros
from pipeline.store.manifest import Manifest
from pipeline.store.receipts import FileEntry
from pipeline.store.remote_storage import RemoteStorage
from pipeline.store.storage import Storage
from schemas.components import BUILT_IN
from schemas.tables import TABLES

_NO_ACTIVATIONS = "SELECT NULL::BIGINT AS row_id, NULL::VARCHAR AS model, NULL::INTEGER AS layer WHERE false"
_SCALARS = {
    pa.bool_(): "BOOLEAN",
    pa.int8(): "TINYINT",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.float64(): "DOUBLE",
    pa.string(): "VARCHAR",
}


def create_views(connection: duckdb.DuckDBPyConnection, storage: Storage, manifest: Manifest) -> None:
    """Create all views of this manifest, and the macros that read them, in the connection's current schema."""
    if isinstance(storage, RemoteStorage):
        connection.register_filesystem(storage.reading_filesystem())
    for table in TABLES:
        entries = manifest.files(table)
        body = table_select(table, entries, storage) if entries else empty_select(table)
        connection.execute(f"CREATE VIEW {table} AS\n{body}")
    found = components(manifest)
    for component in sorted({*BUILT_IN[:2], *found}):
        body = _NO_ACTIVATIONS
        if component in found:
            body = activations_select(activation_files(manifest, component), storage)
        connection.execute(f"CREATE VIEW activations_{component} AS\n{body}")
    for component in components(manifest, sparse=True):
        body = sparse_select(activation_files(manifest, component, sparse=True), storage)
        connection.execute(f"CREATE VIEW sparse_{component} AS\n{body}")
    first = found[0] if found else BUILT_IN[0]
    connection.execute(f"CREATE VIEW activations AS\n{_template('activations').replace('{component}', first)}")
    create_macros(connection, manifest.files("activations"))


def components(manifest: Manifest, *, sparse: bool = False) -> list[str]:
    """Components that have wide (or sparse) activation files, built-in ones first."""
    entries = manifest.files("activations")
    found = {entry.component for entry in entries if entry.component and entry.is_sparse == sparse}
    order = {name: index for index, name in enumerate(BUILT_IN)}
    return sorted(found, key=lambda name: (order.get(name, len(order)), name))


def activation_files(manifest: Manifest, component: str, *, sparse: bool = False) -> list[FileEntry]:
    """Wide (or sparse) activation files of a component."""
    return [e for e in manifest.files("activations", component=component) if e.is_sparse == sparse]


def table_select(table: str, entries: Sequence[FileEntry], storage: Storage | None = None) -> str:
    """The SELECT of a table; without ``storage`` the files are relative paths under a parameter ``root``."""
    sets_of_concepts = {(entry.rows, entry.concepts) for entry in entries}
    is_repeated = len(sets_of_concepts) > len({rows for rows, _ in sets_of_concepts})
    files = _files(entries, storage)
    return _template(table).replace("{distinct}", "DISTINCT" if is_repeated else "").replace("{files}", files)


def activations_select(entries: Sequence[FileEntry], storage: Storage | None = None) -> str:
    """The SELECT of one component's activations.

    Blocks of a layer are joined by row. Models of another width, or with other neurons, become further rows, with null
    where a model has no such neuron. Without ``storage`` the files are relative paths under a parameter ``root``
    (published macros).
    """
    by_shape: dict[tuple[range, ...], list[FileEntry]] = {}
    for model in sorted({entry.model or "" for entry in entries}):
        of_model = [entry for entry in entries if entry.model == model]
        by_shape.setdefault(tuple(sorted({entry.neurons for entry in of_model}, key=_start)), []).extend(of_model)
    widest_first = sorted(by_shape.items(), key=lambda item: -max(neurons.stop for neurons in item[0]))
    parts = [_blocks_select(group, storage) for _, group in widest_first]
    return "\nUNION ALL BY NAME\n".join(parts)


def _start(neurons: range) -> int:
    return neurons.start


def _blocks_select(entries: Sequence[FileEntry], storage: Storage | None) -> str:
    sources = []
    for block in sorted({entry.block or 0 for entry in entries}):
        of_block = [entry for entry in entries if entry.block == block]
        source = _template("activations_block").replace("{files}", _files(of_block, storage))
        sources.append(f"{source} AS block_{block}")
    joined = sources[0] + "".join(f"\nJOIN {source}\nUSING (model, layer, row_id)" for source in sources[1:])
    return _template("activations_component").replace("{blocks}", joined)


def sparse_select(entries: Sequence[FileEntry], storage: Storage | None = None) -> str:
    """The SELECT of one component's sparse activations; ``storage`` as in :func:`activations_select`."""
    return _template("sparse_component").replace("{files}", _files(entries, storage))


def empty_select(table: str) -> str:
    """A SELECT with the table's columns and no rows."""
    columns = ", ".join(f'NULL::{sql_type(field.type)} AS "{field.name}"' for field in TABLES[table].arrow)
    return f"SELECT {columns} WHERE false"


def sql_type(arrow: pa.DataType) -> str:
    """DuckDB's name of an Arrow type of :mod:`schemas.tables`."""
    if pa.types.is_dictionary(arrow):
        return sql_type(arrow.value_type)
    if pa.types.is_list(arrow):
        return f"{sql_type(arrow.value_type)}[]"
    if pa.types.is_map(arrow):
        return f"MAP({sql_type(arrow.key_type)}, {sql_type(arrow.item_type)})"
    return _SCALARS[arrow]


def _files(entries: Iterable[FileEntry], storage: Storage | None) -> str:
    """An SQL expression for a list of files: absolute, or put under the macro parameter ``root``."""
    if storage is not None:
        return sql_list(storage.url(entry.path) for entry in entries)
    folder = "CASE WHEN root = '' OR root LIKE '%/' THEN root ELSE concat(root, '/') END"
    return f"list_transform({sql_list(entry.path for entry in entries)}, lambda path: concat({folder}, path))"


@cache
def _template(name: str) -> str:
    """The SQL of ``schemas/sql/<name>.sql`` without its header."""
    text = (package_files("schemas") / "sql" / f"{name}.sql").read_text(encoding="utf-8")
    return "\n".join(line for line in text.splitlines() if not line.startswith("--")).strip()
