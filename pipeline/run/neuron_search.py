"""Neuron search: up to two folds over activations, then the best neurons per concept and method.

The methods by means need one fold, those by thresholds another; each leaves its results in the store
(:mod:`pipeline.run.search_workers`), and the rankings are folded from these.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pipeline.corpus.concepts import Concept
from pipeline.run.fold import NeuronTask, fold_tasks, neuron_tasks, require_dump
from pipeline.run.labelling import ConceptSet, label, planned_concepts
from pipeline.run.null_check import null_checks
from pipeline.run.plan_record import Plan
from pipeline.run.progress import Progress
from pipeline.run.ranking_table import RankingFold, write_rankings
from pipeline.run.records import write_run_record, write_run_table
from pipeline.run.score_files import LayersFile, MomentsFile, ScoreFile
from pipeline.run.search_rows import Positives, RowRule, SplitName, count_positives
from pipeline.run.search_workers import Kind, SearchJob
from pipeline.run.work import Executor
from pipeline.search.mean_methods import MEAN_METHODS
from pipeline.store.receipts import Receipt
from pipeline.store.store import Store
from schemas.amounts import counted
from schemas.errors import ConceptError, ConfigError
from schemas.fingerprints import fingerprint

#: Raised whenever the same activations would give other scores.
VERSION = 2
#: The tables of a search.
SEARCH_TABLES = ("rankings", "layer_bests", "null_checks")


@dataclass(frozen=True, eq=False)
class SearchPlan:
    """What a search does: its folds, and whom it ranks."""

    jobs: dict[Kind, SearchJob]
    concepts: tuple[Concept, ...]
    """Those that are ranked; the first of every job's."""
    classes: tuple[Concept, ...]
    """Those that only `probeless` needs: the other classes of the same label layers."""
    remarks: tuple[str, ...]

    @property
    def stages(self) -> tuple[str, ...]:
        """Stage names of the receipts of the folds."""
        return tuple(job.stage for job in self.jobs.values())

    @property
    def layers(self) -> dict[str, npt.NDArray[np.int64]]:
        """The classes of each label layer that has several, as indices; by the layer's name in concepts."""
        found: dict[str, list[int]] = {}
        for index, concept in enumerate((*self.concepts, *self.classes)):
            if concept.layer is not None:
                found.setdefault(_layer_name(concept), []).append(index)
        return {name: np.array(indices) for name, indices in found.items() if len(indices) > 1}


@dataclass(frozen=True, eq=False)
class Searches:
    """A search, and the same one of shuffled labels where that is asked for."""

    real: SearchPlan
    shuffled: SearchPlan | None
    key: str
    """Names the tables: everything that decides them."""

    @property
    def stages(self) -> tuple[str, ...]:
        """Stage names of the receipts of all folds."""
        return (*self.real.stages, *(self.shuffled.stages if self.shuffled else ()))


def search(plan: Plan, store: Store, executor: Executor, progress: Progress) -> int:
    """Fill ``rankings`` for the run (replacing an earlier search of it); returns the number of rows.

    Raises :class:`ConceptError` for concepts that are not there, :class:`ConfigError` for settings that leave nothing.
    """
    require_dump(plan, store)
    searches = _searches(plan, store, label(plan, store, executor, progress))
    what, seed = searches.real, plan.config.search.null
    # everything is computed before a table changes, so that none of them is of another search than the others
    rankings, checks = _fold(plan, store, executor, progress, what), None
    if searches.shuffled is not None and seed is not None:
        null = _fold(plan, store, executor, progress, searches.shuffled)
        checks = null_checks(plan, rankings, null, seed)
    remarks = list(what.remarks)
    store.advance("null_checks", plan.run_id, ())
    n_rows = write_rankings(plan, store, rankings, searches.key)
    if checks is not None:
        write_run_table(store, plan, "null_checks", checks, searches.key)
        remarks.append("beside shuffled labels in `null_checks`")
    write_run_record(store, plan)
    n_neurons = sum(len(task.neurons) for task in rankings[0].tasks)
    sizes = f"{counted(len(what.concepts), 'concept')} × {counted(n_neurons, 'neuron')}, {counted(n_rows, 'ranking')}"
    progress.finish("; ".join([sizes, *remarks]))
    return n_rows


