"""What must be equal after any number of kills, and what a reader must never see in between."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq

from pipeline.store.publish import current_snapshot
from pipeline.store.receipts import Receipt
from pipeline.store.store import Store
from pipeline.store.verify import verify

#: Tables that tell how a run went (seconds, attempts, the config with the store's path): columns that may differ.
_TOLD = {"runs": ("config",), "shards": ("seconds", "attempt")}
#: Facts of receipts about how a piece of work went.
_CIRCUMSTANCES = ("attempt", "seconds")


def final_state(url: str) -> dict[str, Any]:
    """Everything in a finished store but circumstances: the same for every undisturbed or disturbed run of one config.

    Every byte of every table that depends on corpus, model and config is in it by the SHA-256 of the bytes on the
    disk (not of what a receipt says), ``runs`` and ``shards`` by their rows.
    """
    store = Store.open(url)
    root = Path(url)
    receipts = {path: Receipt.from_json((root / path).read_bytes(), path) for path in store.storage.list("receipts")}
    committed = {entry.path for receipt in receipts.values() for entry in receipt.files}
    on_disk = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    state: dict[str, Any] = {
        "files": {path: _sha256(root / path) for path in sorted(committed) if not _is_told(path)},
        "receipts": {path: _facts(receipt) for path, receipt in receipts.items() if not _is_told(path)},
        "manifest": {
            table: {scope: [entry.to_dict() for entry in entries] for scope, entries in scopes.items()}
            for table, scopes in store.manifest().tables.items()
            if table not in _TOLD
        },
        "told": {table: _rows(root, store.files(table), without) for table, without in _TOLD.items()},
        "records": {
            path: (root / path).read_text(encoding="utf-8").replace(url, "STORE")
            for path in sorted(on_disk)
            if path.endswith(".json") and path.split("/")[0] not in ("receipts", "manifest", "snapshots")
        },
        "published": _published(root, str(current_snapshot(store))),
        "neither committed nor a record": sorted(
            path
            for path in on_disk - committed
            if path != "CURRENT"
            and not path.startswith(("staging/locks/", "snapshots/"))
            and not path.endswith(".json")
        ),
        "snapshots": len(list((root / "snapshots").iterdir())),
        "staging": sorted(path.name for path in (root / "staging").iterdir()),
        "problems": [str(problem) for problem in verify(store)],
    }
    return state


def assert_readable(url: str) -> None:
    """A reader who comes now: every file of the latest manifest and of the current snapshot is there and whole."""
    if not (Path(url) / "store.json").exists():
        return
    store = Store.open(url)
    listed = [entry for table in store.manifest().tables for entry in store.files(table)]
    if snapshot := current_snapshot(store):
        folder = Path(url) / "snapshots" / snapshot
        listed_there = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["tables"]
        assert listed_there
        with duckdb.connect(str(folder / "neuronmill.duckdb"), read_only=True) as connection:
            assert connection.execute("SELECT count(*) FROM rankings").fetchone() != (0,)
    for entry in listed:
        assert (Path(url) / entry.path).stat().st_size == entry.n_bytes, entry.path


def _is_told(path: str) -> bool:
    return any(path.startswith((f"{table}/", f"receipts/{table}-")) for table in _TOLD)


def _facts(receipt: Receipt) -> dict[str, Any]:
    facts = {name: value for name, value in receipt.facts.items() if name not in _CIRCUMSTANCES}
    return {"files": [entry.to_dict() for entry in receipt.files], "facts": facts}


def _rows(root: Path, entries: Any, without: tuple[str, ...]) -> Any:
    return [
        {name: value for name, value in row.items() if name not in without}
        for entry in entries
        for row in pq.ParquetFile(root / entry.path).read().to_pylist()
    ]


def _published(root: Path, snapshot: str) -> dict[str, Any]:
    """Rows of the published tables, but those that tell how it went."""
    with duckdb.connect(str(root / "snapshots" / snapshot / "neuronmill.duckdb"), read_only=True) as connection:
        tables = [name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
        return {
            table: connection.execute(f'FROM "{table}"').fetchall()
            for table in sorted(tables)
            if table not in (*_TOLD, "about")
        }


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
