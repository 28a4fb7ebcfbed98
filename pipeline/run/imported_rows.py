"""The rows of an import: read from a label file (or the activations themselves), learned, and compared with a store's.

Every row is a word. Label columns become layers of the words table; a column of 0 and 1 is one concept called as the
column, every other one gives the concepts `column=value`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from pipeline.corpus.concepts import resolve_concepts
from pipeline.corpus.layer_names import layer_name
from pipeline.corpus.sentence import Sentence
from pipeline.corpus.summary import MAX_VALUES, CorpusSummary
from pipeline.exchange.label_table import read_label_table, read_paired_labels
from pipeline.exchange.row_batch import BATCH_ROWS, RowBatch, beside, rebatched
from pipeline.exchange.row_sentences import IDENTITY, SentenceBuilder
from pipeline.exchange.source import ActivationSource, file_sha256
from pipeline.store.store import Store
from schemas.amounts import counted
from schemas.config import ConceptConfig, ConceptsConfig
from schemas.errors import ConceptError, CorpusError, ExchangeError

#: Longest layer name made from a column's.
_LAYER_CHARACTERS = 60


@dataclass(frozen=True)
class RowInput:
    """Where the rows of an import are read: the activations, and a label file or none."""

    source: ActivationSource
    labels: Path | None = None
    label_name: str | None = None
    split_column: str | None = None

    @property
    def name(self) -> str:
        """What the rows are read from."""
        return str(self.labels or self.source.files()[0])

    @property
    def is_anonymous(self) -> bool:
        """Whether nothing says what the rows are."""
        return self.labels is None and self.source.rows() is None

    def batches(self) -> Iterator[RowBatch]:
        """Rows from the first one on; anonymous ones have no columns."""
        base = self.source.rows()
        if self.labels is None:
            return base if base is not None else self._anonymous()
        if self.label_name is None:
            table = read_label_table(self.labels)
        elif base is not None:
            table = read_paired_labels(self.labels, self.label_name)
        else:
            raise ExchangeError(
                f"--label-name {self.label_name}: names the labels of a NeuroX label file (a sentence a line), which "
                "needs activations with words; a table with a header names its columns itself, so drop the option"
            )
        return table if base is None else beside(base, table, same_words=self.source.has_words)

    def names_sentences(self) -> bool:
        """Whether `sentence` was given: the numbers of a NeuroX file's sentences are nobody's names."""
        if self.labels is None or self.label_name is not None:
            return False
        first = next(read_label_table(self.labels), None)
        return first is not None and "sentence" in first.columns

    def _anonymous(self) -> Iterator[RowBatch]:
        for first in range(0, self.source.n_rows, BATCH_ROWS):
            stop = min(first + BATCH_ROWS, self.source.n_rows)
            yield RowBatch(self.source.name, range(first, stop), {})


@dataclass(frozen=True)
class RowScan:
    """What one reading of the rows found out. ``layers`` maps label columns to layers of the words table."""

    summary: CorpusSummary
    layers: dict[str, str]
    concepts: ConceptsConfig
    left_out: tuple[str, ...]
    """Label columns without a concept, and why."""

    def sentences(self, rows: RowInput) -> Iterator[Sentence]:
        """The rows again, as sentences."""
        return SentenceBuilder(rows.name, self.layers, rows.split_column).sentences(rows.batches())


class _Tally:
    """Counts over rows, and a digest of every cell that does not depend on batches."""

    def __init__(self, columns: list[str]) -> None:
        self.n_rows = 0
        self.values: dict[str, Counter[str]] = {name: Counter() for name in columns if name not in IDENTITY}
        self.open: set[str] = set()
        self.digests = {name: hashlib.sha256(name.encode()) for name in columns}

    def count(self, batches: Iterator[RowBatch]) -> Iterator[RowBatch]:
        """Pass the batches on, counted."""
        for batch in batches:
            self.n_rows += batch.n_rows
            for name, values in batch.columns.items():
                self.digests[name].update("".join(f"{len(value)}:{value}" for value in values).encode())
            for name, counter in self.values.items():
                if len(counter) <= MAX_VALUES:
                    counter.update(batch.columns[name])
                else:
                    self.open.add(name)
            yield batch


def scan_rows(rows: RowInput, min_count: int = 1) -> RowScan:
    """Read the rows once: sizes, layers, concepts, and everything that can be wrong with them."""
    batches = rows.batches()
    first = next(batches, None)
    if first is None:
        raise CorpusError(f"{rows.name}: there must be a row; the file has none")
    if rows.split_column is not None and rows.split_column not in first.columns:
        raise ExchangeError(
            f"--split-column {rows.split_column!r}: {rows.name} has no such column; it has {', '.join(first.columns)}"
        )
    labels = [name for name in first.columns if name not in IDENTITY and name != rows.split_column]
    layers, tally = _layer_names(labels), _Tally(list(first.columns))
    builder = SentenceBuilder(rows.name, layers, rows.split_column)
    documents: Counter[str] = Counter()
    splits: Counter[str] = Counter()
    n_chars = 0
    for sentence in builder.sentences(tally.count(chain([first], batches))):
        documents[sentence.document] += 1
        splits[sentence.split or ""] += 1
        n_chars += len(sentence.text)
    check_counts(rows, tally.n_rows)
    digests = {name: digest.hexdigest() for name, digest in tally.digests.items()}
    identity = hashlib.sha256(repr((tally.n_rows, rows.split_column, digests)).encode()).hexdigest()
    counts = {layers[name]: _counts(tally.values[name]) for name in labels}
    summary = CorpusSummary(
        n_documents=len(documents),
        n_sentences=documents.total(),
        n_words=tally.n_rows,
        n_chars=n_chars,
        n_quarantined=0,
        layers=dict(sorted(counts.items())),
        sentence_labels={},
        document_labels={},
        splits=dict(sorted(splits.items())),
        sources=[_source(rows)],
        fingerprint=identity,
        open_layers=sorted(layers[name] for name in tally.open if name in layers),
    )
    concepts, left_out = _concepts(layers, summary, min_count)
    try:
        resolve_concepts(concepts, summary)
    except ConceptError as error:
        raise ExchangeError(f"{rows.name}: the labels make no concepts: {error}; rename or drop a column") from error
    return RowScan(summary, layers, concepts, left_out)


def check_counts(rows: RowInput, n_rows: int) -> None:
    """Raise :class:`ExchangeError` unless there is one row of labels per row of activations."""
    if n_rows != rows.source.n_rows:
        raise ExchangeError(
            f"{rows.name}: has {counted(n_rows, 'row')}, and {rows.source.name} has {rows.source.n_rows:,}; there "
            "must be one row (and a header in front) per row of the activations"
        )


def _source(rows: RowInput) -> dict[str, Any]:
    file = rows.labels or rows.source.files()[0]
    facts = {"name": rows.name, "relative": file.name, "n_bytes": file.stat().st_size}
    return facts | {"sha256": file_sha256(file), "split": None}


def _counts(values: Counter[str]) -> dict[str, int]:
    """Values, most frequent first; no value is none."""
    return dict(sorted(((v, n) for v, n in values.items() if v), key=lambda item: (-item[1], item[0])))


def _layer_names(columns: list[str]) -> dict[str, str]:
    """A layer of the words table for every label column, unique in any case."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for column in columns:
        name = stem = layer_name(column)[:_LAYER_CHARACTERS]
        number = 1
        while name.lower() in taken:
            number += 1
            name = f"{stem}_{number}"
        taken.add(name.lower())
        found[column] = name
    return found


