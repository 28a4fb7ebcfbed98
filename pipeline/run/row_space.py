"""Row spaces: what the rows of a model's activation tables are.

A row space is a tokenisation, a unit, a pooling and, if not all rows are dumped, a sample over a corpus. It owns the
tables rows and tokens; models that tokenise alike share one. Space k of a store numbers its rows from k · 2⁴⁰, so a
``row_id`` is unique in the store and dense in its space.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline.extract.encoded import EncodedSentence
from pipeline.extract.row_sample import RowSample, assigned_rows
from pipeline.run.ingest import ShardContent, refuse_other_cut
from pipeline.run.plan_record import Capture, ShardPlan
from pipeline.store.parquet import write_table
from pipeline.store.paths import row_file
from pipeline.store.store import Store
from schemas.config import Pooling, Unit
from schemas.errors import StoreError
from schemas.fingerprints import fingerprint
from schemas.tables import TABLES

ROWS_PER_SPACE = 2**40


@dataclass(frozen=True)
class RowSpace:
    """Identity of a row space and its first row id."""

    id: str
    unit: Unit
    pooling: Pooling | None
    first_row: int
    sample: RowSample | None = None

    @property
    def stage(self) -> str:
        """Stage name of its receipts."""
        return f"rows-{self.id}"


def row_space_id(corpus: str, encoder: str, capture: Capture) -> str:
    """Identity of the row space of a capture, by the fingerprints of the corpus and of the encoder; 12 hex digits."""
    return fingerprint(
        kind="rows",
        corpus=corpus,
        encoder=encoder,
        unit=capture.unit,
        pooling=capture.pooling,
        sample=asdict(capture.sample) if capture.sample else None,
    )[:12]


def cut_id(encoder: str, capture: Capture) -> str:
    """Identity of what decides where a corpus is cut, for one size of shards; 12 hex digits."""
    sample = asdict(capture.sample) if capture.sample else None
    return fingerprint(encoder=encoder, unit=capture.unit, sample=sample)[:12]


def claim_row_space(
    store: Store, space_id: str, unit: Unit, pooling: Pooling | None, sample: RowSample | None = None
) -> RowSpace:
    """The store's row space with this id; a new one takes the next free number. Safe against a second driver."""
    number = 0
    while True:
        record = {"id": space_id, "unit": unit, "pooling": pooling, "number": number}
        if sample is not None:
            record["sample"] = str(sample)
        path = f"rowspaces/{number:05d}.json"
        if not store.exists(path) and store.put_json_new(path, record):
            break
        if store.read_json(path)["id"] == space_id:
            break
        number += 1
        if number >= 2**20:
            raise StoreError(f"store {store.url}: more than {2**20} row spaces; start a new store")
    return RowSpace(space_id, unit, pooling, number * ROWS_PER_SPACE, sample)


@dataclass(frozen=True)
class SentenceKeys:
    """Ids of one sentence, as its rows need them."""

    sentence_id: int
    document_id: int
    first_word: int
    n_words: int
    split: str | None


def keys_of(content: ShardContent) -> list[SentenceKeys]:
    """Keys of the sentences of a shard that is being ingested."""
    return [
        SentenceKeys(sentence_id, document_id, first_word, len(sentence.words), sentence.split)
        for sentence, sentence_id, document_id, first_word in zip(
            content.sentences, content.sentence_ids, content.document_ids, content.first_words, strict=True
        )
    ]


def stored_sentences(store: Store, shard: int) -> tuple[list[SentenceKeys], list[tuple[str, list[str], list[Any]]]]:
    """Keys and (text, words, spans) of the sentences of a shard that was ingested for another model."""
    sentences = store.read_table(store.files("sentences", shard=shard)).to_pydict()
    words = store.read_table(store.files("words", shard=shard), ["word_id", "word", "start", "end"]).to_pydict()
    keys, texts, at = [], [], 0
    for i, n in enumerate(sentences["n_words"]):
        first = words["word_id"][at] if n else 0
        ids = (sentences["sentence_id"][i], sentences["document_id"][i])
        keys.append(SentenceKeys(*ids, first, n, sentences["split"][i]))
        spans = list(zip(words["start"][at : at + n], words["end"][at : at + n], strict=True))
        texts.append((sentences["text"][i], words["word"][at : at + n], spans))
        at += n
    return keys, texts


