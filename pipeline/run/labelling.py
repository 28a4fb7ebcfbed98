"""Labelling: concepts compiled once to sparse masks, shard by shard, in a table of their own.

A concept set is identified by its definitions and the row space. Words carry concepts; rows take them over through
``word_id`` (``label_on`` says which tokens of a word); at sentence unit a sentence takes those of all its words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline.corpus.concepts import Concept, require_positives, resolve_concepts
from pipeline.corpus.labels import label_rows
from pipeline.corpus.summary import CorpusSummary
from pipeline.corpus.word_masks import WordMasks
from pipeline.run.corpus_record import load_corpus_record
from pipeline.run.failures import FailureLog
from pipeline.run.plan_record import Plan
from pipeline.run.plans import load_plan, planned_models
from pipeline.run.progress import Progress
from pipeline.run.work import Executor, Outcome, run_tasks
from pipeline.store.parquet import dictionary_column, write_table
from pipeline.store.paths import concepts_file, labels_file
from pipeline.store.predicates import evaluate_predicate
from pipeline.store.receipts import FileEntry
from pipeline.store.store import Store
from pipeline.store.word_tables import ShardWords, read_shard_words
from schemas.amounts import counted
from schemas.config import ConceptsConfig
from schemas.errors import ConceptError, QueryError
from schemas.fingerprints import fingerprint
from schemas.tables import TABLES, words_schema

#: Raised whenever the same definitions would label other rows.
VERSION = 1


@dataclass(frozen=True)
class ConceptSet:
    """Resolved concepts over a row space; ``id`` is the fingerprint of the definitions in order and of the rows."""

    id: str
    concepts: tuple[Concept, ...]

    @property
    def names(self) -> list[str]:
        """Concept names, in the order of their indices."""
        return [concept.name for concept in self.concepts]

    @property
    def stage(self) -> str:
        """Stage name of its receipts."""
        return f"labels-{self.id}"


def planned_concepts(plan: Plan, store: Store) -> ConceptSet:
    """The concepts of the plan's config over the store's corpus, resolved to values, patterns and predicates."""
    concepts = resolve_concepts(plan.config.concepts, load_corpus_record(store).summary)
    definitions = [{**asdict(concept), "values": sorted(concept.values)} for concept in concepts]
    digest = fingerprint(kind="concepts", version=VERSION, rows=plan.row_space, concepts=definitions)
    return ConceptSet(digest[:12], tuple(concepts))


def check_concepts(config: ConceptsConfig, summary: CorpusSummary) -> None:
    """Resolve every concept and try every predicate on no words, so that a wrong one costs no work.

    Raises :class:`ConceptError` naming the key.
    """
    resolve_concepts(config, summary)
    words = words_schema(tuple(sorted(summary.layers))).empty_table()
    for index, item in enumerate(config.include):
        if item.sql is not None:
            try:
                evaluate_predicate(item.sql, words, config.sql_seconds)
            except QueryError as error:
                raise ConceptError(f"concepts.include[{index}].sql ({item.name}): {error}") from error


@dataclass(frozen=True)
class LabelTask:
    """One shard to label."""

    shard: int

    @property
    def key(self) -> str:
        """Receipt key."""
        return f"shard-{self.shard:05d}"


@dataclass(frozen=True)
class LabelJob:
    """Recipe of a labelling worker."""

    store_url: str
    row_space: str
    unit: str
    concept_set: ConceptSet
    sql_seconds: float

    def open(self) -> LabelWorker:
        """Make the worker."""
        return LabelWorker(Store.open(self.store_url).pinned(), self)


class LabelWorker:
    """Compiles every concept on one shard after the other."""

    def __init__(self, store: Store, job: LabelJob) -> None:
        self.store = store
        self.job = job

    def process(self, task: LabelTask, attempt: int) -> dict[str, Any]:
        """Write the labels of one shard; facts: counted rows and words per concept."""
        job, store = self.job, self.store
        concepts = job.concept_set.concepts
        with_documents = any(concept.kind == "document" for concept in concepts)
        words = read_shard_words(store, task.shard, document_labels=with_documents)
        masks = self._masks(words)
        rows = store.read_table(store.files("rows", job.row_space, shard=task.shard))
        row_ids = rows["row_id"].to_numpy()
        by_sentence = {
            "row_sentence": rows["sentence_id"].to_numpy() - words.first_sentence,
            "word_sentence": words.sentence_id - words.first_sentence,
        }
        row, concept = label_rows(
            rows["word_id"].fill_null(-1).to_numpy() - words.first_word,
            rows["is_counted"].to_numpy(),
            concepts,
            masks,
            **(by_sentence if job.unit == "sentence" else {}),
        )
        columns = {"row_id": row_ids[row], "concept": dictionary_column(concept, job.concept_set.names)}
        facts = {
            "attempt": attempt,
            "n_rows": np.bincount(concept, minlength=len(concepts)).tolist(),
            "n_words": [int(mask.sum()) for mask in masks],
        }
        with store.staging() as staging:
            path = labels_file(job.row_space, job.concept_set.id, task.shard)
            write_table(staging.path(path), columns, TABLES["labels"].arrow)
            store.commit(staging, job.concept_set.stage, task.key, facts)
        return facts

    def _masks(self, words: ShardWords) -> list[Any]:
        """One boolean mask over the shard's words per concept."""
        by_value = WordMasks(words.columns, words.sentence_labels, words.document_labels)
        return [
            by_value.mask(concept) if concept.sql is None else self._evaluate(concept, words)
            for concept in self.job.concept_set.concepts
        ]

    def _evaluate(self, concept: Concept, words: ShardWords) -> Any:
        try:
            return evaluate_predicate(str(concept.sql), words.table, self.job.sql_seconds)
        except QueryError as error:
            raise ConceptError(f"concept {concept.name!r}: {error}") from error


