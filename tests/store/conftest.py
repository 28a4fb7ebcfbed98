"""A small real store: 2 shards of 3 words each, one model with resid (1 block) and mlp (2 blocks)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.store import FileEntry, Store, paths, write_activations, write_table
from schemas.tables import CONCEPTS, DOCUMENTS, LABELS, RANKINGS, ROWS, SENTENCES, TOKENS, words_schema

ROWS_ID = "aaaaaaaaaaaa"
CONCEPTS_ID = "cccccccccccc"
RUN = "0123456789abcdef"
N_SHARDS = 2
ROWS_PER_SHARD = 3
WORDS = ("Three", "people", "came", "Two", "dogs", "ran")
UPOS = ("NUM", "NOUN", "VERB", "NUM", "NOUN", "VERB")


def activation(component: str, layer: int, row: int, neuron: int) -> float:
    """The value that the store of these tests has there; exact in every dtype."""
    return float((row - 2) * 4 + neuron + layer / 2 + (32 if component == "mlp" else 0))


def values(component: str, layer: int, first_row: int, neurons: range) -> np.ndarray:
    rows = range(first_row, first_row + ROWS_PER_SHARD)
    return np.array([[activation(component, layer, r, n) for n in neurons] for r in rows], np.float32)


def _write_corpus_shard(store: Store, shard: int) -> None:
    first = shard * ROWS_PER_SHARD
    ids = np.arange(first, first + ROWS_PER_SHARD)
    same = {"document_id": [shard] * 3, "sentence_id": [shard] * 3, "split": ["train"] * 3}
    words = WORDS[first : first + 3]
    with store.staging() as staging:
        write_table(
            staging.path(paths.corpus_file("documents", shard)),
            {"document_id": [shard], "document": [f"d{shard}"], "source": ["s.txt"], "split": ["train"],
             "labels": [[("topic", "x")]], "n_sentences": [1], "n_words": [3]},
            DOCUMENTS.arrow,
        )  # fmt: skip
        write_table(
            staging.path(paths.corpus_file("sentences", shard)),
            {"sentence_id": [shard], "document_id": [shard], "sentence": ["0"], "text": [" ".join(words)],
             "split": ["train"], "labels": [[]], "n_words": [3]},
            SENTENCES.arrow,
        )  # fmt: skip
        write_table(
            staging.path(paths.corpus_file("words", shard)),
            same | {"word_id": ids, "position": [0, 1, 2], "word": list(words), "start": [0, 6, 12],
                    "end": [5, 11, 15], "upos": list(UPOS[first : first + 3])},
            words_schema(("upos",)),
        )  # fmt: skip
        write_table(
            staging.path(paths.row_file("rows", ROWS_ID, shard)),
            same | {"row_id": ids, "word_id": ids, "is_special": [False] * 3, "is_counted": [True] * 3},
            ROWS.arrow,
        )
        write_table(
            staging.path(paths.row_file("tokens", ROWS_ID, shard)),
            {"row_id": ids, "document_id": [shard] * 3, "sentence_id": [shard] * 3, "word_id": ids, "window": [0] * 3,
             "position": [0, 1, 2], "token_id": ids + 100, "token": list(words), "start": [0, 6, 12],
             "end": [5, 11, 15], "is_special": [False] * 3},
            TOKENS.arrow,
        )  # fmt: skip
        write_table(
            staging.path(paths.labels_file(ROWS_ID, CONCEPTS_ID, shard)),
            {"row_id": ids[:1], "concept": ["upos=NUM"]},
            LABELS.arrow,
        )
        store.commit(staging, "plan", f"shard-{shard:05d}")


def _write_activations(store: Store, shard: int) -> None:
    first = shard * ROWS_PER_SHARD
    ids = np.arange(first, first + ROWS_PER_SHARD)
    with store.staging() as staging:
        for component, layer, block, neurons in _BLOCKS:
            half = values(component, layer, first, neurons).astype(np.float16).view(np.uint16)
            path = staging.path(paths.activation_file("tiny", component, layer, block, shard))
            write_activations(path, half, first_neuron=neurons.start, row_ids=ids, dtype="float16")
        store.commit(staging, "dump", f"{RUN}/shard-{shard:05d}", {"attempt": 1})


_BLOCKS = [
    (component, layer, block, neurons)
    for component, blocks in (("resid", [range(2)]), ("mlp", [range(2), range(2, 4)]))
    for layer in (1, 2)
    for block, neurons in enumerate(blocks)
]


def _write_results(store: Store) -> None:
    fixed = {"run_id": RUN, "model": "tiny", "component": "mlp", "layer": 1, "concept": "upos=NUM", "method": "ap",
             "sign": 1, "threshold": None, "n_rows": 6, "n_pos": 2, "base_rate": 1 / 3, "p_value": 0.5, "q_value": 0.5,
             "heldout_score": None, "unit": "token", "split": "train", "params": "{}", "partner": None}  # fmt: skip
    rankings = {name: [value] * 2 for name, value in fixed.items()} | {
        "neuron": [0, 1], "score": [0.9, 0.8], "rank": [1, 2],
    }  # fmt: skip
    concepts = {"concept": ["upos=NUM"], "kind": ["layer"], "layer": ["upos"], "value": ["NUM"],
                "definition": ["upos=NUM"], "label_on": ["all"], "n_words": [2], "n_rows": [2]}  # fmt: skip
    with store.staging() as staging:
        write_table(staging.path(paths.run_file("rankings", RUN)), rankings, RANKINGS.arrow)
        write_table(staging.path(paths.concepts_file(ROWS_ID, CONCEPTS_ID)), concepts, CONCEPTS.arrow)
        store.commit(staging, "search", RUN)


def fill(store: Store) -> None:
    """Write everything and advance the manifest."""
    for shard in range(N_SHARDS):
        _write_corpus_shard(store, shard)
        _write_activations(store, shard)
    _write_results(store)
    files: dict[tuple[str, str], list[FileEntry]] = {}
    for stage in ("plan", "dump", "search"):
        for receipt in store.receipts(stage).values():
            for entry in receipt.files:
                files.setdefault((entry.path.partition("/")[0], "all"), []).append(entry)
    store.advance_all(files)


@pytest.fixture
def small_store(tmp_path: Path, reading_store: Store) -> Store:
    """A copy to change and break; nothing in a store says where it is."""
    shutil.copytree(reading_store.url, tmp_path / "store")
    return Store.open(str(tmp_path / "store"))


@pytest.fixture
def fill_store() -> Callable[[Store], None]:
    return fill


@pytest.fixture(scope="session")
def reading_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """One store for all tests that only read."""
    store = Store.create(str(tmp_path_factory.mktemp("reading") / "store"))
    fill(store)
    return store


@pytest.fixture
def words() -> pa.Table:
    return pa.table({
        "word_id": np.arange(4), "sentence_id": [0, 0, 1, 1], "position": [0, 1, 0, 1],
        "word": ["The", "dog", "a", "cat"], "upos": pa.array(["DET", "NOUN", "DET", None]).dictionary_encode(),
    })  # fmt: skip
