"""`neuronmill run`: everything a config asks for, in order; safe to start again at any point."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from jobs.console import say
from jobs.held_store import held, run_lease
from jobs.new_store import store_to_fill
from jobs.next_command import of_store, top_command
from jobs.options import choose_executor, config_to_plan, planning_options
from jobs.plan import describe
from jobs.report import check_can_write, report_path, write_report
from jobs.stage import Stage
from pipeline.run.dump import dump
from pipeline.run.factors import factors
from pipeline.run.model_correlation import check_correlation, correlate
from pipeline.run.neuron_clusters import cluster
from pipeline.run.neuron_contexts import contexts
from pipeline.run.neuron_explanations import explain
from pipeline.run.neuron_mapping import map_neurons
from pipeline.run.neuron_search import search
from pipeline.run.overview import overview, planned_already
from pipeline.run.planning import plan_run
from pipeline.run.preview import preview
from pipeline.run.statistics import compute_statistics
from pipeline.store.publish import publish
from pipeline.store.staging import sweep_staging
from pipeline.store.storage import LocalStorage
from pipeline.store.store import Store
from schemas.amounts import human_bytes


def written(store: Store) -> str:
    """Where the store is and how large its files are."""
    if not isinstance(store.storage, LocalStorage):
        return store.url
    n_bytes = sum(file.stat().st_size for file in store.storage.folder.rglob("*") if file.is_file())
    return f"{store.url} ({human_bytes(n_bytes)})"


@click.command()
@planning_options
def command(
    config_path: str,
    store_url: str | None,
    on_error: str | None,
    label_on: str | None,
    round_to: str | None,
    dry_run: bool,
    wait: float,
    **placement: Any,
) -> None:
    """Do everything CONFIG.yaml asks for: annotate, plan, dump, stats, search, contexts, publish, report.

    With sections `explain`, `factors`, `cluster`, `map` and `correlate`, formulas over concepts, non-negative factors,
    clusters and a map of neurons and a comparison with other models too, before publishing.

    Safe to start again at any point: what has a receipt is not redone. A changed config is refused where it would mix
    with existing data, and recomputes what is cheap (concepts, search, contexts, report) otherwise.
    """
    config = config_to_plan(config_path, store_url, on_error, label_on, round_to)
    if dry_run:
        say(preview(config) if (planned := planned_already(config)) is None else overview(planned[1], planned[0]))
        return
    executor_config, executor = choose_executor(config, **placement)
    config = config.model_copy(update={"executor": executor_config})
    alias = config.model_alias
    with store_to_fill(config.store) as store, held(store, run_lease(alias), wait) as progress:
        path = report_path(config, store)
        check_can_write(path)
        plan = plan_run(config, store, executor, progress)
        say(describe(plan))
        if config.correlate is not None:
            check_correlation(plan, store)  # before hours of work that end with an error
        for stage in (dump, compute_statistics, search, contexts):
            stage(plan, store, executor, progress)
        optional: dict[Stage, object] = {
            explain: config.explain,
            factors: config.factors,
            cluster: config.cluster,
            map_neurons: config.map,
            correlate: config.correlate,
        }
        for further, section in optional.items():
            if section is not None:
                further(plan, store, executor, progress)
        snapshot = publish(store)
        sweep_staging(store.storage)  # of workers that died and were replaced
        page = write_report(store, config, plan.run_id, path)
    say(
        [
            f"store: {written(store)}",
            f"snapshot: {snapshot} (for other readers: snapshots/{snapshot}/neuronmill.duckdb)",
            f"page: {Path(page).resolve()}",
            f"next: {top_command(store, plan)}",
            f'      neuronmill sql {of_store(store)} "FROM rankings ORDER BY score DESC LIMIT 10"',
        ]
    )