def label(plan: Plan, store: Store, executor: Executor, progress: Progress) -> ConceptSet:
    """Compile the plan's concepts on every shard that lacks them, and show `labels` and `concepts` to readers.

    Raises :class:`~schemas.errors.ConceptError` for a concept that holds for no counted row, or that another model of
    the store defines otherwise.
    """
    check_concepts(plan.config.concepts, load_corpus_record(store).summary)
    concept_set = planned_concepts(plan, store)
    others = _other_sets(plan, store, concept_set)
    finished = store.receipts(concept_set.stage)
    tasks = [task for shard in plan.shards if (task := LabelTask(shard.shard)).key not in finished]
    if tasks:
        progress.start("label", len(plan.shards), "shards", len(finished))
        job = LabelJob(store.url, plan.row_space, plan.capture.unit, concept_set, plan.config.concepts.sql_seconds)

        def on_success(_: Outcome) -> None:
            progress.advance()

        run_tasks("label", FailureLog(store, concept_set.stage), executor, job, tasks, on_success)
    n_rows, n_words = _totals(store, concept_set)
    # a sample may miss what is rare in the corpus: the search leaves such a concept out
    found = n_rows if plan.capture.sample is None else n_words
    require_positives(concept_set.concepts, found.tolist())
    _register(plan, store, concept_set, others, n_rows, n_words)
    if tasks:
        progress.finish(f"{counted(len(concept_set.concepts), 'concept')}, {counted(int(n_rows.sum()), 'label')}")
    return concept_set


def _other_sets(plan: Plan, store: Store, concept_set: ConceptSet) -> set[str]:
    """Concept sets of the other models on the same rows; one name must not mean two things in one store."""
    sets = set()
    for alias in planned_models(store):
        other = load_plan(store, alias)
        if alias == plan.model or other.row_space != plan.row_space:
            continue
        theirs = planned_concepts(other, store)
        known = {concept.name: concept for concept in theirs.concepts}
        for concept in concept_set.concepts:
            if known.get(concept.name, concept) != concept:
                raise ConceptError(
                    f"concepts.include: {concept.name!r} is {concept.definition!r} here and "
                    f"{known[concept.name].definition!r} for model {alias!r} of the same store; rename one of them"
                )
        sets.add(theirs.id)
    return sets


def _totals(store: Store, concept_set: ConceptSet) -> tuple[Any, Any]:
    """Counted rows and words per concept over all shards."""
    totals = np.zeros((2, len(concept_set.concepts)), np.int64)
    for receipt in store.receipts(concept_set.stage).values():
        totals += np.array([receipt.facts["n_rows"], receipt.facts["n_words"]], np.int64).reshape(totals.shape)
    return totals[0], totals[1]


def _register(plan: Plan, store: Store, concept_set: ConceptSet, others: set[str], n_rows: Any, n_words: Any) -> None:
    """Write the concepts table, and put it and the labels into the manifest.

    Sets that no model uses any more leave it, and so do this run's rankings and explanations by another set: what
    readers see fits together.
    """
    concepts: Sequence[Concept] = concept_set.concepts
    columns = {
        "concept": concept_set.names,
        "kind": [concept.kind for concept in concepts],
        "layer": [concept.layer for concept in concepts],
        "value": [concept.value for concept in concepts],
        "definition": [concept.definition for concept in concepts],
        "label_on": [concept.label_on for concept in concepts],
        "n_words": n_words,
        "n_rows": n_rows,
    }
    with store.staging() as staging:
        path = concepts_file(plan.row_space, concept_set.id)
        write_table(staging.path(path), columns, TABLES["concepts"].arrow)
        receipt = store.commit(staging, f"concepts-{plan.row_space}", concept_set.id)
    labels = tuple(file for done in store.receipts(concept_set.stage).values() for file in done.files)
    changes: dict[tuple[str, str], tuple[FileEntry, ...]] = {
        ("concepts", concept_set.id): receipt.files,
        ("labels", concept_set.id): labels,
    }
    manifest = store.manifest()
    for table in ("labels", "concepts"):
        for scope in manifest.scopes(table):
            on_these_rows = all(file.rows == plan.row_space for file in manifest.files(table, scope))
            if on_these_rows and scope not in {concept_set.id, *others}:
                changes[table, scope] = ()
    for table in ("rankings", "layer_bests", "null_checks", "explanations"):
        kept = [file for file in manifest.files(table, plan.run_id) if f"/{concept_set.id}-" in file.path]
        changes[table, plan.run_id] = tuple(kept)
    store.advance_all(changes)
