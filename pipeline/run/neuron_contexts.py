"""Contexts: the extreme rows of every neuron with the words around them, each coloured by its own activation.

Two readings of a task's neurons: one folds `TopRows`, one fetches the activations of the words beside the rows found.
A window never leaves its sentence. The activation of a word is the one of its tokens that is largest in magnitude.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.run.fold import (
    ActivationFold,
    FoldJob,
    NeuronTask,
    ShardCache,
    fold_tasks,
    kernel_threads,
    require_dump,
)
from pipeline.run.neuron_choice import chosen_tasks
from pipeline.run.plan_record import Plan, ShardPlan
from pipeline.run.progress import Progress
from pipeline.run.records import concat_run_table, write_run_record
from pipeline.run.work import Executor
from pipeline.stats.top_rows import ExtremeRows, TopRows
from pipeline.store.parquet import list_column, write_table
from pipeline.store.paths import state_file
from pipeline.store.store import Store
from schemas.amounts import counted
from schemas.fingerprints import fingerprint
from schemas.tables import TABLES

#: Raised whenever the same activations would give other contexts.
VERSION = 1
#: Words shown of a sentence at sentence unit.
SENTENCE_WORDS = 60

Ints = npt.NDArray[np.int64]
Values = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ShardText:
    """Words and rows of one shard. Word and sentence numbers are the shard's own, from 0; −1 is none."""

    words: npt.NDArray[np.object_]
    row_word: Ints
    row_sentence: Ints
    row_document: Ints
    sentence_start: Ints
    """First word of each sentence, and the number of words at the end."""
    by_word: Ints
    """Rows that have a word, ordered by it."""
    word_edges: Ints
    """Rows of word w are ``by_word[word_edges[w]:word_edges[w + 1]]``."""
    first_word: int
    first_sentence: int


def load_text(store: Store, plan: Plan, shard: ShardPlan) -> ShardText:
    """Read what contexts need of a shard's words and rows."""
    words = store.read_table(store.files("words", shard=shard.shard), ["word_id", "sentence_id", "word"])
    rows = store.read_table(
        store.files("rows", plan.row_space, shard=shard.shard), ["word_id", "sentence_id", "document_id"]
    )
    first_word = int(words["word_id"][0].as_py()) if len(words) else 0
    row_word = rows["word_id"].fill_null(-1).to_numpy()
    row_word = np.where(row_word >= 0, row_word - first_word, -1)
    with_word = np.flatnonzero(row_word >= 0)
    by_word = with_word[np.argsort(row_word[with_word], kind="stable")]
    n_sentences = shard.n_sentences
    word_sentence = words["sentence_id"].to_numpy() - shard.first_sentence
    return ShardText(
        words=np.asarray(words["word"].to_pylist(), dtype=object),
        row_word=row_word,
        row_sentence=rows["sentence_id"].to_numpy() - shard.first_sentence,
        row_document=rows["document_id"].to_numpy(),
        sentence_start=np.searchsorted(word_sentence, np.arange(n_sentences + 1)),
        by_word=by_word,
        word_edges=np.searchsorted(row_word[by_word], np.arange(len(words) + 1)),
        first_word=first_word,
        first_sentence=shard.first_sentence,
    )


def joined_ranges(starts: Ints, lengths: Ints) -> Ints:
    """The numbers start … start + length − 1 of every range, one range after the other."""
    ends = np.cumsum(lengths)
    numbers: Ints = np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - lengths), lengths)
    return numbers


def window_values(values: Values, neuron: Ints, start: Ints, stop: Ints, text: ShardText) -> Values:
    """Activations of the words start … stop − 1 of every entry, one entry after the other.

    ``values`` is (n, T) float32, ``neuron`` the row of it that an entry is about. Of several rows of a word
    the one that is largest in magnitude; NaN for a word without a row. Only the windows are touched, not the shard.
    """
    lengths = stop - start
    word = joined_ranges(start, lengths)
    n_rows = np.diff(text.word_edges)[word]
    row = text.by_word[joined_ranges(text.word_edges[word], n_rows)]
    gathered = values[np.repeat(np.repeat(neuron, lengths), n_rows), row]
    found = np.full(len(word), np.nan, np.float32)
    filled = np.flatnonzero(n_rows)
    if len(filled):
        first = (np.cumsum(n_rows) - n_rows)[filled]
        high, low = np.maximum.reduceat(gathered, first), np.minimum.reduceat(gathered, first)
        found[filled] = np.where(high >= -low, high, low)
    return found


