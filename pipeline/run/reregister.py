"""Registering again what is finished: after the loss of a manifest, receipts say what its tables consist of."""

from __future__ import annotations

from contextlib import suppress

from pipeline.run.dump_files import dump_stage, unfinished_shards
from pipeline.run.factors import show_factors
from pipeline.run.labelling import label, planned_concepts
from pipeline.run.model_correlation import correlation_tables
from pipeline.run.neuron_clusters import cluster_stage
from pipeline.run.neuron_contexts import contexts_stage
from pipeline.run.neuron_explanations import explain_stage
from pipeline.run.neuron_mapping import map_stage
from pipeline.run.neuron_search import SEARCH_TABLES, search_stages
from pipeline.run.plan_record import Plan
from pipeline.run.progress import Progress
from pipeline.run.records import register_dump, show_finished
from pipeline.run.row_space import claim_row_space
from pipeline.run.shards import register_rows
from pipeline.run.statistics import statistics_stage
from pipeline.run.work import Executor
from pipeline.store.store import Store
from schemas.errors import ConceptError, ConfigError


def reregister(store: Store, plan: Plan, executor: Executor, progress: Progress) -> None:
    """List in the manifest whatever the plan and its settings have finished; no work is done again."""
    capture = plan.capture
    register_rows(store, claim_row_space(store, plan.row_space, capture.unit, capture.pooling, capture.sample))
    for receipt in store.receipts("quarantine").values():
        store.advance("quarantine", "corpus", receipt.files)
    labelled = store.receipts(planned_concepts(plan, store).stage)
    is_labelled = all(shard.key in labelled for shard in plan.shards)
    if is_labelled:
        label(plan, store, executor, progress)
    if unfinished_shards(plan, store):
        return
    register_dump(plan, store, dump_stage(plan))
    show_finished(store, plan, "neuron_stats", statistics_stage(plan))
    show_finished(store, plan, "contexts", contexts_stage(plan))
    _reregister_sections(store, plan)
    if is_labelled and store.receipts(f"rankings-{plan.run_id}"):
        try:
            _, key = search_stages(plan, store)
        except (ConceptError, ConfigError):  # the settings leave nothing to search, so nothing was searched by them
            return
        for table in SEARCH_TABLES:
            show_finished(store, plan, table, key)
    if is_labelled and plan.config.explain is not None:
        try:
            _, key = explain_stage(plan, store)
        except (ConceptError, ConfigError):  # no ranking to choose neurons by
            return
        show_finished(store, plan, "explanations", key)


def _reregister_sections(store: Store, plan: Plan) -> None:
    """Of the analyses that have a section of their own and need no labels."""
    if plan.config.factors is not None:
        with suppress(ConfigError):  # the settings leave nothing to factor
            show_factors(plan, store)
    if plan.config.cluster is not None:
        with suppress(ConfigError):  # these settings leave no neuron
            for table, key in cluster_stage(plan, store)[1].items():
                show_finished(store, plan, table, key)
    if plan.config.map is not None:
        with suppress(ConfigError):  # these settings leave no neuron
            show_finished(store, plan, "neuron_map", map_stage(plan, store)[1])
    for (table, scope), key in correlation_tables(plan, store).items():
        show_finished(store, plan, table, key, scope)