def _fold(plan: Plan, store: Store, executor: Executor, progress: Progress, what: SearchPlan) -> list[RankingFold]:
    """Do what has no receipt of the folds, and open their results."""
    folds: dict[Kind, list[NeuronTask]] = {}
    receipts: dict[Kind, list[Receipt]] = {}
    for kind, job in what.jobs.items():
        folds[kind] = _tasks(plan, job)
        stage = "search" if job.rule.shuffle is None else "search of shuffled labels"
        receipts[kind] = fold_tasks(stage, job.stage, store, executor, progress, job, folds[kind])
    return list(_rankings(plan, store, what, folds, receipts))


def search_stages(plan: Plan, store: Store) -> tuple[tuple[str, ...], str]:
    """Stage names of the receipts of a search's folds, and key of those of its tables.

    Reads the labels, which have to be there; raises as :func:`search` for settings that leave nothing to search.
    """
    searches = _searches(plan, store, planned_concepts(plan, store))
    return searches.stages, searches.key


def _searches(plan: Plan, store: Store, concept_set: ConceptSet) -> Searches:
    """What the plan's settings come to."""
    rule, seed = RowRule.of(plan), plan.config.search.null
    positives = count_positives(store, plan, concept_set, rule)  # shuffling inside sentences leaves them as they are
    real = _search_plan(plan, store, concept_set, rule, positives)
    searches = Searches(real, None, "")
    if seed is not None:
        shuffled = _search_plan(plan, store, concept_set, replace(rule, shuffle=seed), positives)
        searches = replace(searches, shuffled=shuffled)
    settings = fingerprint(kind="rankings", settings=plan.config.search.model_dump(mode="json"))[:12]
    # the states stay as long as a table whose key names them
    key = "-".join([concept_set.id, *(stage.rpartition("-")[2] for stage in searches.stages), settings])
    return replace(searches, key=key)


def _search_plan(plan: Plan, store: Store, concept_set: ConceptSet, rule: RowRule, positives: Positives) -> SearchPlan:
    """What the plan's settings come to, over the rows of ``rule``."""
    settings = plan.config.search
    names = _choose(concept_set.names, positives.selection, plan)
    concepts = tuple(concept for concept in concept_set.concepts if concept.name in set(names))
    classes = _other_classes(concept_set, concepts) if "probeless" in settings.methods else ()
    folded: dict[Kind, tuple[Concept, ...]] = {"means": (*concepts, *classes), "thresholds": concepts}
    jobs = {
        kind: _job(plan, store, kind, rule, concept_set, positives, chosen)
        for kind, chosen in folded.items()
        if methods_of(kind, settings.methods)
    }
    remarks = [positives.remark] if positives.remark else []
    if settings.concepts is None and len(names) < len(concept_set.names):
        n_left = len(concept_set.names) - len(names)
        remarks.append(f"{counted(n_left, 'concept')} with too few positive rows to select on left out")
    return SearchPlan(jobs, concepts, classes, tuple(remarks))