def write_row_shard(
    store: Store,
    space: RowSpace,
    shard: int,
    first_row: int,
    keys: Sequence[SentenceKeys],
    encoded: Sequence[EncodedSentence],
) -> ShardPlan:
    """Write and commit rows and tokens of one shard; returns the shard's plan."""
    rows, tokens = _tables(space, first_row, keys, encoded)
    plan = ShardPlan(
        shard=shard,
        first_sentence=keys[0].sentence_id if keys else 0,
        n_sentences=len(keys),
        n_words=sum(key.n_words for key in keys),
        first_row=first_row,
        n_rows=len(rows["row_id"]),
        n_tokens=len(tokens["token_id"]),
        n_words_without_token=sum(sentence.n_words_without_token for sentence in encoded),
        n_split_sentences=sum(sentence.n_windows > 1 for sentence in encoded),
        n_truncated_sentences=sum(sentence.truncated for sentence in encoded),
    )
    with store.staging() as staging:
        for table, columns in (("rows", rows), ("tokens", tokens)):
            write_table(staging.path(row_file(table, space.id, shard)), columns, TABLES[table].arrow)
        receipt = store.commit(staging, space.stage, plan.key, asdict(plan))
    refuse_other_cut(store, receipt, asdict(plan))
    return plan


def _tables(
    space: RowSpace, first_row: int, keys: Sequence[SentenceKeys], encoded: Sequence[EncodedSentence]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Columns of rows and tokens."""
    if not keys:
        return {name: [] for name in TABLES["rows"].arrow.names}, {name: [] for name in TABLES["tokens"].arrow.names}
    sentence_ids = np.array([key.sentence_id for key in keys], np.int64)
    document_ids = np.array([key.document_id for key in keys], np.int64)
    first_words = np.array([key.first_word for key in keys], np.int64)
    n_tokens = np.array([len(sentence) for sentence in encoded], np.int64)
    assigned, n_rows = assigned_rows(encoded, sentence_ids.tolist(), space.unit, space.pooling, space.sample)
    names = ("window", "position", "token_id", "start", "end", "is_special", "word")
    columns = {name: np.concatenate([getattr(sentence, name) for sentence in encoded]) for name in names}
    rows = {
        "row_id": np.arange(first_row, first_row + assigned.n_rows, dtype=np.int64),
        "document_id": np.repeat(document_ids, n_rows),
        "sentence_id": np.repeat(sentence_ids, n_rows),
        "word_id": _nullable(_plus(assigned.word, np.repeat(first_words, n_rows))),
        "split": [key.split for key, n in zip(keys, n_rows.tolist(), strict=True) for _ in range(n)],
        "is_special": assigned.is_special,
        "is_counted": assigned.is_counted,
    }
    special = columns["is_special"]
    table = {
        "row_id": _nullable(_plus(assigned.token_row, first_row)),
        "document_id": np.repeat(document_ids, n_tokens),
        "sentence_id": np.repeat(sentence_ids, n_tokens),
        "word_id": _nullable(_plus(columns["word"], np.repeat(first_words, n_tokens))),
        "window": columns["window"],
        "position": columns["position"],
        "token_id": columns["token_id"],
        "token": [token for sentence in encoded for token in sentence.tokens],
        "start": np.ma.masked_array(columns["start"], special),
        "end": np.ma.masked_array(columns["end"], special),
        "is_special": special,
    }
    return rows, table


def _plus(index: np.ndarray[Any, Any], first: Any) -> np.ndarray[Any, Any]:
    """Numbers in the store (int64) of what is numbered from 0 here; −1 stays −1."""
    return np.where(index >= 0, index + np.int64(first), np.int64(-1))


def _nullable(values: np.ndarray[Any, Any]) -> np.ma.MaskedArray[Any, Any]:
    """−1 means null."""
    return np.ma.masked_array(values, values < 0)


def encode_in_batches(encoder: Any, texts: Sequence[Any], size: int) -> Iterator[EncodedSentence]:
    """Encode a long list of sentences a batch at a time."""
    for at in range(0, len(texts), size):
        yield from encoder.encode(texts[at : at + size])
