"""Commits: receipts win once, and a SIGKILL anywhere leaves a store that the same work completes to the same files."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import signal
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.store import Receipt, Store, paths, write_table
from pipeline.store.publish import publish
from pipeline.store.remote_storage import RemoteStorage
from schemas.errors import IntegrityError, SchemaVersionError, StoreError

WORK = """
import os, signal, sys
import numpy as np
from pathlib import Path
from pipeline.store import Store, paths, write_activations
from pipeline.store.storage import LocalStorage

kill_at = sys.argv[2]
seen = []

def killing(name, method):
    def wrapped(self, *arguments):
        seen.append(name)
        position = f"{name}{seen.count(name)}"
        if kill_at == "before-" + position:
            os.kill(os.getpid(), signal.SIGKILL)
        result = method(self, *arguments)
        if kill_at == "after-" + position:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return wrapped

store = Store.create(sys.argv[1])
LocalStorage.adopt = killing("adopt", LocalStorage.adopt)
LocalStorage.put_new = killing("put_new", LocalStorage.put_new)
with store.staging() as staging:
    for layer in range(2):
        path = staging.path(paths.activation_file("m", "resid", layer, 0, 0))
        bits = np.arange(12, dtype=np.uint16).reshape(3, 4) + layer
        write_activations(path, bits, first_neuron=0, row_ids=np.arange(3), dtype="float16")
        if kill_at == f"torn{layer}":
            path.write_bytes(path.read_bytes()[:100])
            os.kill(os.getpid(), signal.SIGKILL)
    receipt = store.commit(staging, "dump", "m/shard-00000")