def _job(
    plan: Plan,
    store: Store,
    kind: Kind,
    rule: RowRule,
    concept_set: ConceptSet,
    positives: Positives,
    concepts: tuple[Concept, ...],
) -> SearchJob:
    """A fold's recipe; its stage is named by everything that decides a state, and by no method."""
    names = [concept.name for concept in concepts]
    index = {name: place for place, name in enumerate(concept_set.names)}
    chosen = [index[name] for name in names]
    splits: dict[SplitName, tuple[int, ...]] = {
        split: tuple(n_pos[chosen].tolist()) for split, n_pos in positives.splits.items()
    }
    search = plan.config.search
    cuts = {"alpha": search.alpha, "threshold": search.threshold, "intervals": search.intervals}
    digest = fingerprint(
        kind=f"search by {kind}",
        version=VERSION,
        run=plan.run_id,
        labels=concept_set.id,
        concepts=names,
        rows=[rule.unit, rule.pooling, rule.shuffle],
        cuts=cuts | {"round_to": search.round_to, "device": search.device} if kind == "thresholds" else {},
    )
    stage = f"search-{plan.run_id}-{kind}-{digest[:12]}"
    return SearchJob(store.url, plan, kind, stage, concept_set.stage, rule, tuple(names), splits, positives.n_rows)


def _other_classes(concept_set: ConceptSet, chosen: tuple[Concept, ...]) -> tuple[Concept, ...]:
    """The concepts that share a label layer with a chosen one and are not chosen."""
    layers = {_layer_name(concept) for concept in chosen if concept.layer is not None}
    return tuple(
        concept
        for concept in concept_set.concepts
        if concept.layer is not None and _layer_name(concept) in layers and concept not in chosen
    )


def _layer_name(concept: Concept) -> str:
    """What stands before ``=value`` in the name of a concept that is a value of a layer."""
    return concept.name.removesuffix(f"={concept.value}")


def _rankings(
    plan: Plan,
    store: Store,
    what: SearchPlan,
    folds: dict[Kind, list[NeuronTask]],
    receipts: dict[Kind, list[Receipt]],
) -> Iterator[RankingFold]:
    """The rankings of both kinds of methods, and those of whole label layers by `probeless`."""
    n, layers = len(what.concepts), what.layers
    layer_of = np.full(n + len(what.classes), -1)
    for number, classes in enumerate(layers.values()):
        layer_of[classes] = number
    for kind, job in what.jobs.items():
        paths = [receipt.files[0].path for receipt in receipts[kind]]
        methods = methods_of(kind, plan.config.search.methods)
        n_pos = np.array(job.splits[job.selection], np.int64)
        moments = [MomentsFile(store, path, n, layer_of) for path in paths] if kind == "means" else []
        base = RankingFold(
            plan,
            job.selection,
            methods,
            [concept.name for concept in what.concepts],
            folds[kind],
            moments or [ScoreFile(store, path) for path in paths],
            job.n_rows[job.selection],
            n_pos[:n],
        )
        yield base
        if "probeless" in methods and layers:
            yield replace(
                base,
                methods=("probeless",),
                concepts=[f"{name}=*" for name in layers],
                files=[LayersFile(file, tuple(layers.values())) for file in moments],
                n_pos=np.array([n_pos[classes].sum() for classes in layers.values()]),
                has_test=False,
            )


def methods_of(kind: Kind, methods: Sequence[str]) -> tuple[str, ...]:
    """Those of ``methods`` that the fold of a kind serves."""
    return tuple(method for method in methods if (method in MEAN_METHODS) == (kind == "means"))


def _tasks(plan: Plan, job: SearchJob) -> list[NeuronTask]:
    """The neurons to score; raises :class:`ConfigError` where the settings leave none."""
    settings = plan.config.search
    tasks = neuron_tasks(
        plan,
        job.bytes_per_neuron(),
        max(16, plan.config.executor.memory_mb - job.fixed_bytes() // 2**20),
        lambda component, layer: (
            (settings.components is None or component in settings.components)
            and (settings.layers is None or layer in settings.layers)
        ),
        settings.neurons,
    )
    if not tasks:
        asked = {"components": settings.components, "layers": settings.layers, "neurons": settings.neurons}
        given = ", ".join(f"{name} {', '.join(map(str, some))}" for name, some in asked.items() if some is not None)
        raise ConfigError(
            f"search.components, search.layers, search.neurons: nothing of the dump is left by {given}; "
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
