"""Top words: the word types with the highest and lowest shrunken mean activation of every neuron, into ``top_words``.

First the words are counted, without activations: the vocabulary is what occurs often enough, and its size decides how
many neurons one task takes. Then one fold of `WordMoments`.
"""

from __future__ import annotations

from collections import Counter
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
from pipeline.stats.top_rows import TopRows
from pipeline.stats.word_moments import WordMoments, WordRows, shrunken_means
from pipeline.store.parquet import write_table
from pipeline.store.paths import state_file
from pipeline.store.store import Store
from schemas.amounts import counted, human_bytes
from schemas.errors import ConfigError
from schemas.fingerprints import fingerprint
from schemas.tables import TABLES
from schemas.word_tables import VOCABULARY

#: Raised whenever the same activations would give other words.
VERSION = 1
#: Key of the receipt of the vocabulary, beside those of the tasks.
_VOCABULARY = "vocabulary"
#: Memory of a neuron's state per word type: n, mean and M2 of the corpus, then of a batch or as answers and scores.
_STATE_BYTES = 40
#: Memory of a word type in a worker: the word, and its place in the vocabulary.
_WORD_BYTES = 200

Ints = npt.NDArray[np.int64]


class ShardWords:
    """The words of a shard's counted rows."""

    def __init__(self, store: Store, plan: Plan) -> None:
        self.store, self.plan = store, plan

    def load(self, shard: ShardPlan) -> tuple[npt.NDArray[np.object_], Ints]:
        """Word types of all words of the shard (objects), and for each counted row its word's number (−1: none)."""
        words = self.store.read_table(self.store.files("words", shard=shard.shard), ["word_id", "word"])
        files = self.store.files("rows", self.plan.row_space, shard=shard.shard)
        rows = self.store.read_table(files, ["word_id", "is_counted"])
        first_word = int(words["word_id"][0].as_py()) if len(words) else 0
        row_word = rows["word_id"].fill_null(-1).to_numpy()[rows["is_counted"].to_numpy()]
        texts = words["word"].to_pylist()
        if self.plan.config.top_words.ignore_case:
            texts = [text.lower() for text in texts]
        return np.array(texts, dtype=object), np.where(row_word >= 0, row_word - first_word, -1)


class TopWordsWorker:
    """Finds the top words of one range of neurons after the other."""

    def __init__(self, store: Store, plan: Plan, stage: str) -> None:
        self.store, self.plan, self.stage = store, plan, stage
        self.fold = ActivationFold(store, plan)
        self.threads = kernel_threads(plan.config)
        self.vocabulary = _read_vocabulary(store, stage)
        self._types = {word: number for number, word in enumerate(self.vocabulary)}
        self._shard_words = ShardWords(store, plan)
        self.words = ShardCache(self._load)

    def _load(self, shard: ShardPlan) -> WordRows:
        texts, row_words = self._shard_words.load(shard)
        types = np.fromiter((self._types.get(text, -1) for text in texts), np.int64, len(texts))
        return WordRows.of(row_words, types)

    def process(self, task: NeuronTask, attempt: int) -> dict[str, Any]:
        """Write the task's part of ``top_words``."""
        state = WordMoments.empty(len(task.neurons), len(self.vocabulary))
        for batch in self.fold.batches(task):
            state.update(batch.values(), self.words[batch.shard], self.threads)
        with self.store.staging() as staging:
            path = state_file(self.plan.run_id, f"{self.stage}/{task.key}.parquet")
            write_table(staging.path(path), self._columns(task, state), TABLES["top_words"].arrow)
            self.store.commit(staging, self.stage, task.key, {"attempt": attempt})
        return {"n_rows": int(state.n_words.sum())}

    def _columns(self, task: NeuronTask, state: WordMoments) -> dict[str, Any]:
        settings, means = self.plan.config.top_words, state.finalize()
        shrinkage = None if settings.shrinkage == "auto" else float(settings.shrinkage)
        scores = shrunken_means(means, shrinkage)
        best = (
            TopRows.empty(len(scores), settings.k).update(scores, np.arange(scores.shape[1]), self.threads).finalize()
        )
        word = np.stack([best.top_row_ids, best.bottom_row_ids], axis=1)
        shape = word.shape
        neuron, tail, rank = (index.ravel() for index in np.indices(shape))
        word = word.ravel()
        n = len(word)
        ratio = means.variance_ratio if shrinkage is None else np.full(len(scores), shrinkage)
        return {
            "run_id": [self.plan.run_id] * n,
            "model": [self.plan.model] * n,
            "component": [task.component] * n,
            "layer": np.full(n, task.layer, np.int32),
            "neuron": np.array(task.neurons, np.int32)[neuron],
            "tail": np.where(tail == 0, "top", "bottom").tolist(),
            "rank": (rank + 1).astype(np.int32),
            "word": [self.vocabulary[number] for number in word.tolist()],
            "score": scores[neuron, word],
            "mean": means.mean[neuron, word],
            "standard_error": np.ma.masked_invalid(means.standard_error[neuron, word]),
            "n_words": means.n_words[word],
            "neuron_mean": means.neuron_mean[neuron],
            "shrinkage": ratio[neuron],
        }


