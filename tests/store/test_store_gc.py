"""Garbage collection removes what nothing vouches for, and nothing else."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from pipeline.store import Receipt, Store
from pipeline.store.census import census
from pipeline.store.gc import KEPT_MANIFESTS, GcOptions, GcReport, collect
from pipeline.store.publish import publish
from pipeline.store.receipts import FileEntry
from pipeline.store.set_aside import set_aside
from pipeline.store.superseded import superseded_receipts
from pipeline.store.verify import verify
from schemas.errors import StoreError

DAYS = 86_400.0
NOW = GcOptions(older_than=0)


def _collect(store: Store, options: GcOptions = NOW, *, dry_run: bool = False, days: float = 2) -> GcReport:
    """As if it were ``days`` later."""
    return collect(store.storage, options, dry_run=dry_run, now=time.time() + days * DAYS)


def _removed(report: GcReport) -> set[tuple[str, str]]:
    return {(thing.kind, thing.path) for thing in report.garbage}


def _files(store: Store) -> set[str]:
    root = Path(store.url)
    return {str(f.relative_to(root)) for f in root.rglob("*") if f.is_file() and "staging/locks" not in str(f)}


def test_an_orphan_goes_and_everything_else_stays(small_store: Store) -> None:
    publish(small_store)
    before = _files(small_store)
    orphan = Path(small_store.url, "activations/model=tiny/component=mlp/layer=9/block=0/shard-00000.parquet")
    orphan.parent.mkdir(parents=True)
    orphan.write_bytes(b"12345")
    found = _collect(small_store, dry_run=True)
    assert [(thing.kind, thing.n_bytes) for thing in found.garbage] == [("orphan", 5)]
    assert _files(small_store) == before | {str(orphan.relative_to(small_store.url))}
    assert _collect(small_store) == found
    assert _files(small_store) == before
    assert _collect(small_store).garbage == ()
    assert verify(small_store) == []


def test_what_is_young_stays(small_store: Store) -> None:
    orphan = Path(small_store.url, "words/shard-00009.parquet")
    orphan.write_bytes(b"")
    os.utime(orphan, (0, 0))  # written long ago and moved here now, as a rename does
    for days, n_young in ((0, 1), (0.9, 1), (1.1, 0)):
        report = _collect(small_store, GcOptions(), days=days)
        assert (report.n_young, len(report.garbage)) == (n_young, 1 - n_young)
        assert orphan.exists() == bool(n_young)


def test_old_manifests_go_and_those_in_use_stay(small_store: Store) -> None:
    (entry,) = small_store.files("rankings")
    for number in range(20):
        small_store.advance("rankings", f"scope {number}", ())
        small_store.advance("rankings", "all", (entry,) if number % 2 else ())
    numbers = sorted(Path(small_store.url, "manifest").iterdir())
    latest = small_store.manifest()
    report = _collect(small_store)
    assert {kind for kind, _ in _removed(report)} == {"manifest"}
    assert sorted(Path(small_store.url, "manifest").iterdir()) == numbers[-KEPT_MANIFESTS:]
    assert Store.open(small_store.url).manifest() == latest
    assert verify(small_store) == []


def test_a_reader_of_the_grace_period_keeps_its_manifest(small_store: Store) -> None:
    for number in range(30):
        small_store.advance("rankings", "all", small_store.files("rankings") if number % 2 else ())
    assert _collect(small_store, GcOptions(), days=0.5).garbage == ()


@pytest.mark.parametrize("name", ["receipts/dump/x.json", "manifest/00000009.json", "snapshots/ab/manifest.json"])
def test_a_torn_record_stops_it(name: str, small_store: Store) -> None:
    Path(small_store.url, "words/orphan.parquet").write_bytes(b"")
    small_store.storage.put(name, b"{")
    before = _files(small_store)
    with pytest.raises(StoreError, match="--repair"):
        _collect(small_store)
    assert _files(small_store) == before


def test_a_repair_under_way_stops_it(small_store: Store) -> None:
    set_aside(small_store.storage, "receipts/plan/shard-00000.json")
    with pytest.raises(StoreError, match="set aside"):
        _collect(small_store)


def test_foreign_things_are_named_and_left_alone(small_store: Store, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious.parquet").write_bytes(b"precious")
    root = Path(small_store.url)
    for name in ("README", "words/we ird\n'.parquet", "a b/x", "words/.hidden"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"mine")
    (root / "words" / "link.parquet").symlink_to(outside / "precious.parquet")
    (root / "rows" / "folder").symlink_to(outside)
    (root / "states").symlink_to(outside)
    os.mkfifo(root / "tokens" / "pipe")
    report = _collect(small_store)
    assert report.garbage == ()
    assert report.foreign == (
        "README", "a b", "rows/folder", "states", "tokens/pipe", "words/.hidden", "words/link.parquet",
        "words/we ird\n'.parquet",
    )  # fmt: skip
    assert (outside / "precious.parquet").read_bytes() == b"precious"


def test_staging_of_dead_processes_goes(small_store: Store) -> None:
    folder = Path(small_store.url, "staging", "work-0123456789ab-1-aaaa")
    folder.mkdir(parents=True)
    (folder / "x").write_bytes(b"123")
    assert _collect(small_store).garbage == ()  # of another machine, and young by the clock of this one
    os.utime(folder / "x", (0, 0))
    os.utime(folder, (0, 0))
    assert [(t.kind, t.n_bytes) for t in _collect(small_store, dry_run=True).garbage] == [("staging", 3)]
    assert [(t.kind, t.n_bytes) for t in _collect(small_store).garbage] == [("staging", 3)]
    assert not folder.exists()


def _publish_three(store: Store) -> list[str]:
    (entry,) = store.files("rankings")
    snapshots = [publish(store)]
    store.advance("rankings", "all", ())
    snapshots.append(publish(store))
    store.advance("labels", "all", ())
    snapshots.append(publish(store))
    store.advance("rankings", "all", (entry,))
    return snapshots


def test_old_snapshots_go_when_asked(small_store: Store) -> None:
    first, second, current = _publish_three(small_store)
    assert _collect(small_store).garbage == ()
    assert _collect(small_store, GcOptions(keep_snapshots=1), days=0.5).garbage == ()
    small_store.storage.put("CURRENT", f"{first}\n".encode())
    report = _collect(small_store, GcOptions(older_than=0, keep_snapshots=1))
    assert _removed(report) == {
        ("snapshot", f"snapshots/{second}/{name}") for name in ("manifest.json", "neuronmill.duckdb")
    }
    assert {path.name for path in Path(small_store.url, "snapshots").iterdir()} == {first, current}
    assert verify(small_store) == []


def test_half_a_snapshot_goes(small_store: Store) -> None:
    """An upload that was killed before its list of files."""
    small_store.storage.put("snapshots/0123456789abcdef/neuronmill.duckdb", b"12")
    assert _removed(_collect(small_store)) == {("orphan", "snapshots/0123456789abcdef/neuronmill.duckdb")}


def _receipt(stage: str, key: str, *files: str) -> tuple[str, Receipt]:
    entries = tuple(FileEntry.of(path, n_rows=1, n_bytes=1, sha256="a") for path in files)
    return f"receipts/{stage}/{key}.json", Receipt(stage, key, entries)


def test_which_analyses_are_superseded() -> None:
    shown = [
        _receipt("corpus", "shard-00000", "words/shard-00000.parquet"),
        _receipt("rows-r", "shard-00000", "rows/rows=r/shard-00000.parquet"),
        _receipt("dump-run", "shard-00000", "activations/a"),
        _receipt("import-run", "all", "activations/b"),
        _receipt("stats-run-new", "mlp", "states/1"),
        _receipt("neuron_stats-run", "stats-run-new", "neuron_stats/new"),
        _receipt("search-run-abc", "mlp", "states/2"),
        _receipt("rankings-run", "set-abc-100", "rankings/new"),
        _receipt("contexts-run-new", "mlp", "states/3"),
        _receipt("contexts-run", "contexts-run-new", "contexts/new"),
        _receipt("words-run-new", "mlp", "states/8"),
        _receipt("words-run-new", "vocabulary", "states/9"),
        _receipt("top_words-run", "words-run-new", "top_words/new"),
        _receipt("labels-live", "shard-00000", "labels/live"),
        _receipt("search-run-live", "mlp", "states/4"),
    ]
    old = [
        _receipt("stats-run-old", "mlp", "states/5"),
        _receipt("neuron_stats-run", "stats-run-old", "neuron_stats/old"),
        _receipt("search-run-xyz", "mlp", "states/6"),
        _receipt("rankings-run", "set-xyz-100", "rankings/old"),
        _receipt("rankings-run", "set-abc-5", "rankings/older"),
        _receipt("contexts-run-old", "mlp", "states/7"),
        _receipt("contexts-run", "contexts-run-old", "contexts/old"),
        _receipt("words-run-old", "mlp", "states/10"),
        _receipt("top_words-run", "words-run-old", "top_words/old"),
        _receipt("labels-old", "shard-00000", "labels/old"),
    ]
    referred = {"words/shard-00000.parquet", "neuron_stats/new", "rankings/new", "contexts/new", "top_words/new"}
    live = frozenset({"labels-live", "search-run-live"})
    assert superseded_receipts(dict(shown + old), referred, live) == {path for path, _ in old}


def test_superseded_analyses_go_when_asked(small_store: Store) -> None:
    for key in ("one", "two"):
        with small_store.staging() as staging:
            staging.path(f"rankings/run=r/{key}.txt").write_text(key)
            receipt = small_store.commit(staging, "rankings-r", key)
        small_store.advance("rankings", "r", receipt.files)
    assert _collect(small_store).garbage == ()
    assert _collect(small_store, GcOptions(superseded=True), days=0.5).garbage == ()
    found = _removed(_collect(small_store, GcOptions(older_than=0, superseded=True)))
    assert found == {("superseded", "receipts/rankings-r/one.json"), ("superseded", "rankings/run=r/one.txt")}
    assert small_store.receipt("rankings-r", "two") is not None
    assert verify(small_store) == []


def test_commits_beside_it_lose_nothing(small_store: Store) -> None:
    """No grace period at all: on a local disk the locks alone keep what is being committed."""
    stop, errors = threading.Event(), []

    def commit() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            with small_store.staging() as staging:
                for part in range(3):
                    staging.path(f"states/run=x/{number}-{part}.npz").write_bytes(os.urandom(100))
                receipt = small_store.commit(staging, "stage", str(number))
            errors.extend(entry.path for entry in receipt.files if not small_store.exists(entry.path))

    thread = threading.Thread(target=commit)
    thread.start()
    try:
        for _ in range(10):
            Path(small_store.url, "states/run=x").mkdir(parents=True, exist_ok=True)
            Path(small_store.url, "states/run=x/orphan.npz").write_bytes(b"")
            assert ("orphan", "states/run=x/orphan.npz") in _removed(_collect(small_store))
    finally:
        stop.set()
        thread.join()
    assert not errors
    assert verify(small_store) == []


def test_a_census_of_a_remote_store(fill_store: object) -> None:
    store = Store.create("memory://census/store")
    fill_store(store)  # type: ignore[operator]
    store.storage.put("README", b"mine")
    found = census(store.storage)
    assert found.foreign == ("README",)
    assert {file.path for file in found.files if file.path.startswith("rows/")} == {
        entry.path for entry in store.files("rows")
    }
    assert all(0 <= time.time() - file.touched < 60 for file in found.files)
    orphan = "activations/model=tiny/orphan.0123456789ab.parquet"
    store.storage.put(orphan, b"123")
    assert _collect(store, GcOptions(), days=0.5).garbage == ()
    assert _removed(_collect(store)) == {("orphan", orphan)}
    assert _collect(store).garbage == ()
    assert verify(store) == []
