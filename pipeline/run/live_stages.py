"""What removing superseded results has to know of the plans: the stages that stay, and what compaction replaced."""

from __future__ import annotations

from contextlib import suppress

from pipeline.run import dump_files
from pipeline.run.factors import factors_stage
from pipeline.run.labelling import planned_concepts
from pipeline.run.model_correlation import correlation_stages
from pipeline.run.neuron_clusters import cluster_stage
from pipeline.run.neuron_contexts import contexts_stage
from pipeline.run.neuron_explanations import explain_stage
from pipeline.run.neuron_mapping import map_stage
from pipeline.run.neuron_search import search_stages
from pipeline.run.plan_check import readable_plans
from pipeline.run.statistics import statistics_stage
from pipeline.run.top_words import words_stage
from pipeline.store import paths
from pipeline.store.store import Store
from schemas.errors import ConceptError, ConfigError, StoreError


def replaced_receipts(store: Store) -> frozenset[str]:
    """Paths of the receipts whose activation files compacted ones have replaced, over all plans of the store."""
    return frozenset(
        paths.receipt_file(receipt.stage, receipt.key)
        for plan in readable_plans(store)[0]
        for receipt in dump_files.replaced_receipts(plan, store)
    )


def live_stages(store: Store) -> frozenset[str]:
    """Stages of parts and keys of tables, over all plans of the store."""
    found: set[str] = set()
    for plan in readable_plans(store)[0]:
        concept_set = planned_concepts(plan, store)
        found |= {statistics_stage(plan), contexts_stage(plan), words_stage(plan), concept_set.stage, concept_set.id}
        if plan.config.factors is not None:
            found.add(factors_stage(plan))
        if plan.config.explain is not None:
            with suppress(ConfigError, StoreError):  # these settings leave nothing to explain
                found.update(explain_stage(plan, store))
        if plan.config.cluster is not None:
            with suppress(ConfigError):  # these settings leave no neuron
                stage, keys = cluster_stage(plan, store)
                found |= {stage, *keys.values()}
        if plan.config.map is not None:
            with suppress(ConfigError):  # these settings leave no neuron
                found.update(map_stage(plan, store))
        found |= correlation_stages(plan, store)
        labelled = store.receipts(concept_set.stage)
        if all(shard.key in labelled for shard in plan.shards):
            try:
                stages, key = search_stages(plan, store)
                found |= {*stages, key}
            except (ConceptError, ConfigError, StoreError):  # these settings leave nothing to search
                continue
    return frozenset(found)