def words_stage(plan: Plan) -> str:
    """Stage name of the receipts of the parts, and key of the whole table's."""
    settings = plan.config.top_words.model_dump(mode="json") | {"neurons": plan.config.top_words.canonical_neurons}
    return f"words-{plan.run_id}-{fingerprint(kind='top_words', version=VERSION, **settings)[:8]}"


def top_words(plan: Plan, store: Store, executor: Executor, progress: Progress) -> int:
    """Fill ``top_words`` for the run (replacing earlier ones of it); returns the number of neurons.

    Raises :class:`ConfigError` for a dump by sentences, and where no word occurs often enough.
    """
    if plan.capture.unit == "sentence":
        raise ConfigError("top words are of tokens or words, and this dump has one row per sentence (dump.unit)")
    require_dump(plan, store)
    settings, stage = plan.config.top_words, words_stage(plan)
    n_types = count_words(plan, store, stage, progress)
    longest = max(shard.n_rows for shard in plan.shards)
    per_neuron = _STATE_BYTES * (n_types + 1) + 16 * longest
    tasks = chosen_tasks(plan, per_neuron, _state_memory(plan, n_types), settings.neurons, "top_words.neurons")
    job = FoldJob(store.url, plan, stage, TopWordsWorker)
    receipts = fold_tasks("words", stage, store, executor, progress, job, tasks)
    concat_run_table(store, plan, "top_words", stage, receipts)
    write_run_record(store, plan)
    n_neurons = sum(len(task.neurons) for task in tasks)
    progress.finish(
        f"{2 * min(settings.k, n_types)} of {counted(n_types, 'word type')} for each of {counted(n_neurons, 'neuron')}"
    )
    return n_neurons


def _state_memory(plan: Plan, n_types: int) -> int:
    """MB that the vocabulary leaves of ``executor.memory_mb``; :class:`ConfigError` if no state fits into them."""
    memory, needed = plan.config.executor.memory_mb * 2**20, _WORD_BYTES * n_types
    if memory < needed + _STATE_BYTES * (n_types + 1):
        raise ConfigError(
            f"executor.memory_mb: {counted(n_types, 'word type')} take {human_bytes(needed)} and one neuron's state "
            f"{human_bytes(_STATE_BYTES * n_types)}; raise it, or top_words.min_count"
        )
    return (memory - needed) // 2**20


def count_words(plan: Plan, store: Store, stage: str, progress: Progress) -> int:
    """Write the vocabulary of the stage if it is not there yet; returns the number of word types."""
    receipt = store.receipt(stage, _VOCABULARY)
    if receipt is not None:
        return sum(file.n_rows for file in receipt.files)
    counts: Counter[str] = Counter()
    words = ShardWords(store, plan)
    progress.start("words", len(plan.shards), "shards")
    for shard in plan.shards:
        if shard.n_rows:
            texts, row_words = words.load(shard)
            counts.update(texts[np.unique(row_words[row_words >= 0])].tolist())
        progress.advance()
    min_count = plan.config.top_words.min_count
    kept = sorted(word for word, n in counts.items() if n >= min_count)
    if not kept:
        raise ConfigError(f"top_words.min_count: none of {len(counts):,} words occurs {min_count} times; lower it")
    with store.staging() as staging:
        columns = {"word": kept, "n_words": np.array([counts[word] for word in kept], np.int64)}
        path = state_file(plan.run_id, f"{stage}/{_VOCABULARY}.parquet")
        write_table(staging.path(path), columns, VOCABULARY.arrow)
        store.commit(staging, stage, _VOCABULARY)
    return len(kept)


def _read_vocabulary(store: Store, stage: str) -> list[str]:
    """The words of the vocabulary, sorted."""
    receipt = store.receipt(stage, _VOCABULARY)
    if receipt is None:
        raise ConfigError(f"{stage}: its vocabulary is gone; start `neuronmill words` again")
    words: list[str] = store.read_table(receipt.files, ["word"])["word"].to_pylist()
    return words
