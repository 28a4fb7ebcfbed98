"""The words of one shard with everything a concept may look at: label layers, sentence and document labels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.corpus.word_masks import Coded
from pipeline.store.store import Store

_FIXED = frozenset({"word_id", "sentence_id", "document_id", "position", "start", "end", "split"})


@dataclass(frozen=True, eq=False)
class ShardWords:
    """Words of one shard, T_words of them.

    ``table`` is the words table as stored; ``columns`` its word and label layers, coded; ``sentence_labels`` and
    ``document_labels`` map a label to its value per word. Word and sentence ids of a shard are consecutive.
    """

    table: pa.Table
    first_word: int
    first_sentence: int
    sentence_id: npt.NDArray[np.int64]
    columns: dict[str, Coded]
    sentence_labels: dict[str, Coded]
    document_labels: dict[str, Coded]


def read_shard_words(store: Store, shard: int, *, document_labels: bool) -> ShardWords:
    """Read the words of a shard; document labels only if asked for (a document may be listed in a later shard)."""
    table = store.read_table(store.files("words", shard=shard))
    sentences = store.read_table(store.files("sentences", shard=shard), ["sentence_id", "labels"])
    sentence_id = table["sentence_id"].to_numpy()
    first_sentence = int(sentences["sentence_id"][0].as_py()) if len(sentences) else 0
    documents = _document_labels(store, shard, table["document_id"].to_numpy()) if document_labels else {}
    return ShardWords(
        table=table,
        first_word=int(table["word_id"][0].as_py()) if len(table) else 0,
        first_sentence=first_sentence,
        sentence_id=sentence_id,
        columns={name: _coded(table[name]) for name in table.column_names if name not in _FIXED},
        sentence_labels=_spread(sentences["labels"].to_pylist(), sentence_id - first_sentence),
        document_labels=documents,
    )


def _coded(column: pa.ChunkedArray) -> Coded:
    """A string column as codes into its distinct values."""
    array = column.combine_chunks()
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    codes = array.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return Coded(codes, tuple(array.dictionary.to_pylist()))


def _document_labels(store: Store, shard: int, document_id: npt.NDArray[np.int64]) -> dict[str, Coded]:
    """Labels of the words' documents: listed in the shard a document ends in, or the one after."""
    wanted, place = np.unique(document_id, return_inverse=True)
    missing = set(wanted.tolist())
    found: dict[int, list[tuple[str, str]]] = {}
    for entry in store.files("documents"):
        # a shard may also list a document of the shard before, and none of its own last one
        if entry.shard is not None and entry.shard >= shard and missing:
            documents = store.read_table([entry], ["document_id", "labels"]).to_pydict()
            found |= dict(zip(documents["document_id"], documents["labels"], strict=True))
            missing -= found.keys()
    return _spread([found.get(int(document), []) for document in wanted], place)


def _spread(labels: Iterable[list[tuple[str, str]]], place: npt.NDArray[Any]) -> dict[str, Coded]:
    """Labels of sentences (or documents) as a value per word; ``place`` is the word's index among them."""
    columns: dict[str, list[str | None]] = {}
    n = 0
    for n, pairs in enumerate(labels, start=1):
        for name, value in pairs:
            column = columns.setdefault(name, [])
            column.extend([None] * (n - 1 - len(column)))
            column.append(value)
    spread = {}
    for name, column in columns.items():
        coded = Coded.of(column + [None] * (n - len(column)))
        spread[name] = Coded(coded.codes[place], coded.values)
    return spread