def _concepts(layers: dict[str, str], summary: CorpusSummary, min_count: int) -> tuple[ConceptsConfig, tuple[str, ...]]:
    """The concepts of all label columns in their order, and the columns that have none."""
    include, left_out = [], []
    for column, layer in layers.items():
        values = summary.layers[layer]
        is_binary = bool(values) and set(values) <= {"0", "1"}
        if layer in summary.open_layers:
            left_out.append(f"{column}: more than {MAX_VALUES:,} values")
        elif not values or max(values.values()) < min_count:
            left_out.append(f"{column}: no value" + (f" holds for {counted(min_count, 'row')}" if values else ""))
        elif is_binary and "1" not in values:
            left_out.append(f"{column}: no row has it")
        elif is_binary and values["1"] < min_count:
            left_out.append(f"{column}: holds for {counted(values['1'], 'row')}, fewer than {min_count}")
        elif is_binary:
            include.append(ConceptConfig(layer=layer, value="1", name=column))
        else:
            include.append(ConceptConfig(layer=layer, name=column, min_count=min_count))
    return ConceptsConfig(include=tuple(include), exclude_values=("",), iob=False), tuple(left_out)


def compare_rows(rows: RowInput, store: Store, layers: dict[str, str]) -> None:
    """Raise :class:`ExchangeError` unless the rows are those of the store, in the columns they have.

    ``layers`` maps the store's label columns to layers. The error counts the rows that differ, and shows the first.
    """
    check_counts_of_store(rows, store)
    if rows.is_anonymous:
        return
    ignored = set() if rows.names_sentences() else {"sentence"}
    n_different, n_rows, first = 0, 0, ""
    for new, old in zip_longest(
        rebatched(rows.batches()), rebatched(_stored_batches(store, layers, rows.split_column))
    ):
        if new is None or old is None or new.n_rows != old.n_rows:
            check_counts(rows, n_rows + (new.n_rows if new else 0))
            break
        unknown = [name for name in new.columns if name not in old.columns]
        if unknown:
            raise ExchangeError(
                f"{rows.name}: the column {unknown[0]!r} is not in the store: the first import decides the labels, and "
                f"they are {', '.join(layers) or 'none'}; drop the column, or use another store"
            )
        compared = [(values, old.columns[name]) for name, values in new.columns.items() if name not in ignored]
        if any(values != stored for values, stored in compared):
            different = [row for row in range(new.n_rows) if any(v[row] != stored[row] for v, stored in compared)]
            if not n_different:
                first = _difference(new, old, different[0], n_rows, ignored)
            n_different += len(different)
        n_rows += new.n_rows
    if n_different:
        raise ExchangeError(
            f"{first}; {n_different:,} of {counted(n_rows, 'row')} differ. Every import into a store must have "
            "the same rows in the same order; put them in order, or use another store. Nothing was changed"
        )


