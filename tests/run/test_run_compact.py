"""Compaction changes files, never a value: readers, folds, resumes and checks see the same store before and after."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from tiny_run import Finished, checksums, plan_only, run_stages, tables

from pipeline.run import live_stages
from pipeline.run.compact import compact, compact_tasks, group_shards, rows_per_file
from pipeline.run.dump import dump
from pipeline.run.dump_files import (
    chosen_files,
    compact_key,
    compact_stage,
    dump_stage,
    read_finished,
    replaced_receipts,
    series_of,
)
from pipeline.run.exported_rows import RowChoice
from pipeline.run.exporting import Exporter, ExportRequest
from pipeline.run.labelling import label
from pipeline.run.local_executor import LocalExecutor
from pipeline.run.neuron_contexts import contexts
from pipeline.run.neuron_search import search
from pipeline.run.plan_check import check_plans
from pipeline.run.progress import Silent
from pipeline.run.repair import repair
from pipeline.run.statistics import compute_statistics
from pipeline.store import FileEntry, Store, paths
from pipeline.store.gc import GRACE_SECONDS, GcOptions, collect
from pipeline.store.publish import publish
from pipeline.store.verify import verify
from schemas.errors import ConfigError, IncompleteError, IntegrityError

#: Tiny shards, of which some groups are full before all of them are.
SHARDS = {"rows_per_shard": 120}
ROWS = 500
RESULTS = ("neuron_stats", "rankings", "layer_bests", "contexts")


def compacted(found: Finished, rows: int = ROWS) -> int:
    return compact(found.plan, found.store, LocalExecutor(), Silent(), rows)


def activation_files(found: Finished) -> list[FileEntry]:
    return found.store.files("activations", found.plan.run_id)


def drop(store: Store, stage: str, key: str) -> None:
    """Delete a receipt with its files, as `gc` does."""
    receipt = store.receipt(stage, key)
    store.storage.delete(paths.receipt_file(stage, key))
    for file in receipt.files:
        store.storage.delete(file.path)


@pytest.fixture(scope="module")
def dumped(inputs, tmp_path_factory) -> Finished:
    """A dump in many small shards, bfloat16 so that the encoding is not the simplest; read-only."""
    store = tmp_path_factory.mktemp("dumped") / "store"
    found = plan_only(inputs.config(store, dump={**SHARDS, "dtype": "bfloat16"}))
    dump(found.plan, found.store, LocalExecutor(), Silent())
    assert len(found.plan.shards) >= 8
    return found


@pytest.fixture
def small(dumped, tmp_path) -> Finished:
    """A copy of it."""
    return Finished(Store.open(str(shutil.copytree(dumped.store.url, tmp_path / "store"))), dumped.plan)


@pytest.mark.parametrize("dtype", ["float16", pytest.param("float32", marks=pytest.mark.slow)])
def test_every_result_is_the_same(dtype, inputs, tmp_path):
    sections = {"dump": {**SHARDS, "dtype": dtype}, "search": {"keep": "all", "round_to": "float16"}}
    found = run_stages(inputs.config(tmp_path / "store", **sections))
    before = checksums(tmp_path / "store")
    n_before = len(activation_files(found))
    with tables(found.store) as read:
        values = {target: read.activations(*target) for target in found.plan.capture.targets}
        n_rows = read.rows("SELECT count(*) FROM activations_mlp JOIN tokens USING (row_id) JOIN rows USING (row_id)")
    assert compacted(found) < n_before / 3
    assert max(file.n_rows for file in activation_files(found)) <= ROWS
    with tables(found.store) as read:
        for target, (row_ids, expected) in values.items():
            found_ids, found_values = read.activations(*target)
            np.testing.assert_array_equal(found_ids, row_ids)
            np.testing.assert_array_equal(found_values.view(np.int64), expected.view(np.int64))
        assert n_rows == read.rows(
            "SELECT count(*) FROM activations_mlp JOIN tokens USING (row_id) JOIN rows USING (row_id)"
        )
    for stage in ("stats", "search", "contexts"):  # forget the results, so that they are computed from the long files
        for key in [path for path in found.store.storage.list("receipts") if path.startswith(f"receipts/{stage}-")]:
            found.store.storage.delete(key)
    for stage in (compute_statistics, search, contexts):
        stage(found.plan, found.store, LocalExecutor(), Silent())
    after = checksums(tmp_path / "store")
    assert {path: digest for path, digest in after.items() if path in before} == before
    assert {path.partition("/")[0] for path in after.keys() - before.keys()} == {"activations"}
    assert verify(found.store) == []


def test_a_long_file_has_the_bits_and_the_encodings_of_its_sources(small):
    reader, sources = small.store.activation_reader(), activation_files(small)
    layer = {"component": "mlp", "layer": 2}
    expected = [reader.read_block(file) for file in small.store.files("activations", **layer)]
    compacted(small, 10**6)
    (whole,) = small.store.files("activations", **layer)
    assert reader.dtype(whole) == "bfloat16"
    np.testing.assert_array_equal(reader.read_block(whole), np.concatenate(expected, axis=1))
    np.testing.assert_array_equal(reader.row_ids(whole), np.arange(small.plan.n_rows))
    assert sum(file.n_bytes for file in activation_files(small)) < sum(file.n_bytes for file in sources)


def test_a_damaged_shard_is_never_copied(small):
    file = activation_files(small)[3]
    path = Path(small.store.storage.url(file.path))
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)
    before = small.store.manifest()
    with pytest.raises(IncompleteError, match=r"another checksum than its receipt says; `neuronmill verify --repair`"):
        compacted(small)
    assert small.store.manifest().tables == before.tables
    (record,) = small.store.storage.list("failures")
    assert record.startswith(f"failures/{compact_stage(small.plan)}/")
    # the way out that the message names
    report = repair(small.store, verify(small.store), LocalExecutor(), Silent())
    assert (report.redone, report.failed) == ([_dump_receipt(small, file.shard)], {})
    compacted(small)
    assert verify(small.store) == []
    assert small.store.storage.list("failures") == []


def test_again_does_nothing_and_a_dump_does_not_undo_it(small):
    compacted(small)
    before, manifest = checksums(small.store.url), small.store.manifest()
    compacted(small)
    dump(small.plan, small.store, LocalExecutor(), Silent())
    assert small.store.manifest() == manifest
    assert checksums(small.store.url) == before
    assert compact_tasks(small.plan, small.store, ROWS) == []


def test_longer_files_of_long_files(small):
    compacted(small, 300)
    n_first = len(activation_files(small))
    compacted(small, 700)
    assert len(activation_files(small)) < n_first
    assert verify(small.store) == []
    manifest = small.store.manifest()
    compacted(small, 300)
    assert small.store.manifest() == manifest, "what is long stays long"


def test_a_stopped_compaction_goes_on(small):
    store, plan = small.store, small.plan
    n_tasks = len(compact_tasks(plan, store, ROWS))
    compacted(small)
    everything, manifest = checksums(store.url), store.manifest()
    keys = store.receipt_keys(compact_stage(plan))
    assert len(keys) == n_tasks
    for key in keys[::2]:
        drop(store, compact_stage(plan), key)
    dump(plan, store, LocalExecutor(), Silent())  # a driver in between: readers get what there is, all of it
    with tables(store) as read:
        assert read.rows("SELECT count(*), count(DISTINCT row_id) FROM activations_mlp WHERE layer = 1") == [
            (plan.n_rows, plan.n_rows)
        ]
    assert verify(store) == []
    assert len(compact_tasks(plan, store, ROWS)) == len(keys[::2])
    compacted(small)
    assert checksums(store.url) == everything
    assert store.manifest().tables == manifest.tables


_KILLED = """
import os, signal, sys
from pipeline.run.compact import compact
from pipeline.run.local_executor import LocalExecutor
from pipeline.run.plans import load_plan
from pipeline.run.progress import Silent
from pipeline.store import Store
from pipeline.store.storage import LocalStorage

