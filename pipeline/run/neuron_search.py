"""Neuron search: one fold of `ConceptHistogram` per split, scores per task, then the best neurons per concept.

A task leaves the scores of its neurons as arrays in the store; the ranking is folded from those files, so another
``keep`` costs no activation to be read.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.run.fold import (
    ActivationFold,
    Batch,
    NeuronTask,
    ShardCache,
    fold_tasks,
    kernel_threads,
    neuron_tasks,
    require_dump,
)
from pipeline.run.labelling import ConceptSet, label, planned_concepts
from pipeline.run.plan_record import Plan
from pipeline.run.progress import Progress
from pipeline.run.ranking_table import write_rankings
from pipeline.run.records import write_run_record
from pipeline.run.rounding import check_rounding
from pipeline.run.score_files import save_scores
from pipeline.run.split_labels import Positives, SplitLabels, SplitName, count_positives
from pipeline.run.work import Executor
from pipeline.search.search_states import score_block
from pipeline.stats.codes import encode_codes, round_to_bits
from pipeline.stats.concept_histogram import ConceptHistogram
from pipeline.stats.concept_moments import ConceptMoments
from pipeline.store.paths import state_file
from pipeline.store.store import Store
from schemas.amounts import counted
from schemas.errors import ConceptError, ConfigError, IntegrityError
from schemas.fingerprints import fingerprint

#: Raised whenever the same states would give other scores.
VERSION = 1


@dataclass(frozen=True)
class SearchJob:
    """Recipe of a search worker: the concepts by name, and their positive rows per split."""

    store_url: str
    plan: Plan
    stage: str
    labels: str
    """Stage of the label receipts: the workers read these files, whatever the manifest says meanwhile."""
    concepts: tuple[str, ...]
    splits: dict[SplitName, tuple[int, ...]]

    @property
    def selection(self) -> SplitName:
        """The split that neurons are selected on."""
        return "train" if "train" in self.splits else "all"

    def open(self) -> SearchWorker:
        """Make the worker."""
        return SearchWorker(Store.open(self.store_url).pinned(), self)


class SearchWorker:
    """Scores one range of neurons after the other for all concepts."""

    def __init__(self, store: Store, job: SearchJob) -> None:
        self.store = store
        self.job = job
        self.fold = ActivationFold(store, job.plan)
        self.labels = ShardCache(SplitLabels(store, job.plan, job.labels, job.concepts).load)
        self.threads = kernel_threads(job.plan.config)
        self.is_rounded = job.plan.capture.value_dtype == "float32"
        self.dtype = (job.plan.config.search.round_to or "") if self.is_rounded else job.plan.capture.value_dtype

    def process(self, task: NeuronTask, attempt: int) -> dict[str, Any]:
        """Fold the states of every split, score, and leave the scores in the store."""
        job, n = self.job, len(task.neurons)
        histograms = {
            split: ConceptHistogram.empty(n, len(job.concepts), self.dtype, np.array(n_pos, np.int64))
            for split, n_pos in job.splits.items()
        }
        moments = {split: ConceptMoments.empty(n, len(job.concepts)) for split in job.splits} if self.is_rounded else {}
        n_rows = 0
        for batch in self.fold.batches(task):
            n_rows += len(batch.selected)
            self._update(batch, histograms, moments)
        for split, n_pos in job.splits.items():
            if histograms[split].n_pos.tolist() != list(n_pos):
                raise IntegrityError(f"{task.key}: the labels changed while the search ran; start it again")
        search = job.plan.config.search
        scores = score_block(
            histograms[job.selection],
            histograms.get("test"),
            train_moments=moments.get(job.selection),
            test_moments=moments.get("test"),
            methods=search.methods,
            alpha=search.alpha,
            threads=self.threads,
        )
        with self.store.staging() as staging:
            save_scores(staging.path(state_file(job.plan.run_id, f"{job.stage}/{task.key}.npz")), scores)
            self.store.commit(staging, job.stage, task.key, {"attempt": attempt})
        return {"n_rows": n_rows}

    def _update(
        self, batch: Batch, histograms: dict[SplitName, ConceptHistogram], moments: dict[SplitName, ConceptMoments]
    ) -> None:
        """Feed one shard to the states of every split."""
        shard = self.labels[batch.shard]
        codes = (
            encode_codes(round_to_bits(batch.values(), self.dtype), self.dtype) if self.is_rounded else batch.codes()
        )
        for split, histogram in histograms.items():
            rows, labels = shard.rows[split], shard.labels[split]
            whole = len(rows) == codes.shape[1]
            histogram.update(codes if whole else np.take(codes, rows, axis=1), labels, self.threads)
            if moments:
                moments[split].update(np.take(batch.values(), rows, axis=1), labels, self.threads)


def search(plan: Plan, store: Store, executor: Executor, progress: Progress) -> int:
    """Fill ``rankings`` for the run (replacing an earlier search of it); returns the number of rows.

    Raises :class:`ConceptError` for concepts that are not there, :class:`ConfigError` for a float32 store without
    ``search.round_to``.
    """
    check_rounding(plan.config, f"neuronmill search --store {shlex.quote(store.url)} --model {plan.model}")
    require_dump(plan, store)
    settings = plan.config.search
    concept_set = label(plan, store, executor, progress)
    positives = count_positives(store, plan, concept_set)
    job = _search_job(plan, store, concept_set, positives)
    names, tasks, key = job.concepts, _tasks(plan, job), _table_key(plan, concept_set, job)
    receipts = fold_tasks("search", job.stage, store, executor, progress, job, tasks)
    n_rows = write_rankings(plan, store, job.selection, names, tasks, receipts, key)
    write_run_record(store, plan)
    n_neurons = sum(len(task.neurons) for task in tasks)
    remarks = [positives.remark] if positives.remark else []
    if settings.concepts is None and len(names) < len(concept_set.names):
        n_left = len(concept_set.names) - len(names)
        remarks.append(f"{counted(n_left, 'concept')} with too few positive rows to select on left out")
    sizes = f"{counted(len(names), 'concept')} × {counted(n_neurons, 'neuron')}, {counted(n_rows, 'ranking')}"
    progress.finish("; ".join([sizes, *remarks]))
    return n_rows


def search_stage(plan: Plan, store: Store) -> tuple[str, str]:
    """Stage name of the receipts of a search's parts, and key of those of its tables.

    Reads the labels, which have to be there; raises as :func:`search` for settings that leave nothing to search.
    """
    concept_set = planned_concepts(plan, store)
    job = _search_job(plan, store, concept_set, count_positives(store, plan, concept_set))
    return job.stage, _table_key(plan, concept_set, job)


def _search_job(plan: Plan, store: Store, concept_set: ConceptSet, positives: Positives) -> SearchJob:
    """The workers' recipe for the concepts that the plan's settings choose."""
    names = _choose(concept_set.names, positives.selection, plan)
    chosen = [concept_set.names.index(name) for name in names]
    return _job(plan, store, concept_set, names, {split: n_pos[chosen] for split, n_pos in positives.splits.items()})


def _table_key(plan: Plan, concept_set: ConceptSet, job: SearchJob) -> str:
    return f"{concept_set.id}-{job.stage.rpartition('-')[2]}-{plan.config.search.keep}"


def _job(
    plan: Plan, store: Store, concept_set: ConceptSet, names: list[str], splits: dict[SplitName, npt.NDArray[np.int64]]
) -> SearchJob:
    """The workers' recipe; its stage is named by everything that decides a score."""
    settings = plan.config.search
    digest = fingerprint(
        kind="search",
        version=VERSION,
        run=plan.run_id,
        labels=concept_set.id,
        concepts=names,
        methods=settings.methods,
        alpha=settings.alpha,
        round_to=settings.round_to,
        keep={"components": settings.components, "layers": settings.layers},
    )
    counts = {split: tuple(n_pos.tolist()) for split, n_pos in splits.items()}
    return SearchJob(store.url, plan, f"search-{plan.run_id}-{digest[:12]}", concept_set.stage, tuple(names), counts)


