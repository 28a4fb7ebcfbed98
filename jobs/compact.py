"""`neuronmill compact`: rewrite the activation files of many small shards as long ones."""

from __future__ import annotations

from typing import Any

import click

from jobs.console import say
from jobs.held_store import held
from jobs.next_command import of_store
from jobs.options import (
    choose_executor,
    dry_run_option,
    executor_options,
    find_plan,
    model_option,
    store_option,
    wait_option,
)
from pipeline.run.compact import check_compactable, compact, compact_tasks, rows_per_file
from pipeline.store.lease import ALONE
from schemas.amounts import counted, human_bytes


@click.command()
@store_option()
@model_option
@click.option(
    "--rows",
    type=click.IntRange(min=1),
    help="Rows of a file at most; by default as many as take 250 MB in memory, but 32768 to 131072.",
)
@executor_options
@wait_option
@dry_run_option
def command(store_url: str, alias: str | None, rows: int | None, wait: float, dry_run: bool, **placement: Any) -> None:
    """Rewrite the activation files of many small shards as long ones, so that queries open fewer files.

    For a finished dump whose shards had to be small. Every value stays as it is: rows, tokens, statistics and rankings
    are the same before and after, and nothing is computed again. The long files need as much disk again: the shards'
    files stay for the snapshots that list them. `publish` afterwards for a snapshot of the long ones; then
    `neuronmill gc --superseded --keep-snapshots 1` removes those that no snapshot lists any more.

    Sparse and int8 files stay as they are.

    Safe to stop and to start again: finished files are kept, and readers see the long files once all are there.
    """
    store, plan = find_plan(None, store_url, alias)
    config, executor = choose_executor(plan.config, **placement)
    if dry_run:
        check_compactable(plan, store)
        tasks = compact_tasks(plan, store, rows or rows_per_file(plan))
        n_sources, n_bytes = sum(len(task.sources) for task in tasks), sum(task.n_bytes for task in tasks)
        say([f"would make {counted(len(tasks), 'file')} of {n_sources:,} in {store.url} ({human_bytes(n_bytes)})"])
        return
    plan = plan.with_config(plan.config.model_copy(update={"executor": config}))
    with held(store, ALONE, wait) as progress:
        compact(plan, store, executor, progress, rows)
    say([f"next: neuronmill publish {of_store(store)}"])
