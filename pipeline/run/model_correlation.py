"""The stage `correlate`: a model's neurons and layers beside those of other models, and beside numbers of its words.

Everything is computed before a table changes. Rankings across models are a scope of their own in the manifest, so that
a search for concepts replaces none of them, nor they its rankings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from pipeline.run.alignment import align
from pipeline.run.column_correlation import ColumnTable, check_columns, columns_stage, compute_columns
from pipeline.run.comparison_summary import summarise_comparison
from pipeline.run.comparison_tables import ComparisonResults, null_columns, ranking_columns, similarity_columns
from pipeline.run.fold import require_dump
from pipeline.run.layer_components import LayerComponents, LayerJob, fold_layers
from pipeline.run.layer_pairs import PairJob, fold_pairs
from pipeline.run.model_comparison import ModelComparison, compare_models
from pipeline.run.model_regression import RegressionJob, fold_regressions
from pipeline.run.moment_tiles import fold_tiles
from pipeline.run.plan_record import Plan
from pipeline.run.progress import Progress
from pipeline.run.records import models_scope, write_run_record, write_run_tables
from pipeline.run.row_norms import fold_norms
from pipeline.run.work import Executor
from pipeline.store.store import Store
from schemas.amounts import counted, human_bytes
from schemas.correlate_config import CorrelateConfig
from schemas.errors import ConfigError, IncompleteError, StoreError

#: The tables of a comparison with other models.
COMPARISON_TABLES = ("rankings", "match_nulls", "layer_similarity")
COLUMN_TABLE = "column_correlations"


@dataclass(frozen=True)
class CorrelationReport:
    """What a correlation came to, for a person."""

    lines: list[str] = field(default_factory=list)


def correlate(plan: Plan, store: Store, executor: Executor, progress: Progress) -> CorrelationReport:
    """Fill ``layer_similarity`` and the multi-model part of ``rankings`` (with other models), ``column_correlations``.

    Each replaces what an earlier correlation of the run wrote there. Raises :class:`ConfigError` where the settings
    name nothing to correlate with, something that is not there, or more than fits the memory.
    """
    require_dump(plan, store)
    check_correlation(plan, store)
    plan = settled(plan, store)
    settings = section_of(plan)
    writes: list[Callable[[], None]] = []
    lines: list[str] = []
    if settings.with_models:
        results = _compare(compare_models(plan, store), executor, progress)
        writes.append(lambda: _write_comparison(results))
        lines += summarise_comparison(results)
    if settings.columns:
        found = compute_columns(plan, store, executor, progress)
        writes.append(lambda: _write_columns(plan, store, found))
        lines += found.describe()
    for write in writes:
        write()
    write_run_record(store, plan)
    return CorrelationReport([*lines, *_written(plan, store, settings)])


def section_of(plan: Plan) -> CorrelateConfig:
    """The section ``correlate``; raises :class:`ConfigError` where it names nothing."""
    settings = plan.config.correlate or CorrelateConfig()
    if not settings.with_models and not settings.columns:
        raise ConfigError(
            "correlate: nothing to correlate with; name another model (--with, `correlate.with`) or a number of words "
            "(--column, `correlate.columns`)"
        )
    return settings


def settled(plan: Plan, store: Store) -> Plan:
    """The plan with the other models named so that they are found from anywhere."""
    settings = section_of(plan)
    names = tuple(other.text for other in compare_models(plan, store).others)
    chosen = settings.model_copy(update={"with_models": names})
    return plan.with_config(plan.config.model_copy(update={"correlate": chosen}))


def check_correlation(plan: Plan, store: Store) -> None:
    """Raise what :func:`correlate` would raise before any work; the model itself need not be dumped yet."""
    settings = section_of(settled(plan, store))
    if settings.with_models:
        compare_models(plan, store).check()
    check_columns(plan, store)


def preview_correlation(plan: Plan, store: Store) -> list[str]:
    """What would be compared, for a dry run; raises as :func:`correlate` before any work."""
    check_correlation(plan, store)
    settings = section_of(plan)
    lines = []
    if settings.with_models:
        comparison = compare_models(plan, store)
        sizes = [len(comparison.axis.of_member(number)) for number in range(len(comparison.members))]
        others = ", ".join(
            f"{counted(n, 'neuron')} of {other.label}" for n, other in zip(sizes[1:], comparison.others, strict=True)
        )
        tiles = human_bytes(comparison.bytes_of_tiles)
        lines.append(f"would compare {counted(sizes[0], 'neuron')} with {others}: {tiles} of co-moments")
    if settings.columns:
        lines.append(f"would correlate with {', '.join(settings.columns)}")
    return lines


def correlation_tables(plan: Plan, store: Store) -> dict[tuple[str, str], str]:
    """Keys of the tables that the settings come to, by table and scope; none where they name nothing that is there."""
    return _planned(plan, store)[1]


def correlation_stages(plan: Plan, store: Store) -> set[str]:
    """Stages of the receipts of parts, and keys of tables, that the settings come to."""
    stages, tables = _planned(plan, store)
    return {*stages, *tables.values()}


def _planned(plan: Plan, store: Store) -> tuple[set[str], dict[tuple[str, str], str]]:
    stages: set[str] = set()
    tables: dict[tuple[str, str], str] = {}
    settings = plan.config.correlate
    if settings is not None and settings.with_models:
        with suppress(ConfigError, IncompleteError, StoreError):  # the other model is not there any more
            comparison = compare_models(plan, store)
            stages.update(comparison.stages)
            tables |= dict.fromkeys(_scopes(plan, comparison.methods), comparison.key)
    if settings is not None and settings.columns:
        with suppress(ConfigError, StoreError):
            found, key = columns_stage(plan, store)
            stages.update(found)
            tables[COLUMN_TABLE, plan.run_id] = key
    return stages, tables


def _scopes(plan: Plan, methods: Sequence[str]) -> list[tuple[str, str]]:
    """The tables of a comparison and their scopes; `cka` ranks no neurons."""
    ranks = set(methods) != {"cka"}
    ranked = [("rankings", models_scope(plan.run_id)), ("match_nulls", plan.run_id)]
    return [("layer_similarity", plan.run_id), *(ranked if ranks else [])]


def _compare(comparison: ModelComparison, executor: Executor, progress: Progress) -> ComparisonResults:
    """Do what has no receipt, and open the results."""
    store, plan, settings = comparison.store, comparison.plan, comparison.settings
    align(store, comparison.members, progress)
    job = comparison.tile_job
    if len(store.receipt_keys(job.stage)) < len(comparison.pairs):
        store.check_space(comparison.bytes_of_tiles)
    tiles = fold_tiles(store, executor, progress, job, comparison.pairs)
    norms = fold_norms(store, executor, progress, job, tiles) if "cka" in comparison.methods else None
    layers = LayerComponents(store, {})
    if comparison.needs_layers:
        layer_job = LayerJob(store.url, plan.run_id, comparison.layers_stage, tiles, comparison.needs_components)
        layers = fold_layers(store, executor, progress, layer_job, range(len(tiles.axis.layers)))
    pair_job = PairJob(
        store.url, plan.run_id, comparison.pairs_stage, comparison.methods, settings.ridge, tiles, layers, norms
    )
    members = range(1, len(comparison.members))
    wanted = [(a, b) for member in members for b in comparison.layers_of(member) for a in comparison.layers_of(0)]
    pairs = fold_pairs(store, executor, progress, pair_job, wanted)
    regressions = {}
    if "linreg" in comparison.methods:
        regression_job = RegressionJob(store.url, plan.run_id, comparison.regression_stage, tiles, settings.ridge)
        regressions = fold_regressions(store, executor, progress, regression_job, members)
    return ComparisonResults(comparison, tiles, pairs, regressions)


def _write_comparison(results: ComparisonResults) -> None:
    comparison = results.comparison
    store, plan = comparison.store, comparison.plan
    columns: dict[str, Callable[[], Any]] = {
        "layer_similarity": lambda: similarity_columns(results),
        "rankings": lambda: ranking_columns(results),
        "match_nulls": lambda: null_columns(results),
    }
    scopes = _scopes(plan, comparison.methods)
    if len(scopes) < len(columns):  # of earlier settings
        store.advance_all({("rankings", models_scope(plan.run_id)): (), ("match_nulls", plan.run_id): ()})
    write_run_tables(store, plan, {place: columns[place[0]] for place in scopes}, comparison.key)


def _write_columns(plan: Plan, store: Store, found: ColumnTable) -> None:
    write_run_tables(store, plan, {(COLUMN_TABLE, plan.run_id): found.columns}, found.key)


def _written(plan: Plan, store: Store, settings: CorrelateConfig) -> list[str]:
    """How many rows each table of the correlation has now."""
    scopes = dict.fromkeys((*COMPARISON_TABLES, COLUMN_TABLE), plan.run_id) | {"rankings": models_scope(plan.run_id)}
    chosen = [*(COMPARISON_TABLES if settings.with_models else ()), *([COLUMN_TABLE] if settings.columns else [])]
    sizes = [(table, sum(file.n_rows or 0 for file in store.files(table, scopes[table]))) for table in chosen]
    return ["wrote " + ", ".join(f"{counted(n, 'row')} of `{table}`" for table, n in sizes if n)]