def _tasks(plan: Plan, job: SearchJob) -> list[NeuronTask]:
    """The neurons to score; raises :class:`ConfigError` where the settings leave none."""
    settings = plan.config.search
    counts = [np.array(n_pos, np.int64) for n_pos in job.splits.values()]
    tasks = neuron_tasks(
        plan,
        sum(ConceptHistogram.bytes_per_neuron(n_pos) for n_pos in counts),
        plan.config.executor.memory_mb,
        lambda component, layer: (
            (settings.components is None or component in settings.components)
            and (settings.layers is None or layer in settings.layers)
        ),
    )
    if not tasks:
        raise ConfigError(
            "search.components, search.layers: nothing of the dump is left by "
            f"{', '.join(settings.components or ['all'])}, {settings.layers or 'all'}; "
            f"it has layers {', '.join(map(str, plan.capture.all_layers))} of {', '.join(plan.capture.components)}"
        )
    return tasks


def _choose(names: list[str], n_pos: npt.NDArray[np.int64], plan: Plan) -> list[str]:
    """The concepts asked for that have enough positives to select on."""
    settings = plan.config.search
    unknown = [name for name in settings.concepts or () if name not in names]
    if unknown:
        raise ConceptError(
            f"search.concepts: {unknown[0]!r} is not a concept of this store; it has {', '.join(names[:20])}"
            + (" …" if len(names) > 20 else "")
        )
    chosen = [
        name
        for name, n in zip(names, n_pos.tolist(), strict=True)
        if n >= settings.min_positives and (settings.concepts is None or name in settings.concepts)
    ]
    missed = [name for name in settings.concepts or () if name not in chosen]
    if missed:
        raise ConceptError(
            f"search.concepts: {missed[0]!r} has {n_pos[names.index(missed[0])]} positive rows to select on, fewer "
            f"than search.min_positives {settings.min_positives}; drop it or lower that"
        )
    if not chosen:
        raise ConceptError(
            f"search: none of {len(names)} concepts has {settings.min_positives} positive rows to select on; "
            "lower search.min_positives or add concepts"
        )
    return chosen
