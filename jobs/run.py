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
from pipeline.run.model_correlation import correlate
from pipeline.run.neuron_clusters import cluster
from pipeline.run.neuron_contexts import contexts
from pipeline.run.neuron_explanations import explain
from pipeline.run.neuron_mapping import map_neurons
from pipeline.run.neuron_search import search
from pipeline.run.overview import overview, planned_already
from pipeline.run.planning import plan_run
from pipeline.run.preview import preview
from pipeline.run.sections import check_sections
from pipeline.run.statistics import compute_statistics
from pipeline.store.publish import publish
from pipeline.store.staging import sweep_staging
from pipeline.store.storage import LocalStorage
from pipeline.store.store import Store
from schemas.amounts import human_bytes
from schemas.config import Config


def written(store: Store) -> str:
    """Where the store is and how large its files are."""
    if not isinstance(store.storage, LocalStorage):
        return store.url
    n_bytes = sum(file.stat().st_size for file in store.storage.folder.rglob("*") if file.is_file())
    return f"{store.url} ({human_bytes(n_bytes)})"


def _forecast(config: Config) -> list[str]:
    """What a run would come to; raises what the run would before hours of work."""
    planned = planned_already(config)
    if planned is None:
        return preview(config)
    store, plan = planned[0], planned[1].with_config(config)
    check_sections(plan, store)
    return overview(plan, store)


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
        say(_forecast(config))
        return
    executor_config, executor = choose_executor(config, **placement)
    config = config.model_copy(update={"executor": executor_config})
    alias = config.model_alias
    with store_to_fill(config.store) as store, held(store, run_lease(alias), wait) as progress:
        path = report_path(config, store)
        check_can_write(path)
        plan = plan_run(config, store, executor, progress)
        say(describe(plan))
        check_sections(plan, store)
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