store.advance("activations", "m", receipt.files)
"""

KILLS = [
    *("torn0", "torn1", "before-adopt1", "after-adopt1", "before-adopt2", "after-adopt2"),
    *("before-put_new1", "after-put_new1", "before-put_new2", "after-put_new2"),
]


def _work(store: Path, kill_at: str) -> int:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run([sys.executable, "-c", WORK, str(store), kill_at], check=False, env=environment).returncode


def _content(store: Path) -> dict[str, str]:
    files = [path for path in sorted(store.rglob("*")) if path.is_file() and "locks" not in path.parts]
    return {str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("undisturbed") / "store"
    assert _work(folder, "never") == 0
    return _content(folder)


@pytest.mark.parametrize("kill_at", KILLS)
def test_killed_and_repeated_gives_the_same_files(tmp_path: Path, kill_at: str, undisturbed: dict[str, str]) -> None:
    assert _work(tmp_path / "store", kill_at) == -signal.SIGKILL
    half_done = Store.open(str(tmp_path / "store"))
    for entry in half_done.files("activations"):
        assert half_done.storage.size(entry.path) == entry.n_bytes
    assert _work(tmp_path / "store", "never") == 0
    assert _content(tmp_path / "store") == undisturbed


def _commit(store: Store, payload: bytes, key: str = "piece", facts: dict[str, int] | None = None) -> Receipt:
    with store.staging() as staging:
        staging.path("states/run=x/state.npz").write_bytes(payload)
        return store.commit(staging, "stats", key, facts, n_rows={"states/run=x/state.npz": 7})


def test_receipt_describes_the_files(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path))
    receipt = _commit(store, b"abc", facts={"attempt": 2})
    (entry,) = receipt.files
    assert (entry.path, entry.n_rows, entry.n_bytes, entry.run) == ("states/run=x/state.npz", 7, 3, "x")
    assert entry.sha256 == hashlib.sha256(b"abc").hexdigest()
    assert store.receipt("stats", "piece") == receipt
    assert store.receipt("stats", "other") is None
    assert receipt.facts == {"attempt": 2}


def test_first_receipt_wins_and_keeps_its_files(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path))
    first = _commit(store, b"first")
    assert _commit(store, b"second") == first
    assert store.storage.read("states/run=x/state.npz") == b"first"
    assert [name for name in store.storage.list("staging") if "locks" not in name] == []


def test_racing_writers_agree_with_the_file(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path))
    with ThreadPoolExecutor(8) as pool:
        receipts = list(pool.map(lambda n: _commit(Store.open(store.url), bytes([n]) * 100), range(8)))
    assert len({receipt.files for receipt in receipts}) == 1
    content = store.storage.read("states/run=x/state.npz")
    assert hashlib.sha256(content).hexdigest() == receipts[0].files[0].sha256


class _SlowStorage(RemoteStorage):
    """Another writer commits between the upload of a commit and its receipt."""

    def __init__(self, url: str, payload: bytes) -> None:
        super().__init__(url)
        self.payload = payload
        self.receipt: Receipt | None = None

    def put_new(self, path: str, payload: bytes) -> bool:
        self.receipt = _commit(Store.open(self.root), self.payload)
        return super().put_new(path, payload)


@pytest.mark.parametrize("payload", [b"winner", b"loser"])
def test_a_remote_loser_leaves_the_files_of_the_winner_alone(payload: bytes) -> None:
    url = Store.create(f"memory://{uuid.uuid4().hex}/store").url
    slow = _SlowStorage(url, payload)
    receipt = _commit(Store(slow), b"loser")
    assert receipt == slow.receipt == Store.open(url).receipt("stats", "piece")
    (entry,) = receipt.files
    assert slow.read(entry.path) == payload
    assert slow.list("states") == [entry.path]


def test_a_remote_commit_names_files_by_content() -> None:
    store = Store.create(f"memory://{uuid.uuid4().hex}/store")
    with store.staging() as staging:
        for path in (paths.corpus_file("words", 12), paths.concepts_file("ab", "cd")):
            write_table(staging.path(path), {"word_id": np.arange(3)}, pa.schema([("word_id", pa.int64())]))
        concepts, words = store.commit(staging, "plan", "shard-00012").files
    digest = words.sha256[:12]
    assert (words.path, words.shard) == (f"words/shard-00012.{digest}.parquet", 12)
    assert concepts.path == f"concepts/rows=ab/concepts=cd.{digest}.parquet"
    assert paths.partitions(words.path) == {"shard": 12}
    assert paths.partitions(concepts.path) == {"rows": "ab", "concepts": "cd"}
    assert store.read_table([words]).num_rows == 3


def _as_listed_by(record: str, store: Store) -> None:
    """Leave ``first`` in the store, listed by this record only."""
    receipt = _commit(store, b"first")
    if record in ("manifest", "snapshot"):
        store.advance("states", "x", receipt.files)
    if record == "snapshot":
        publish(store)
        store.advance("states", "x", [])
    if record != "receipt":
        store.storage.delete("receipts/stats/piece.json")


@pytest.mark.parametrize("record", ["manifest", "snapshot", "receipt"])
def test_a_committed_file_is_never_replaced(tmp_path: Path, record: str) -> None:
    store = Store.create(str(tmp_path))
    _as_listed_by(record, store)
    with pytest.raises(StoreError, match=r"states/run=x/state\.npz: .* lists this file .* never change"):
        _commit(store, b"other", "again")
    assert store.storage.read("states/run=x/state.npz") == b"first"
    assert store.receipt("stats", "again") is None
    assert _commit(store, b"first", "again").files[0].n_bytes == 5


@pytest.mark.parametrize("record", ["manifest", "snapshot", "receipt"])
def test_a_damaged_file_is_repaired(tmp_path: Path, record: str) -> None:
    store = Store.create(str(tmp_path))
    _as_listed_by(record, store)
    (tmp_path / "states/run=x/state.npz").write_bytes(b"fi")
    _commit(store, b"first", "again")
    assert store.storage.read("states/run=x/state.npz") == b"first"


def test_what_a_killed_commit_left_is_replaced(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path))
    (tmp_path / "states/run=x").mkdir(parents=True)
    (tmp_path / "states/run=x/state.npz").write_bytes(b"left over")
    _commit(store, b"first")
    assert store.storage.read("states/run=x/state.npz") == b"first"


def test_receipts_lists_a_stage_in_natural_order(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path))
    for key in ("run/layer=10", "run/layer=9", "other/layer=1"):
        _commit(store, b"x", key)
    assert list(store.receipts("stats")) == ["other/layer=1", "run/layer=9", "run/layer=10"]
    assert list(store.receipts("stats", "run/")) == ["run/layer=9", "run/layer=10"]


def test_unwritten_staged_file_is_an_error(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path))
    with store.staging() as staging:
        staging.path("words/shard-00000.parquet")
        with pytest.raises(StoreError, match="never written"):
            store.commit(staging, "plan", "a")


def test_torn_receipt_is_named(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path))
    store.storage.put("receipts/stats/piece.json", b'{"stage": ')
    with pytest.raises(IntegrityError, match=r"receipts/stats/piece\.json.*delete it"):
        store.receipt("stats", "piece")


def test_create_is_idempotent_and_sweeps_dead_staging(tmp_path: Path) -> None:
    assert _work(tmp_path / "store", "torn0") == -signal.SIGKILL
    left = [path for path in (tmp_path / "store/staging").iterdir() if path.name != "locks"]
    assert left
    store = Store.create(str(tmp_path / "store"))
    assert not [path for path in (tmp_path / "store/staging").iterdir() if path.name != "locks"]
    with store.staging() as staging:
        mine = staging.path("words/shard-00000.parquet")
        mine.write_bytes(b"")
        Store.create(str(tmp_path / "store"))
        assert mine.exists()


def test_store_errors_name_the_reason(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no store here"):
        Store.open(str(tmp_path / "none"))
    (tmp_path / "file").write_text("")
    for path in ("file", "file/below"):
        with pytest.raises(StoreError, match="in the folder's place"):
            Store.create(str(tmp_path / path))
    with pytest.raises(StoreError, match="in the folder's place"):
        Store.open(str(tmp_path / "file"))
    with pytest.raises(StoreError, match="/proc"):
        Store.create("/proc/store")


def test_other_versions_and_programs_are_refused(tmp_path: Path) -> None:
    (tmp_path / "store.json").write_text(json.dumps({"format": "neuronmill", "schema_version": 99}))
    with pytest.raises(SchemaVersionError, match="99"):
        Store.create(str(tmp_path))
    (tmp_path / "store.json").write_text(json.dumps({"format": "other", "schema_version": 1}))
    with pytest.raises(StoreError, match="another program"):
        Store.open(str(tmp_path))
    (tmp_path / "store.json").write_text("nonsense")
    with pytest.raises(StoreError, match="does not describe a store"):
        Store.open(str(tmp_path))


def test_space_is_checked(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path))
    store.check_space(1)
    with pytest.raises(StoreError, match="needed"):
        store.check_space(1 << 62)
    Store.create("memory://space/store").check_space(1 << 62)


def test_store_pickles(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path))
    store.advance("words", "corpus", _commit(store, b"x").files)
    assert pickle.loads(pickle.dumps(store)).manifest() == store.manifest()


def test_every_path_function_gives_a_path_inside() -> None:
    made = [
        paths.corpus_file("words", 3), paths.row_file("rows", "ab", 3), paths.labels_file("ab", "cd", 3),
        paths.concepts_file("ab", "cd"), paths.activation_file("m", "mlp", 1, 0, 3),
        paths.run_file("runs", "r"), paths.state_file("r", "x.npz"),
        paths.receipt_file("dump", "r/shard-00001"), paths.manifest_file(7), paths.snapshot_folder("ab"),
    ]  # fmt: skip
    assert all(paths.checked(path) == path for path in made)
    with pytest.raises(StoreError):
        paths.activation_file("../m", "mlp", 1, 0, 3)
