"""Labels of documents that end in another shard than their words."""

from __future__ import annotations

import pytest

from pipeline.store import Store, paths, write_table
from pipeline.store.word_tables import read_shard_words
from schemas.tables import TABLES, words_schema

#: Per shard: the document of each word, and the documents listed there. A document is listed where it ends, or in the
#: next shard where that ends with it.
SHARDS = (([0, 1, 2], [0, 1]), ([2, 3, 3], [2]), ([3], []), ([4], [3]), ([5], [4, 5]))


@pytest.fixture
def store(tmp_path) -> Store:
    found = Store.create(str(tmp_path / "store"))
    first = 0
    for shard, (documents, listed) in enumerate(SHARDS):
        ids = list(range(first, first + len(documents)))
        first += len(documents)
        columns = {
            "documents": _documents(listed),
            "sentences": {
                "sentence_id": ids,
                "document_id": documents,
                "sentence": [str(i) for i in ids],
                "text": ["w"] * len(ids),
                "split": [None] * len(ids),
                "labels": [[] for _ in ids],
                "n_words": [1] * len(ids),
            },
            "words": {
                "word_id": ids,
                "sentence_id": ids,
                "document_id": documents,
                "position": [0] * len(ids),
                "word": ["w"] * len(ids),
                "start": [0] * len(ids),
                "end": [1] * len(ids),
                "split": [None] * len(ids),
            },
        }
        with found.staging() as staging:
            for table, rows in columns.items():
                schema = words_schema(()) if table == "words" else TABLES[table].arrow
                write_table(staging.path(paths.corpus_file(table, shard)), rows, schema)
            found.commit(staging, "corpus", f"shard-{shard:05d}")
    files = [file for receipt in found.receipts("corpus").values() for file in receipt.files]
    for table in ("documents", "sentences", "words"):
        found.advance(table, "corpus", [file for file in files if file.path.startswith(f"{table}/")])
    return found


def _documents(listed: list[int]) -> dict[str, list[object]]:
    return {
        "document_id": [*listed],
        "document": [f"d{i}" for i in listed],
        "source": ["a"] * len(listed),
        "split": [None] * len(listed),
        "labels": [[("topic", f"t{i}")] for i in listed],
        "n_sentences": [1] * len(listed),
        "n_words": [1] * len(listed),
    }


@pytest.mark.parametrize("shard", range(len(SHARDS)))
def test_every_word_has_the_label_of_its_document(store: Store, shard: int) -> None:
    found = read_shard_words(store, shard, document_labels=True).document_labels["topic"]
    values = [found.values[code] if code >= 0 else None for code in found.codes.tolist()]
    assert values == [f"t{document}" for document in SHARDS[shard][0]]