name, at = sys.argv[2], int(sys.argv[3])
original, calls = getattr(LocalStorage, name), []

def killing(*arguments):
    calls.append(arguments)
    if len(calls) == at:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments)

setattr(LocalStorage, name, killing)
store = Store.open(sys.argv[1])
compact(load_plan(store), store, LocalExecutor(), Silent(), 500)
"""


@pytest.mark.parametrize(("step", "at"), [("adopt", 1), ("adopt", 6), ("put_new", 1), ("put_new", 5)])
def test_killed_between_any_two_steps(step, at, small):
    """Before a file has its name, before its receipt is there; then once more to the end."""
    before = small.store.manifest()
    command = [sys.executable, "-c", _KILLED, small.store.url, step, str(at)]
    killed = subprocess.run(command, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert small.store.manifest().number == before.number
    store = Store.create(small.store.url)  # sweeps the staging of the killed process
    assert verify(store) == []
    compacted(small)
    assert verify(store) == []
    assert len({file.path for file in activation_files(small)}) < len(before.files("activations"))


def test_without_the_shards_files_everything_goes_on(small):
    """What `gc` may delete is what nothing reads; the run is still finished, and a lost long file is dumped again."""
    store, plan = small.store, small.plan
    assert replaced_receipts(plan, store) == []
    expected = {series: _values(small, *series) for series in plan.capture.targets}
    compacted(small)
    manifest = store.manifest()
    replaced = replaced_receipts(plan, store)
    assert {receipt.stage for receipt in replaced} == {dump_stage(plan)}
    for receipt in replaced:
        drop(store, receipt.stage, receipt.key)
    assert read_finished(plan, store) == {shard.key for shard in plan.shards}
    compute_statistics(plan, store, LocalExecutor(), Silent())
    dump(plan, store, LocalExecutor(), Silent())
    assert store.manifest().files("activations") == manifest.files("activations")
    assert store.manifest().files("shards") == manifest.files("shards")
    assert verify(store) == []
    publish(store)
    lost = store.receipt_keys(compact_stage(plan))[0]
    drop(store, compact_stage(plan), lost)
    with pytest.raises(IntegrityError, match="has no receipt; dump it with `neuronmill dump`"):
        chosen_files(plan, store.receipts(dump_stage(plan)), store.receipts(compact_stage(plan)).values())
    assert 1 <= len(plan.shards) - len(read_finished(plan, store)) <= ROWS // 100
    dump(plan, store, LocalExecutor(), Silent())
    compacted(small)
    assert store.manifest().files("activations") == manifest.files("activations")
    assert verify(store) == []
    for series, values in expected.items():
        np.testing.assert_array_equal(_values(small, *series), values)


def _values(found: Finished, component: str, layer: int) -> np.ndarray:
    reader = found.store.activation_reader()
    files = found.store.files("activations", component=component, layer=layer)
    return np.concatenate([reader.read_block(file) for file in files], axis=1)


def _dump_receipt(found: Finished, shard: int) -> str:
    return paths.receipt_file(dump_stage(found.plan), f"shard-{shard:05d}")


@pytest.mark.parametrize("are_gone", [False, True], ids=["from the shards' files", "from shards dumped again"])
@pytest.mark.parametrize("damage", ["changed", "missing", "receipt"])
def test_a_broken_long_file_is_made_again(damage, are_gone, small):
    """Also where the shards' own files are gone: these shards, and no others, are dumped again."""
    store, plan = small.store, small.plan
    compacted(small)
    expected = checksums(store.url)
    if are_gone:
        for receipt in replaced_receipts(plan, store):
            drop(store, receipt.stage, receipt.key)
    broken = activation_files(small)[-2]
    key = compact_key(series_of(broken), broken.shards)
    if damage == "changed":
        path = Path(store.storage.url(broken.path))
        content = bytearray(path.read_bytes())
        content[99] ^= 1
        path.write_bytes(content)
    elif damage == "missing":
        store.storage.delete(broken.path)
    else:
        store.storage.delete(paths.receipt_file(compact_stage(plan), key))
    problems = [*verify(store), *check_plans(store)]
    report = repair(store, problems, LocalExecutor(), Silent())
    assert (report.redone, report.failed) == ([paths.receipt_file(compact_stage(plan), key)], {})
    assert (verify(store), check_plans(store)) == ([], [])
    assert checksums(store.url)[broken.path] == expected[broken.path]
    assert store.receipt_keys(dump_stage(plan)) == [
        shard.key for shard in plan.shards if not are_gone or shard.shard in broken.shards
    ]


