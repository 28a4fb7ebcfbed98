"""SQL over a store: a connection for our own reading, and the guarded one for SQL that a user wrote.

A user's statement runs under four locks: its syntax tree may only read (:mod:`pipeline.store.statements`), files are
limited to those of the manifest, the configuration cannot be changed back, and memory and time have limits.
"""

from __future__ import annotations

import shlex
from typing import BinaryIO

import duckdb
import pyarrow as pa

from pipeline.store.deadline import deadline
from pipeline.store.literals import sql_list, sql_text
from pipeline.store.manifest import Manifest
from pipeline.store.result_formats import Format, write_result
from pipeline.store.statements import checked_statement
from pipeline.store.store import Store
from pipeline.store.views import create_views
from schemas.errors import QueryError, StoreError
from schemas.tables import TABLES

_BATCH_ROWS = 10_000


def connect(store: Store, manifest: Manifest | None = None) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB with the views of the latest (or the given) manifest; for SQL of ours only."""
    connection = duckdb.connect(config={"python_enable_replacements": False})
    try:
        create_views(connection, store.storage, manifest or store.manifest())
    except duckdb.Error as error:
        connection.close()
        reason = str(error).partition("\n\n")[0]  # the rest is the SQL of the view
        raise StoreError(f"store {store.url}: its views cannot be made: {reason}; run `neuronmill verify`") from error
    # the same footers are read by query after query
    connection.execute("SET parquet_metadata_cache = true")
    return connection


def run_user_sql(
    store: Store,
    sql: str,
    sink: BinaryIO,
    *,
    output_format: Format = "table",
    seconds: float = 60.0,
    memory: str = "4GB",
) -> int:
    """Run one SELECT or EXPLAIN of a user and write its rows to ``sink``; returns the number of rows.

    ``output_format``: ``table`` (aligned text, the first 200 rows), ``csv``, ``json`` (an array of objects) or
    ``parquet``. ``memory`` is DuckDB's limit (``"500MB"``). Raises :class:`QueryError` for anything that is not exactly
    one reading statement, for a failing one, and for one over its limits; what was already written stays in ``sink``.
    """
    statement = checked_statement(sql)
    manifest = store.manifest()
    with connect(store, manifest) as connection:
        _lock(connection, store, manifest, memory)
        with deadline(connection, seconds, "sql"):
            try:
                relation = connection.sql(statement)
            except duckdb.CatalogException as error:
                if not str(error).startswith("Catalog Error: Table"):
                    raise
                way_out = f"`neuronmill sql --store {shlex.quote(store.url)}` lists the tables"
                raise QueryError(f"sql: {error}\n{way_out}") from error
            if relation is None:
                raise QueryError("sql: the statement gives no rows; give one SELECT")
            reader: pa.RecordBatchReader = relation.to_arrow_reader(_BATCH_ROWS)
            return write_result(reader, sink, output_format)


def _lock(connection: duckdb.DuckDBPyConnection, store: Store, manifest: Manifest, memory: str) -> None:
    """Limit the connection to the manifest's files and freeze its configuration."""
    entries = [entry for table in (*TABLES, "activations") for entry in manifest.files(table)]
    allowed = sql_list(store.storage.url(entry.path) for entry in entries)
    try:
        connection.execute(f"SET memory_limit = {sql_text(memory)}")
    except duckdb.Error as error:
        raise QueryError(f"memory {memory!r}: {error}; give a size like 4GB") from error
    connection.execute("SET temp_directory = ''")
    connection.execute("SET autoinstall_known_extensions = false")
    connection.execute("SET autoload_known_extensions = false")
    connection.execute(f"SET allowed_paths = {allowed}")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
