"""The analyses of a run, and which receipts each of them writes: what it takes to do one again, or to keep it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pipeline.run.dump_files import dump_stage, unfinished_shards
from pipeline.run.factors import factor_tasks, factors, factors_stage
from pipeline.run.model_correlation import correlate, correlation_stages, correlation_tables
from pipeline.run.neuron_clusters import cluster, cluster_stage
from pipeline.run.neuron_contexts import contexts, contexts_stage
from pipeline.run.neuron_explanations import explain, explain_stage
from pipeline.run.neuron_mapping import map_neurons, map_stage
from pipeline.run.neuron_search import SEARCH_TABLES, search, search_stages
from pipeline.run.plan_record import Plan
from pipeline.run.progress import Progress
from pipeline.run.records import register_dump, write_run_record
from pipeline.run.statistics import compute_statistics, statistics_stage
from pipeline.run.top_words import top_words, words_stage
from pipeline.run.work import Executor
from pipeline.store import paths
from pipeline.store.store import Store
from schemas.config import Config
from schemas.errors import ConceptError, ConfigError, StoreError


@dataclass(frozen=True)
class Analysis:
    """One analysis by one set of settings."""

    parts: tuple[str, ...]
    """Stages of the receipts of its parts."""
    tables: tuple[str, ...]
    """Paths of the receipts of its tables, or of the folders of such receipts (ending with ``/``)."""
    run: Callable[[Executor, Progress], object]
    """Do what has no receipt."""

    def makes(self, receipt: str) -> bool:
        """Whether this path is one of its receipts."""
        is_part = any(receipt.startswith(f"{paths.RECEIPTS}/{stage}/") for stage in self.parts)
        return is_part or any(receipt == table or (table.endswith("/") and receipt.startswith(table))
                              for table in self.tables)  # fmt: skip


def analyses(plan: Plan, store: Store) -> Iterator[Analysis]:
    """Statistics, searches, contexts, words and whatever has a section of its own, then its tables of runs and shards.

    Each is found when asked for. They go by the plan's settings and by those of earlier commands, as far as the table
    of runs still tells them.
    """
    for config in _settings(plan, store):
        with_config = plan.with_config(config)
        yield _statistics(with_config, store)
        found = _search(with_config, store)
        if found is not None:
            yield found
        yield _contexts(with_config, store)
        yield _words(with_config, store)
        for analysis in (_explain, _factors, _cluster, _map, _correlate):
            asked = analysis(with_config, store)
            if asked is not None:
                yield asked
    yield _records(plan, store)


def _settings(plan: Plan, store: Store) -> list[Config]:
    """The config of the run's line in `runs`, the plan's, then those of earlier lines."""
    listed = {entry.path for entry in store.files("runs", plan.run_id)}
    receipts = store.receipts(f"runs-{plan.run_id}").values()
    latest: list[Config] = []
    configs = [plan.config]
    for receipt in receipts:
        try:
            rows = store.read_table(receipt.files, ["config"])["config"].to_pylist()
            found = [Config.model_validate_json(row) for row in rows]
        except (StoreError, ValueError):  # damaged, or by another version: its settings are lost
            continue
        if any(entry.path in listed for entry in receipt.files):
            latest = found
        configs.extend(config for config in found if config not in configs)
    return [*latest, *(config for config in configs if config not in latest)]


def _table(plan: Plan, table: str, key: str) -> str:
    return paths.receipt_file(f"{table}-{plan.run_id}", key)


def _statistics(plan: Plan, store: Store) -> Analysis:
    stage = statistics_stage(plan)
    return Analysis(
        (stage,),
        (_table(plan, "neuron_stats", stage),),
        lambda executor, progress: compute_statistics(plan, store, executor, progress),
    )


def _contexts(plan: Plan, store: Store) -> Analysis:
    stage = contexts_stage(plan)
    return Analysis(
        (stage,),
        (_table(plan, "contexts", stage),),
        lambda executor, progress: contexts(plan, store, executor, progress),
    )


def _words(plan: Plan, store: Store) -> Analysis:
    stage = words_stage(plan)
    return Analysis(
        (stage,),
        (_table(plan, "top_words", stage),),
        lambda executor, progress: top_words(plan, store, executor, progress),
    )


def _search(plan: Plan, store: Store) -> Analysis | None:
    """None where these settings leave nothing to search, or the labels are not there."""
    try:
        stages, key = search_stages(plan, store)
    except (ConceptError, ConfigError, StoreError, KeyError):
        return None
    return Analysis(
        stages,
        tuple(_table(plan, table, key) for table in SEARCH_TABLES),
        lambda executor, progress: search(plan, store, executor, progress),
    )


def _explain(plan: Plan, store: Store) -> Analysis | None:
    """None without the section, or where these settings leave no neuron to explain, or the labels are not there."""
    if plan.config.explain is None:
        return None
    try:
        stage, key = explain_stage(plan, store)
    except (ConceptError, ConfigError, StoreError, KeyError):
        return None
    return Analysis(
        (stage,),
        (_table(plan, "explanations", key),),
        lambda executor, progress: explain(plan, store, executor, progress),
    )


def _factors(plan: Plan, store: Store) -> Analysis | None:
    """None without the section, or where these settings leave nothing to factor."""
    if plan.config.factors is None:
        return None
    try:
        factor_tasks(plan)
    except ConfigError:
        return None
    return Analysis((factors_stage(plan),), (), lambda executor, progress: factors(plan, store, executor, progress))


def _cluster(plan: Plan, store: Store) -> Analysis | None:
    """None without the section, or where these settings leave no neuron."""
    if plan.config.cluster is None:
        return None
    try:
        stage, keys = cluster_stage(plan, store)
    except ConfigError:
        return None
    return Analysis(
        (stage,),
        tuple(_table(plan, table, key) for table, key in keys.items()),
        lambda executor, progress: cluster(plan, store, executor, progress),
    )


def _map(plan: Plan, store: Store) -> Analysis | None:
    """None without the section, or where these settings leave no neuron."""
    if plan.config.map is None:
        return None
    try:
        stage, key = map_stage(plan, store)
    except ConfigError:
        return None
    return Analysis(
        (stage,),
        (_table(plan, "neuron_map", key),),
        lambda executor, progress: map_neurons(plan, store, executor, progress),
    )


def _correlate(plan: Plan, store: Store) -> Analysis | None:
    """None without the section, or where these settings name nothing that is there."""
    tables = correlation_tables(plan, store)
    if not tables:
        return None
    return Analysis(
        tuple(sorted(correlation_stages(plan, store) - set(tables.values()))),
        tuple(_table(plan, table, key) for (table, _), key in tables.items()),
        lambda executor, progress: correlate(plan, store, executor, progress),
    )


def _records(plan: Plan, store: Store) -> Analysis:
    """The run's lines in `runs` and `shards`, which are written anew from receipts and settings."""

    def run(executor: Executor, progress: Progress) -> None:
        del executor, progress
        if not unfinished_shards(plan, store):
            register_dump(plan, store, dump_stage(plan))
        write_run_record(store, plan)

    folders = tuple(f"{paths.RECEIPTS}/{table}-{plan.run_id}/" for table in ("runs", "shards"))
    return Analysis((), folders, run)