class ContextsWorker:
    """Finds the contexts of one range of neurons after the other."""

    def __init__(self, store: Store, plan: Plan, stage: str) -> None:
        self.store = store
        self.plan = plan
        self.stage = stage
        self.fold = ActivationFold(store, plan)
        self.text = ShardCache(lambda shard: load_text(store, plan, shard))
        self.threads = kernel_threads(plan.config)

    def process(self, task: NeuronTask, attempt: int) -> dict[str, Any]:
        """Write the task's part of ``contexts``."""
        plan, n = self.plan, len(task.neurons)
        state = TopRows.empty(n, plan.config.contexts.k)
        for batch in self.fold.batches(task):
            row_ids = batch.selected + batch.shard.first_row
            if batch.dtype == "float32":
                state.update(batch.values(), row_ids, self.threads)
            else:
                state.update_codes(batch.codes(self.threads), row_ids, batch.dtype, self.threads)
        entries = Entries.of(state.finalize())
        for shard, chosen in self._by_shard(entries):
            text = self.text[shard]
            if plan.capture.unit == "sentence":
                entries.describe_sentences(chosen, entries.row_id[chosen] - shard.first_row, text)
            else:
                values = self.fold.floats(task, shard)
                entries.describe_words(
                    chosen, entries.row_id[chosen] - shard.first_row, text, values, plan.config.contexts.window
                )
        with self.store.staging() as staging:
            path = state_file(plan.run_id, f"{self.stage}/{task.key}.parquet")
            write_table(staging.path(path), self._columns(task, entries), TABLES["contexts"].arrow)
            self.store.commit(staging, self.stage, task.key, {"attempt": attempt})
        return {"n_rows": state.n_rows}

    def _by_shard(self, entries: Entries) -> Iterator[tuple[ShardPlan, Ints]]:
        """Entries grouped by the shard their row is in."""
        shards = [shard for shard in self.plan.shards if shard.n_rows]
        place = np.searchsorted([shard.first_row for shard in shards], entries.row_id, side="right") - 1
        for index in np.unique(place):
            yield shards[index], np.flatnonzero(place == index)

    def _columns(self, task: NeuronTask, entries: Entries) -> dict[str, Any]:
        plan, n = self.plan, len(entries.row_id)
        return {
            "run_id": [plan.run_id] * n,
            "model": [plan.model] * n,
            "component": [task.component] * n,
            "layer": np.full(n, task.layer, np.int32),
            "neuron": np.array(task.neurons, np.int32)[entries.neuron],
            **entries.columns(),
        }


