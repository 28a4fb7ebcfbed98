"""Garbage collection beside commands that are at work, and readers that query all the time."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

import pytest
from tiny_run import Finished, Inputs, checksums, plan_only, start_command

from pipeline.run.dump import dump
from pipeline.run.live_stages import live_stages
from pipeline.run.local_executor import LocalExecutor
from pipeline.run.neuron_search import search
from pipeline.run.plan_check import check_plans
from pipeline.run.progress import Silent
from pipeline.run.statistics import compute_statistics
from pipeline.store import Store
from pipeline.store.gc import GcOptions, collect
from pipeline.store.publish import publish
from pipeline.store.sql import connect
from pipeline.store.verify import verify

LATER = 2 * 86_400.0


def _collect(store: Store, **options: object) -> set[str]:
    """As if it were days later; the kinds of what was removed."""
    chosen = GcOptions(**options)  # type: ignore[arg-type]
    return {thing.kind for thing in collect(store.storage, chosen, now=time.time() + LATER).garbage}


def test_a_dump_in_another_process_loses_nothing(finished: Finished, tmp_path: Path) -> None:
    """The shards that it does again lie there already, without receipts: what a killed dump leaves."""
    folder = Path(shutil.copytree(finished.store.url, tmp_path / "store"))
    expected = checksums(folder)
    for receipt in (folder / "receipts").glob("dump-*/*.json"):
        receipt.unlink()
    for manifest in (folder / "manifest").iterdir():  # the listing of the dump, too, is to come
        if '"activations"' in manifest.read_text():
            manifest.unlink()
    store = Store.open(str(folder))
    process, log = start_command("dump", "--store", str(folder), log=tmp_path / "log")
    rounds, removed = 0, set()
    try:
        while process.poll() is None:
            removed |= _collect(store)
            rounds += 1
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
    assert process.returncode == 0, log.read_text()
    assert (removed, rounds > 3) == ({"orphan"}, True)
    assert (verify(store), check_plans(store)) == ([], [])
    assert {path: sha for path, sha in checksums(folder).items() if path.startswith("activations")} == {
        path: sha for path, sha in expected.items() if path.startswith("activations")
    }


def test_readers_see_no_error_while_everything_old_goes(finished: Finished, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished.store.url, tmp_path / "store"))
    store = Store.open(str(folder))
    for keep in (3, 2, 1):
        config = finished.plan.config.model_copy(
            update={"search": finished.plan.config.search.model_copy(update={"keep": keep})}
        )
        search(finished.plan.with_config(config), store, LocalExecutor(), Silent())
        publish(store)
    answers: list[object] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            try:
                with connect(Store.open(str(folder))) as connection:
                    answers.append(
                        connection.execute(
                            "SELECT (SELECT count(*) FROM rankings), (SELECT avg(n0003) FROM activations_mlp), "
                            "(SELECT count(*) FROM labels), (SELECT count(*) FROM contexts)"
                        ).fetchone()
                    )
            except Exception as error:  # noqa: BLE001 - any error at all fails the test
                answers.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        time.sleep(0.3)
        assert _collect(store, superseded=True, keep_snapshots=1) == {"superseded", "snapshot", "manifest"}
        n_before = len(answers)
        for round_ in range(5):
            orphan = folder / "activations" / f"orphan-{round_}.parquet"
            orphan.write_bytes(b"")
            assert _collect(store, superseded=True, keep_snapshots=1) == {"orphan"}
        deadline = time.monotonic() + 30
        while len(answers) < n_before + 3 and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        stop.set()
        thread.join()
    assert len(answers) > 3
    assert len(set(map(str, answers))) == 1, answers
    assert verify(store) == []


def test_what_the_settings_make_is_not_superseded(inputs: Inputs, tmp_path: Path) -> None:
    """A statistic that was interrupted before its table: its parts are referred to by nothing, and are wanted."""
    found = plan_only(inputs.config(tmp_path / "store"))
    dump(found.plan, found.store, LocalExecutor(), Silent())
    compute_statistics(found.plan, found.store, LocalExecutor(), Silent())
    table = next((tmp_path / "store" / "receipts").glob("neuron_stats-*/*.json"))
    table.unlink()
    found.store.advance("neuron_stats", found.plan.run_id, ())
    live = live_stages(found.store)
    _collect(found.store, superseded=True, live_stages=live)
    parts = list((tmp_path / "store" / "states").glob("*/stats-*/*.parquet"))
    assert parts
    _collect(found.store, superseded=True)
    assert not [part for part in parts if part.exists()]
    assert verify(found.store) == []
    compute_statistics(found.plan, found.store, LocalExecutor(), Silent())
    assert all(part.exists() for part in parts)


@pytest.mark.parametrize("superseded", [False, True])
def test_a_finished_store_has_no_garbage(superseded: bool, finished: Finished, tmp_path: Path) -> None:
    store = Store.open(str(shutil.copytree(finished.store.url, tmp_path / "store")))
    assert _collect(store, superseded=superseded, live_stages=live_stages(store)) == set()