def test_gc_removes_what_long_files_replaced_once_no_snapshot_lists_it(small):
    store, plan = small.store, small.plan
    values = {series: _values(small, *series) for series in plan.capture.targets}
    publish(store)
    old = {file.path for file in activation_files(small)}
    compacted(small)

    def superseded(**options) -> set[str]:
        chosen = GcOptions(superseded=True, replaced=live_stages.replaced_receipts(store), **options)
        return {thing.path for thing in collect(store.storage, chosen, now=time.time() + 10 * GRACE_SECONDS).garbage}

    new = {file.path for file in activation_files(small)}
    assert not superseded() & (old | new), "the snapshot of before lists them"
    publish(store)
    assert superseded(keep_snapshots=1) >= old - new
    assert not [path for path in old - new if store.exists(path)]
    assert (verify(store), check_plans(store), store.receipts(dump_stage(plan))) == ([], [], {})
    for series, expected in values.items():
        np.testing.assert_array_equal(_values(small, *series), expected)


@pytest.mark.parametrize(
    ("section", "said"), [({"mode": "topk", "k": 3}, r"\(topk 3\)"), ({"dtype": "int8"}, r"\(int8\)")]
)
def test_files_that_hold_a_part_are_left_as_they_are(section, said, inputs, tmp_path):
    found = plan_only(inputs.config(tmp_path / "store", dump={**SHARDS, **section}))
    dump(found.plan, found.store, LocalExecutor(), Silent())
    before = checksums(found.store.url)
    with pytest.raises(ConfigError, match=f"{said} and say how large that part is, shard by shard; only dense"):
        compacted(found)
    assert checksums(found.store.url) == before


