"""Repair does again exactly what is broken, with the same bytes, or says why it cannot."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from damage import cut, flip, unlink
from tiny_run import Finished, Inputs, make_inputs, plan_only, run_stages

from pipeline.run.local_executor import LocalExecutor
from pipeline.run.plan_check import check_plans
from pipeline.run.progress import Silent
from pipeline.run.repair import RepairReport, broken_pieces, repair
from pipeline.run.retokenise import check_tokens, chosen_sentences
from pipeline.store import Store
from pipeline.store.problems import Problem
from pipeline.store.publish import current_snapshot, publish
from pipeline.store.set_aside import is_aside, put_all_back, set_aside
from pipeline.store.verify import verify
from schemas.config import Config

Footprint = dict[str, tuple[int, int, str]]


@pytest.fixture
def copy(finished: Finished, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished.store.url, tmp_path / "store"))


def _problems(folder: Path) -> list[Problem]:
    store = Store.open(str(folder))
    found = verify(store)
    return found + [problem for problem in check_plans(store) if problem.path not in {p.path for p in found}]


def _repair(folder: Path, problems: list[Problem] | None = None) -> RepairReport:
    found = _problems(folder) if problems is None else problems
    return repair(Store.open(str(folder)), found, LocalExecutor(), Silent())


def _footprint(folder: Path) -> Footprint:
    """Inode, time of change and checksum of every file outside staging."""
    return {
        str(file.relative_to(folder)): (
            file.stat().st_ino,
            file.stat().st_mtime_ns,
            hashlib.sha256(file.read_bytes()).hexdigest(),
        )
        for file in folder.rglob("*")
        if file.is_file() and file.relative_to(folder).parts[0] != "staging"
    }


def _checksums(footprint: Footprint) -> dict[str, str]:
    return {path: facts[2] for path, facts in footprint.items()}


DAMAGES = {
    "activations/model=tiny/component=mlp/layer=2/block=0/shard-00003.parquet": flip,
    "documents/shard-00000.parquet": unlink,
    "sentences/shard-00004.parquet": flip,
    "words/shard-00002.parquet": cut,
    "rows/*/shard-00005.parquet": flip,
    "tokens/*/shard-00001.parquet": unlink,
    "labels/*/*/shard-00003.parquet": flip,
    "concepts/*/*.parquet": cut,
    "neuron_stats/*/*.parquet": flip,
    "rankings/*/*.parquet": flip,
    "layer_bests/*/*.parquet": unlink,
    "contexts/*/*.parquet": cut,
    "runs/*/*.parquet": unlink,
    "shards/*/*.parquet": flip,
    "states/*/stats-*/mlp-001-*.parquet": flip,
    "states/*/search-*-thresholds-*/resid-000-*.npz": cut,
    "states/*/search-*-means-*/mlp-002-*.npz": flip,
    "states/*/contexts-*/resid-002-*.parquet": unlink,
}


@pytest.mark.parametrize("pattern", DAMAGES)
def test_a_damaged_file_is_made_again_and_no_other(pattern: str, copy: Path) -> None:
    before = _footprint(copy)
    (file,) = copy.glob(pattern)
    DAMAGES[pattern](file)
    problems = verify(Store.open(str(copy)))
    assert {problem.path for problem in problems} == {str(file.relative_to(copy))}
    assert broken_pieces(problems) == list(problems[0].receipts)
    report = _repair(copy, problems)
    assert (report.failed, report.removed) == ({}, [])
    assert not (copy / "repairs").exists()
    assert report.redone == list(problems[0].receipts)
    after = _footprint(copy)
    assert _checksums(after) == _checksums(before)
    receipts = set(problems[0].receipts)
    touched = {path for path in before if after[path] != before[path]}
    assert touched == {str(file.relative_to(copy)), *receipts}
    assert _problems(copy) == []


def test_everything_at_once(copy: Path) -> None:
    before = _checksums(_footprint(copy))
    for pattern, damage in DAMAGES.items():
        damage(next(copy.glob(pattern)))
    report = _repair(copy)
    assert report.failed == {}
    assert _problems(copy) == []
    assert _checksums(_footprint(copy)) == before


@pytest.mark.parametrize("stage", ["corpus", "rows-*", "labels-*", "stats-*", "search-*", "rankings-*", "dump-*"])
@pytest.mark.parametrize("content", [b"", b'{"stage": "x"}'])
def test_a_torn_receipt_is_written_by_its_work(stage: str, content: bytes, copy: Path) -> None:
    before = _checksums(_footprint(copy))
    receipt = max((copy / "receipts").glob(f"{stage}/*.json"))
    receipt.write_bytes(content)
    (problem,) = _problems(copy)
    assert (problem.path, problem.rule) == (str(receipt.relative_to(copy)), "receipt")
    assert problem.found.startswith("cannot be read (")
    assert "delete" not in problem.found
    assert _repair(copy).failed == {}
    assert _problems(copy) == []
    after = _checksums(_footprint(copy))
    assert after.keys() == before.keys()
    # attempts and seconds of the new receipt are its own
    assert {path for path in before if before[path] != after[path]} <= {problem.path}


def test_a_deleted_receipt_of_a_listed_shard(copy: Path) -> None:
    for pattern in ("dump-*/shard-00001.json", "labels-*/shard-00002.json", "corpus/shard-00003.json"):
        next((copy / "receipts").glob(pattern)).unlink()
    assert {problem.rule for problem in _problems(copy)} == {"missing"}
    assert _repair(copy).failed == {}
    assert _problems(copy) == []


def test_a_receipt_with_a_wrong_number(copy: Path) -> None:
    before = _checksums(_footprint(copy))
    receipt = next((copy / "receipts").glob("dump-*/shard-00001.json"))
    receipt.write_text(receipt.read_text().replace('"n_bytes": ', '"n_bytes": 1', 1))
    assert [problem.rule for problem in _problems(copy)] == ["conflict"]
    assert _repair(copy).failed == {}
    assert _problems(copy) == []
    assert _checksums(_footprint(copy)) == before


def test_a_torn_manifest_is_registered_again(copy: Path) -> None:
    expected = Store.open(str(copy)).manifest()
    latest = max((copy / "manifest").iterdir())
    cut(latest)
    assert ("manifest", f"manifest/{latest.name}") in {(p.rule, p.path) for p in _problems(copy)}
    assert _repair(copy).failed == {}
    assert _problems(copy) == []
    found = Store.open(str(copy)).manifest()
    assert found.to_content() == expected.to_content()
    assert found.number > expected.number
    assert not latest.exists()


def test_all_manifests_torn(copy: Path) -> None:
    expected = Store.open(str(copy)).manifest()
    for file in (copy / "manifest").iterdir():
        file.write_bytes(b"")
    assert _repair(copy).failed == {}
    assert Store.open(str(copy)).manifest().to_content() == expected.to_content()


@pytest.mark.parametrize("name", ["neuronmill.duckdb", "manifest.json"])
@pytest.mark.parametrize("damage", [unlink, cut, flip])
def test_a_damaged_snapshot(name: str, damage: Callable[[Path], None], copy: Path) -> None:
    store = Store.open(str(copy))
    snapshot = publish(store)
    file = copy / "snapshots" / snapshot / name
    if name == "neuronmill.duckdb" and damage is flip:  # in a block that is in use
        content = bytearray(file.read_bytes())
        content[3 * 4096 + 262_144 :: 4096] = bytes(b ^ 255 for b in content[3 * 4096 + 262_144 :: 4096])
        file.write_bytes(content)
    else:
        damage(file)
    assert {problem.path for problem in _problems(copy)} == {str(file.relative_to(copy))}
    report = _repair(copy)
    assert (report.failed, report.redone) == ({}, [f"snapshots/{snapshot}"])
    assert _problems(copy) == []
    assert current_snapshot(store) == snapshot


def test_a_snapshot_that_nothing_tells_of(copy: Path) -> None:
    store = Store.open(str(copy))
    snapshot = publish(store)
    (copy / "snapshots" / snapshot / "manifest.json").write_bytes(b"{")
    store.advance("neuron_stats", store.manifest().scopes("neuron_stats")[0], ())
    for file in sorted((copy / "manifest").iterdir())[:-1]:
        file.unlink()
    report = _repair(copy)
    assert "publish again" in report.failed[f"snapshots/{snapshot}"]


@pytest.mark.parametrize(
    ("is_damaged", "why"), [(False, "gives other bytes now"), (True, "committed files never change")]
)
def test_other_bytes_are_refused_and_the_receipt_stays(is_damaged: bool, why: str, copy: Path) -> None:
    """A record asks for what the same work does not give: as if the machine computed otherwise now."""
    path = next(copy.glob("activations/*/component=resid/layer=1/*/shard-00002.parquet"))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    for file in (*(copy / "receipts").rglob("*.json"), *(copy / "manifest").iterdir()):
        file.write_text(file.read_text().replace(sha256, "0" * 64))
    receipt = next((copy / "receipts").glob("dump-*/shard-00002.json"))
    if is_damaged:
        cut(path)
    before, content = receipt.read_bytes(), path.read_bytes()
    (problem,) = _problems(copy)
    report = _repair(copy)
    assert why in report.failed[problem.receipts[0]]
    assert (receipt.read_bytes(), path.read_bytes()) == (before, content)
    assert not (copy / "repairs").exists()
    assert _problems(copy) == [problem]


def test_an_analysis_of_earlier_settings_that_nothing_shows_is_removed(inputs: Inputs, tmp_path: Path) -> None:
    first = inputs.config(tmp_path / "store", stats={"eps": 0.5})
    run_stages(first)
    run_stages(inputs.config(tmp_path / "store", stats={"eps": 0.25}))
    states = sorted((tmp_path / "store" / "states").glob("*/stats-*"))
    assert len(states) == 2
    store = Store.open(first.store)
    shown = next(entry.path.split("/")[-1].removesuffix(".parquet") for entry in store.files("neuron_stats"))
    (old,) = [folder for folder in states if folder.name != shown]
    cut(min(old.iterdir()))
    shutil.rmtree(tmp_path / "store" / "runs")  # with these the old settings are lost
    report = _repair(tmp_path / "store")
    assert report.failed == {}
    assert any(old.name in path for path in report.removed)
    assert _problems(tmp_path / "store") == []


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> tuple[Inputs, Path]:
    """Inputs to take away, and a store planned from them."""
    folder = tmp_path_factory.mktemp("own")
    inputs = make_inputs(folder / "inputs")
    plan_only(inputs.config(folder / "store"))
    return inputs, folder / "store"


@pytest.mark.parametrize("how", ["gone", "changed"])
def test_without_the_corpus_its_tables_cannot_be_repaired(how: str, own: tuple[Inputs, Path], tmp_path: Path) -> None:
    inputs, store = own
    copy = Path(shutil.copytree(store, tmp_path / "store"))
    cut(copy / "words/shard-00001.parquet")
    cut(next(copy.glob("tokens/*/shard-00003.parquet")))
    receipt = (copy / "receipts/corpus/shard-00001.json").read_bytes()
    content = inputs.test.read_bytes()
    try:
        inputs.test.write_bytes(content + b"\n") if how == "changed" else inputs.test.unlink()
        report = _repair(copy)
    finally:
        inputs.test.write_bytes(content)
    (failed,) = report.failed.items()
    assert failed[0] == "receipts/corpus/shard-00001.json"
    assert "test.conllu" in failed[1]
    assert [path.split("/")[-1] for path in report.redone] == ["shard-00003.json"]
    assert (copy / "receipts/corpus/shard-00001.json").read_bytes() == receipt
    assert _repair(copy).failed == {}  # now that the corpus is back
    assert _problems(copy) == []


def test_without_the_tokenizer_tokens_are_not_compared(own: tuple[Inputs, Path], tmp_path: Path) -> None:
    inputs, store = own
    moved = inputs.model.rename(tmp_path / "elsewhere")
    try:
        found = check_tokens(Store.open(str(store)), 10)
    finally:
        moved.rename(inputs.model)
    assert (found.problems, found.n_sentences) == ([], 0)
    assert "could not be compared" in found.notes[0]


def test_tokens_are_those_of_the_tokenizer(copy: Path) -> None:
    store = Store.open(str(copy))
    n_sentences = sum(entry.n_rows for entry in store.files("sentences"))
    found = check_tokens(store, 1000)
    assert (found.n_sentences, found.problems, found.notes) == (n_sentences, [], [])
    assert check_tokens(store, 7).n_sentences == 7
    file = next(copy.glob("tokens/*/shard-00002.parquet"))
    table = pq.read_table(file)
    changed = table["token_id"].to_pylist()
    changed[40] += 1
    index = table.column_names.index("token_id")
    column = pa.array(changed, table.field(index).type)
    pq.write_table(table.set_column(index, table.field(index), column), file)
    (problem,) = check_tokens(store, 1000).problems
    assert (problem.path, problem.rule) == (str(file.relative_to(copy)), "token")
    assert f"token_id {changed[40]} instead of {changed[40] - 1}" in problem.found


def test_the_sample_is_chosen_by_hash() -> None:
    small, large = chosen_sentences("a", 10_000, 50), chosen_sentences("a", 10_000, 500)
    assert set(small) < set(large)
    assert (len(small), len(set(large))) == (50, 500)
    assert chosen_sentences("b", 10_000, 50) != small
    assert chosen_sentences("a", 3, 50) == [0, 1, 2]
    counts = [sum(k * 1000 <= i < (k + 1) * 1000 for i in large) for k in range(10)]
    assert min(counts) > 25  # spread over the corpus


def test_a_plan_that_counts_otherwise(copy: Path) -> None:
    file = copy / "plans" / "tiny.json"
    plan = json.loads(file.read_text())
    plan["shards"][1]["n_tokens"] += 1
    file.write_text(json.dumps(plan))
    before = _footprint(copy)
    rules = {(problem.rule, problem.path.split("/")[0]) for problem in check_plans(Store.open(str(copy)))}
    assert rules == {("plan", "receipts"), ("plan", "tokens"), ("manifest", "manifest")}
    assert _repair(copy).failed
    assert _checksums(_footprint(copy)) == _checksums(before)


def test_a_plan_that_cannot_be_read(copy: Path) -> None:
    (copy / "plans" / "tiny.json").write_text("{")
    assert [(problem.path, problem.rule) for problem in _problems(copy)] == [("plans/tiny.json", "plan")]
    assert "from a copy" in _repair(copy).failed["plans/tiny.json"]


def test_a_repair_that_was_killed_is_undone(copy: Path) -> None:
    before = _checksums(_footprint(copy))
    store = Store.open(str(copy))
    path = str(next((copy / "receipts").glob("dump-*/shard-00001.json")).relative_to(copy))
    set_aside(store.storage, path)
    assert store.receipt(*path.removeprefix("receipts/").removesuffix(".json").split("/")) is None
    assert put_all_back(store.storage) == [path]
    assert not is_aside(store.storage, path)
    assert _checksums(_footprint(copy)) == before


@pytest.fixture(scope="module")
def remote(inputs: Inputs) -> Store:
    data = inputs.data(Path("unused")) | {"store": "memory://repair/store"}
    return run_stages(Config.model_validate(data)).store


def test_a_remote_store(remote: Store) -> None:
    storage, before = remote.storage, remote.manifest()
    flipped, cut, lost = (remote.files(table)[0].path for table in ("activations", "tokens", "rankings"))
    content = storage.read(flipped)
    storage.put(flipped, content[:50] + bytes([content[50] ^ 1]) + content[51:])
    storage.put(cut, storage.read(cut)[:-3])
    storage.delete(lost)
    problems = verify(remote)
    assert {problem.path for problem in problems} == {flipped, cut, lost}
    report = repair(remote, problems, LocalExecutor(), Silent())
    assert report.failed == {}
    assert (verify(remote), check_plans(remote)) == ([], [])
    assert (storage.read(flipped), remote.manifest()) == (content, before)


def test_other_bytes_on_a_remote_store_are_taken_out_again(remote: Store) -> None:
    """There a name says the content, so other bytes get another name and are listed before they are compared."""
    storage = remote.storage
    (entry,) = remote.files("neuron_stats")
    other = entry.path.replace(entry.sha256[:12], "0" * 12)
    storage.put(other, storage.read(entry.path))
    storage.delete(entry.path)
    for path in (*storage.list("receipts"), *storage.list("manifest")):
        text = storage.read(path).decode().replace(entry.sha256, "0" * 64).replace(entry.path, other)
        storage.put(path, text.encode())
    store = Store(storage)
    before = store.manifest().to_content()
    (problem,) = verify(store)
    report = repair(store, [problem], LocalExecutor(), Silent())
    assert list(report.failed) == list(problem.receipts)
    assert "gives other bytes now" in report.failed[problem.receipts[0]]
    assert store.manifest().to_content() == before
    assert not storage.exists(entry.path)
    assert verify(store) == [problem]
