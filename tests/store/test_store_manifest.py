"""Manifests: complete, numbered, and never losing another writer's change."""

from __future__ import annotations

import pickle
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.store import FileEntry, Manifest, Store, paths
from schemas.errors import IntegrityError, StoreError


def _entry(path: str, n_rows: int = 1) -> FileEntry:
    return FileEntry.of(path, n_rows=n_rows, n_bytes=10, sha256="0" * 64)


def test_advance_replaces_one_scope_only(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path))
    store.advance("rows", "a", [_entry("rows/rows=a/shard-00000.parquet")])
    store.advance("rows", "b", [_entry("rows/rows=b/shard-00000.parquet")])
    store.advance("rows", "a", [_entry("rows/rows=a/shard-00001.parquet")])
    assert [entry.path for entry in store.files("rows")] == [
        "rows/rows=a/shard-00001.parquet",
        "rows/rows=b/shard-00000.parquet",
    ]
    assert store.manifest().scopes("rows") == ["a", "b"]
    assert store.manifest().number == 3
    store.advance("rows", "a", [])
    assert [entry.rows for entry in store.files("rows")] == ["b"]


def test_same_content_writes_nothing(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path))
    entries = [_entry(f"words/shard-{shard:05d}.parquet") for shard in (2, 0, 1)]
    store.advance("words", "corpus", entries)
    assert store.advance("words", "corpus", reversed(entries)).number == 1
    assert store.storage.list("manifest") == ["manifest/00000001.json"]
    assert [entry.shard for entry in store.files("words")] == [0, 1, 2]


def test_files_filter_by_partition(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path))
    entries = [_entry(paths.activation_file("m", c, layer, 0, 0)) for c in ("mlp", "resid") for layer in (2, 10)]
    store.advance("activations", "m", entries)
    (found,) = store.files("activations", model="m", component="mlp", layer=10)
    assert found.path == "activations/model=m/component=mlp/layer=10/block=0/shard-00000.parquet"
    assert [entry.layer for entry in store.files("activations", component="resid")] == [2, 10]
    assert store.files("activations", "other") == []
    assert store.files("tokens") == []


def test_concurrent_writers_lose_nothing(tmp_path: Path) -> None:
    url = Store.create(str(tmp_path)).url

    def advance(number: int) -> None:
        Store.open(url).advance("rankings", f"run{number}", [_entry(paths.run_file("rankings", f"r{number}"))])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(advance, range(24)))
    manifest = Store.open(url).manifest()
    assert manifest.number == 24
    assert len(manifest.files("rankings")) == 24


def test_a_file_is_listed_once(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path))
    entry = _entry("words/shard-00000.parquet")
    store.advance("words", "a", [entry])
    with pytest.raises(StoreError, match="scope 'b' and in 'a'"):
        store.advance("words", "b", [entry])


def test_torn_manifest_is_named(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path))
    store.storage.put("manifest/00000004.json", b'{"number": 4, "tab')
    with pytest.raises(IntegrityError, match="00000004"):
        store.manifest()


def test_ten_thousand_files_are_cheap(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path))
    files = [paths.activation_file("m", "mlp", layer, 0, shard) for layer in range(100) for shard in range(100)]
    store.advance("activations", "m", [_entry(path) for path in files])
    reader = Store.open(store.url)
    assert len(reader.files("activations")) == 10_000
    start = time.perf_counter()
    for _ in range(10):
        assert len(reader.files("activations", layer=7)) == 100
    assert (time.perf_counter() - start) / 10 < 0.1


_NAMES = st.text("abcdef=0123456789", min_size=1, max_size=6)


@given(
    st.dictionaries(_NAMES, st.dictionaries(_NAMES, st.sets(st.integers(0, 20), max_size=4), max_size=3), max_size=3)
)
def test_json_round_trip(content: dict[str, dict[str, set[int]]]) -> None:
    changes = {
        (table, scope): [_entry(f"{table}-{scope}/{number}", number) for number in numbers]
        for table, scopes in content.items()
        for scope, numbers in scopes.items()
    }
    manifest = Manifest().replaced(changes)
    assert Manifest.from_json(manifest.to_json(), "x") == manifest
    total = sum(len(numbers) for scopes in content.values() for numbers in scopes.values())
    assert sum(len(manifest.files(table)) for table in manifest.tables) == total


_NAMES = ("component", "layer", "block", "shard")


@given(
    st.dictionaries(
        st.sampled_from(["run-a", "run-b"]),
        st.sets(st.tuples(st.sampled_from(["mlp", "resid"]), *[st.integers(0, 2)] * 3), max_size=12),
    ),
    st.dictionaries(st.sampled_from(_NAMES), st.sampled_from(["mlp", "resid", 0, 1, 2, 7]), max_size=4),
    st.sampled_from([None, "run-a", "run-b", "run-c"]),
)
def test_lookups_give_what_a_scan_gives(
    content: dict[str, set[tuple[str, int, int, int]]], wanted: dict[str, str | int], scope: str | None
) -> None:
    made = {
        ("activations", run): [_entry(paths.activation_file(run, *where)) for where in places]
        for run, places in content.items()
    }
    manifest = Manifest().replaced(made)
    scanned = [
        entry
        for name, entries in manifest.tables.get("activations", {}).items()
        if scope in (None, name)
        for entry in entries
        if all(getattr(entry, key) == value for key, value in wanted.items())
    ]
    assert manifest.files("activations", scope, **wanted) == scanned
    manifest.files("activations", scope, **wanted).clear()
    assert manifest.files("activations", scope, **wanted) == scanned


def test_a_lookup_takes_time_for_its_result_only() -> None:
    blocks = [(layer, block, shard) for layer in range(13) for block in range(4) for shard in range(500)]
    entries = [_entry(paths.activation_file("m", "mlp", *where)) for where in blocks]
    manifest = Manifest().replaced({("activations", "run"): entries})
    manifest.files("activations", "run", component="mlp", layer=0, block=0, shard=0)
    began = time.perf_counter()
    for layer, block, shard in blocks[:5000]:
        (found,) = manifest.files("activations", "run", component="mlp", layer=layer, block=block, shard=shard)
        assert found.shard == shard
    # a scan of 26,000 entries takes more than 5 ms, an indexed lookup some microseconds
    assert time.perf_counter() - began < 2.5


def test_a_pinned_store_stays_at_its_manifest(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path))
    assert store.pinned().files("rows") == []
    store.advance("rows", "a", [_entry("rows/rows=a/shard-00000.parquet")])
    pinned = store.pinned()
    store.advance("rows", "a", [])
    assert [pinned.manifest().number, store.manifest().number] == [1, 2]
    for same in (pinned, pinned.pinned(), pickle.loads(pickle.dumps(pinned))):
        assert [entry.shard for entry in same.files("rows")] == [0]
        with pytest.raises(StoreError, match="pinned to manifest 1"):
            same.advance("rows", "a", [])
    assert pickle.loads(pickle.dumps(store)).files("rows") == []
    assert store.files("rows") == []


def test_a_pinned_store_does_not_look_at_the_folder(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path))
    store.advance("rows", "a", [_entry("rows/rows=a/shard-00000.parquet")])
    pinned = store.pinned()
    shutil.rmtree(tmp_path / "manifest")
    assert len(pinned.files("rows", "a", shard=0)) == 1
