"""The rows of an export: which rows of a shard leave, pooled to words or not, and who they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pipeline.exchange.source import Array
from pipeline.run.labelling import ConceptSet
from pipeline.run.plan_record import Plan, ShardPlan
from pipeline.store.store import Store
from schemas.config import Split
from schemas.errors import IncompleteError

WordPooling = Literal["last", "first", "mean"]
Ints = npt.NDArray[np.int64]

#: Rows whose label columns are in memory at once.
_CHUNK_ROWS = 8192


@dataclass(frozen=True)
class RowChoice:
    """Which rows: counted ones (or all), of one split (or all), pooled to words (or as they are)."""

    split: Split | None = None
    all_rows: bool = False
    pooling: WordPooling | None = None


@dataclass(frozen=True, eq=False)
class ShardRows:
    """The rows of a shard that leave, n of them; ``source`` are the rows of the shard they are made of.

    Row i is made of ``source[edges[i]:edges[i + 1]]``. ``columns`` say who it is; ``sentence_id`` is what rows of one
    sentence share.
    """

    shard: ShardPlan
    pooling: WordPooling | None
    source: Ints
    edges: Ints
    row_id: Ints
    sentence_id: Ints
    columns: dict[str, list[Any]]
    label_row: Ints
    label_concept: Ints

    @property
    def n_rows(self) -> int:
        """Number of rows that leave."""
        return len(self.edges) - 1

    def take(self, values: Array) -> Array:
        """Rows (n, N) of ``values`` (N, T), which has all rows of the shard."""
        if self.pooling == "mean":
            sums = np.add.reduceat(values[:, self.source].astype(np.float64), self.edges[:-1], axis=1)
            return np.ascontiguousarray((sums / np.diff(self.edges)).astype(np.float32).T)
        chosen = self.source[self.edges[:-1] if self.pooling == "first" else self.edges[1:] - 1]
        return np.ascontiguousarray(values[:, chosen].T)

    def chunks(self, n_concepts: int) -> Iterator[tuple[slice, npt.NDArray[np.uint8]]]:
        """Consecutive rows with their labels (rows, concepts) of 0 and 1."""
        for first in range(0, self.n_rows, _CHUNK_ROWS):
            stop = min(first + _CHUNK_ROWS, self.n_rows)
            labels = np.zeros((stop - first, n_concepts), np.uint8)
            inside = (self.label_row >= first) & (self.label_row < stop)
            labels[self.label_row[inside] - first, self.label_concept[inside]] = 1
            yield slice(first, stop), labels


class RowReader:
    """Reads the rows of one shard after the other."""

    def __init__(self, store: Store, plan: Plan, concepts: ConceptSet, choice: RowChoice) -> None:
        self._store, self._plan, self._choice = store, plan, choice
        self._labels = store.receipts(concepts.stage)
        self._concepts = {name: index for index, name in enumerate(concepts.names)}
        missing = [shard.key for shard in plan.shards if shard.key not in self._labels]
        if missing:
            raise IncompleteError(
                f"model {plan.model}: the concepts are not compiled on {missing[0]}; run `neuronmill search --store "
                f"{store.url}` once"
            )
        self._documents = _document_names(store)

    def read(self, shard: ShardPlan) -> ShardRows:
        """The rows of one shard that leave."""
        where: dict[str, Any] = {"shard": shard.shard}
        rows = self._store.read_table(self._store.files("rows", self._plan.row_space, **where))
        kept, edges = self._choose(rows)
        last = kept[edges[1:] - 1]
        row_id, sentence_id = rows["row_id"].to_numpy()[last], rows["sentence_id"].to_numpy()[last]
        sentences = self._store.read_table(self._store.files("sentences", **where), ["sentence_id", "sentence"])
        names = dict(zip(sentences["sentence_id"].to_pylist(), sentences["sentence"].to_pylist(), strict=True))
        positions, words = self._words(shard, rows, last)
        splits = rows["split"].to_pylist()
        columns: dict[str, list[Any]] = {
            "document": [self._documents[document] for document in rows["document_id"].to_numpy()[last].tolist()],
            "sentence": [names[sentence] for sentence in sentence_id.tolist()],
            "position": positions,
            "word": words,
            "split": [splits[row] for row in last.tolist()],
        }
        label_row, label_concept = self._read_labels(shard, kept, edges)
        return ShardRows(
            shard, self._choice.pooling, kept, edges, row_id, sentence_id, columns, label_row, label_concept
        )

    def _choose(self, rows: Any) -> tuple[Ints, Ints]:
        """The shard's rows that are used, and where each row that leaves begins among them."""
        choice = self._choice
        mask = np.ones(len(rows), np.bool_) if choice.all_rows else rows["is_counted"].to_numpy().copy()
        if choice.split is not None:
            mask &= np.array([split == choice.split for split in rows["split"].to_pylist()], np.bool_)
        kept = np.flatnonzero(mask)
        if choice.pooling is None:
            return kept, np.arange(len(kept) + 1)
        word = rows["word_id"].fill_null(-1).to_numpy()[kept]
        kept, word = kept[word >= 0], word[word >= 0]
        order = np.argsort(word, kind="stable")
        starts = np.flatnonzero(np.diff(word[order], prepend=-1))
        return kept[order], np.append(starts, len(kept))

    def _words(self, shard: ShardPlan, rows: Any, chosen: Ints) -> tuple[list[int], list[str]]:
        """Position and word: of the word where a row is one, else the row's number in its sentence."""
        words = self._store.read_table(self._store.files("words", shard=shard.shard), ["word_id", "position", "word"])
        first = int(words["word_id"][0].as_py()) if len(words) else 0
        index = rows["word_id"].fill_null(-1).to_numpy()[chosen] - first
        forms = words["word"].to_pylist()
        texts = [forms[at] if at >= 0 else "" for at in index.tolist()]
        if self._plan.capture.unit == "word" or self._choice.pooling:
            return words["position"].to_numpy()[index].tolist(), texts
        sentence = rows["sentence_id"].to_numpy()
        starts = np.searchsorted(sentence, sentence)  # rows of a sentence stand together
        return (np.arange(len(sentence)) - starts)[chosen].tolist(), texts

    def _read_labels(self, shard: ShardPlan, kept: Ints, edges: Ints) -> tuple[Ints, Ints]:
        """Rows that leave, by their numbers, and the concepts they carry."""
        labels = self._store.read_table(self._labels[shard.key].files)
        place = np.full(shard.n_rows, -1, np.int64)
        place[kept] = np.repeat(np.arange(len(edges) - 1), np.diff(edges))
        row = place[labels["row_id"].to_numpy() - shard.first_row]
        concept = labels["concept"].combine_chunks()
        numbers = np.array([self._concepts[name] for name in concept.dictionary.to_pylist()], np.int64)
        index = numbers[concept.indices.to_numpy()] if len(labels) else np.zeros(0, np.int64)
        return row[row >= 0], index[row >= 0]


def _document_names(store: Store) -> dict[int, str]:
    """Names of all documents; one of another file with the same name has `~2` behind it."""
    table = store.read_table(store.files("documents"), ["document_id", "document"]).to_pydict()
    seen: Counter[str] = Counter()
    names = {}
    for number, name in zip(table["document_id"], table["document"], strict=True):
        seen[name] += 1
        names[number] = name if seen[name] == 1 else f"{name}~{seen[name]}"
    return names
