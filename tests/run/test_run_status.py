"""Status from outside: counts of a dump as it goes, failures, dead drivers, who works, and many shards at once."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_run import Finished, plan_only, start_command

from jobs.status import describe, plain
from pipeline.run.compact import compact
from pipeline.run.dump import dump
from pipeline.run.dump_files import dump_stage, replaced_receipts
from pipeline.run.labelling import label
from pipeline.run.local_executor import LocalExecutor
from pipeline.run.neuron_contexts import contexts
from pipeline.run.neuron_search import search
from pipeline.run.planning import plan_run
from pipeline.run.plans import save_plan
from pipeline.run.progress import Silent
from pipeline.run.receipt_sample import MAX_RECEIPTS
from pipeline.run.statistics import compute_statistics
from pipeline.run.status import StageStatus, StoreStatus, read_status
from pipeline.store import FileEntry, Receipt, Store, paths
from pipeline.store.owners import owned_name
from pipeline.store.publish import publish
from schemas.errors import ConfigError, IncompleteError


@pytest.fixture(scope="module")
def planned(inputs, tmp_path_factory) -> Finished:
    """A plan of many small shards, read-only."""
    return plan_only(inputs.config(tmp_path_factory.mktemp("planned") / "store", dump={"rows_per_shard": 60}))


@pytest.fixture
def found(planned, tmp_path) -> Finished:
    """A copy of it."""
    return Finished(Store.open(str(shutil.copytree(planned.store.url, tmp_path / "store"))), planned.plan)


def stage(status: StoreStatus, name: str) -> StageStatus:
    (result,) = [found for found in status.stages if found.stage == name]
    return result


def text(store: Store) -> str:
    return "\n".join(describe(read_status(store)))


def neuronmill_status(store: Store, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jobs", "status", "--store", store.url, *options]
    root = Path(__file__).resolve().parents[2]
    return subprocess.run(command, capture_output=True, text=True, cwd=root, check=False, timeout=60)


def test_from_plan_to_snapshot(found):
    store, plan = found.store, found.plan
    status = read_status(store)
    assert [one.stage for one in status.stages] == ["plan", "label", "dump", "stats", "search", "contexts", "publish"]
    assert [one.stage for one in status.stages if one.complete] == ["plan", "label"]
    assert (stage(status, "dump").done, stage(status, "dump").total) == (0, len(plan.shards))
    expected = ["plan", "label"]
    for name, work in (("dump", dump), ("stats", compute_statistics), ("search", search), ("contexts", contexts)):
        work(plan, store, LocalExecutor(), Silent())
        expected.append(name)
        status = read_status(store)
        assert [one.stage for one in status.stages if one.complete] == expected
        assert stage(status, name).done == stage(status, name).total > 0
        assert status.complete(tuple(expected))
        assert not status.complete()
    files = store.files("activations", plan.run_id)
    assert stage(status, "dump").n_rows == plan.n_rows
    assert stage(status, "dump").sample.n_bytes == sum(file.n_bytes for file in files)
    assert stage(status, "stats").total == sum(
        plan.capture.n_neurons(component) for component, _ in plan.capture.targets
    )
    assert "snapshot: none" in text(store)
    snapshot = publish(store)
    status = read_status(store)
    assert status.complete()
    assert (status.snapshot, stage(status, "publish").done) == (snapshot, 1)
    store.storage.put("notes.txt", b"")  # nothing of a run
    compact(plan, store, LocalExecutor(), Silent(), 10**6)
    status = read_status(store)
    assert [one.stage for one in status.stages if not one.complete] == ["publish"]
    assert "newer tables" in text(store)
    for receipt in replaced_receipts(plan, store):
        store.storage.delete(paths.receipt_file(receipt.stage, receipt.key))
    publish(store)
    assert read_status(store).complete()


def test_changed_settings_are_work_to_do(found):
    store, plan = found.store, found.plan
    for work in (dump, compute_statistics, search):
        work(plan, store, LocalExecutor(), Silent())
    assert read_status(store).complete(("stats", "search"))
    config = plan.config.model_copy(
        update={
            "stats": plan.config.stats.model_copy(update={"eps": 0.5}),
            "concepts": plan.config.concepts.model_copy(update={"include": plan.config.concepts.include[:1]}),
        }
    )
    plan_run(config, store, LocalExecutor(), Silent())
    status = read_status(store)
    assert not stage(status, "stats").complete
    assert stage(status, "stats").done == 0
    assert not stage(status, "search").complete
    assert stage(status, "label").complete


def test_counts_grow_while_another_process_dumps_and_a_killed_one_is_seen(found, tmp_path):
    store, total = found.store, len(found.plan.shards)
    process, log = start_command("dump", "--store", store.url, log=tmp_path / "log")
    try:
        seen: list[int] = []
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            one = stage(read_status(store), "dump")
            seen.append(one.done)
            assert one.n_rows <= found.plan.n_rows
            if one.done >= total // 2:
                break
        assert process.poll() is None, log.read_text()
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert seen == sorted(seen)
    assert len(set(seen)) > 3
    result = neuronmill_status(store)
    assert result.returncode == 1, result.stderr
    assert "nobody is working" in result.stdout
    killed = stage(read_status(store), "dump")
    assert seen[-1] <= killed.done < total
    assert killed.pace.recent > 0
    assert killed.seconds_left > 0
    dump(found.plan, store, LocalExecutor(), Silent())
    assert neuronmill_status(store, "--stage", "dump", "--watch", "0.1").returncode == 0


def test_failures_are_told_and_forgotten(found):
    store, plan = found.store, found.plan
    (tokens,) = store.files("tokens", plan.row_space, shard=3)
    path = Path(store.storage.url(tokens.path))
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    with pytest.raises(IncompleteError):
        dump(plan, store, LocalExecutor(), Silent())
    one = stage(read_status(store), "dump")
    assert (one.done, one.total) == (len(plan.shards) - 1, len(plan.shards))
    (failure,) = one.failures
    assert failure.key == "shard-00003"
    assert "failed: shard-00003 (attempt 1, " in text(store)
    assert "cannot be read" in text(store)
    (recorded,) = plain(read_status(store), False)["runs"][0]["stages"][2]["failures"]
    assert (recorded["stage"], recorded["attempts"]) == (dump_stage(plan), 1)
    path.write_bytes(content)
    dump(plan, store, LocalExecutor(), Silent())
    assert stage(read_status(store), "dump").failures == ()


def test_who_is_working(found):
    store = found.store

    def lease(name: str, owner: str, **facts: object) -> None:
        record = {"owner": owner, "host": socket.gethostname(), "process": 1, "command": "neuronmill dump", **facts}
        store.put_json(f"leases/{name}.json", record)

    assert read_status(store).working == ()
    lease("run-tiny", owned_name("lease"), process=os.getpid())
    ended = subprocess.run(
        [sys.executable, "-c", "from pipeline.store.owners import owned_name; print(owned_name('lease'))"],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    lease("store", ended.stdout.strip())
    lease("elsewhere", "lease-000000000000-7-aaaaaaaaaaaa", lifetime=60.0)
    lease("long-ago", "lease-000000000000-7-bbbbbbbbbbbb", lifetime=60.0)
    os.utime(store.storage.url("leases/long-ago.json"), (time.time() - 61, time.time() - 61))
    store.storage.put("leases/torn.json", b"{")
    assert [work.lease for work in read_status(store).working] == ["elsewhere", "run-tiny", "torn"]
    assert f"working: neuronmill dump, process {os.getpid()} on {socket.gethostname()}" in text(store)


def test_nothing_is_planned_or_a_plan_is_being_made(found, tmp_path):
    empty = Store.create(str(tmp_path / "empty"))
    status = read_status(empty)
    assert not status.complete()
    assert "nothing is planned here yet" in text(empty)
    with pytest.raises(ConfigError, match="nothing is planned here"):
        read_status(empty, "tiny")
    found.store.storage.delete("plans/tiny.json")
    one = stage(read_status(found.store), "plan")
    assert (one.done, one.total, one.complete) == (len(found.plan.shards), None, False)
    assert "a plan is being made" in text(found.store)


def test_two_models_of_one_store(found):
    other = replace(found.plan, model="other", run_id="f" * 16, fingerprint="f" * 64)
    save_plan(found.store, replace(other, config=other.config.model_copy(update={"store": found.store.url})))
    label(found.plan, found.store, LocalExecutor(), Silent())
    dump(found.plan, found.store, LocalExecutor(), Silent())
    both = {run.model: run.stages[2].done for run in read_status(found.store).runs}
    assert both == {"tiny": len(found.plan.shards), "other": 0}
    assert [run.model for run in read_status(found.store, "tiny").runs] == ["tiny"]


def test_thousands_of_shards_take_a_moment(found):
    """5,000 receipts of 25 files; only the newest are read, and the bytes of all follow from them."""
    plan, n = found.plan, 5000
    shards = tuple(replace(plan.shards[0], shard=number, first_row=number * 60, n_rows=60) for number in range(n))
    plan = replace(plan, shards=shards)
    for name in ("plans/tiny.json", "settings/tiny.json"):
        found.store.storage.delete(name)
    save_plan(found.store, plan)
    folder = Path(found.store.storage.url(f"receipts/{dump_stage(plan)}"))
    folder.mkdir(parents=True)
    facts = {"attempt": 2, "seconds": 1.0, "token_budget": 1}
    names = [paths.activation_file("tiny", "mlp", layer, 0, 99999) for layer in range(25)]
    files = tuple(FileEntry.of(name, n_rows=60, n_bytes=7, sha256="0" * 64) for name in names)
    receipt = Receipt(dump_stage(plan), "shard-99999", files, facts).to_json()
    for shard in shards[:-1]:
        (folder / f"{shard.key}.json").write_bytes(receipt.replace(b"shard-99999", shard.key.encode()))
    seconds = []
    for _ in range(2):
        started = time.monotonic()
        one = stage(read_status(found.store), "dump")
        seconds.append(time.monotonic() - started)
    assert (one.done, one.total) == (n - 1, n)
    assert (one.sample.n_read, one.sample.n_retried) == (MAX_RECEIPTS, MAX_RECEIPTS)
    assert one.sample.is_estimate
    assert one.sample.n_bytes == (n - 1) * 25 * 7
    assert min(seconds) < 2
    assert "≈ 874.8 kB" in text(found.store)


def test_json_is_json(found):
    result = neuronmill_status(found.store, "--format", "json")
    assert result.returncode == 1
    data = json.loads(result.stdout)
    assert data["complete"] is False
    assert data["working"] == []
    stages = {one["stage"]: one for one in data["runs"][0]["stages"]}
    assert list(stages)[:3] == ["plan", "label", "dump"]
    assert stages["label"]["complete"]
    assert stages["label"]["overall_rate"] > 0
    assert stages["label"]["recent_rate"] is None
    assert neuronmill_status(found.store, "--stage", "plan", "--stage", "label").returncode == 0
    assert neuronmill_status(found.store, "--model", "unknown").returncode == 2
