"""Storage on a local folder and behind fsspec obeys the same laws."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.store.open_storage import open_storage
from pipeline.store.paths import checked, natural_key, partitions
from pipeline.store.storage import LocalStorage, Storage
from schemas.errors import StoreError


@pytest.fixture(params=["local", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return open_storage(str(tmp_path) if request.param == "local" else f"memory://{uuid.uuid4().hex}/store")


def test_put_new_creates_once(storage: Storage) -> None:
    assert storage.put_new("receipts/a/b.json", b"one")
    assert not storage.put_new("receipts/a/b.json", b"two")
    assert storage.read("receipts/a/b.json") == b"one"


def test_put_replaces(storage: Storage) -> None:
    storage.put("CURRENT", b"one")
    storage.put("CURRENT", b"two")
    assert storage.read("CURRENT") == b"two"


def test_one_winner_among_threads(storage: Storage) -> None:
    barrier, wins = threading.Barrier(8), []

    def write(number: int) -> None:
        barrier.wait()
        if storage.put_new("manifest/00000001.json", str(number).encode()):
            wins.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wins) == 1
    assert storage.read("manifest/00000001.json") == str(wins[0]).encode()


def test_list_exists_size_delete(storage: Storage) -> None:
    assert storage.list("words") == []
    for name in ("words/b", "words/a/c", "rows/d"):
        storage.put(name, b"xyz")
    assert storage.list("words") == ["words/a/c", "words/b"]
    assert storage.exists("rows/d")
    assert not storage.exists("rows")
    assert storage.size("rows/d") == 3
    storage.delete("rows/d")
    storage.delete("rows/d")
    assert not storage.exists("rows/d")


def test_adopt_moves_a_file(storage: Storage, tmp_path: Path) -> None:
    source = tmp_path / "staged"
    source.write_bytes(b"content")
    storage.adopt(source, "words/shard-00000.parquet")
    assert not source.exists()
    assert storage.read("words/shard-00000.parquet") == b"content"


def test_missing_file_is_named(storage: Storage) -> None:
    for ask in (storage.read, storage.size, storage.open_binary):
        with pytest.raises(StoreError, match="words/none"):
            ask("words/none")


@pytest.mark.parametrize(
    "path", ["../x", "a/../../x", "/etc/passwd", "a//b", "", "a/.", ".hidden", "a\\b", "a/b\0", "s3://x", "a b", "~/x"]
)
def test_no_path_leaves_the_root(storage: Storage, path: str) -> None:
    with pytest.raises(StoreError, match="inside the store"):
        storage.put(path, b"")
    with pytest.raises(StoreError, match="inside the store"):
        storage.read(path)


def test_local_put_new_leaves_nothing_in_staging(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    storage.put_new("a", b"x")
    storage.put_new("a", b"x")
    assert storage.list("staging") == []


def test_lock_excludes_another_process_and_dies_with_it(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from pipeline.store.storage import LocalStorage\n"
        "with LocalStorage(Path(sys.argv[1])).lock('x'):\n    print('locked', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "locked\n"
    got = threading.Event()

    def acquire() -> None:
        with LocalStorage(tmp_path).lock("x"):
            got.set()

    thread = threading.Thread(target=acquire)
    thread.start()
    assert not got.wait(0.2)
    child.kill()
    child.wait()
    child.stdout.close()
    assert got.wait(10)
    thread.join()


def test_open_storage_takes_folders_and_file_urls(tmp_path: Path) -> None:
    assert open_storage(f"file://{tmp_path}").root == str(tmp_path)
    assert open_storage(os.path.relpath(tmp_path)).root == str(tmp_path)
    with pytest.raises(StoreError, match="empty"):
        open_storage("")
    with pytest.raises(StoreError, match="nosuch"):
        open_storage("nosuch://bucket/x")


def test_paths_tell_their_partitions() -> None:
    path = "activations/model=m-1.0/component=resid/layer=11/block=2/shard-00012.parquet"
    assert partitions(path) == {"model": "m-1.0", "component": "resid", "layer": 11, "block": 2, "shard": 12}
    assert partitions("concepts/rows=ab/concepts=cd.parquet") == {"rows": "ab", "concepts": "cd"}
    assert checked(path) == path


def test_natural_order() -> None:
    names = ["layer=10/a", "layer=9/b", "layer=9/a", "shard-100000.parquet", "shard-99999.parquet"]
    ordered = ["layer=9/a", "layer=9/b", "layer=10/a", "shard-99999.parquet", "shard-100000.parquet"]
    assert sorted(names, key=natural_key) == ordered


def test_swap_replaces_only_what_is_expected(storage: Storage) -> None:
    assert not storage.swap("CURRENT", b"new", expected=b"")
    assert not storage.exists("CURRENT")
    storage.put("CURRENT", b"old")
    assert not storage.swap("CURRENT", b"new", expected=b"other")
    assert storage.read("CURRENT") == b"old"
    assert storage.swap("CURRENT", b"new", expected=b"old")
    assert storage.read("CURRENT") == b"new"


def test_one_swap_wins(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    storage.put("CURRENT", b"old")
    with ThreadPoolExecutor(8) as pool:
        wins = list(pool.map(lambda n: storage.swap("CURRENT", bytes([n]), expected=b"old"), range(16)))
    assert sum(wins) == 1
    assert storage.read("CURRENT") == bytes([wins.index(True)])
