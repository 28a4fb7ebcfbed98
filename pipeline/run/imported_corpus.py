"""The corpus and the row space of imported rows: cut by the first import, shared by every later one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from pipeline.extract.encoded import SentenceInput
from pipeline.run.corpus_record import (
    CorpusRecord,
    choose_record,
    claim_corpus,
    finish_corpus,
    is_cut,
    load_corpus_record,
)
from pipeline.run.imported_rows import RowInput, RowScan, check_counts_of_store, compare_rows, scan_rows
from pipeline.run.ingest import ShardContent, cut_shards, refuse_other_cut, write_corpus_shard
from pipeline.run.plan_record import ShardPlan
from pipeline.run.progress import Progress
from pipeline.run.row_space import RowSpace, SentenceKeys, claim_row_space, keys_of
from pipeline.run.shards import register_rows
from pipeline.store.parquet import write_table
from pipeline.store.paths import row_file
from pipeline.store.store import Store
from schemas.amounts import counted
from schemas.config import ConceptsConfig, CorpusConfig, SourceConfig
from schemas.errors import ConfigError, IntegrityError
from schemas.fingerprints import fingerprint
from schemas.tables import TABLES

_RECORD = "imports/rows.json"
_CUT_BY = "import"


class _Words:
    """In place of a tokenizer: a sentence's rows are its words."""

    def encode(self, sentences: Sequence[SentenceInput]) -> list[range]:
        """The numbers of each sentence's words."""
        return [range(len(words)) for _, words, _ in sentences]


def imported_space_id(record: CorpusRecord) -> str:
    """Id of the row space of a store's imports."""
    return fingerprint(kind="rows", corpus=record.fingerprint, encoder=_CUT_BY, unit="word", pooling=None)[:12]


def refuse_other_corpus(store: Store) -> None:
    """Raise :class:`ConfigError` for a store whose corpus was not imported."""
    if store.exists("corpus.json") and load_corpus_record(store).corpus.format != "import":
        raise ConfigError(
            f"store {store.url}: its corpus was read by `neuronmill plan`, and imported rows are their own corpus; "
            "import into another --store. Nothing was changed"
        )


def check_rows(rows: RowInput, store: Store | None, min_count: int) -> RowScan | None:
    """Read the rows and compare them with the store's: what a first import has to write, or None for a further one."""
    if store is None or not is_cut(store):
        return scan_rows(rows, min_count)
    check_counts_of_store(rows, store)
    compare_rows(rows, store, store.read_json(_RECORD)["layers"])
    return None


def write_rows(
    rows: RowInput, scan: RowScan | None, store: Store, rows_per_shard: int, rows_asked: int | None, progress: Progress
) -> tuple[CorpusRecord, RowSpace, tuple[ShardPlan, ...]]:
    """Corpus tables and rows, as far as they are missing; a further import (no ``scan``) takes those of the store."""
    if scan is not None:
        source = SourceConfig(path=str(scan.summary.sources[0]["name"]))
        wanted = CorpusRecord(scan.summary, CorpusConfig(sources=(source,), format="import"), rows_per_shard, _CUT_BY)
        record = choose_record(store, wanted, rows_asked)
        definition = {
            "layers": scan.layers,
            "concepts": scan.concepts.model_dump(mode="json"),
            "left_out": list(scan.left_out),
        }
        if not store.put_json_new(_RECORD, definition) and store.read_json(_RECORD) != definition:
            raise ConfigError(
                f"store {store.url}: an import with other labels or another --min-count has begun here; start that one "
                "again first, or use another --store. Nothing was changed"
            )
    else:
        record = load_corpus_record(store)
    space_id = imported_space_id(record)
    if scan is not None:
        claim_corpus(store, record)
    space = claim_row_space(store, space_id, "word", None)
    if scan is not None:
        _cut(rows, scan, store, space, record, progress)
    register_rows(store, space)
    shards = [ShardPlan(**receipt.facts) for receipt in store.receipts(space.stage).values()]
    if sum(shard.n_rows for shard in shards) != rows.source.n_rows:
        raise IntegrityError(
            f"store {store.url}: its row receipts are not complete; `neuronmill verify` says which files are wrong"
        )
    return record, space, tuple(shards)


def _cut(
    rows: RowInput, scan: RowScan, store: Store, space: RowSpace, record: CorpusRecord, progress: Progress
) -> None:
    """Write the shards that are missing, in order."""
    layers = tuple(sorted(scan.layers.values()))
    corpus, finished = store.receipts("corpus"), store.receipts(space.stage)
    shards: list[ShardPlan] = []
    while (key := f"shard-{len(shards):05d}") in finished and key in corpus:
        shards.append(ShardPlan(**finished[key].facts))
    progress.start("rows", scan.summary.n_sentences, "sentences", sum(shard.n_sentences for shard in shards))
    done = [corpus[shard.key].facts for shard in shards]
    for content in cut_shards(scan.sentences(rows), _Words(), lambda words, _: len(words), record.rows_per_shard, done):
        write_corpus_shard(store, content, layers)
        first = shards[-1].first_row + shards[-1].n_rows if shards else space.first_row
        shards.append(_write_row_shard(store, space, content, first))
        progress.advance(len(content.sentences), n_rows=shards[-1].n_rows)
    finish_corpus(store, len(shards))
    progress.finish(f"{counted(scan.summary.n_words, 'row')} in {counted(len(shards), 'shard')}")


def _write_row_shard(store: Store, space: RowSpace, content: ShardContent, first_row: int) -> ShardPlan:
    """Write and commit the rows of one shard: every word is one."""
    keys = keys_of(content)
    n_rows = sum(key.n_words for key in keys)
    plan = ShardPlan(content.shard, keys[0].sentence_id, len(keys), n_rows, first_row, n_rows, 0, 0, 0, 0)
    with store.staging() as staging:
        write_table(
            staging.path(row_file("rows", space.id, content.shard)), _row_columns(keys, plan), TABLES["rows"].arrow
        )
        receipt = store.commit(staging, space.stage, plan.key, asdict(plan))
    refuse_other_cut(store, receipt, asdict(plan))
    return plan


def _row_columns(keys: Sequence[SentenceKeys], plan: ShardPlan) -> dict[str, Any]:
    lengths = [key.n_words for key in keys]
    return {
        "row_id": np.arange(plan.first_row, plan.first_row + plan.n_rows, dtype=np.int64),
        "document_id": np.repeat([key.document_id for key in keys], lengths),
        "sentence_id": np.repeat([key.sentence_id for key in keys], lengths),
        "word_id": np.arange(keys[0].first_word, keys[0].first_word + plan.n_rows, dtype=np.int64),
        "split": [key.split for key in keys for _ in range(key.n_words)],
        "is_special": np.zeros(plan.n_rows, np.bool_),
        "is_counted": np.ones(plan.n_rows, np.bool_),
    }


def columns_without_concept(store: Store) -> list[str]:
    """`COLUMN: REASON` for every label column of the store's first import that gave no concept."""
    return list(store.read_json(_RECORD)["left_out"])


def imported_concepts(store: Store) -> ConceptsConfig:
    """The concepts that the store's first import has made of its label columns."""
    return ConceptsConfig.model_validate(store.read_json(_RECORD)["concepts"])
