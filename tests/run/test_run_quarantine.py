"""The table of what was skipped: complete up to its limit, counted beyond it, and made again when it is damaged."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from damage import cut, flip, unlink
from tiny_run import Finished, Inputs, plan_only, tables

from pipeline.corpus import quarantine_list
from pipeline.run import ingest
from pipeline.run.corpus_record import load_corpus_record
from pipeline.run.local_executor import LocalExecutor
from pipeline.run.plan_check import check_plans
from pipeline.run.progress import Silent
from pipeline.run.repair import repair
from pipeline.store import Store
from pipeline.store.verify import verify

FEW = {"layers": [0], "components": ["resid"], "rows_per_shard": 600, "long_sentences": "error"}
N_BAD = 40
#: Of `tiny_run.write_corpus`: longer than the model's positions, one in each file.
N_TOO_LONG = 2


@pytest.fixture
def skipping(inputs: Inputs, tmp_path: Path) -> Callable[[], Finished]:
    """Plans a corpus with lines that cannot be read and sentences that the tokenizer refuses."""
    bad = tmp_path / "bad.conllu"
    bad.write_text(
        inputs.test.read_text(encoding="utf-8") + "".join(f"{n}\tno\tsuch\tline\n\n" for n in range(N_BAD)),
        encoding="utf-8",
    )
    corpus = {"sources": [str(inputs.train), str(bad)], "on_error": "skip"}
    return lambda: plan_only(inputs.config(tmp_path / "store", corpus=corpus, dump=FEW))


def _lines(store: Store) -> list[tuple[str, str]]:
    with tables(store) as read:
        return [(rule, excerpt) for rule, excerpt in read.rows("SELECT rule, excerpt FROM quarantine")]


def test_everything_skipped_is_listed(skipping: Callable[[], Finished]) -> None:
    found = skipping()
    lines = _lines(found.store)
    assert len(lines) == N_BAD + N_TOO_LONG
    assert [excerpt.startswith(f"{n}\tno\tsuch") for n, (_, excerpt) in enumerate(lines[:N_BAD])] == [True] * N_BAD
    assert load_corpus_record(found.store).summary.n_quarantined == N_BAD


def test_beyond_the_limit_the_last_line_counts(
    skipping: Callable[[], Finished], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine_list, "MAX_LISTED", 10)
    found = skipping()
    lines = _lines(found.store)
    assert len(lines) == 11
    assert lines[-1] == ("32 pieces from here on were skipped and are not listed one by one", "")
    assert load_corpus_record(found.store).summary.n_quarantined == N_BAD


def test_a_receipt_of_a_shard_lists_no_more_than_its_limit(
    skipping: Callable[[], Finished], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "MAX_LISTED_OF_SHARD", 0)
    found = skipping()
    listed = [receipt.facts["quarantined"] for receipt in found.store.receipts("corpus").values()]
    assert sum(item["n_pieces"] for items in listed for item in items) == N_TOO_LONG
    assert len(_lines(found.store)) == N_BAD + N_TOO_LONG
    assert {rule for rule, _ in _lines(found.store)[N_BAD:]} == {
        "1 pieces from here on were skipped and are not listed one by one"
    }


@pytest.mark.parametrize("damage", [unlink, cut, flip])
def test_a_damaged_table_is_made_again(damage: Callable[[Path], None], skipping: Callable[[], Finished]) -> None:
    store = skipping().store
    folder = Path(store.url)
    (file,) = (folder / "quarantine").rglob("*.parquet")
    before = hashlib.sha256(file.read_bytes()).hexdigest(), _lines(store)
    damage(file)
    problems = verify(store)
    assert [problem.path for problem in problems] == [str(file.relative_to(folder))]
    report = repair(store, problems, LocalExecutor(), Silent())
    assert (report.failed, report.removed, report.redone) == ({}, [], list(problems[0].receipts))
    assert (verify(store), check_plans(store)) == ([], [])
    assert (hashlib.sha256(file.read_bytes()).hexdigest(), _lines(store)) == before


def test_a_damaged_table_beyond_its_limit_is_made_again(
    skipping: Callable[[], Finished], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine_list, "MAX_LISTED", 10)
    store = skipping().store
    before = _lines(store)
    (file,) = (Path(store.url) / "quarantine").rglob("*.parquet")
    file.unlink()
    assert repair(store, verify(store), LocalExecutor(), Silent()).failed == {}
    assert (verify(store), _lines(store)) == ([], before)


def test_without_the_corpus_the_table_cannot_be_made_again(skipping: Callable[[], Finished], tmp_path: Path) -> None:
    store = skipping().store
    (file,) = (Path(store.url) / "quarantine").rglob("*.parquet")
    cut(file)
    (tmp_path / "bad.conllu").unlink()
    (receipt,) = (Path(store.url) / "receipts" / "quarantine").iterdir()
    before = receipt.read_bytes()
    report = repair(store, verify(store), LocalExecutor(), Silent())
    assert "bad.conllu" in next(iter(report.failed.values()))
    assert receipt.read_bytes() == before
