"""Snapshots: readable with plain DuckDB after the store moved, immutable, and never seen half done."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from pipeline.store import Manifest, Store, paths
from pipeline.store.publish import current_snapshot, publish, snapshot_id
from schemas.errors import StoreError


def _database(store: Store, snapshot: str) -> str:
    return store.storage.url(f"snapshots/{snapshot}/neuronmill.duckdb")


def _rows(database: str) -> dict[str, list[tuple[object, ...]]]:
    with duckdb.connect(database, read_only=True) as connection:
        tables = [name for (name,) in connection.execute("SHOW TABLES").fetchall()]
        return {name: connection.execute(f"FROM {name}").fetchall() for name in tables}


def test_results_are_tables(small_store: Store) -> None:
    snapshot = publish(small_store)
    assert current_snapshot(small_store) == snapshot
    rows = _rows(_database(small_store, snapshot))
    assert {"about", "rankings", "neuron_stats", "contexts", "concepts", "runs", "documents"} <= set(rows)
    assert [row[4] for row in rows["rankings"]] == [0, 1]
    assert dict(rows["about"])["snapshot"] == snapshot


def test_a_moved_store_is_read_from_anywhere(small_store: Store, tmp_path: Path) -> None:
    snapshot = publish(small_store)
    moved = tmp_path / "else where" / "o'store"
    moved.parent.mkdir()
    shutil.move(small_store.url, moved)
    program = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1] + "/snapshots/" + sys.argv[2] + "/neuronmill.duckdb", read_only=True)
query = "SELECT t.token, l.concept, a.n0003 FROM {0} a JOIN {1} l USING (row_id) JOIN {2} t USING (row_id) " \\
        "WHERE a.layer = 1 ORDER BY ALL"
names = ("activations_mlp", "labels", "tokens")
for root in (sys.argv[1], sys.argv[1] + "/"):
    quoted = root.replace("'", "''")
    print(connection.execute(query.format(*(f"{name}('{quoted}')" for name in names))).fetchall())
connection.execute("SET file_search_path = '" + sys.argv[1].replace("'", "''") + "'")
print(connection.execute(query.format(*(f"{name}()" for name in names))).fetchall())
print(connection.sql("FROM rankings").df().shape)
print(connection.execute("SELECT count(*), max(n0001) FROM activations()").fetchall())
"""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    answer = subprocess.run(
        [sys.executable, "-c", program, str(moved), snapshot],
        check=True, capture_output=True, text=True, cwd="/", env=environment,
    ).stdout.splitlines()  # fmt: skip
    assert answer[:3] == ["[('Three', 'upos=NUM', 27.5), ('Two', 'upos=NUM', 39.5)]"] * 3
    assert answer[3:] == ["(2, 21)", "[(12, 14.0)]"]


def test_the_example_in_about_runs(small_store: Store) -> None:
    database = _database(small_store, publish(small_store))
    with duckdb.connect(database, read_only=True) as connection:
        about = dict(connection.execute("FROM about").fetchall())
        example = about["example"].replace("/path/to/store", small_store.url).replace("n0063", "n0001")
        assert connection.execute(example.replace("a.layer = 3", "a.layer = 1")).fetchall() == [("upos=NUM", -0.5)]
        comments = connection.execute("SELECT comment FROM duckdb_columns() WHERE table_name = 'rankings'").fetchall()
        assert all(text for (text,) in comments)


def test_publishing_again_changes_nothing(small_store: Store) -> None:
    snapshot = publish(small_store)
    before = Path(_database(small_store, snapshot)).stat()
    assert publish(small_store) == snapshot
    assert Path(_database(small_store, snapshot)).stat() == before
    assert all("/locks/" in name for name in small_store.storage.list("staging"))


def test_same_content_has_the_same_id_and_rows(small_store: Store, tmp_path: Path, fill_store) -> None:
    other = Store.create(str(tmp_path / "other"))
    fill_store(other)
    first, second = publish(small_store), publish(other)
    assert first == second
    ours, theirs = _rows(_database(small_store, first)), _rows(_database(other, second))
    assert ours == theirs


def test_old_snapshots_stay(small_store: Store) -> None:
    first = publish(small_store)
    small_store.advance("rankings", "all", [])
    second = publish(small_store)
    assert first != second
    assert current_snapshot(small_store) == second
    assert len(_rows(_database(small_store, first))["rankings"]) == 2
    assert _rows(_database(small_store, second))["rankings"] == []


def test_current_never_goes_back(small_store: Store) -> None:
    old = small_store.manifest()
    small_store.advance("rankings", "all", [])
    newest = publish(small_store)

    class Stale(Store):
        def manifest(self) -> Manifest:
            return old

    older = publish(Stale(small_store.storage))
    assert older != newest
    assert current_snapshot(small_store) == newest


@pytest.mark.parametrize("remote", [False, True])
def test_current_moves_on_after_a_publish_that_was_faster(
    small_store: Store, fill_store: Callable[[Store], None], remote: bool
) -> None:
    store = small_store
    if remote:
        store = Store.create(f"memory://{uuid.uuid4().hex}/store")
        fill_store(store)
    publish(store)
    old = store.manifest()
    store.advance("rankings", "all", [])
    tables = store.manifest()
    store.advance("concepts", "all", [])
    storage, swap, seen = store.storage, store.storage.swap, []

    def overtaken(path: str, payload: bytes, expected: bytes) -> bool:
        if not seen:
            seen.append(publish(Store.open(storage.root)))
        return swap(path, payload, expected)

    storage.swap = overtaken
    middle = publish(Store(storage, tables))
    assert len({snapshot_id(old), middle, *seen}) == 3
    assert current_snapshot(store) == seen[0] == snapshot_id(store.manifest())


@pytest.mark.parametrize("left", [b"", b"0123456789abcdef\n"])
def test_a_torn_or_dangling_current_is_replaced(small_store: Store, left: bytes) -> None:
    small_store.storage.put(paths.CURRENT_FILE, left)
    snapshot = publish(small_store)
    assert current_snapshot(small_store) == snapshot


def test_readers_never_see_a_part(small_store: Store) -> None:
    counts: list[int] = []
    failures: list[Exception] = []
    stop = threading.Event()

    def read() -> None:
        store = Store.open(small_store.url)
        while not stop.is_set():
            try:
                if snapshot := current_snapshot(store):
                    with duckdb.connect(_database(store, snapshot), read_only=True) as connection:
                        counts.append(connection.execute("SELECT count(*) FROM rankings").fetchall()[0][0])
            except (duckdb.Error, StoreError) as error:
                failures.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    files = small_store.files("rankings")
    for n in range(4):
        small_store.advance("rankings", "all", files if n % 2 else [])
        publish(small_store)
    stop.set()
    reader.join()
    assert failures == []
    assert set(counts) <= {0, 2}
    assert counts


def test_killed_while_publishing(small_store: Store) -> None:
    program = """
import os, signal, sys
from pipeline.store import Store
from pipeline.store.publish import publish
from pipeline.store.storage import LocalStorage
LocalStorage.adopt_folder = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
publish(Store.open(sys.argv[1]))
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    code = subprocess.run([sys.executable, "-c", program, small_store.url], check=False, env=environment).returncode
    assert code == -signal.SIGKILL
    assert current_snapshot(small_store) is None
    assert not small_store.storage.list("snapshots")
    snapshot = publish(small_store)
    assert len(_rows(_database(small_store, snapshot))["rankings"]) == 2


def test_nothing_to_publish(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="nothing to publish"):
        publish(Store.create(str(tmp_path)))
    assert not (tmp_path / paths.CURRENT_FILE).exists()
