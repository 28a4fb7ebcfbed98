"""Publishing: an immutable snapshot for readers who install nothing of ours.

``snapshots/<id>/manifest.json`` lists the files, ``snapshots/<id>/neuronmill.duckdb`` holds the results as tables and
the rest as table macros, and ``CURRENT`` names the snapshot to read. Old snapshots stay. The id is a checksum of the
manifest, so publishing the same content again gives the same id and writes nothing.

Macros, because nothing in a database file can know where the file is: a view with absolute paths breaks when the store
is moved, one with relative paths when the reader works elsewhere. ``FROM activations_resid('/path/to/store')`` works
from anywhere; after ``SET file_search_path = '/path/to/store'`` so does ``FROM activations_resid()``.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import duckdb

from pipeline.store import paths
from pipeline.store.literals import sql_text
from pipeline.store.macros import create_macros
from pipeline.store.manifest import Manifest
from pipeline.store.sql import connect
from pipeline.store.staging import Staging
from pipeline.store.storage import LocalStorage
from pipeline.store.store import Store
from pipeline.store.views import (
    activation_files,
    activations_select,
    components,
    empty_select,
    sparse_select,
    table_select,
)
from schemas.errors import StoreError
from schemas.sql_macros import TABLE_MACROS, macro_title
from schemas.tables import SCHEMA_VERSION, TABLES

#: Tables copied into the database, with the order of their rows; all others are macros over the store's files.
_COPIED = {
    "rankings": "run_id, method, concept, rank, model, component, layer, neuron, params, partner",
    "layer_bests": "run_id, method, concept, model, component, layer, neuron, params",
    "null_checks": "run_id, method, concept, model, params",
    "neuron_stats": "run_id, model, component, layer, neuron",
    "contexts": "run_id, model, component, layer, neuron, tail, rank",
    "explanations": "run_id, model, component, layer, neuron, sign",
    "top_words": "run_id, model, component, layer, neuron, tail, rank",
    "factors": "run_id, model, component, layer, factor",
    "factor_neurons": "run_id, model, component, layer, factor, rank",
    "clusters": "run_id, threshold, cluster, model, component, layer, neuron",
    "cluster_pairs": "run_id, threshold, component, layer, neuron, other_component, other_layer, other_neuron",
    "redundancy": "run_id, threshold, scope, component, layer",
    "cluster_spans": "run_id, threshold, component, window_size",
    "shared_clusters": "run_id, threshold, component, layer, other_component, other_layer",
    "pca_spectrum": "run_id, component, layer, k",
    "layer_dimensions": "run_id, component, layer",
    "neuron_map": "run_id, component, layer, neuron",
    "layer_similarity": "run_id, component, layer, partner_model, partner_store, partner_component, partner_layer, "
    "measure",
    "match_nulls": "run_id, method, params, component, layer, neuron",
    "column_correlations": "run_id, model, word_column, rank",
    "concepts": "concept, label_on, n_rows, definition",
    "runs": "run_id",
    "shards": "run_id, shard",
    "documents": "document_id",
    "quarantine": "source, line, rule",
}

_MAX_CONFLICTS = 100
_MACROS = (
    "sentences, words, tokens, rows, labels, factor_rows, activations_<component>, activations and (of dumps with mode "
    "topk or threshold) sparse_<component> read the store's Parquet files: "
    "FROM words('/path/to/store'). Or once SET file_search_path = '/path/to/store', then FROM words(). "
    "The store is the folder that holds snapshots/."
)
_EXAMPLE = (
    "SELECT l.concept, avg(a.n0063) FROM activations_resid('/path/to/store') a "
    "JOIN labels('/path/to/store') l USING (row_id) WHERE a.layer = 3 GROUP BY ALL ORDER BY 2 DESC"
)
_SCORES = (
    f"{', '.join(TABLE_MACROS)} compute from the store's activations, of any neuron and concept: "
    "FROM neuron_ap('mlp', 3, 63, 'upos=NUM', root := '/path/to/store')."
)
_ABOUT = (
    ("what", "Published results of neuronmill: neurons of language models ranked by the concepts they detect."),
    ("tables", f"{', '.join(_COPIED)} are ordinary tables."),
    ("macros", _MACROS),
    ("join", "row_id joins tokens, rows, labels and activations; word_id and sentence_id lead from there to the text."),
    ("scores", _SCORES),
    ("example", _EXAMPLE),
    ("pandas", "duckdb.connect('neuronmill.duckdb', read_only=True).sql('FROM rankings').df()"),
)


def publish(store: Store) -> str:
    """Publish the latest manifest; returns the snapshot's id (16 hex digits), which ``CURRENT`` then names.

    Readers never see a part of it: a local snapshot is built in staging and renamed, and ``CURRENT`` moves last, and
    only forward: by compare-and-swap on a local store and on S3. On other remote stores it is compared right before it
    is written, so of two publishers at the same moment the older one may stay; publish again to move it on. Raises
    :class:`StoreError` if the store has no tables yet.
    """
    manifest = store.manifest()
    if not manifest.tables:
        raise StoreError(f"store {store.url}: there is nothing to publish yet; run `neuronmill run` first")
    snapshot = snapshot_id(manifest)
    folder = paths.snapshot_folder(snapshot)
    if not store.storage.exists(f"{folder}/manifest.json"):
        with store.staging() as staging:
            build_snapshot(store, manifest, snapshot, staging)
            _move(store, staging, folder)
    _move_current(store, snapshot, manifest)
    return snapshot


def current_snapshot(store: Store) -> str | None:
    """Id of the snapshot that ``CURRENT`` names; ``None`` before the first :func:`publish`."""
    if not store.storage.exists(paths.CURRENT_FILE):
        return None
    return store.storage.read(paths.CURRENT_FILE).decode().strip()


def snapshot_id(manifest: Manifest) -> str:
    """First 16 hex digits of the SHA-256 over schema version and file lists; the manifest's number is left out."""
    content = json.dumps([SCHEMA_VERSION, manifest.to_content()], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _move_current(store: Store, snapshot: str, manifest: Manifest) -> None:
    """Make ``CURRENT`` name ``snapshot``, unless it names a newer one by now."""
    store.check_lease()
    storage, content = store.storage, f"{snapshot}\n".encode()
    for _ in range(_MAX_CONFLICTS):
        if storage.put_new(paths.CURRENT_FILE, content):
            return
        before = storage.read(paths.CURRENT_FILE)
        if not _is_older(store, before.decode().strip(), manifest) or storage.swap(
            paths.CURRENT_FILE, content, expected=before
        ):
            return
    raise StoreError(
        f"store {store.url}: {_MAX_CONFLICTS} attempts to move {paths.CURRENT_FILE} lost to other publishers; "
        "publish again when fewer commands work on this store"
    )


def _is_older(store: Store, current: str, manifest: Manifest) -> bool:
    """Whether the snapshot ``current`` may be replaced: it is not of a later manifest."""
    if not current:  # torn by a power cut
        return True
    path = f"{paths.snapshot_folder(current)}/manifest.json"
    if not store.storage.exists(path):
        return True
    return Manifest.from_json(store.storage.read(path), path).number <= manifest.number


def build_snapshot(store: Store, manifest: Manifest, snapshot: str, staging: Staging) -> None:
    """Stage the files of a snapshot: the list of files and the DuckDB file, which is made of the store's files."""
    folder = paths.snapshot_folder(snapshot)
    staging.path(f"{folder}/manifest.json").write_bytes(manifest.to_json())
    try:
        _build_database(store, manifest, snapshot, staging.path(f"{folder}/{paths.DATABASE}"))
    except (duckdb.IOException, duckdb.TransactionException) as error:
        reason = str(error).splitlines()[0]
        raise StoreError(
            f"store {store.url}: the snapshot cannot be written ({reason}); free or mend the disk and publish again, "
            "nothing else is lost"
        ) from error


def _build_database(store: Store, manifest: Manifest, snapshot: str, file: Path) -> None:
    with connect(store, manifest) as connection:
        # one thread writes the rows in the order asked for
        connection.execute("SET threads = 1")
        connection.execute(f"ATTACH {sql_text(str(file))} AS published")
        for table, order in _COPIED.items():
            # both are constants of this file
            connection.execute(f"CREATE TABLE published.{table} AS SELECT * FROM {table} ORDER BY {order}")  # noqa: S608
        _create_about(connection, snapshot)
        _create_macros(connection, manifest)
        connection.execute("DETACH published")


def _create_about(connection: duckdb.DuckDBPyConnection, snapshot: str) -> None:
    rows = [*_ABOUT, ("snapshot", snapshot), ("schema_version", str(SCHEMA_VERSION))]
    connection.execute("CREATE TABLE published.about (topic VARCHAR, text VARCHAR)")
    connection.executemany("INSERT INTO published.about VALUES (?, ?)", rows)
    for table in _COPIED:
        _comment(connection, "TABLE", table, TABLES[table].row)
        for column in TABLES[table].columns:
            target = f'published.{table}."{column.name}"'
            connection.execute(f"COMMENT ON COLUMN {target} IS {sql_text(column.meaning)}")


def _create_macros(connection: duckdb.DuckDBPyConnection, manifest: Manifest) -> None:
    for table in TABLES:
        if table not in _COPIED:
            entries = manifest.files(table)
            _create_macro(connection, table, table_select(table, entries) if entries else empty_select(table))
            _comment(connection, "MACRO TABLE", table, TABLES[table].row)
    found = components(manifest)
    for component in found:
        body = activations_select(activation_files(manifest, component))
        for name in (f"activations_{component}", *(["activations"] if component == found[0] else [])):
            _create_macro(connection, name, body)
            _comment(
                connection, "MACRO TABLE", name, "one row of one layer of one model: row_id, model, layer, n0000, …"
            )

    for component in components(manifest, sparse=True):
        name = f"sparse_{component}"
        _create_macro(connection, name, sparse_select(activation_files(manifest, component, sparse=True)))
        _comment(connection, "MACRO TABLE", name, "one stored value: model, layer, row_id, neuron, value; 0 elsewhere")
    connection.execute("USE published")
    create_macros(connection, manifest.files("activations"), published=True)
    connection.execute("USE memory")
    for name in TABLE_MACROS:
        _comment(connection, "MACRO TABLE", name, macro_title(name))


def _create_macro(connection: duckdb.DuckDBPyConnection, name: str, body: str) -> None:
    connection.execute(f"CREATE MACRO published.{name}(root := '') AS TABLE\n{body}")


def _comment(connection: duckdb.DuckDBPyConnection, kind: str, name: str, text: str) -> None:
    connection.execute(f"COMMENT ON {kind} published.{name} IS {sql_text(text)}")


def _move(store: Store, staging: Staging, folder: str) -> None:
    """Put the finished snapshot in its place: one rename, or uploads of which the manifest is the last."""
    storage = store.storage
    if isinstance(storage, LocalStorage):
        storage.adopt_folder(staging.folder / folder, folder)
        return
    for name in (paths.DATABASE, "manifest.json"):
        storage.adopt(staging.path(f"{folder}/{name}"), f"{folder}/{name}")
    shutil.rmtree(staging.folder, ignore_errors=True)