class Entries:
    """Extreme rows of n neurons, ordered by neuron, tail (top first) and rank, and what is told of each."""

    def __init__(self, neuron: Ints, is_top: npt.NDArray[np.bool_], rank: Ints, row_id: Ints, value: Any) -> None:
        self.neuron, self.is_top, self.rank, self.row_id, self.value = neuron, is_top, rank, row_id, value
        n = len(row_id)
        self.document, self.sentence = np.zeros(n, np.int64), np.zeros(n, np.int64)
        self.word, self.focus = np.full(n, -1, np.int64), np.full(n, -1, np.int32)
        self.words: list[Any] = [None] * n
        self.values: list[Any] = [None] * n

    @classmethod
    def of(cls, rows: ExtremeRows) -> Entries:
        """Lay out both tails."""
        n_neurons, k = rows.top_row_ids.shape
        row_id = np.stack([rows.top_row_ids, rows.bottom_row_ids], axis=1)
        value = np.stack([rows.top_values, rows.bottom_values], axis=1)
        shape = (n_neurons, 2, k)
        return cls(
            np.broadcast_to(np.arange(n_neurons)[:, None, None], shape).ravel(),
            np.broadcast_to(np.array([True, False])[None, :, None], shape).ravel(),
            np.broadcast_to(np.arange(1, k + 1)[None, None, :], shape).ravel(),
            row_id.ravel(),
            value.ravel(),
        )

    def describe_words(self, chosen: Ints, row: Ints, text: ShardText, values: Values, window: int) -> None:
        """Words around the rows of one shard, with each word's activation."""
        word, sentence = text.row_word[row], text.row_sentence[row]
        start = np.maximum(text.sentence_start[sentence], word - window)
        stop = np.minimum(text.sentence_start[sentence + 1], word + window + 1)
        self._place(chosen, row, text)
        self.word[chosen] = word + text.first_word
        self.focus[chosen] = word - start
        found = np.split(window_values(values, self.neuron[chosen], start, stop, text), np.cumsum(stop - start)[:-1])
        for entry, low, high, part in zip(chosen, start, stop, found, strict=True):
            self.words[entry] = text.words[low:high]
            self.values[entry] = part

    def describe_sentences(self, chosen: Ints, row: Ints, text: ShardText) -> None:
        """The sentences of the rows of one shard; words have no activation of their own."""
        sentence = text.row_sentence[row]
        start = text.sentence_start[sentence]
        stop = np.minimum(text.sentence_start[sentence + 1], start + SENTENCE_WORDS)
        self._place(chosen, row, text)
        for entry, low, high in zip(chosen, start, stop, strict=True):
            self.words[entry] = text.words[low:high]
            self.values[entry] = np.full(high - low, np.nan, np.float32)

    def _place(self, chosen: Ints, row: Ints, text: ShardText) -> None:
        self.document[chosen] = text.row_document[row]
        self.sentence[chosen] = text.row_sentence[row] + text.first_sentence

    def columns(self) -> dict[str, Any]:
        """Columns of ``contexts`` from ``tail`` on."""
        lengths = np.array([len(words) for words in self.words], np.int64)
        words = np.concatenate(self.words) if self.words else np.empty(0, object)
        values = np.concatenate(self.values).astype(np.float64) if self.values else np.empty(0)
        return {
            "tail": np.where(self.is_top, "top", "bottom").tolist(),
            "rank": self.rank.astype(np.int32),
            "row_id": self.row_id,
            "value": self.value,
            "document_id": self.document,
            "sentence_id": self.sentence,
            "word_id": np.ma.masked_array(self.word, self.word < 0),
            "words": list_column(words, lengths),
            "values": list_column(np.ma.masked_invalid(values), lengths),
            "focus": np.ma.masked_array(self.focus, self.focus < 0),
        }


def contexts_stage(plan: Plan) -> str:
    """Stage name of the receipts of the parts, and key of the whole table's."""
    settings = plan.config.contexts
    chosen = {} if settings.neurons == "all" else {"neurons": settings.canonical_neurons}
    digest = fingerprint(kind="contexts", version=VERSION, k=settings.k, window=settings.window, **chosen)
    return f"contexts-{plan.run_id}-{digest[:8]}"


def contexts(plan: Plan, store: Store, executor: Executor, progress: Progress) -> int:
    """Fill ``contexts`` for the run (replacing earlier ones of it); returns the number of neurons.

    Contexts of other settings stay in the store, and are shown at once when they are asked for again. Raises
    :class:`ConfigError` for neurons that the dump does not have.
    """
    require_dump(plan, store)
    settings = plan.config.contexts
    stage = contexts_stage(plan)
    longest = max(shard.n_rows for shard in plan.shards)
    per_neuron = 16 * longest + 2 * settings.k * (2 * settings.window + 1) * 64
    memory_mb = plan.config.executor.memory_mb
    tasks = chosen_tasks(plan, per_neuron, memory_mb, settings.neurons, "contexts.neurons")
    before = store.files("contexts", plan.run_id)
    job = FoldJob(store.url, plan, stage, ContextsWorker)
    receipts = fold_tasks("contexts", stage, store, executor, progress, job, tasks)
    concat_run_table(store, plan, "contexts", stage, receipts)
    write_run_record(store, plan)
    n_neurons = sum(len(task.neurons) for task in tasks)
    summary = f"{2 * settings.k} contexts for each of {counted(n_neurons, 'neuron')}"
    if settings.neurons != "all" and before and before != store.files("contexts", plan.run_id):
        summary += ", shown in place of earlier ones; those are kept: the same command as then shows them again"
    progress.finish(summary)
    return n_neurons
