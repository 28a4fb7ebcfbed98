"""Cutting the corpus into shards, or reading the shards of a corpus that is already cut; rows and tokens for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from itertools import chain

from pipeline.corpus.quarantine_list import QuarantineList
from pipeline.corpus.reader import read_corpus
from pipeline.corpus.sentence import Quarantined
from pipeline.extract.encoded import EncodedSentence
from pipeline.extract.row_sample import count_rows
from pipeline.run.corpus_record import CorpusRecord, claim_corpus, finish_corpus, is_cut
from pipeline.run.ingest import ENCODE_BATCH, SentenceEncoder, cut_shards, write_corpus_shard
from pipeline.run.plan_record import Capture, ShardPlan
from pipeline.run.progress import Progress
from pipeline.run.row_space import (
    RowSpace,
    claim_row_space,
    encode_in_batches,
    keys_of,
    stored_sentences,
    write_row_shard,
)
from pipeline.store.parquet import write_table
from pipeline.store.paths import run_file
from pipeline.store.receipts import FileEntry
from pipeline.store.store import Store
from schemas.amounts import counted
from schemas.fingerprints import fingerprint
from schemas.tables import TABLES


def write_shards(
    store: Store,
    record: CorpusRecord,
    space_id: str,
    capture: Capture,
    encoder: SentenceEncoder,
    progress: Progress,
) -> tuple[RowSpace, tuple[ShardPlan, ...]]:
    """Write what is missing of the corpus tables and of the row space; returns it and all shard plans in order."""
    finished = {key: ShardPlan(**receipt.facts) for key, receipt in store.receipts(f"rows-{space_id}").items()}
    n_finished = sum(shard.n_sentences for shard in finished.values())
    progress.start("plan", record.summary.n_sentences, "sentences", n_finished)
    writer = _read_corpus_tables if is_cut(store) else _cut_corpus
    space, shards = writer(store, record, space_id, capture, encoder, finished, progress)
    register_rows(store, space)
    progress.finish(f"{counted(sum(shard.n_rows for shard in shards), 'row')} in {counted(len(shards), 'shard')}")
    return space, tuple(shards)


def row_counter(capture: Capture) -> Callable[[EncodedSentence, int], int]:
    """How many rows an encoded sentence with a given id has."""
    return lambda encoded, id_: count_rows(encoded, id_, capture.unit, capture.pooling, capture.sample)


def _cut_corpus(
    store: Store,
    record: CorpusRecord,
    space_id: str,
    capture: Capture,
    encoder: SentenceEncoder,
    finished: dict[str, ShardPlan],
    progress: Progress,
) -> tuple[RowSpace, list[ShardPlan]]:
    """First model of a store: cut the corpus and write corpus tables and rows together.

    The corpus and the row space are claimed with the first shard, so a plan that fails before it leaves nothing.
    """
    layers = tuple(sorted(record.summary.layers))
    shards: list[ShardPlan] = []
    receipts = store.receipts("corpus")
    while (key := f"shard-{len(shards):05d}") in finished and key in receipts:
        shards.append(finished[key])
    contents = cut_shards(
        read_corpus(record.corpus, lambda _: None),  # the scan has listed what is skipped
        encoder,
        row_counter(capture),
        record.rows_per_shard,
        [receipts[shard.key].facts for shard in shards],
        skip=record.corpus.on_error == "skip",
    )
    following = next(contents, None)
    claim_corpus(store, record)
    space = claim_row_space(store, space_id, capture.unit, capture.pooling, capture.sample)
    for content in [] if following is None else chain([following], contents):
        write_corpus_shard(store, content, layers)
        first = _next_row(space, shards)
        shards.append(write_row_shard(store, space, content.shard, first, keys_of(content), content.encoded))
        progress.advance(len(content.sentences), n_rows=shards[-1].n_rows)
    finish_corpus(store, len(shards))
    return space, shards


def _read_corpus_tables(
    store: Store,
    _: CorpusRecord,
    space_id: str,
    capture: Capture,
    encoder: SentenceEncoder,
    finished: dict[str, ShardPlan],
    progress: Progress,
) -> tuple[RowSpace, list[ShardPlan]]:
    """Another model on the same corpus: the shards exist, only rows and tokens are new."""
    space = claim_row_space(store, space_id, capture.unit, capture.pooling, capture.sample)
    shards: list[ShardPlan] = []
    for shard in range(len(store.receipts("corpus"))):
        plan = finished.get(f"shard-{shard:05d}")
        if plan is None:
            keys, texts = stored_sentences(store, shard)
            encoded = list(encode_in_batches(encoder, texts, ENCODE_BATCH))
            plan = write_row_shard(store, space, shard, _next_row(space, shards), keys, encoded)
            progress.advance(plan.n_sentences, n_rows=plan.n_rows)
        shards.append(plan)
    return space, shards


def _next_row(space: RowSpace, shards: list[ShardPlan]) -> int:
    return shards[-1].first_row + shards[-1].n_rows if shards else space.first_row


def register_rows(store: Store, space: RowSpace) -> None:
    """Show the finished tables to readers."""
    changes: dict[tuple[str, str], tuple[FileEntry, ...]] = {}
    for stage, scope, tables in (
        ("corpus", "corpus", ("documents", "sentences", "words")),
        (space.stage, space.id, ("rows", "tokens")),
    ):
        files = [file for receipt in store.receipts(stage).values() for file in receipt.files]
        for table in tables:
            changes[table, scope] = tuple(file for file in files if file.path.startswith(f"{table}/"))
    store.advance_all(changes)


def write_quarantine(store: Store, unread: QuarantineList) -> None:
    """The table of skipped sentences: those that could not be read, and those that the encoder refused.

    ``unread`` gets the latter, too.
    """
    for key in store.receipt_keys("corpus"):
        receipt = store.receipt("corpus", key)
        for refused in receipt.facts["quarantined"] if receipt else ():
            unread.add(Quarantined(**refused))
    rows = [asdict(item) for item in unread.items()]
    if not rows:
        return
    columns = {name: [row[name] for row in rows] for name in TABLES["quarantine"].arrow.names}
    key = fingerprint(quarantine=columns)[:12]
    with store.staging() as staging:
        write_table(staging.path(run_file("quarantine", "corpus", key)), columns, TABLES["quarantine"].arrow)
        receipt = store.commit(staging, "quarantine", key)
    store.advance("quarantine", "corpus", receipt.files)