def check_counts_of_store(rows: RowInput, store: Store) -> None:
    """Raise :class:`ExchangeError` unless there are as many rows as the store has words."""
    n_words = sum(file.n_rows for file in store.files("words"))
    if rows.source.n_rows != n_words:
        raise ExchangeError(
            f"{rows.source.name}: has {counted(rows.source.n_rows, 'row')} and store {store.url} has {n_words:,}; "
            "every import into a store must have the same rows, so use another store. Nothing was changed"
        )


def _difference(new: RowBatch, old: RowBatch, row: int, n_before: int, ignored: set[str]) -> str:
    names = (name for name in new.columns if name not in ignored)
    name = next(name for name in names if new.columns[name][row] != old.columns[name][row])
    values = f"{new.columns[name][row][:100]!r} here and {old.columns[name][row][:100]!r} in the store"
    return f"{new.place(row)}: row {n_before + row} (from 0) has the {name} {values}"


def _stored_batches(store: Store, layers: dict[str, str], split_column: str | None) -> Iterator[RowBatch]:
    """The words of a store with the columns they were imported with."""
    documents = store.read_table(store.files("documents"), ["document_id", "document"]).to_pydict()
    names = dict(zip(documents["document_id"], documents["document"], strict=True))
    first = 0
    for shard in range(len(store.files("words"))):
        sentences = store.read_table(store.files("sentences", shard=shard), ["sentence_id", "sentence"]).to_pydict()
        called = dict(zip(sentences["sentence_id"], sentences["sentence"], strict=True))
        words = store.read_table(store.files("words", shard=shard)).to_pydict()
        columns = {
            "document": [names[document] for document in words["document_id"]],
            "sentence": [called[sentence] for sentence in words["sentence_id"]],
            "position": [str(position) for position in words["position"]],
            "word": words["word"],
            **{column: [value or "" for value in words[layer]] for column, layer in layers.items()},
        }
        if split_column:
            columns[split_column] = [value or "" for value in words["split"]]
        yield RowBatch(store.url, range(first, first + len(words["word"])), columns)
        first += len(words["word"])