@pytest.mark.parametrize("name", ["npy", "neurox-json"])
def test_exports_are_the_same(name, small, tmp_path):
    label(small.plan, small.store, LocalExecutor(), Silent())

    def exported(folder: str) -> dict[str, bytes]:
        (tmp_path / folder).mkdir()
        output = tmp_path / folder / ("v-{layer}.npy" if name == "npy" else "v.json")
        choice = RowChoice(pooling="last", split=None, all_rows=False)
        request = ExportRequest("mlp", small.plan.capture.layers["mlp"], name, output, choice)
        Exporter(small.plan, small.store, request).write(Silent())
        return {file.name: file.read_bytes() for file in (tmp_path / folder).iterdir()}

    before = exported("before")
    compacted(small)
    assert exported("after") == before
    assert len(before) > 1


def test_an_unfinished_dump_is_refused(small):
    files = [file for file in activation_files(small) if file.shard != 2]
    small.store.advance("activations", small.plan.run_id, files)
    said = rf"1 of {len(small.plan.shards)} shards not dumped yet; finish with `neuronmill dump"
    with pytest.raises(IncompleteError, match=said):
        compacted(small)


def files(*starts: int) -> list[FileEntry]:
    return [FileEntry("x", 0, 0, "", shard=first, last_shard=stop - 1) for first, stop in pairwise(starts)]


@pytest.mark.parametrize(
    ("n_rows", "listed", "rows", "groups"),
    [
        ([5, 5, 5], [files(0, 1, 2, 3)], 10, [range(2), range(2, 3)]),
        ([5, 5, 5], [files(0, 1, 2, 3)], 4, [range(1), range(1, 2), range(2, 3)]),
        ([0, 5, 0, 5, 0], [files(0, 1, 2, 3, 4, 5)], 5, [range(3), range(3, 5)]),
        # one series is long already: the groups stay as they were
        ([5, 5, 5, 5, 5], [files(0, 1, 2, 3, 4, 5), files(0, 2, 3, 4, 5)], 10, [range(2), range(2, 4), range(4, 5)]),
        # files are never cut
        ([5, 5, 5, 5], [files(0, 3, 4)], 10, [range(3), range(3, 4)]),
        ([5], [files(0, 1)], 10, [range(1)]),
    ],
)
def test_groups(n_rows, listed, rows, groups):
    assert group_shards(n_rows, listed, rows) == groups


def test_rows_by_default(small):
    assert rows_per_file(small.plan) == 131_072
    widths = {"resid": 4096, "mlp": 14336}
    wide = small.plan.capture.__class__(**{**small.plan.capture.__dict__, "widths": widths})
    assert rows_per_file(small.plan.__class__(**{**small.plan.__dict__, "capture": wide})) == 32_768


def test_a_compacted_name_says_its_shards():
    path = paths.compacted_file("m", "mlp", 3, 0, range(8, 24))
    assert path.endswith("/shard-00008-00023.parquet")
    entry = FileEntry.of(paths.content_file(path, "0" * 64), n_rows=1, n_bytes=1, sha256="0" * 64)
    assert entry.shards == range(8, 24)
    single = FileEntry.of(paths.activation_file("m", "mlp", 3, 0, 8), n_rows=1, n_bytes=1, sha256="0" * 64)
    assert (single.shards, single.last_shard) == (range(8, 9), None)
    assert paths.natural_key(path) < paths.natural_key(single.path)
